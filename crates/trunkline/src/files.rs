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
    /// The permissions that were there, where others than the owner had some and have none now.
    pub(crate) narrowed_from: Option<u32>,
}

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Who could before; a new file is as others are.
    AsBefore,
    /// Who could before; a new file is for its owner alone.
    AsBeforeElseOwner,
    /// The owner alone, whoever could before: a secret comes into it. The copy of what was there, too, which may hold one.
    Owner,
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

/// Puts `text` in the place of a file, which stays its owner's.
pub(crate) fn replace(path: &Path, text: &str, readers: Readers) -> Result<Replaced, Failure> {
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
        narrow(backup, readers)?;
    }
    let temporary = beside(&target, &format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if readers != Readers::AsBefore || there {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let narrowed_from = wider(&target, readers);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written = written
        .and_then(|()| match std::fs::metadata(&target) {
            Ok(before) => as_before(&temporary, &before, readers),
            Err(_) => Ok(()),
        })
        .and_then(|()| std::fs::rename(&temporary, &target));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(write_error(&error));
    }
    Ok(Replaced {
        path: target,
        backup,
        narrowed_from,
    })
}

/// Takes a file from all but its owner, if it is to be so; its permissions before, if that changed them.
pub(crate) fn narrow(path: &Path, readers: Readers) -> Result<Option<u32>, Failure> {
    let before = wider(path, readers);
    if before.is_some() {
        own_alone(path).map_err(|error| failed(path, "cannot be kept from other users", &error))?;
    }
    Ok(before)
}

/// The permissions of a file that others than its owner have some of, and are not to have.
fn wider(path: &Path, readers: Readers) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    if readers != Readers::Owner {
        return None;
    }
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

fn own_alone(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// A new file in the place of one of the same owner, and of the same group if this user is in it.
fn as_before(new: &Path, before: &std::fs::Metadata, readers: Readers) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let own = std::fs::metadata(new)?;
    if own.uid() != before.uid() {
        chown(new, Some(before.uid()), None)?;
    }
    if own.gid() != before.gid() {
        let _ = chown(new, None, Some(before.gid()));
    }
    match readers {
        Readers::Owner => own_alone(new),
        Readers::AsBefore | Readers::AsBeforeElseOwner => std::fs::set_permissions(new, before.permissions()),
    }
}

/// Puts `text` in the place of a file of our own, for its owner alone; no copy is kept.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let replaced = replace(path, text, Readers::AsBeforeElseOwner)?;
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
        let replaced = replace(&link, "after", Readers::AsBeforeElseOwner).unwrap();
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
        let again = replace(&link, "last", Readers::AsBeforeElseOwner)
            .unwrap()
            .backup
            .unwrap();
        assert_eq!(std::fs::read_to_string(&again).unwrap(), "after");
        assert_eq!(std::fs::read_to_string(&backup).unwrap(), "before");

        let new = folder.path().join("deep/new.json");
        assert!(
            replace(&new, "x", Readers::AsBeforeElseOwner)
                .unwrap()
                .backup
                .is_none()
        );
        assert_eq!(
            std::fs::metadata(&new).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_gets_a_secret_is_its_owners_alone_and_so_is_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.json");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(narrow(&file, Readers::AsBefore).unwrap(), None);
        let replaced = replace(&file, "key", Readers::Owner).unwrap();
        assert_eq!(replaced.narrowed_from, Some(0o644));
        assert_eq!((mode(&file), mode(&replaced.backup.unwrap())), (0o600, 0o600));
        assert_eq!(narrow(&file, Readers::Owner).unwrap(), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(narrow(&file, Readers::Owner).unwrap(), Some(0o664));
        assert_eq!(mode(&file), 0o600);
    }
}
