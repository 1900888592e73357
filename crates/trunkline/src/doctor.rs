//! `trunkline doctor [SERVER]`: the handshake step by step, through the code that serves.

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_model::{Circuit, Health, Server, Snapshot, SystemClock, count};
use trunkline_store::Store;
use trunkline_upstream::probe::Said;
use trunkline_upstream::{ClientHeaders, Probe, Upstreams};

use crate::cli::{DoctorArguments, Sources};
use crate::output;
use crate::programs;
use crate::reach::Running;
use crate::serve::{upstream_settings, variables};
use crate::settings::{self, Settings};

/// Lines of a program's standard error that are shown.
const SHOWN: usize = 10;

/// Walks.
pub(crate) async fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let sources = sources(&arguments.sources).await;
    let settings = Settings::resolve(&sources)?;
    for notice in settings.notices(&sources) {
        output::warning(&notice);
    }
    let (store, vault) = settings.store().await?;
    let (servers, place) = registered(&store, &settings).await?;
    store.close().await;
    let snapshot = Snapshot::new(0, servers);
    let chosen: Vec<Arc<Server>> = match &arguments.server {
        Some(name) => snapshot.find(name).cloned().into_iter().collect(),
        None => snapshot.servers().to_vec(),
    };
    if chosen.is_empty() {
        let known: Vec<String> = snapshot.servers().iter().map(|server| server.prefix()).collect();
        let looked = looked_at(&sources, &place);
        match &arguments.server {
            Some(name) if known.is_empty() => {
                anyhow::bail!("no server is called {name:?}, and none is registered {looked}")
            }
            Some(name) => anyhow::bail!(
                "no server is called {name:?} {looked}; registered: {}",
                known.join(", ")
            ),
            None => output::line(&format!("no server is registered {looked}")),
        }
        return Ok(ExitCode::SUCCESS);
    }
    // The port is the running gateway's, which this process does not know: it is not among the defaults.
    let launcher = Arc::new(programs::launcher(&settings, &sources, Vec::new()));
    let upstreams = Upstreams::new(
        upstream_settings(&settings.config.general)?,
        vault,
        variables(&settings),
        None,
        Arc::new(SystemClock),
        Some(launcher.clone()),
    );
    let client = ClientHeaders::none();
    let probes = join_all(chosen.iter().map(|server| upstreams.probe(server, &client))).await;
    upstreams.shutdown().await;
    let remarks: Vec<Vec<String>> = chosen
        .iter()
        .map(|server| programs::remarks(server, &launcher))
        .collect();
    let usable = probes.iter().all(|probe| probe.outcome.is_ok());
    if arguments.json {
        let list: Vec<Value> = chosen
            .iter()
            .zip(&probes)
            .zip(&remarks)
            .map(|((server, probe), remarks)| to_json(server, probe, remarks))
            .collect();
        output::line(&serde_json::to_string_pretty(&list)?);
    } else {
        for ((server, probe), remarks) in chosen.iter().zip(&probes).zip(&remarks) {
            print(server, probe, remarks);
        }
    }
    Ok(if usable {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is looked at: as it was said or, where nobody said which file, the one that the running gateway of this data directory
/// was started with.
async fn sources(given: &Sources) -> Sources {
    let mut sources = given.clone();
    if sources.config.is_some() {
        return sources;
    }
    let running = settings::data_dir(given.data_dir.as_deref()).and_then(|dir| Running::at(&dir));
    let Some(Running {
        url,
        config: Some(file),
    }) = running
    else {
        return sources;
    };
    // The file of one that was killed says nothing about what runs now.
    let gateway = trunkline_client::Gateway::new(&url, None);
    if let Ok(gateway) = gateway
        && gateway.alive().await.is_ok()
    {
        output::note(&format!(
            "looking at {}, which the gateway at {url} was started with",
            file.display()
        ));
        sources.config = Some(file);
    }
    sources
}

/// Where servers were looked for, and how to look elsewhere.
fn looked_at(sources: &Sources, database: &str) -> String {
    match &sources.config {
        Some(file) => format!("in {} or the database {database}", file.display()),
        None => format!(
            "in the database {database}, and no configuration file was looked at (--config FILE names that of a gateway that has one)"
        ),
    }
}

/// The servers of the file and, as far as there is a database, of the database; and where that is.
async fn registered(store: &Store, settings: &Settings) -> anyhow::Result<(Vec<Arc<Server>>, String)> {
    let mut servers: Vec<Arc<Server>> = settings.config.servers.iter().cloned().map(Arc::new).collect();
    let status = store.status().await?;
    if !status.applied.is_empty() {
        servers.extend(store.server_list().await?.into_iter().map(Arc::new));
    }
    Ok((servers, status.location))
}

fn print(server: &Server, probe: &Probe, remarks: &[String]) {
    let definition = &server.definition;
    let place = definition.url.as_deref().or(definition.spec_path.as_deref());
    let place = place.or(definition.command.as_deref());
    output::line(&format!("{}  {}", server.prefix(), place.unwrap_or("(no url)")));
    for remark in remarks {
        output::line(&format!("  {remark}"));
    }
    if !server.is_active() {
        output::line(&format!(
            "  (serves nobody: its approval status is {})",
            server.approval.status.as_str()
        ));
    }
    for step in &probe.steps {
        let sign = if step.ok { "ok  " } else { "FAIL" };
        let status = step
            .http_status
            .map_or_else(String::new, |status| format!("HTTP {status}"));
        let session = if step.session_id { "session" } else { "" };
        let line = format!(
            "  {sign}  {:<13} {:>8.1} ms  {status:<8} {session:<7}  {}",
            step.step.as_str(),
            step.duration_ms,
            step.detail
        );
        output::line(line.trim_end());
    }
    let outcome = &probe.outcome;
    if health(server, probe) == Health::UnknownPerUser {
        output::line("  (each client brings its own credential: what it finds can be another thing)");
    }
    if outcome.is_ok() {
        output::line(&format!(
            "  => ok, {} in {} ms",
            count(probe.tools.len(), "tool"),
            outcome.duration_ms
        ));
        for item in &outcome.rejected.items {
            let name = item.name.as_deref().unwrap_or("(no name)");
            output::line(&format!("     left out: {name}: {}", item.reason));
        }
        let more = outcome.rejected.count - outcome.rejected.items.len();
        if more > 0 {
            output::line(&format!("     left out: {more} more"));
        }
    } else {
        output::line(&format!(
            "  => {} at {}: {}",
            outcome.status.as_str(),
            outcome.step.as_str(),
            outcome.message
        ));
    }
    if let Some(hint) = &outcome.hint {
        output::line(&format!("     to do: {hint}"));
    }
    said(&probe.said);
    output::line("");
}

/// What a program said beside its answers.
fn said(said: &Said) {
    for line in said.stderr.iter().rev().take(SHOWN).rev() {
        output::line(&format!("     stderr: {line}"));
    }
    if said.junk_lines > 0 {
        let what = match said.junk_lines {
            1 => "line on its standard output is no message",
            _ => "lines on its standard output are no messages",
        };
        output::line(&format!(
            "     {} {what}; the last: {}",
            said.junk_lines, said.last_junk
        ));
    }
}

/// What this walk says about the server; what the gateway knows from before is its own (`GET /v1/mcp/server/health`).
fn health(server: &Server, probe: &Probe) -> Health {
    if server.is_active() {
        Health::of(server, &probe.outcome, false, Circuit::Closed)
    } else {
        Health::Inactive
    }
}

fn to_json(server: &Server, probe: &Probe, remarks: &[String]) -> Value {
    let steps: Vec<Value> = probe
        .steps
        .iter()
        .map(|step| {
            json!({
                "step": step.step.as_str(),
                "ok": step.ok,
                "http_status": step.http_status,
                "session_id": step.session_id,
                "duration_ms": step.duration_ms,
                "detail": step.detail,
            })
        })
        .collect();
    json!({
        "server": server.prefix(),
        "server_id": server.id.as_str(),
        "outcome": trunkline_gateway::outcomes::to_json(&probe.outcome, Some(probe.tools.len()), false),
        "health": health(server, probe).as_str(),
        "protocol_version": probe.protocol_version,
        "steps": steps,
        "stderr": probe.said.stderr,
        "junk_lines": probe.said.junk_lines,
        "program": remarks,
    })
}
