//! `GET /model_group/info`: the models that a caller may use, each with what all its deployments are together.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::list::{caller, known, shown};
use super::models::Ready;
use super::told::Refused;
use crate::accept::Arrived;
use crate::{Gateway, answer};

/// Query.
#[derive(Deserialize)]
pub struct Params {
    /// One of them.
    model_group: Option<String>,
}

/// All of them, in the order of their names.
pub async fn info(
    State(gateway): State<Arc<Gateway>>,
    params: Result<Query<Params>, QueryRejection>,
    arrived: Option<Extension<Arrived>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let caller = match caller(&gateway, arrived, &headers, uri.path()) {
        Ok(caller) => caller,
        Err(answer) => return answer,
    };
    let Ok(Query(params)) = params else {
        return Refused::new(400, "the query cannot be read: model_group may be there once").answer();
    };
    let catalogue = gateway.models.catalogue();
    let wanted = |name: &str| params.model_group.as_deref().is_none_or(|own| own == name);
    let shown = shown(&catalogue, &caller.principal, true).into_iter();
    let shown = shown.filter(|(name, _)| wanted(name));
    let data: Vec<Value> = shown.map(|(name, group)| row(name, &group.members)).collect();
    answer::json(StatusCode::OK, json!({"data": data}).to_string())
}

/// The most of what is a number, and what any of them can do, as LiteLLM has it. A price that one of them does not have is not known.
fn row(name: &str, group: &[Arc<Ready>]) -> Value {
    let usable: Vec<&Arc<Ready>> = group.iter().filter(|own| own.defect.is_none()).collect();
    let mut providers: Vec<&str> = usable
        .iter()
        .map(|own| own.deployment.provider.as_str())
        .collect();
    providers.sort_unstable();
    providers.dedup();
    let infos: Vec<Map<String, Value>> = usable
        .iter()
        .map(|own| {
            let mut info = known(own);
            info.extend(own.deployment.model_info.clone());
            info
        })
        .collect();
    let most = |field: &str| {
        let own = infos
            .iter()
            .filter_map(|info| info.get(field).filter(|own| own.is_number()));
        let most = own.max_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
        most.cloned().unwrap_or_default()
    };
    let price = |field: &str| {
        let all = infos
            .iter()
            .all(|info| info.get(field).is_some_and(Value::is_number));
        if all { most(field) } else { Value::Null }
    };
    let can = |field: &str| {
        infos
            .iter()
            .any(|info| info.get(field) == Some(&Value::Bool(true)))
    };
    let sum = |of: fn(&Ready) -> Option<f64>| {
        let own: Vec<f64> = usable.iter().filter_map(|own| of(own)).collect();
        (!own.is_empty()).then(|| own.iter().sum::<f64>())
    };
    json!({
        "model_group": name,
        "providers": providers,
        "mode": infos.iter().find_map(|info| info.get("mode").filter(|own| !own.is_null())),
        "max_input_tokens": most("max_input_tokens"),
        "max_output_tokens": most("max_output_tokens"),
        "input_cost_per_token": price("input_cost_per_token"),
        "output_cost_per_token": price("output_cost_per_token"),
        "tpm": sum(|own| own.deployment.params.tpm),
        "rpm": sum(|own| own.deployment.params.rpm),
        "supports_vision": can("supports_vision"),
        "supports_function_calling": can("supports_function_calling"),
        "supports_parallel_function_calling": can("supports_parallel_function_calling"),
        "supports_reasoning": can("supports_reasoning"),
        "supports_web_search": can("supports_web_search"),
        "supported_openai_params": [],
    })
}
