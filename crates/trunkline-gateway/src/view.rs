//! The exposed names of what a server lists, made once per catalogue and looked up ever after (design §5).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_mcp::edit::RawObject;
use trunkline_mcp::list::Shown;
use trunkline_mcp::{ListKind, apps, name, narrow};
use trunkline_model::{KeyMap, Rejected, RejectedItem, Server, Snapshot};
use trunkline_policy::arguments::Shape;
use trunkline_upstream::Catalogue;
use trunkline_upstream::catalogue::Names;
use trunkline_upstream::fault::printable;

/// One tool, prompt, resource or resource template as clients see it.
#[derive(Debug)]
pub struct ViewItem {
    /// The upstream's name, URI or URI template.
    pub own: String,
    /// The gateway's name.
    pub exposed: String,
    /// The definition under the gateway's name: JSON text.
    pub json: Box<str>,
    /// Digest of `json`, for noticing changes: standing streams compare it at every change of anything.
    pub hash: u64,
    /// It may point at a resource, whose URI may be another one here.
    pub points: bool,
    /// The tool's annotations, where a condition of its server reads them: JSON text.
    pub annotations: Option<Box<str>>,
}

/// How a catalogue is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Form {
    /// Without prefix.
    pub bare: bool,
    /// With every `outputSchema` that of an object.
    pub wrapped: bool,
}

impl Form {
    const ALL: [Self; 4] = [
        Self::of(false, false),
        Self::of(false, true),
        Self::of(true, false),
        Self::of(true, true),
    ];

    const fn of(bare: bool, wrapped: bool) -> Self {
        Self { bare, wrapped }
    }
}

/// What is in one catalogue as clients see it, in the upstream's order.
#[derive(Debug)]
pub struct View {
    /// The items.
    pub items: Vec<ViewItem>,
    /// Positions in `items`, by the gateway's names.
    by_exposed: Names,
    /// The same by the upstream's names.
    by_own: Names,
    /// Items whose exposed name another one has, and those that pins hold back.
    pub rejected: Rejected,
    /// What it was made of; keeps the pointer that is its key alive.
    pub catalogue: Arc<Catalogue>,
}

impl View {
    /// By the gateway's name.
    pub fn find(&self, exposed: &str) -> Option<&ViewItem> {
        self.by_exposed.find(&self.items, exposed, |item| &item.exposed)
    }

    /// By the upstream's name.
    pub fn find_own(&self, own: &str) -> Option<&ViewItem> {
        self.by_own.find(&self.items, own, |item| &item.own)
    }

    /// The items in the order of the upstream's names: one in which a place can be found again whatever comes and goes.
    pub fn in_order(&self) -> impl Iterator<Item = &ViewItem> {
        self.by_own.in_order(&self.items)
    }
}

/// Views by catalogue.
#[derive(Default)]
pub struct Views {
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    revision: u64,
    views: KeyMap<(usize, Form), Arc<View>>,
    /// Views that were made since replaced ones were looked for.
    made: usize,
}

/// The prefixes of other active servers that could stand at the beginning of this server's exposed names.
fn rivals<'s>(snapshot: &'s Snapshot, server: &Server, prefix: &str) -> Vec<&'s str> {
    let own = format!("{prefix}{}", name::SEPARATOR);
    // The same prefix twice cannot be registered; if it is there all the same, the one with the higher id yields.
    let same = snapshot
        .beginning_with(prefix)
        .filter(|(other, _)| *other == prefix);
    let others = same.chain(snapshot.beginning_with(&own));
    others
        .filter(|(_, other)| other.id != server.id && other.is_active())
        .map(|(other, _)| other)
        .collect()
}

