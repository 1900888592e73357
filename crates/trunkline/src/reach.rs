//! How commands find the running gateway, and the key for it. One way for all of them:
//!
//! - address: `--url`, `TRUNKLINE_URL`, what a running gateway wrote into the data directory, `http://127.0.0.1:4000`
//! - key: `--key`, `TRUNKLINE_KEY`, `LITELLM_MASTER_KEY`, the generated key in the data directory, which is given to this
//!   machine alone

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use trunkline_client::Gateway;
use trunkline_model::Secret;
use url::{Host, Url};

use crate::failure::Failure;
use crate::settings;

/// Where a gateway is by default.
const DEFAULT_URL: &str = "http://127.0.0.1:4000";

/// Which gateway.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which gateway")]
pub(crate) struct GatewayArguments {
    /// Where it is. Without it: the gateway of this data directory, else <http://127.0.0.1:4000>.
    #[arg(long, value_name = "URL", env = "TRUNKLINE_URL")]
    pub(crate) url: Option<String>,
    /// The key. Better in the environment than on the command line, where others can read it. Without it:
    /// `LITELLM_MASTER_KEY`, else the generated key in the data directory.
    #[arg(long, value_name = "KEY", env = "TRUNKLINE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Where the gateway keeps its data.
    #[arg(long, value_name = "DIR", env = "TRUNKLINE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// `--key` or `TRUNKLINE_KEY`.
    Given,
    /// `LITELLM_MASTER_KEY`.
    Master,
    /// The data directory: a command on this machine finds it by itself.
    DataDir,
}

/// A gateway that was found, and how.
pub(crate) struct Found {
    pub(crate) gateway: Gateway,
    pub(crate) key: Option<(Secret, KeySource)>,
    pub(crate) url: UrlSource,
}

/// Where an address came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlSource {
    /// A flag or the environment.
    Given,
    /// What a gateway wrote into the data directory.
    DataDir,
    /// Nobody said.
    Default,
}

impl GatewayArguments {
    /// Where the gateway is and the key for it. Nothing is contacted.
    pub(crate) fn find(&self) -> Result<Found, Failure> {
        let data_dir = settings::data_dir(self.data_dir.as_deref());
        let given = self.url.clone().filter(|url| !url.is_empty());
        let given = given.map(|url| (url, UrlSource::Given));
        let (url, source) = given
            .or_else(|| Some((Running::at(data_dir.as_deref()?)?.url, UrlSource::DataDir)))
            .unwrap_or_else(|| (DEFAULT_URL.to_owned(), UrlSource::Default));
        let key = self.key_for(&url, data_dir.as_deref());
        Ok(Found {
            gateway: Gateway::new(&url, key.as_ref().map(|(key, _)| key))?,
            key,
            url: source,
        })
    }

    /// The gateway alone.
    pub(crate) fn gateway(&self) -> Result<Gateway, Failure> {
        Ok(self.find()?.gateway)
    }

    fn key_for(&self, url: &str, data_dir: Option<&Path>) -> Option<(Secret, KeySource)> {
        let given = self.key.clone().filter(|key| !key.is_empty());
        if let Some(key) = given {
            return Some((Secret::new(key), KeySource::Given));
        }
        if let Some(key) = master_key() {
            return Some((Secret::new(key), KeySource::Master));
        }
        // A key that this machine's gateway made up is no business of any other's.
        if !is_local(url) {
            return None;
        }
        let stored = std::fs::read_to_string(data_dir?.join(settings::KEY_FILE)).ok()?;
        let stored = stored.trim();
        (!stored.is_empty()).then(|| (Secret::new(stored), KeySource::DataDir))
    }
}

impl Found {
    /// Whether the key is the administrator's, as far as this machine knows it: under which name it was given does not make
    /// it another one.
    pub(crate) fn is_administrators(&self, data_dir: Option<&Path>) -> bool {
        match &self.key {
            None => false,
            Some((_, KeySource::Master | KeySource::DataDir)) => true,
            Some((key, KeySource::Given)) => {
                let stored = settings::data_dir(data_dir)
                    .and_then(|dir| std::fs::read_to_string(dir.join(settings::KEY_FILE)).ok());
                let known = [master_key(), stored];
                known
                    .iter()
                    .flatten()
                    .any(|known| known.trim() == key.expose().trim())
            }
        }
    }
}

/// `LITELLM_MASTER_KEY` of the environment.
fn master_key() -> Option<String> {
    std::env::var("LITELLM_MASTER_KEY")
        .ok()
        .filter(|key| !key.is_empty())
}

/// The file in the data directory that says where its gateway listens.
pub(crate) const ADDRESS_FILE: &str = "address";

/// What the gateway of a data directory wrote down when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) url: String,
    /// The configuration file that it was started with.
    pub(crate) config: Option<PathBuf>,
}

impl Running {
    /// As it was written; the gateway may be gone.
    pub(crate) fn at(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_dir.join(ADDRESS_FILE)).ok()?;
        let (url, config) = text.split_once('\n').unwrap_or((&text, ""));
        let url = url.trim();
        // It leads to this machine, whoever wrote it.
        is_local(url).then(|| Self {
            url: url.to_owned(),
            config: Some(config.trim_end_matches('\n'))
                .filter(|file| !file.is_empty())
                .map(PathBuf::from),
        })
    }

    /// The address alone, or on its first line.
    pub(crate) fn to_text(&self) -> String {
        match self.config.as_deref().and_then(Path::to_str) {
            Some(file) => format!("{}\n{file}\n", self.url),
            None => self.url.clone(),
        }
    }
}

fn is_local(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_key_is_for_this_machine() {
        for (url, local) in [
            ("http://127.0.0.1:4000", true),
            ("http://127.8.9.1:1", true),
            ("http://[::1]:4000", true),
            ("http://localhost:4000", true),
            ("http://localhost.evil.example", false),
            ("http://10.0.0.1:4000", false),
            ("https://gateway.example", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }

    #[test]
    fn the_address_of_a_data_directory_is_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(ADDRESS_FILE);
        assert_eq!(Running::at(folder.path()), None);
        for (url, config) in [
            ("http://127.0.0.1:4711", None),
            ("http://127.0.0.1:4711", Some("/etc/trunkline.yaml")),
        ] {
            let running = Running {
                url: url.to_owned(),
                config: config.map(PathBuf::from),
            };
            std::fs::write(&file, running.to_text()).unwrap();
            assert_eq!(Running::at(folder.path()), Some(running));
        }
        std::fs::write(&file, "http://elsewhere.example").unwrap();
        assert_eq!(Running::at(folder.path()), None);
    }
}
