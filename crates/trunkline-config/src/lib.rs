//! LiteLLM's `config.yaml`, the environment, and Trunkline's extensions to a validated [`Config`].
//!
//! A file of LiteLLM works unchanged for what is served. What is not is never dropped in silence: unknown names are
//! mistakes with line, column and the nearest known name; known names without effect are listed in one warning; those that
//! protect something stop the start.
//!
//! The path of a file: [`load`](mod@load) makes a tree with places out of the text; `unserved` goes over the names;
//! `general` and `servers` (with `auth`) read the values against the table in `fields`; `names` looks at the servers
//! together. All of them add to one `Report`, so that every mistake is said in one go. `schema` renders the same table for
//! editors and for `docs/configuration.md`. To add a field, see `fields`.

mod auth;
mod checks;
mod clouds;
mod env;
mod error;
mod fields;
mod general;
mod known;
mod load;
mod master_key;
mod models;
mod names;
mod router;
mod schema;
mod section;
mod servers;
mod tls;
mod tree;
mod unserved;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use trunkline_model::{Clock as _, Deployment, ModelList, Server, StoredModel, SystemClock};

pub use env::{Env, ProcessEnv};
pub use error::{ConfigError, LocatedNotice, Problem};
pub use general::{General, ProxyVariables};
pub use master_key::{MasterKeyStrength, check_master_key};
pub use schema::{json_schema, reference_tables};

use env::{Layered, resolve};
use error::{Report, join};
use tls::Around;
use tree::{At, Entry, Node, Value};

/// Everything that a file and the environment say, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `mcp_servers`, in the order of the file, with [`trunkline_model::Origin::File`]. One with a `defect` is listed as
    /// misconfigured and never contacted.
    pub servers: Vec<Server>,
    /// `model_list`, in the order of the file. One with a `defect` is never contacted.
    pub models: ModelList,
    /// What is not about one server.
    pub general: General,
    /// Warnings, in the order of the file.
    pub notices: Vec<LocatedNotice>,
    /// The files of certificates and keys that it names, which were read with it: a change of them is one of it.
    pub files: Vec<PathBuf>,
}

