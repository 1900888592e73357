//! `GET /v1/mcp/access_groups`: the groups that servers are in.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::actor::Admin;

/// Names of access groups.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccessGroups {
    /// Sorted.
    access_groups: BTreeSet<String>,
}

/// List the access groups
///
/// Of servers that serve: a submission cannot make a group.
#[utoipa::path(
    get,
    path = "/v1/mcp/access_groups",
    tag = "MCP servers",
    responses((status = 200, description = "The groups.", body = AccessGroups)),
)]
pub(crate) async fn access_groups(_admin: Admin, State(app): State<Arc<App>>) -> Json<AccessGroups> {
    let access_groups = app
        .registry
        .snapshot()
        .servers()
        .iter()
        .filter(|server| server.is_active())
        .flat_map(|server| server.definition.mcp_access_groups.iter().cloned())
        .collect();
    Json(AccessGroups { access_groups })
}
