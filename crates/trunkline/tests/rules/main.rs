//! Rules about calls of tools, on the real binary: what may not be given, what the gateway fills in and what must be true of a call
//! hold on every way to a server, whatever the caller sends, and nothing of a call that is ruled out leaves the gateway.
//!
//! - [`world`]: servers with rules, and what they were sent
//! - `approvals`: calls that somebody has to say yes to
//! - `arguments`: permitted, pinned and defaulted arguments
//! - `carriers`: the same to programs, HTTP APIs and servers of 2026-07-28
//! - `conditions`: expressions
//! - `fuzzed`: whatever JSON a caller writes, a pinned argument arrives as it was pinned
//! - `management`: rules that are declared, changed, shown, and read again after a restart
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod approvals;
mod arguments;
mod carriers;
mod conditions;
mod fuzzed;
mod management;
#[expect(dead_code, reason = "shared with tests that use all of it")]
#[path = "../keys/support.rs"]
mod support;
mod world;
