//! Configurations from outside: text and variables in, [`trunkline_config::Config`] or messages out.

#![expect(clippy::unwrap_used, reason = "a failing test is a panic by design")]

mod common;
mod documents;
mod fields;
mod files;
mod mistakes;
mod models;
mod secrets;
