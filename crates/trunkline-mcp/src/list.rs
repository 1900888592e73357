//! What servers list: tools, prompts, resources and resource templates, page by page, as raw JSON with their names read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounded::Bounded;
use crate::edit::RawObject;
use crate::envelope::raw_str;
use crate::header::{self, HeaderParam};
use crate::task;

/// One of the four lists. One more list: one variant, and its words below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Tools,
        Self::Prompts,
        Self::Resources,
        Self::ResourceTemplates,
    ];

    /// The method that lists.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::ResourceTemplates => "resources/templates/list",
        }
    }

    /// The inverse of [`ListKind::method`].
    pub fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The member of the result that holds the list.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
        }
    }

    /// The member of an item that it is asked for by.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }

    /// The capability without which a server has no such list.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::ResourceTemplates => "resources",
        }
    }

    /// The notification that says that the list has changed.
    pub fn changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources | Self::ResourceTemplates => "notifications/resources/list_changed",
        }
    }

    /// Whether items are asked for by URI rather than by name.
    pub fn by_uri(self) -> bool {
        matches!(self, Self::Resources | Self::ResourceTemplates)
    }
}

/// One item of an upstream's list.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is asked for by: the upstream's own name, URI or URI template.
    pub name: String,
    /// Its definition, as the upstream sent it.
    pub raw: Box<RawValue>,
    /// Parameters that are mirrored in headers (tools, 2026-07-28).
    pub header_params: Vec<HeaderParam>,
    /// It can be called as a task only (tools, 2025-11-25).
    pub needs_task: bool,
}

/// A definition that cannot be exposed; the others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedItem {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why.
    pub reason: &'static str,
}

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// The items, in order.
    pub items: Vec<Item>,
    /// What was left out.
    pub rejected: Vec<RejectedItem>,
    /// Where the next page begins; an empty string is a cursor too.
    pub next_cursor: Option<String>,
    /// How long the list may be kept, milliseconds, if the server says so.
    pub ttl_ms: Option<u64>,
    /// `cacheScope: private`: the list is this credential's own.
    pub private: bool,
}

/// Items on one page; more is no list.
const MAX_ITEMS: usize = 20_000;

/// The four lists have their own members, of which a page has one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    tools: Option<Bounded<'a, MAX_ITEMS>>,
    #[serde(borrow, default)]
    prompts: Option<Bounded<'a, MAX_ITEMS>>,
    #[serde(borrow, default)]
    resources: Option<Bounded<'a, MAX_ITEMS>>,
    #[serde(borrow, default)]
    resource_templates: Option<Bounded<'a, MAX_ITEMS>>,
    #[serde(borrow, default)]
    next_cursor: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_scope: Option<&'a RawValue>,
}

impl Page {
    /// Reads the `result` of a list request.
    pub fn parse(kind: ListKind, result: &RawValue) -> Result<Self, serde_json::Error> {
        let wire: Wire<'_> = serde_json::from_str(result.get())?;
        let items = match kind {
            ListKind::Tools => wire.tools,
            ListKind::Prompts => wire.prompts,
            ListKind::Resources => wire.resources,
            ListKind::ResourceTemplates => wire.resource_templates,
        };
        let Some(items) = items else {
            return Err(serde::de::Error::missing_field(kind.member()));
        };
        let mut page = Self {
            next_cursor: wire.next_cursor.map(Cow::into_owned),
            ttl_ms: wire.ttl_ms.and_then(read_ttl),
            private: wire.cache_scope.is_some_and(|scope| scope.get() == "\"private\""),
            ..Self::default()
        };
        for raw in items.0 {
            match read(kind, raw) {
                Ok(item) => page.items.push(item),
                Err(rejected) => page.rejected.push(rejected),
            }
        }
        Ok(page)
    }
}

/// A negative one is 0; what is no number is no statement.
fn read_ttl(raw: &RawValue) -> Option<u64> {
    let ttl: f64 = raw.get().parse().ok()?;
    // As many milliseconds as fit; the cast saturates.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating is what is wanted"
    )]
    ttl.is_finite().then_some(ttl.max(0.0) as u64)
}

