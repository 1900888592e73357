//! `/organization/new`, `update`, `delete`, `info`, `list`: for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_auth::Directory;
use trunkline_model::Organization;
use trunkline_store::DirectoryWrite;

use super::fields::{self, Change, ORGANIZATION};
use super::query::Query;
use super::schema::{
    Failures, NewOrganization, OrganizationChange, OrganizationRow, OrganizationsAsked, OrganizationsNamed,
};
use super::{new_stamps, readable, row, team, touch};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::budget;
use crate::key::error::KeyError;
use crate::key::fields::{names, refuse_others};

/// Make an organisation
///
/// The keys of its teams may use what its `object_permission` has at most.
#[utoipa::path(
    post, path = "/organization/new", tag = "Organizations", request_body = NewOrganization,
    responses((status = 200, description = "The organisation.", body = OrganizationRow), Failures),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&ORGANIZATION, &body, &["organization_id"], app.now())?;
    fields::required(&body, "organization_alias")?;
    let organization_id = fields::text(&body, "organization_id")?.unwrap_or_else(|| (app.new_id)());
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let plan = |directory: &Directory| {
        if directory.organizations.contains_key(&organization_id) {
            let text =
                format!("Organization id = {organization_id} already exists. Please use a different one.");
            return Err(KeyError::Bad("organization_id", text));
        }
        budget::check(change.text("budget_id"), directory)?;
        let mut organization = Organization {
            organization_id,
            stamps: new_stamps(now, by),
            ..Organization::default()
        };
        apply(change, &mut organization, new_id);
        let write = DirectoryWrite::PutOrganization(organization.clone());
        Ok((vec![write], organization))
    };
    let organization = app.change(admin.actor(), plan).await?;
    let organization_id = &organization.organization_id;
    tracing::info!(
        actor = by,
        path = admin.path(),
        organization_id,
        "organisation made"
    );
    Ok(Json(shown(&organization, &app)))
}

/// Change an organisation
///
/// What the body does not name stays as it is, also of the members of `object_permission`.
#[utoipa::path(
    patch, path = "/organization/update", tag = "Organizations", request_body = OrganizationChange,
    responses((status = 200, description = "The organisation as it is now.", body = OrganizationRow), Failures),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&ORGANIZATION, &body, &["organization_id"], app.now())?;
    let organization_id = fields::required(&body, "organization_id")?;
    let new_id = (app.new_id)();
    let edit = |organization: &mut Organization, directory: &Directory| {
        budget::check(change.text("budget_id"), directory)?;
        apply(change, organization, new_id);
        Ok(())
    };
    let organization = edited(&organization_id, edit, &admin, &app).await?;
    Ok(Json(shown(&organization, &app)))
}

/// Changes an organisation that is there and can be read.
pub(super) async fn edited(
    id: &str,
    edit: impl FnOnce(&mut Organization, &Directory) -> Result<(), KeyError>,
    admin: &Admin,
    app: &App,
) -> Result<Organization, KeyError> {
    let (now, by) = (app.now(), admin.id());
    let plan = |directory: &Directory| {
        let stored = directory.organizations.get(id).ok_or_else(|| nobody(id))?;
        readable("organization_id", stored.defect.as_ref())?;
        let mut organization = Organization::clone(stored);
        edit(&mut organization, directory)?;
        touch(&mut organization.stamps, now, by);
        let write = DirectoryWrite::PutOrganization(organization.clone());
        Ok((vec![write], organization))
    };
    let organization = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        organization_id = id,
        "organisation changed"
    );
    Ok(organization)
}

/// Delete organisations
///
/// Their teams are deleted with them, and these teams' keys. 404, and nothing is deleted, if there is one that is not there.
#[utoipa::path(
    delete, path = "/organization/delete", tag = "Organizations", request_body = OrganizationsNamed,
    responses((status = 200, description = "They are gone: as they were.", body = [OrganizationRow]), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["organization_ids"])?;
    let ids = names(&body, "organization_ids")?.ok_or_else(|| fields::missing("organization_ids"))?;
    let shown = app.directory();
    let plan = |directory: &Directory| {
        let shown = shown.of(directory);
        let mut rows = Vec::new();
        for id in &ids {
            let stored = directory.organizations.get(id).ok_or_else(|| nobody(id))?;
            rows.push(Value::from(row::organization(stored, &shown)));
        }
        let teams = directory.teams.values();
        let teams = teams.filter(|team| team.organization_id.as_ref().is_some_and(|own| ids.contains(own)));
        let teams: Vec<String> = teams.map(|team| team.team_id.clone()).collect();
        let (mut writes, keys) = team::deletion(&teams, directory);
        writes.extend(ids.iter().cloned().map(DirectoryWrite::DeleteOrganization));
        Ok((writes, (rows, teams, keys)))
    };
    let (rows, teams, keys) = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        organization_ids = ?ids,
        ?teams,
        ?keys,
        "organisations, their teams and their keys deleted"
    );
    Ok(Json(rows.into()))
}

