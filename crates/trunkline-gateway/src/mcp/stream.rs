//! `GET`: the standing stream of a session. It carries `list_changed` notifications when what this session sees has
//! changed, what servers say and ask outside of its requests, and comments that keep it alive.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT, ALLOW, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use trunkline_auth::SessionClaims;
use trunkline_mcp::{ListKind, rpc, sse};
use trunkline_model::{Scope, ServerId};
use trunkline_upstream::{Aside, Attending, Watching};

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::asked;
use crate::callers;
use crate::calling;
use crate::caps::Place;
use crate::context::Context;
use crate::listing;
use crate::mcp::{enter, session};
use crate::peers;
use crate::relay::KEEP_ALIVE_EVERY;
use crate::resumable::Found;
use crate::scope::{self, PathSelection};

/// Changes that come together are told once.
const SETTLE: Duration = Duration::from_millis(300);

/// Answers a GET.
pub async fn handle(
    gateway: Arc<Gateway>,
    path: &PathSelection,
    arrived: Arrived,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = match enter(&gateway, path, arrived, parts) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let principal = context.principal.clone();
    let response = entered(gateway.clone(), path, context).await;
    callers::bound(&gateway, &principal, response)
}

async fn entered(gateway: Arc<Gateway>, path: &PathSelection, mut context: Context) -> Response {
    if let Some(answer) = resumed(&gateway, path, &context).await {
        return answer;
    }
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
    let place = match gateway.caps.stream(context.principal.id()) {
        Ok(place) => place,
        Err(full) => return full.answer("null"),
    };
    context.join(Some(&watched.claims));
    // The digests are taken before the head of the answer: from then on the client counts on being told.
    let standing = Standing::of_session(gateway, context, path).await;
    let standing = OfSession {
        watched,
        standing,
        _place: place,
    };
    let body = stream::unfold((standing, true), |(mut standing, first)| async move {
        if first {
            return Some((event(sse::KEEP_ALIVE), (standing, false)));
        }
        let text = standing.next().await?;
        Some((event(&text), (standing, false)))
    });
    answer::event_stream(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>)))
}

/// `Last-Event-ID`: the rest of an answer that broke off.
async fn resumed(gateway: &Gateway, path: &PathSelection, context: &Context) -> Option<Response> {
    let last = context.headers.get("last-event-id")?.to_str().ok()?;
    let claims = match session(gateway, path, context) {
        Ok(claims) => claims?,
        Err(answer) => return Some(answer),
    };
    Some(match gateway.streams.find(&gateway.peers, claims.key, last) {
        // What the caller may not call any more, or not from there, is not there.
        Found::Here(stream, number) if stream.subject.is_allowed(gateway, context) => {
            stream.answer(Some(number))
        }
        Found::Elsewhere(owner) => {
            // Boxed, and only here: every stream would carry room for it.
            let request = context.request(Method::GET, Bytes::new());
            Box::pin(peers::forward(gateway, owner, request))
                .await
                .unwrap_or_else(|error| {
                    let text =
                        format!("nothing follows this event: {error}. What became of the call is not known");
                    answer::rpc_error(StatusCode::BAD_GATEWAY, "null", rpc::INTERNAL_ERROR, &text)
                })
        }
        Found::Here(..) | Found::Nowhere => {
            let text =
                "Bad Request: nothing follows this event: its answer was given up; send the request again";
            answer::rpc_error(StatusCode::BAD_REQUEST, "null", rpc::INVALID_REQUEST, text)
        }
    })
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

/// The stream of a session.
struct OfSession {
    watched: Watched,
    standing: Standing,
    _place: Place,
}

impl OfSession {
    /// The next thing to send; `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        let due = tokio::select! {
            () = self.watched.token.cancelled() => return None,
            due = self.standing.due(&ListKind::ALL) => due?,
        };
        Some(due.map_or_else(
            || sse::KEEP_ALIVE.to_owned(),
            |message| sse::encode_message(&message),
        ))
    }
}

/// What a client that listens is to be told, as it happens.
pub struct Standing {
    gateway: Arc<Gateway>,
    context: Context,
    /// Where the servers are looked up again when the registry changes; without one they stay those of the request.
    path: Option<PathSelection>,
    changed: watch::Receiver<u64>,
    /// Tells of changed keys: the caller's may be among them.
    keys: watch::Receiver<u64>,
    /// The caller's grants are others than those by which servers were last turned to.
    granted_anew: bool,
    asides: Option<mpsc::Receiver<Aside>>,
    /// Kept, so that what servers say on the client's own sessions comes here.
    attending: Option<Attending>,
    /// Kept, so that servers can say that their lists have changed; `None` if nobody wants to know.
    watching: Option<Vec<Watching>>,
    seen: Vec<Seen>,
    /// When a change is looked at: others that belong to it may follow.
    settles_at: Option<Instant>,
    /// Messages that are ready to be sent.
    ready: VecDeque<String>,
}