fn read(kind: ListKind, raw: &RawValue) -> Result<Item, RejectedItem> {
    let nameless = |reason| RejectedItem { name: None, reason };
    let object = RawObject::parse(raw.get())
        .map_err(|_| nameless("the definition is no object, or has a key twice"))?;
    let name = object
        .get(kind.key())
        .and_then(|json| serde_json::from_str::<&RawValue>(json).ok())
        .and_then(raw_str)
        .map(Cow::into_owned)
        .ok_or_else(|| nameless("the definition has no name that is a string"))?;
    let reject = |reason| RejectedItem {
        name: Some(name.clone()),
        reason,
    };
    if name.is_empty() {
        return Err(reject("the name is empty"));
    }
    let mut header_params = Vec::new();
    let mut needs_task = false;
    if kind == ListKind::Tools {
        let schema = object.get("inputSchema").unwrap_or_default();
        if !schema.starts_with('{') {
            return Err(reject("the inputSchema is missing or no object"));
        }
        if object
            .get("outputSchema")
            .is_some_and(|schema| !matches!(schema.as_bytes()[0], b'{' | b't' | b'f' | b'n'))
        {
            return Err(reject("the outputSchema is no schema"));
        }
        header_params = header::params_of(schema).map_err(reject)?;
        needs_task = object.get("execution").is_some_and(task::is_required);
    }
    Ok(Item {
        name,
        raw: raw.to_owned(),
        header_params,
        needs_task,
    })
}

impl Item {
    /// The definition under another name; everything else stays as it is.
    pub fn renamed(&self, kind: ListKind, name: &str) -> String {
        match RawObject::parse(self.raw.get()) {
            Ok(mut object) => {
                object.set_string(kind.key(), name);
                object.to_json()
            }
            // Taken in, so it is an object without duplicate keys.
            Err(_) => self.raw.get().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(kind: ListKind, text: &str) -> Page {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        Page::parse(kind, &raw).unwrap()
    }

    #[test]
    fn b62_a_renamed_tool_is_otherwise_untouched() {
        let page = page(
            ListKind::Tools,
            r#"{"tools":[{"name":"a","_meta":{"x":1.0},"inputSchema":{"type":"object","zeta":1,"alpha":2},"execution":{"taskSupport":"optional"}},7,{"title":"no name"}],"nextCursor":""}"#,
        );
        assert_eq!(page.next_cursor.as_deref(), Some(""));
        assert_eq!(page.rejected.len(), 2);
        assert_eq!(
            page.items[0].renamed(ListKind::Tools, "s-a"),
            r#"{"name":"s-a","_meta":{"x":1.0},"inputSchema":{"type":"object","zeta":1,"alpha":2},"execution":{"taskSupport":"optional"}}"#
        );
    }

    #[test]
    fn one_bad_tool_is_left_out_and_the_others_are_not() {
        let page = page(
            ListKind::Tools,
            r#"{"tools":[{"name":"good","inputSchema":{}},{"name":"none"},{"name":"list","inputSchema":[]},{"name":"","inputSchema":{}},{"name":"twice","name":"x","inputSchema":{}},{"name":"out","inputSchema":{},"outputSchema":7},{"name":"head","inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}]}"#,
        );
        assert_eq!(page.items.len(), 1);
        let names: Vec<Option<&str>> = page
            .rejected
            .iter()
            .map(|rejected| rejected.name.as_deref())
            .collect();
        assert_eq!(
            names,
            [
                Some("none"),
                Some("list"),
                Some(""),
                None,
                Some("out"),
                Some("head")
            ]
        );
    }

    #[test]
    fn the_other_lists() {
        let page = page(
            ListKind::ResourceTemplates,
            r#"{"resourceTemplates":[{"uriTemplate":"x://{id}","name":"n"}],"ttlMs":-5,"cacheScope":"private"}"#,
        );
        assert_eq!(
            page.items[0].renamed(ListKind::ResourceTemplates, "a+x://{id}"),
            r#"{"uriTemplate":"a+x://{id}","name":"n"}"#
        );
        assert_eq!((page.ttl_ms, page.private), (Some(0), true));
        let raw: Box<RawValue> = serde_json::from_str("{}").unwrap();
        assert!(
            Page::parse(ListKind::Prompts, &raw).is_err(),
            "no list is no empty list"
        );
    }

    proptest! {
        #[test]
        fn any_name_is_exposed_and_any_garbage_survived(name in ".{0,80}", garbage in ".{0,80}") {
            let definition = serde_json::json!({"name": name, "description": garbage, "inputSchema": {}});
            for list in [format!("[{definition}]"), format!("[{definition},{garbage}]"), garbage.clone()] {
                let text = format!(r#"{{"tools":{list}}}"#);
                let Ok(raw) = RawValue::from_string(text) else { continue };
                let Ok(page) = Page::parse(ListKind::Tools, &raw) else { continue };
                for item in &page.items {
                    let renamed = item.renamed(ListKind::Tools, &crate::name::exposed("server", &item.name));
                    let renamed: serde_json::Value = serde_json::from_str(&renamed).unwrap();
                    prop_assert!(crate::name::is_legal(renamed["name"].as_str().unwrap()));
                }
            }
        }
    }
}
