//! Streams that stay open belong to whoever opened them: when a key is revoked, is blocked, or has expired, they end; so they do
//! when its team, or whom they are for, is blocked.
//! Requests need none of this: each is identified by the keys of its own moment.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, HttpBody as _};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use trunkline_auth::Authenticator;
use trunkline_model::{KeyMap, Principal};

use crate::Gateway;

/// The open streams in this process that somebody may have to leave.
#[derive(Default)]
pub struct Callers {
    streams: Mutex<KeyMap<u64, Followed>>,
    begun: AtomicU64,
}

struct Followed {
    principal: Principal,
    /// Cancelled when the principal is none any more.
    over: CancellationToken,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, KeyMap<u64, Followed>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the streams of those who are not let in any more. Called when keys have changed, and every now and then,
    /// because keys expire by themselves.
    pub fn sweep(&self, authenticator: &Authenticator) {
        for followed in self.lock().values() {
            if !followed.over.is_cancelled() && authenticator.renew(&followed.principal).is_err() {
                followed.over.cancel();
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

/// A stream's place among those that are followed; left when it is dropped.
struct Following {
    gateway: Arc<Gateway>,
    number: u64,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.gateway.callers.lock().remove(&self.number);
    }
}

/// The answer as it is, but a stream of a virtual key, or for an end user, ends with them.
pub fn bound(gateway: &Arc<Gateway>, principal: &Principal, response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    if !principal.can_change() || kind.is_none_or(|kind| kind != "text/event-stream") {
        return response;
    }
    let (over, following) = follow(gateway, principal);
    let (parts, body) = response.into_parts();
    let body = body
        .into_data_stream()
        .take_until(over.cancelled_owned())
        .map(move |piece| {
            // Lives as long as the stream.
            let _ = &following;
            piece
        });
    Response::from_parts(parts, Body::from_stream(body))
}

/// The same of every answer that is not whole yet, whatever it says that it is. Half of one ends in a broken connection: its kind may have no
/// other way to say that it is not complete.
pub fn bound_whatever_it_is(gateway: &Arc<Gateway>, principal: &Principal, response: Response) -> Response {
    if !principal.can_change() || response.body().size_hint().exact().is_some() {
        return response;
    }
    let (over, following) = follow(gateway, principal);
    let (parts, body) = response.into_parts();
    let is_over = over.clone();
    let last = stream::once(async move {
        let text = "whoever asked is not let in any more";
        is_over
            .is_cancelled()
            .then(|| Err(axum::Error::new(io::Error::other(text))))
    });
    let body = body
        .into_data_stream()
        .take_until(over.cancelled_owned())
        .map(Some)
        .chain(last)
        .filter_map(move |piece| {
            let _ = &following;
            std::future::ready(piece)
        });
    Response::from_parts(parts, Body::from_stream(body))
}

/// A place among those that are followed, and what is cancelled when they have to leave.
fn follow(gateway: &Arc<Gateway>, principal: &Principal) -> (CancellationToken, Following) {
    let over = CancellationToken::new();
    let number = gateway.callers.begun.fetch_add(1, Ordering::Relaxed);
    let followed = Followed {
        principal: principal.clone(),
        over: over.clone(),
    };
    gateway.callers.lock().insert(number, followed);
    let following = Following {
        gateway: gateway.clone(),
        number,
    };
    if gateway.authenticator.renew(principal).is_err() {
        // It was taken away while the answer was made.
        over.cancel();
    }
    (over, following)
}
