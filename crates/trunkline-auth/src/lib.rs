//! From a credential to a [`trunkline_model::Principal`], and from a secret to what may be stored or handed out.
//!
//! - [`authenticate`] is the only place that makes principals. It returns a principal or an error, never an "empty" one.
//! - [`ring`] has the virtual keys and whom they belong to, which it looks into, and makes new keys.
//! - [`vault`] seals secrets for the database.
//! - [`token`] seals what else clients hold for the gateway.
//! - [`session`] seals `Mcp-Session-Id`, so that any replica can open it and nobody else can use it.
//!
//! One more kind of credential = one more constructor of `Principal` and one arm in [`authenticate`].

pub mod admission;
pub mod authenticate;
mod keys;
pub mod ring;
pub mod session;
pub mod token;
pub mod vault;

pub use admission::Admission;
pub use authenticate::{AuthError, Authenticated, Authenticator, Surface};
pub use ring::{ById, Directory, KeyRing, Keys, key_hash, key_name, new_key};
pub use session::{SessionClaims, SessionError, SessionSealer};
pub use token::{HandleSealer, TokenSealer};
pub use vault::{Vault, VaultError};
