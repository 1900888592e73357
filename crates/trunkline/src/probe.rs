//! The management API's view of the upstreams: the same upstreams that serve.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use trunkline_admin::{BoxFuture, Probe, ProbeStep, ServerProbe, ToolList};
use trunkline_mcp::hidden::Removed;
use trunkline_model::Clock as _;
use trunkline_model::{Circuit, Outcome, OutcomeStatus, Server, ServerId, Snapshot, SystemClock};
use trunkline_store::Registry;
use trunkline_upstream::{Catalogue, ClientHeaders, ProgramState, Upstreams};

/// Wires the upstreams in.
pub(crate) struct UpstreamProbe {
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) registry: Arc<Registry>,
}

impl ServerProbe for UpstreamProbe {
    fn probe<'a>(&'a self, server: &'a Server, client_headers: &'a HeaderMap) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            let snapshot = Snapshot::new(0, vec![Arc::new(server.clone())]);
            let client = ClientHeaders::stripped(client_headers, &snapshot);
            let found = self.upstreams.probe(server, &client).await;
            Probe {
                outcome: found.outcome,
                steps: found
                    .steps
                    .into_iter()
                    .map(|step| ProbeStep {
                        step: step.step,
                        ok: step.ok,
                        http_status: step.http_status,
                        session_id: step.session_id,
                        duration_ms: step.duration_ms,
                        detail: step.detail,
                    })
                    .collect(),
                tools: found.tools,
                protocol_version: found.protocol_version,
            }
        })
    }

    fn outcome(&self, server: &Server) -> Outcome {
        if let Some(server) = self
            .registry
            .snapshot()
            .get(&server.id)
            .filter(|server| server.is_active())
        {
            return self.upstreams.outcome(server);
        }
        Outcome {
            status: OutcomeStatus::PendingReview,
            message: format!(
                "approval status is {}: it serves nobody",
                server.approval.status.as_str()
            ),
            ..Outcome::ok(SystemClock.now(), 0)
        }
    }

    fn circuit(&self, server: &Server) -> Circuit {
        let snapshot = self.registry.snapshot();
        let server = snapshot.get(&server.id).filter(|server| server.is_active());
        server.map_or(Circuit::Closed, |server| self.upstreams.circuit(server))
    }

    fn tool_count(&self, id: &ServerId) -> Option<usize> {
        let snapshot = self.registry.snapshot();
        self.upstreams.tool_count(snapshot.get(id)?)
    }

    fn has_tool(&self, server: &Arc<Server>, tool: &str) -> Option<bool> {
        let snapshot = self.registry.snapshot();
        let server = snapshot.get(&server.id).filter(|server| server.is_active())?;
        self.upstreams.has_tool(server, tool)
    }

    fn annotations(&self, server: &Arc<Server>, tool: &str) -> Option<String> {
        let snapshot = self.registry.snapshot();
        let server = snapshot.get(&server.id).filter(|server| server.is_active())?;
        self.upstreams.annotations(server, tool)
    }

    fn programs(&self, id: &ServerId) -> Value {
        let states = self.upstreams.programs(id);
        states.iter().map(shown).collect()
    }

    fn tool_lists(&self, server: &Arc<Server>) -> Vec<ToolList> {
        let lists = self.upstreams.tool_lists(server);
        lists.iter().map(|list| listed(list)).collect()
    }

    fn list_tools<'a>(&'a self, server: &'a Arc<Server>) -> BoxFuture<'a, Result<Vec<ToolList>, Outcome>> {
        Box::pin(async move {
            let lists = self.upstreams.list_tools(server).await?;
            Ok(lists.iter().map(|list| listed(list)).collect())
        })
    }

    fn hidden_text(&self, id: &ServerId) -> Option<Removed> {
        let snapshot = self.registry.snapshot();
        let server = snapshot.get(id).filter(|server| server.is_active())?;
        self.upstreams.hidden_text(server)
    }

    fn refresh<'a>(&'a self, server: &'a Arc<Server>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if server.is_active() {
                self.upstreams.refresh(server).await
            } else {
                self.outcome(server)
            }
        })
    }
}

fn listed(list: &Catalogue) -> ToolList {
    let tools = list.items.iter();
    ToolList {
        tools: tools
            .map(|tool| (tool.name.clone(), tool.raw.get().to_owned()))
            .collect(),
        hidden: list.hidden,
        fetched_at: list.fetched_at,
    }
}

fn shown(program: &ProgramState) -> Value {
    json!({
        "state": program.life.as_str(),
        "pid": program.pid,
        "started_at": program.started_at.map(|at| at.to_string()),
        "restarts": program.restarts,
        "not_before": program.not_before.map(|at| at.to_string()),
        "last_exit": program.last_exit,
        "in_flight": program.in_flight,
        "sessions": program.sessions,
        "junk_lines": program.junk_lines,
        "stderr": program.stderr,
        "hints": program.hints,
    })
}
