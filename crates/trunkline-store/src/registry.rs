//! What requests read: the servers of the file and of the database as one immutable [`Snapshot`].
//!
//! A change goes to the database first, then the snapshot is swapped, then the call returns: whoever got an answer sees
//! the change in the next list. Changes of other processes come through [`Registry::watch`]. When the database is away,
//! changes fail and everything else goes on with the last snapshot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, broadcast, watch};
use trunkline_model::{Origin, Server, ServerId, Snapshot, StoredModel, Toolsets};

use crate::audit::Actor;
use crate::db::StoreError;
use crate::keys::Keys;
use crate::server::{as_given, claims_of};
use crate::session_news::SessionNews;
use crate::store::Store;
use crate::verify::chain;

/// News of sessions that may wait to be read.
const NEWS: usize = 16_384;

/// News of deployments that may wait to be read. What is missed is found out by asking.
const REST_NEWS: usize = 256;

/// The servers of the file and of the database.
pub struct Registry {
    store: Store,
    keys: Keys,
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
    pub(crate) models: watch::Sender<Arc<[StoredModel]>>,
    pub(crate) session_news: broadcast::Sender<SessionNews>,
    pub(crate) rest_news: broadcast::Sender<Arc<str>>,
    /// Held while the database is written or read and the snapshot is swapped, so that an older state never replaces a
    /// newer one. Readers of the snapshot do not take it.
    pub(crate) state: Mutex<State>,
}

/// What the snapshot is made of.
#[derive(Default)]
pub(crate) struct State {
    /// The servers of the configuration file.
    file: Vec<Arc<Server>>,
    /// [`Store::revision`] of what was read last.
    revision: i64,
    /// The database's servers as they were read.
    servers: Vec<Arc<Server>>,
    /// Ids of its rows that the file has, too; kept to say so once.
    hidden: HashSet<ServerId>,
    /// The toolsets, and how often they had been written when they were read last.
    pub(crate) toolsets: Arc<Toolsets>,
    pub(crate) toolsets_revision: i64,
    /// How often the models had been written when they were read last.
    pub(crate) models_revision: i64,
}

/// What else is read with the configuration file's servers, for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// The file.
    pub file: String,
    /// Names of settings that hold from now on.
    pub applied: Vec<String>,
    /// Names of settings that hold after a restart.
    pub needs_restart: Vec<String>,
}

/// What became of the configuration file's servers, by name, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileChange {
    /// New ones.
    pub added: Vec<String>,
    /// Those that are declared in another way.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

impl FileChange {
    /// Whether all are as they were.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Why the registry could not be read at the start.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database could not be read.
    #[error("the registered servers and keys cannot be read")]
    Store(#[from] StoreError),
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a server with this id.
    #[error("a server with the id {id} exists already")]
    DuplicateId {
        /// The id.
        id: ServerId,
    },
    /// Another server has this name, alias, prefix or id, ignoring case (B35).
    #[error("the name {name:?} is taken by the server {by}")]
    NameTaken {
        /// The name as it was given.
        name: String,
        /// Who has it.
        by: ServerId,
    },
    /// The server is declared in the configuration file, which has to be edited instead (B29).
    #[error("the server {id} is managed by the configuration file")]
    ManagedByFile {
        /// The id.
        id: ServerId,
    },
    /// There is no server with this id.
    #[error("there is no server with the id {id}")]
    NotFound {
        /// The id.
        id: ServerId,
    },
    /// The database refused or is away.
    #[error("the change could not be stored")]
    Store(#[source] StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate { id } => Self::DuplicateId { id },
            StoreError::NameTaken { name, by } => Self::NameTaken { name, by },
            other => Self::Store(other),
        }
    }
}

