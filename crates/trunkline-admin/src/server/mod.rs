//! `/v1/mcp/server…`: one operation a file.

use std::sync::Arc;

use trunkline_model::{Approval, ApprovalStatus, Origin, Server, ServerId};

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;
use crate::programs::MayRun;

pub(crate) mod access_groups;
pub(crate) mod approve;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod pin;
pub(crate) mod register;
pub(crate) mod reject;
pub(crate) mod submissions;
pub(crate) mod update;

/// The server of an id, whatever its state and wherever it was declared.
fn find(id: &ServerId, app: &App) -> Result<Arc<Server>, ApiError> {
    app.registry
        .snapshot()
        .get(id)
        .cloned()
        .ok_or_else(|| ApiError::NotFound(id.clone()))
}

/// The server of an id, if it may be changed here.
fn find_changeable(id: &ServerId, app: &App) -> Result<Arc<Server>, ApiError> {
    let server = find(id, app)?;
    match server.origin {
        Origin::Database => Ok(server),
        Origin::File => Err(ApiError::ManagedByFile(id.clone())),
    }
}

/// How a review ends.
struct Verdict {
    status: ApprovalStatus,
    notes: Option<String>,
    /// The server as the reviewer has it, and the tools that are accepted of it.
    pinned: Option<(Arc<Server>, serde_json::Map<String, serde_json::Value>)>,
}

/// The server of an id, if it waits for a review that the caller may end in this way.
fn find_reviewable(
    id: &ServerId,
    status: ApprovalStatus,
    admin: &Admin,
    app: &App,
) -> Result<Arc<Server>, ApiError> {
    let server = find_changeable(id, app)?;
    if server.approval.status != ApprovalStatus::PendingReview {
        return Err(ApiError::BadRequest(format!(
            "MCP Server {id} is not pending review: its approval_status is {}",
            server.approval.status.as_str()
        )));
    }
    if status == ApprovalStatus::Active {
        MayRun::of(admin, app).check_stored(&server.definition)?;
    }
    Ok(server)
}

/// Ends the review of a submission.
async fn review(id: ServerId, verdict: Verdict, admin: &Admin, app: &App) -> Result<Arc<Server>, ApiError> {
    let _writing = app.writing.lock().await;
    let Verdict {
        status: verdict,
        notes,
        pinned,
    } = verdict;
    let server = find_reviewable(&id, verdict, admin, app)?;
    let now = app.now();
    let mut changed = Server::clone(&server);
    if let Some((seen, pins)) = pinned {
        if seen.definition != server.definition {
            return Err(ApiError::Conflict(format!(
                "MCP Server {id} was changed in the meantime; it is not approved. Look at it, and try again"
            )));
        }
        // With the approval, so that it never serves anything else.
        changed.definition.pinned_tools = Some(pins.into());
    }
    changed.approval = Approval {
        status: verdict,
        reviewed_by: Some(admin.actor().changed_by.clone()),
        reviewed_at: Some(now),
        review_notes: notes,
        ..changed.approval
    };
    changed.stamps.updated_at = Some(now);
    changed.stamps.updated_by = Some(admin.id().to_owned());
    let stored = app.registry.update(admin.actor(), changed).await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %id, verdict = verdict.as_str(), "submission reviewed");
    Ok(stored)
}
