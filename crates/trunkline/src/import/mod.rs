//! `trunkline import clients`: the servers that the MCP clients of this machine know, registered at the running gateway after
//! a look at what would happen; `trunkline import undo`: takes back what the last import made, and nothing else.
//!
//! `find` reads the clients' files, `fill` what only they could fill in, `plan` says what happens to each server, `journal`
//! remembers what was made.

pub(crate) mod api;
mod fill;
mod find;
mod journal;
mod plan;
mod undo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use trunkline_client::Gateway;
use trunkline_model::count;

use self::journal::Journal;
use self::plan::{Plan, Planned, What};
use crate::clients::{Client, Places};
use crate::config_file;
use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::GatewayArguments;
use crate::settings;
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Register the servers that the MCP clients of this machine know. Shows what would happen, and asks.
    Clients(ClientsArguments),
    /// Take back what the last import made.
    Undo(UndoArguments),
}

/// `trunkline import clients`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientsArguments {
    /// Look at these clients alone.
    #[arg(value_enum)]
    pub(crate) clients: Vec<Client>,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Write servers that are programs into this configuration file of the gateway, which reads it again as soon as it
    /// changes.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// `trunkline import undo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UndoArguments {
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Also take back servers that were changed since.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Imports, or takes an import back.
pub(crate) async fn run(command: &ImportCommand) -> Result<ExitCode, Failure> {
    match command {
        ImportCommand::Clients(arguments) => clients(arguments).await,
        ImportCommand::Undo(arguments) => undo::run(arguments).await,
    }
}

/// Where imports are written down.
fn state_dir(gateway: &GatewayArguments) -> Result<PathBuf, Failure> {
    settings::data_dir(gateway.data_dir.as_deref())
        .map(|dir| dir.join("imports"))
        .ok_or_else(|| Failure::usage("there is no HOME to remember imports in").todo("give --data-dir DIR"))
}

async fn clients(arguments: &ClientsArguments) -> Result<ExitCode, Failure> {
    let places = Places::here().ok_or_else(|| Failure::usage("there is no HOME to look for clients in"))?;
    let gateway = arguments.gateway.gateway()?;
    let mut found = find::all(&arguments.clients, &places, gateway.url());
    for problem in &found.problems {
        output::warning(problem);
    }
    if found.servers.is_empty() {
        output::line("no servers were found");
        for file in &found.looked_at {
            output::line(&format!("  looked at {}", places.short(file)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Questions for values before the table, so that it shows what will happen.
    fill::all(
        &mut found.servers,
        &found.inputs,
        &places,
        !arguments.yes && terminal::can_ask(),
    );
    let plan = plan::make(&gateway, found.servers, arguments.config.as_deref(), &places).await?;
    let goes_on = plan.changes_anything();
    if !arguments.json {
        plan.print();
    } else if !(arguments.yes && goes_on) {
        output::json(&plan.to_json());
    }
    if !goes_on {
        return Ok(finished(&plan));
    }
    if arguments.json && !arguments.yes {
        return Err(
            Failure::new(Code::NotConfirmed, "this was a preview: nothing was changed").todo("say --yes"),
        );
    }
    terminal::confirm("Do this?", arguments.yes)?;
    carry_out(arguments, &gateway, &plan, &places).await
}

async fn carry_out(
    arguments: &ClientsArguments,
    gateway: &Gateway,
    plan: &Plan,
    places: &Places,
) -> Result<ExitCode, Failure> {
    let mut journal = Journal::begin(gateway.url(), &state_dir(&arguments.gateway)?)?;
    let servers: Map<String, Value> = plan
        .of(What::Registered)
        .map(|server| (server.name.clone(), Value::Object(server.entry.clone())))
        .collect();
    let report = if servers.is_empty() {
        None
    } else {
        Some(api::import(gateway, &servers, false).await?)
    };
    let imported = report
        .as_ref()
        .map(|report| report.imported.as_slice())
        .unwrap_or_default();
    journal.registered(gateway, imported).await?;
    let to_write: Vec<(String, Map<String, Value>)> = plan
        .of(What::Written)
        .map(|server| (server.name.clone(), config_file::entry(&server.entry)))
        .collect();
    // The gateway has what it has, whatever becomes of the file.
    let written = match (&arguments.config, to_write.is_empty()) {
        (Some(file), false) => Some(config_file::add(file, &to_write)),
        _ => None,
    };
    if let Some(Ok(replaced)) = &written {
        journal.written(replaced)?;
    }
    let ids: Vec<String> = imported
        .iter()
        .filter_map(|server| server["server_id"].as_str().map(str::to_owned))
        .collect();
    let checked = api::check(gateway, &ids).await?;
    if arguments.json {
        output::json(&json!({
            "imported": imported,
            "skipped": report.as_ref().map(|report| &report.skipped),
            "errors": report.as_ref().map(|report| &report.errors),
            "health": checked,
            "plan": plan.to_json(),
        }));
    } else {
        print_checked(imported, &checked);
    }
    if let Some(Ok(replaced)) = &written {
        output::line(&format!(
            "{} {} in {}; {}",
            count(to_write.len(), "program"),
            if to_write.len() == 1 { "is" } else { "are" },
            places.short(&replaced.path),
            config_file::READ
        ));
    }
    if !arguments.json && !journal.is_empty() {
        output::line("`trunkline import undo` takes it back");
    }
    if let Some(Err(failure)) = written {
        return Err(failure);
    }
    let refused = report.is_some_and(|report| !report.errors.is_empty() || !report.skipped.is_empty());
    Ok(if refused {
        Code::Failed.into()
    } else {
        finished(plan)
    })
}

/// What was registered, and whether it works.
fn print_checked(imported: &[Value], checked: &[Value]) {
    if imported.is_empty() {
        return;
    }
    let rows = imported
        .iter()
        .map(|server| {
            let health = checked
                .iter()
                .find(|health| health["server_id"] == server["server_id"]);
            let (_, found, hint) = health.map_or((false, "not checked".to_owned(), None), api::outcome);
            let hint = hint.map_or_else(String::new, |hint| format!("; to do: {hint}"));
            vec![api::text(&server["alias"]), format!("{found}{hint}")]
        })
        .collect();
    terminal::table(&["REGISTERED", "FIRST CHECK"], rows);
}

/// Servers that were not understood are a failure; those that are there already, or off, are none.
fn finished(plan: &Plan) -> ExitCode {
    let refused = plan
        .servers
        .iter()
        .any(|Planned { what, .. }| *what == What::Refused);
    if refused {
        Code::Failed.into()
    } else {
        ExitCode::SUCCESS
    }
}