impl Registry {
    /// Reads the database and joins it with the file's servers (B26). When both claim a name, the file's has it and the
    /// other one gets a [`Server::defect`] that says so; when both have one id, the stored one is out of sight (and in
    /// the log) until the file lets go of it. Nothing is deleted.
    pub async fn load(store: Store, file_servers: Vec<Server>) -> Result<Arc<Self>, RegistryError> {
        let file = file_servers
            .into_iter()
            .map(|mut server| {
                server.origin = Origin::File;
                Arc::new(server)
            })
            .collect();
        let registry = Self {
            keys: Keys::new(store.clone()),
            store,
            snapshot: ArcSwap::default(),
            changed: watch::Sender::new(0),
            models: watch::Sender::new(Arc::from([])),
            session_news: broadcast::Sender::new(NEWS),
            rest_news: broadcast::Sender::new(REST_NEWS),
            state: Mutex::default(),
        };
        let mut state = registry.state.lock().await;
        state.file = file;
        registry.reload(&mut state).await?;
        registry.toolsets_reload(&mut state).await?;
        registry.models_reload(&mut state).await?;
        drop(state);
        registry.keys.refresh().await?;
        Ok(Arc::new(registry))
    }

    /// The servers as they are now. A request takes one snapshot and keeps it to its end.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells [`Snapshot::revision`] whenever it changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What other processes, and this one, do with sessions of clients, as [`Registry::watch`] learns of it. Who is too slow
    /// misses some.
    pub fn session_news(&self) -> broadcast::Receiver<SessionNews> {
        self.session_news.subscribe()
    }

    /// What processes say with [`Store::rest_tell`], as [`Registry::watch`] hears it; this one's, too.
    pub fn rest_news(&self) -> broadcast::Receiver<Arc<str>> {
        self.rest_news.subscribe()
    }

