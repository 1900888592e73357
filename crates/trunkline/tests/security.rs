//! Attacks on the real binary, named after their scenario ids. One file an attack or a family of them.
//!
//! To add one: a file under `security/`, its `mod` line here, and tests named `s<number>_<what must hold>`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "security/admission.rs"]
mod admission;
#[path = "security/browsers.rs"]
mod browsers;
#[path = "security/canaries.rs"]
mod canaries;
#[path = "security/credentials.rs"]
mod credentials;
#[path = "security/egress.rs"]
mod egress;
#[path = "security/exhaustion.rs"]
mod exhaustion;
#[path = "security/forgery.rs"]
mod forgery;
#[path = "security/hops.rs"]
mod hops;
#[path = "security/pipeline.rs"]
mod pipeline;
#[path = "security/programs.rs"]
mod programs;
#[path = "security/redirects.rs"]
mod redirects;
#[path = "security/runners.rs"]
mod runners;
#[path = "security/support.rs"]
mod support;
#[path = "security/targets.rs"]
mod targets;
