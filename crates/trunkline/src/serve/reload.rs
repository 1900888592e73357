//! The configuration file, read again while the gateway serves: when it changes, on SIGHUP, and when an administrator
//! asks.
//!
//! A file that cannot be taken as a whole changes nothing. What is taken goes where requests read it: servers to the
//! registry, where those that are declared as before stay the same objects and so keep all that hangs on them; settings to
//! the upstreams, the edge and the caps. What only a start can change is named.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use trunkline_admin::{BoxFuture, Configuration, Mistake, NotReloaded, Reloaded, ReloadedServers};
use trunkline_config::{Config, ConfigError, General, ProcessEnv};
use trunkline_gateway::Gateway;
use trunkline_store::{Actor, FileSettings, StoreError};
use trunkline_upstream::Settings;

use super::{caps_of, edge, upstream_settings};

/// Between two looks at the file. One that has changed is read when the next look finds it as it is, so that nobody reads
/// half of what an editor writes.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the file again.
pub(crate) struct Reloader {
    gateway: Arc<Gateway>,
    path: Option<PathBuf>,
    /// Whether the gateway listens on loopback alone.
    loopback: bool,
    /// The files of certificates that it names.
    files: ArcSwap<Vec<PathBuf>>,
    /// The settings that hold. Held while reading: one at a time.
    general: Mutex<General>,
    /// The last that was read was refused.
    is_refused: AtomicBool,
}

/// A setting of the file, and how to take it over.
struct Setting {
    name: &'static str,
    /// It can be changed while the gateway serves.
    live: bool,
    differs: fn(&General, &General) -> bool,
    take: fn(&mut General, &General),
}

macro_rules! settings {
    ($($live:literal: $($field:ident = $name:literal),+;)+) => {
        /// All settings of the file. The compiler says when one is missing: see [`all_are_named`].
        const SETTINGS: &[Setting] = &[$($(Setting {
            name: $name,
            live: $live,
            differs: |own, new| own.$field != new.$field,
            take: |own, new| own.$field.clone_from(&new.$field),
        }),+),+];

        #[cfg(test)]
        fn all_are_named(general: General) {
            let General { $($($field: _),+),+ } = general;
        }
    };
}

settings! {
    // Live.
    true:
        allowed_hosts = "allowed_hosts",
        allowed_origins = "allowed_origins",
        egress_allow = "mcp_egress_allow",
        internal_ip_ranges = "mcp_internal_ip_ranges",
        allowed_ips = "allowed_ips",
        use_x_forwarded_for = "use_x_forwarded_for",
        trusted_proxy_ranges = "mcp_trusted_proxy_ranges",
        xff_num_trusted_hops = "mcp_xff_num_trusted_hops",
        proxies = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        proxy_loopback = "mcp_proxy_loopback",
        authorities = "ssl_verify",
        connect_timeout_ms = "mcp_connect_timeout_ms",
        list_timeout_ms = "mcp_list_timeout_ms",
        call_timeout_ms = "mcp_call_timeout_ms",
        max_call_timeout_ms = "mcp_max_call_timeout_ms",
        answer_timeout_ms = "mcp_answer_timeout_ms",
        health_timeout_ms = "mcp_health_timeout_ms",
        fanout_deadline_ms = "mcp_fanout_deadline_ms",
        catalogue_ttl_ms = "mcp_catalogue_ttl_ms",
        max_body_bytes = "mcp_max_body_bytes",
        max_upstream_bytes = "mcp_max_upstream_bytes",
        breaker_failures = "mcp_breaker_failures",
        list_max_pages = "mcp_list_max_pages",
        max_sessions_per_principal = "mcp_max_sessions_per_principal",
        max_streams_per_principal = "mcp_max_streams_per_principal",
        list_page_size = "mcp_list_page_size",
        audit_retention_days = "audit_retention_days",
        record_retention_hours = "maximum_spend_logs_retention_period";
    // After a restart.
    false:
        master_key = "master_key",
        database_url = "database_url",
        salt_key = "LITELLM_SALT_KEY",
        permit_weak_master_key = "dangerously_permit_weak_or_unset_master_key",
        server_root_path = "SERVER_ROOT_PATH",
        session_idle_ms = "mcp_session_idle_ms",
        strip_hidden_text = "mcp_strip_hidden_text",
        stdio_from_api = "mcp_stdio",
        store_model_in_db = "store_model_in_db";
}

