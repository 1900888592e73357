//! The audit log, on the real binary and both databases: every change and every refusal leaves its row, and no secret.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod changes;
mod denials;
mod dry_run;
mod explain;
mod export;
mod operations;
mod secrets;
#[path = "../keys/support.rs"]
#[expect(dead_code, reason = "shared with other suites")]
mod support;
mod world;
