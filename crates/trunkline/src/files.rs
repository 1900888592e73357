//! Files of people and of other programs, changed with care: whole or not at all, with a copy of what was there beside it,
//! under the same permissions, where a link leads.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use trunkline_model::{Clock as _, SystemClock};

use crate::failure::{Code, Failure};

/// What replacing a file did.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// The file itself, where a link to it was given.
    pub(crate) path: PathBuf,
    /// The copy of what was there; none where nothing was.
    pub(crate) backup: Option<PathBuf>,
}

/// The text of a file; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "cannot be read", &error)),
    }
}

/// Where what was there is kept: never where something is kept already.
fn backup_of(target: &Path) -> PathBuf {
    let stamp = stamp();
    let mut path = beside(target, &format!("trunkline-{stamp}.bak"));
    let mut number = 1;
    while path.exists() {
        number += 1;
        path = beside(target, &format!("trunkline-{stamp}-{number}.bak"));
    }
    path
}

/// Puts `text` in the place of a file. `private`: a new one is for its owner alone, because it holds a secret.
pub(crate) fn replace(path: &Path, text: &str, private: bool) -> Result<Replaced, Failure> {
    // A link stays one: what it leads to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let write_error = |error: &std::io::Error| failed(path, "cannot be written", error);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(|error| write_error(&error))?;
    }
    let there = target.is_file();
    let backup = there.then(|| backup_of(&target));
    if let Some(backup) = &backup {
        // With its permissions: what it holds is as secret as before.
        std::fs::copy(&target, backup).map_err(|error| failed(backup, "cannot be written", &error))?;
    }
    let temporary = beside(&target, &format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private || there {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let _ = private;
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written = written
        .and_then(|()| match std::fs::metadata(&target) {
            Ok(before) => std::fs::set_permissions(&temporary, before.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| std::fs::rename(&temporary, &target));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(write_error(&error));
    }
    Ok(Replaced { path: target, backup })
}

/// Puts `text` in the place of a file of our own, for its owner alone; no copy is kept.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let replaced = replace(path, text, true)?;
    if let Some(backup) = replaced.backup {
        let _ = std::fs::remove_file(backup);
    }
    Ok(())
}

/// Tells whether a text is another one.
pub(crate) fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest)
}

/// `20261128-215124`, UTC.
pub(crate) fn stamp() -> String {
    let text: String = SystemClock
        .now()
        .to_string()
        .chars()
        .take_while(|c| *c != '.' && *c != 'Z')
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    text.replace('T', "-")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Code::NotAllowed,
        _ => Code::Failed,
    };
    Failure::new(code, format!("{} {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_where_a_link_leads_with_a_copy_and_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real.json"), folder.path().join("link.json"));
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let replaced = replace(&link, "after", true).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
        let backup = replaced.backup.unwrap();
        assert_eq!(std::fs::read_to_string(&backup).unwrap(), "before");
        for path in [&file, &backup] {
            assert_eq!(
                std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o640
            );
        }
        // Nothing else is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        // Another one, within the same second, keeps what was there then, too.
        let again = replace(&link, "last", true).unwrap().backup.unwrap();
        assert_eq!(std::fs::read_to_string(&again).unwrap(), "after");
        assert_eq!(std::fs::read_to_string(&backup).unwrap(), "before");

        let new = folder.path().join("deep/new.json");
        assert!(replace(&new, "x", true).unwrap().backup.is_none());
        assert_eq!(
            std::fs::metadata(&new).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
