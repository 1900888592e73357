//! Programs as they are: started, confined, ended. Real processes, on the kernel that there is.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a failing one panics, a passing one says what it measured"
)]

mod escapes;
mod life;
mod start;
mod support;
