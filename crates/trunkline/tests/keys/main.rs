//! Virtual keys on the real binary: what a key may do is the same on every way in, what is taken from it is gone at once and
//! everywhere, and the key itself is nowhere but in its holder's hands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod canaries;
mod edits;
mod identities;
mod isolation;
mod limits;
mod management;
mod matrix;
mod names;
mod networks;
mod replicas;
mod rotation;
mod streams;
mod support;
mod toolset_changes;
mod toolset_management;
mod toolsets;
