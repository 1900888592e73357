//! Pages of a list towards clients. Most clients never ask for a second one, so there is one page unless the operator wants
//! smaller ones.
//!
//! A cursor is a place in an order that does not depend on what else is there: server by server in the order of the registry,
//! and by the servers' own names within one. So what was there all the time is listed once, whatever comes and goes
//! between two pages. It is sealed: any replica opens it, for the same caller, the same servers and the same list.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_mcp::modern::Cacheable;
use trunkline_mcp::{Era, ListKind};

use crate::Gateway;
use crate::context::Context;
use crate::listing::{Listing, ServerItems};
use crate::view::ViewItem;

/// An item with the server it is of.
pub type Listed<'a> = (&'a ServerItems, &'a ViewItem);

/// Where a page begins: after this item.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Place {
    /// The server's prefix and id, which servers are in the order of.
    prefix: String,
    server: String,
    /// The server's own name for the item.
    name: String,
    /// What was said of the first page: that everybody may have it, and until when (milliseconds since 1970).
    public: bool,
    until_ms: i64,
}

/// A cursor that the gateway did not give, or not for this list.
#[derive(Debug)]
pub struct BadCursor;

/// What a cursor is bound to.
fn binding<'a>(context: &'a Context, kind: ListKind, scope: &'a str) -> [&'a str; 4] {
    let era = match context.era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    };
    [context.principal.id(), scope, kind.method(), era]
}

/// The place that the parameters of a list name; `None` for the beginning.
pub fn place(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    params: Option<&str>,
) -> Result<Option<Place>, BadCursor> {
    let read = params.and_then(|params| serde_json::from_str::<Map<String, Value>>(params).ok());
    let cursor = match read.as_ref().and_then(|params| params.get("cursor")) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(cursor)) => cursor,
        Some(_) => return Err(BadCursor),
    };
    let scope = context.selection.scope.key();
    gateway
        .cursors
        .open(&binding(context, kind, &scope), cursor)
        .and_then(|body| serde_json::from_slice(&body).ok())
        .map(Some)
        .ok_or(BadCursor)
}

/// One page.
pub struct Page<'a> {
    /// What is on it.
    pub items: Vec<Listed<'a>>,
    /// The last item, if there is more behind it.
    last: Option<Listed<'a>>,
}

/// The page of a listing that begins at a place.
pub fn cut<'a>(
    gateway: &Gateway,
    context: &'a Context,
    listing: &'a Listing,
    after: Option<&Place>,
) -> Page<'a> {
    let size = gateway.list_page_size.load(Ordering::Relaxed);
    if size == 0 && after.is_none() {
        return Page {
            items: listing.items(context).collect(),
            last: None,
        };
    }
    let mut items = rest(context, listing, after);
    let page: Vec<Listed<'a>> = items
        .by_ref()
        .take(if size == 0 { usize::MAX } else { size })
        .collect();
    let more = items.next().is_some();
    Page {
        last: page.last().copied().filter(|_| more),
        items: page,
    }
}

/// Everything after a place, in the order of places.
fn rest<'a>(
    context: &'a Context,
    listing: &'a Listing,
    after: Option<&Place>,
) -> impl Iterator<Item = Listed<'a>> {
    let after = after.cloned();
    listing.servers.iter().flat_map(move |own| {
        let behind = after.as_ref().map(|place| {
            let here = (own.server.prefix(), own.server.id.as_str());
            here.0
                .as_str()
                .cmp(&place.prefix)
                .then_with(|| here.1.cmp(&place.server))
        });
        let view = own
            .view
            .as_ref()
            .filter(|_| behind.is_none_or(std::cmp::Ordering::is_ge));
        let name = after
            .as_ref()
            .filter(|_| behind.is_some_and(std::cmp::Ordering::is_eq))
            .map(|place| place.name.clone());
        let items = view.into_iter().flat_map(|view| view.in_order());
        items
            .skip_while(move |item| name.as_ref().is_some_and(|name| item.own <= *name))
            .filter(move |item| context.may_list(&own.server, listing.kind, item).is_allow())
            .map(move |item| (own, item))
    })
}

impl Page<'_> {
    /// The cursor of the next page, if there is one.
    pub fn next(
        &self,
        gateway: &Gateway,
        context: &Context,
        kind: ListKind,
        cacheable: Cacheable,
    ) -> Option<String> {
        let (own, item) = self.last?;
        let lasts = i64::try_from(cacheable.ttl_ms).unwrap_or(i64::MAX);
        let place = Place {
            prefix: own.server.prefix(),
            server: own.server.id.as_str().to_owned(),
            name: item.own.clone(),
            public: cacheable.public,
            until_ms: gateway.clock.now().as_millisecond().saturating_add(lasts),
        };
        let body = serde_json::to_vec(&place).ok()?;
        let scope = context.selection.scope.key();
        Some(gateway.cursors.seal(&binding(context, kind, &scope), &body))
    }
}

/// How long and by whom a page may be kept: as long as what every server says lasts, and by everybody only if every list is
/// the same for all of them. What a server does not say is not made up. No page says more than the first one did.
pub fn cacheable(
    gateway: &Gateway,
    context: &Context,
    listing: &Listing,
    after: Option<&Place>,
) -> Cacheable {
    let now = gateway.clock.now();
    let lasts = |own: &ServerItems| {
        let catalogue = &own.view.as_ref().filter(|_| !own.stale)?.catalogue;
        let age = now
            .duration_since(catalogue.fetched_at)
            .unsigned_abs()
            .as_millis();
        Some(
            catalogue
                .ttl_ms?
                .saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)),
        )
    };
    let public = |own: &ServerItems| {
        let view = own.view.as_ref();
        view.is_some_and(|view| view.catalogue.public) && context.is_public(&own.server)
    };
    let servers = &listing.servers;
    let mut cacheable = Cacheable {
        ttl_ms: servers
            .iter()
            .map(|own| lasts(own).unwrap_or(0))
            .min()
            .unwrap_or(0),
        public: !servers.is_empty() && listing.unresolved.is_empty() && servers.iter().all(public),
    };
    if let Some(place) = after {
        let left = u64::try_from(place.until_ms.saturating_sub(now.as_millisecond())).unwrap_or(0);
        cacheable.ttl_ms = cacheable.ttl_ms.min(left);
        cacheable.public &= place.public;
    }
    cacheable
}
