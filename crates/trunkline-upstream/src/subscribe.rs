//! Subscriptions to resources and tasks on behalf of one listener of the new era, with a server of either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::{Era, rpc, task};
use trunkline_model::{Server, SessionKey};

use crate::credential::Outgoing;
use crate::entry::{Ask, Entry, Peer};
use crate::exchange::{Deadline, Exchange, Frame};
use crate::fault::Fault;
use crate::listen::{self, Aside, Heard};
use crate::session::Session;
use crate::watch;

/// Where what a server says about its resources and tasks goes.
#[derive(Clone)]
pub struct Hearer {
    /// From whom, and what.
    pub messages: mpsc::Sender<(Arc<Server>, String)>,
    /// Cancelled when one of the subscriptions is lost for good: whoever listens has to subscribe again.
    pub lost: CancellationToken,
}

/// Subscriptions that end when this is dropped.
pub struct Subscribed {
    /// The server's own URIs that were taken.
    pub uris: Vec<String>,
    _end: DropGuard,
}

pub(crate) const UPDATED: &str = "notifications/resources/updated";

/// Tasks whose changes are told as long as this lives.
pub struct TasksWatched {
    /// The server's own ids that were taken.
    pub ids: Vec<String>,
    _end: DropGuard,
}

/// Attempts to subscribe again before a subscription is given up, and between them.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Between looking after a stream, and between attempts at one that is not to be had yet.
const PAUSE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(1);

/// One `subscriptions/listen` for all of them.
pub(crate) async fn modern(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    uris: &[String],
    hearer: Hearer,
) -> Result<Subscribed, Fault> {
    let wanted = watch::resources(uris);
    let (taken, end) = listening(entry, out, wanted, ("resourceSubscriptions", UPDATED), hearer).await?;
    Ok(Subscribed {
        uris: uris.iter().filter(|uri| taken.contains(*uri)).cloned().collect(),
        _end: end,
    })
}

/// The same for tasks. `meta` is that of the client, which says that it knows what tasks are.
pub(crate) async fn tasks(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    (ids, meta): (&[String], &str),
    hearer: Hearer,
) -> Result<TasksWatched, Fault> {
    let named: Vec<String> = ids.iter().map(|id| edit::string(id)).collect();
    let wanted = format!(
        r#"{{"notifications":{{"taskIds":[{}]}},"_meta":{meta}}}"#,
        named.join(",")
    );
    let (taken, end) = listening(entry, out, wanted, ("taskIds", task::CHANGED), hearer).await?;
    Ok(TasksWatched {
        ids: ids.iter().filter(|id| taken.contains(*id)).cloned().collect(),
        _end: end,
    })
}

/// A subscription: what was taken of `member`, and the reading of `method` until the guard goes. A stream that ends is asked for
/// again.
async fn listening(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    wanted: String,
    (member, method): (&'static str, &'static str),
    hearer: Hearer,
) -> Result<(Vec<String>, DropGuard), Fault> {
    let (exchange, taken) = open(entry, out, &wanted, member).await?;
    let end = CancellationToken::new();
    let stop = end.clone();
    let heard = Heeded {
        entry: entry.clone(),
        out: out.clone(),
        wanted,
        member,
        method,
        taken: taken.clone(),
        hearer,
    };
    entry.tasks.spawn(async move {
        stop.run_until_cancelled(Box::pin(heard.keep(exchange))).await;
    });
    Ok((taken, end.drop_guard()))
}

/// One subscription of the new era that is kept up.
struct Heeded {
    entry: Arc<Entry>,
    out: Arc<Outgoing>,
    wanted: String,
    member: &'static str,
    method: &'static str,
    taken: Vec<String>,
    hearer: Hearer,
}

impl Heeded {
    async fn keep(&self, mut exchange: Exchange) {
        let lost = self.hearer.lost.clone();
        loop {
            let read = self
                .entry
                .superseded
                .run_until_cancelled(self.read(exchange))
                .await;
            let again = match read {
                Some(Ok(())) => self
                    .entry
                    .superseded
                    .run_until_cancelled(self.again())
                    .await
                    .flatten(),
                // Nobody listens.
                Some(Err(_)) => return,
                // The server is another one now, or none.
                None => None,
            };
            let Some(opened) = again else {
                lost.cancel();
                return;
            };
            exchange = opened;
            if self.catch_up().await.is_err() {
                return;
            }
        }
    }