/// What the session has seen of one list of one server; without a digest, nothing.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: ListKind,
    server: ServerId,
    digest: Option<u64>,
}

impl Standing {
    async fn begin(
        gateway: Arc<Gateway>,
        context: Context,
        path: Option<PathSelection>,
        watches: bool,
    ) -> Self {
        let changed = gateway.upstreams.changed();
        let keys = gateway.registry.keys().subscribe();
        let mut standing = Self {
            gateway,
            context,
            path,
            changed,
            keys,
            granted_anew: false,
            asides: None,
            attending: None,
            watching: watches.then(Vec::new),
            seen: Vec::new(),
            settles_at: None,
            ready: VecDeque::new(),
        };
        // What changed since the request came in was told to nobody here. Who is let in no more is shown the door by
        // `callers::bound`.
        let _ = standing.renew();
        standing.turn();
        standing.seen = standing.digests().await;
        standing
    }

    /// For the session that `context` has joined. It has what servers say outside of the session's requests, whatever replica
    /// these go to.
    pub async fn of_session(gateway: Arc<Gateway>, context: Context, path: &PathSelection) -> Self {
        let mut standing = Self::begin(gateway, context, Some(path.clone()), true).await;
        standing.attend();
        standing
    }

    /// For the servers of one request; `watches` if it is to hear of changed lists.
    pub async fn of_request(gateway: &Arc<Gateway>, context: &Context, watches: bool) -> Self {
        Self::begin(gateway.clone(), context.again(), None, watches).await
    }

    fn attend(&mut self) {
        let Some(session) = self.context.session else {
            return;
        };
        let upstreams = &self.gateway.upstreams;
        self.asides = Some(upstreams.listen(session));
        let servers: Vec<_> = self.context.servers().cloned().collect();
        let client = self.context.client_headers();
        let of = (session, self.context.capabilities);
        self.attending = Some(upstreams.attend(of, &servers, &client, self.context.lasts_until));
    }

    /// Turns to the servers as they are now. The new ones first: who is watched already stays so.
    fn turn(&mut self) {
        let upstreams = &self.gateway.upstreams;
        let servers: Vec<_> = self.context.servers().cloned().collect();
        let client = self.context.client_headers();
        if self.watching.is_some() {
            let era = self.context.era;
            let watching = servers
                .iter()
                .filter_map(|server| upstreams.watch(server, &client, era).ok())
                .collect();
            self.watching = Some(watching);
        }
        if let Some(attending) = &self.attending {
            upstreams.attend_to(attending, &servers, &client);
        }
    }

    /// For whom it stands.
    pub fn at(&self) -> (&Gateway, &Context) {
        (&self.gateway, &self.context)
    }