    /// The database behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The virtual keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Reads the database again. The snapshot stays the same object if nothing has changed.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        // The keys first: who lost something loses it before others gain.
        self.keys.refresh().await?;
        let mut state = self.state.lock().await;
        let toolsets = self.toolsets_reload(&mut state).await;
        let models = self.models_reload(&mut state).await;
        self.reload(&mut state).await?;
        toolsets.and(models)
    }

    /// As [`Registry::refresh`], of what the database says that it was written since.
    pub(crate) async fn refresh_if_written(&self) -> Result<(), StoreError> {
        let written = self.store.revisions().await?;
        // What keeps one from being read does not keep the others.
        let keys = self.keys.refresh_to(written.keys).await;
        let toolsets = self.toolsets_refresh_to(written.toolsets).await;
        let models = self.models_refresh_to(written.models).await;
        let mut state = self.state.lock().await;
        // Not `<`: a database that was restored from a backup counts from further back.
        if state.revision != written.servers {
            self.reload(&mut state).await?;
        }
        keys.and(toolsets).and(models)
    }

    /// The configuration file was read again, and has these servers. Those that are as they were stay the same objects; the
    /// others are stamped with `now`. The registered servers are not read. If the audit log cannot be written, nothing is
    /// changed.
    pub async fn set_file_servers(
        &self,
        by: &Actor,
        servers: Vec<Server>,
        settings: &FileSettings,
        now: Timestamp,
    ) -> Result<FileChange, StoreError> {
        let mut state = self.state.lock().await;
        let (file, change) = file_change(&state.file, servers, now);
        if !change.is_empty() || !settings.applied.is_empty() {
            self.store.audit_file(by, settings, &change).await?;
        }
        state.file = file;
        self.publish(&mut state);
        Ok(change)
    }

    /// Registers a server. Returns it as it was stored.
    pub async fn insert(&self, by: &Actor, mut server: Server) -> Result<Arc<Server>, WriteError> {
        server.origin = Origin::Database;
        let mut state = self.state.lock().await;
        if state.file.iter().any(|own| own.id == server.id) {
            return Err(WriteError::DuplicateId { id: server.id });
        }
        check_file_names(&state.file, &server, &BTreeSet::new())?;
        self.store.server_insert(by, &server).await?;
        Ok(self.stored(&mut state, server).await)
    }

    /// Replaces a server. Returns it as it was stored.
    pub async fn update(&self, by: &Actor, mut server: Server) -> Result<Arc<Server>, WriteError> {
        server.origin = Origin::Database;
        let mut state = self.state.lock().await;
        check_editable(&state.file, &server.id)?;
        let before = state.servers.iter().find(|own| own.id == server.id);
        // A name that it had before is no reason to refuse: it clashes since the file was edited, and is said so.
        let kept = before.map(|own| claims_of(own)).unwrap_or_default();
        check_file_names(&state.file, &server, &kept)?;
        if !self.store.server_update(by, &server).await? {
            return Err(WriteError::NotFound { id: server.id });
        }
        Ok(self.stored(&mut state, server).await)
    }

    /// Deletes a server and what is stored about it.
    pub async fn delete(&self, by: &Actor, id: &ServerId) -> Result<(), WriteError> {
        let mut state = self.state.lock().await;
        check_editable(&state.file, id)?;
        if !self.store.server_delete(by, id).await? {
            return Err(WriteError::NotFound { id: id.clone() });
        }
        self.after_write(&mut state, |servers| servers.retain(|own| own.id != *id))
            .await;
        Ok(())
    }

    async fn stored(&self, state: &mut MutexGuard<'_, State>, server: Server) -> Arc<Server> {
        let id = server.id.clone();
        let server = Arc::new(server);
        let written = Arc::clone(&server);
        self.after_write(state, |servers| {
            servers.retain(|own| own.id != written.id);
            servers.push(written);
        })
        .await;
        self.snapshot.load().get(&id).cloned().unwrap_or(server)
    }

    /// Brings the snapshot up to what was just written. If the database went away in this moment, the change is applied
    /// from memory: it is stored, so that it has to be seen.
    async fn after_write(
        &self,
        state: &mut MutexGuard<'_, State>,
        apply: impl FnOnce(&mut Vec<Arc<Server>>),
    ) {
        if let Err(error) = self.reload(state).await {
            tracing::warn!(
                error = chain(&error),
                "the registry was written but could not be read back"
            );
            apply(&mut state.servers);
            self.publish(state);
        }
    }

    async fn reload(&self, state: &mut MutexGuard<'_, State>) -> Result<(), StoreError> {
        // The revision first: if somebody writes in between, the next look finds a newer one and reads again.
        let revision = self.store.revision().await?;
        let read = self.store.server_list().await?;
        let mut before: HashMap<ServerId, Arc<Server>> = state
            .servers
            .drain(..)
            .map(|server| (server.id.clone(), server))
            .collect();
        state.servers = read
            .into_iter()
            .map(|server| match before.remove(&server.id) {
                // The same object for the same server: what is kept per server can compare pointers.
                Some(own) if *own == server => own,
                _ => Arc::new(server),
            })
            .collect();
        state.revision = revision;
        self.publish(state);
        Ok(())
    }

    pub(crate) fn publish(&self, state: &mut MutexGuard<'_, State>) {
        let old = self.snapshot.load();
        let (servers, hidden) = join(&state.file, &state.servers, &old);
        for id in hidden.difference(&state.hidden) {
            tracing::warn!(server_id = %id, "a stored server is out of sight: the configuration file has one with its id");
        }
        state.hidden = hidden;
        let revision = (old.revision + 1).max(state.revision.unsigned_abs());
        let snapshot = Snapshot::new(revision, servers).with_toolsets(state.toolsets.clone());
        let is_same = snapshot.servers() == old.servers() && Arc::ptr_eq(snapshot.toolsets(), old.toolsets());
        if old.revision > 0 && is_same {
            return;
        }
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_replace(revision);
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("store", &self.store)
            .field("revision", &self.snapshot.load().revision)
            .finish_non_exhaustive()
    }
}

