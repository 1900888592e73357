//! Where a gateway listens, in its data directory, for commands on this machine that look for it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::reach::{ADDRESS_FILE, Running};
use crate::settings::Settings;

/// What was written.
pub(super) struct WrittenAddress {
    path: PathBuf,
    text: String,
}

/// Where clients on this machine reach a gateway that listens there.
pub(super) fn url(settings: &Settings, address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let root = settings.config.general.server_root_path.as_deref();
    let root = root.unwrap_or_default().trim_matches('/');
    let slash = if root.is_empty() { "" } else { "/" };
    format!("http://{host}:{}{slash}{root}", address.port())
}

impl WrittenAddress {
    /// With the file that the gateway was started with. Written beside and renamed, so that nobody reads half an address.
    /// Without a data directory, as in a container with a database elsewhere, commands are told the address.
    pub(super) fn write(settings: &Settings, url: &str, config: Option<&Path>) -> Option<Self> {
        let running = Running {
            url: url.to_owned(),
            config: config.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
        };
        let text = running.to_text();
        let path = settings.data_dir.join(ADDRESS_FILE);
        let beside = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        let written = std::fs::write(&beside, &text).and_then(|()| std::fs::rename(&beside, &path));
        match written {
            Ok(()) => Some(Self { path, text }),
            Err(error) => {
                tracing::debug!(%error, "the address could not be written into the data directory");
                None
            }
        }
    }

    /// Unless another gateway has written its own meanwhile.
    pub(super) fn remove(self) {
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
