//! Connections to MCP servers: the one way the gateway lists, calls and checks them.
//!
//! - [`egress`]: where connections may go.
//! - [`http`]: one pooled client for everything.
//! - `pool`: its connections.
//! - `connect`: how one is made.
//! - [`proxy`]: by way of what.
//! - [`route`]: what one server has to do with it: TLS identity and time.
//! - [`credential`]: what is sent with a request to a server, and its fingerprint.
//! - [`session`]: upstream sessions, and who shares them.
//! - `keep`: what is written down of them, so that another process goes on with it.
//! - `attend`: listening to them for a client whose stream is here.
//! - `upkeep`: their end.
//! - `era`: which of the two eras a request to a server uses.
//! - `duplex`: one channel of messages, as if it were Streamable HTTP.
//! - `legacy`: servers of the HTTP+SSE transport of 2024-11-05.
//! - `breaker`: servers that cannot be reached are not asked by every call.
//! - `fair`: who has the next of a limited number of places.
//! - `program`: servers that are programs, supervised.
//! - [`exchange`]: one JSON-RPC request, its frames, its response.
//! - [`catalogue`]: the tools of a server, cached, refreshed with single flight, kept in the database.
//! - [`pins`]: which of its tools are held back because their definitions are not those that were accepted.
//! - `clean`: hidden text taken out of what servers say.
//! - [`watch`]: hearing of changes.
//! - `hub`: subscriptions of clients of the old era with servers of the new one.
//! - [`probe`]: the hand-shake step by step, for people.
//! - [`fault`]: what went wrong, whose fault it is, what to do next.
//! - [`openapi`]: servers that are HTTP APIs, described by an OpenAPI document.
//! - [`provider`]: the way to providers of models, which are no MCP servers.
//! - [`peer`]: the way to another replica of the gateway itself, which is no server.
//!
//! A new transport is a new way to make an [`exchange`]; everything above it stays.

mod addressing;
mod attend;
mod breaker;
pub mod catalogue;
mod clean;
mod connect;
pub mod credential;
mod duplex;
pub mod egress;
pub mod entry;
mod era;
pub mod exchange;
mod fair;
pub mod fault;
pub mod http;
mod hub;
mod keep;
mod legacy;
pub mod listen;
pub mod listing;
pub mod openapi;
pub mod peer;
pub mod pins;
mod pool;
pub mod probe;
pub mod program;
pub mod provider;
pub mod proxy;
pub mod route;
pub mod session;
mod subscribe;
mod upkeep;
mod upstreams;
pub mod watch;

pub use attend::Attending;
pub use catalogue::Catalogue;
pub use credential::{ClientHeaders, Outgoing, Variables};
pub use egress::Egress;
pub use entry::Peer;
pub use exchange::{Exchange, Frame};
pub use fair::Caller;
pub use fault::Fault;
pub use keep::log_level;
pub use listen::{Aside, Progress};
pub use pool::ResponseBody;
pub use probe::{Probe, ProbeStep};
pub use program::{Life, ProgramState};
pub use proxy::{BadProxy, Proxies, ProxyVariables};
pub use session::{Introduction, Session};
pub use subscribe::{Hearer, Subscribed, TasksWatched};
pub use upstreams::{CallRequest, Settings, Upstreams};
pub use watch::Watching;
