//! Models as operators declare them: LiteLLM's `model_list`. Several deployments may have one name, and a request for the name
//! goes to one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{RouterRules, Secret, Stamps};

/// One entry of `model_list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Which deployment: `model_info.id`, else of what it is and where.
    pub id: String,
    /// The name that clients ask for.
    pub model_name: String,
    /// LiteLLM's prefix of its provider.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// Its names are those which are its provider's (`openai/gpt-4o`, `gpt-4o`), of all that `model_name` stands for.
    pub by_name: bool,
    /// It is of the database.
    pub is_stored: bool,
    /// How it is reached, and how often it is taken.
    pub params: DeploymentParams,
    /// The operator's own, and what LiteLLM's clients look for.
    pub model_info: Map<String, Value>,
    /// Why it cannot be used. Requests say so, and nothing is sent.
    pub defect: Option<String>,
}

/// Members of `litellm_params` that are, or may have, a credential: they are shown to nobody, and of a model that no file has they alone may
/// refer to the environment. Those that have no effect here are among them, too.
pub const SECRET_PARAMS: [&str; 16] = [
    "api_key",
    "extra_headers",
    "azure_ad_token",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "vertex_credentials",
    "azure_password",
    "azure_username",
    "client_secret",
    "default_headers",
    "extra_body",
    "extra_query",
    "headers",
    "password",
    "token",
];

/// Who signs requests, for AWS.
#[derive(Clone, Debug, PartialEq)]
pub struct Aws {
    /// The name of the key.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// What a key for some time has beside it.
    pub session_token: Option<Secret>,
    /// As `us-east-1`.
    pub region: String,
}

/// The members of `litellm_params` that have an effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeploymentParams {
    /// The provider's address; empty only with a defect.
    pub api_base: String,
    /// The credential for it.
    pub api_key: Option<Secret>,
    /// A token of the operator's directory instead of it, for Azure.
    pub azure_ad_token: Option<Secret>,
    /// The revision of the provider's API, where it has one in its addresses.
    pub api_version: Option<String>,
    /// Who signs requests, for AWS.
    pub aws: Option<Aws>,
    /// A service account of Google's, or the file that has it.
    pub google_credentials: Option<Secret>,
    /// The project of Google's cloud.
    pub vertex_project: Option<String>,
    /// Where in it the model is.
    pub vertex_location: Option<String>,
    /// `OpenAI-Organization`
    pub organization: Option<String>,
    /// Headers that are always sent.
    pub extra_headers: BTreeMap<String, Secret>,
    /// Seconds for a whole answer, and for the beginning of one that comes in pieces.
    pub timeout: Option<f64>,
    /// The same for answers in pieces.
    pub stream_timeout: Option<f64>,
    /// Its share of the requests.
    pub weight: Option<f64>,
    /// Requests that it gets in a minute at most, and its share where none has a `weight`.
    pub rpm: Option<f64>,
    /// Tokens after which it gets no more in a minute, and its share where none has a `weight` or `rpm`.
    pub tpm: Option<f64>,
    /// Requests that it gets at the same time at most.
    pub max_parallel_requests: Option<u32>,
    /// Seconds that it is left alone after it failed.
    pub cooldown_time: Option<f64>,
    /// How often a request that it failed is tried again.
    pub num_retries: Option<u32>,
    /// Which requests it is for, where tags are looked at.
    pub tags: Vec<String>,
    /// What the provider has no word for is left out of a request, and not refused; if nothing is said, as the rules have it.
    pub drop_params: Option<bool>,
    /// Members that are left out of every request.
    pub additional_drop_params: Vec<String>,
    /// Those of a higher order are taken when none of a lower one can be.
    pub order: Option<u32>,
    /// Its credential is that of requests to its provider which are about no deployment.
    pub use_in_pass_through: bool,
    /// What it costs instead of what the table of prices says: LiteLLM's names (`input_cost_per_token`), dollars as text.
    pub prices: BTreeMap<String, String>,
}

/// A model of the database, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// Its id.
    pub id: String,
    /// The name that clients ask for.
    pub model_name: String,
    /// `litellm_params`, a JSON object: credentials are in it.
    pub params: Secret,
    /// The operator's own.
    pub model_info: Map<String, Value>,
    /// Nobody can use it.
    pub blocked: bool,
    /// Who made it, and when.
    pub stamps: Stamps,
    /// Why it cannot be used, if its row cannot be read as a whole.
    pub defect: Option<String>,
}

/// All deployments, in the order of the file, and how one is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelList {
    /// Usable or not.
    pub deployments: Vec<Arc<Deployment>>,
    /// Providers whose credential is in the environment, without a model: for requests that are about no deployment.
    pub accounts: Vec<Arc<Deployment>>,
    /// How one is chosen.
    pub rules: RouterRules,
}
