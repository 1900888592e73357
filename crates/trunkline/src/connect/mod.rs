//! `trunkline connect CLIENT`: writes the gateway into a client's file, and takes it out again. Everything else in the file
//! stays as it is, comments too; a copy of what was there is left beside it.
//!
//! Keys: a file that a project shares never gets one. A user's own file gets the key where the client cannot be told another
//! way that works at once; VS Code asks for it and keeps it itself; Claude Desktop starts `trunkline stdio`, which finds the
//! generated key on this machine.

mod entry;
mod json;
pub(crate) mod toml;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::entry::{Entry, KeyWay};
use crate::clients::{Client, Format, Places, Scope};
use crate::failure::{Code, Failure};
use crate::files::{self, Readers};
use crate::output;
use crate::reach::{Found, GatewayArguments};

/// `trunkline connect`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArguments {
    /// Which client.
    #[arg(value_enum)]
    pub(crate) client: Client,
    /// Write into the project in this folder, without a key, instead of into the user's own file.
    #[arg(long)]
    pub(crate) project: bool,
    /// Servers, comma-separated: their names, aliases or access groups. All without it.
    #[arg(long, value_name = "SERVERS")]
    pub(crate) servers: Option<String>,
    /// What the client is to call the gateway.
    #[arg(long, default_value = "trunkline")]
    pub(crate) name: String,
    /// Do not write the key: let the client take it from its environment variable `TRUNKLINE_KEY`.
    #[arg(long)]
    pub(crate) key_from_env: bool,
    /// Another file than the usual one.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Show what would be written, the key masked, and write nothing.
    #[arg(long)]
    pub(crate) print: bool,
    /// Take the gateway out of the file.
    #[arg(long, conflicts_with_all = ["print", "key_from_env", "servers"])]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Connects, or takes the connection out.
pub(crate) fn run(arguments: &ConnectArguments) -> Result<ExitCode, Failure> {
    let client = arguments.client;
    let places =
        Places::here().ok_or_else(|| Failure::usage("there is no HOME to look for the client's file in"))?;
    let scope = if arguments.project {
        Scope::Project
    } else {
        Scope::User
    };
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => client.file(scope, &places).ok_or_else(|| {
            Failure::usage(format!("{} has no file of a project", client.title())).todo("leave --project out")
        })?,
    };
    if arguments.remove {
        return remove(arguments, &file, &places);
    }
    let found = arguments.gateway.find()?;
    let entry = Entry::of(arguments, scope, &found)?;
    let before = files::read(&file)?;
    let after = written(client.format(), before.as_deref(), &arguments.name, &entry)
        .map_err(|why| unreadable(&file, &why))?;
    if arguments.print {
        output::line(&format!("{}:", places.short(&file)));
        output::line(&entry.masked(client.format(), &arguments.name));
        say_key(arguments, &entry.key, &found);
        return Ok(ExitCode::SUCCESS);
    }
    let readers = match entry.key {
        KeyWay::Written => Readers::Owner,
        _ => Readers::AsBefore,
    };
    if before.as_deref() == Some(after.as_str()) {
        output::line(&format!(
            "{} is connected already, in {}",
            client.title(),
            places.short(&file)
        ));
        say_readers(files::narrow(&file, readers)?);
        return Ok(ExitCode::SUCCESS);
    }
    let replaced = files::replace(&file, &after, readers)?;
    output::line(&format!("{} is connected to {}", client.title(), entry.url));
    output::line(&format!("  file: {}", places.short(&replaced.path)));
    if let Some(backup) = &replaced.backup {
        output::line(&format!("  what was there: {}", places.short(backup)));
    }
    say_readers(replaced.narrowed_from);
    say_key(arguments, &entry.key, &found);
    output::line(&format!("  {}", client.reads_it()));
    Ok(ExitCode::SUCCESS)
}

/// Who could read the file before a key came into it.
fn say_readers(narrowed_from: Option<u32>) {
    if let Some(mode) = narrowed_from {
        output::line(&format!(
            "  permissions: 0600, for you alone (they were {mode:04o}): the file holds a key"
        ));
    }
}

/// How the client comes by the key, and whose it is.
fn say_key(arguments: &ConnectArguments, way: &KeyWay, found: &Found) {
    let client = arguments.client;
    let is_administrators = found.is_administrators(arguments.gateway.data_dir.as_deref());
    let text = match (way, is_administrators) {
        (KeyWay::Written, true) => {
            "the administrator's is in the file: whoever reads the file may do everything at the gateway"
                .to_owned()
        }
        (KeyWay::Written, false) => {
            "the one that was given is in the file: keep the file to yourself".to_owned()
        }
        (KeyWay::Environment, _) => format!(
            "{} takes it from its environment variable TRUNKLINE_KEY",
            client.title()
        ),
        (KeyWay::Asked, _) => format!("{} asks for it once, and keeps it itself", client.title()),
        (KeyWay::Found, _) => "`trunkline stdio` finds the administrator's in the data directory".to_owned(),
    };
    output::line(&format!("  key: {text}"));
    if is_administrators && matches!(way, KeyWay::Written | KeyWay::Found) {
        output::line(&format!(
            "  to do: give {} a key of its own, which may use what it needs and no more: POST {}/key/generate with {} makes one; then run this again with TRUNKLINE_KEY=sk-… or --key",
            client.title(),
            found.gateway.url(),
            own_key(arguments)
        ));
    }
}

/// The body of the request for a key of the client's own.
fn own_key(arguments: &ConnectArguments) -> serde_json::Value {
    let names = arguments.servers.as_deref().unwrap_or_default();
    let servers: Vec<&str> = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let servers = if servers.is_empty() {
        vec!["SERVER"]
    } else {
        servers
    };
    serde_json::json!({"key_alias": arguments.client.word(), "object_permission": {"mcp_servers": servers}})
}

fn written(format: Format, before: Option<&str>, name: &str, entry: &Entry) -> Result<String, String> {
    let text = before.unwrap_or_default();
    match format {
        Format::Json(section) => json::set(text, section, name, &entry.value, entry.input.as_ref()),
        Format::Toml(section) => toml::set(text, section, name, &entry.value),
    }
}

fn remove(arguments: &ConnectArguments, file: &Path, places: &Places) -> Result<ExitCode, Failure> {
    let client = arguments.client;
    let Some(before) = files::read(file)? else {
        output::line(&format!(
            "{} is not there: nothing to take out",
            places.short(file)
        ));
        return Ok(ExitCode::SUCCESS);
    };
    let after = match client.format() {
        Format::Json(section) => json::remove(&before, section, &arguments.name, entry::INPUT),
        Format::Toml(section) => toml::remove(&before, section, &arguments.name),
    };
    let after = after.map_err(|why| unreadable(file, &why))?;
    if after == before {
        output::line(&format!(
            "{} has no server {:?} in {}: nothing to take out",
            client.title(),
            arguments.name,
            places.short(file)
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let replaced = files::replace(file, &after, Readers::AsBeforeElseOwner)?;
    output::line(&format!(
        "{:?} is no server of {} any more",
        arguments.name,
        client.title()
    ));
    output::line(&format!("  file: {}", places.short(&replaced.path)));
    if let Some(backup) = &replaced.backup {
        output::line(&format!(
            "  what was there, with its key: {}",
            places.short(backup)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(file: &Path, why: &str) -> Failure {
    Failure::new(Code::Failed, format!("{} cannot be read: {why}", file.display()))
        .todo("mend it first; nothing was changed. `--print` shows what belongs there")
}
