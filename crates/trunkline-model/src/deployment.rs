//! Models as operators declare them: LiteLLM's `model_list`. Several deployments may have one name, and a request for the name
//! goes to one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::Secret;

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
    /// How it is reached, and how often it is taken.
    pub params: DeploymentParams,
    /// The operator's own, and what LiteLLM's clients look for.
    pub model_info: Map<String, Value>,
    /// Why it cannot be used. Requests say so, and nothing is sent.
    pub defect: Option<String>,
}

/// The members of `litellm_params` that have an effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeploymentParams {
    /// The provider's address; empty only with a defect.
    pub api_base: String,
    /// The credential for it.
    pub api_key: Option<Secret>,
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
    /// Its share where none has a `weight`.
    pub rpm: Option<f64>,
    /// Its share where none has a `weight` or `rpm`.
    pub tpm: Option<f64>,
    /// What the provider has no word for is left out of a request, and not refused; if nothing is said, as the rules have it.
    pub drop_params: Option<bool>,
    /// Members that are left out of every request.
    pub additional_drop_params: Vec<String>,
    /// Those of a higher order are taken when none of a lower one can be.
    pub order: Option<u32>,
    /// What it costs instead of what the table of prices says: LiteLLM's names (`input_cost_per_token`), dollars as text.
    pub prices: BTreeMap<String, String>,
}

/// `router_settings`, and what of `litellm_settings` stands in for it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterRules {
    /// How often a request is tried again, with another deployment each time.
    pub num_retries: u32,
    /// Seconds for deployments without a time of their own.
    pub timeout: f64,
    /// Seconds that a deployment is left alone after it failed; 0: it is not.
    pub cooldown_time: f64,
    /// `drop_params` for deployments that do not say it.
    pub drop_params: bool,
}

impl Default for RouterRules {
    fn default() -> Self {
        Self {
            num_retries: 2,
            timeout: 600.0,
            cooldown_time: 5.0,
            drop_params: false,
        }
    }
}

/// All deployments, in the order of the file, and how one is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelList {
    /// Usable or not.
    pub deployments: Vec<Arc<Deployment>>,
    /// How one is chosen.
    pub rules: RouterRules,
}
