//! Tools whose definitions were accepted by a person: the real binary between clients and a server that changes its mind (S29), and
//! text that people do not see (S30).
//!
//! - [`drift`]: what a server changes, and that nobody gets it on any way in
//! - [`accepting`]: the routes, approval, the configuration file
//! - [`places`]: restarts, replicas, clients of both eras
//!
//! One more way in: a line in `support::Ways`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod accepting;
mod drift;
mod places;
mod submitting;
mod support;
