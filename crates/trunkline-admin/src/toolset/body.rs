//! What a body says about a toolset.

use serde_json::{Map, Value};
use trunkline_model::key::ALL_TOOLS;
use trunkline_model::{Toolset, ToolsetTool};

use crate::body::{At, Loc, Problems};
use crate::error::ApiError;
use crate::key::fields::{MAX_ITEMS, Said, optional, set, short_text, unknown};

/// The fields of a toolset.
const FIELDS: [&str; 3] = ["toolset_name", "description", "tools"];
const TOOL: [&str; 2] = ["server_id", "tool_name"];

/// Characters of a name, which stands in URLs.
const MAX_NAME: usize = 128;

/// What a body says; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// A toolset always has one: null changes nothing, as in LiteLLM.
    pub(super) name: Option<String>,
    description: Option<Said<String>>,
    /// The same; `[]` is none.
    tools: Option<Vec<ToolsetTool>>,
}

impl Change {
    /// The body of a new toolset, which has a name.
    pub(super) fn of_new(body: &Map<String, Value>) -> Result<(String, Self), ApiError> {
        let mut problems = Problems::default();
        let mut change = Self::read(body, &[], &mut problems);
        if !body.contains_key("toolset_name") {
            At::field("toolset_name", &mut problems).problem::<()>("missing", "Field required");
        }
        if body.get("toolset_name").is_some_and(Value::is_null) {
            At::field("toolset_name", &mut problems)
                .problem::<()>("string_type", "Input should be a valid string");
        }
        problems.into_result()?;
        Ok((change.name.take().unwrap_or_default(), change))
    }

    /// The body that changes one: its id, and what is to be different.
    pub(super) fn of_existing(body: &Map<String, Value>) -> Result<(String, Self), ApiError> {
        let mut problems = Problems::default();
        let change = Self::read(body, &["toolset_id"], &mut problems);
        let mut at = At::field("toolset_id", &mut problems);
        let id = match body.get("toolset_id") {
            Some(value) => at.text(value),
            None => at.problem("missing", "Field required"),
        };
        let id = id.map(ToOwned::to_owned);
        problems.into_result()?;
        Ok((id.unwrap_or_default(), change))
    }

    fn read(body: &Map<String, Value>, own: &[&str], problems: &mut Problems) -> Self {
        let mut change = Self::default();
        for (field, value) in body {
            let mut at = At::field(field, problems);
            match field.as_str() {
                "toolset_name" => change.name = optional(value, &mut at, name).and_then(Said::value),
                "description" => change.description = optional(value, &mut at, short_text),
                "tools" => change.tools = optional(value, &mut at, tools).and_then(Said::value),
                field if own.contains(&field) => {}
                field => unknown(field, FIELDS.into_iter().chain(own.iter().copied()), &mut at),
            }
        }
        change
    }

    /// Makes the toolset as the body says.
    pub(super) fn apply(self, toolset: &mut Toolset) {
        set(&mut toolset.name, self.name);
        set(&mut toolset.description, self.description.map(Said::value));
        if let Some(tools) = self.tools {
            toolset.set_tools(tools);
        }
    }
}

fn name(value: &Value, at: &mut At<'_>) -> Option<String> {
    let name = short_text(value, at)?;
    if name.chars().count() > MAX_NAME {
        let message = format!("String should have at most {MAX_NAME} characters");
        return at.problem("string_too_long", message);
    }
    if name.trim() != name || name.contains(|c: char| c == '/' || c.is_control()) {
        return at.problem(
            "value_error",
            "Value error, the name stands in a URL: no '/', no control characters, no blanks at its ends",
        );
    }
    Some(name)
}

fn tools(value: &Value, at: &mut At<'_>) -> Option<Vec<ToolsetTool>> {
    let items = at.list(value)?;
    if items.len() > MAX_ITEMS {
        return at.problem("too_long", format!("List should have at most {MAX_ITEMS} items"));
    }
    let read: Vec<ToolsetTool> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| at.within(Loc::Index(index), |at| tool(item, at)))
        .collect();
    (read.len() == items.len()).then_some(read)
}

fn tool(value: &Value, at: &mut At<'_>) -> Option<ToolsetTool> {
    let object = at.object(value)?;
    for name in object.keys().filter(|name| !TOOL.contains(&name.as_str())) {
        at.within(Loc::Name(name.clone()), |at| unknown(name, TOOL.into_iter(), at));
    }
    let mut member = |name: &str| {
        at.within(Loc::from(name), |at| match object.get(name) {
            Some(value) => short_text(value, at),
            None => at.problem("missing", "Field required"),
        })
    };
    let (server_id, tool_name) = (member("server_id"), member("tool_name"));
    if tool_name.as_deref() == Some(ALL_TOOLS) {
        return at.within(Loc::from("tool_name"), |at| {
            at.problem(
                "value_error",
                "Value error, a toolset names its tools one by one; all of a server are granted with mcp_servers",
            )
        });
    }
    Some(ToolsetTool {
        server_id: server_id?,
        tool_name: tool_name?,
    })
}
