//! Changes that are tried and not made: grants of anybody, the tool rules of a server.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_auth::ById;
use trunkline_model::{KeyHash, Level, ObjectPermission, ServerId, Snapshot, Toolsets};

use super::dry_run::World;
use super::target::nothing;
use crate::App;
use crate::body::{At, Loc, Problems};
use crate::key::error::KeyError;
use crate::key::fields::texts;
use crate::key::lookup;
use crate::key::permission::PermissionChange;

/// Changes in one request.
const MOST: usize = 100;
/// Whose grants, by the field that names it.
const WHOSE: [(&str, Level); 5] = [
    ("key", Level::Key),
    ("team_id", Level::Team),
    ("user_id", Level::User),
    ("organization_id", Level::Organization),
    ("end_user", Level::EndUser),
];

/// What is tried.
pub(super) struct Proposal {
    edits: Vec<Edit>,
    toolsets: Arc<Toolsets>,
}

enum Edit {
    Grants(Level, String, PermissionChange),
    Server(ServerId, ToolRules),
}

/// What `allowed_tools` says; null is all.
enum Allowed {
    All,
    These(Vec<String>),
}

/// A field that is not there stays as it is.
#[derive(Default)]
struct ToolRules {
    allowed_tools: Option<Allowed>,
    disallowed_tools: Option<Vec<String>>,
}

impl Proposal {
    /// Reads `changes`.
    pub(super) fn read(changes: &Value, app: &App, snapshot: &Snapshot) -> Result<Self, KeyError> {
        let mut problems = Problems::default();
        let mut at = At::field("changes", &mut problems);
        let items = at.list(changes).unwrap_or_default();
        if items.is_empty() || items.len() > MOST {
            at.problem::<()>(
                "too_long",
                format!("Input should be a list of 1 to {MOST} changes"),
            );
        }
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate().take(MOST) {
            let item = at.within(Loc::Index(index), |at| named(item, at));
            read.extend(item);
        }
        problems.into_result()?;
        let edits = read.into_iter().map(|named| named.found(app, snapshot));
        Ok(Self {
            edits: edits.collect::<Result<_, _>>()?,
            toolsets: snapshot.toolsets().clone(),
        })
    }

    /// What there would be.
    pub(super) fn made(self, now: &World) -> World {
        let mut world = now.clone();
        for edit in self.edits {
            match edit {
                Edit::Grants(level, id, change) => grant(&mut world, level, &id, change, &self.toolsets),
                Edit::Server(id, rules) => {
                    if let Some(server) = world.servers.get_mut(&id) {
                        let definition = &mut Arc::make_mut(server).definition;
                        if let Some(allowed) = rules.allowed_tools {
                            definition.allowed_tools = match allowed {
                                Allowed::All => None,
                                Allowed::These(tools) => Some(tools),
                            };
                        }
                        if let Some(disallowed) = rules.disallowed_tools {
                            definition.disallowed_tools = disallowed;
                        }
                    }
                }
            }
        }
        world
    }
}

/// A change whose object was not looked for yet.
enum Named {
    Grants(Level, String, PermissionChange),
    Server(String, ToolRules),
}

fn named(item: &Value, at: &mut At<'_>) -> Option<Named> {
    let object = at.object(item)?;
    if let Some(server) = object.get("server") {
        let server = at.within(Loc::from("server"), |at| at.text(server).map(str::to_owned));
        let rules = tool_rules(object, at);
        return Some(Named::Server(server?, rules));
    }
    let mut whose = WHOSE.iter().filter(|(name, _)| object.contains_key(*name));
    let (Some((name, level)), None) = (whose.next(), whose.next()) else {
        return at.problem(
            "missing",
            "Value error, one of key, team_id, user_id, organization_id, end_user and server says what is changed",
        );
    };
    others(object, &[name, "object_permission"], at);
    let id = at.within(Loc::from(*name), |at| at.text(&object[*name]).map(str::to_owned));
    let change = at.within(Loc::from("object_permission"), |at| {
        match object.get("object_permission") {
            Some(value) => PermissionChange::read(value, *level, at),
            None => at.problem("missing", "Field required"),
        }
    });
    Some(Named::Grants(*level, id?, change?))
}