    /// The next message, `Some(None)` when a sign of life is due; `None` when the gateway stops. Of lists, only the
    /// `wanted` ones are spoken of. Cancel-safe.
    pub async fn due(&mut self, wanted: &[ListKind]) -> Option<Option<String>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(Some(message));
            }
            let draining = self.gateway.draining.clone();
            let aside = async {
                match &mut self.asides {
                    Some(asides) => asides.recv().await,
                    None => std::future::pending().await,
                }
            };
            let happened = tokio::select! {
                () = draining.cancelled() => return None,
                aside = aside => Happened::Aside(aside?),
                changed = self.changed.changed() => Happened::Changed(changed.ok()?),
                keys = self.keys.changed() => Happened::Keys(keys.ok()?),
                () = sleep(KEEP_ALIVE_EVERY) => return Some(None),
            };
            match happened {
                Happened::Aside(aside) => {
                    let message = self.message(aside);
                    self.ready.extend(message);
                }
                Happened::Keys(()) => self.renew()?,
                Happened::Changed(()) => {
                    // Dropped here, the change would be forgotten: it stays marked until it was looked at.
                    self.changed.mark_changed();
                    // Counted from the first look: who is interrupted again and again does not begin anew each time.
                    let settled = *self.settles_at.get_or_insert_with(|| Instant::now() + SETTLE);
                    sleep_until(settled).await;
                    self.settles_at = None;
                    self.changed.mark_unchanged();
                    let now = self.digests().await;
                    let changed = changes(&self.seen, &now, wanted);
                    self.ready
                        .extend(changed.iter().map(|method| rpc::notification(method, None)));
                    self.seen = now;
                }
            }
        }
    }

    /// Keys have changed. What the caller may use from now on counts at once, and lists are looked at again; `None` if
    /// it may not be here any more.
    fn renew(&mut self) -> Option<()> {
        let own = &self.context.principal;
        let now = self.gateway.authenticator.renew(own).ok()?;
        if !own.is_unchanged(&now) {
            self.context.principal = now;
            self.granted_anew = true;
            self.changed.mark_changed();
        }
        Some(())
    }

    /// What a server says outside of the session's requests, for the client.
    fn message(&self, aside: Aside) -> Option<String> {
        let (gateway, context) = (&self.gateway, &self.context);
        let server = context.servers().find(|server| server.id == aside.server.id);
        let Some(server) = server else {
            // It was taken away from this client since.
            aside.refuse(asked::GONE);
            return None;
        };
        match &aside.request {
            Some(id) => {
                let asked = (id.as_str(), aside.message.as_str());
                let offered = asked::offer(gateway, context, server, &aside.session, asked);
                if offered.is_none() {
                    aside.refuse(asked::UNREADABLE);
                }
                offered.map(|(message, _)| message)
            }
            None => calling::outside(gateway, context, server, &aside.method, aside.message),
        }
    }

    /// What the session sees now, by the registry of now, without waiting for any upstream.
    async fn digests(&mut self) -> Vec<Seen> {
        let snapshot = self.gateway.registry.snapshot();
        let is_another = !Arc::ptr_eq(&snapshot, &self.context.snapshot);
        self.context.snapshot = snapshot;
        if let Some(path) = &self.path {
            let context = &self.context;
            let resolved = scope::resolve(&context.snapshot, &context.principal, path, &context.headers);
            let Ok(selection) = resolved else {
                // The path's server or toolset is gone: nothing is seen, and nothing heard.
                self.context.selection.scope = Scope::nothing();
                return Vec::new();
            };
            self.context.selection = selection;
        }
        if is_another || self.granted_anew {
            self.granted_anew = false;
            self.turn();
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
                listing::at_hand(gateway, context, kind, context.servers_with(kind))
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

impl Drop for Standing {
    fn drop(&mut self) {
        let Some(asides) = &mut self.asides else { return };
        // What was asked and not handed on must not be waited for.
        asides.close();
        while let Ok(aside) = asides.try_recv() {
            aside.refuse(asked::GONE);
        }
    }
}

enum Happened {
    Aside(Aside),
    Changed(()),
    Keys(()),
}

/// The notifications that are due, each once. A list that is known for the first time is news only if it is of tools:
/// others are fetched because somebody asks for them, and that one gets the answer.
fn changes(before: &[Seen], now: &[Seen], wanted: &[ListKind]) -> Vec<&'static str> {
    let mut methods: Vec<&'static str> = Vec::new();
    let mut note = |kind: ListKind| {
        if wanted.contains(&kind) && !methods.contains(&kind.changed()) {
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
        assert_eq!(
            changes(&tools(Some(1)), &tools(Some(1)), &ListKind::ALL),
            Vec::<&str>::new()
        );
        assert_eq!(
            changes(&tools(None), &tools(Some(1)), &ListKind::ALL),
            ["notifications/tools/list_changed"]
        );
        assert_eq!(
            changes(&tools(Some(1)), &[], &ListKind::ALL),
            ["notifications/tools/list_changed"]
        );
        assert_eq!(changes(&tools(None), &[], &ListKind::ALL), Vec::<&str>::new());
        let prompts = |digest| vec![seen(ListKind::Prompts, "a", digest)];
        assert_eq!(
            changes(&prompts(None), &prompts(Some(1)), &ListKind::ALL),
            Vec::<&str>::new()
        );
        assert_eq!(
            changes(&prompts(Some(2)), &prompts(Some(1)), &ListKind::ALL),
            ["notifications/prompts/list_changed"]
        );
        let both = |digest| {
            vec![
                seen(ListKind::Resources, "a", digest),
                seen(ListKind::ResourceTemplates, "a", digest),
            ]
        };
        assert_eq!(
            changes(&both(Some(1)), &both(Some(2)), &ListKind::ALL),
            ["notifications/resources/list_changed"]
        );
    }
}
