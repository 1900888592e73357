//! Who sees what was spent.

use jiff::Timestamp;
use trunkline_auth::Directory;

use crate::actor::Caller;
use crate::audit::list::moment;
use crate::body::{Loc, Problems};
use crate::key::error::KeyError;
use crate::key::lookup;
use crate::tenant::query::Query;

/// What somebody may see: what has all of these.
#[derive(Default)]
pub(crate) struct Visible {
    pub(crate) api_key: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) team_id: Option<String>,
}

impl Visible {
    /// What a caller may see of what it asks for. Asking for another one's is refused, so that nobody takes nothing for nothing spent.
    pub(crate) fn of(caller: &Caller, query: &Query, directory: &Directory) -> Result<Self, KeyError> {
        let asked = Self {
            api_key: query.get("api_key").map(key_of),
            user_id: query.get("user_id").map(str::to_owned),
            team_id: query.get("team_id").map(str::to_owned),
        };
        if caller.sees_all() {
            return Ok(asked);
        }
        let team = asked.team_id.as_ref().and_then(|id| directory.teams.get(id));
        if team.is_some_and(|team| caller.sees_keys_of(team)) {
            return Ok(asked);
        }
        // A key of a team acts in the team alone, and shows none of its user's others.
        if let (Some(team), Some(key)) = (caller.principal.team_id(), caller.principal.key()) {
            let same = |asked: &Option<String>, own: &str| asked.as_deref().is_none_or(|asked| asked == own);
            let is_own = same(&asked.team_id, team) && same(&asked.api_key, &key.id);
            if !is_own || asked.user_id.is_some() && asked.user_id != key.user_id {
                return Err(not_own("api_key"));
            }
            return Ok(Self {
                api_key: Some(key.id.to_string()),
                ..Self::default()
            });
        }
        let Some(user) = caller.user() else {
            return Err(not_own("user_id"));
        };
        if asked.user_id.as_ref().is_some_and(|id| *id != user.user_id) {
            return Err(not_own("user_id"));
        }
        Ok(Self {
            user_id: Some(user.user_id.clone()),
            ..asked
        })
    }
}

fn not_own(field: &'static str) -> KeyError {
    let text = "Only proxy admins may see what others spent; a user sees its own, and who manages a team all of the team";
    KeyError::TooMuch(field, text.to_owned())
}

/// A key by its hash, or itself, of which the hash is taken. The master key has a word.
pub(crate) fn key_of(given: &str) -> String {
    lookup::hash_of(given).map_or_else(|| given.to_owned(), trunkline_model::KeyHash::to_hex)
}

/// The time in a parameter.
pub(crate) fn time(query: &Query, name: &str, is_end: bool) -> Result<Option<Timestamp>, KeyError> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let at = moment(text, is_end);
    if at.is_none() {
        let mut problems = Problems::default();
        let text = "Input should be a date such as 2026-01-31, or a time such as 2026-01-31 12:00:00 (UTC)";
        problems.add("value_error", &[Loc::from("query"), Loc::from(name)], text);
        problems.into_result()?;
    }
    Ok(at)
}
