//! The virtual keys in memory, whom they belong to, and the changes of both: the database first, then the ring that requests look into, then the
//! answer. What other processes write comes through [`crate::Registry::watch`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, watch};
use trunkline_auth::{Directory, KeyRing, Keys as KeyMap};
use trunkline_model::{KeyHash, Level, Toolsets, VirtualKey};

use crate::audit::Actor;
use crate::bind;
use crate::db::{StoreError, Tx};
use crate::key::{KeyEdit, KeyWriteError};
use crate::server::KEYS;
use crate::spend;
use crate::store::Store;
use crate::tenant::DirectoryWrite;

/// The virtual keys, and whom they belong to.
pub struct Keys {
    store: Store,
    ring: Arc<KeyRing>,
    /// What grants of toolsets are looked up in, when something is put into the ring. Changed under `revision`'s lock.
    toolsets: ArcSwap<Toolsets>,
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
            toolsets: ArcSwap::default(),
            changed: watch::Sender::new(0),
            revision: Mutex::new(NOTHING),
        }
    }

    /// What requests look into.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Tells whenever a key, or one that keys belong to, has changed, is new, or is gone.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stores a new key: [`Keys::change`] of one row.
    pub async fn insert(&self, by: &Actor, key: VirtualKey) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let hash = key.hash;
        self.change(by, |_| {
            Ok::<_, KeyWriteError>((vec![DirectoryWrite::NewKey(Box::new(key))], ()))
        })
        .await?;
        self.ring.get(&hash).ok_or(KeyWriteError::NotFound)
    }

    /// Changes a key; with another hash it is another secret from then on, and the one before opens nothing.
    pub async fn update(
        &self,
        by: &Actor,
        hash: KeyHash,
        edit: KeyEdit,
    ) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let plan = |directory: &Directory| {
            let mut key = stored(directory, hash)?;
            edit(&mut key);
            let own = key.hash;
            Ok::<_, KeyWriteError>((vec![DirectoryWrite::PutKey(hash, Box::new(key))], own))
        };
        let own = self.change(by, plan).await?;
        self.ring.get(&own).ok_or(KeyWriteError::NotFound)
    }

    /// Blocks or unblocks a key.
    pub async fn set_blocked(
        &self,
        by: &Actor,
        hash: KeyHash,
        blocked: bool,
        (now, stamp): (Timestamp, String),
    ) -> Result<Arc<VirtualKey>, KeyWriteError> {
        let plan = |directory: &Directory| {
            let mut key = stored(directory, hash)?;
            key.blocked = blocked;
            key.stamps.updated_at = Some(now);
            key.stamps.updated_by = Some(stamp);
            Ok::<_, KeyWriteError>((vec![DirectoryWrite::BlockKey(Box::new(key))], ()))
        };
        self.change(by, plan).await?;
        self.ring.get(&hash).ok_or(KeyWriteError::NotFound)
    }

    /// Deletes keys; how many there were.
    pub async fn delete(&self, by: &Actor, hashes: &[KeyHash]) -> Result<u64, KeyWriteError> {
        let plan = |directory: &Directory| {
            // Named twice, it is there once.
            let mut there: Vec<KeyHash> = hashes.to_vec();
            there.retain(|hash| directory.keys.contains_key(hash));
            there.sort();
            there.dedup();
            let count = there.len() as u64;
            let writes = there.into_iter().map(DirectoryWrite::DeleteKey).collect();
            Ok::<_, KeyWriteError>((writes, count))
        };
        self.change(by, plan).await
    }

    /// Changes several rows at once: `plan` says which, of what there is when nobody else can write. Nothing is changed if it
    /// fails, or if one of them cannot be written.
    pub async fn change<T, E: From<KeyWriteError>>(
        &self,
        by: &Actor,
        plan: impl FnOnce(&Directory) -> Result<(Vec<DirectoryWrite>, T), E>,
    ) -> Result<T, E> {
        let mut revision = self.revision.lock().await;
        let change = self.store.begin_change(KEYS, by).await;
        let mut change = change.map_err(KeyWriteError::from)?;
        let own = change.revision;
        // Writers are in single file from here on, and each counts: what is in memory is what is stored, or others have
        // written since, and it is read again.
        if own != revision.saturating_add(1) {
            let reloaded = self.reload(&mut revision, own.saturating_sub(1)).await;
            reloaded.map_err(KeyWriteError::from)?;
        }
        let before = self.ring.directory();
        let (writes, done) = plan(&before)?;
        if writes.is_empty() {
            return Ok(done);
        }
        let mut entries = Vec::new();
        for write in &writes {
            write.write(&mut change.tx, own).await?;
            self.spent(&mut change.tx, write)
                .await
                .map_err(KeyWriteError::from)?;
            entries.extend(write.entry(&before).map_err(KeyWriteError::from)?);
        }
        change.commit(entries).await.map_err(KeyWriteError::from)?;
        *revision = own;
        for write in &writes {
            if let DirectoryWrite::ResetSpend(reset) = write {
                let (spend, now) = (reset.spend, reset.at.as_microsecond());
                self.store
                    .spend()
                    .reset(Level::Key, &reset.hash.to_hex(), spend, now);
            }
            if let Some((level, id)) = write.deletes().or_else(|| write.makes()) {
                self.store.spend().forget(level, &id);
            }
            if let Some((from, to)) = write.renames() {
                let now = self.store.now().as_microsecond();
                self.store.spend().rename(&from, &to, now);
            }
        }
        self.apply(writes);
        Ok(done)
    }

    /// What was spent goes with another secret of a key, and is nobody's when its owner is gone. A new key has spent nothing, whatever
    /// had its hash before.
    async fn spent(&self, tx: &mut Tx, write: &DirectoryWrite) -> Result<(), StoreError> {
        let now = self.store.now();
        if let Some((level, id)) = write.deletes().or_else(|| write.makes()) {
            spend::forget(tx, level, &id, now).await?;
        }
        if let DirectoryWrite::ResetSpend(reset) = write {
            spend::reset(tx, &reset.hash.to_hex(), reset.spend, reset.at).await?;
        }
        match write.renames() {
            Some((from, to)) => spend::rename(tx, (&from, &to), now).await,
            None => Ok(()),
        }
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

    /// Looks up again which toolsets are granted, in these. What nothing is different for stays the same object.
    pub(crate) async fn bind(&self, toolsets: Arc<Toolsets>) {
        let _revision = self.revision.lock().await;
        self.toolsets.store(toolsets.clone());
        let mut directory = Directory::clone(&self.ring.directory());
        if bind::all(&mut directory, &toolsets) {
            self.put(directory);
        }
    }

    /// Reads what is new, and looks whether something is gone: with many keys, a change of one must not read all. `written`
    /// is the revision as it was before: what somebody writes in between is read again at the next look.
    async fn reload(&self, revision: &mut MutexGuard<'_, i64>, written: i64) -> Result<(), StoreError> {
        let before = self.ring.directory();
        let is_new = written > **revision;
        let since = Some(**revision).filter(|own| is_new && *own != NOTHING);
        // Whom a key belongs to after the key: nobody sees a key without those that were there before it.
        let keys = self.keys_since(&before.keys, since).await?;
        let store = &self.store;
        let counts = store.directory_counts().await?;
        let keys = match since {
            // All that there are have been here or were just read. So there is one too many, or none.
            Some(_) if keys.len() != counts.of("verification_token")? => {
                let live = store.key_hashes().await?;
                let mut keys = KeyMap::clone(&keys);
                keys.retain(|hash, _| live.contains(hash));
                Arc::new(keys)
            }
            _ => keys,
        };
        let after = Directory {
            keys,
            teams: store.follow(&before.teams, since, &counts).await?,
            users: store.follow(&before.users, since, &counts).await?,
            organizations: store.follow(&before.organizations, since, &counts).await?,
            end_users: store.follow(&before.end_users, since, &counts).await?,
            budgets: store.follow(&before.budgets, since, &counts).await?,
            ..Directory::default()
        };
        **revision = written;
        let is_same = same_keys(&before.keys, &after.keys)
            && Arc::ptr_eq(&before.teams, &after.teams)
            && Arc::ptr_eq(&before.users, &after.users)
            && Arc::ptr_eq(&before.organizations, &after.organizations)
            && Arc::ptr_eq(&before.end_users, &after.end_users)
            && Arc::ptr_eq(&before.budgets, &after.budgets);
        if !is_same {
            self.publish(after);
        }
        Ok(())
    }

    /// The keys of `before`, and those that were written after a revision; these alone without one.
    async fn keys_since(&self, before: &Arc<KeyMap>, since: Option<i64>) -> Result<Arc<KeyMap>, StoreError> {
        let read = self.store.key_list_since(since.unwrap_or(NOTHING)).await?;
        if since.is_some() && read.is_empty() {
            return Ok(before.clone());
        }
        let mut keys = match since {
            Some(_) => KeyMap::clone(before),
            None => KeyMap::default(),
        };
        for key in read {
            // The same object for the same key: a stream sees by it that nothing is different for it.
            let own = before.get(&key.hash).filter(|own| **own == key);
            keys.insert(key.hash, own.cloned().unwrap_or(key));
        }
        Ok(Arc::new(keys))
    }

    /// Does to what is in memory what was just done to what is stored.
    fn apply(&self, writes: impl IntoIterator<Item = DirectoryWrite>) {
        let mut directory = Directory::clone(&self.ring.directory());
        for write in writes {
            write.apply(&mut directory);
        }
        self.publish(directory);
    }

    fn publish(&self, mut directory: Directory) {
        bind::all(&mut directory, &self.toolsets.load());
        self.put(directory);
    }

    /// Puts what is bound already where requests look.
    fn put(&self, mut directory: Directory) {
        directory.index();
        self.ring.replace(directory);
        self.changed.send_modify(|count| *count += 1);
    }
}

/// The key with this hash.
fn stored(directory: &Directory, hash: KeyHash) -> Result<VirtualKey, KeyWriteError> {
    let key = directory.keys.get(&hash).ok_or(KeyWriteError::NotFound)?;
    Ok(VirtualKey::clone(key))
}

fn same_keys(before: &Arc<KeyMap>, after: &Arc<KeyMap>) -> bool {
    Arc::ptr_eq(before, after)
        || before.len() == after.len()
            && after
                .iter()
                .all(|(hash, key)| before.get(hash).is_some_and(|own| Arc::ptr_eq(own, key)))
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
