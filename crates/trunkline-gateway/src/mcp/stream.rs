//! `GET`: the standing stream of a session. It carries `list_changed` notifications when what this session sees has
//! changed, what servers say and ask outside of its requests, and comments that keep it alive.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, ALLOW, HeaderValue};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trunkline_auth::SessionClaims;
use trunkline_mcp::{ListKind, rpc, sse};
use trunkline_model::{RequestId, ServerId};
use trunkline_upstream::Aside;

use crate::Gateway;
use crate::answer;
use crate::asked;
use crate::calling;
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
        Ok(Some(claims)) if wants_stream => Watched::begin(&gateway, claims),
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
    context.join(Some(&watched.claims));
    let changed = gateway.upstreams.changed();
    let asides = gateway.upstreams.listen(watched.claims.key);
    let mut standing = Standing {
        watched,
        gateway,
        context,
        path: path.clone(),
        changed,
        asides,
        seen: Vec::new(),
        due: VecDeque::new(),
    };
    // Before the head of the answer: from then on the client counts on being told.
    standing.seen = standing.digests().await;
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
    claims: SessionClaims,
    token: CancellationToken,
}

impl Watched {
    fn begin(gateway: &Arc<Gateway>, claims: SessionClaims) -> Self {
        let token = gateway.ended.watch(claims.key);
        if gateway.ended.contains(&claims.key) {
            // It ended just before it was watched.
            token.cancel();
        }
        Self {
            gateway: gateway.clone(),
            claims,
            token,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.gateway.ended.leave(self.claims.key);
    }
}

struct Standing {
    watched: Watched,
    gateway: Arc<Gateway>,
    context: Context,
    path: PathSelection,
    changed: watch::Receiver<u64>,
    asides: mpsc::Receiver<Aside>,
    seen: Vec<Seen>,
    /// Messages that are ready to be sent.
    due: VecDeque<String>,
}

/// What the session has seen of one list of one server; without a digest, nothing.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: ListKind,
    server: ServerId,
    digest: Option<u64>,
}

impl Standing {
    /// The next thing to send; `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(message) = self.due.pop_front() {
                return Some(sse::encode_message(&message));
            }
            let draining = self.gateway.draining.clone();
            let happened = tokio::select! {
                () = draining.cancelled() => return None,
                () = self.watched.token.cancelled() => return None,
                aside = self.asides.recv() => Happened::Aside(aside?),
                changed = self.changed.changed() => Happened::Changed(changed.ok()?),
                () = sleep(KEEP_ALIVE_EVERY) => return Some(sse::KEEP_ALIVE.to_owned()),
            };
            match happened {
                Happened::Aside(aside) => self.due.extend(self.message(aside)),
                Happened::Changed(()) => {
                    sleep(SETTLE).await;
                    self.changed.mark_unchanged();
                    let now = self.digests().await;
                    let changed = changes(&self.seen, &now);
                    self.due
                        .extend(changed.iter().map(|method| rpc::notification(method, None)));
                    self.seen = now;
                }
            }
        }
    }

    /// What a server says outside of the session's requests, for the client.
    fn message(&self, aside: Aside) -> Option<String> {
        let (gateway, context) = (&self.gateway, &self.context);
        let server = context.servers().find(|server| server.id == aside.server.id)?;
        match &aside.request {
            Some(id) => {
                let asked = (id.as_str(), aside.message.as_str());
                asked::offer(gateway, context, server, &aside.session, asked).map(|(message, _)| message)
            }
            None => Some(calling::outside(
                gateway,
                context,
                server,
                &aside.method,
                aside.message,
            )),
        }
    }

    /// What the session sees now, by the registry of now, without waiting for any upstream.
    async fn digests(&mut self) -> Vec<Seen> {
        self.context.snapshot = self.gateway.registry.snapshot();
        match scope::resolve(&self.context.snapshot, &self.path, &self.context.headers) {
            Ok(selection) => self.context.selection = selection,
            // The path's server is gone: nothing is seen.
            Err(_) => return Vec::new(),
        }
        let (gateway, context) = (&self.gateway, &self.context);
        let mut seen = Vec::new();
        for kind in ListKind::ALL {
            let servers = if kind == ListKind::Tools {
                listing::list_within(gateway, context, kind, Duration::ZERO)
                    .await
                    .servers
            } else {
                // What nobody has asked for yet is not fetched to notice its changes.
                listing::at_hand(gateway, context, kind, context.servers())
            };
            seen.extend(servers.into_iter().map(|items| Seen {
                kind,
                server: items.server.id.clone(),
                digest: listing::digest(context, kind, &items),
            }));
        }
        seen
    }
}

enum Happened {
    Aside(Aside),
    Changed(()),
}

/// The notifications that are due, each once. A list that is known for the first time is news only if it is of tools:
/// others are fetched because somebody asks for them, and that one gets the answer.
fn changes(before: &[Seen], now: &[Seen]) -> Vec<&'static str> {
    let mut methods: Vec<&'static str> = Vec::new();
    let mut note = |kind: ListKind| {
        if !methods.contains(&kind.changed()) {
            methods.push(kind.changed());
        }
    };
    let same = |a: &Seen, b: &Seen| a.kind == b.kind && a.server == b.server;
    for own in now {
        match before.iter().find(|old| same(old, own)) {
            Some(old) if old.digest == own.digest => {}
            Some(Seen { digest: None, .. }) if own.kind != ListKind::Tools => {}
            None if own.digest.is_none() => {}
            _ => note(own.kind),
        }
    }
    for old in before.iter().filter(|old| old.digest.is_some()) {
        if !now.iter().any(|own| same(old, own)) {
            note(old.kind);
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: ListKind, server: &str, digest: Option<u64>) -> Seen {
        Seen {
            kind,
            server: ServerId::new(server),
            digest,
        }
    }

    #[test]
    fn b61_what_has_changed_is_told_once() {
        let tools = |digest| vec![seen(ListKind::Tools, "a", digest)];
        assert_eq!(changes(&tools(Some(1)), &tools(Some(1))), Vec::<&str>::new());
        assert_eq!(
            changes(&tools(None), &tools(Some(1))),
            ["notifications/tools/list_changed"]
        );
        assert_eq!(
            changes(&tools(Some(1)), &[]),
            ["notifications/tools/list_changed"]
        );
        assert_eq!(changes(&tools(None), &[]), Vec::<&str>::new());
        let prompts = |digest| vec![seen(ListKind::Prompts, "a", digest)];
        assert_eq!(changes(&prompts(None), &prompts(Some(1))), Vec::<&str>::new());
        assert_eq!(
            changes(&prompts(Some(2)), &prompts(Some(1))),
            ["notifications/prompts/list_changed"]
        );
        let both = |digest| {
            vec![
                seen(ListKind::Resources, "a", digest),
                seen(ListKind::ResourceTemplates, "a", digest),
            ]
        };
        assert_eq!(
            changes(&both(Some(1)), &both(Some(2))),
            ["notifications/resources/list_changed"]
        );
    }
}
