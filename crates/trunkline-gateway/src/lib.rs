//! The data plane over HTTP. One file a phase, one file an endpoint.
//!
//! Every way in becomes the same [`context::Context`] and passes the same phases (design §3):
//!
//! ```text
//! accept → identify → scope → decide → route → credential → call → relay → record
//! ```
//!
//! | phase | where |
//! |---|---|
//! | accept | [`accept`] |
//! | identify, scope | [`context`], [`scope`] |
//! | decide | `trunkline-policy`, asked by [`listing`] and [`calling`] |
//! | route | [`route`] over the names of [`view`] |
//! | credential, call | `trunkline-upstream` |
//! | relay | [`relay`] |
//! | record | [`record`] |
//!
//! Requests to models ([`llm`]) have the same front door, identity, limits and records, and a way of their own in between.
//!
//! The endpoints in [`mcp`] and [`rest`] only read their wire and write their wire. A new way to list or call tools is a
//! new adapter over [`listing`] and [`calling`], never a second path.
//!
//! **Invariant:** nothing here waits for the database to serve a request, but for the exceptions that `ARCHITECTURE.md` names.

pub mod accept;
pub mod answer;
pub mod asked;
pub mod callers;
pub mod calling;
pub mod caps;
pub mod client_address;
pub mod context;
pub mod conversations;
pub mod deadline;
pub mod denied;
pub mod health;
pub mod limits;
pub mod listing;
pub mod llm;
pub mod mcp;
pub mod metrics;
pub mod outcomes;
pub mod parked;
pub mod peers;
pub mod record;
pub mod relay;
pub mod rest;
pub mod resumable;
pub mod rounds;
pub mod route;
pub mod scope;
pub mod sessions;
pub mod tasks;
pub mod uris;
pub mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use trunkline_auth::{Authenticator, HandleSealer, SessionSealer, TokenSealer};
use trunkline_model::Clock;
use trunkline_store::Registry;
use trunkline_upstream::Upstreams;

/// What the data plane is made of. Built once by the binary, shared by all requests.
pub struct Gateway {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The upstreams.
    pub upstreams: Arc<Upstreams>,
    /// Who is asking.
    pub authenticator: Arc<Authenticator>,
    /// Session ids.
    pub sealer: SessionSealer,
    /// Sessions that were ended before their time.
    pub ended: sessions::EndedSessions,
    /// Questions that clients of this process were asked.
    pub questions: Arc<rounds::Questions>,
    /// Handles of what servers ask clients.
    pub asked: TokenSealer,
    /// Positions in lists.
    pub cursors: TokenSealer,
    /// Calls that wait for their client's answer.
    pub parked: parked::Parked,
    /// Handles of parked calls.
    pub parking: TokenSealer,
    /// Ids of tasks.
    pub tasks: HandleSealer,
    /// What one caller may hold at the same time.
    pub caps: Arc<caps::Caps>,
    /// How much may be called.
    pub limits: Arc<limits::Limits>,
    /// The models of the configuration.
    pub models: llm::Models,
    /// Streams that end with the key of their caller.
    pub callers: callers::Callers,
    /// Conversations over the transport of 2024-11-05.
    pub conversations: conversations::Conversations,
    /// The other replicas.
    pub peers: peers::Peers,
    /// Answers that clients can come back to.
    pub streams: Arc<resumable::Streams>,
    /// Requests that can be cancelled.
    pub in_flight: sessions::InFlight,
    /// Where records go.
    pub recorder: record::Recorder,
    /// What was refused, on its way to the audit log.
    pub denials: trunkline_store::Denials,
    /// Numbers.
    pub metrics: metrics::Metrics,
    /// Names of tools, by catalogue.
    pub views: view::Views,
    /// Items on one page of a list; 0: all.
    pub list_page_size: AtomicUsize,
    /// Days that rows of the audit log are kept; 0: for ever.
    pub audit_retention_days: AtomicU32,
    /// Hours that records of calls are kept.
    pub record_retention_hours: AtomicU32,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids of requests.
    pub new_id: Arc<dyn Fn() -> String + Send + Sync>,
    /// What readiness says about the database.
    pub database: health::DatabaseState,
    /// Rules of the edge.
    pub edge: ArcSwap<accept::Edge>,
    /// What readiness says about the configuration file.
    pub configuration: health::ConfigurationState,
    /// Cancelled when the gateway stops: standing streams end.
    pub draining: CancellationToken,
}

/// How long a sealed session id is good for. Clients do not start over by themselves, so it is long; what is kept for a
/// session is reaped much earlier.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// The routes of the data plane besides the MCP endpoints, which [`accept::serve`] knows by [`scope::PathSelection`].
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/mcp/enabled", get(mcp::enabled))
        .route("/mcp-rest/tools/list", get(rest::list::handle))
        .route("/mcp-rest/tools/call", post(rest::call::handle))
        .route("/v1/mcp/tools", get(rest::tools::handle))
        .route("/health/liveliness", get(health::live))
        .route("/health/liveness", get(health::live))
        .route("/health/live", get(health::live))
        .route("/health/readiness", get(health::ready))
        .route("/metrics", get(metrics::handle))
        .merge(llm::router())
        .with_state(gateway)
}
