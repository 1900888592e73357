//! The commands that people use a gateway with: `add`, `tools`, `call`, `connect`, `import`, `stdio`. The built binary
//! against a running gateway, the files of clients in a home of their own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod call;
mod connect;
mod import;
mod stdio;
mod support;
mod terminal;
