//! `GET /v1/models` and `/model/info`: the models that a caller may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_llm::price::Listed;
use trunkline_llm::wildcard::is_pattern;
use trunkline_model::{Principal, UserRole};
use trunkline_policy::decide_model;

use super::catalogue::{Catalogue, Group};
use super::models::{Ready, VERSION};
use super::told::Refused;
use super::{Caller, enter};
use crate::accept::Arrived;
use crate::{Gateway, answer};

/// What LiteLLM says of every model, because OpenAI says something.
const CREATED: i64 = 1_677_610_602;
/// The same, as Anthropic writes it.
const CREATED_TEXT: &str = "2023-02-28T18:56:42Z";

/// Query of `/model/info`.
#[derive(Deserialize)]
pub struct Params {
    /// One deployment.
    litellm_model_id: Option<String>,
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": "openai"})
}

/// The list as clients of Anthropic's know it, whole: it has no pages.
fn anthropics(names: &[&str]) -> Value {
    let model =
        |name: &&str| json!({"type": "model", "id": name, "display_name": name, "created_at": CREATED_TEXT});
    json!({
        "data": names.iter().map(model).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": names.first(),
        "last_id": names.last(),
    })
}

/// Whether a model is shown: the caller may use it, and something of it can be asked.
pub(super) fn is_shown(principal: &Principal, name: &str, group: &Group) -> bool {
    group.members.iter().any(|ready| ready.defect.is_none()) && decide_model(principal, name).is_allow()
}

/// Names that a caller may use, with their deployments, in the order of the names. One with `*` is no model, and is shown to those who
/// want to see it.
pub(super) fn shown<'c>(
    catalogue: &'c Catalogue,
    principal: &Principal,
    stars: bool,
) -> BTreeMap<&'c str, Arc<Group>> {
    let own = catalogue.groups().map(|(name, group)| (name, group.clone()));
    own.chain(catalogue.aliases())
        .filter(|(name, group)| (stars || !is_pattern(name)) && is_shown(principal, name, group))
        .collect()
}

/// Query of the list.
#[derive(Deserialize)]
pub struct Wanted {
    /// With the names that have a `*`.
    #[serde(default)]
    return_wildcard_routes: bool,
}

#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
pub(super) fn caller(
    gateway: &Gateway,
    arrived: Option<Extension<Arrived>>,
    headers: &HeaderMap,
    path: &str,
) -> Result<Caller, Response> {
    let arrived = arrived.map(|Extension(arrived)| arrived);
    enter(gateway, arrived.as_ref(), headers, path).map_err(|error| answer::unauthorized(error, false))
}

/// All of them, in the order of their names.
pub async fn all(
    State(gateway): State<Arc<Gateway>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    arrived: Option<Extension<Arrived>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let caller = match caller(&gateway, arrived, &headers, uri.path()) {
        Ok(caller) => caller,
        Err(answer) => return answer,
    };
    let stars = wanted.is_ok_and(|Query(own)| own.return_wildcard_routes);
    let catalogue = gateway.models.catalogue();
    let shown = shown(&catalogue, &caller.principal, stars);
    if headers.contains_key(&VERSION) {
        let names: Vec<&str> = shown.into_keys().collect();
        return answer::json(StatusCode::OK, anthropics(&names).to_string());
    }
    let data: Vec<Value> = shown.into_keys().map(model).collect();
    answer::json(
        StatusCode::OK,
        json!({"data": data, "object": "list"}).to_string(),
    )
}

/// One of them.
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    arrived: Option<Extension<Arrived>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let caller = match caller(&gateway, arrived, &headers, uri.path()) {
        Ok(caller) => caller,
        Err(answer) => return answer,
    };
    let catalogue = gateway.models.catalogue();
    let group = catalogue.group(&name);
    if group.is_some_and(|group| is_shown(&caller.principal, &name, &group)) {
        return answer::json(StatusCode::OK, model(&name).to_string());
    }
    let name = trunkline_upstream::fault::printable(&name);
    let text = format!("The model '{name}' does not exist, or this key may not use it");
    Refused::new(404, text).param(Some("model".to_owned())).answer()
}

/// All deployments of them. Where they are, administrators see; what proves us to a provider, nobody.
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
        return Refused::new(
            400,
            "the query cannot be read: litellm_model_id may be there once",
        )
        .answer();
    };
    let role = caller.principal.role();
    let whole = matches!(role, Some(UserRole::ProxyAdmin | UserRole::ProxyAdminViewer));
    let catalogue = gateway.models.catalogue();
    let mut data = Vec::new();
    for (name, group) in catalogue.groups() {
        if !decide_model(&caller.principal, name).is_allow() {
            continue;
        }
        let wanted = |ready: &&Arc<Ready>| {
            let id = params.litellm_model_id.as_ref();
            id.is_none_or(|id| *id == ready.deployment.id) && (whole || ready.defect.is_none())
        };
        data.extend(group.members.iter().filter(wanted).map(|ready| row(ready, whole)));
    }
    if let (Some(id), true) = (&params.litellm_model_id, data.is_empty()) {
        let id = trunkline_upstream::fault::printable(id);
        let text = format!("Model id = {id} not found, or this key may not use it");
        return Refused::new(400, text)
            .param(Some("litellm_model_id".to_owned()))
            .answer();
    }
    answer::json(StatusCode::OK, json!({"data": data}).to_string())
}

/// What is known of a model: what it is for, what it can do, and what it costs, by LiteLLM's names. What nobody knows is null.
pub(super) fn known(ready: &Ready) -> Map<String, Value> {
    let mut info = Map::new();
    let mut put = |name: &str, value: Value| {
        info.insert(name.to_owned(), value);
    };
    let listed = ready.listed.as_ref();
    put("key", listed.map(|own| own.key).into());
    put("litellm_provider", ready.deployment.provider.clone().into());
    put("mode", listed.map(|own| own.mode).into());
    put("max_tokens", listed.and_then(|own| own.max_output_tokens).into());
    put(
        "max_input_tokens",
        listed.and_then(|own| own.max_input_tokens).into(),
    );
    put(
        "max_output_tokens",
        listed.and_then(|own| own.max_output_tokens).into(),
    );
    for name in ["input_cost_per_token", "output_cost_per_token"] {
        put(name, Value::Null);
    }
    for (priced, rate) in ready.prices.iter() {
        put(&priced.name(), rate.dollars().into());
    }
    for (name, can) in listed.into_iter().flat_map(Listed::supports) {
        put(name, can.into());
    }
    info
}

fn row(ready: &Ready, whole: bool) -> Value {
    let own = &ready.deployment;
    let mut params = json!({"model": format!("{}/{}", own.provider, own.model)});
    if whole {
        let shown = &own.params;
        for (name, value) in [
            ("api_base", Value::from(shown.api_base.clone())),
            ("organization", shown.organization.clone().into()),
            ("timeout", shown.timeout.into()),
            ("stream_timeout", shown.stream_timeout.into()),
            ("weight", shown.weight.into()),
            ("rpm", shown.rpm.into()),
            ("tpm", shown.tpm.into()),
            ("order", shown.order.into()),
        ] {
            if !value.is_null() {
                params[name] = value;
            }
        }
    }
    let mut info = known(ready);
    info.extend(own.model_info.clone());
    info.insert("id".to_owned(), own.id.clone().into());
    info.insert("db_model".to_owned(), own.is_stored.into());
    let mut row = json!({"model_name": own.model_name, "litellm_params": params, "model_info": info});
    if let (true, Some(defect)) = (whole, &ready.defect) {
        row["defect"] = defect.clone().into();
    }
    row
}