    /// Reads until the stream ends; the error is that nobody listens.
    async fn read(&self, mut exchange: Exchange) -> Result<(), Unheard> {
        let server = self.entry.server.load_full();
        while let Ok(frame) = exchange.next().await {
            match frame {
                Frame::Result(_) | Frame::Error(_) => break,
                Frame::Notification { method, message } if method == self.method => {
                    self.tell(&server, message).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn tell(&self, server: &Arc<Server>, message: String) -> Result<(), Unheard> {
        let told = self.hearer.messages.send((server.clone(), message)).await;
        told.map_err(|_| Unheard)
    }

    /// Subscribes again, to all that had been taken; `None` if the server does not take it any more.
    async fn again(&self) -> Option<Exchange> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause *= 2;
            match open(&self.entry, &self.out, &self.wanted, self.member).await {
                Ok((exchange, taken)) if self.taken.iter().all(|own| taken.contains(own)) => {
                    return Some(exchange);
                }
                Ok(_) => return None,
                Err(fault) => {
                    tracing::debug!(server = %self.entry.prefix, %fault, "not subscribed again yet");
                }
            }
        }
        None
    }

    /// Resources may have changed while nobody told. Of tasks, that cannot be said without their state.
    async fn catch_up(&self) -> Result<(), Unheard> {
        if self.method != UPDATED {
            return Ok(());
        }
        let server = self.entry.server.load_full();
        for uri in &self.taken {
            let params = format!(r#"{{"uri":{}}}"#, edit::string(uri));
            self.tell(&server, rpc::notification(UPDATED, Some(&params)))
                .await?;
        }
        Ok(())
    }
}

/// Nobody listens any more.
struct Unheard;

/// Listens for updates of these resources; with it, which of them the server took.
pub(crate) async fn resources(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    uris: &[String],
) -> Result<(Exchange, Vec<String>), Fault> {
    open(entry, out, &watch::resources(uris), "resourceSubscriptions").await
}

/// A stream that the server has acknowledged; with it, what was taken of `member`.
async fn open(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    wanted: &str,
    member: &str,
) -> Result<(Exchange, Vec<String>), Fault> {
    let mut exchange = watch::subscribe(entry, out, wanted).await?;
    loop {
        match exchange.next().await? {
            Frame::Notification { method, message }
                if method == "notifications/subscriptions/acknowledged" =>
            {
                return Ok((exchange, acknowledged(&message, member)));
            }
            Frame::Notification { .. } | Frame::Request { .. } => {}
            Frame::Result(_) | Frame::Error(_) => return Ok((exchange, Vec::new())),
        }
    }
}

fn acknowledged(message: &str, member: &str) -> Vec<String> {
    let taken = || {
        let message = RawObject::parse(message).ok()?;
        let params = RawObject::parse(message.get("params")?).ok()?;
        let notifications = RawObject::parse(params.get("notifications")?).ok()?;
        serde_json::from_str(notifications.get(member)?).ok()
    };
    taken().unwrap_or_default()
}

/// A session of its own, `resources/subscribe` for each, and the session's `GET` stream.
pub(crate) async fn legacy(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    uris: &[String],
    hearer: Hearer,
) -> Result<Subscribed, Fault> {
    let client = SessionKey(*uuid::Uuid::new_v4().as_bytes());
    let asides = entry.shared.listeners.enter(client);
    // From here on: a subscription that is given up half-way must leave no session behind.
    let end = CancellationToken::new();
    let stop = end.clone();
    let reader = Reader {
        entry: entry.clone(),
        out: out.clone(),
        client,
        hearer,
        taken: Mutex::default(),
    };
    let reader = Arc::new(reader);
    let reading = reader.clone();
    let end = end.drop_guard();
    entry.tasks.spawn(async move {
        let read = reading
            .entry
            .superseded
            .run_until_cancelled(Box::pin(reading.read(asides)));
        if stop.run_until_cancelled(read).await.flatten().is_none() {
            // Of no matter if it is the listener who has gone.
            reading.hearer.lost.cancel();
        }
        reading.entry.end_all(reading.entry.sessions.end_client(client));
    });
    let mut taken = Vec::new();
    for uri in uris {
        let Some(session) = ask(entry, out, client, uri).await? else {
            continue;
        };
        if session.id.is_none() || session.client() != Some(client) {
            // Without a session of its own there is nowhere for updates to come from.
            taken.clear();
            break;
        }
        taken.push(uri.clone());
        listen::ensure(&entry.line(out, session)).await;
    }
    reader.taken().clone_from(&taken);
    Ok(Subscribed {
        uris: taken,
        _end: end,
    })
}

/// `resources/subscribe`: the session that it was taken on, if it was.
async fn ask(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    client: SessionKey,
    uri: &str,
) -> Result<Option<Arc<Session>>, Fault> {
    let params = format!(r#"{{"uri":{}}}"#, edit::string(uri));
    let ask = Ask {
        peer: Peer {
            client: Some(client),
            ..Peer::default()
        },
        era: Era::Legacy,
        method: "resources/subscribe",
        params: Some(&params),
        header_params: &[],
        progress: None,
    };
    let deadline = Deadline::after(entry.shared.settings().call_timeout);
    let mut exchange = entry.request(out, &ask, deadline).await?;
    loop {
        match exchange.next().await? {
            Frame::Result(_) => return Ok(Some(exchange.session().clone())),
            Frame::Error(_) => return Ok(None),
            _ => {}
        }
    }
}

/// Hands on what a server says on the session of a subscription, and sees to it that it goes on saying it.
struct Reader {
    entry: Arc<Entry>,
    out: Arc<Outgoing>,
    client: SessionKey,
    hearer: Hearer,
    taken: Mutex<Vec<String>>,
}

impl Reader {
    fn taken(&self) -> MutexGuard<'_, Vec<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, mut asides: mpsc::Receiver<Aside>) {
        let mut pause = PAUSE;
        loop {
            match timeout(pause, asides.recv()).await {
                Ok(Some(aside)) if aside.method == UPDATED => {
                    if self
                        .hearer
                        .messages
                        .send((aside.server, aside.message))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => pause = if self.look_after().await { PAUSE } else { SOON },
            }
        }
    }

    /// A server may end its stream, or forget the session; whether all is well now.
    async fn look_after(&self) -> bool {
        let mut well = true;
        for session in self.entry.sessions.of_client(self.client, self.out.fingerprint) {
            self.entry.sessions.touch(&session);
            let line = self.entry.line(&self.out, session);
            match listen::ensure(&line).await {
                Heard::Open | Heard::None => {}
                Heard::Later => well = false,
                Heard::Gone => well &= self.again().await.is_ok(),
            }
        }
        well
    }

    /// Subscribes again. A request on a session that the server has forgotten opens another one.
    async fn again(&self) -> Result<(), Fault> {
        let taken = self.taken().clone();
        for uri in taken {
            if let Some(session) = ask(&self.entry, &self.out, self.client, &uri).await? {
                listen::ensure(&self.entry.line(&self.out, session)).await;
            }
        }
        Ok(())
    }
}
