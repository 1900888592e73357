//! A toolset as answers show it: LiteLLM's columns, and for the administrator what to know about it.

use serde_json::{Map, Value, json};
use trunkline_model::{Principal, Toolset, UserRole};

use crate::App;

/// Whether a caller sees every toolset with all that is known of it: the administrator, and who may look at everything.
pub(crate) fn sees_all(principal: &Principal) -> bool {
    matches!(
        principal.role(),
        Some(UserRole::ProxyAdmin | UserRole::ProxyAdminViewer)
    )
}

/// LiteLLM's columns.
pub(super) fn row(toolset: &Toolset) -> Map<String, Value> {
    let time = |at: Option<jiff::Timestamp>| Value::from(at.map(|at| at.to_string()));
    let tools = toolset.tools().iter();
    let tools = tools.map(|tool| json!({"server_id": tool.server_id, "tool_name": tool.tool_name}));
    let stamps = &toolset.stamps;
    let columns = [
        ("toolset_id", toolset.id.clone().into()),
        ("toolset_name", toolset.name.clone().into()),
        ("description", toolset.description.clone().into()),
        ("tools", tools.collect()),
        ("created_at", time(stamps.created_at)),
        ("created_by", stamps.created_by.clone().into()),
        ("updated_at", time(stamps.updated_at)),
        ("updated_by", stamps.updated_by.clone().into()),
    ];
    columns
        .into_iter()
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .collect()
}

/// The same with what to know about it.
pub(super) fn full(toolset: &Toolset, app: &App) -> Value {
    let mut row = row(toolset);
    row.insert("defect".to_owned(), toolset.defect.clone().into());
    row.insert("warnings".to_owned(), warnings(toolset, app).into());
    row.into()
}

/// A toolset is kept as it is written: a server or a tool may come later.
fn warnings(toolset: &Toolset, app: &App) -> Vec<String> {
    let snapshot = app.registry.snapshot();
    let mut warnings: Vec<String> = Vec::new();
    let mut note = |text: String| {
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    };
    if snapshot.find(&toolset.name).is_some() {
        let name = &toolset.name;
        note(format!(
            "toolset_name: a server has this name, too: /{name}/mcp is the server's, /toolset/{name}/mcp is this one's"
        ));
    }
    for tool in toolset.tools() {
        let (server_id, tool_name) = (&tool.server_id, &tool.tool_name);
        let Some(server) = snapshot.find(server_id) else {
            note(format!(
                "tools: no server has the id, name or alias {server_id:?}"
            ));
            continue;
        };
        if app.probe.has_tool(server, tool_name) == Some(false) {
            note(format!(
                "tools: the server {server_id:?} lists no tool {tool_name:?}"
            ));
        }
    }
    warnings
}
