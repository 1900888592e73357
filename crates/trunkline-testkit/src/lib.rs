//! Test helpers: upstreams that misbehave on demand, gateways in processes of their own, clients that show what was
//! on the wire, and secrets that can be looked for.
//!
//! Everything is real: sockets, processes, HTTP. Nothing of the gateway is linked in here, so that a test that passes
//! says something about what people run.
//!
//! - [`ScriptedUpstream`]: an MCP server in this process, proper unless told otherwise
//! - [`BareServer`]: a server that is one function, bytes in and bytes out
//! - [`ScriptedProvider`]: a provider of models in this process, of OpenAI's dialect
//! - [`TestGateway`]: the built binary in a child process with a data directory of its own
//! - [`HttpClient`] and [`McpClient`]: plain requests, and MCP with every event and its time
//! - [`FastMcpBackend`], [`ForeignServer`] and [`tools`]: the Python and Node programs of `scripts/`
//! - [`Replicas`]: several gateways on one database, behind a [`Balancer`]
//! - [`ScratchDatabase`]: a PostgreSQL database that lives as long as the test
//! - [`Canary`]: a secret that must not turn up anywhere
//!
//! To add a misbehaviour: a variant of [`Act`] (one answer goes wrong) or [`Socket`] (the connection does), its doc,
//! its arm in `upstream/answer.rs` or `upstream/listen.rs`, and a line in `tests/scripted_upstream.rs`.
#![expect(clippy::panic, reason = "a test kit reports by failing the test")]

mod balancer;
mod bare;
mod canary;
mod gateway;
mod http;
mod kept;
mod legacy;
mod locate;
mod mcp;
mod postgres;
mod process;
mod program;
mod provider;
mod python;
mod replicas;
mod sse;
pub mod tools;
mod upstream;
mod wait;

pub use balancer::Balancer;
pub use bare::{Bare, BareServer, Said, event};
pub use canary::Canary;
pub use gateway::{GatewayBuilder, StartFailure, TestGateway};
pub use http::{Chunks, HttpClient, Reply, TransportError};
pub use legacy::SseClient;
pub use locate::repository_root;
pub use mcp::{Event, EventStream, McpClient, RpcError, RpcReply};
pub use postgres::ScratchDatabase;
pub use process::{Exit, Signal};
pub use program::ForeignServer;
pub use provider::{Heard, Move, ProviderRequest, ScriptedProvider, Turn, filtered, frame};
pub use python::{BackendRequest, FastMcpBackend, FastMcpOptions};
pub use replicas::Replicas;
pub use upstream::{
    Act, Cursors, Framing, Recorded, ScriptedUpstream, Sessions, Socket, ToolAnswer, ToolCall,
    UpstreamBuilder,
};
pub use wait::eventually;