fn tool_rules(object: &Map<String, Value>, at: &mut At<'_>) -> ToolRules {
    others(object, &["server", "allowed_tools", "disallowed_tools"], at);
    let mut rules = ToolRules::default();
    if let Some(value) = object.get("allowed_tools") {
        rules.allowed_tools = if value.is_null() {
            Some(Allowed::All)
        } else {
            at.within(Loc::from("allowed_tools"), |at| texts(value, at))
                .map(Allowed::These)
        };
    }
    if let Some(value) = object.get("disallowed_tools") {
        rules.disallowed_tools = at.within(Loc::from("disallowed_tools"), |at| texts(value, at));
    }
    if object.len() == 1 {
        at.problem::<()>(
            "missing",
            "Value error, allowed_tools or disallowed_tools says what is changed",
        );
    }
    rules
}

fn others(object: &Map<String, Value>, known: &[&str], at: &mut At<'_>) {
    for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
        at.within(Loc::Name(name.clone()), |at| {
            at.problem::<()>("extra_forbidden", "Extra inputs are not permitted")
        });
    }
}

impl Named {
    fn found(self, app: &App, snapshot: &Snapshot) -> Result<Edit, KeyError> {
        let directory = app.directory();
        let (level, id, change) = match self {
            Self::Server(named, rules) => {
                let server = snapshot.find(&named).ok_or_else(|| nothing(&named))?;
                return Ok(Edit::Server(server.id.clone(), rules));
            }
            Self::Grants(level, id, change) => (level, id, change),
        };
        let nobody = |what, field, id: &str| Err(KeyError::Nobody(what, field, id.to_owned()));
        match level {
            Level::Key => {
                let by_hash = lookup::hash_of(&id).filter(|hash| directory.keys.contains_key(hash));
                let hash = by_hash.or_else(|| lookup::by_alias(app, &id).map(|key| key.hash));
                let hash = hash.ok_or(KeyError::NotFound)?;
                return Ok(Edit::Grants(level, hash.to_hex(), change));
            }
            Level::Team if !directory.teams.contains_key(&id) => nobody("Team", "team_id", &id)?,
            Level::User if !directory.users.contains_key(&id) => nobody("User", "user_id", &id)?,
            Level::Organization if !directory.organizations.contains_key(&id) => {
                nobody("Organization", "organization_id", &id)?;
            }
            Level::EndUser if !directory.end_users.contains_key(&id) => {
                nobody("Customer", "end_user", &id)?;
            }
            _ => {}
        }
        Ok(Edit::Grants(level, id, change))
    }
}

fn grant(world: &mut World, level: Level, id: &str, change: PermissionChange, toolsets: &Toolsets) {
    let apply = |permission: &mut ObjectPermission| {
        change.apply(permission, String::new());
        permission.bind(toolsets);
    };
    let directory = &mut world.directory;
    match level {
        Level::Key => {
            let hash = KeyHash::from_hex(id);
            let keys = Arc::make_mut(&mut directory.keys);
            if let Some(key) = hash.and_then(|hash| keys.get_mut(&hash)) {
                apply(&mut Arc::make_mut(key).object_permission);
            }
        }
        Level::Team => edit(&mut directory.teams, id, |row| apply(&mut row.object_permission)),
        Level::User => edit(&mut directory.users, id, |row| apply(&mut row.object_permission)),
        Level::Organization => {
            edit(&mut directory.organizations, id, |row| {
                apply(&mut row.object_permission);
            });
        }
        Level::EndUser => edit(&mut directory.end_users, id, |row| {
            apply(&mut row.object_permission);
        }),
        Level::Scope | Level::Server => {}
    }
}

fn edit<T: Clone>(rows: &mut Arc<ById<T>>, id: &str, edit: impl FnOnce(&mut T)) {
    if let Some(row) = Arc::make_mut(rows).get_mut(id) {
        edit(Arc::make_mut(row));
    }
}
