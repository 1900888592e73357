//! `POST /v1/mcp/server/import`: registers the servers of another client's or gateway's file.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use trunkline_model::{Approval, Server, Snapshot};
use trunkline_store::WriteError;
use utoipa::ToSchema;

use super::create;
use crate::App;
use crate::actor::Admin;
use crate::body::{JsonObject, Loc, Problems};
use crate::error::ApiError;
use crate::foreign::{self, Reading, Translated};
use crate::openapi::ServerImport;
use crate::programs::MayRun;
use crate::request;

/// What became of every server of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportAnswer {
    /// Whether nothing was stored, because `dry_run` was asked for.
    dry_run: bool,
    /// Registered.
    imported: Vec<Imported>,
    /// Left out on purpose.
    skipped: Vec<Skipped>,
    /// Refused.
    errors: Vec<Refused>,
}

/// A server that is registered now, or would be.
#[derive(Serialize, ToSchema)]
pub(crate) struct Imported {
    /// As the request had it.
    name: String,
    /// Null in a preview, unless the request chose it.
    server_id: Option<String>,
    /// The prefix of its tools.
    alias: String,
    /// `http`, `sse` or `stdio`.
    transport: &'static str,
    /// How the gateway proves itself to it, from what its headers held.
    auth_type: Option<&'static str>,
    /// What was left out, and what to know about the declaration.
    warnings: Vec<String>,
}

/// A server that was left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct Skipped {
    /// As the request had it.
    name: String,
    /// Why.
    reason: String,
}

/// A server that was refused; nothing of it is stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refused {
    /// As the request had it.
    name: String,
    /// Why, and what to do.
    error: String,
    /// The status that `POST /v1/mcp/server` would have answered with.
    status: u16,
}

