//! Which keys a list is of: LiteLLM's filters of `/key/list`, and of `/key/aliases`.

use std::cmp::Ordering;

use jiff::Timestamp;
use trunkline_auth::Directory;
use trunkline_model::{KeyHash, VirtualKey};

use super::belonging::administered;
use super::error::KeyError;
use super::fields::one_of_words;
use super::lookup;
use crate::actor::Caller;
use crate::body::{Loc, Problems};
use crate::tenant::query::Query;

const SERVED: [&str; 16] = [
    "page",
    "size",
    "user_id",
    "team_id",
    "organization_id",
    "key_hash",
    "key_alias",
    "search",
    "substring_matching",
    "status",
    "expires",
    "include_team_keys",
    "include_created_by_keys",
    "return_full_object",
    "sort_by",
    "sort_order",
];
/// LiteLLM's filters that are not served: passed over, they would show more than was asked for.
const LATER: [&str; 5] = [
    "project_id",
    "access_group_id",
    "agent_id",
    "expand",
    "created_by",
];
const SORTS: [&str; 5] = ["created_at", "updated_at", "expires", "key_alias", "key_name"];
/// Every key is in one of them.
const STATUSES: [&str; 3] = ["active", "expired", "revoked"];

/// What the query asks for.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) page: usize,
    pub(crate) size: usize,
    pub(crate) full: bool,
    user_id: Option<String>,
    team_id: Option<String>,
    organization_id: Option<String>,
    key_hash: Option<KeyHash>,
    /// What was given as a hash is none, so that no key is meant.
    nobody: bool,
    key_alias: Option<String>,
    search: Option<String>,
    /// `search` of a list that has no hashes.
    searched_alias: Option<String>,
    substring: bool,
    status: Option<String>,
    expires: Option<String>,
    team_keys: bool,
    created_by: bool,
    sort_by: String,
    ascending: bool,
}

/// Whose keys are asked for, when it is not everybody's.
pub(crate) struct Whose {
    user_id: String,
    /// A part of the user's id is enough.
    substring: bool,
    /// All keys of these teams, too.
    teams: Vec<String>,
    /// And those that the user has made.
    created_by: bool,
}

impl Wanted {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, KeyError> {
        let query = Query::read(query, &SERVED, &LATER)?;
        let mut problems = Problems::default();
        let text = |name: &str| query.get(name).map(str::to_owned);
        let hash = query.get("key_hash").map(lookup::hash_of);
        let wanted = Self {
            page: number(&query, "page", 1, 1_000_000_000, &mut problems),
            size: number(&query, "size", 10, 100, &mut problems),
            full: flag(&query, "return_full_object", &mut problems),
            user_id: text("user_id"),
            team_id: text("team_id"),
            organization_id: text("organization_id"),
            key_hash: hash.flatten(),
            nobody: hash.is_some_and(|hash| hash.is_none()),
            key_alias: text("key_alias"),
            search: text("search"),
            searched_alias: None,
            substring: flag(&query, "substring_matching", &mut problems),
            status: word(&query, "status", &STATUSES, &mut problems),
            expires: word(&query, "expires", &["active", "expired"], &mut problems),
            team_keys: flag(&query, "include_team_keys", &mut problems),
            created_by: flag(&query, "include_created_by_keys", &mut problems),
            sort_by: word(&query, "sort_by", &SORTS, &mut problems).unwrap_or_default(),
            ascending: word(&query, "sort_order", &["asc", "desc"], &mut problems).as_deref() == Some("asc"),
        };
        problems.into_result()?;
        Ok(wanted)
    }

    /// The same of `/key/aliases`, which asks for less.
    pub(crate) fn read_of_aliases(query: Option<&str>) -> Result<Self, KeyError> {
        let query = Query::read(query, &["page", "size", "search", "team_id"], &[])?;
        let mut problems = Problems::default();
        let wanted = Self {
            page: number(&query, "page", 1, 1_000_000_000, &mut problems),
            size: number(&query, "size", 50, 100, &mut problems),
            team_id: query.get("team_id").map(str::to_owned),
            searched_alias: query.get("search").map(str::to_owned),
            ..Self::default()
        };
        problems.into_result()?;
        Ok(wanted)
    }

    /// Whose keys are asked for; `None`: all that the caller may see. Who may not see all gets its own, or all of one team that
    /// it is an admin of.
    pub(crate) fn whose(&self, caller: &Caller, directory: &Directory) -> Result<Option<Whose>, KeyError> {
        let of = |user_id: String| Whose {
            teams: if self.team_keys {
                administered(&user_id, directory)
            } else {
                Vec::new()
            },
            // LiteLLM leaves parts of ids to administrators: a user's own is exact.
            substring: self.substring && caller.sees_all(),
            created_by: self.created_by,
            user_id,
        };
        if caller.sees_all() {
            return Ok(self.user_id.clone().map(of));
        }
        let own = caller.user().map(|user| user.user_id.clone());
        let team = self.team_id.as_ref().and_then(|id| directory.teams.get(id));
        match &self.user_id {
            Some(_) if self.user_id != own => Err(KeyError::TooMuch(
                "user_id",
                "Only proxy admins may list the keys of others; a user may list its own".to_owned(),
            )),
            None if team.is_some_and(|team| caller.sees_keys_of(team)) => Ok(None),
            _ => Ok(own.map(of)),
        }
    }

