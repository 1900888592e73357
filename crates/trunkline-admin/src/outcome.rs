//! A server's outcome as answers show it.

use jiff::Timestamp;
use serde::Serialize;
use trunkline_model::{ApprovalStatus, Outcome, OutcomeStatus, Rejected, Server, Step};
use utoipa::ToSchema;

use crate::{App, scrub};

/// What came of the last attempt to use a server.
#[derive(Serialize, ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeBody {
    /// `ok`, `pending`, `auth_required`, `forbidden`, `rate_limited`, `timeout`, `unreachable`, `upstream_error`,
    /// `protocol_error`, `misconfigured`, `quarantined`, `no_grant`, `pending_review` or `internal`.
    status: &'static str,
    /// The step that failed, or the last one done: `configuration`, `dns`, `tcp`, `tls`, `document`, `parse`, `initialize`,
    /// `initialized`, `list` or `call`.
    step: &'static str,
    /// HTTP status of the server's answer at that step.
    http_status: Option<u16>,
    /// What happened, with the server's words.
    message: String,
    /// What to do about it.
    hint: Option<String>,
    /// When it was found; null if it was never tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// How long the attempt took, milliseconds.
    duration_ms: u64,
    /// The server's `Retry-After`, seconds.
    retry_after_s: Option<u64>,
    /// Definitions that are left out of its list while the others are shown: the first 20. Not there if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    rejected: Vec<RejectedBody>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_count: Option<usize>,
}

/// A definition that is left out.
#[derive(Serialize, ToSchema)]
#[schema(as = RejectedItem)]
pub(crate) struct RejectedBody {
    /// Its name; null if it has none that can be read.
    name: Option<String>,
    /// Why.
    reason: String,
}

impl From<Outcome> for OutcomeBody {
    fn from(outcome: Outcome) -> Self {
        Self {
            status: outcome.status.as_str(),
            step: outcome.step.as_str(),
            http_status: outcome.http_status,
            at: was_tried(outcome.status).then_some(outcome.at),
            message: outcome.message,
            hint: outcome.hint,
            duration_ms: outcome.duration_ms,
            retry_after_s: outcome.retry_after_s,
            rejected_count: Some(outcome.rejected.count).filter(|count| *count > 0),
            rejected: outcome
                .rejected
                .items
                .into_iter()
                .map(|item| RejectedBody {
                    name: item.name,
                    reason: item.reason,
                })
                .collect(),
        }
    }
}

/// Whether an outcome of this kind comes of an attempt.
pub(crate) fn was_tried(status: OutcomeStatus) -> bool {
    !matches!(status, OutcomeStatus::Pending | OutcomeStatus::PendingReview)
}

/// What is known about a server without asking it.
pub(crate) fn of(server: &Server, app: &App) -> Outcome {
    not_contacted(server, app.now()).unwrap_or_else(|| scrub::outcome(app.probe.outcome(server), server))
}

/// Why a server is never contacted, if it is one of those.
pub(crate) fn not_contacted(server: &Server, now: Timestamp) -> Option<Outcome> {
    let (status, message, hint) = if server.is_active() {
        let defect = server.defect.clone()?;
        let hint = "PUT /v1/mcp/server with what the message asks for".to_owned();
        (OutcomeStatus::Misconfigured, defect, hint)
    } else {
        let (message, hint) = match server.approval.status {
            ApprovalStatus::Rejected => (
                "rejected: the server serves nobody",
                "delete it, and register it again if it should serve".to_owned(),
            ),
            _ => (
                "waits for a review: the server serves nobody until it is approved",
                format!("PUT /v1/mcp/server/{}/approve", server.id),
            ),
        };
        (OutcomeStatus::PendingReview, message.to_owned(), hint)
    };
    Some(Outcome {
        status,
        step: Step::Configuration,
        http_status: None,
        message,
        hint: Some(hint),
        at: now,
        duration_ms: 0,
        retry_after_s: None,
        rejected: Rejected::default(),
    })
}
