//! The proofs about permissions on the real binary that are made from a table, a document or a list, so that what is new and has no
//! row in it does not build, or fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod database;
mod failing;
mod inventory;
mod parity;
#[path = "../bug2/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of outages, which use all of it")]
mod proxy;
mod saboteur;
mod sessions;
mod statements;
#[path = "../keys/support.rs"]
mod support;
mod warm;
