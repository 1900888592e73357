//! Route: a name or URI to the one server and the one thing it means there. A map lookup, never a split of the name (B16). A
//! name that could mean two things is an error, and nothing is sent (B36).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::{Era, ListKind, name, uri};
use trunkline_model::{Outcome, Server};
use trunkline_upstream::catalogue::Known;

use crate::Gateway;
use crate::context::Context;
use crate::listing::{self, ServerItems};
use crate::uris;

/// Where a call goes.
#[derive(Debug)]
pub struct Target {
    /// The server.
    pub server: Arc<Server>,
    /// The upstream's name of the tool or prompt, or its URI of the resource.
    pub name: String,
    /// The request named the server's prefix before the URI, so what comes back has it too.
    pub qualified: bool,
    /// Parameters of a tool that are mirrored in headers.
    pub header_params: Vec<HeaderParam>,
    /// A tool whose `outputSchema` this request sees wrapped, and so the values.
    pub wraps: bool,
    /// The tool runs as a task only (2025-11-25).
    pub needs_task: bool,
    /// The task that is asked about: the server's id and the client's.
    pub task: Option<(String, String)>,
    /// Annotations of a tool, where a condition reads them: JSON text.
    pub annotations: Option<Box<str>>,
    /// A tool as its server defines it, where calls of it may need an approval: JSON text.
    pub definition: Option<Box<str>>,
}

impl Target {
    /// A server, for what is asked of it as a whole.
    pub fn of_server(server: &Arc<Server>, method: &str) -> Self {
        Self {
            server: server.clone(),
            name: method.to_owned(),
            qualified: false,
            header_params: Vec::new(),
            wraps: false,
            needs_task: false,
            task: None,
            annotations: None,
            definition: None,
        }
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No server of the scope has it, or it is not for this caller: the two are not told apart.
    #[error("Unknown {}: {name}{}", noun(*kind), unavailable_note(unavailable, *kind))]
    Unknown {
        /// What was looked for.
        kind: ListKind,
        /// The name.
        name: String,
        /// Servers whose tools are not known, and why.
        unavailable: Vec<(String, String)>,
    },
    /// Several servers have it.
    #[error("{} {name:?} is ambiguous; use one of: {}", title(*kind), candidates.join(", "))]
    Ambiguous {
        /// What was looked for.
        kind: ListKind,
        /// The name.
        name: String,
        /// What to call instead.
        candidates: Vec<String>,
    },
    /// It is pinned with another definition than the one that its server has now.
    #[error(
        "Tool {name} is held back: its definition on MCP server {server:?} is not the one that was accepted; an administrator has to accept it"
    )]
    HeldBack {
        /// The server's prefix.
        server: String,
        /// The name.
        name: String,
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

/// What an item of a list is called.
pub fn noun(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tool",
        ListKind::Prompts => "prompt",
        ListKind::Resources | ListKind::ResourceTemplates => "resource",
    }
}

fn title(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "Tool name",
        ListKind::Prompts => "Prompt name",
        ListKind::Resources | ListKind::ResourceTemplates => "Resource URI",
    }
}

fn unavailable_note(unavailable: &[(String, String)], kind: ListKind) -> String {
    if unavailable.is_empty() {
        return String::new();
    }
    let list: Vec<String> = unavailable
        .iter()
        .map(|(server, why)| format!("{server} ({why})"))
        .collect();
    format!(
        ". It may belong to a server whose {}s are not known now: {}",
        noun(kind),
        list.join("; ")
    )
}

/// Finds the target of `name`. `only`: a server that the request names besides the tool (REST).
pub async fn find(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    name: &str,
    only: Option<&Arc<Server>>,
) -> Result<Target, RouteError> {
    let in_scope = |server: &&Arc<Server>| only.is_none_or(|only| only.id == server.id);
    if only.is_none() {
        // What everybody calls: a name from a list. Of any number of servers only those are looked at that can have it.
        let named = context.servers_named(kind, name);
        let known = listing::at_hand(gateway, context, kind, named);
        if let Some(found) = exposed(context, &known, name) {
            return Ok(found);
        }
    }
    let servers: Vec<&Arc<Server>> = context.servers_with(kind).filter(in_scope).collect();
    let known = listing::at_hand(gateway, context, kind, servers.iter().copied());
    if let Some(found) = lookup(context, &known, (kind, name), only.is_some())? {
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
        return Err(
            held_back(context, &known, (kind, name)).unwrap_or_else(|| RouteError::Unknown {
                kind,
                name: printable(name),
                unavailable: unavailable(&known),
            }),
        );
    }
    list_again(gateway, context, kind, &candidates, &known, wait).await;
    let known = listing::at_hand(gateway, context, kind, servers.iter().copied());
    if let Some(found) = lookup(context, &known, (kind, name), only.is_some())? {
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
        None => Err(
            held_back(context, &known, (kind, name)).unwrap_or_else(|| RouteError::Unknown {
                kind,
                name: printable(name),
                unavailable: unavailable(&known),
            }),
        ),
    }
}