/// Import MCP servers from a client's file
///
/// The body is what Claude, Cursor, Windsurf (`mcpServers`), VS Code (`servers`), Zed (`context_servers`), LiteLLM, Codex or
/// Anthropic's API (`mcp_servers`) have. Each server is registered whole or not at all, in the order of the body, under the
/// rules of `POST /v1/mcp/server`. Headers that carry a credential become `auth_type` and `credentials`.
#[utoipa::path(
    post,
    path = "/v1/mcp/server/import",
    tag = "MCP servers",
    params(("dry_run" = Option<bool>, Query, description = "Say what would happen, and store nothing.")),
    request_body = ServerImport,
    responses(
        (status = 200, description = "What became of each. Some may be refused.", body = ImportAnswer),
        (status = 400, description = "Too many servers.", body = crate::error::ErrorBody),
        (status = 422, description = "No servers in any of these shapes, no JSON.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn import(
    admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    JsonObject(body): JsonObject,
) -> Result<Json<ImportAnswer>, ApiError> {
    let dry_run = dry_run(query.as_deref().unwrap_or_default())?;
    let may_run = MayRun::of(&admin, &app);
    let mut answer = ImportAnswer {
        dry_run,
        imported: Vec::new(),
        skipped: Vec::new(),
        errors: Vec::new(),
    };
    // Names that this preview has given away: nothing is stored that the next one could clash with.
    let mut given = HashSet::new();
    for foreign::Entry { name, reading } in foreign::entries(&body, may_run)? {
        let translated = match reading {
            Reading::Server(translated) => translated,
            Reading::Off(why) => {
                let reason = why.to_owned();
                answer.skipped.push(Skipped { name, reason });
                continue;
            }
            Reading::Forbidden(error) => {
                answer.errors.push(refused(name, error));
                continue;
            }
            Reading::Unclear(error) => {
                let status = 422;
                answer.errors.push(Refused { name, error, status });
                continue;
            }
        };
        let imported = if dry_run {
            preview(translated, &mut given, &admin, &app)
        } else {
            register(translated, &admin, &app).await
        };
        match imported {
            Ok(imported) => answer.imported.push(Imported { name, ..imported }),
            Err(ApiError::Write(error @ (WriteError::NameTaken { .. } | WriteError::DuplicateId { .. }))) => {
                let (_, reason) = ApiError::from(error).words();
                answer.skipped.push(Skipped { name, reason });
            }
            Err(error) => answer.errors.push(refused(name, error)),
        }
    }
    if !dry_run {
        tracing::info!(
            actor = admin.id(),
            path = admin.path(),
            imported = answer.imported.len(),
            skipped = answer.skipped.len(),
            errors = answer.errors.len(),
            "servers imported"
        );
    }
    Ok(Json(answer))
}

fn refused(name: String, error: ApiError) -> Refused {
    let (status, error) = error.words();
    let status = status.as_u16();
    Refused { name, error, status }
}

fn dry_run(query: &str) -> Result<bool, ApiError> {
    let mut problems = Problems::default();
    let mut dry_run = false;
    for (_, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "dry_run") {
        match value.as_ref() {
            "true" | "1" | "" => dry_run = true,
            "false" | "0" => dry_run = false,
            // Not guessed: the other meaning would store what was to be looked at.
            _ => problems.add(
                "bool_parsing",
                &[Loc::from("query"), Loc::from("dry_run")],
                "Input should be a valid boolean",
            ),
        }
    }
    problems.into_result().map(|()| dry_run)
}

/// What would happen.
fn preview(
    translated: Translated,
    given: &mut HashSet<String>,
    admin: &Admin,
    app: &App,
) -> Result<Imported, ApiError> {
    let declared = request::new_server(&translated.body, MayRun::of(admin, app))?;
    let snapshot = app.registry.snapshot();
    let definition = &declared.definition;
    let id = declared.id.as_ref().map(|id| id.as_str().to_owned());
    if let Some(id) = &declared.id
        && snapshot.get(id).is_some()
    {
        return Err(WriteError::DuplicateId { id: id.clone() }.into());
    }
    let names = [&id, &definition.alias, &definition.server_name];
    for name in names.into_iter().flatten() {
        if let Some(owner) = owner(name, &snapshot) {
            let (name, by) = (name.clone(), owner.id.clone());
            return Err(WriteError::NameTaken { name, by }.into());
        }
    }
    let keys: HashSet<String> = names
        .into_iter()
        .flatten()
        .map(|name| name.replace(char::is_whitespace, "_").to_lowercase())
        .collect();
    if let Some(key) = keys.iter().find(|key| given.contains(*key)) {
        return Err(ApiError::BadRequest(format!(
            "the name {key:?} is in the request twice: the first one has it"
        )));
    }
    given.extend(keys);
    let alias = definition
        .alias
        .clone()
        .or_else(|| definition.server_name.clone());
    Ok(Imported {
        name: String::new(),
        alias: alias
            .or_else(|| id.clone())
            .unwrap_or_default()
            .replace(char::is_whitespace, "_"),
        server_id: id,
        transport: definition.transport.as_str(),
        auth_type: definition.auth_type.map(trunkline_model::AuthType::as_str),
        warnings: translated
            .warnings
            .into_iter()
            .chain(declared.warnings.iter().cloned())
            .collect(),
    })
}

fn owner<'a>(name: &str, snapshot: &'a Snapshot) -> Option<&'a Arc<Server>> {
    snapshot
        .find(name)
        .or_else(|| snapshot.find(&name.replace(char::is_whitespace, "_")))
}

async fn register(translated: Translated, admin: &Admin, app: &App) -> Result<Imported, ApiError> {
    let declared = request::new_server(&translated.body, MayRun::of(admin, app))?;
    let (server, warnings) = create::insert(
        declared,
        |_, _| Ok(Approval::default()),
        (admin.id(), admin.actor()),
        app,
    )
    .await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %server.id, "server registered");
    Ok(Imported {
        name: String::new(),
        server_id: Some(server.id.as_str().to_owned()),
        alias: server.prefix(),
        transport: server.definition.transport.as_str(),
        auth_type: server.definition.auth_type.map(trunkline_model::AuthType::as_str),
        warnings: translated.warnings.into_iter().chain(warnings).collect(),
    })
}
