//! `GET /key/aliases`: the names of keys alone, by pages.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};

use super::error::KeyError;
use super::schema::KeyAliases;
use super::wanted::Wanted;
use crate::App;
use crate::actor::Viewer;

/// List the aliases of virtual keys
///
/// Of the keys that the caller may see, in their order.
#[utoipa::path(
    get,
    path = "/key/aliases",
    tag = "Keys",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("size" = Option<u32>, Query, description = "Aliases on a page, 100 at most; 50 unless said."),
        ("search" = Option<String>, Query, description = "Only those that have this in them, ignoring case."),
        ("team_id" = Option<String>, Query, description = "Only those of this team's keys."),
    ),
    responses(
        (status = 200, description = "A page.", body = KeyAliases),
        (status = 422, description = "A parameter that is unknown.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn aliases(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let wanted = Wanted::read_of_aliases(query.as_deref())?;
    let (directory, now) = (app.directory(), app.now());
    let mut aliases: Vec<&str> = directory
        .keys
        .values()
        .filter(|key| wanted.means(key, &directory, now) && caller.sees_key(key, &directory))
        .filter_map(|key| key.key_alias.as_deref())
        .filter(|alias| wanted.is_searched(alias))
        .collect();
    aliases.sort_unstable();
    let total = aliases.len();
    Ok(Json(json!({
        "aliases": wanted.cut(aliases).collect::<Vec<_>>(),
        "total_count": total,
        "current_page": wanted.page,
        "total_pages": total.div_ceil(wanted.size),
        "size": wanted.size,
    })))
}