impl Reloader {
    /// Of the file that the gateway was started with, if there is one, and what it said then.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        path: Option<PathBuf>,
        loopback: bool,
        (general, files): (General, Vec<PathBuf>),
    ) -> Arc<Self> {
        if path.is_some() {
            gateway.configuration.loaded(gateway.clock.now());
        }
        Arc::new(Self {
            gateway,
            path,
            loopback,
            files: ArcSwap::from_pointee(files),
            general: Mutex::new(general),
            is_refused: AtomicBool::new(false),
        })
    }

    /// Reads the file when it changes. Looked at through links, so that one that is replaced by a renaming, or behind a link
    /// that is turned elsewhere, is another one.
    pub(crate) async fn watch(self: Arc<Self>) {
        let Some(path) = self.path.clone() else { return };
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What was read at the start may be another one already: the first look reads it again.
        let (mut taken, mut last) = (None, None);
        let mut is_gone = false;
        loop {
            looks.tick().await;
            let seen = self.look(&path).await;
            if seen.is_none() && !is_gone {
                tracing::warn!(file = %path.display(), "the configuration file is not there any more; what was read of it holds on");
            }
            is_gone = seen.is_none();
            if seen.is_some() && seen == last && seen != taken {
                taken.clone_from(&seen);
                let by = Actor::process("configuration file");
                let read = self.read("the file has changed", by).await;
                if matches!(read, Err(NotReloaded::NotStored { .. })) {
                    // It is tried again until the database is back.
                    taken = None;
                }
                // What it names anew and is not there will be another one when it is.
                if let Some(taken) = &mut taken {
                    for file in self.files.load().iter() {
                        taken.entry(file.clone()).or_insert(None);
                    }
                }
            }
            last = seen;
        }
    }

    /// Besides those of the file that was taken.
    fn also_look_at(&self, named: Vec<PathBuf>) {
        let mut files = Vec::clone(&self.files.load());
        files.extend(named);
        files.sort();
        files.dedup();
        self.files.store(Arc::new(files));
    }

    /// How the file and those that it names are now; `None`: it is not there.
    async fn look(&self, path: &Path) -> Option<BTreeMap<PathBuf, Option<Look>>> {
        let mut looks = BTreeMap::from([(path.to_owned(), Some(Look::at(path).await?))]);
        for file in self.files.load_full().iter() {
            looks.insert(file.clone(), Look::at(file).await);
        }
        Some(looks)
    }

    /// Reads the file on SIGHUP.
    pub(crate) async fn hear(self: Arc<Self>) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be heard");
                return;
            }
        };
        while hangups.recv().await.is_some() {
            if self.path.is_none() {
                tracing::warn!("SIGHUP: there is no configuration file to read");
            }
            let _ = self.read("SIGHUP", Actor::process("SIGHUP")).await;
        }
    }

    async fn read(&self, why: &'static str, by: Actor) -> Result<Reloaded, NotReloaded> {
        let Some(path) = self.path.clone() else {
            return Err(NotReloaded::NoFile);
        };
        let mut general = self.general.lock().await;
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || load(&file)).await;
        let read = read.unwrap_or_else(|_| Err((vec![outside("the file could not be read")], Vec::new())));
        match read {
            Ok(read) => self.take((why, &by), &path, &mut general, read).await,
            Err((mistakes, named)) => {
                // One of the files that it names may be what has to change.
                self.also_look_at(named);
                Err(self.refuse(why, &path, mistakes))
            }
        }
    }

    async fn take(
        &self,
        (why, by): (&'static str, &Actor),
        path: &Path,
        general: &mut General,
        (config, settings): (Config, Settings),
    ) -> Result<Reloaded, NotReloaded> {
        let gateway = &self.gateway;
        let now = gateway.clock.now();
        let names = |live: bool| -> Vec<String> {
            SETTINGS
                .iter()
                .filter(|setting| setting.live == live && (setting.differs)(general, &config.general))
                .map(|setting| setting.name.to_owned())
                .collect()
        };
        let (mut applied, needs_restart) = (names(true), names(false));
        let other_models = !gateway.models.is(&config.models);
        if other_models {
            applied.push("model_list, router_settings".to_owned());
        }
        let audited = FileSettings {
            file: path.display().to_string(),
            applied: applied.clone(),
            needs_restart: needs_restart.clone(),
        };
        let registry = &gateway.registry;
        let servers = registry.set_file_servers(by, config.servers, &audited, now).await;
        let servers = servers.map_err(|error| self.not_stored(why, path, &error))?;
        for setting in SETTINGS.iter().filter(|setting| setting.live) {
            (setting.take)(general, &config.general);
        }
        if !applied.is_empty() {
            self.apply(general, settings);
        }
        if other_models {
            gateway.models.set(config.models);
        }
        self.files.store(Arc::new(config.files));
        gateway.configuration.loaded(now);
        let reloaded = Reloaded {
            changed: !servers.is_empty() || !applied.is_empty(),
            servers: ReloadedServers {
                added: servers.added,
                changed: servers.changed,
                removed: servers.removed,
            },
            applied,
            needs_restart,
            notices: config
                .notices
                .iter()
                .map(|notice| format!("{}:{notice}", path.display()))
                .collect(),
        };
        say(
            why,
            path,
            &reloaded,
            self.is_refused.swap(false, Ordering::Relaxed),
        );
        Ok(reloaded)
    }

    /// No change without its row in the audit log.
    fn not_stored(&self, why: &'static str, path: &Path, error: &StoreError) -> NotReloaded {
        tracing::error!(
            why,
            file = %path.display(),
            error = error as &dyn std::error::Error,
            "the configuration file was not taken, because the audit log cannot be written: nothing is changed"
        );
        NotReloaded::NotStored {
            loaded_at: self.gateway.configuration.refused(1),
        }
    }

    /// `settings` are those of the whole file: what needs a restart is put back.
    fn apply(&self, general: &General, settings: Settings) {
        let gateway = &self.gateway;
        let own = gateway.upstreams.settings();
        gateway.upstreams.set_settings(Settings {
            session_idle: own.session_idle,
            strip_hidden_text: own.strip_hidden_text,
            ..settings
        });
        let edge = edge(general, self.loopback);
        gateway.edge.store(Arc::new(edge));
        let (sessions, streams) = caps_of(general);
        gateway.caps.set(sessions, streams);
        let page = usize::try_from(general.list_page_size).unwrap_or(usize::MAX);
        gateway.list_page_size.store(page, Ordering::Relaxed);
        let days = general.audit_retention_days;
        gateway.audit_retention_days.store(days, Ordering::Relaxed);
        let hours = general.record_retention_hours;
        gateway.record_retention_hours.store(hours, Ordering::Relaxed);
    }

    fn refuse(&self, why: &'static str, path: &Path, mistakes: Vec<Mistake>) -> NotReloaded {
        let loaded_at = self.gateway.configuration.refused(mistakes.len());
        self.is_refused.store(true, Ordering::Relaxed);
        for mistake in mistakes.iter().take(20) {
            let place = match mistake.line {
                0 => path.display().to_string(),
                line => format!("{}:{line}:{}", path.display(), mistake.column),
            };
            tracing::error!("{place}: {}", mistake.message);
        }
        tracing::error!(
            why,
            mistakes = mistakes.len(),
            running_since = %loaded_at,
            "the configuration file was not taken: nothing is changed"
        );
        NotReloaded::Invalid { loaded_at, mistakes }
    }
}

