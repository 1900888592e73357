//! The environment of a program: clean, so that nothing of the gateway's own (its keys, its database) is in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::Program;

/// What is taken from the gateway's environment: what says where programs are and how people write. Proxies are not
/// here: their URLs hold passwords.
const KEPT: [&str; 16] = [
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "USER",
    "LOGNAME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "PYENV_ROOT",
    "NVM_DIR",
    "VOLTA_HOME",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "FNM_DIR",
    "RUSTUP_HOME",
];

/// The private folders of a program.
pub(crate) struct Private<'a> {
    pub(crate) home: &'a Path,
    pub(crate) tmp: &'a Path,
}

/// The environment of `program`. Without private folders it has the home of the gateway's user.
pub(crate) fn of(program: &Program, private: Option<&Private<'_>>) -> BTreeMap<OsString, OsString> {
    let mut env = BTreeMap::new();
    env.insert("PATH".into(), crate::find::search_path());
    for (name, value) in std::env::vars_os() {
        let kept = name
            .to_str()
            .is_some_and(|name| KEPT.contains(&name) || name.starts_with("LC_"));
        if kept {
            env.insert(name, value);
        }
    }
    match private {
        Some(Private { home, tmp }) => {
            env.insert("HOME".into(), (*home).into());
            for name in ["TMPDIR", "TMP", "TEMP"] {
                env.insert(name.into(), (*tmp).into());
            }
            // What finds its tools below the home, and would not any more.
            if let Some(real) = std::env::home_dir() {
                for (name, folder) in [
                    ("PYENV_ROOT", ".pyenv"),
                    ("NODENV_ROOT", ".nodenv"),
                    ("RBENV_ROOT", ".rbenv"),
                    ("NVM_DIR", ".nvm"),
                    ("VOLTA_HOME", ".volta"),
                ] {
                    let folder = real.join(folder);
                    if !env.contains_key(std::ffi::OsStr::new(name)) && folder.is_dir() {
                        env.insert(name.into(), folder.into());
                    }
                }
            }
        }
        None => {
            for name in ["HOME", "TMPDIR"] {
                if let Some(value) = std::env::var_os(name) {
                    env.insert(name.into(), value);
                }
            }
        }
    }
    for (name, value) in &program.env {
        env.insert(name.into(), value.expose().into());
    }
    env
}
