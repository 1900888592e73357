//! TLS with single servers, proxies of the environment, and the times that connections may take: the real binary before
//! servers whose certificates are made here.
//!
//! - [`authorities`]: whose certificates are believed, by every way to a server (B57)
//! - [`identities`]: certificates of the gateway's own, and their key
//! - [`settings`]: what is refused, what holds for all servers, files that change
//! - [`proxies`]: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`
//! - [`deadlines`]: of connections and lists
//!
//! A server is a plain one behind a [`front::Front`], which ends TLS and notes every handshake.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod authorities;
mod deadlines;
mod front;
mod identities;
mod proxies;
mod settings;
mod support;
mod tunnel;