/// The file's servers as they are from now on, and what that changes.
fn file_change(own: &[Arc<Server>], servers: Vec<Server>, now: Timestamp) -> (Vec<Arc<Server>>, FileChange) {
    let mut before: HashMap<&ServerId, &Arc<Server>> =
        own.iter().map(|server| (&server.id, server)).collect();
    let (mut file, mut change) = (Vec::with_capacity(servers.len()), FileChange::default());
    for mut server in servers {
        server.origin = Origin::File;
        let own = before.remove(&server.id);
        if let Some(own) = own.filter(|own| is_as_declared(own, &server)) {
            file.push(own.clone());
            continue;
        }
        let list = match own {
            Some(own) => {
                server.stamps.created_at = own.stamps.created_at;
                &mut change.changed
            }
            None => &mut change.added,
        };
        // A request that began before now must not take the older one for the newer.
        server.stamps.updated_at = Some(now);
        list.push(server.prefix());
        file.push(Arc::new(server));
    }
    change.removed = before.values().map(|server| server.prefix()).collect();
    change.removed.sort_unstable();
    (file, change)
}

/// Whether a server of the file is declared as it was.
fn is_as_declared(own: &Server, server: &Server) -> bool {
    own.definition == server.definition && own.defect == server.defect && own.approval == server.approval
}

/// The servers of the file are changed there.
fn check_editable(file: &[Arc<Server>], id: &ServerId) -> Result<(), WriteError> {
    if file.iter().any(|own| own.id == *id) {
        return Err(WriteError::ManagedByFile { id: id.clone() });
    }
    Ok(())
}

/// The database compares with its own rows, in the transaction that writes; the file's servers are compared here.
fn check_file_names(
    file: &[Arc<Server>],
    server: &Server,
    kept: &BTreeSet<String>,
) -> Result<(), WriteError> {
    let wanted = claims_of(server);
    for own in file {
        let taken = claims_of(own);
        if let Some(name) = wanted.intersection(&taken).find(|name| !kept.contains(*name)) {
            return Err(WriteError::NameTaken {
                name: as_given(server, name),
                by: own.id.clone(),
            });
        }
    }
    Ok(())
}

/// The file's servers, then the database's by id. Whoever comes later and claims a taken name gets a defect. Also returns
/// the ids of stored servers that are out of sight.
fn join(
    file: &[Arc<Server>],
    stored: &[Arc<Server>],
    old: &Snapshot,
) -> (Vec<Arc<Server>>, HashSet<ServerId>) {
    let mut owners: HashMap<String, Arc<Server>> = HashMap::new();
    let mut ids = HashSet::new();
    let mut hidden = HashSet::new();
    let mut servers = Vec::with_capacity(file.len() + stored.len());
    for server in file.iter().chain(stored) {
        if !ids.insert(server.id.clone()) {
            hidden.insert(server.id.clone());
            continue;
        }
        let claims = claims_of(server);
        let clash = claims
            .iter()
            .find_map(|claim| owners.get(claim).map(|owner| name_defect(server, claim, owner)));
        for claim in claims {
            owners.entry(claim).or_insert_with(|| Arc::clone(server));
        }
        servers.push(match clash {
            Some(defect) => with_defect(server, defect, old),
            None => Arc::clone(server),
        });
    }
    (servers, hidden)
}

fn name_defect(server: &Server, claim: &str, owner: &Server) -> String {
    let place = match owner.origin {
        Origin::File => "of the configuration file",
        Origin::Database => "that was registered through the API",
    };
    format!(
        "the name {:?} belongs to the server {} {place}: rename one of them",
        as_given(server, claim),
        owner.id
    )
}

fn with_defect(server: &Server, defect: String, old: &Snapshot) -> Arc<Server> {
    let mut flagged = server.clone();
    flagged.defect = Some(match flagged.defect {
        Some(other) => format!("{other}; {defect}"),
        None => defect,
    });
    match old.get(&flagged.id) {
        Some(own) if **own == flagged => Arc::clone(own),
        _ => Arc::new(flagged),
    }
}
