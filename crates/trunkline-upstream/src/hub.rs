//! Subscriptions to resources of clients of the old era, with a server of the new one: `resources/subscribe` of each
//! becomes part of one `subscriptions/listen` for each credential, whose URIs are those that anybody wants.
//!
//! What a listening stream is about cannot be changed, so another is opened first and the old one closed when the server
//! has acknowledged the new: nothing is missed in between. Updates go to the streams of the sessions that want them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::{Era, modern, rpc};
use trunkline_model::SessionKey;

use crate::credential::Outgoing;
use crate::entry::{Ask, Entry};
use crate::era::Leg;
use crate::exchange::{Deadline, Exchange, Frame};
use crate::fault::{Fault, printable};
use crate::listen::Aside;
use crate::session::Session;
use crate::subscribe::{self, UPDATED};

/// Resources of one session, and of all sessions with one credential.
const MAX_OF_ONE: usize = 200;
const MAX_OF_ALL: usize = 2000;
/// Time for the server to acknowledge.
const ACKNOWLEDGE: Duration = Duration::from_secs(10);
/// After a stream has ended, the next attempt; doubling.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a client wants to be different.
pub(crate) enum Change {
    Subscribe(String),
    Unsubscribe(String),
}

impl Change {
    /// What a request of the old era asks for, if it is one of these.
    pub(crate) fn of(ask: &Ask<'_>) -> Option<Self> {
        if ask.era != Era::Legacy {
            return None;
        }
        let make = match ask.method {
            "resources/subscribe" => Self::Subscribe,
            "resources/unsubscribe" => Self::Unsubscribe,
            _ => return None,
        };
        let params = RawObject::parse(ask.params?).ok()?;
        params.get_string("uri").map(make)
    }
}

/// The hubs of one server, by credential.
#[derive(Default)]
pub(crate) struct Hubs {
    hubs: Mutex<HashMap<[u8; 16], Arc<Hub>>>,
}

struct Hub {
    out: Arc<Outgoing>,
    /// Who wants what, and since when nobody listens there.
    wanted: Mutex<HashMap<String, HashMap<SessionKey, Instant>>>,
    /// Held while the stream is changed.
    open: tokio::sync::Mutex<Option<Open>>,
    /// Ends the stream with the hub.
    stop: CancellationToken,
}

/// The stream that is open.
struct Open {
    uris: BTreeSet<String>,
    stop: CancellationToken,
}

impl Hubs {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Hub>>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, out: &Arc<Outgoing>) -> Arc<Hub> {
        let mut hubs = self.lock();
        // Those of clients' credentials that nobody uses any more.
        hubs.retain(|_, hub| Arc::strong_count(hub) > 1 || !hub.wanted().is_empty());
        let new = || {
            Arc::new(Hub {
                out: out.clone(),
                wanted: Mutex::default(),
                open: tokio::sync::Mutex::default(),
                stop: CancellationToken::new(),
            })
        };
        hubs.entry(out.fingerprint).or_insert_with(new).clone()
    }

    /// The session has ended.
    pub(crate) fn release(&self, entry: &Arc<Entry>, client: SessionKey) {
        self.release_where(entry, |own, _| own == client);
    }

    /// Sessions that do not listen, and have not for as long as others are kept unused.
    pub(crate) fn reap(&self, entry: &Arc<Entry>) {
        let listeners = &entry.shared.listeners;
        let idle = entry.shared.settings().session_idle;
        self.release_where(entry, |client, heard| {
            if listeners.has(client) {
                *heard = Instant::now();
            }
            heard.elapsed() >= idle
        });
    }

    fn release_where(&self, entry: &Arc<Entry>, mut gone: impl FnMut(SessionKey, &mut Instant) -> bool) {
        let hubs: Vec<Arc<Hub>> = self.lock().values().cloned().collect();
        for hub in hubs {
            let mut wanted = hub.wanted();
            let before = wanted.len();
            wanted.retain(|_, holders| {
                holders.retain(|client, heard| !gone(*client, heard));
                !holders.is_empty()
            });
            let changed = wanted.len() != before;
            drop(wanted);
            if changed {
                hub.narrow(entry);
            }
        }
    }

    /// What a session wants, as it is written down, and as it was before: it listens here, whatever process it told.
    pub(crate) async fn want(
        &self,
        entry: &Arc<Entry>,
        out: &Arc<Outgoing>,
        client: SessionKey,
        (before, uris): (Vec<String>, Vec<String>),
    ) {
        let known = self.lock().get(&out.fingerprint).cloned();
        let held: Vec<String> = known.iter().flat_map(|hub| hub.held_by(client)).collect();
        if let Some(hub) = known {
            // Not all that is held: what was just taken may not be written down yet.
            for uri in before.iter().filter(|uri| !uris.contains(uri)) {
                hub.unsubscribe(entry, client, uri);
            }
        }
        if uris.iter().all(|uri| held.contains(uri)) {
            return;
        }
        // A server of the old era has them with the session.
        if !matches!(entry.leg(Era::Legacy, out).await, Ok(Leg::Modern(_))) {
            return;
        }
        let hub = self.of(out);
        for uri in uris.into_iter().filter(|uri| !held.contains(uri)) {
            if let Err(fault) = hub.subscribe(entry, client, uri).await {
                tracing::debug!(server = %entry.prefix, %fault, "a subscription was not made again");
            }
        }
    }

    /// The server is not there any more, or the gateway stops.
    pub(crate) fn stop(&self) {
        for (_, hub) in self.lock().drain() {
            hub.stop.cancel();
        }
    }
}