impl Cache {
    /// Views of catalogues that nobody else holds any more: a newer one took their place, and a server whose tools
    /// change every other second must not fill the memory with what they were (S38).
    ///
    /// Going through all of them for each that is made would be a square of the servers.
    fn forget_replaced(&mut self) {
        self.made += 1;
        if self.made < self.views.len() / 8 {
            return;
        }
        self.made = 0;
        let held_here = |views: &KeyMap<(usize, Form), Arc<View>>, at: usize| {
            Form::ALL
                .iter()
                .filter(|form| views.contains_key(&(at, **form)))
                .count()
        };
        let replaced: Vec<(usize, Form)> = self
            .views
            .iter()
            .filter(|((at, _), view)| Arc::strong_count(&view.catalogue) <= held_here(&self.views, *at))
            .map(|(key, _)| *key)
            .collect();
        for key in replaced {
            self.views.remove(&key);
        }
    }
}

/// Views that are kept besides those of every server's own catalogues; those of clients' own credentials come and go.
const MAX_VIEWS: usize = 4096;
/// Catalogues of one server in all forms that clients of either era see.
const VIEWS_OF_SERVER: usize = 8;

impl Views {
    /// The view of a catalogue.
    pub fn get(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        catalogue: &Arc<Catalogue>,
        form: Form,
    ) -> Arc<View> {
        let form = Form {
            // Nothing to wrap is seen the same by everybody.
            wrapped: form.wrapped && catalogue.wraps,
            ..form
        };
        let key = (Arc::as_ptr(catalogue) as usize, form);
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            // Names depend on the other servers' prefixes, so a change of the registry makes all of them anew.
            let most = MAX_VIEWS + VIEWS_OF_SERVER * snapshot.servers().len();
            if cache.revision != snapshot.revision || cache.views.len() >= most {
                cache.revision = snapshot.revision;
                cache.views.clear();
            }
            if let Some(view) = cache.views.get(&key) {
                return view.clone();
            }
        }
        let view = Arc::new(build(snapshot, server, catalogue, form));
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.revision == snapshot.revision {
            cache.forget_replaced();
            cache.views.insert(key, view.clone());
        }
        view
    }
}

fn build(snapshot: &Snapshot, server: &Arc<Server>, catalogue: &Arc<Catalogue>, form: Form) -> View {
    let prefix = server.prefix();
    let rivals = rivals(snapshot, server, &prefix);
    let mut items = Vec::with_capacity(catalogue.items.len());
    let mut taken: HashSet<String> = HashSet::with_capacity(catalogue.items.len());
    let held = catalogue.held(server);
    let mut rejected = held.as_ref().map(|held| held.rejected()).unwrap_or_default();
    let conditions = &server.definition.tool_conditions;
    let reads_annotations =
        catalogue.kind == ListKind::Tools && conditions.iter().any(|own| own.when.needs().annotations);
    for item in &catalogue.items {
        // It is in no list and found under no name, whatever the way in (S29).
        if held.as_ref().is_some_and(|held| held.holds(&item.name)) {
            continue;
        }
        let is_tool = catalogue.kind == trunkline_mcp::ListKind::Tools;
        let chosen = is_tool
            .then(|| server.definition.display_name(&item.name))
            .flatten();
        // URIs are as they are; where two servers have the same one, the listing that has both tells them apart.
        let exposed = match chosen {
            Some(chosen) if form.bare => name::chosen(chosen),
            Some(chosen) => displayed(snapshot, server, chosen),
            None if form.bare || catalogue.kind.by_uri() => item.name.clone(),
            None => exposed(&prefix, &item.name, &rivals, server),
        };
        if taken.contains(&exposed) {
            // Listed twice under one name, some clients would refuse the whole list.
            rejected.push(|| RejectedItem {
                name: Some(printable(&item.name)),
                reason: format!("another one is exposed as {exposed} already"),
            });
            continue;
        }
        let shown = Shown {
            name: &exposed,
            description: is_tool
                .then(|| server.definition.display_description(&item.name))
                .flatten(),
            schema_compat: server.definition.schema_compat,
            wrapped: form.wrapped,
        };
        let json = item.shown(catalogue.kind, shown);
        let json = match narrowed(server, catalogue.kind, &item.name, json) {
            Ok(json) => json.into_boxed_str(),
            Err(reason) => {
                rejected.push(|| RejectedItem {
                    name: Some(printable(&item.name)),
                    reason,
                });
                continue;
            }
        };
        taken.insert(exposed.clone());
        items.push(ViewItem {
            own: item.name.clone(),
            exposed,
            hash: digest(&json),
            points: is_tool && apps::may_point(&json),
            annotations: reads_annotations.then(|| annotations(item.raw.get())),
            json,
        });
    }
    View {
        by_exposed: Names::of(&items, |item| &item.exposed),
        by_own: Names::of(&items, |item| &item.own),
        items,
        rejected,
        catalogue: catalogue.clone(),
    }
}