impl Configuration for Reloader {
    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        Box::pin(self.read("an administrator asked", by))
    }
}

/// The file, if everything in it can be taken.
fn load(path: &Path) -> Result<(Config, Settings), NotTaken> {
    let config = trunkline_config::load(path, &ProcessEnv)
        .map_err(|error| (mistakes(&error), error.files().to_vec()))?;
    match upstream_settings(&config.general) {
        Ok(settings) => Ok((config, settings)),
        Err(error) => Err((vec![outside(format!("{error:#}"))], config.files)),
    }
}

/// What is wrong, and the files that the configuration names.
type NotTaken = (Vec<Mistake>, Vec<PathBuf>);

fn mistakes(error: &ConfigError) -> Vec<Mistake> {
    let problems = error.problems();
    if problems.is_empty() {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        return vec![outside(format!("{error}{}", source.unwrap_or_default()))];
    }
    let mistake = |problem: &trunkline_config::Problem| Mistake {
        line: problem.line,
        column: problem.column,
        message: problem.message.clone(),
    };
    problems.iter().map(mistake).collect()
}

fn outside(message: impl Into<String>) -> Mistake {
    Mistake {
        line: 0,
        column: 0,
        message: message.into(),
    }
}

fn say(why: &'static str, path: &Path, reloaded: &Reloaded, was_refused: bool) {
    let file = path.display();
    if !reloaded.changed && reloaded.needs_restart.is_empty() {
        if was_refused {
            tracing::info!(%file, why, "the configuration file has no mistakes any more, and says what holds");
            return;
        }
        tracing::debug!(%file, why, "the configuration file was read again and says the same");
        return;
    }
    let servers = &reloaded.servers;
    tracing::info!(
        %file,
        why,
        added = servers.added.join(","),
        changed = servers.changed.join(","),
        removed = servers.removed.join(","),
        settings = reloaded.applied.join(","),
        "the configuration file was read again"
    );
    if !reloaded.needs_restart.is_empty() {
        let settings = reloaded.needs_restart.join(", ");
        tracing::warn!(%file, "these settings have changed in the file and hold after a restart: {settings}");
    }
    for notice in &reloaded.notices {
        tracing::warn!("{notice}");
    }
}

/// What tells a file from the one that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    async fn at(path: &Path) -> Option<Self> {
        let data = tokio::fs::metadata(path).await.ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_live_or_needs_a_restart() {
        all_are_named(General::default());
        assert_eq!(SETTINGS.iter().filter(|setting| setting.live).count(), 28);
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
