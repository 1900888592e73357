//! Models of the database: `/model/new`, `/model/update`, `/model/delete`, `/model/block` and their like. What the file has is changed
//! there, and what is kept here is checked as the file's is.
//!
//! No credential ever comes back: of `litellm_params` rows show what is no secret.

use serde_json::{Map, Value, json};
use trunkline_model::{SECRET_PARAMS, Secret, StoredModel};

use crate::App;
use crate::body::{At, Problems};
use crate::key::fields::{optional, set, short_text, unknown};

pub(crate) mod change;
pub(crate) mod delete;
pub(crate) mod error;
pub(crate) mod new;
pub(crate) mod schema;

use error::ModelError;

/// The models that requests are answered with. A trait, because they are put together in the binary.
pub trait Models: Send + Sync + 'static {
    /// Whether the API may make models: `general_settings.store_model_in_db`.
    fn is_on(&self) -> bool;
    /// Whether the file has a model with this id.
    fn is_of_file(&self, id: &str) -> bool;
    /// Why something would be no model. Repeats no value.
    fn check(&self, model: &StoredModel) -> Result<(), String>;
    /// Takes what the registry has now: whoever got an answer sees the change.
    fn refresh(&self);
}

/// The members of a body.
const FIELDS: [&str; 3] = ["model_name", "litellm_params", "model_info"];
/// The longest id.
const MAX_ID: usize = 128;

/// What a body says of a model.
#[derive(Default)]
struct Said {
    name: Option<String>,
    params: Option<Map<String, Value>>,
    info: Option<Map<String, Value>>,
}

impl Said {
    /// Reads a body, in which members of `own` may stand, too.
    fn read(body: &Map<String, Value>, own: &[&str]) -> Result<Self, ModelError> {
        let mut problems = Problems::default();
        let mut said = Self::default();
        for (field, value) in body {
            let mut at = At::field(field, &mut problems);
            let object = |at: &mut At<'_>| {
                let read = optional(value, at, |value, at| at.object(value).cloned());
                read.and_then(crate::key::fields::Said::value)
            };
            match field.as_str() {
                "model_name" => {
                    said.name =
                        optional(value, &mut at, short_text).and_then(crate::key::fields::Said::value);
                }
                "litellm_params" => said.params = object(&mut at),
                "model_info" => said.info = object(&mut at),
                field if own.contains(&field) => {}
                field => unknown(field, FIELDS.into_iter().chain(own.iter().copied()), &mut at),
            }
        }
        problems.into_result()?;
        Ok(said)
    }

    /// The id in `model_info`.
    fn id(&self) -> Result<Option<String>, ModelError> {
        match self.info.as_ref().and_then(|info| info.get("id")) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) if is_id(id) => Ok(Some(id.clone())),
            Some(_) => Err(ModelError::Bad(
                "model_info",
                format!("id must be text of at most {MAX_ID} characters without blanks"),
            )),
        }
    }

    /// Makes the model as the body says: members that it does not name stay, and null takes one away.
    fn apply(self, model: &mut StoredModel) {
        set(&mut model.model_name, self.name);
        if let Some(params) = self.params {
            let mut own: Map<String, Value> = serde_json::from_str(model.params.expose()).unwrap_or_default();
            merge(&mut own, params);
            model.params = Secret::new(Value::Object(own).to_string());
        }
        if let Some(mut info) = self.info {
            // These are what the row itself is.
            for name in ["id", "db_model"] {
                info.remove(name);
            }
            merge(&mut model.model_info, info);
        }
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_graphic())
}

fn merge(own: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        if value.is_null() {
            own.remove(&name);
        } else {
            own.insert(name, value);
        }
    }
}

/// The model as the API shows it.
fn row(model: &StoredModel) -> Value {
    let mut params: Map<String, Value> = serde_json::from_str(model.params.expose()).unwrap_or_default();
    for name in SECRET_PARAMS {
        params.remove(name);
    }
    let mut info = model.model_info.clone();
    info.insert("id".to_owned(), model.id.clone().into());
    info.insert("db_model".to_owned(), true.into());
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    json!({
        "model_id": model.id,
        "model_name": model.model_name,
        "litellm_params": params,
        "model_info": info,
        "blocked": model.blocked,
        "created_at": time(model.stamps.created_at),
        "created_by": model.stamps.created_by,
        "updated_at": time(model.stamps.updated_at),
        "updated_by": model.stamps.updated_by,
    })
}

/// Nothing of it is done unless models may be in the database.
fn enter(app: &App) -> Result<(), ModelError> {
    if app.models.is_on() {
        Ok(())
    } else {
        Err(ModelError::Off)
    }
}

/// What the file has, the file says.
fn of_database(app: &App, id: &str) -> Result<(), ModelError> {
    if app.models.is_of_file(id) {
        Err(ModelError::OfFile(id.to_owned()))
    } else {
        Ok(())
    }
}
