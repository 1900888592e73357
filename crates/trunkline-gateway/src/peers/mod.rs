//! The other replicas: gateways on the same PostgreSQL database (ADR 0018).
//!
//! An open stream lives in one process. What clients hold of it (`requestState`, the id of a question, the id of an event)
//! is sealed and names the replica that has it, so that a request that reaches another one is handed on, as it came, by
//! [`forward()`]. The replica that has the stream identifies and authorises it like any other request: nothing is trusted
//! because of the way it came (S20).
//!
//! - here: who there is, kept in memory and refreshed beside requests; what handles say.
//! - [`hop`]: the header of requests that were handed on. It only prevents loops.
//! - `forward`: handing a request on, and telling all.
//!
//! To make one more thing reachable from every replica: seal a [`Held`] with [`Peers::seal`] into what the client gives
//! back, look for its owner with [`Peers::open`], and [`forward()`] the request when that is not [`Peers::own_id`].

mod forward;
pub mod hop;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use trunkline_auth::TokenSealer;
use trunkline_model::{ReplicaId, Secret};
use trunkline_store::{ReplicaRow, Store, StoreError};

pub use self::forward::{PeerError, forward, tell_all, with_last_word};
use crate::Gateway;

/// Between two signs of life.
const BEAT_EVERY: Duration = Duration::from_secs(3);
/// A replica that was not heard of for so long is gone.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// The list is not read more often than this because of requests.
const ASKED_EVERY: Duration = Duration::from_millis(250);
/// How long a request waits for a replica that started a moment ago to be known.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Rounds of telling all replicas something that are under way.
const MAX_TELLING: usize = 64;

/// Something that one replica holds, as clients' handles name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who has it.
    pub owner: ReplicaId,
    /// What it is there.
    pub id: [u8; 16],
}

impl Held {
    /// The body of a handle.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.owner.0);
        bytes[16..].copy_from_slice(&self.id);
        bytes
    }

    /// The inverse of [`Held::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (owner, id) = bytes.split_at_checked(16)?;
        Some(Self {
            owner: ReplicaId(owner.try_into().ok()?),
            id: id.try_into().ok()?,
        })
    }
}

/// Where the others reach this replica.
#[derive(Clone, Debug)]
pub enum Place {
    /// There are no others.
    Alone,
    /// Others may share the database.
    Shared {
        /// `HOST:PORT`; without one, nothing is handed to this replica.
        address: Option<String>,
    },
}

/// This replica among the others.
pub struct Peers {
    own: ReplicaId,
    place: Place,
    started_at: Timestamp,
    /// Hops, and addresses in the database.
    hop: TokenSealer,
    handles: TokenSealer,
    known: watch::Sender<Known>,
    /// When the last sign of life that was written was sent.
    heard_at: Mutex<Option<Instant>>,
    ask: Notify,
    telling: Arc<Semaphore>,
}

/// This replica as one of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many there are, as far as is known, this one among them.
    pub replicas: u32,
    /// Which of them this one is, from 0: another one on each, if all know the same.
    pub rank: u32,
    /// Not later than when the others heard of it the last time; `None` if they never did.
    pub heard_at: Option<Instant>,
}

/// The others, and where they are.
struct Known {
    replicas: HashMap<ReplicaId, Option<String>>,
    /// When the database was asked.
    asked_at: Option<Instant>,
}

impl Peers {
    /// The replica `own`. Everything that is sealed is so under a key derived from `root`.
    pub fn new(root: &Secret, own: ReplicaId, place: Place, started_at: Timestamp) -> Self {
        let nobody = Known {
            replicas: HashMap::new(),
            asked_at: None,
        };
        Self {
            own,
            place,
            started_at,
            hop: TokenSealer::derive(root, "replica hop"),
            handles: TokenSealer::derive(root, "replica handle"),
            known: watch::Sender::new(nobody),
            heard_at: Mutex::new(None),
            ask: Notify::new(),
            telling: Arc::new(Semaphore::new(MAX_TELLING)),
        }
    }

    /// The id of this replica, to seal into handles.
    pub fn own_id(&self) -> ReplicaId {
        self.own
    }