/// Whether the name is that of a tool that pins hold back and this caller could use otherwise: it is told so, instead of looking for
/// a mistake of its own.
fn held_back(context: &Context, known: &[ServerItems], (kind, name): (ListKind, &str)) -> Option<RouteError> {
    let own = known.iter().find(|own| {
        let held = own
            .view
            .as_ref()
            .and_then(|view| view.catalogue.held(&own.server));
        let prefix = own.server.prefix();
        let bare = name.strip_prefix(prefix.as_str());
        let bare = bare.and_then(|rest| rest.strip_prefix(name::SEPARATOR));
        held.is_some_and(|held| {
            let mut names = [Some(name), bare].into_iter().flatten();
            names.any(|tool| held.holds(tool) && context.may_use(&own.server, kind, tool).is_allow())
        })
    })?;
    Some(RouteError::HeldBack {
        server: own.server.prefix(),
        name: printable(name),
    })
}

fn printable(name: &str) -> String {
    trunkline_upstream::fault::printable(name)
}

fn lookup(
    context: &Context,
    known: &[ServerItems],
    (kind, name): (ListKind, &str),
    bare_first: bool,
) -> Result<Option<Target>, RouteError> {
    if !bare_first && let Some(found) = exposed(context, known, name) {
        return Ok(Some(found));
    }
    let bare: Vec<(&ServerItems, &crate::view::ViewItem)> = known
        .iter()
        .filter_map(|own| Some((own, own.view.as_ref()?.find_own(name)?)))
        .collect();
    // A tool that this request may not use is no candidate: it is not listed either. Where there is no other, the call
    // is denied with its reason.
    let usable = |(own, tool): &(&ServerItems, &crate::view::ViewItem)| {
        context.may_list(&own.server, kind, tool).is_allow()
    };
    let bare = if bare.iter().any(usable) {
        bare.into_iter().filter(usable).collect()
    } else {
        bare.into_iter().take(1).collect::<Vec<_>>()
    };
    match &bare[..] {
        [] => {}
        [(own, tool)] => return Ok(Some(target(context, own, &tool.own))),
        several => {
            let candidates = several.iter().map(|(_, tool)| tool.exposed.clone()).collect();
            return Err(RouteError::Ambiguous {
                kind,
                name: printable(name),
                candidates,
            });
        }
    }
    Ok(exposed(context, known, name))
}

/// The target of a name as it stands in a list.
fn exposed(context: &Context, known: &[ServerItems], name: &str) -> Option<Target> {
    known.iter().find_map(|own| {
        let item = own.view.as_ref()?.find(name)?;
        Some(target(context, own, &item.own))
    })
}

/// What a server's own name means there.
fn target(context: &Context, own: &ServerItems, name: &str) -> Target {
    let item = own
        .view
        .as_ref()
        .and_then(|view| Some((view, view.catalogue.find(name)?)));
    Target {
        server: own.server.clone(),
        name: name.to_owned(),
        qualified: false,
        header_params: item
            .map(|(_, item)| item.header_params.clone())
            .unwrap_or_default(),
        wraps: context.era == Era::Legacy && item.is_some_and(|(_, item)| item.wraps),
        needs_task: item.is_some_and(|(view, item)| {
            item.needs_task && view.catalogue.introduction.capabilities.has("tasks")
        }),
        task: None,
        annotations: own
            .view
            .as_ref()
            .and_then(|view| view.find_own(name)?.annotations.clone()),
        definition: (!own.server.definition.tool_approval.is_empty())
            .then(|| item.map(|(_, item)| item.raw.get().into()))
            .flatten(),
    }
}

/// Whether listing the server could make the name known.
fn could_have(known: &[ServerItems], server: &Arc<Server>, name: &str) -> bool {
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
    kind: ListKind,
    servers: &[&Arc<Server>],
    known: &[ServerItems],
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
                gateway
                    .upstreams
                    .catalogue_again((kind, context.era), server, &client, wait)
                    .await
            } else {
                gateway
                    .upstreams
                    .catalogue((kind, context.era), server, &client, wait)
                    .await
            };
        }
    });
    join_all(asked).await;
}

fn unavailable(known: &[ServerItems]) -> Vec<(String, String)> {
    known
        .iter()
        .filter(|own| own.view.is_none())
        .map(|own| (own.server.prefix(), own.outcome.status.as_str().to_owned()))
        .collect()
}