    pub(crate) fn means(&self, key: &VirtualKey, directory: &Directory, now: Timestamp) -> bool {
        let same = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        let team = key.team_id.as_ref().and_then(|id| directory.teams.get(id));
        let organization = team.and_then(|team| team.organization_id.as_ref());
        let alias = self.key_alias.as_ref().is_none_or(|wanted| {
            if self.substring {
                has_part(key.key_alias.as_ref(), wanted)
            } else {
                key.key_alias.as_ref() == Some(wanted)
            }
        });
        alias
            && same(&self.team_id, &key.team_id)
            && (self.organization_id.is_none() || self.organization_id.as_ref() == organization)
            && !self.nobody
            && self.key_hash.is_none_or(|hash| hash == key.hash)
            && self
                .status
                .as_deref()
                .is_none_or(|wanted| wanted == status(key, now))
            && (self.expires.as_deref()).is_none_or(|wanted| (wanted == "expired") == key.is_expired(now))
            && (self.search.as_ref()).is_none_or(|part| {
                lookup::hash_of(part) == Some(key.hash) || has_part(key.key_alias.as_ref(), part)
            })
    }

    /// Whether an alias has in it what is looked for.
    pub(crate) fn is_searched(&self, alias: &str) -> bool {
        let part = self.searched_alias.as_ref();
        part.is_none_or(|part| alias.to_lowercase().contains(&part.to_lowercase()))
    }

    /// The hash last, so that pages fit together.
    pub(crate) fn compare(&self, a: &VirtualKey, b: &VirtualKey) -> Ordering {
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

    /// The part of all that is on the page.
    pub(crate) fn cut<T>(&self, rows: Vec<T>) -> impl Iterator<Item = T> {
        let before = (self.page - 1).saturating_mul(self.size);
        rows.into_iter().skip(before).take(self.size)
    }
}

impl Whose {
    /// Whether a key is one of theirs.
    pub(crate) fn has(&self, key: &VirtualKey, directory: &Directory) -> bool {
        let is_users = if self.substring {
            has_part(key.user_id.as_ref(), &self.user_id)
        } else {
            key.user_id.as_ref() == Some(&self.user_id)
        };
        let is_teams = || key.team_id.as_ref().is_some_and(|id| self.teams.contains(id));
        // Stamps name the key that was used, while there is one.
        let maker = || {
            let hash = KeyHash::from_hex(key.stamps.created_by.as_deref()?)?;
            directory.keys.get(&hash)?.user_id.clone()
        };
        is_users || is_teams() || (self.created_by && maker().as_ref() == Some(&self.user_id))
    }
}

/// In which of [`STATUSES`] a key is. What cannot be read is refused, as what is blocked.
fn status(key: &VirtualKey, now: Timestamp) -> &'static str {
    if key.blocked || key.defect.is_some() {
        "revoked"
    } else if key.is_expired(now) {
        "expired"
    } else {
        "active"
    }
}

/// Whether a text has another in it, ignoring case.
pub(crate) fn has_part(text: Option<&String>, part: &str) -> bool {
    text.is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
}

fn number(query: &Query, name: &str, usual: usize, most: usize, problems: &mut Problems) -> usize {
    let Some(text) = query.get(name) else { return usual };
    let number = text.parse::<usize>().ok();
    number
        .filter(|number| (1..=most).contains(number))
        .unwrap_or_else(|| {
            let text = format!("Input should be a number from 1 to {most}");
            problems.add("less_than_equal", &[Loc::from("query"), Loc::from(name)], text);
            usual
        })
}

fn flag(query: &Query, name: &str, problems: &mut Problems) -> bool {
    match query.get(name) {
        Some("true" | "True" | "1") => true,
        Some("false" | "False" | "0") | None => false,
        Some(_) => {
            let at = [Loc::from("query"), Loc::from(name)];
            problems.add("bool_parsing", &at, "Input should be a valid boolean");
            false
        }
    }
}

fn word(query: &Query, name: &str, words: &[&str], problems: &mut Problems) -> Option<String> {
    match one_of_words(words, query.get(name)?) {
        Ok(word) => Some(word.to_owned()),
        Err(text) => {
            problems.add("enum", &[Loc::from("query"), Loc::from(name)], text);
            None
        }
    }
}
