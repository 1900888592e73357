//! Whom keys belong to, on the real binary: what teams, users, organisations and end users leave of a key is the same on every way
//! in, counts everywhere within a second, and each may do with the gateway itself what its role says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod budgets;
mod bulk;
mod customers;
mod delegates;
mod fields;
mod handles;
mod levels;
#[path = "../bug2/proxy.rs"]
mod proxy;
mod replicas;
mod roles;
mod routes;
mod shared_limits;
mod streams;
#[path = "../keys/support.rs"]
mod support;
mod teams;
mod toolsets;
mod users;
mod world;