/// Show an organisation
#[utoipa::path(
    get, path = "/organization/info", tag = "Organizations",
    params(("organization_id" = String, Query, description = "Which organisation.")),
    responses((status = 200, description = "The organisation, with its members and teams.", body = OrganizationRow), Failures),
)]
pub(crate) async fn info(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["organization_id"], &[])?;
    let id = query.required("organization_id")?;
    let directory = app.directory();
    let found = directory.organizations.get(id).ok_or_else(|| nobody(id))?;
    Ok(Json(row::organization(found, &directory).into()))
}

/// Show several organisations
#[utoipa::path(
    post, path = "/organization/info", tag = "Organizations", request_body = OrganizationsAsked,
    responses((status = 200, description = "Those of them that are there.", body = [OrganizationRow]), Failures),
)]
pub(crate) async fn infos(
    _admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["organizations"])?;
    let ids = names(&body, "organizations")?.ok_or_else(|| fields::missing("organizations"))?;
    let directory = app.directory();
    let found = ids.iter().filter_map(|id| directory.organizations.get(id));
    Ok(Json(
        found
            .map(|own| Value::from(row::organization(own, &directory)))
            .collect(),
    ))
}

/// List the organisations
#[utoipa::path(
    get, path = "/organization/list", tag = "Organizations",
    params(
        ("org_id" = Option<String>, Query, description = "Only this one."),
        ("org_alias" = Option<String>, Query, description = "Only those whose name has this in it."),
    ),
    responses((status = 200, description = "The organisations, with their members and teams.", body = [OrganizationRow]), Failures),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["org_id", "org_alias"], &[])?;
    let directory = app.directory();
    let part = query.get("org_alias").map(str::to_lowercase);
    let has_part = |own: &Organization| {
        let alias = own.organization_alias.as_ref().map(|own| own.to_lowercase());
        part.as_ref()
            .is_none_or(|part| alias.is_some_and(|own| own.contains(part)))
    };
    let mut found: Vec<_> = directory
        .organizations
        .values()
        .filter(|own| query.means("org_id", Some(&own.organization_id)) && has_part(own))
        .collect();
    found.sort_by(|a, b| a.organization_id.cmp(&b.organization_id));
    let rows = found
        .into_iter()
        .map(|own| Value::from(row::organization(own, &directory)));
    Ok(Json(rows.collect()))
}

pub(super) fn nobody(id: &str) -> KeyError {
    KeyError::Nobody("Organization", "organization_id", id.to_owned())
}

fn apply(change: Change, organization: &mut Organization, new_id: String) {
    change.set_text("organization_alias", &mut organization.organization_alias);
    change.set_text("budget_id", &mut organization.budget_id);
    change.set_metadata(&mut organization.metadata);
    change.set_permission(&mut organization.object_permission, new_id);
}

fn shown(organization: &Organization, app: &App) -> Value {
    let row = row::organization(organization, &app.directory());
    row::with_warnings(row, &organization.object_permission, &app.registry.snapshot()).into()
}

/// What the answers of the routes about members have.
pub(super) fn updated(organization: &Organization, user_ids: &[String], app: &App) -> Value {
    let directory = app.directory();
    let id = &organization.organization_id;
    let users: Vec<Value> = user_ids
        .iter()
        .filter_map(|own| directory.users.get(own))
        .map(|own| row::user(own, &directory).into())
        .collect();
    let memberships: Vec<Value> = organization
        .members
        .iter()
        .filter(|own| user_ids.contains(&own.user_id))
        .map(|own| row::organization_membership(id, &own.user_id, own.user_role.as_str()))
        .collect();
    json!({"organization_id": id, "updated_users": users, "updated_organization_memberships": memberships})
}
