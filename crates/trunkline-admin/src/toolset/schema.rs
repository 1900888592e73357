//! The shapes of the toolset routes, for the document.

use serde::Serialize;
use utoipa::ToSchema;

/// One tool.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MCPToolsetTool)]
pub(crate) struct ToolBody {
    /// Its server: id, name or alias.
    server_id: String,
    /// Its own name, or the one it is exposed under.
    tool_name: String,
}

/// The body that makes a toolset.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMCPToolsetRequest)]
pub(crate) struct NewToolset {
    /// Unique, ignoring case; it stands in the toolset's URL.
    toolset_name: String,
    /// For people.
    description: Option<String>,
    /// None, unless said.
    #[schema(required = false)]
    tools: Vec<ToolBody>,
}

/// The body that changes one.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateMCPToolsetRequest)]
pub(crate) struct ToolsetChange {
    /// Which.
    toolset_id: String,
    /// Unique, ignoring case. Null changes nothing.
    toolset_name: Option<String>,
    /// Null clears it.
    description: Option<String>,
    /// All of them; null changes nothing.
    tools: Option<Vec<ToolBody>>,
}

/// A toolset in an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = MCPToolset)]
pub(crate) struct ToolsetRow {
    /// Never changes.
    toolset_id: String,
    /// Its name.
    toolset_name: String,
    /// For people.
    description: Option<String>,
    /// Its tools.
    tools: Vec<ToolBody>,
    /// RFC 3339.
    created_at: Option<String>,
    /// By whom.
    created_by: Option<String>,
    /// RFC 3339.
    updated_at: Option<String>,
    /// By whom.
    updated_by: Option<String>,
    /// What of its row cannot be read; such a toolset grants nothing. For the administrator.
    #[schema(required = false)]
    defect: Option<String>,
    /// Servers and tools that are not there now. For the administrator.
    #[schema(required = false)]
    warnings: Vec<String>,
}
