//! What servers list: tools, prompts, resources and resource templates, page by page, as raw JSON with their names read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounded::Bounded;
use crate::definition;
use crate::edit::RawObject;
use crate::flatten;
use crate::header::HeaderParam;
use crate::hidden::Removed;
use crate::wrap;

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

    /// What one of its items is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::ResourceTemplates => "resource template",
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
    /// Its `outputSchema` is not that of an object, so clients of revisions that know no other see it wrapped.
    pub wraps: bool,
    /// It can be called as a task only (tools, 2025-11-25).
    pub needs_task: bool,
}

/// A definition that cannot be exposed; the others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedItem {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why. Has names of the definition in it.
    pub reason: Cow<'static, str>,
}

/// What is done with the definitions of a server beyond reading them. Off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Alternatives at the root of an `inputSchema` are made one object ([`mod@flatten`]).
    pub schema_compat: bool,
    /// Hidden text is taken out ([`crate::hidden`]).
    pub strip_hidden: bool,
}

/// An item as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Under which name, URI or URI template.
    pub name: &'a str,
    /// With this description instead of its own.
    pub description: Option<&'a str>,
    /// [`Rules::schema_compat`].
    pub schema_compat: bool,
    /// With its `outputSchema` wrapped, if it needs that.
    pub wrapped: bool,
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
    /// `cacheScope: public`: the list is the same for everybody. What says nothing is this credential's own.
    pub public: bool,
    /// Hidden text that was taken out.
    pub removed: Removed,
    /// Hidden text that was found, whether it was taken out or not.
    pub hidden: Removed,
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
    pub fn parse(kind: ListKind, result: &RawValue, rules: Rules) -> Result<Self, serde_json::Error> {
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
            public: wire.cache_scope.is_some_and(|scope| scope.get() == "\"public\""),
            ..Self::default()
        };
        for raw in items.0 {
            match definition::read(kind, raw, rules) {
                Ok((item, hidden)) => {
                    page.items.push(item);
                    page.hidden = page.hidden.and(hidden);
                    if rules.strip_hidden {
                        page.removed = page.removed.and(hidden);
                    }
                }
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

impl Item {
    /// The definition under another name; everything else stays as it is.
    pub fn renamed(&self, kind: ListKind, name: &str) -> String {
        self.shown(
            kind,
            Shown {
                name,
                description: None,
                schema_compat: false,
                wrapped: false,
            },
        )
    }

    /// The definition as it is shown; what need not change stays as it is.
    pub fn shown(&self, kind: ListKind, shown: Shown<'_>) -> String {
        // Taken in, so it is an object without duplicate keys.
        let Ok(mut object) = RawObject::parse(self.raw.get()) else {
            return self.raw.get().to_owned();
        };
        let mut changed = false;
        if shown.name != self.name {
            object.set_string(kind.key(), shown.name);
            changed = true;
        }
        if let Some(description) = shown.description {
            object.set_string("description", description);
            changed = true;
        }
        if kind == ListKind::Tools {
            let flat = shown
                .schema_compat
                .then(|| flatten::flatten(object.get("inputSchema")?))
                .flatten();
            if let Some(flat) = flat {
                object.set("inputSchema", flat);
                changed = true;
            }
            if shown.wrapped && self.wraps {
                let wrapped = object.get("outputSchema").map(wrap::schema);
                if let Some(wrapped) = wrapped {
                    object.set("outputSchema", wrapped);
                    changed = true;
                }
            }
        }
        if changed {
            object.to_json()
        } else {
            self.raw.get().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(kind: ListKind, text: &str) -> Page {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        Page::parse(kind, &raw, Rules::default()).unwrap()
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
    fn one_bad_tool_is_left_out_with_a_reason_and_the_others_are_not() {
        let good = r#""inputSchema":{"type":"object"}"#;
        let bad = [
            (r#"{"name":"none"}"#.to_owned(), Some("none"), "the inputSchema is missing or no object"),
            (r#"{"name":"list","inputSchema":[]}"#.to_owned(), Some("list"), "the inputSchema is missing or no object"),
            (format!(r#"{{"name":"",{good}}}"#), Some(""), "the name is empty"),
            (
                format!(r#"{{"name":"twice","name":"x",{good}}}"#),
                None,
                "the definition is no object, or has a key twice",
            ),
            ("7".to_owned(), None, "the definition is no object, or has a key twice"),
            (
                format!(r#"{{"name":"out",{good},"outputSchema":7}}"#),
                Some("out"),
                "its `outputSchema` is not an object",
            ),
            (
                r#"{"name":"any","inputSchema":{}}"#.to_owned(),
                Some("any"),
                "the inputSchema: its root must have `type: \"object\"`",
            ),
            (
                format!(r#"{{"name":"words",{good},"description":["x"]}}"#),
                Some("words"),
                "its `description` is not a string",
            ),
            (
                r#"{"name":"head","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#
                    .to_owned(),
                Some("head"),
                "x-mcp-header stands on a parameter that is no integer, string or boolean",
            ),
            (
                format!(r#"{{"name":"deep",{good},"_meta":{{"x":{}{}}}}}"#, "[".repeat(120), "]".repeat(120)),
                None,
                "the definition is nested too deep",
            ),
            (
                format!(r#"{{"name":"{}",{good}}}"#, "n".repeat(2000)),
                Some(&*"n".repeat(2000)),
                "the name is longer than 1024 bytes",
            ),
        ];
        let texts: Vec<&str> = bad.iter().map(|(text, ..)| text.as_str()).collect();
        let page = page(
            ListKind::Tools,
            &format!(
                r#"{{"tools":[{{"name":"good",{good}}},{},{{"name":"also",{good}}}]}}"#,
                texts.join(",")
            ),
        );
        assert_eq!(page.items.len(), 2);
        assert_eq!(page.rejected.len(), bad.len());
        for (rejected, (text, name, reason)) in page.rejected.iter().zip(&bad) {
            assert_eq!(
                (rejected.name.as_deref(), &*rejected.reason),
                (*name, *reason),
                "{text}"
            );
        }
    }

    #[test]
    fn null_is_nothing_and_said_so_to_nobody() {
        let page = page(
            ListKind::Tools,
            r#"{"tools":[{"name":"a","title":null,"inputSchema":{"type":"object"},"outputSchema":null,"other":null}]}"#,
        );
        assert_eq!(
            page.items[0].raw.get(),
            r#"{"name":"a","inputSchema":{"type":"object"},"other":null}"#
        );
    }

    #[test]
    fn shown_as_it_was_but_for_what_is_asked() {
        let text = r#"{"tools":[{"name":"a","x":1e2,"inputSchema":{"anyOf":[{"required":["a"]}]},"outputSchema":{"type":"string"}}]}"#;
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        let strict = Page::parse(ListKind::Tools, &raw, Rules::default()).unwrap();
        assert_eq!((strict.items.len(), strict.rejected.len()), (0, 1));
        let rules = Rules {
            schema_compat: true,
            strip_hidden: false,
        };
        let page = Page::parse(ListKind::Tools, &raw, rules).unwrap();
        let item = &page.items[0];
        assert!(item.wraps);
        let shown = |schema_compat, wrapped| {
            let shown = Shown {
                name: "a",
                description: None,
                schema_compat,
                wrapped,
            };
            item.shown(ListKind::Tools, shown)
        };
        assert_eq!(shown(false, false), item.raw.get());
        assert_eq!(
            shown(true, true),
            r#"{"name":"a","x":1e2,"inputSchema":{"type":"object","required":["a"],"description":"At least one of these must fit: (1) required: a."},"outputSchema":{"type":"object","properties":{"result":{"type":"string"}},"required":["result"]}}"#
        );
    }

    #[test]
    fn s30_definitions_lose_hidden_text_and_names_are_what_they_are() {
        let text = r#"{"tools":[{"name":"a","description":"x\u200by","inputSchema":{"type":"object"}},{"name":"b\u200b","inputSchema":{"type":"object"}}]}"#;
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        let rules = Rules {
            schema_compat: false,
            strip_hidden: true,
        };
        let page = Page::parse(ListKind::Tools, &raw, rules).unwrap();
        assert_eq!(
            page.items[0].raw.get(),
            r#"{"name":"a","description":"xy","inputSchema":{"type":"object"}}"#
        );
        assert_eq!(page.removed.total(), 1);
        assert_eq!(
            page.rejected[0].reason,
            "the name has characters in it that do not show"
        );
        let plain = Page::parse(ListKind::Tools, &raw, Rules::default()).unwrap();
        assert_eq!((plain.items.len(), plain.removed.total()), (2, 0));
        assert_eq!((page.hidden.total(), plain.hidden.total()), (1, 2));
    }

    #[test]
    fn the_other_lists() {
        let page = page(
            ListKind::ResourceTemplates,
            r#"{"resourceTemplates":[{"uriTemplate":"x://{id}","name":"n"}],"ttlMs":-5,"cacheScope":"public"}"#,
        );
        assert_eq!(
            page.items[0].renamed(ListKind::ResourceTemplates, "a+x://{id}"),
            r#"{"uriTemplate":"a+x://{id}","name":"n"}"#
        );
        assert_eq!((page.ttl_ms, page.public), (Some(0), true));
        let raw: Box<RawValue> = serde_json::from_str("{}").unwrap();
        assert!(
            Page::parse(ListKind::Prompts, &raw, Rules::default()).is_err(),
            "no list is no empty list"
        );
    }

    proptest! {
        #[test]
        fn any_name_is_exposed_and_any_garbage_survived(name in ".{0,80}", garbage in ".{0,80}") {
            let definition = serde_json::json!({"name": name, "description": garbage, "inputSchema": {"type": "object"}});
            for list in [format!("[{definition}]"), format!("[{definition},{garbage}]"), garbage.clone()] {
                let text = format!(r#"{{"tools":{list}}}"#);
                let Ok(raw) = RawValue::from_string(text) else { continue };
                let Ok(page) = Page::parse(ListKind::Tools, &raw, Rules::default()) else { continue };
                for item in &page.items {
                    let renamed = item.renamed(ListKind::Tools, &crate::name::exposed("server", &item.name));
                    let renamed: serde_json::Value = serde_json::from_str(&renamed).unwrap();
                    prop_assert!(crate::name::is_legal(renamed["name"].as_str().unwrap()));
                }
            }
        }
    }
}
