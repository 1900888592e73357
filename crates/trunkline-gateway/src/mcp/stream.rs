//! `GET`: the standing stream of a session. It carries `notifications/tools/list_changed` when the tools that this
//! session sees have changed, and comments that keep it alive.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, ALLOW, HeaderValue};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_mcp::{rpc, sse};
use trunkline_model::{RequestId, SessionKey};

use crate::Gateway;
use crate::answer;
use crate::context::Context;
use crate::listing;
use crate::mcp::{enter, session};
use crate::relay::KEEP_ALIVE_EVERY;
use crate::scope::{self, PathSelection};

/// Changes that come together are told once.
const SETTLE: Duration = Duration::from_millis(300);

/// Answers a GET.
pub async fn handle(
    gateway: Arc<Gateway>,
    path: &PathSelection,
    request_id: RequestId,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let mut context = match enter(&gateway, path, request_id, parts.headers) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let wants_stream = context.headers.get_all(ACCEPT).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.contains("text/event-stream") || text.contains("*/*"))
    });
    let watched = match session(&gateway, path, &context) {
        Ok(Some(claims)) if wants_stream => Watched::begin(&gateway, claims.key),
        Ok(Some(_)) => {
            let text = "Not Acceptable: Client must accept text/event-stream";
            return answer::rpc_error(StatusCode::NOT_ACCEPTABLE, "null", rpc::INVALID_REQUEST, text);
        }
        // Without a session there is nothing to say outside of requests (revision 2025-11-25, "Listening").
        Ok(None) => {
            let text = "Method Not Allowed: GET opens the stream of a session; initialize first";
            let mut response =
                answer::rpc_error(StatusCode::METHOD_NOT_ALLOWED, "null", rpc::INVALID_REQUEST, text);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
            return response;
        }
        Err(answer) => return answer,
    };
    context.session = Some(watched.session);
    let changed = gateway.upstreams.changed();
    let mut standing = Standing {
        watched,
        gateway,
        context,
        path: path.clone(),
        changed,
        seen: 0,
    };
    // Before the head of the answer: from then on the client counts on being told.
    standing.seen = standing.digest().await;
    let body = stream::unfold((standing, true), |(mut standing, first)| async move {
        if first {
            return Some((event(sse::KEEP_ALIVE), (standing, false)));
        }
        let text = standing.next().await?;
        Some((event(&text), (standing, false)))
    });
    answer::event_stream(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>)))
}

fn event(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A session that is watched for its end as long as the stream lives.
struct Watched {
    gateway: Arc<Gateway>,
    session: SessionKey,
    token: CancellationToken,
}

impl Watched {
    fn begin(gateway: &Arc<Gateway>, session: SessionKey) -> Self {
        let token = gateway.ended.watch(session);
        if gateway.ended.contains(&session) {
            // It ended just before it was watched.
            token.cancel();
        }
        Self {
            gateway: gateway.clone(),
            session,
            token,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.gateway.ended.leave(self.session);
    }
}

struct Standing {
    watched: Watched,
    gateway: Arc<Gateway>,
    context: Context,
    path: PathSelection,
    changed: watch::Receiver<u64>,
    seen: u64,
}

impl Standing {
    /// The next thing to send; `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            let draining = self.gateway.draining.clone();
            let changed = tokio::select! {
                () = draining.cancelled() => return None,
                () = self.watched.token.cancelled() => return None,
                changed = timeout(KEEP_ALIVE_EVERY, self.changed.changed()) => changed,
            };
            match changed {
                Err(_) => return Some(sse::KEEP_ALIVE.to_owned()),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            sleep(SETTLE).await;
            self.changed.mark_unchanged();
            let now = self.digest().await;
            if now != self.seen {
                self.seen = now;
                return Some(sse::encode_message(&rpc::notification(
                    "notifications/tools/list_changed",
                    None,
                )));
            }
        }
    }

    /// What the session sees now, by the registry of now, without waiting for any upstream.
    async fn digest(&mut self) -> u64 {
        self.context.snapshot = self.gateway.registry.snapshot();
        match scope::resolve(&self.context.snapshot, &self.path, &self.context.headers) {
            Ok(selection) => self.context.selection = selection,
            // The path's server is gone: nothing is seen.
            Err(_) => return 0,
        }
        let listing = listing::list_within(&self.gateway, &self.context, Duration::ZERO).await;
        listing.digest(&self.context)
    }
}