/// Reads the file at `path`. At most 4 MiB are read.
pub fn load(path: &Path, env: &dyn Env) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let bytes = read_bounded(path).map_err(|source| ConfigError::Read {
        file: file.clone(),
        source,
    })?;
    if bytes.len() > load::MAX_FILE_BYTES {
        return Err(ConfigError::NotText {
            file,
            reason: "is larger than 4 MiB, which no configuration is",
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => {
            let mut config = parse(&text, &file, env)?;
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            documents_beside(&mut config.servers, folder);
            Ok(config)
        }
        Err(_) => Err(ConfigError::NotText {
            file,
            reason: "is not UTF-8 text",
        }),
    }
}

/// Paths of documents are relative to the file that names them, wherever the gateway is started.
fn documents_beside(servers: &mut [Server], folder: &Path) {
    for server in servers {
        let Some(place) = &mut server.definition.spec_path else {
            continue;
        };
        if !checks::has_scheme(place)
            && let Ok(whole) = std::path::absolute(folder.join(&*place))
        {
            *place = whole.to_string_lossy().into_owned();
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(load::MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the text of a file. `file_name` is for messages, and paths of certificates in it are relative to its folder.
pub fn parse(text: &str, file_name: &str, env: &dyn Env) -> Result<Config, ConfigError> {
    let mut report = Report::default();
    let Some(root) = load::tree(text, &mut report) else {
        return Err(report.into_error(file_name));
    };
    let mut entries = match root.value {
        Value::Map(entries) => entries,
        Value::Null => Vec::new(),
        _ => {
            report.error(
                root.at,
                format!("the file must be a mapping, not {}", root.kind()),
            );
            Vec::new()
        }
    };
    unserved::check(&entries, &mut report);

    let layered = Layered {
        file: environment_variables(&mut entries, env, &mut report),
        process: env,
    };
    let mut general = general::from_env(&layered, &mut report);
    if let Some(entry) = section(&mut entries, "general_settings") {
        general = general::read(&mut entry.node, entry.at, &layered, general, &mut report);
    }
    let aliases = aliases(&mut entries, &layered, &mut report);
    let folder = Path::new(file_name).parent().unwrap_or_else(|| Path::new(""));
    let around = Around::new(folder, SystemClock.now());
    let settings = section(&mut entries, "litellm_settings").map(|entry| &*entry);
    general.authorities = tls::authorities(settings, &layered, &around, &mut report);
    let mut declared = match section(&mut entries, "mcp_servers") {
        Some(entry) => servers::read(&mut entry.node, &layered, &around, &mut report),
        None => Vec::new(),
    };
    let models = models::read(&mut entries, &layered, &mut report);
    names::apply(aliases, &mut declared, &mut report);
    names::check_collisions(&declared, &mut report);

    let files = around.into_files();
    let notices = match report.finish(file_name) {
        Ok(notices) => notices,
        Err(error) => return Err(error.naming(files)),
    };
    Ok(Config {
        servers: declared.into_iter().map(|declared| declared.server).collect(),
        models,
        general,
        notices,
        files,
    })
}

/// The deployments of a model of the database, as the file's are read. An error is one sentence, and repeats no value.
pub fn deployments_of(model: &StoredModel, env: &dyn Env) -> Result<Vec<Deployment>, String> {
    models::stored(model, env)
}

/// Reads the environment alone: no servers.
pub fn from_env(env: &dyn Env) -> Result<Config, ConfigError> {
    let mut report = Report::default();
    let mut general = general::from_env(env, &mut report);
    let around = Around::new(Path::new(""), SystemClock.now());
    general.authorities = tls::authorities(None, env, &around, &mut report);
    let notices = report.finish("environment")?;
    Ok(Config {
        servers: Vec::new(),
        models: ModelList::default(),
        general,
        notices,
        files: around.into_files(),
    })
}

pub(crate) fn section<'a>(entries: &'a mut [Entry], name: &str) -> Option<&'a mut Entry> {
    entries.iter_mut().find(|entry| entry.key == name)
}

/// The `environment_variables` section: name to text, a number, a truth value, or a reference.
fn environment_variables(
    entries: &mut [Entry],
    env: &dyn Env,
    report: &mut Report,
) -> BTreeMap<String, String> {
    const PATH: &str = "environment_variables";
    let mut variables = BTreeMap::new();
    let Some(entry) = section(entries, PATH) else {
        return variables;
    };
    let mut unresolved = Vec::new();
    resolve(&mut entry.node, PATH, env, &mut unresolved);
    for missing in unresolved {
        report.warn(
            missing.at,
            missing.path,
            format!("{}: it stays unset.", missing.message),
        );
    }
    let Value::Map(values) = &entry.node.value else {
        if !entry.node.is_absent() {
            report.error(
                entry.node.at,
                format!("{PATH} must be a mapping, not {}", entry.node.kind()),
            );
        }
        return variables;
    };
    for Entry { key, node, .. } in values {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Null | Value::Unset => continue,
            Value::List(_) | Value::Map(_) => {
                report.error(
                    node.at,
                    format!("{} must be text, not {}", join(PATH, key), node.kind()),
                );
                continue;
            }
        };
        variables.insert(key.clone(), text);
    }
    variables
}

fn aliases(entries: &mut [Entry], env: &dyn Env, report: &mut Report) -> Vec<names::Alias> {
    const PATH: &str = "litellm_settings.mcp_aliases";
    let Some(Entry {
        node: Node {
            value: Value::Map(settings),
            ..
        },
        ..
    }) = section(entries, "litellm_settings")
    else {
        return Vec::new();
    };
    let Some(entry) = section(settings, "mcp_aliases") else {
        return Vec::new();
    };
    let mut unresolved = Vec::new();
    resolve(&mut entry.node, PATH, env, &mut unresolved);
    for missing in unresolved {
        let at: At = missing.at;
        report.error(at, format!("{} {}", missing.path, missing.message));
    }
    names::aliases(&entry.node, report)
}