/// A tool without the arguments that nobody may give. An error says why nobody could call it.
fn narrowed(server: &Server, kind: ListKind, tool: &str, json: String) -> Result<String, String> {
    let shape = (kind == ListKind::Tools)
        .then(|| Shape::of(server, tool))
        .flatten();
    let Some(shape) = shape else { return Ok(json) };
    let hides = |argument: &str| !shape.permits(argument);
    let narrowed = narrow::tool(&json, &hides, &|argument| shape.fills(argument));
    if narrowed.missing.is_empty() {
        return Ok(narrowed.json.unwrap_or(json));
    }
    let missing: Vec<String> = narrowed.missing.iter().map(|name| printable(name)).collect();
    Err(format!(
        "its arguments {} are required, and neither in allowed_params nor set by tool_arguments",
        missing.join(", ")
    ))
}

fn annotations(definition: &str) -> Box<str> {
    let object = RawObject::parse(definition).ok();
    let own = object.as_ref().and_then(|object| object.get("annotations"));
    own.unwrap_or("{}").into()
}

fn digest(json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}

/// A name that could also be read as another server's (`x-y` + `a-b` beside a server `x-y-a`) carries a hash, whatever
/// that server's tools are: the name depends on the registry alone, so it is the same before and after any listing (B16).
fn exposed(prefix: &str, tool: &str, rivals: &[&str], server: &Server) -> String {
    let plain = name::exposed(prefix, tool);
    let clash = rivals.iter().any(|rival| {
        *rival == prefix
            || plain
                .strip_prefix(*rival)
                .is_some_and(|rest| rest.starts_with(name::SEPARATOR))
    });
    if clash {
        name::disambiguated(&plain, server.id.as_str())
    } else {
        plain
    }
}

