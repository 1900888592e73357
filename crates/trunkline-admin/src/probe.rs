//! How servers are tried. A trait, because the real thing is other people's servers: the binary wires
//! `trunkline-upstream` in, tests wire a script.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_mcp::hidden::Removed;
use trunkline_model::{Circuit, Outcome, Server, ServerId, Step};

/// A future behind a pointer, so that the trait can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the management API asks about servers.
pub trait ServerProbe: Send + Sync + 'static {
    /// Walks the handshake with a session of its own and lists the tools. Leaves no trace in the state that serves
    /// clients: `server` need not be registered. `client_headers` are those of the request that may be forwarded
    /// (never the gateway's own credential).
    fn probe<'a>(&'a self, server: &'a Server, client_headers: &'a HeaderMap) -> BoxFuture<'a, Probe>;

    /// What came of the last attempt with the server's own credential; `Pending` when it was never tried.
    fn outcome(&self, server: &Server) -> Outcome;

    /// Whether calls to it are let through.
    fn circuit(&self, server: &Server) -> Circuit;

    /// How many tools the last good list had.
    fn tool_count(&self, id: &ServerId) -> Option<usize>;

    /// Whether the last good list has a tool, by its own or its exposed name; `None` if no list is known.
    fn has_tool(&self, _server: &Arc<Server>, _tool: &str) -> Option<bool> {
        None
    }

    /// The annotations of a tool of the last good list, by its own name: JSON text, `{}` if it has none.
    fn annotations(&self, _server: &Arc<Server>, _tool: &str) -> Option<String> {
        None
    }

    /// What runs of a server that is a program, or ran: an array of objects without secrets.
    fn programs(&self, _id: &ServerId) -> Value {
        Value::Array(Vec::new())
    }

    /// The lists of tools that are known, one for each era that the server is spoken to in.
    fn tool_lists(&self, _server: &Arc<Server>) -> Vec<ToolList> {
        Vec::new()
    }

    /// The same, fetched now with the server's own credential, whether the server serves already or not.
    fn list_tools<'a>(&'a self, server: &'a Arc<Server>) -> BoxFuture<'a, Result<Vec<ToolList>, Outcome>> {
        Box::pin(async move { Err(self.outcome(server)) })
    }

    /// Hidden text in the definitions of the tools of the last good list.
    fn hidden_text(&self, _server: &ServerId) -> Option<Removed> {
        None
    }

    /// Lists the tools now, by the path that serves clients, and says what came of it.
    fn refresh<'a>(&'a self, server: &'a Arc<Server>) -> BoxFuture<'a, Outcome>;
}

/// Tools as they are listed.
#[derive(Debug)]
pub struct ToolList {
    /// Names and definitions, JSON text.
    pub tools: Vec<(String, String)>,
    /// Hidden text that was found in the definitions, be it taken out or not.
    pub hidden: Removed,
    /// When they were listed.
    pub fetched_at: Timestamp,
}

/// What came of walking a handshake.
#[derive(Debug)]
pub struct Probe {
    /// The end of it.
    pub outcome: Outcome,
    /// The way, in order.
    pub steps: Vec<ProbeStep>,
    /// The tools as the server sent them; empty unless `outcome` is ok.
    pub tools: Vec<Box<RawValue>>,
    /// The revision that was negotiated.
    pub protocol_version: Option<String>,
}

/// One step of a handshake.
#[derive(Clone, Debug)]
pub struct ProbeStep {
    /// Which.
    pub step: Step,
    /// Whether it worked.
    pub ok: bool,
    /// HTTP status of the answer, for steps that are requests.
    pub http_status: Option<u16>,
    /// Whether the server gave or accepted a session id.
    pub session_id: bool,
    /// How long it took, milliseconds.
    pub duration_ms: f64,
    /// What was seen, for people. Bounded, without secrets.
    pub detail: String,
}
