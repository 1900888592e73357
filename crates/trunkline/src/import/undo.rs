//! `trunkline import undo`: takes back what the last import made, and nothing that somebody changed since.

use std::path::Path;
use std::process::ExitCode;

use http::Method;
use serde_json::Value;
use trunkline_client::{ClientError, Gateway};

use super::UndoArguments;
use super::journal::Journal;
use crate::failure::{Code, Failure};
use crate::files;
use crate::output;
use crate::terminal;

/// Takes back.
pub(super) async fn run(arguments: &UndoArguments) -> Result<ExitCode, Failure> {
    let mut journal = Journal::last(&super::state_dir(&arguments.gateway)?)?;
    let gateway = arguments.gateway.gateway()?;
    for server in &journal.servers {
        output::line(&format!(
            "delete {} from {}",
            super::api::text(&server["name"]),
            gateway.url()
        ));
    }
    if let Some(file) = &journal.file {
        output::line(&format!("put {} back as it was", super::api::text(&file["file"])));
    }
    if journal.gateway != gateway.url() {
        output::warning(&format!("the import was into {}", journal.gateway));
    }
    terminal::confirm("Do this?", arguments.yes)?;
    let mut kept = Vec::new();
    for server in std::mem::take(&mut journal.servers) {
        match take_back(&gateway, &server, arguments.force).await {
            Ok(said) => output::line(&said),
            Err(why) => {
                output::warning(&why);
                kept.push(server);
            }
        }
    }
    journal.servers = kept;
    if let Some(file) = journal.file.take()
        && let Err(why) = put_back(&file, arguments.force)
    {
        output::warning(&why);
        journal.file = Some(file);
    }
    // What could not be taken back can be tried again.
    journal.save()?;
    Ok(if journal.is_empty() {
        ExitCode::SUCCESS
    } else {
        Code::Failed.into()
    })
}

/// A registered server.
pub(super) async fn row(gateway: &Gateway, id: &str) -> Result<Value, ClientError> {
    gateway.json(Method::GET, &path(id), None).await
}

fn path(id: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/v1/mcp/server/{}", id.replace('+', "%20"))
}

async fn take_back(gateway: &Gateway, server: &Value, force: bool) -> Result<String, String> {
    let name = super::api::text(&server["name"]);
    let id = server["server_id"].as_str().unwrap_or_default();
    let gone = |error: &ClientError| {
        error
            .status()
            .is_some_and(|status| status == http::StatusCode::NOT_FOUND)
    };
    let found = match row(gateway, id).await {
        Ok(found) => found,
        Err(error) if gone(&error) => return Ok(format!("{name} was deleted before")),
        Err(error) => return Err(format!("{name}: {error}")),
    };
    let then = &server["updated_at"];
    if !force && !then.is_null() && found["updated_at"] != *then {
        return Err(format!(
            "{name} was changed since and is kept: --force deletes it"
        ));
    }
    match gateway.json(Method::DELETE, &path(id), None).await {
        Ok(_) => Ok(format!("{name} is deleted")),
        Err(error) if gone(&error) => Ok(format!("{name} was deleted before")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// The file as it was, if it is still as the import left it.
fn put_back(file: &Value, force: bool) -> Result<(), String> {
    let path = Path::new(file["file"].as_str().unwrap_or_default());
    let text = files::read(path).map_err(|failure| failure.to_string())?;
    let Some(text) = text else { return Ok(()) };
    if !force && file["digest"] != files::digest(&text).as_str() {
        return Err(format!(
            "{} was changed since and is kept as it is: --force puts it back",
            path.display()
        ));
    }
    match file["backup"].as_str().map(Path::new) {
        // There was no file before.
        None => std::fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display())),
        Some(backup) => {
            let before = files::read(backup).map_err(|failure| failure.to_string())?;
            let before = before.ok_or_else(|| format!("{} is gone", backup.display()))?;
            files::write(path, &before).map_err(|failure| failure.to_string())
        }
    }
}
