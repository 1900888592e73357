//! Pages of `tools/list`: tools as raw JSON, with their names read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounded::Bounded;
use crate::edit::RawObject;
use crate::envelope::raw_str;

/// One tool of an upstream.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its own name.
    pub name: String,
    /// Its definition, as the upstream sent it.
    pub raw: Box<RawValue>,
}

/// A definition that cannot be exposed; the others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedTool {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why.
    pub reason: &'static str,
}

/// One page.
#[derive(Debug, Default)]
pub struct ToolPage {
    /// The tools, in order.
    pub tools: Vec<Tool>,
    /// What was left out.
    pub rejected: Vec<RejectedTool>,
    /// Where the next page begins; an empty string is a cursor too.
    pub next_cursor: Option<String>,
}

/// Tools on one page; more is no list of tools.
const MAX_TOOLS: usize = 20_000;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    tools: Bounded<'a, MAX_TOOLS>,
    #[serde(borrow, default, rename = "nextCursor")]
    next_cursor: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct NameOnly<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
}

impl ToolPage {
    /// Reads the `result` of `tools/list`.
    pub fn parse(result: &RawValue) -> Result<Self, serde_json::Error> {
        let wire: Wire<'_> = serde_json::from_str(result.get())?;
        let mut page = Self {
            next_cursor: wire.next_cursor.map(Cow::into_owned),
            ..Self::default()
        };
        for raw in wire.tools.0 {
            match read_name(raw) {
                Ok(name) => page.tools.push(Tool {
                    name,
                    raw: raw.to_owned(),
                }),
                Err(reason) => page.rejected.push(RejectedTool { name: None, reason }),
            }
        }
        Ok(page)
    }
}

fn read_name(raw: &RawValue) -> Result<String, &'static str> {
    let named: NameOnly<'_> =
        serde_json::from_str(raw.get()).map_err(|_| "the definition is no object, or has its name twice")?;
    let name = named
        .name
        .and_then(raw_str)
        .ok_or("the definition has no name that is a string")?;
    if name.is_empty() {
        Err("the name is empty")
    } else {
        Ok(name.into_owned())
    }
}

impl Tool {
    /// The definition under another name; everything else stays as it is.
    pub fn renamed(&self, name: &str) -> String {
        match RawObject::parse(self.raw.get()) {
            Ok(mut object) => {
                object.set_string("name", name);
                object.to_json()
            }
            // `read_name` accepted it, so this is an object; a duplicate key deeper than `name` keeps it unusable.
            Err(_) => self.raw.get().to_owned(),
        }
    }

    /// Whether the definition can be rewritten: no duplicate keys.
    pub fn is_rewritable(&self) -> bool {
        RawObject::parse(self.raw.get()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn b62_a_renamed_tool_is_otherwise_untouched() {
        let page = r#"{"tools":[{"name":"a","_meta":{"x":1.0},"inputSchema":{"type":"object","zeta":1,"alpha":2},"execution":{"taskSupport":"optional"}},7,{"title":"no name"}],"nextCursor":""}"#;
        let raw: Box<RawValue> = serde_json::from_str(page).unwrap();
        let page = ToolPage::parse(&raw).unwrap();
        assert_eq!(page.next_cursor.as_deref(), Some(""));
        assert_eq!(page.rejected.len(), 2);
        assert_eq!(
            page.tools[0].renamed("s-a"),
            r#"{"name":"s-a","_meta":{"x":1.0},"inputSchema":{"type":"object","zeta":1,"alpha":2},"execution":{"taskSupport":"optional"}}"#
        );
    }

    proptest! {
        #[test]
        fn any_name_is_exposed_and_any_garbage_survived(name in ".{0,80}", garbage in ".{0,80}") {
            let definition = serde_json::json!({"name": name, "description": garbage});
            for list in [format!("[{definition}]"), format!("[{definition},{garbage}]"), garbage.clone()] {
                let text = format!(r#"{{"tools":{list}}}"#);
                let Ok(raw) = RawValue::from_string(text) else { continue };
                let Ok(page) = ToolPage::parse(&raw) else { continue };
                for tool in page.tools.iter().filter(|tool| tool.is_rewritable()) {
                    let renamed = tool.renamed(&crate::name::exposed("server", &tool.name));
                    let renamed: serde_json::Value = serde_json::from_str(&renamed).unwrap();
                    prop_assert!(crate::name::is_legal(renamed["name"].as_str().unwrap()));
                }
            }
        }
    }
}
