//! List: the tools that a request may use, and why others are not there. The only way to list, for MCP and REST alike.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value};
use trunkline_model::{Outcome, OutcomeStatus, Server};
use trunkline_upstream::catalogue::Known;

use crate::Gateway;
use crate::context::Context;
use crate::outcomes;
use crate::view::View;

/// What one server contributes.
pub struct ServerTools {
    /// The server.
    pub server: Arc<Server>,
    /// What came of the last attempt.
    pub outcome: Outcome,
    /// The copy is not of the last attempt.
    pub stale: bool,
    /// Its tools under their exposed names; `None` if nothing is known that may be shown.
    pub view: Option<Arc<View>>,
}

/// A listing over all servers of a request.
pub struct Listing {
    /// In the registry's order.
    pub servers: Vec<ServerTools>,
    /// Names in the selection that select nothing.
    pub unresolved: Vec<String>,
}

/// Lists. Waits at most the fan-out deadline, and only for servers of which nothing is known.
pub async fn list(gateway: &Gateway, context: &Context) -> Listing {
    let wait = gateway.upstreams.settings().fanout_deadline;
    let listing = list_within(gateway, context, wait).await;
    for own in listing.servers.iter().filter(|own| !own.outcome.is_ok()) {
        gateway
            .metrics
            .count_list_failure(&own.server.prefix(), own.outcome.status.as_str());
    }
    listing
}

/// The same with another deadline.
pub async fn list_within(gateway: &Gateway, context: &Context, wait: Duration) -> Listing {
    let client = context.client_headers();
    let asked = context.servers().map(|server| async {
        match gateway.upstreams.catalogue(server, &client, wait).await {
            Ok(known) => contribution(gateway, context, server, &known),
            Err(fault) => ServerTools {
                server: server.clone(),
                outcome: fault.outcome(gateway.clock.now(), Duration::ZERO),
                stale: false,
                view: None,
            },
        }
    });
    Listing {
        servers: join_all(asked).await,
        unresolved: context.selection.unresolved.clone(),
    }
}

/// What a server contributes, from what is known about it.
pub fn contribution(
    gateway: &Gateway,
    context: &Context,
    server: &Arc<Server>,
    known: &Known,
) -> ServerTools {
    let bare = context.bare_names(server);
    let view = known
        .usable()
        .map(|catalogue| gateway.views.get(&context.snapshot, server, catalogue, bare));
    ServerTools {
        server: server.clone(),
        outcome: known.outcome.clone(),
        stale: known.stale && view.is_some(),
        view,
    }
}

impl Listing {
    /// The tools that the policy lets this request use, with the server they are of.
    pub fn tools<'a>(
        &'a self,
        context: &'a Context,
    ) -> impl Iterator<Item = (&'a ServerTools, &'a crate::view::ViewTool)> {
        self.servers.iter().flat_map(move |own| {
            let tools = own.view.iter().flat_map(|view| &view.tools);
            tools
                .filter(|tool| context.may_use(&own.server, &tool.own).is_allow())
                .map(move |tool| (own, tool))
        })
    }

    /// Why nothing can be listed, if every selected server failed: an error must not become an empty success.
    pub fn failure(&self) -> Option<String> {
        let nothing = !self.servers.is_empty() && self.servers.iter().all(|own| own.view.is_none());
        nothing.then(|| {
            let reasons: Vec<String> = self
                .servers
                .iter()
                .map(|own| format!("{}: {}", own.server.prefix(), own.outcome.summary()))
                .collect();
            format!("No MCP server could be listed. {}", reasons.join("; "))
        })
    }

    /// The outcome to answer with when there is exactly one server and it failed.
    pub fn only_failure(&self) -> Option<&ServerTools> {
        match &self.servers[..] {
            [only] if only.view.is_none() => Some(only),
            _ => None,
        }
    }

    /// Every server's outcome, by prefix.
    pub fn outcomes(&self, context: &Context) -> Map<String, Value> {
        let mut map = Map::new();
        for own in &self.servers {
            let count = own.view.as_ref().map(|view| {
                view.tools
                    .iter()
                    .filter(|tool| context.may_use(&own.server, &tool.own).is_allow())
                    .count()
            });
            map.insert(
                own.server.prefix(),
                outcomes::to_json(&own.outcome, count, own.stale),
            );
        }
        for name in &self.unresolved {
            map.insert(trunkline_upstream::fault::printable(name), outcomes::unresolved());
        }
        map
    }

    /// The record's word for it.
    pub fn outcome_word(&self) -> &'static str {
        if self.failure().is_some() {
            self.servers
                .first()
                .map_or(OutcomeStatus::Internal, |own| own.outcome.status)
                .as_str()
        } else {
            OutcomeStatus::Ok.as_str()
        }
    }

    /// Names and definitions, for noticing a change.
    pub fn digest(&self, context: &Context) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        for (_, tool) in self.tools(context) {
            tool.json.hash(&mut hasher);
        }
        hasher.finish()
    }
}
