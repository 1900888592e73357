//! `trunkline add NAME URL` and `trunkline add NAME -- COMMAND…`: one server, registered at the running gateway, and whether
//! it works.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use trunkline_client::Gateway;

use crate::config_file;
use crate::failure::{Code, Failure};
use crate::import::api::{self, Report};
use crate::output;
use crate::reach::GatewayArguments;

/// `trunkline add`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AddArguments {
    /// What it is to be called; the prefix of its tools.
    pub(crate) name: String,
    /// Its MCP endpoint.
    #[arg(
        value_name = "URL",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    pub(crate) address: Option<String>,
    /// After `--`: a program that speaks MCP on standard input and output, and its arguments.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
    /// A header that is always sent, such as `Authorization: Bearer …`. `@FILE` takes the line from a file, so that no
    /// secret is on the command line.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", conflicts_with = "command")]
    pub(crate) header: Vec<String>,
    /// A bearer token for it, taken from this environment variable.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "command")]
    pub(crate) bearer_from: Option<String>,
    /// A variable of the program's environment. Without a value: that of this environment.
    #[arg(long, short, value_name = "NAME[=VALUE]", requires = "command")]
    pub(crate) env: Vec<String>,
    /// Speak the transport of 2024-11-05, HTTP+SSE.
    #[arg(long, conflicts_with = "command")]
    pub(crate) sse: bool,
    /// Write it into this configuration file, instead of registering it. A gateway that was started with the file reads it again
    /// as soon as it changes.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Adds.
pub(crate) async fn run(arguments: &AddArguments) -> Result<ExitCode, Failure> {
    let entry = entry(arguments)?;
    if let Some(file) = &arguments.config {
        return write(arguments, file, &entry);
    }
    let gateway = arguments.gateway.gateway()?;
    let mut servers = Map::new();
    servers.insert(arguments.name.clone(), Value::Object(entry.clone()));
    let report = api::import(&gateway, &servers, false).await?;
    let imported = match report {
        Report { mut imported, .. } if !imported.is_empty() => imported.remove(0),
        report => return Err(refused(arguments, &report, &entry)),
    };
    show(arguments, &gateway, &imported).await
}

/// The server as a client's file has it: the gateway reads those.
fn entry(arguments: &AddArguments) -> Result<Map<String, Value>, Failure> {
    let mut entry = Map::new();
    if let Some((program, args)) = arguments.command.split_first() {
        entry.insert("command".to_owned(), program.as_str().into());
        entry.insert("args".to_owned(), args.into());
        let mut env = Map::new();
        for variable in &arguments.env {
            let (name, value) = match variable.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (variable.as_str(), of_environment(variable)?),
            };
            env.insert(name.to_owned(), value.into());
        }
        if !env.is_empty() {
            entry.insert("env".to_owned(), env.into());
        }
        return Ok(entry);
    }
    entry.insert("url".to_owned(), arguments.address.clone().into());
    entry.insert(
        "type".to_owned(),
        if arguments.sse { "sse" } else { "http" }.into(),
    );
    let mut headers = Map::new();
    for header in &arguments.header {
        let header = match header.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| Failure::new(Code::NotFound, format!("--header @{file}: {error}")))?,
            None => header.clone(),
        };
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Failure::usage("--header: must be `Name: value`"))?;
        headers.insert(name.trim().to_owned(), value.trim().into());
    }
    if let Some(variable) = &arguments.bearer_from {
        let token = of_environment(variable)?;
        headers.insert(
            "Authorization".to_owned(),
            format!("Bearer {}", token.trim()).into(),
        );
    }
    if !headers.is_empty() {
        entry.insert("headers".to_owned(), headers.into());
    }
    Ok(entry)
}

fn of_environment(variable: &str) -> Result<String, Failure> {
    std::env::var(variable)
        .map_err(|_| Failure::usage(format!("the environment variable {variable:?} is not set here")))
}

fn refused(arguments: &AddArguments, report: &Report, entry: &Map<String, Value>) -> Failure {
    if let Some(skipped) = report.skipped.first() {
        return Failure::usage(format!("{}: {}", arguments.name, api::text(&skipped["reason"])));
    }
    let Some(error) = report.errors.first() else {
        return Failure::new(Code::Failed, "the gateway did not say what became of it");
    };
    let message = format!("{}: {}", arguments.name, api::text(&error["error"]));
    match error["status"].as_u64() {
        Some(403) if entry.contains_key("command") => {
            let yaml = config_file::yaml(&arguments.name, &config_file::entry(entry), 2);
            Failure::new(Code::NotAllowed, message).todo(format!(
                "write it into the gateway's configuration file, with --config FILE or by hand:\nmcp_servers:\n{yaml}"
            ))
        }
        Some(403) => Failure::new(Code::NotAllowed, message),
        Some(503) => Failure::new(Code::Failed, message),
        _ => Failure::usage(message),
    }
}

/// What the first check found.
async fn show(arguments: &AddArguments, gateway: &Gateway, imported: &Value) -> Result<ExitCode, Failure> {
    let id = imported["server_id"].as_str().unwrap_or_default().to_owned();
    let checked = api::check(gateway, &[id]).await?;
    let health = checked.first().cloned().unwrap_or(Value::Null);
    let (works, found, hint) = api::outcome(&health);
    if arguments.json {
        output::json(&json!({"server": imported, "health": health}));
    } else {
        output::line(&format!(
            "{} is registered, server_id {}",
            api::text(&imported["alias"]),
            api::text(&imported["server_id"])
        ));
        for warning in imported["warnings"].as_array().into_iter().flatten() {
            output::warning(&api::text(warning));
        }
        output::line(&format!("  {found}"));
        if let Some(hint) = hint {
            output::line(&format!("  to do: {hint}"));
        }
    }
    Ok(if works {
        ExitCode::SUCCESS
    } else {
        Code::Upstream.into()
    })
}

fn write(
    arguments: &AddArguments,
    file: &std::path::Path,
    entry: &Map<String, Value>,
) -> Result<ExitCode, Failure> {
    let own = config_file::entry(entry);
    let replaced = config_file::add(file, &[(arguments.name.clone(), own)])?;
    if arguments.json {
        output::json(&json!({"file": replaced.path, "backup": replaced.backup}));
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!(
        "{} is in {}; {}",
        arguments.name,
        replaced.path.display(),
        config_file::READ
    ));
    if let Some(backup) = replaced.backup {
        output::line(&format!("  what was there: {}", backup.display()));
    }
    Ok(ExitCode::SUCCESS)
}
