//! The virtual keys in memory, and the changes of them: the database first, then the ring that requests look into, then the
//! answer. What other processes write comes through [`crate::Registry::watch`].

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, watch};
use trunkline_auth::{KeyRing, Keys as KeyMap};
use trunkline_model::{KeyHash, VirtualKey};

use crate::db::StoreError;
use crate::key::{KeyEdit, KeyWriteError};
use crate::store::Store;
use crate::verify::chain;

/// The virtual keys.
pub struct Keys {
    store: Store,
    ring: Arc<KeyRing>,
    changed: watch::Sender<u64>,
    /// The revision that was read last. Held while the database is read or written and the ring is changed, so that an
    /// older state never replaces a newer one. Requests do not take it.
    revision: Mutex<i64>,
}

/// Before anything was read: every revision is newer.
const NOTHING: i64 = -1;

impl Keys {
    /// Empty: nobody is admitted before the first [`Keys::refresh`].
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            ring: Arc::default(),
            changed: watch::Sender::new(0),
            revision: Mutex::new(NOTHING),
        }
    }

    /// What requests look into.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Tells whenever a key has changed, is new, or is gone.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stores a new key.
    pub async fn insert(&self, key: VirtualKey) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let mut revision = self.revision.lock().await;
        self.store.key_insert(&key).await?;
        Ok(self.written(&mut revision, key, None).await)
    }

    /// Changes a key; with another hash it is another secret from then on, and the one before opens nothing.
    pub async fn update(&self, hash: KeyHash, edit: KeyEdit) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let mut revision = self.revision.lock().await;
        let key = self.store.key_update(hash, edit).await?;
        let gone = (key.hash != hash).then_some(hash);
        Ok(self.written(&mut revision, key, gone).await)
    }

    /// Blocks or unblocks a key.
    pub async fn set_blocked(
        &self,
        hash: KeyHash,
        blocked: bool,
        (now, by): (Timestamp, String),
    ) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let mut revision = self.revision.lock().await;
        let edit = |key: &mut VirtualKey| {
            key.blocked = blocked;
            key.stamps.updated_at = Some(now);
            key.stamps.updated_by = Some(by);
        };
        let key = self.store.key_block(hash, edit).await?;
        Ok(self.written(&mut revision, key, None).await)
    }

    /// Deletes keys; how many there were.
    pub async fn delete(&self, hashes: &[KeyHash]) -> Result<u64, StoreError> {
        let mut revision = self.revision.lock().await;
        let deleted = self.store.key_delete(hashes).await?;
        if deleted > 0 && !self.read_back(&mut revision).await {
            let mut keys = KeyMap::clone(&self.ring.all());
            keys.retain(|hash, _| !hashes.contains(hash));
            self.publish(keys);
        }
        Ok(deleted)
    }

    /// Reads the database again, if it has a newer revision than what is here.
    pub(crate) async fn refresh_to(&self, written: i64) -> Result<(), StoreError> {
        let mut revision = self.revision.lock().await;
        // Not `<`: a database that was restored from a backup counts from further back.
        if *revision != written {
            self.reload(&mut revision, written).await?;
        }
        Ok(())
    }

    /// Reads the database again.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let mut revision = self.revision.lock().await;
        let written = self.store.revisions().await?.keys;
        self.reload(&mut revision, written).await
    }

    /// Brings the ring up to a change that was just written. If the database went away in this moment, the change is
    /// applied from memory: it is stored, so that it has to be seen.
    async fn written(
        &self,
        revision: &mut MutexGuard<'_, i64>,
        key: VirtualKey,
        gone: Option<KeyHash>,
    ) -> Arc<VirtualKey> {
        if self.read_back(revision).await
            && let Some(stored) = self.ring.get(&key.hash)
        {
            return stored;
        }
        let key = Arc::new(key);
        let mut keys = KeyMap::clone(&self.ring.all());
        keys.insert(key.hash, key.clone());
        if let Some(gone) = gone {
            keys.remove(&gone);
        }
        self.publish(keys);
        key
    }

    /// Whether what was written could be read.
    async fn read_back(&self, revision: &mut MutexGuard<'_, i64>) -> bool {
        let read = async {
            let written = self.store.revisions().await?.keys;
            self.reload(revision, written).await
        };
        let read: Result<(), StoreError> = read.await;
        if let Err(error) = &read {
            tracing::warn!(
                error = chain(error),
                "a key was written but could not be read back"
            );
        }
        read.is_ok()
    }

    /// Reads what is new, and looks whether something is gone: with many keys, a change of one must not read all. `written`
    /// is the revision as it was before: what somebody writes in between is read again at the next look.
    async fn reload(&self, revision: &mut MutexGuard<'_, i64>, written: i64) -> Result<(), StoreError> {
        let before = self.ring.all();
        let is_new = written > **revision;
        let since = if is_new { **revision } else { NOTHING };
        let read = self.store.key_list_since(since).await?;
        let mut keys = if since == NOTHING {
            KeyMap::default()
        } else {
            KeyMap::clone(&before)
        };
        for key in read {
            let own = before.get(&key.hash).filter(|own| ***own == key);
            // The same object for the same key: a stream sees by it that nothing is different for it.
            let key = own.cloned().unwrap_or_else(|| Arc::new(key));
            keys.insert(key.hash, key);
        }
        // All that there are have been here or were just read. So there is one too many, or none.
        if since != NOTHING && keys.len() != self.store.key_count().await? {
            let live: HashSet<KeyHash> = self.store.key_hashes().await?;
            keys.retain(|hash, _| live.contains(hash));
        }
        **revision = written;
        let is_same = before.len() == keys.len()
            && keys
                .iter()
                .all(|(hash, key)| before.get(hash).is_some_and(|own| Arc::ptr_eq(own, key)));
        if !is_same {
            self.publish(keys);
        }
        Ok(())
    }

    fn publish(&self, keys: KeyMap) {
        self.ring.replace(keys);
        self.changed.send_modify(|count| *count += 1);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
