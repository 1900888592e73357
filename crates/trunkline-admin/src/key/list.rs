//! `GET /key/list`: pages of keys, newest first.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_auth::Directory;
use trunkline_model::{KeyHash, VirtualKey};

use super::belonging::administered;
use super::error::KeyError;
use super::fields::one_of_words;
use super::schema::KeyList;
use super::{lookup, row};
use crate::App;
use crate::actor::{Caller, Viewer};
use crate::body::{Loc, Problems};

/// LiteLLM's filters that are not served: passed over, they would show more than was asked for.
const LATER: [&str; 11] = [
    "organization_id",
    "project_id",
    "access_group_id",
    "agent_id",
    "search",
    "substring_matching",
    "status",
    "expires",
    "expand",
    "include_created_by_keys",
    "created_by",
];

/// What the query asks for.
struct Wanted {
    page: usize,
    size: usize,
    user_id: Option<String>,
    team_id: Option<String>,
    key_hash: Option<KeyHash>,
    /// What was given as a hash is none, so that no key is meant.
    nobody: bool,
    key_alias: Option<String>,
    team_keys: bool,
    full: bool,
    sort_by: String,
    ascending: bool,
}

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
        ("key_alias" = Option<String>, Query, description = "Only the one with this alias."),
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
    let wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
    let directory = app.directory();
    let whose = wanted.whose(&caller, &directory)?;
    let teams = match &whose {
        Some(user_id) if wanted.team_keys => administered(user_id, &directory),
        _ => Vec::new(),
    };
    let is_theirs = |key: &VirtualKey| {
        let is_teams = || key.team_id.as_ref().is_some_and(|id| teams.contains(id));
        whose.is_none() || key.user_id == whose || is_teams()
    };
    let mut keys: Vec<&Arc<VirtualKey>> = directory
        .keys
        .values()
        .filter(|key| wanted.means(key) && is_theirs(key) && caller.sees_key(key, &directory))
        .collect();
    keys.sort_by(|a, b| wanted.compare(a, b));
    let total = keys.len();
    let now = app.now();
    let page: Vec<Value> = keys
        .into_iter()
        .skip((wanted.page - 1).saturating_mul(wanted.size))
        .take(wanted.size)
        .map(|key| {
            if wanted.full {
                row::row(key, now).into()
            } else {
                (&*key.id).into()
            }
        })
        .collect();
    Ok(Json(json!({
        "keys": page,
        "total_count": total,
        "current_page": wanted.page,
        "total_pages": total.div_ceil(wanted.size),
    })))
}

impl Wanted {
    fn read(query: &str) -> Result<Self, KeyError> {
        let mut wanted = Self {
            page: 1,
            size: 10,
            user_id: None,
            team_id: None,
            key_hash: None,
            nobody: false,
            key_alias: None,
            team_keys: false,
            full: false,
            sort_by: "created_at".to_owned(),
            ascending: false,
        };
        let mut problems = Problems::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let at = [Loc::from("query"), Loc::from(name.as_ref())];
            let mut problem = |kind, text: String| problems.add(kind, &at, text);
            let number = |most: usize| {
                let number = value.parse::<usize>().ok();
                number.filter(|number| (1..=most).contains(number))
            };
            match name.as_ref() {
                "page" | "size" => {
                    let most = if name == "size" { 100 } else { 1_000_000_000 };
                    match number(most) {
                        Some(number) if name == "size" => wanted.size = number,
                        Some(number) => wanted.page = number,
                        None => problem(
                            "less_than_equal",
                            format!("Input should be a number from 1 to {most}"),
                        ),
                    }
                }
                "return_full_object" | "include_team_keys" => {
                    let flag = match value.as_ref() {
                        "true" | "True" | "1" => true,
                        "false" | "False" | "0" | "" => false,
                        _ => {
                            problem("bool_parsing", "Input should be a valid boolean".to_owned());
                            continue;
                        }
                    };
                    if name == "include_team_keys" {
                        wanted.team_keys = flag;
                    } else {
                        wanted.full = flag;
                    }
                }
                "sort_by" => match one_of_words(&SORTS, &value) {
                    Ok(word) => word.clone_into(&mut wanted.sort_by),
                    Err(text) => problem("enum", text),
                },
                "sort_order" => match one_of_words(&["asc", "desc"], &value) {
                    Ok(word) => wanted.ascending = word == "asc",
                    Err(text) => problem("enum", text),
                },
                "user_id" | "team_id" | "key_hash" | "key_alias" if value.is_empty() => {}
                "user_id" => wanted.user_id = Some(value.into_owned()),
                "team_id" => wanted.team_id = Some(value.into_owned()),
                "key_hash" => {
                    wanted.key_hash = lookup::hash_of(&value);
                    wanted.nobody = wanted.key_hash.is_none();
                }
                "key_alias" => wanted.key_alias = Some(value.into_owned()),
                later if LATER.contains(&later) => {
                    if !matches!(value.as_ref(), "" | "false" | "False") {
                        problem(
                            "not_supported",
                            "this parameter is not supported yet: leave it out".to_owned(),
                        );
                    }
                }
                _ => problem(
                    "extra_forbidden",
                    "Extra inputs are not permitted; no such parameter".to_owned(),
                ),
            }
        }
        problems.into_result()?;
        Ok(wanted)
    }

    /// Whose keys are asked for: a user's, with `include_team_keys` those of the teams that it is an admin of, too; `None`: all that
    /// the caller may see. Who may not see all gets its own, or all of one team that it is an admin of.
    fn whose(&self, caller: &Caller, directory: &Directory) -> Result<Option<String>, KeyError> {
        if caller.sees_all() {
            return Ok(self.user_id.clone());
        }
        let own = caller.user().map(|user| user.user_id.clone());
        let team = self.team_id.as_ref().and_then(|id| directory.teams.get(id));
        match &self.user_id {
            Some(_) if self.user_id != own => Err(KeyError::TooMuch(
                "user_id",
                "Only proxy admins may list the keys of others; a user may list its own".to_owned(),
            )),
            None if team.is_some_and(|team| caller.sees_keys_of(team)) => Ok(None),
            _ => Ok(own),
        }
    }

    fn means(&self, key: &VirtualKey) -> bool {
        let same = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        same(&self.team_id, &key.team_id)
            && same(&self.key_alias, &key.key_alias)
            && !self.nobody
            && self.key_hash.is_none_or(|hash| hash == key.hash)
    }

    /// The hash last, so that pages fit together.
    fn compare(&self, a: &VirtualKey, b: &VirtualKey) -> Ordering {
        let order = match self.sort_by.as_str() {
            "updated_at" => a.stamps.updated_at.cmp(&b.stamps.updated_at),
            "expires" => a.expires.cmp(&b.expires),
            "key_alias" => a.key_alias.cmp(&b.key_alias),
            "key_name" => a.key_name.cmp(&b.key_name),
            _ => a.stamps.created_at.cmp(&b.stamps.created_at),
        };
        let order = if self.ascending { order } else { order.reverse() };
        order.then_with(|| a.hash.cmp(&b.hash))
    }
}

const SORTS: [&str; 5] = ["created_at", "updated_at", "expires", "key_alias", "key_name"];
