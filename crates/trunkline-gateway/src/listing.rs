//! List: the tools, prompts, resources and templates that a request may use, and why others are not there. The only way
//! to list, for MCP and REST alike.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value};
use trunkline_mcp::hidden::Removed;
use trunkline_mcp::{Era, ListKind};
use trunkline_model::{Outcome, OutcomeStatus, Server};
use trunkline_upstream::catalogue::Known;

use crate::Gateway;
use crate::context::Context;
use crate::outcomes;
use crate::view::{Form, View};

/// What one server contributes.
pub struct ServerItems {
    /// The server.
    pub server: Arc<Server>,
    /// What came of the last attempt.
    pub outcome: Outcome,
    /// The copy is not of the last attempt.
    pub stale: bool,
    /// Counts the times that the server said that the list has changed.
    pub generation: u64,
    /// Its items under their exposed names; `None` if nothing is known that may be shown.
    pub view: Option<Arc<View>>,
}

impl ServerItems {
    /// Whether the server's own name, URI or template is in its list, as far as that is known.
    pub fn lists(&self, own: &str) -> bool {
        let view = self.view.as_ref();
        view.is_some_and(|view| view.find_own(own).is_some())
    }
}

/// A listing over all servers of a request.
pub struct Listing {
    /// What is listed.
    pub kind: ListKind,
    /// In the registry's order.
    pub servers: Vec<ServerItems>,
    /// Names in the selection that select nothing.
    pub unresolved: Vec<String>,
}

/// Lists. Waits at most the fan-out deadline, and only for servers of which nothing is known.
pub async fn list(gateway: &Gateway, context: &Context, kind: ListKind) -> Listing {
    let wait = gateway.upstreams.settings().fanout_deadline;
    let listing = list_within(gateway, context, kind, wait).await;
    for own in listing.servers.iter().filter(|own| !own.outcome.is_ok()) {
        gateway
            .metrics
            .count_list_failure(&own.server.prefix(), own.outcome.status.as_str());
    }
    listing
}

/// The same with another deadline.
pub async fn list_within(gateway: &Gateway, context: &Context, kind: ListKind, wait: Duration) -> Listing {
    let client = context.client_headers();
    let asked = context.servers_with(kind).map(|server| async {
        match gateway
            .upstreams
            .catalogue((kind, context.era), server, &client, wait)
            .await
        {
            Ok(known) => contribution(gateway, context, server, &known),
            Err(fault) => ServerItems {
                server: server.clone(),
                outcome: fault.outcome(gateway.clock.now(), Duration::ZERO),
                stale: false,
                generation: 0,
                view: None,
            },
        }
    });
    Listing {
        kind,
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
) -> ServerItems {
    let form = Form {
        bare: context.bare_names(server),
        wrapped: context.era == Era::Legacy,
    };
    let view = known
        .usable()
        .map(|catalogue| gateway.views.get(&context.snapshot, server, catalogue, form));
    let mut outcome = known.outcome.clone();
    if let Some(rejected) = view.as_ref().map(|view| &view.rejected) {
        outcome.rejected.extend(rejected);
    }
    ServerItems {
        server: server.clone(),
        outcome,
        stale: known.stale && view.is_some(),
        generation: known.generation,
        view,
    }
}

/// What is known now, without asking anybody.
pub fn at_hand<'s>(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    servers: impl Iterator<Item = &'s Arc<Server>>,
) -> Vec<ServerItems> {
    let client = context.client_headers();
    servers
        .map(
            |server| match gateway.upstreams.known((kind, context.era), server, &client) {
                Ok(known) => contribution(gateway, context, server, &known),
                Err(fault) => ServerItems {
                    server: server.clone(),
                    outcome: fault.outcome(gateway.clock.now(), Duration::ZERO),
                    stale: false,
                    generation: 0,
                    view: None,
                },
            },
        )
        .collect()
}

impl Listing {
    /// The items that the policy lets this request use, with the server they are of.
    pub fn items<'a>(
        &'a self,
        context: &'a Context,
    ) -> impl Iterator<Item = (&'a ServerItems, &'a crate::view::ViewItem)> {
        self.servers.iter().flat_map(move |own| {
            let items = own.view.iter().flat_map(|view| &view.items);
            items
                .filter(|item| context.may_list(&own.server, self.kind, item).is_allow())
                .map(move |item| (own, item))
        })
    }

    /// Hidden text that was taken out of what is listed.
    pub fn removed(&self) -> Removed {
        let views = self.servers.iter().filter_map(|own| own.view.as_ref());
        views.fold(Removed::default(), |all, view| all.and(view.catalogue.removed))
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
    pub fn only_failure(&self) -> Option<&ServerItems> {
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
                view.items
                    .iter()
                    .filter(|item| context.may_list(&own.server, self.kind, item).is_allow())
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
}

/// Names and definitions that a request sees of one server's list, for noticing a change; `None` if nothing is known.
pub fn digest(context: &Context, kind: ListKind, own: &ServerItems) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    // That something changed which is held back is nobody's news (S29).
    if kind != ListKind::Tools || own.server.definition.pins().is_off() {
        own.generation.hash(&mut hasher);
    }
    for item in &own.view.as_ref()?.items {
        if context.may_list(&own.server, kind, item).is_allow() {
            item.hash.hash(&mut hasher);
        }
    }
    Some(hasher.finish())
}
