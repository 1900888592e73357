//! Resource URIs as clients see them, in lists, results and notifications (design §5): the server's own where only one
//! server of the request can mean it, else under the server's prefix, so that a link leads back to where it came from.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::{ListKind, apps, uri};
use trunkline_model::{Server, ServerId};

use crate::Gateway;
use crate::context::Context;
use crate::listing::{self, Listing, ServerItems};

/// The URIs (or templates) of a list that more than one server has, or that read like another server's: a list shows each under
/// its server's prefix.
pub fn shared<'l>(listing: &'l Listing, context: &'l Context) -> HashSet<&'l str> {
    let mut shared = HashSet::new();
    if !listing.kind.by_uri() || listing.servers.len() < 2 {
        return shared;
    }
    let mut seen: HashMap<&str, &ServerId> = HashMap::new();
    for (own, item) in listing.items(context) {
        if looks_qualified(context, &item.own)
            || *seen.entry(&item.own).or_insert(&own.server.id) != &own.server.id
        {
            shared.insert(item.own.as_str());
        }
    }
    shared
}

/// Whether a server's own URI reads like one under the prefix of a server of this request, as `git+https://…` does beside one
/// that is called `git`.
fn looks_qualified(context: &Context, own: &str) -> bool {
    context.several()
        && own.contains('+')
        && context
            .servers()
            .any(|server| uri::unqualified(&server.prefix(), own).is_some())
}

/// The URIs of one server as a client of one request can read them. What is needed for it is looked up once, however many
/// there are: a result may hold thousands (S38).
pub struct Exposer<'a> {
    gateway: &'a Gateway,
    context: &'a Context,
    server: &'a Server,
    listed: OnceCell<Vec<ServerItems>>,
    /// Whether another server of the request could mean a URI of its own by it.
    others: OnceCell<bool>,
}

impl<'a> Exposer<'a> {
    /// For what `server` says.
    pub fn new(gateway: &'a Gateway, context: &'a Context, server: &'a Server) -> Self {
        Self {
            gateway,
            context,
            server,
            listed: OnceCell::new(),
            others: OnceCell::new(),
        }
    }

    /// The URI as the client can read it, if that is not the server's own.
    pub fn exposed(&self, own: &str) -> Option<String> {
        let (gateway, context) = (self.gateway, self.context);
        if !context.several() {
            return None;
        }
        let qualified = || Some(uri::qualified(&self.server.prefix(), own));
        if looks_qualified(context, own) {
            return qualified();
        }
        let listed = self
            .listed
            .get_or_init(|| listing::at_hand(gateway, context, ListKind::Resources, context.servers()));
        let (mut here, mut elsewhere) = (false, false);
        for items in listed.iter().filter(|items| items.lists(own)) {
            if items.server.id == self.server.id {
                here = true;
            } else {
                elsewhere = true;
            }
        }
        if here && !elsewhere {
            return None;
        }
        let others = self.others.get_or_init(|| {
            context
                .servers()
                .filter(|other| other.id != self.server.id)
                .any(|other| may_have_resources(gateway, context, other))
        });
        others.then(qualified).flatten()
    }
}

/// Whether a server declared resources, or has not been asked yet.
pub fn may_have_resources(gateway: &Gateway, context: &Context, server: &std::sync::Arc<Server>) -> bool {
    let known = gateway
        .upstreams
        .known((ListKind::Tools, context.era), server, &context.client_headers());
    known.is_ok_and(|known| {
        known
            .catalogue
            .as_ref()
            .is_none_or(|catalogue| catalogue.introduction.capabilities.has("resources"))
    })
}

/// What may stand in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// `content[]` of a tool's result: links and embedded resources.
    Content,
    /// `messages[].content` of a prompt.
    Messages,
    /// `contents[]` of `resources/read`.
    Contents,
}

/// Whether there may be any URIs in a result. Results can be large, and few have links in them.
pub fn may_hold(result: &str) -> bool {
    result.contains("uri") || apps::may_point(result)
}

/// The result with its URIs as clients see them; `None` if nothing changes. `expose` is asked for every URI.
pub fn rewrite(holder: Holder, result: &str, expose: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if holder == Holder::Content && apps::may_point(result) {
        let repointed = apps::repointed(result, expose);
        let links = rewrite_links(holder, repointed.as_deref().unwrap_or(result), expose);
        return links.or(repointed);
    }
    rewrite_links(holder, result, expose)
}

fn rewrite_links(holder: Holder, result: &str, expose: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if !result.contains("uri") {
        return None;
    }
    let mut object = RawObject::parse(result).ok()?;
    let (member, rewritten) = match holder {
        Holder::Content => (
            "content",
            list(object.get("content")?, &|item| content(item, expose))?,
        ),
        Holder::Contents => (
            "contents",
            list(object.get("contents")?, &|item| uri_of(item, expose))?,
        ),
        Holder::Messages => {
            let message = |message: &str| {
                let mut message = RawObject::parse(message).ok()?;
                let block = message.get("content")?;
                let block = match block.as_bytes().first() {
                    Some(b'[') => list(block, &|item| content(item, expose))?,
                    _ => content(block, expose)?,
                };
                message.set("content", block);
                Some(message.to_json())
            };
            ("messages", list(object.get("messages")?, &message)?)
        }
    };
    object.set(member, rewritten);
    Some(object.to_json())
}

/// An array with the items that `change` changes; `None` if it changes none.
fn list(array: &str, change: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    let changed: Vec<Option<String>> = items.iter().map(|item| change(item.get())).collect();
    if changed.iter().all(Option::is_none) {
        return None;
    }
    let texts: Vec<&str> = items
        .iter()
        .zip(&changed)
        .map(|(item, changed)| changed.as_deref().unwrap_or(item.get()))
        .collect();
    Some(format!("[{}]", texts.join(",")))
}

/// One content block: a link, or an embedded resource.
fn content(block: &str, expose: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut object = RawObject::parse(block).ok()?;
    match object.get_string("type")?.as_str() {
        "resource_link" => uri_of(block, expose),
        "resource" => {
            let resource = uri_of(object.get("resource")?, expose)?;
            object.set("resource", resource);
            Some(object.to_json())
        }
        _ => None,
    }
}

/// An object with a `uri`.
pub fn uri_of(object: &str, expose: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut object = RawObject::parse(object).ok()?;
    let exposed = expose(&object.get_string("uri")?)?;
    object.set_string("uri", &exposed);
    Some(object.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b62_only_uris_change() {
        let expose = |own: &str| Some(format!("s+{own}"));
        let result = r#"{"content":[{"type":"text","text":"uri"},{"type":"resource_link","uri":"a://1","x":1.0},{"type":"resource","resource":{"text":"t","uri":"a://2"}}],"z":1e2}"#;
        assert_eq!(
            rewrite(Holder::Content, result, &expose).as_deref(),
            Some(
                r#"{"content":[{"type":"text","text":"uri"},{"type":"resource_link","uri":"s+a://1","x":1.0},{"type":"resource","resource":{"text":"t","uri":"s+a://2"}}],"z":1e2}"#
            )
        );
        let prompt = r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a://1"}}},{"role":"user","content":7}]}"#;
        assert_eq!(
            rewrite(Holder::Messages, prompt, &expose).as_deref(),
            Some(
                r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"s+a://1"}}},{"role":"user","content":7}]}"#
            )
        );
        assert_eq!(rewrite(Holder::Contents, r#"{"contents":[]}"#, &expose), None);
        assert_eq!(
            rewrite(
                Holder::Content,
                r#"{"content":[{"type":"text","text":"uri"}]}"#,
                &expose
            ),
            None
        );
    }
}
