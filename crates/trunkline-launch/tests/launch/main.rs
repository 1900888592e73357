//! Programs as they are: started, confined, ended. Real processes, on the kernel that there is.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests: a failing one panics, a passing one says what it measured or left out"
)]

mod escapes;
mod kernels;
mod life;
mod start;
mod support;
