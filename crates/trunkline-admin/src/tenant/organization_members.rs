//! `/organization/member_add`, `member_update`, `member_delete`. Who is in an organisation is written down; what a key may use
//! depends on its team's organisation alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_auth::Directory;
use trunkline_model::{Organization, OrganizationMember, UserRole};

use super::fields::{self, Named};
use super::organization::{edited, updated};
use super::schema::{
    Answer, Failures, OrganizationMemberChange, OrganizationMemberNamed, OrganizationMembersNew,
};
use super::team_members::user_of;
use super::{row, user};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::key::error::KeyError;
use crate::key::fields::refuse_others;

/// What a member may be: nobody administers an organisation yet, and an administrator of everything is one by its own role.
const ROLES: [&str; 2] = ["internal_user", "internal_user_viewer"];

/// Add members to an organisation
///
/// Each by `user_id` or by `user_email`, and all of them have to be there.
#[utoipa::path(
    post, path = "/organization/member_add", tag = "Organizations", request_body = OrganizationMembersNew,
    responses((status = 200, description = "`organization_id`, `updated_users`, `updated_organization_memberships`.", body = Answer), Failures),
)]
pub(crate) async fn member_add(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    crate::key::fields::refuse_later(&mut body, &["max_budget_in_organization"])?;
    refuse_others(&body, &["organization_id", "member"])?;
    let id = fields::required(&body, "organization_id")?;
    let members = fields::members(&body, "member", &ROLES)?.ok_or_else(|| fields::missing("member"))?;
    let mut added = Vec::new();
    let edit = |organization: &mut Organization, directory: &Directory| {
        for named in &members {
            let user_id = known(named, directory)?;
            if organization.members.iter().any(|own| own.user_id == user_id) {
                let text = format!("User already in organization. Member: user_id={user_id}");
                return Err(KeyError::Bad("member", text));
            }
            organization.members.push(OrganizationMember {
                user_id: user_id.clone(),
                user_role: role(named),
            });
            added.push(user_id);
        }
        Ok(())
    };
    let organization = edited(&id, edit, &admin, &app).await?;
    Ok(Json(updated(&organization, &added, &app)))
}

/// Change what a member of an organisation is
#[utoipa::path(
    patch, path = "/organization/member_update", tag = "Organizations", request_body = OrganizationMemberChange,
    responses((status = 200, description = "The membership as it is now.", body = Answer), Failures),
)]
pub(crate) async fn member_update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    crate::key::fields::refuse_later(&mut body, &["max_budget_in_organization"])?;
    let (id, named) = named(&body, &["organization_id", "user_id", "user_email", "role"])?;
    if named.role.is_none() {
        return Err(fields::missing("role"));
    }
    let mut user_id = String::new();
    let edit = |organization: &mut Organization, directory: &Directory| {
        user_id = known(&named, directory)?;
        let at = position(organization, &user_id)?;
        if let Some(member) = organization.members.get_mut(at) {
            member.user_role = role(&named);
        }
        Ok(())
    };
    edited(&id, edit, &admin, &app).await?;
    Ok(Json(row::organization_membership(
        &id,
        &user_id,
        role(&named).as_str(),
    )))
}

/// Remove a member from an organisation
#[utoipa::path(
    delete, path = "/organization/member_delete", tag = "Organizations", request_body = OrganizationMemberNamed,
    responses((status = 200, description = "The membership as it was.", body = Answer), Failures),
)]
pub(crate) async fn member_delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let (id, named) = named(&body, &["organization_id", "user_id", "user_email"])?;
    let mut removed = None;
    let edit = |organization: &mut Organization, directory: &Directory| {
        let user_id = known(&named, directory)?;
        let at = position(organization, &user_id)?;
        removed = Some(organization.members.remove(at));
        Ok(())
    };
    edited(&id, edit, &admin, &app).await?;
    let shown = removed.map(|own| row::organization_membership(&id, &own.user_id, own.user_role.as_str()));
    Ok(Json(shown.ok_or(KeyError::NotFound)?))
}

fn role(named: &Named) -> UserRole {
    let role = named.role.as_deref().and_then(UserRole::parse);
    role.unwrap_or(UserRole::InternalUser)
}

fn known(named: &Named, directory: &Directory) -> Result<String, KeyError> {
    let known = user_of(named, directory.users.values().map(|user| &**user))?;
    known.ok_or_else(|| match (&named.user_id, &named.user_email) {
        (Some(id), _) => user::nobody(id),
        (None, email) => KeyError::Nobody("User", "user_email", email.clone().unwrap_or_default()),
    })
}

fn position(organization: &Organization, user_id: &str) -> Result<usize, KeyError> {
    let at = organization.members.iter().position(|own| own.user_id == user_id);
    at.ok_or_else(|| {
        let text = "User is not a member of the organization".to_owned();
        KeyError::Bad("user_id", text)
    })
}

fn named(body: &Map<String, Value>, own: &[&str]) -> Result<(String, Named), KeyError> {
    refuse_others(body, own)?;
    let id = fields::required(body, "organization_id")?;
    let member: Map<String, Value> = body
        .iter()
        .filter(|(name, _)| *name != "organization_id")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let member: Map<String, Value> = [("member".to_owned(), Value::Object(member))]
        .into_iter()
        .collect();
    let members = fields::members(&member, "member", &ROLES)?.unwrap_or_default();
    let named = members
        .into_iter()
        .next()
        .ok_or_else(|| fields::missing("user_id"))?;
    Ok((id, named))
}
