//! What the command line, the file and the environment resolve to.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use trunkline_auth::Vault;
use trunkline_config::{Config, LocatedNotice, MasterKeyStrength, ProcessEnv, check_master_key};
use trunkline_model::{Secret, SystemClock};
use trunkline_store::Store;

use crate::cli::Sources;

/// Resolved settings.
pub(crate) struct Settings {
    /// The file and the environment.
    pub(crate) config: Config,
    /// Where data is kept.
    pub(crate) data_dir: PathBuf,
    /// The master key.
    pub(crate) master_key: MasterKey,
    /// Where the database is.
    pub(crate) database_url: Secret,
}

/// The master key and where it came from.
pub(crate) struct MasterKey {
    /// The key.
    pub(crate) key: Secret,
    /// Where from.
    pub(crate) origin: KeyOrigin,
}

/// Where the master key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// File or environment.
    Configured,
    /// Generated at an earlier start.
    Stored,
    /// Generated now: shown once.
    Generated,
}

/// The file in the data directory that holds a generated key.
pub(crate) const KEY_FILE: &str = "master_key";

impl Settings {
    /// Resolves. Where there is no master key a new one is made, which is nowhere but in here until
    /// [`Settings::keep_key`].
    pub(crate) fn resolve(sources: &Sources) -> anyhow::Result<Self> {
        let config = match &sources.config {
            Some(path) => trunkline_config::load(path, &ProcessEnv)?,
            None => trunkline_config::from_env(&ProcessEnv)?,
        };
        let data_dir = data_dir(sources.data_dir.as_deref())
            .context("there is no HOME to keep data in: give --data-dir DIR")?;
        let master_key = match &config.general.master_key {
            Some(key) => MasterKey {
                key: key.clone(),
                origin: KeyOrigin::Configured,
            },
            None => stored_key(&data_dir)?,
        };
        let database_url =
            config.general.database_url.clone().unwrap_or_else(|| {
                Secret::new(format!("sqlite://{}", data_dir.join("trunkline.db").display()))
            });
        Ok(Self {
            config,
            data_dir,
            master_key,
            database_url,
        })
    }

    /// Where a generated master key is kept.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.data_dir.join(KEY_FILE)
    }

    /// Keeps a key that was generated now. Only whoever shows it calls this: a key that was kept and never shown would
    /// be one that nobody has.
    pub(crate) fn keep_key(&self) -> anyhow::Result<()> {
        let path = self.key_file();
        write_private(&path, self.master_key.key.expose())
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What everything that is sealed is sealed under: `LITELLM_SALT_KEY`, else the master key.
    pub(crate) fn root_secret(&self) -> Secret {
        self.config
            .general
            .salt_key
            .clone()
            .unwrap_or_else(|| self.master_key.key.clone())
    }

    /// What to know about the file, each with its place in it.
    pub(crate) fn notices(&self, sources: &Sources) -> Vec<String> {
        let say = |notice: &LocatedNotice| match &sources.config {
            Some(file) => format!("{}:{notice}", file.display()),
            None => notice.to_string(),
        };
        self.config.notices.iter().map(say).collect()
    }

    /// Whether the database is the data directory's, because nobody named another one.
    pub(crate) fn is_own_database(&self) -> bool {
        self.config.general.database_url.is_none()
    }

    /// Opens the database, without changing it.
    pub(crate) async fn store(&self) -> anyhow::Result<(Store, Arc<Vault>)> {
        let vault = Arc::new(Vault::derive(&self.root_secret()));
        let store = Store::connect(&self.database_url, vault.clone(), Arc::new(SystemClock)).await?;
        Ok((store, vault))
    }
}

/// `--data-dir`, else the user's data directory.
pub(crate) fn data_dir(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(dir) = given {
        return Some(dir.to_owned());
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("XDG_DATA_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("trunkline"))
}

/// The key that an earlier start generated, or a new one.
fn stored_key(data_dir: &Path) -> anyhow::Result<MasterKey> {
    let path = data_dir.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            return Ok(MasterKey {
                key: Secret::new(text.trim()),
                origin: KeyOrigin::Stored,
            });
        }
        Ok(_) => bail!(
            "{} is empty: delete it, or put the master key back in",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
    let key = format!(
        "sk-{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    Ok(MasterKey {
        key: Secret::new(key),
        origin: KeyOrigin::Generated,
    })
}

/// A new file that only its owner reads, in a folder that only its owner reads. It appears whole or not at all: half a
/// key would be one that nobody has.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    if let Some(parent) = path.parent() {
        private_folder(parent)?;
    }
    let beside = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let mut file = file.open(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        // A link, not a renaming: it fails where there is a file, such as that of a start at the same time.
        .and_then(|()| std::fs::hard_link(&beside, path));
    let removed = std::fs::remove_file(&beside);
    written.and(removed)
}

/// A folder that only its owner reads, unless it is there.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// Why a master key is weak.
pub(crate) fn key_problem(key: &Secret) -> Option<&'static str> {
    match check_master_key(key) {
        MasterKeyStrength::Strong => None,
        MasterKeyStrength::Weak(why) => Some(why),
    }
}
