//! What must never happen again, against the real binary and scripted upstreams: each test is named after its scenario.
//!
//! - [`lifecycle`]: starts, failing servers, many clients at once
//! - [`listing`], [`names`]: which tools there are, on every path, and what they are called
//! - [`moves`]: sessions that move to another replica, or over a restart
//! - [`sessions`], [`streams`]: what belongs to one client, and what comes without being asked for
//! - [`calls`], [`long_calls`]: calls under way, called off and left alone, and what happens around them
//! - [`bridged`]: subscriptions and questions between the eras
//! - [`limits`]: how much one key may hold, and how long a call may take
//! - [`legacy_sse`]: clients of the transport of 2024-11-05
//! - [`routing`]: which server a call reaches
//! - [`fidelity`]: what is relayed, byte for byte
//! - [`pages`], [`definitions`], [`hidden`]: lists page by page and who may keep them, what of them cannot be shown, and text
//!   that people do not see
//! - [`eras`]: requests of 2026-07-28, prompts and resources
//! - [`tasks`], [`old_tasks`]: work that outlives its request; [`official`]: the same of official servers and clients
//! - [`registry`]: where servers are declared
//! - [`headers`]: what reaches servers of a request's headers, and back
//! - [`replicas`]: three gateways on one database
//! - [`reload`]: the configuration file, read again
//! - [`resilience`]: turns, circuits, and words for how a server is
//! - [`scale`]: fifty servers, good and bad
//! - [`economy`]: how many requests and sessions servers see, and how long what they stream is held
//!
//! To add one: a test named `b<number>_<what must hold>` in the file of its domain. One that measures time has `_within_`
//! in its name, so that it runs beside nothing else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bridged;
mod calls;
mod definitions;
mod economy;
mod eras;
mod fidelity;
mod headers;
mod hidden;
mod legacy_sse;
mod lifecycle;
mod limits;
mod listing;
mod long_calls;
mod moves;
mod names;
mod official;
mod old_tasks;
mod pages;
mod registry;
mod reload;
mod replicas;
mod resilience;
mod routing;
mod scale;
mod sessions;
mod streams;
mod support;
mod tasks;
