//! `GET /key/list`: pages of keys, newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_model::VirtualKey;

use super::error::KeyError;
use super::row;
use super::schema::KeyList;
use super::wanted::Wanted;
use crate::App;
use crate::actor::Viewer;

/// List the virtual keys
///
/// Their hashes, or with `return_full_object` their rows.
#[utoipa::path(
    get,
    path = "/key/list",
    tag = "Keys",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("size" = Option<u32>, Query, description = "Keys on a page, 100 at most; 10 unless said."),
        ("user_id" = Option<String>, Query, description = "Only this user's."),
        ("team_id" = Option<String>, Query, description = "Only this team's."),
        ("include_team_keys" = Option<bool>, Query, description = "With `user_id`, or of a user itself: those of the teams that the user is an admin of, too."),
        ("key_hash" = Option<String>, Query, description = "Only this one."),
        ("organization_id" = Option<String>, Query, description = "Only those of this organisation's teams."),
        ("key_alias" = Option<String>, Query, description = "Only the one with this alias."),
        ("search" = Option<String>, Query, description = "Only the one with this hash, and those whose alias has this in it, ignoring case."),
        ("substring_matching" = Option<bool>, Query, description = "A part of `key_alias` is enough, and to administrators of `user_id`."),
        ("status" = Option<String>, Query, description = "`active`, `expired` or `revoked` (blocked). What is deleted is not kept."),
        ("expires" = Option<String>, Query, description = "`active` or `expired`."),
        ("include_created_by_keys" = Option<bool>, Query, description = "With `user_id`, or of a user itself: those that it has made, too."),
        ("return_full_object" = Option<bool>, Query, description = "Rows rather than hashes."),
        ("sort_by" = Option<String>, Query, description = "`created_at` (unless said), `updated_at`, `expires`, `key_alias` or `key_name`."),
        ("sort_order" = Option<String>, Query, description = "`desc` (unless said) or `asc`."),
    ),
    responses(
        (status = 200, description = "A page.", body = KeyList),
        (status = 422, description = "A parameter that is unknown or not supported.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn list(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let wanted = Wanted::read(query.as_deref())?;
    let directory = app.directory();
    let whose = wanted.whose(&caller, &directory)?;
    let now = app.now();
    let is_theirs = |key: &VirtualKey| whose.as_ref().is_none_or(|whose| whose.has(key, &directory));
    let mut keys: Vec<&Arc<VirtualKey>> = directory
        .keys
        .values()
        .filter(|key| {
            wanted.means(key, &directory, now) && is_theirs(key) && caller.sees_key(key, &directory)
        })
        .collect();
    keys.sort_by(|a, b| wanted.compare(a, b));
    let total = keys.len();
    let show = |key: &Arc<VirtualKey>| {
        if wanted.full {
            row::row(key, &directory).into()
        } else {
            (&*key.id).into()
        }
    };
    let page: Vec<Value> = wanted.cut(keys).map(show).collect();
    Ok(Json(json!({
        "keys": page,
        "total_count": total,
        "current_page": wanted.page,
        "total_pages": total.div_ceil(wanted.size),
    })))
}
