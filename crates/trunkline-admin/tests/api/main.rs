//! The management API at its boundary: the router, a real store, a scripted probe.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a failing one is a panic by design"
)]

mod access;
mod create;
mod document;
mod harness;
mod health;
mod import;
mod probing;
mod review;
mod round_trip;
mod secrets;
mod storage;
mod update;
