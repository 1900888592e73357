//! Who is meant: a key, the master key, or a key of a team or a user that was given the server in question.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_auth::{AuthError, Directory};
use trunkline_model::{ClientAddress, ClientNetwork, KeyHash, Principal, Server, VirtualKey};

use crate::App;
use crate::actor::Caller;
use crate::body::{At, Problems};
use crate::key::error::KeyError;
use crate::key::lookup;
use crate::tenant::fields;

/// The word for the master key.
const MASTER_KEY: &str = "master_key";

/// Who is meant.
pub(super) struct Subject {
    who: Who,
    end_user: Option<String>,
    network: ClientNetwork,
}

enum Who {
    MasterKey,
    Key(Arc<VirtualKey>),
    /// Of a team, of a user, or of both.
    KeyOf(Option<String>, Option<String>),
}

/// Fields of the body.
pub(super) const FIELDS: [&str; 5] = ["principal", "team_id", "user_id", "end_user", "client_network"];

impl Subject {
    /// Reads the body; without a word about it, the caller.
    pub(super) fn read(body: &Map<String, Value>, caller: &Caller, app: &App) -> Result<Self, KeyError> {
        let text = |name| fields::text(body, name);
        let who = match (text("principal")?, text("team_id")?, text("user_id")?) {
            (None, None, None) => of_principal(&caller.principal),
            (Some(named), None, None) => Self::named(&named, app)?,
            (None, team, user) => {
                let directory = app.directory();
                check(team.as_ref(), user.as_ref(), &directory)?;
                Who::KeyOf(team, user)
            }
            _ => {
                let text = "principal is one key: leave out team_id and user_id".to_owned();
                return Err(KeyError::Bad("principal", text));
            }
        };
        Ok(Self {
            who,
            end_user: text("end_user")?,
            network: network(body, caller)?,
        })
    }

    /// By a hash, a key, an alias, or the word for the master key.
    pub(super) fn of(
        named: &str,
        end_user: Option<String>,
        caller: &Caller,
        app: &App,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            who: Self::named(named, app)?,
            end_user,
            network: usual_network(caller),
        })
    }

    fn named(named: &str, app: &App) -> Result<Who, KeyError> {
        if named == MASTER_KEY {
            return Ok(Who::MasterKey);
        }
        let ring = app.registry.keys().ring();
        let by_hash = lookup::hash_of(named).and_then(|hash| ring.get(&hash));
        let found = by_hash.or_else(|| lookup::by_alias(app, named));
        found.map(Who::Key).ok_or(KeyError::NotFound)
    }

    /// Whether it is the caller's own key.
    pub(super) fn is(&self, caller: &Principal) -> bool {
        match (&self.who, caller.key()) {
            (Who::Key(key), Some(own)) => key.hash == own.hash,
            (Who::MasterKey, None) => true,
            _ => false,
        }
    }

    /// What is decided with: `server` is what a key of a team or a user was given.
    pub(super) fn principal(
        &self,
        directory: &Directory,
        server: &Server,
        app: &App,
    ) -> Result<Principal, AuthError> {
        let key = match &self.who {
            Who::MasterKey => None,
            Who::Key(key) => Some(key.clone()),
            Who::KeyOf(team_id, user_id) => {
                let mut key = VirtualKey::new(KeyHash([0; 32]));
                key.team_id.clone_from(team_id);
                key.user_id.clone_from(user_id);
                key.object_permission.mcp_servers = vec![server.id.as_str().to_owned()];
                Some(Arc::new(key))
            }
        };
        let end_user = self.end_user.as_deref();
        let principal = app.authenticator.supposed(directory, key.as_ref(), end_user)?;
        Ok(principal.at(ClientAddress {
            address: None,
            network: self.network,
        }))
    }

    /// For the answer. Never a key.
    pub(super) fn shown(&self) -> Value {
        match &self.who {
            Who::MasterKey => json!({"master_key": true, "end_user": self.end_user}),
            Who::Key(key) => json!({
                "key": &*key.id, "key_alias": key.key_alias, "team_id": key.team_id, "user_id": key.user_id,
                "end_user": self.end_user,
            }),
            Who::KeyOf(team, user) => {
                json!({"key": null, "team_id": team, "user_id": user, "end_user": self.end_user})
            }
        }
    }
}

fn of_principal(caller: &Principal) -> Who {
    caller.key().map_or(Who::MasterKey, |key| Who::Key(key.clone()))
}

fn check(team: Option<&String>, user: Option<&String>, directory: &Directory) -> Result<(), KeyError> {
    match (team, user) {
        (Some(id), _) if !directory.teams.contains_key(id) => {
            Err(KeyError::Nobody("Team", "team_id", id.clone()))
        }
        (_, Some(id)) if !directory.users.contains_key(id) => {
            Err(KeyError::Nobody("User", "user_id", id.clone()))
        }
        _ => Ok(()),
    }
}

/// Inside, unless said. Who asks for itself alone is where it is: what is not there for it is not shown to it either.
fn usual_network(caller: &Caller) -> ClientNetwork {
    if caller.sees_all() {
        ClientNetwork::Internal
    } else {
        caller.principal.client().network
    }
}

fn network(body: &Map<String, Value>, caller: &Caller) -> Result<ClientNetwork, KeyError> {
    let said = fields::text(body, "client_network")?;
    if said.is_some() && !caller.sees_all() {
        let text =
            "administrators and viewers alone may suppose where the client is: leave it out".to_owned();
        return Err(KeyError::Bad("client_network", text));
    }
    match said.as_deref() {
        None => Ok(usual_network(caller)),
        Some("internal") => Ok(ClientNetwork::Internal),
        Some("external") => Ok(ClientNetwork::External),
        Some(_) => {
            let mut problems = Problems::default();
            At::field("client_network", &mut problems)
                .problem::<()>("enum", "Input should be 'internal' or 'external'");
            problems.into_result()?;
            Ok(ClientNetwork::External)
        }
    }
}
