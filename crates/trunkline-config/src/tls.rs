//! TLS with servers: the fields of one server, and LiteLLM's `ssl_verify` for all of them.
//!
//! Certificates are read with the file that names them, so that a check says what is wrong with them and where, and so that
//! they change when the file is read again. Paths are relative to the file. A key that is read never leaves its
//! [`Secret`].

use std::cell::RefCell;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use trunkline_model::{Pem, Secret, ServerDefinition, TlsSettings, TlsVersion, Transport};

use crate::env::{Env, REFERENCE, lookup};
use crate::error::Report;
use crate::section::Section;
use crate::tree::{At, Entry, Value};

/// The largest bundle that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What the file stands in.
pub(crate) struct Around<'a> {
    folder: &'a Path,
    now: Timestamp,
    /// The files that were read.
    files: RefCell<Vec<PathBuf>>,
}

impl<'a> Around<'a> {
    /// In `folder`, at `now`.
    pub(crate) fn new(folder: &'a Path, now: Timestamp) -> Self {
        Self {
            folder,
            now,
            files: RefCell::default(),
        }
    }

    /// The files that were read, each once.
    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        let mut files = self.files.into_inner();
        files.sort();
        files.dedup();
        files
    }

    /// The text of a file. The error says what happened, without the path: it may be something else that was pasted.
    fn read(&self, path: &str) -> Result<(PathBuf, Secret), String> {
        if path.trim_start().starts_with('~') {
            return Err("begins with ~, which is not understood: write the whole path".into());
        }
        let path = self.folder.join(path);
        let path = std::path::absolute(&path).unwrap_or(path);
        self.files.borrow_mut().push(path.clone());
        let mut text = String::new();
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(length) if length as u64 > MAX_BYTES => Err("names a file that is larger than 4 MiB".into()),
            Ok(_) => Ok((path, Secret::new(text))),
            Err(error) => Err(format!(
                "names a file that cannot be read ({error}); a path is relative to this file, and PEM text begins with -----BEGIN"
            )),
        }
    }
}

/// Reads the fields of one server. What is given back takes the server out of use, and no other: a certificate that has
/// expired, which no change of the file did.
pub(crate) fn read(
    section: &mut Section<'_>,
    definition: &mut ServerDefinition,
    around: &Around<'_>,
    resolved: bool,
) -> Option<String> {
    let before = section.report.error_count();
    let tls = TlsSettings {
        ca: certificates(section, "tls_ca", around),
        client_cert: certificates(section, "tls_client_cert", around),
        client_key: key(section, around),
        server_name: section.text("tls_server_name"),
        min_version: section.word("tls_min_version", crate::fields::TLS_VERSIONS, TlsVersion::parse),
    };
    if !tls.is_default() && definition.transport == Transport::Stdio {
        section.warn("tls_ca", "the tls_ fields have no effect: a program has no TLS.");
    }
    let mut defect = None;
    // What could not be read, or is not set, was said already.
    if resolved && section.report.error_count() == before {
        for mistake in trunkline_tls::check(&tls, around.now) {
            if mistake.expired {
                section.warn(
                    mistake.field,
                    format!(
                        "{}: the server is listed as misconfigured and never contacted.",
                        mistake.message
                    ),
                );
                defect.get_or_insert(mistake.to_string());
            } else {
                section.error(mistake.field, &mistake.message);
            }
        }
    }
    definition.tls = tls;
    defect
}

fn certificates(section: &mut Section<'_>, name: &str, around: &Around<'_>) -> Option<Pem> {
    let value = section.text(name)?;
    if Pem::is_text(&value) {
        return Some(Pem::inline(value));
    }
    match around.read(&value) {
        Ok((path, text)) => Some(Pem {
            text: certificates_alone(text.expose()),
            path: Some(path.to_string_lossy().into_owned()),
        }),
        Err(reason) => {
            section.error(name, reason);
            None
        }
    }
}

fn key(section: &mut Section<'_>, around: &Around<'_>) -> Option<Secret> {
    let name = "tls_client_key";
    let value = section.secret(name)?;
    if Pem::is_text(value.expose()) {
        return Some(value);
    }
    match around.read(value.expose()) {
        Ok((_, text)) => Some(text),
        Err(reason) => {
            section.error(name, reason);
            None
        }
    }
}

/// A file often has the key and its certificate in one; the certificates are public, and are all that is kept of it here.
fn certificates_alone(text: &str) -> String {
    let mut within = false;
    let mut out = String::new();
    for line in text.lines() {
        within |= line.contains("-----BEGIN CERTIFICATE-----");
        if within {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        within &= !line.contains("-----END CERTIFICATE-----");
    }
    out
}

/// LiteLLM's `ssl_verify`, of the environment before that of the file, as it has it: the authorities that servers without
/// `tls_ca` are believed by. Verification is never off.
pub(crate) fn authorities(
    settings: Option<&Entry>,
    env: &dyn Env,
    around: &Around<'_>,
    report: &mut Report,
) -> Option<String> {
    const SETTING: &str = "litellm_settings.ssl_verify";
    let from_env = env.get("SSL_VERIFY").filter(|value| !value.trim().is_empty());
    let node = settings.and_then(|entry| entry.node.get("ssl_verify"));
    let (at, path, value) = match (from_env, node.map(|node| (&node.value, node.at))) {
        (Some(value), _) => (At::ENVIRONMENT, "SSL_VERIFY", value),
        (None, Some((Value::Text(text), at))) => {
            let value = match text.strip_prefix(REFERENCE) {
                Some(name) => lookup(name, env),
                None => Ok(text.clone()),
            };
            let value = value.map_err(|why| report.error(at, format!("{SETTING} {why}")));
            (at, SETTING, value.ok()?)
        }
        (None, Some((Value::Bool(on), at))) => (at, SETTING, on.to_string()),
        (None, Some((Value::Null | Value::Unset, _)) | None) => return None,
        (None, Some((_, at))) => {
            report.error(at, format!("{SETTING} must be true or the path of a file"));
            return None;
        }
    };
    match value.trim().to_ascii_lowercase().as_str() {
        "" | "true" => None,
        "false" => {
            report.warn(
                at,
                path,
                "has no effect: certificates of servers are always verified. Name the authority of a server with its tls_ca, or of all with the path of a file here.",
            );
            None
        }
        _ => {
            let read = if Pem::is_text(&value) {
                Ok(value.clone())
            } else {
                let read = around.read(&value);
                read.map(|(_, text)| certificates_alone(text.expose()))
            };
            let checked = read.and_then(|text| match trunkline_tls::Authorities::of(&text) {
                Ok(_) => Ok(text),
                Err(mistake) => Err(mistake.message),
            });
            checked
                .map_err(|reason| report.error(at, format!("{path} {reason}")))
                .ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_the_certificates_alone_are_kept() {
        let text = "junk\n-----BEGIN PRIVATE KEY-----\nk\n-----END PRIVATE KEY-----\r\n-----BEGIN CERTIFICATE-----\r\nc\r\n-----END CERTIFICATE-----\nmore\n";
        assert_eq!(
            certificates_alone(text),
            "-----BEGIN CERTIFICATE-----\nc\n-----END CERTIFICATE-----\n"
        );
    }
}
