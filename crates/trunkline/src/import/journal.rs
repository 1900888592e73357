//! What an import made, written down as it is made, so that it can be taken back: one file an import, in the data directory.
//! There are no secrets in it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trunkline_client::Gateway;

use crate::failure::{Code, Failure};
use crate::files::{self, Replaced};

/// The journal of one import.
pub(super) struct Journal {
    path: PathBuf,
    pub(super) gateway: String,
    /// `server_id`, `name`, `updated_at`
    pub(super) servers: Vec<Value>,
    /// `file`, `backup`, `text`: a digest of what was written
    pub(super) file: Option<Value>,
}

impl Journal {
    /// A new one; it is a file from the first thing that was made on. Where it could not be one, nothing is made.
    pub(super) fn begin(gateway: &str, folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", folder.display())))?;
        let mut path = folder.join(format!("{}.json", files::stamp()));
        let mut count = 1;
        // Two imports within a second.
        while path.exists() {
            count += 1;
            path = folder.join(format!("{}-{count}.json", files::stamp()));
        }
        Ok(Self {
            path,
            gateway: gateway.to_owned(),
            servers: Vec::new(),
            file: None,
        })
    }

    /// The last one.
    pub(super) fn last(folder: &Path) -> Result<Self, Failure> {
        let nothing = || Failure::new(Code::NotFound, "there is no import to take back");
        let entries = std::fs::read_dir(folder).map_err(|_| nothing())?;
        let path = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .max_by_key(|path| order(path))
            .ok_or_else(nothing)?;
        let text = files::read(&path)?.ok_or_else(nothing)?;
        let mut read: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Code::Failed,
                format!("{} cannot be read: {error}", path.display()),
            )
        })?;
        Ok(Self {
            path,
            gateway: read["gateway"].as_str().unwrap_or_default().to_owned(),
            servers: read["servers"].as_array().cloned().unwrap_or_default(),
            file: Some(read["file"].take()).filter(Value::is_object),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.file.is_none()
    }

    /// Servers were registered. When each was changed last is noted, to know whether somebody changed it since.
    pub(super) async fn registered(&mut self, gateway: &Gateway, imported: &[Value]) -> Result<(), Failure> {
        if imported.is_empty() {
            return Ok(());
        }
        for server in imported {
            self.servers.push(json!({
                "server_id": server["server_id"],
                "name": server["name"],
                "updated_at": null,
            }));
        }
        // First what was made, then what is nice to know of it.
        self.save()?;
        for server in &mut self.servers {
            let id = server["server_id"].as_str().unwrap_or_default();
            if let Ok(row) = super::undo::row(gateway, id).await {
                server["updated_at"] = row["updated_at"].clone();
            }
        }
        self.save()
    }

    /// The configuration file was changed.
    pub(super) fn written(&mut self, replaced: &Replaced) -> Result<(), Failure> {
        let text = files::read(&replaced.path)?.unwrap_or_default();
        self.file = Some(json!({
            "file": replaced.path,
            "backup": replaced.backup,
            "digest": files::digest(&text),
        }));
        self.save()
    }

    /// Writes down what is left of it; what has nothing left is gone.
    pub(super) fn save(&self) -> Result<(), Failure> {
        if self.is_empty() {
            let _ = std::fs::remove_file(&self.path);
            return Ok(());
        }
        let text = json!({"gateway": self.gateway, "servers": self.servers, "file": self.file}).to_string();
        files::write(&self.path, &text)
    }
}

/// By time, then by number: `…-2` after `…`, `…-10` after `…-9`.
fn order(path: &Path) -> (String, u32) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut parts = name.splitn(3, '-');
    let (day, time) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    (format!("{day}-{time}"), count)
}
