//! The first founding bug, end to end: a real FastMCP server behind a bearer key, registered with the key in
//! `extra_headers`, had no tools and no reason.
//!
//! - [`surfaces`]: all twelve tools everywhere, with one `initialize`, and the key nowhere but upstream
//! - [`clients`]: the clients that people have
//! - [`refused`]: a wrong key, and none: the same reason everywhere, at once
//! - [`endings`]: the server restarts, the gateway stops
//!
//! To look at one more way to list or call: a function in [`surfaces`], which [`refused`] asks too.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod clients;
mod endings;
mod refused;
mod surfaces;

use serde_json::{Value, json};
use trunkline_testkit::{Canary, FastMcpBackend, FastMcpOptions, TestGateway};

/// The tools of `demo/backend`, in its order.
const TOOLS: [&str; 12] = [
    "list_mirrors",
    "create_mirror",
    "get_mirror",
    "delete_mirror",
    "sync_mirror",
    "mirror_status",
    "pause_mirror",
    "resume_mirror",
    "list_branches",
    "echo",
    "slow",
    "fail",
];

/// How the server answers.
#[derive(Clone, Copy, Debug)]
struct Mode {
    json: bool,
    stateless: bool,
}

const SSE_STATEFUL: Mode = Mode {
    json: false,
    stateless: false,
};
const SSE_STATELESS: Mode = Mode {
    json: false,
    stateless: true,
};
const JSON_STATEFUL: Mode = Mode {
    json: true,
    stateless: false,
};
const JSON_STATELESS: Mode = Mode {
    json: true,
    stateless: true,
};

/// A server with a key of its own; `None` when there is no Python here.
async fn backend(mode: Mode, key: &Canary) -> Option<FastMcpBackend> {
    FastMcpBackend::start(FastMcpOptions {
        key: key.value().to_owned(),
        json: mode.json,
        stateless: mode.stateless,
        mounted: false,
    })
    .await
}

/// The registration of the report: the key is where names of headers belong, and nowhere else.
fn as_reported(url: &str, key: &str) -> Value {
    json!({
        "server_name": "mirror",
        "url": url,
        "transport": "http",
        "auth_type": "bearer_token",
        "extra_headers": [format!("Authorization: Bearer {key}")],
    })
}

/// Registers it and gives the answer's row.
async fn register(gateway: &TestGateway, server: &Value) -> Value {
    gateway
        .client()
        .post("/v1/mcp/server", server)
        .await
        .expect_status(201)
        .json()
}

/// The names of a list of tools, without what the gateway puts before them.
fn names(tools: &Value) -> Vec<String> {
    let tools = tools.as_array().map(Vec::as_slice).unwrap_or_default();
    tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .map(|name| name.strip_prefix("mirror-").unwrap_or(name).to_owned())
        .collect()
}

/// # Panics
/// When the log tells of a panic, of an error, or shows a trace.
#[track_caller]
fn assert_calm(log: &str) {
    for word in ["panicked", "backtrace", "ERROR", "RuntimeError", "Traceback"] {
        assert!(!log.contains(word), "`{word}` in the log:\n{log}");
    }
}