/// The name that an operator has chosen for a tool. One that another server's tools could have, or that was chosen there too, carries a
/// hash: as with [`exposed`], it depends on the registry alone (B16).
fn displayed(snapshot: &Snapshot, server: &Server, chosen: &str) -> String {
    let could_mean = |other: &Server| {
        let prefix = other.prefix();
        let is_prefixed = chosen
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.starts_with(name::SEPARATOR));
        let displays = &other.definition.tool_name_to_display_name;
        is_prefixed || displays.values().any(|name| name == chosen)
    };
    let others = snapshot.servers().iter();
    let mut others = others.filter(|other| other.id != server.id && other.is_active());
    if others.any(|other| could_mean(other)) {
        name::disambiguated(chosen, server.id.as_str())
    } else {
        name::chosen(chosen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_model::{Approval, Origin, ServerDefinition, ServerId, Stamps};

    use super::*;

    fn server(alias: &str) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::new(format!("id-{alias}")),
            origin: Origin::File,
            definition: ServerDefinition {
                alias: Some(alias.into()),
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        })
    }

    #[test]
    fn s38_views_of_replaced_catalogues_are_forgotten() {
        let catalogue = || {
            Arc::new(Catalogue {
                kind: ListKind::Tools,
                items: Vec::new(),
                names: Names::default(),
                rejected: Vec::new(),
                introduction: trunkline_upstream::Introduction::default(),
                ttl_ms: None,
                public: false,
                wraps: false,
                removed: trunkline_mcp::hidden::Removed::default(),
                hidden: trunkline_mcp::hidden::Removed::default(),
                pinning: trunkline_upstream::pins::Pinning::default(),
                revision: None,
                fetched_at: jiff::Timestamp::UNIX_EPOCH,
            })
        };
        let server = server("x");
        let snapshot = Snapshot::new(1, vec![server.clone()]);
        let views = Views::default();
        let kept = catalogue();
        views.get(&snapshot, &server, &kept, Form::default());
        for _ in 0..10 {
            let replaced = catalogue();
            views.get(&snapshot, &server, &replaced, Form::default());
            let bare = Form {
                bare: true,
                wrapped: false,
            };
            views.get(&snapshot, &server, &replaced, bare);
        }
        views.get(&snapshot, &server, &catalogue(), Form::default());
        let cache = views.cache.lock().unwrap();
        // The one that is still known, and the last.
        assert_eq!(cache.views.len(), 2);
        assert!(
            cache
                .views
                .contains_key(&(Arc::as_ptr(&kept) as usize, Form::default()))
        );
    }

    #[test]
    fn b16_a_chosen_name_leads_to_one_server() {
        let named = |alias: &str, names: &[(&str, &str)]| {
            let mut server = (*server(alias)).clone();
            let own = |(tool, name): &(&str, &str)| ((*tool).to_owned(), (*name).to_owned());
            server.definition.tool_name_to_display_name = names.iter().map(own).collect();
            Arc::new(server)
        };
        let a = named(
            "a",
            &[("x", "search"), ("y", "b-find"), ("z", "a-more"), ("u", "only")],
        );
        let b = named("b", &[("x", "search")]);
        let snapshot = Snapshot::new(1, vec![a.clone(), b.clone()]);
        assert_eq!(displayed(&snapshot, &a, "only"), "only");
        assert_eq!(displayed(&snapshot, &a, "a-more"), "a-more", "its own prefix");
        let (mine, theirs) = (
            displayed(&snapshot, &a, "search"),
            displayed(&snapshot, &b, "search"),
        );
        assert!(mine != theirs && mine != "search" && theirs != "search");
        assert_ne!(
            displayed(&snapshot, &a, "b-find"),
            "b-find",
            "a tool of b's could be that"
        );
        assert!(
            name::is_legal(&displayed(&snapshot, &a, "odd name")),
            "a row that was written elsewhere"
        );
    }

    #[test]
    fn b16_no_two_servers_share_a_name() {
        let (short, long) = (server("x-y"), server("x-y-a"));
        let snapshot = Snapshot::new(1, vec![short.clone(), long.clone()]);
        let name =
            |s: &Arc<Server>, tool: &str| exposed(&s.prefix(), tool, &rivals(&snapshot, s, &s.prefix()), s);
        assert_eq!(name(&long, "b-c"), "x-y-a-b-c");
        assert_ne!(name(&short, "a-b-c"), "x-y-a-b-c");
        assert_eq!(name(&short, "a-b-c"), name(&short, "a-b-c"));
        assert_eq!(name(&short, "b"), "x-y-b");
    }

    proptest! {
        #[test]
        fn b16_whoever_exposes_a_name_is_looked_at(
            prefixes in prop::collection::vec("[ab](-[ab]{1,2}){0,2}|[a-zé. ]{1,64}", 1..6),
            tool in "[ab-]{1,6}|.{0,80}",
            chosen in prop::option::of("[ab-]{1,9}"),
        ) {
            let mut servers: Vec<Arc<Server>> = prefixes.iter().enumerate().map(|(number, alias)| {
                let own = server(alias);
                Arc::new(Server { id: ServerId::new(number.to_string()), ..Server::clone(&own) })
            }).collect();
            if let (Some(chosen), Some(first)) = (chosen, servers.first_mut()) {
                Arc::make_mut(first).definition.tool_name_to_display_name.insert(tool.clone(), chosen);
            }
            let snapshot = Snapshot::new(1, servers);
            for own in snapshot.servers() {
                let prefix = own.prefix();
                let name = match own.definition.display_name(&tool) {
                    Some(chosen) => displayed(&snapshot, own, chosen),
                    None => exposed(&prefix, &tool, &rivals(&snapshot, own, &prefix), own),
                };
                prop_assert!(snapshot.may_expose(&name).any(|other| other.id == own.id), "{name:?} of {prefix:?}");
            }
        }
    }
}