    /// A handle of something that this replica holds, good where the same `context` is given again: what it is, whose.
    pub fn seal(&self, context: &[&str], id: [u8; 16]) -> String {
        let held = Held { owner: self.own, id };
        self.handles.seal(context, &held.to_bytes())
    }

    /// What a handle names, whoever holds it.
    pub fn open(&self, context: &[&str], token: &str) -> Option<Held> {
        Held::from_bytes(&self.handles.open(context, token)?)
    }

    /// What this replica is among all.
    pub fn standing(&self) -> Standing {
        let known = self.known.borrow();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Standing {
            replicas: count(known.replicas.len().saturating_add(1)),
            rank: count(known.replicas.keys().filter(|id| **id < self.own).count()),
            heard_at: *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Says that this replica is alive.
    async fn say(&self, store: &Store) -> Result<(), StoreError> {
        let sent_at = Instant::now();
        store.replica_beat(&self.row()).await?;
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent_at);
        Ok(())
    }

    /// The others that can be reached.
    fn reachable(&self) -> Vec<ReplicaId> {
        let known = self.known.borrow();
        let reachable = known.replicas.iter().filter(|(_, address)| address.is_some());
        reachable.map(|(id, _)| *id).collect()
    }

    /// Where a replica is. One that is not known may have started a moment ago: the list is then read again, beside the
    /// request, which waits for it a second at most.
    async fn find(&self, id: ReplicaId) -> Result<String, PeerError> {
        let mut known = self.known.subscribe();
        let address = |known: &Known| known.replicas.get(&id).cloned();
        let mut found = address(&known.borrow_and_update());
        if found.is_none() && matches!(self.place, Place::Shared { .. }) {
            let began = Instant::now();
            self.ask.notify_one();
            let told = known.wait_for(|known| {
                known.replicas.contains_key(&id) || known.asked_at.is_some_and(|at| at >= began)
            });
            if let Ok(Ok(known)) = timeout(KNOWN_WITHIN, told).await {
                found = address(&known);
            }
        }
        found.ok_or(PeerError::Gone)?.ok_or(PeerError::NoAddress)
    }

    /// This replica as the database has it.
    fn row(&self) -> ReplicaRow {
        let address = match &self.place {
            Place::Alone => None,
            Place::Shared { address } => address.clone(),
        };
        ReplicaRow {
            id: self.own,
            proof: address.as_deref().map(|address| self.proof(self.own, address)),
            address,
            started_at: self.started_at,
            age: Duration::ZERO,
        }
    }

    /// Shows that somebody with the root secret wrote an address: clients' requests go there, with their credentials,
    /// and whoever can write to the database must not have them.
    fn proof(&self, id: ReplicaId, address: &str) -> String {
        self.hop.seal(&["address", &id.to_hex(), address], &[])
    }

    fn is_proven(&self, row: &ReplicaRow) -> bool {
        let (Some(address), Some(proof)) = (&row.address, &row.proof) else {
            return row.address.is_none();
        };
        self.hop
            .open(&["address", &row.id.to_hex(), address], proof)
            .is_some()
    }

    /// Says that this replica is alive, and reads who else is. The first time before it serves anybody.
    pub async fn beat(&self, store: &Store) -> Result<(), StoreError> {
        if matches!(self.place, Place::Alone) {
            return Ok(());
        }
        self.say(store).await?;
        self.read(store, None).await
    }

    /// Reads who else is alive; `within` what time they must have been heard of.
    async fn read(&self, store: &Store, within: Option<Duration>) -> Result<(), StoreError> {
        let asked_at = Some(Instant::now());
        let rows = store.replica_list().await?;
        let replicas: HashMap<_, _> = rows
            .into_iter()
            .filter(|row| row.id != self.own && within.is_none_or(|age| row.age < age))
            .filter(|row| self.is_proven(row))
            .map(|row| (row.id, row.address))
            .collect();
        let others = replicas.len();
        let before = self.known.send_replace(Known { replicas, asked_at });
        if before.replicas.len() != others {
            tracing::info!(others, "replicas that share the database");
        }
        Ok(())
    }

    /// Takes this replica off the list: it stops.
    pub async fn leave(&self, store: &Store) {
        if matches!(self.place, Place::Shared { .. })
            && let Ok(Err(error)) = timeout(KNOWN_WITHIN, store.replica_remove(self.own)).await
        {
            tracing::debug!(%error, "this replica could not be taken off the list");
        }
    }
}

/// Keeps this replica on the list and the list in memory, for as long as it is polled.
pub async fn keep(gateway: Arc<Gateway>) {
    let peers = &gateway.peers;
    if matches!(peers.place, Place::Alone) {
        return;
    }
    let mut keeping = Keeping::default();
    let mut ticks = interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let beat = tokio::select! {
            _ = ticks.tick() => true,
            () = peers.ask.notified() => {
                if let Some(read_at) = keeping.read_at {
                    sleep_until(read_at + ASKED_EVERY).await;
                }
                false
            }
        };
        let kept = keeping.once(peers, gateway.registry.store(), beat).await;
        keeping.note(kept);
    }
}

