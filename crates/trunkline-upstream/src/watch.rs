//! Hearing of changes: while somebody is to be told when a server's lists change, the gateway keeps a stream to the server
//! open, one for each credential, whatever the number of those who listen.
//!
//! With a server of the old era it is the `GET` stream of the session that listings use; with one of the new era a
//! `subscriptions/listen`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunkline_mcp::{Era, ListKind, edit};

use crate::credential::Outgoing;
use crate::entry::{Ask, Entry, Opening, Peer};
use crate::era::Leg;
use crate::exchange::{Deadline, Exchange, Frame};
use crate::fault::Fault;
use crate::listen;
use crate::session::{Owner, Session};

/// Between looking after a stream of the old era, and between attempts at one of the new.
const PAUSE: Duration = Duration::from_secs(5);
/// A subscription has no end of its own.
const NO_DEADLINE: Duration = Duration::MAX;

/// Keeps a server's stream open; it ends with the last of them.
pub struct Watching {
    entry: Arc<Entry>,
    fingerprint: [u8; 16],
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = self.entry.watched();
        if let Some((count, token)) = watched.get_mut(&self.fingerprint) {
            *count -= 1;
            if *count == 0 {
                token.cancel();
                watched.remove(&self.fingerprint);
            }
        }
    }
}

/// Begins to watch a server, or joins those who do.
pub(crate) fn watch(entry: &Arc<Entry>, out: &Arc<Outgoing>, era: Era) -> Watching {
    let mut watched = entry.watched();
    let (count, token) = watched.entry(out.fingerprint).or_default();
    *count += 1;
    if *count == 1 {
        let (token, entry, out) = (token.clone(), entry.clone(), out.clone());
        entry.tasks.clone().spawn(async move {
            token.run_until_cancelled(keep(&entry, &out, era)).await;
        });
    }
    Watching {
        entry: entry.clone(),
        fingerprint: out.fingerprint,
    }
}

async fn keep(entry: &Arc<Entry>, out: &Arc<Outgoing>, era: Era) {
    while !entry.retired.load(Ordering::Relaxed) {
        // A server that cannot be listed is looked after by its catalogue, with its back-off: a wrong credential must not
        // be tried every few seconds.
        let usable = [Era::Legacy, Era::Modern].iter().any(|era| {
            let known = entry.list_of((ListKind::Tools, *era), out.clone()).0.known();
            known.outcome.is_ok()
        });
        if !usable {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match entry.leg(era, out).await {
            Ok(Leg::Legacy) => {
                if let Ok(session) = to_listen_on(entry, out).await
                    && tells_changes(&session)
                {
                    listen::ensure(&entry.line(out, session)).await;
                }
            }
            Ok(Leg::Modern(session)) if tells_changes(&session) => {
                if let Err(fault) = subscribed(entry, out).await {
                    tracing::debug!(server = %entry.prefix, %fault, "the subscription to changes ended");
                }
            }
            Ok(Leg::Modern(_)) | Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The session that listings use, unless it is a client's own whose stream is with another replica: messages for the client
/// would come here, and reach nobody.
async fn to_listen_on(entry: &Arc<Entry>, out: &Arc<Outgoing>) -> Result<Arc<Session>, Fault> {
    let session = entry.introduction(Era::Legacy, out).await?;
    let elsewhere = session
        .client()
        .is_some_and(|client| entry.shared.keeper.is_listened_elsewhere(client));
    if !elsewhere {
        return Ok(session);
    }
    let owner = Owner::shared(out.fingerprint);
    let (slot, evicted) = entry.sessions.slot(owner);
    entry.let_go(evicted.into_iter().collect());
    slot.get_or_open(Box::pin(entry.open(out, owner, Opening::default())))
        .await
}

fn tells_changes(session: &Session) -> bool {
    let capabilities = &session.introduction.capabilities;
    ["tools", "prompts", "resources"]
        .iter()
        .any(|name| capabilities.flag(name, "listChanged"))
}

/// Listens until the server ends it.
async fn subscribed(entry: &Arc<Entry>, out: &Arc<Outgoing>) -> Result<(), Fault> {
    let wanted = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}}"#;
    let mut exchange = subscribe(entry, out, wanted).await?;
    loop {
        match exchange.next().await? {
            Frame::Notification { method, .. } => {
                for kind in ListKind::ALL.into_iter().filter(|kind| kind.changed() == method) {
                    for era in [Era::Legacy, Era::Modern] {
                        let (slot, out) = entry.list_of((kind, era), out.clone());
                        slot.announce(entry, &out);
                    }
                }
            }
            Frame::Request { .. } => {}
            Frame::Result(_) | Frame::Error(_) => return Ok(()),
        }
    }
}

/// `subscriptions/listen` to a server of the new era. `params` are its parameters without metadata.
pub(crate) async fn subscribe(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    params: &str,
) -> Result<Exchange, Fault> {
    let ask = Ask {
        peer: Peer::default(),
        era: Era::Modern,
        method: "subscriptions/listen",
        params: Some(params),
        header_params: &[],
        progress: None,
    };
    entry.subscribe(out, &ask, Deadline::after(NO_DEADLINE)).await
}

/// The parameters of a subscription to resources.
pub(crate) fn resources(uris: &[String]) -> String {
    let uris: Vec<String> = uris.iter().map(|uri| edit::string(uri)).collect();
    format!(
        r#"{{"notifications":{{"resourceSubscriptions":[{}]}}}}"#,
        uris.join(",")
    )
}

/// How many watch, and what ends it, by credential.
pub(crate) type Watched = std::collections::HashMap<[u8; 16], (usize, CancellationToken)>;
