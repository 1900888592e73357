//! Servers that are programs, spoken to over their pipes: a gateway process, a program that does what it is told
//! (`server.py`), and the processes that there are.
//!
//! - [`support`]: starting a gateway before programs, and counting processes
//! - `calls`: many at once on one child, however they end
//! - `ends`: programs that die, stay, say too much, or are not there
//! - `endure`: all of that at once, and for long
//! - `environments`: whose child it is
//! - `asking`: what servers ask and tell in the middle
//! - `eras`: which one a program speaks
//! - `official`: real servers, directly and through the gateway
//! - `published`: more of them, that people have
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod asking;
mod calls;
mod ends;
mod endure;
mod environments;
mod eras;
mod official;
mod published;
mod support;