/// Whether this request sees a tool's `outputSchema` wrapped, and so the values.
pub fn shows_wrapped(gateway: &Gateway, context: &Context, server: &Arc<Server>, tool: &str) -> bool {
    let known = listing::at_hand(gateway, context, ListKind::Tools, std::iter::once(server));
    let item = known
        .first()
        .and_then(|own| own.view.as_ref()?.catalogue.find(tool));
    context.era == Era::Legacy && item.is_some_and(|item| item.wraps)
}

/// Finds the server of a resource. A URI under a server's prefix says so itself; others are looked for in the lists, then
/// among the templates; and where one server alone can have resources, it is that one's.
pub async fn resource(gateway: &Gateway, context: &Context, uri: &str) -> Result<Target, RouteError> {
    let servers: Vec<&Arc<Server>> = context.whole_servers().collect();
    let target = |server: &Arc<Server>, uri: &str, qualified| Target {
        server: server.clone(),
        name: uri.to_owned(),
        qualified,
        header_params: Vec::new(),
        wraps: false,
        needs_task: false,
        task: None,
        annotations: None,
        definition: None,
    };
    let listed: Vec<&Arc<Server>> =
        listing::at_hand(gateway, context, ListKind::Resources, context.whole_servers())
            .iter()
            .filter(|items| items.lists(uri))
            .filter_map(|items| {
                servers
                    .iter()
                    .find(|server| server.id == items.server.id)
                    .copied()
            })
            .collect();
    // What one server lists is that one's, also where it reads like a name under the prefix of another.
    if let [only] = listed[..] {
        return Ok(target(only, uri, false));
    }
    if let [only] = servers[..] {
        // The form with the prefix can always be read: it may come from a list of more servers than these.
        return Ok(match uri::unqualified(&only.prefix(), uri) {
            Some(own) => target(only, &own, true),
            None => target(only, uri, false),
        });
    }
    for server in &servers {
        if let Some(own) = uri::unqualified(&server.prefix(), uri) {
            return Ok(target(server, &own, true));
        }
    }
    let unknown = RouteError::Unknown {
        kind: ListKind::Resources,
        name: printable(uri),
        unavailable: Vec::new(),
    };
    let able: Vec<&Arc<Server>> = servers
        .into_iter()
        .filter(|server| uris::may_have_resources(gateway, context, server))
        .collect();
    match able[..] {
        [] => return Err(unknown),
        [only] => return Ok(target(only, uri, false)),
        _ => {}
    }
    for kind in [ListKind::Resources, ListKind::ResourceTemplates] {
        let listing = listing::list(gateway, context, kind).await;
        let means = |own: &str| match kind {
            ListKind::ResourceTemplates => uri::matches_template(own, uri),
            _ => own == uri,
        };
        let mut found: Vec<&Arc<Server>> = listing
            .items(context)
            .filter(|(_, item)| means(&item.own))
            .map(|(own, _)| &own.server)
            .collect();
        found.dedup_by(|a, b| a.id == b.id);
        match found[..] {
            [] => {}
            [only] => return Ok(target(only, uri, false)),
            _ => {
                let candidates = found
                    .iter()
                    .map(|server| uri::qualified(&server.prefix(), uri))
                    .collect();
                return Err(RouteError::Ambiguous {
                    kind: ListKind::Resources,
                    name: printable(uri),
                    candidates,
                });
            }
        }
    }
    Err(unknown)
}

/// The one server of the request that a method without a name in it can be for: the only one, or the only one that
/// declares a capability or an extension of the method's name.
pub fn of_method(gateway: &Gateway, context: &Context, method: &str) -> Option<Target> {
    let family = method.split('/').next().unwrap_or_default();
    let client = context.client_headers();
    let declares = |server: &&Arc<Server>| {
        let known = gateway
            .upstreams
            .known((ListKind::Tools, context.era), server, &client);
        known.is_ok_and(|known| {
            known.catalogue.as_ref().is_some_and(|catalogue| {
                let capabilities = &catalogue.introduction.capabilities;
                capabilities.has(family)
                    || capabilities
                        .extensions()
                        .keys()
                        .any(|name| name.rsplit('/').next() == Some(family))
            })
        })
    };
    let servers: Vec<&Arc<Server>> = context.whole_servers().collect();
    let able: Vec<&Arc<Server>> = match servers[..] {
        // Servers of the old era answer methods that they do not know with all kinds of errors, where the new one has
        // one; so they are asked only what they declare.
        [only] if context.era == Era::Legacy || gateway.upstreams.speaks(only, Era::Modern) => vec![only],
        _ => servers.into_iter().filter(declares).collect(),
    };
    match able[..] {
        [only] => Some(Target::of_server(only, method)),
        _ => None,
    }
}