/// How it went so far.
#[derive(Default)]
struct Keeping {
    /// Since when every sign of life was written.
    steady_since: Option<Instant>,
    read_at: Option<Instant>,
    failing: bool,
}

impl Keeping {
    async fn once(&mut self, peers: &Peers, store: &Store, beat: bool) -> Result<(), StoreError> {
        self.read_at = Some(Instant::now());
        if beat {
            peers.say(store).await?;
        }
        // After an outage of the database all are stale: who could not say that it is alive does not judge the others.
        let steady = self
            .steady_since
            .is_some_and(|since| since.elapsed() > STALE_AFTER);
        peers.read(store, steady.then_some(STALE_AFTER)).await?;
        if steady && beat {
            store.replica_prune(STALE_AFTER).await?;
        }
        Ok(())
    }

    /// An outage of an hour is two lines. What is known stays known in it.
    fn note(&mut self, kept: Result<(), StoreError>) {
        match kept {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the list of replicas is kept again");
                }
                self.steady_since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                self.steady_since = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the list of replicas cannot be kept; what is known of them stays");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(root: &str, number: u8, address: &str) -> Peers {
        let place = Place::Shared {
            address: Some(address.to_owned()),
        };
        Peers::new(
            &Secret::new(root),
            ReplicaId([number; 16]),
            place,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn s21_a_handle_names_its_owner_to_every_replica_and_to_nobody_else() {
        let (one, two) = (peers("root", 1, "a:1"), peers("root", 2, "b:2"));
        let token = one.seal(&["question", "alice"], [7; 16]);
        let held = Held {
            owner: one.own_id(),
            id: [7; 16],
        };
        for peer in [&one, &two] {
            assert_eq!(peer.open(&["question", "alice"], &token), Some(held));
            assert_eq!(peer.open(&["question", "bob"], &token), None);
            assert_eq!(peer.open(&["event", "alice"], &token), None);
        }
        assert_eq!(
            peers("other", 1, "a:1").open(&["question", "alice"], &token),
            None
        );
    }

    #[test]
    fn s20_an_address_is_believed_when_a_replica_wrote_it() {
        let (one, two) = (peers("root", 1, "a:1"), peers("root", 2, "b:2"));
        let row = one.row();
        assert!(two.is_proven(&row));
        let moved = |change: &dyn Fn(&mut ReplicaRow)| {
            let mut row = row.clone();
            change(&mut row);
            two.is_proven(&row)
        };
        assert!(!moved(&|row| row.address = Some("evil:1".to_owned())));
        assert!(!moved(&|row| row.id = ReplicaId([3; 16])));
        assert!(!moved(&|row| row.proof = None));
        assert!(!peers("other", 2, "b:2").is_proven(&row));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_known_is_gone_after_a_bounded_wait() {
        let alone = Peers::new(
            &Secret::new("root"),
            ReplicaId([1; 16]),
            Place::Alone,
            Timestamp::UNIX_EPOCH,
        );
        let began = Instant::now();
        assert!(matches!(
            alone.find(ReplicaId([2; 16])).await,
            Err(PeerError::Gone)
        ));
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody is asked");
        let shared = peers("root", 1, "a:1");
        assert!(matches!(
            shared.find(ReplicaId([2; 16])).await,
            Err(PeerError::Gone)
        ));
        assert_eq!(began.elapsed(), KNOWN_WITHIN);
    }
}
