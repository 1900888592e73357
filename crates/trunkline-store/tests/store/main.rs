//! What the store promises, against both databases. Every test is a module with a `sqlite` and a `postgres` in it
//! (see `fixture::both!`); each gets a database of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a child tells its test, a skipped test tells everybody"
)]

mod audit;
mod call_approvals;
mod fixture;
mod keys;
mod kill;
mod limit_shares;
mod migrations;
mod records;
mod registry;
mod repair;
mod replicas;
mod servers;
mod sessions;
mod spend;
mod tenants;
mod toolsets;