/// Answers a request that changes what a client subscribes to, as the server itself would.
pub(crate) async fn answer(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    ask: &Ask<'_>,
    change: Change,
    (session, deadline): (Arc<Session>, Deadline),
) -> Result<Exchange, Fault> {
    let id = entry.next_id();
    let refused = match (ask.peer.client, change) {
        (None, _) => Some((
            rpc::INVALID_REQUEST,
            "subscriptions to resources belong to a session: initialize first".to_owned(),
        )),
        (Some(client), Change::Subscribe(uri)) => entry.hubs.of(out).subscribe(entry, client, uri).await?,
        (Some(client), Change::Unsubscribe(uri)) => {
            entry.hubs.of(out).unsubscribe(entry, client, &uri);
            None
        }
    };
    let text = id.to_string();
    let body = match refused {
        None => rpc::response(&text, "{}"),
        Some((code, message)) => rpc::error_response(&text, &rpc::error_object(code, &message, None)),
    };
    let line = entry.line(out, session);
    Ok(Exchange::answered(
        line,
        id,
        (ask.step(), deadline),
        StatusCode::OK,
        body.into(),
    ))
}

impl Hub {
    fn wanted(&self) -> MutexGuard<'_, HashMap<String, HashMap<SessionKey, Instant>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uris(&self) -> BTreeSet<String> {
        self.wanted().keys().cloned().collect()
    }

    fn held_by(&self, client: SessionKey) -> Vec<String> {
        self.wanted()
            .iter()
            .filter(|(_, holders)| holders.contains_key(&client))
            .map(|(uri, _)| uri.clone())
            .collect()
    }

    fn hold(&self, uri: String, client: SessionKey) {
        self.wanted()
            .entry(uri)
            .or_default()
            .insert(client, Instant::now());
    }

    /// Code and words of why there is no room for another resource.
    fn full(&self, client: SessionKey, uri: &str) -> Option<(i64, String)> {
        let wanted = self.wanted();
        let own = wanted
            .values()
            .filter(|holders| holders.contains_key(&client))
            .count();
        let text = if own >= MAX_OF_ONE {
            format!("more than {MAX_OF_ONE} resources are subscribed to in this session")
        } else if wanted.len() >= MAX_OF_ALL && !wanted.contains_key(uri) {
            format!("more than {MAX_OF_ALL} resources of this server are subscribed to")
        } else {
            return None;
        };
        Some((
            rpc::INTERNAL_ERROR,
            format!("{text}; unsubscribe from some first"),
        ))
    }

    /// Answers when the server has acknowledged; code and words if it does not take it.
    async fn subscribe(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        client: SessionKey,
        uri: String,
    ) -> Result<Option<(i64, String)>, Fault> {
        let mut open = self.open.lock().await;
        if let Some(full) = self.full(client, &uri) {
            return Ok(Some(full));
        }
        let is_listened_to = open.as_ref().is_some_and(|open| open.uris.contains(&uri));
        if !is_listened_to {
            let mut uris = self.uris();
            uris.insert(uri.clone());
            let Some((exchange, taken)) = self.listen(entry, &uris).await? else {
                return Err(Deadline::after(ACKNOWLEDGE).missed(trunkline_model::Step::Call));
            };
            if !taken.contains(&uri) {
                let text = format!("the server takes no subscription to {}", printable(&uri));
                return Ok(Some((rpc::INVALID_PARAMS, text)));
            }
            self.replace(entry, &mut open, exchange, uris);
        }
        self.hold(uri, client);
        Ok(None)
    }

    fn unsubscribe(self: &Arc<Self>, entry: &Arc<Entry>, client: SessionKey, uri: &str) {
        let mut wanted = self.wanted();
        let Some(holders) = wanted.get_mut(uri) else {
            return;
        };
        holders.remove(&client);
        if holders.is_empty() {
            wanted.remove(uri);
            drop(wanted);
            self.narrow(entry);
        }
    }

    /// Listens to no more than is wanted, without making anybody wait. While that cannot be, more is heard than is told.
    fn narrow(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (hub, entry) = (self.clone(), entry.clone());
        entry.tasks.clone().spawn(async move {
            let mut open = hub.open.lock().await;
            let uris = hub.uris();
            let Some(own) = &*open else { return };
            if own.uris.is_subset(&uris) {
                return;
            }
            if uris.is_empty() {
                own.stop.cancel();
                *open = None;
            } else if let Ok(Some((exchange, _))) = hub.listen(&entry, &uris).await {
                hub.replace(&entry, &mut open, exchange, uris);
            }
        });
    }

    /// Opens a stream; `None` if the server does not acknowledge it in time.
    async fn listen(
        &self,
        entry: &Arc<Entry>,
        uris: &BTreeSet<String>,
    ) -> Result<Option<(Exchange, Vec<String>)>, Fault> {
        let uris: Vec<String> = uris.iter().cloned().collect();
        timeout(ACKNOWLEDGE, subscribe::resources(entry, &self.out, &uris))
            .await
            .ok()
            .transpose()
    }

    /// Reads from the new stream from now on, and closes the old one.
    fn replace(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        open: &mut Option<Open>,
        exchange: Exchange,
        uris: BTreeSet<String>,
    ) {
        let stop = self.stop.child_token();
        let old = open.replace(Open {
            uris,
            stop: stop.clone(),
        });
        if let Some(old) = old {
            old.stop.cancel();
        }
        let (hub, reader) = (self.clone(), entry.clone());
        entry.tasks.spawn(async move {
            stop.clone()
                .run_until_cancelled(hub.keep(&reader, exchange, &stop))
                .await;
        });
    }

    /// Reads a stream, and opens another when it ends, for as long as anything is wanted.
    async fn keep(self: &Arc<Self>, entry: &Arc<Entry>, mut exchange: Exchange, stop: &CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            self.read(entry, &mut exchange).await;
            if began.elapsed() > LONGEST_PAUSE {
                pause = PAUSE;
            }
            exchange = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let mut open = self.open.lock().await;
                if stop.is_cancelled() {
                    // Another stream took its place in the meantime.
                    return;
                }
                let uris = self.uris();
                if uris.is_empty() || entry.retired.load(Ordering::Relaxed) {
                    *open = None;
                    return;
                }
                if let Ok(Some((exchange, taken))) = self.listen(entry, &uris).await
                    && !taken.is_empty()
                {
                    if let Some(open) = &mut *open {
                        open.uris.clone_from(&uris);
                    }
                    drop(open);
                    // Nobody knows what happened while nobody listened.
                    for uri in uris {
                        let params = format!(r#"{{"uri":{}}}"#, edit::string(&uri));
                        let message = rpc::notification(UPDATED, Some(&params));
                        self.tell(entry, &exchange, &uri, &message);
                    }
                    break exchange;
                }
            };
        }
    }

    async fn read(&self, entry: &Arc<Entry>, exchange: &mut Exchange) {
        while let Ok(frame) = exchange.next().await {
            match frame {
                Frame::Result(_) | Frame::Error(_) => return,
                Frame::Notification { method, message } if method == UPDATED => {
                    if let Some((uri, message)) = updated(&message) {
                        self.tell(entry, exchange, &uri, &message);
                    }
                }
                _ => {}
            }
        }
    }

    /// Tells those who want it. A server may say of a part that it has changed where the whole was subscribed to.
    fn tell(&self, entry: &Arc<Entry>, exchange: &Exchange, uri: &str, message: &str) {
        let clients: BTreeSet<[u8; 16]> = {
            let wanted = self.wanted();
            let of = |holders: &HashMap<SessionKey, Instant>| {
                holders.keys().map(|client| client.0).collect::<Vec<_>>()
            };
            match wanted.get(uri) {
                Some(holders) => of(holders).into_iter().collect(),
                None => wanted
                    .iter()
                    .filter(|(whole, _)| uri.starts_with(whole.as_str()))
                    .flat_map(|(_, holders)| of(holders))
                    .collect(),
            }
        };
        for client in clients {
            let aside = Aside {
                line: entry.line(&self.out, exchange.session().clone()),
                server: entry.server.load_full(),
                session: exchange.session().clone(),
                request: None,
                method: UPDATED.to_owned(),
                message: message.to_owned(),
            };
            entry.shared.listeners.tell(SessionKey(client), aside);
        }
    }
}

/// The URI of an update, and the message as the old era has it.
fn updated(message: &str) -> Option<(String, String)> {
    let untagged = modern::untagged(message)?;
    let object = RawObject::parse(&untagged).ok()?;
    let uri = RawObject::parse(object.get("params")?).ok()?.get_string("uri")?;
    Some((uri, untagged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_loses_what_only_the_new_era_has() {
        let message = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a://b","_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
        let (uri, message) = updated(message).unwrap();
        assert_eq!(uri, "a://b");
        assert_eq!(
            message,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a://b"}}"#
        );
    }
}
