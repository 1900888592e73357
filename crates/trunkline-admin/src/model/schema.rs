//! The shapes of the model routes, for the document.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The body that makes a model.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewModelRequest)]
pub(crate) struct NewModel {
    /// The name that clients ask for.
    model_name: String,
    /// As in the configuration file. `os.environ/NAME` may stand in credentials (`api_key`, `extra_headers`, `azure_ad_token` …).
    litellm_params: Map<String, Value>,
    /// `id` is its id; everything else is free.
    model_info: Option<Map<String, Value>>,
}

/// The body that changes one: `model_info.id` says which.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateModelRequest)]
pub(crate) struct ModelChange {
    /// The name that clients ask for.
    model_name: Option<String>,
    /// Members that are not named stay; null takes one away.
    litellm_params: Option<Map<String, Value>>,
    /// The same.
    model_info: Option<Map<String, Value>>,
}

/// Which model.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelNamed)]
pub(crate) struct ModelNamed {
    /// Its id.
    id: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelDeleted)]
pub(crate) struct ModelDeleted {
    /// For people.
    message: String,
}

/// A model of the database, without its credentials.
#[derive(Serialize, ToSchema)]
#[schema(as = StoredModel)]
pub(crate) struct ModelRow {
    /// Its id.
    model_id: String,
    /// The name that clients ask for.
    model_name: String,
    /// What of them is no secret.
    litellm_params: Map<String, Value>,
    /// With `id` and `db_model`.
    model_info: Map<String, Value>,
    /// Nobody can use it.
    blocked: bool,
    /// When it was made.
    created_at: Option<String>,
    /// By whom.
    created_by: Option<String>,
    /// When it was changed last.
    updated_at: Option<String>,
    /// By whom.
    updated_by: Option<String>,
}
