//! Numbers for Prometheus. `GET /metrics` wants the gateway's key; a listener of its own does not (`--metrics-addr`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use trunkline_auth::Surface;
use trunkline_llm::Usage;
use trunkline_model::{CallKind, CallRecord, Server};

use crate::Gateway;
use crate::answer;
use crate::context::identify;
use crate::denied;

/// Models that have a series of their own.
const MOST_MODELS: usize = 1000;
/// The name of the one of all others, as of tags.
const OTHER_MODELS: &str = "(other)";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByServer {
    mcp_server_id: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerState {
    mcp_server_name: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerHealth {
    mcp_server_name: String,
    health: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerCircuit {
    mcp_server_name: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HeldBack {
    mcp_server_name: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HiddenText {
    mcp_server_name: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByModel {
    model: String,
    kind: &'static str,
}

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<ByOutcome, Counter>,
    model_tokens: Family<ByModel, Counter>,
    /// The models that have a series of their own.
    models: Mutex<HashSet<String>>,
    tool_calls: Family<ByServer, Counter>,
    list_seconds: Histogram,
    call_seconds: Histogram,
    list_failures: Family<ServerState, Counter>,
    server_up: Family<ServerState, Gauge>,
    server_health: Family<ServerHealth, Gauge>,
    server_circuit: Family<ServerCircuit, Gauge>,
    held_back: Family<HeldBack, Gauge>,
    hidden_text: Family<HiddenText, Gauge>,
    tools: Gauge,
    in_flight: Gauge,
    records_lost: Gauge,
    denials_lost: Gauge,
    config_valid: Gauge,
    config_loaded: Gauge,
    sessions: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 18));
        let metrics = Self {
            requests: Family::default(),
            model_tokens: Family::default(),
            models: Mutex::default(),
            tool_calls: Family::default(),
            list_seconds: seconds(),
            call_seconds: seconds(),
            list_failures: Family::default(),
            server_up: Family::default(),
            server_health: Family::default(),
            server_circuit: Family::default(),
            held_back: Family::default(),
            hidden_text: Family::default(),
            tools: Gauge::default(),
            in_flight: Gauge::default(),
            records_lost: Gauge::default(),
            denials_lost: Gauge::default(),
            config_valid: Gauge::default(),
            config_loaded: Gauge::default(),
            sessions: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "trunkline_mcp_requests",
            "Operations by kind and outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "trunkline_llm_tokens",
            "Tokens by model, as answers count them: input and output",
            metrics.model_tokens.clone(),
        );
        registry.register(
            "litellm_mcp_tool_calls",
            "Tool calls by server and outcome",
            metrics.tool_calls.clone(),
        );
        registry.register_with_unit(
            "trunkline_mcp_list_duration",
            "Time of a tools/list",
            Unit::Seconds,
            metrics.list_seconds.clone(),
        );
        registry.register_with_unit(
            "trunkline_mcp_call_duration",
            "Time of a tools/call",
            Unit::Seconds,
            metrics.call_seconds.clone(),
        );
        registry.register(
            "trunkline_mcp_list_failures",
            "Servers that a list had to do without, or answered from an old copy",
            metrics.list_failures.clone(),
        );
        metrics.register_servers(&mut registry);
        registry.register(
            "trunkline_mcp_tools",
            "Tools of all servers",
            metrics.tools.clone(),
        );
        registry.register(
            "trunkline_mcp_calls_in_flight",
            "Calls under way that can be cancelled",
            metrics.in_flight.clone(),
        );
        registry.register(
            "trunkline_mcp_upstream_sessions",
            "Upstream sessions that are open here",
            metrics.sessions.clone(),
        );
        registry.register(
            "trunkline_call_records_lost",
            "Call records that could not be kept",
            metrics.records_lost.clone(),
        );
        registry.register(
            "trunkline_audit_denials_lost",
            "Denials that are not in the audit log, because the database did not take them in time",
            metrics.denials_lost.clone(),
        );
        registry.register(
            "trunkline_config_valid",
            "1 if the configuration file, as it is now, is the one that holds",
            metrics.config_valid.clone(),
        );
        registry.register_with_unit(
            "trunkline_config_loaded_timestamp",
            "When the configuration that holds was read",
            Unit::Seconds,
            metrics.config_loaded.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// What is counted by server.
    fn register_servers(&self, registry: &mut Registry) {
        registry.register(
            "trunkline_mcp_server_up",
            "1 if the server is usable, with its outcome",
            self.server_up.clone(),
        );
        registry.register(
            "trunkline_mcp_server_health",
            "1 for what the server is: healthy, degraded, down, needs_auth, unknown_per_user or pending",
            self.server_health.clone(),
        );
        registry.register(
            "trunkline_mcp_server_circuit",
            "1 for the state of the server's circuit breaker: closed, open or half_open",
            self.server_circuit.clone(),
        );
        registry.register(
            "trunkline_mcp_tools_held_back",
            "Tools that the server lists and its pins keep from clients: changed or new",
            self.held_back.clone(),
        );
        registry.register(
            "trunkline_mcp_hidden_text",
            "Characters and sequences in the definitions of the server's tools that people do not see, by kind",
            self.hidden_text.clone(),
        );
    }

    /// Counts one operation.
    pub fn count(&self, record: &CallRecord, took: Duration) {
        self.requests
            .get_or_create(&ByOutcome {
                kind: record.kind.as_str(),
                outcome: record.outcome,
            })
            .inc();
        match record.kind {
            CallKind::ListTools => self.list_seconds.observe(took.as_secs_f64()),
            CallKind::CallTool => {
                self.call_seconds.observe(took.as_secs_f64());
                if let Some(id) = &record.server_id {
                    let labels = ByServer {
                        mcp_server_id: id.shared().clone(),
                        outcome: record.outcome,
                    };
                    self.tool_calls.get_or_create(&labels).inc();
                }
            }
            _ => {}
        }
    }

    /// Counts what an answer of a model says that it took. `model` is a name of the configuration's.
    pub fn count_tokens(&self, model: &str, usage: &Usage) {
        let kinds = [("input", usage.input), ("output", usage.output)];
        let model = self.series(model);
        for (kind, tokens) in kinds {
            if let Some(tokens) = tokens {
                let labels = ByModel {
                    model: model.to_owned(),
                    kind,
                };
                self.model_tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
    }

    /// The name of a model's series. A name with `*` in `model_list` may stand for any that a client makes up: what is more than [`MOST_MODELS`]
    /// is one series.
    fn series<'m>(&self, model: &'m str) -> &'m str {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) {
            return model;
        }
        if models.len() >= MOST_MODELS {
            return OTHER_MODELS;
        }
        models.insert(model.to_owned());
        model
    }

    /// Counts a server that a list had to do without (B10).
    pub fn count_list_failure(&self, server: &str, outcome: &'static str) {
        let labels = ServerState {
            mcp_server_name: server.to_owned(),
            outcome: outcome.to_owned(),
        };
        self.list_failures.get_or_create(&labels).inc();
    }

    /// What of a server's definitions somebody should look at.
    fn definitions(&self, gateway: &Gateway, server: &Arc<Server>) {
        if let Some(held) = gateway.upstreams.held(server) {
            for (reason, count) in [("changed", held.changed.len()), ("new", held.new.len())] {
                let labels = HeldBack {
                    mcp_server_name: server.prefix(),
                    reason,
                };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.held_back.get_or_create(&labels).set(count);
            }
        }
        let hidden = gateway.upstreams.hidden_text(server);
        let Some(hidden) = hidden.filter(|hidden| hidden.total() > 0) else {
            return;
        };
        for (kind, count) in hidden.kinds() {
            let labels = HiddenText {
                mcp_server_name: server.prefix(),
                kind,
            };
            self.hidden_text.get_or_create(&labels).set(i64::from(count));
        }
    }

    /// The text for a scrape, with the servers' states as they are now.
    pub fn render(&self, gateway: &Gateway) -> String {
        self.server_up.clear();
        self.server_health.clear();
        self.server_circuit.clear();
        self.held_back.clear();
        self.hidden_text.clear();
        let mut tools = 0;
        for server in gateway
            .registry
            .snapshot()
            .servers()
            .iter()
            .filter(|server| server.is_active())
        {
            let outcome = gateway.upstreams.outcome(server);
            tools += gateway.upstreams.tool_count(server).unwrap_or(0);
            self.definitions(gateway, server);
            let health = ServerHealth {
                mcp_server_name: server.prefix(),
                health: gateway.upstreams.health(server).as_str(),
            };
            self.server_health.get_or_create(&health).set(1);
            let circuit = ServerCircuit {
                mcp_server_name: server.prefix(),
                state: gateway.upstreams.circuit(server).as_str(),
            };
            self.server_circuit.get_or_create(&circuit).set(1);
            let labels = ServerState {
                mcp_server_name: server.prefix(),
                outcome: outcome.status.as_str().to_owned(),
            };
            self.server_up
                .get_or_create(&labels)
                .set(i64::from(outcome.is_ok()));
        }
        self.tools.set(i64::try_from(tools).unwrap_or(i64::MAX));
        self.in_flight
            .set(i64::try_from(gateway.in_flight.len()).unwrap_or(i64::MAX));
        self.sessions
            .set(i64::try_from(gateway.upstreams.session_count()).unwrap_or(i64::MAX));
        self.records_lost
            .set(i64::try_from(gateway.recorder.lost()).unwrap_or(i64::MAX));
        self.denials_lost
            .set(i64::try_from(gateway.denials.lost()).unwrap_or(i64::MAX));
        let read = gateway.configuration.read();
        self.config_valid
            .set(i64::from(read.is_none_or(|read| read.mistakes == 0)));
        self.config_loaded
            .set(read.map_or(0, |read| read.loaded_at.as_second()));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// `GET /metrics`.
pub async fn handle(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    match identify(&gateway, &headers, Surface::Management, "/metrics") {
        Ok((principal, _)) if principal.is_proxy_admin() => page(&gateway),
        // It names every server.
        Ok((principal, _)) => {
            let status = StatusCode::FORBIDDEN;
            denied::management(&gateway, &principal, "GET /metrics", status);
            answer::detail(status, "this route needs a proxy admin")
        }
        Err(error) => answer::unauthorized(error, false),
    }
}

/// The scrape's answer, for the listener of its own too.
pub fn page(gateway: &Gateway) -> Response {
    let mut response = answer::json(StatusCode::OK, gateway.metrics.render(gateway));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_make_up_are_one_series_from_some_number_on() {
        let metrics = Metrics::default();
        let usage = Usage {
            input: Some(1),
            ..Usage::default()
        };
        for number in 0..MOST_MODELS + 5 {
            metrics.count_tokens(&format!("made/{number}"), &usage);
        }
        metrics.count_tokens("made/0", &usage);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let series = text
            .lines()
            .filter(|line| line.starts_with("trunkline_llm_tokens_total{"));
        assert_eq!(series.count(), MOST_MODELS + 1);
        assert!(text.contains(r#"{model="(other)",kind="input"} 5"#), "{text}");
        assert!(text.contains(r#"{model="made/0",kind="input"} 2"#), "{text}");
    }
}
