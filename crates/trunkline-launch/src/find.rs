//! Finding a program before anything is started, so that a missing one is an error that says so (B75).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::LaunchError;

/// The `PATH` that programs are looked up in and get.
pub fn search_path() -> OsString {
    std::env::var_os("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// The file of `command`: a path if it has a slash (a relative one from `cwd`), else the first of `PATH`.
pub(crate) fn find(command: &str, cwd: Option<&Path>) -> Result<PathBuf, LaunchError> {
    let path = search_path();
    let missing = |path: String| LaunchError::NotFound {
        command: command.to_owned(),
        path,
    };
    if command.is_empty() {
        return Err(missing(String::new()));
    }
    if command.contains('/') {
        let file = match cwd {
            Some(cwd) => cwd.join(command),
            None => std::path::absolute(command).map_err(|_| missing(String::new()))?,
        };
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(None) => Err(missing(String::new())),
            Err(Some(reason)) => Err(LaunchError::NotExecutable { file, reason }),
        };
    }
    let mut unusable = None;
    for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        let file = folder.join(command);
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(None) => {}
            Err(Some(reason)) => {
                unusable.get_or_insert(LaunchError::NotExecutable { file, reason });
            }
        }
    }
    Err(unusable.unwrap_or_else(|| missing(path.to_string_lossy().into_owned())))
}

/// Why `file` cannot be executed: `None` if it is not there.
pub(crate) fn executable(file: &Path) -> Result<(), Option<String>> {
    let meta = match std::fs::metadata(file) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Err(None),
        Err(error) => return Err(Some(error.to_string())),
    };
    if !meta.is_file() {
        return Err(Some("it is no file".to_owned()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if meta.permissions().mode() & 0o111 == 0 {
            return Err(Some("its mode has no execute bit".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b75_what_is_missing_is_named_with_where_it_was_looked_for() {
        let error = find("no-such-program", None).expect_err("missing").to_string();
        assert!(
            error.starts_with("command not found: no-such-program (looked for in PATH "),
            "{error}"
        );
        let error = find("npx -y server", None).expect_err("missing").to_string();
        assert!(
            error.contains("arguments belong into `args`") && error.contains("\"npx\""),
            "{error}"
        );
        let error = find("/no/such/file", None).expect_err("missing").to_string();
        assert_eq!(error, "command not found: /no/such/file");
    }

    #[test]
    fn what_is_no_program_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("text");
        std::fs::write(&file, "x").expect("written");
        let error = find("./text", Some(folder.path()))
            .expect_err("no program")
            .to_string();
        assert!(
            error.ends_with("is not executable: its mode has no execute bit"),
            "{error}"
        );
        assert!(find("sh", None).expect("there is a shell").is_absolute());
    }
}
