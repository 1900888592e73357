//! Certificates and keys of connections to servers.
//!
//! - `material`: PEM text to certificates, keys and a [`rustls::ClientConfig`], and what is wrong with it. The
//!   configuration check, the management API and the connections themselves ask here, so that they say the same.
//! - `themselves`: certificates that are their own authority.
//! - `handshake`: what a handshake that failed means, in words.
//!
//! No sockets. The one thing that is read is the machine's own list of authorities.

mod handshake;
mod material;
mod themselves;

pub use handshake::{Explained, explain};
pub use material::{Authorities, Mistake, check, client_config, server_name};
