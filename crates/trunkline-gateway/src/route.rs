//! Route: a tool's name to the one server and the one tool it means. A map lookup, never a split of the name (B16). A
//! name that could mean two things is an error, and nothing is sent (B36).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use trunkline_mcp::name;
use trunkline_model::{Outcome, Server};
use trunkline_upstream::catalogue::Known;

use crate::Gateway;
use crate::context::Context;
use crate::listing::{ServerTools, contribution};

/// Where a call goes.
#[derive(Debug)]
pub struct Target {
    /// The server.
    pub server: Arc<Server>,
    /// The upstream's name of the tool.
    pub tool: String,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No server of the scope has it, or it is not for this caller: the two are not told apart.
    #[error("Unknown tool: {name}{}", unavailable_note(unavailable))]
    Unknown {
        /// The name.
        name: String,
        /// Servers whose tools are not known, and why.
        unavailable: Vec<(String, String)>,
    },
    /// Several servers have it.
    #[error("Tool name {name:?} is ambiguous; use one of: {}", candidates.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// What to call instead.
        candidates: Vec<String>,
    },
    /// Its server cannot be used.
    #[error("MCP server {server:?} is not usable: {}", outcome.summary())]
    Unavailable {
        /// The server's prefix.
        server: String,
        /// Why.
        outcome: Box<Outcome>,
    },
}

fn unavailable_note(unavailable: &[(String, String)]) -> String {
    if unavailable.is_empty() {
        return String::new();
    }
    let list: Vec<String> = unavailable
        .iter()
        .map(|(server, why)| format!("{server} ({why})"))
        .collect();
    format!(
        ". It may belong to a server whose tools are not known now: {}",
        list.join("; ")
    )
}

/// Finds the target of `name`. `only`: a server that the request names besides the tool (REST).
pub async fn find(
    gateway: &Gateway,
    context: &Context,
    name: &str,
    only: Option<&Arc<Server>>,
) -> Result<Target, RouteError> {
    let in_scope = |server: &&Arc<Server>| only.is_none_or(|only| only.id == server.id);
    let servers: Vec<&Arc<Server>> = context.servers().filter(in_scope).collect();
    let known = at_hand(gateway, context, &servers);
    if let Some(found) = lookup(context, &known, name, only.is_some())? {
        return Ok(found);
    }
    // Not known yet: list those that could have it, then look again.
    let wait = gateway.upstreams.settings().fanout_deadline;
    let candidates: Vec<&Arc<Server>> = servers
        .iter()
        .copied()
        .filter(|server| could_have(&known, server, name))
        .collect();
    if candidates.is_empty() {
        return Err(RouteError::Unknown {
            name: printable(name),
            unavailable: unavailable(&known),
        });
    }
    list_again(gateway, context, &candidates, &known, wait).await;
    let known = at_hand(gateway, context, &servers);
    if let Some(found) = lookup(context, &known, name, only.is_some())? {
        return Ok(found);
    }
    match known
        .iter()
        .find(|own| own.view.is_none() && (only.is_some() || has_prefix(&own.server, name)))
    {
        Some(own) => Err(RouteError::Unavailable {
            server: own.server.prefix(),
            outcome: Box::new(own.outcome.clone()),
        }),
        None => Err(RouteError::Unknown {
            name: printable(name),
            unavailable: unavailable(&known),
        }),
    }
}

fn printable(name: &str) -> String {
    trunkline_upstream::fault::printable(name)
}

/// What is known about each server now.
fn at_hand(gateway: &Gateway, context: &Context, servers: &[&Arc<Server>]) -> Vec<ServerTools> {
    let client = context.client_headers();
    servers
        .iter()
        .map(|server| match gateway.upstreams.known(server, &client) {
            Ok(known) => contribution(gateway, context, server, &known),
            Err(fault) => ServerTools {
                server: (*server).clone(),
                outcome: fault.outcome(gateway.clock.now(), Duration::ZERO),
                stale: false,
                view: None,
            },
        })
        .collect()
}

fn lookup(
    context: &Context,
    known: &[ServerTools],
    name: &str,
    bare_first: bool,
) -> Result<Option<Target>, RouteError> {
    let target = |own: &ServerTools, tool: &str| Target {
        server: own.server.clone(),
        tool: tool.to_owned(),
    };
    if !bare_first {
        for own in known {
            if let Some(tool) = own.view.as_ref().and_then(|view| view.find(name)) {
                return Ok(Some(target(own, &tool.own)));
            }
        }
    }
    let bare: Vec<(&ServerTools, &crate::view::ViewTool)> = known
        .iter()
        .filter_map(|own| Some((own, own.view.as_ref()?.find_own(name)?)))
        .collect();
    // A tool that this request may not use is no candidate: it is not listed either. Where there is no other, the call
    // is denied with its reason.
    let usable = |(own, tool): &(&ServerTools, &crate::view::ViewTool)| {
        context.may_use(&own.server, &tool.own).is_allow()
    };
    let bare = if bare.iter().any(usable) {
        bare.into_iter().filter(usable).collect()
    } else {
        bare.into_iter().take(1).collect::<Vec<_>>()
    };
    match &bare[..] {
        [] => {}
        [(own, tool)] => return Ok(Some(target(own, &tool.own))),
        several => {
            let candidates = several.iter().map(|(_, tool)| tool.exposed.clone()).collect();
            return Err(RouteError::Ambiguous {
                name: printable(name),
                candidates,
            });
        }
    }
    let exposed = known
        .iter()
        .find_map(|own| Some((own, own.view.as_ref()?.find(name)?)));
    Ok(exposed.map(|(own, tool)| target(own, &tool.own)))
}

/// Whether listing the server could make the name known.
fn could_have(known: &[ServerTools], server: &Arc<Server>, name: &str) -> bool {
    let own = known.iter().find(|own| own.server.id == server.id);
    own.is_none_or(|own| own.view.is_none()) || has_prefix(server, name) || known.len() == 1
}

fn has_prefix(server: &Server, name: &str) -> bool {
    name.strip_prefix(server.prefix().as_str())
        .is_some_and(|rest| rest.starts_with(name::SEPARATOR))
}

async fn list_again(
    gateway: &Gateway,
    context: &Context,
    servers: &[&Arc<Server>],
    known: &[ServerTools],
    wait: Duration,
) {
    let client = context.client_headers();
    let asked = servers.iter().map(|server| {
        let listed = known
            .iter()
            .any(|own| own.server.id == server.id && own.view.is_some());
        async move {
            // What comes of it is read from what is known afterwards.
            let _: Result<Arc<Known>, _> = if listed {
                gateway.upstreams.catalogue_again(server, &client, wait).await
            } else {
                gateway.upstreams.catalogue(server, &client, wait).await
            };
        }
    });
    join_all(asked).await;
}

fn unavailable(known: &[ServerTools]) -> Vec<(String, String)> {
    known
        .iter()
        .filter(|own| own.view.is_none())
        .map(|own| (own.server.prefix(), own.outcome.status.as_str().to_owned()))
        .collect()
}
