//! A provider's own API, relayed as it is: `/gemini/…`, `/openai/…` and the others of [`Api`], for the provider's own SDK with a key of
//! the gateway's.
//!
//! ```text
//! accept → identify → read → decide → limit → choose → send → relay → record
//! ```
//!
//! Identity, limits and records are those of every request to a model. What is decided about is the model that the request names: a name of
//! `model_list` whose deployment is of this provider, and then that deployment is asked, or else the provider's own model, `gemini/NAME`,
//! with the provider's own credential ([`super::catalogue::Catalogue::account`]). A request of which nobody can tell the model is for those who may use
//! all models of the provider. [`sending`] has what goes to the provider and [`relay`] what comes back.
//!
//! **Invariant:** a key of the gateway's goes to no provider, in no header and in no query.

mod relay;
mod sending;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use percent_encoding::percent_decode_str;
use tokio::time::sleep;
use trunkline_auth::Admission;
use trunkline_llm::through::{Api, Asked, Passage, body, is_usual};
use trunkline_llm::{Endpoint, estimate};
use trunkline_model::{CallKind, Principal, ServerId};
use trunkline_policy::{Decision, decide_model};

use super::catalogue::{Catalogue, Group};
use super::models::Ready;
use super::route::{Chosen, NoDeployment, TRIAL_ASKED, Wanted, What};
use super::told::{self, Refused};
use super::tries::MOST_ASKS_TO_TRY;
use super::{Caller, TYPICAL, admitted, request_id, tags};
use crate::accept::{Arrived, read_body};
use crate::limits::{Limits, ModelRequest, Place, Reserved};
use crate::record::Pending;
use crate::{Gateway, callers, deadline, denied};

static X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Headers by which tokens have another price at AWS.
const DEARER: [&str; 2] = [
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
];

/// The routes. Those with a more exact path are served as what they are.
pub(super) fn routes(mut router: Router<Arc<Gateway>>) -> Router<Arc<Gateway>> {
    for api in Api::ALL {
        for name in api.routes() {
            let on = move |State(gateway): State<Arc<Gateway>>, request: Request| {
                handle(gateway, (api, *name), request)
            };
            let all = get(on).post(on).put(on).patch(on).delete(on);
            router = router.route(&format!("/{name}/{{*path}}"), all);
        }
    }
    router
}

/// One request, let in.
struct Own {
    gateway: Arc<Gateway>,
    caller: Caller,
    admission: Admission,
    passage: Passage,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
    body: Bytes,
    /// The name that was decided about.
    name: String,
    place: Option<Place>,
    /// The tokens that it may take, until its record has them.
    reserved: Option<Reserved>,
}

/// Who can be asked.
enum Way {
    /// The deployments of a name.
    Group(Arc<Group>),
    /// The provider, by its own credential.
    Account(Arc<Ready>),
}

/// Who could be asked, before it is decided.
enum Found {
    Group(Arc<Group>),
    /// The provider, for this model if one is named.
    Account(Option<String>),
    /// Nobody: the name is one of deployments of others.
    Others,
}

async fn handle(gateway: Arc<Gateway>, (api, route): (Api, &str), request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    key_of_query(api, &mut parts.headers, parts.uri.query());
    let arrived = parts.extensions.get::<Arrived>();
    let path = parts.uri.path();
    let (mut caller, admission) = match admitted(&gateway, arrived, &parts.headers, path) {
        Ok(admitted) => admitted,
        Err(error) => return told::unauthorized_in(api, error, &request_id(arrived)),
    };
    let id = caller.request_id.clone();
    let body = match read_body(body, gateway.edge.load().max_body_bytes).await {
        Ok(body) => body,
        Err(error) => {
            return Refused::new(error.status().as_u16(), error.to_string()).answer_of(api, &id);
        }
    };
    let below = path.strip_prefix(&format!("/{route}/")).unwrap_or_default();
    let read = read(api, (&parts.method, below), &parts.headers, &body);
    let (passage, asked) = match read {
        Ok(read) => read,
        Err(refused) => return refused.answer_of(api, &id),
    };
    match gateway
        .authenticator
        .on_behalf_of(caller.principal.clone(), asked.user.as_deref())
    {
        Ok(principal) => caller.principal = principal,
        Err(error) => return told::unauthorized_in(api, error, &id),
    }
    let query = passage.query(parts.uri.query(), |own| admission.carries(own.as_bytes()));
    let query = match query {
        Ok(query) => query,
        Err(text) => return Refused::new(400, text).answer_of(api, &id),
    };
    let own = Own {
        admission,
        passage,
        asked,
        method: parts.method,
        headers: parts.headers,
        query,
        body,
        name: String::new(),
        place: None,
        reserved: None,
        gateway: gateway.clone(),
        caller,
    };
    let principal = own.caller.principal.clone();
    let response = Box::pin(serve(own)).await;
    callers::bound_whatever_it_is(&gateway, &principal, response)
}

/// What Google's clients have in the query is a header's to say; a header that is there counts.
fn key_of_query(api: Api, headers: &mut HeaderMap, query: Option<&str>) {
    let is_said = ["authorization", "x-litellm-api-key", "x-goog-api-key"]
        .iter()
        .any(|name| headers.contains_key(*name));
    if is_said || !matches!(api, Api::Gemini | Api::Vertex) {
        return;
    }
    let mut members = query.unwrap_or_default().split('&');
    let key = members.find_map(|own| own.strip_prefix("key="));
    let key = key.and_then(|own| percent_decode_str(own).decode_utf8().ok());
    if let Some(mut value) = key.and_then(|own| HeaderValue::from_str(&own).ok()) {
        value.set_sensitive(true);
        headers.insert(X_GOOG_API_KEY.clone(), value);
    }
}

fn read(
    api: Api,
    (method, below): (&Method, &str),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Passage, Asked), Box<Refused>> {
    let writes = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    let passage = Passage::read(api, below, writes).map_err(|text| Box::new(Refused::new(400, text)))?;
    let kind = content_type(headers);
    if passage.reads_body() && !body::can_be_read(kind) {
        return Err(Box::new(told::other_kind(api)));
    }
    let asked = Asked::read(&passage, kind, body);
    let mut asked = asked.map_err(|error| Box::new(told::bad(error)))?;
    let mut said = DEARER.iter().flat_map(|name| headers.get_all(*name));
    asked.has_extras |= said.any(|value| !value.to_str().is_ok_and(is_usual));
    Ok((passage, asked))
}

/// What is no text is no kind that can be read.
fn content_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(CONTENT_TYPE);
    kind.map_or("", |kind| kind.to_str().unwrap_or("?"))
}

async fn serve(mut own: Own) -> Response {
    let api = own.passage.api;
    let catalogue = own.gateway.models.catalogue();
    let principal = &own.caller.principal;
    let (name, found) = found(&catalogue, &own.passage, own.asked.model.as_deref(), principal);
    own.name = name;
    let who = (&own.caller.request_id, &own.caller.principal);
    let mut pending = Pending::of(&own.gateway, who, CallKind::PassThrough, own.body.len());
    pending.model(&own.name);
    pending.tagged(tags::of(&own.headers, &own.asked.tags, &own.caller.principal));
    let chosen = match let_in(&mut own, &catalogue, found).await {
        Ok(chosen) => chosen,
        Err(refused) => {
            let response = refused.answer_of(api, &own.caller.request_id);
            pending.finish(refused.word, Some(refused.failure.message));
            return response;
        }
    };
    pending.reserve(own.reserved.take());
    pending.target(ServerId::new(&*chosen.ready.deployment.id), &own.name);
    sending::send(own, &catalogue, chosen, pending).await
}

/// The name that is decided about, and who is asked under it.
fn found(
    catalogue: &Catalogue,
    passage: &Passage,
    model: Option<&str>,
    principal: &Principal,
) -> (String, Found) {
    let providers = passage.providers();
    let prefix = passage.api.prefix();
    let serves = |group: &Group, providers| {
        let mut members = group.members.iter();
        members.any(|own| What::OwnApi(providers).is_done_by(own))
    };
    let Some(model) = model else {
        // Whoever may use all of them.
        let whole = format!("{prefix}/*");
        let mut groups = catalogue.groups();
        let of_others = groups.any(|(name, group)| name == whole && !serves(group, passage.api.providers()));
        let found = if of_others {
            Found::Others
        } else {
            Found::Account(None)
        };
        return (whole, found);
    };
    let model = match passage.api {
        Api::Gemini => model.strip_prefix("models/").unwrap_or(model),
        _ => model,
    };
    let whole = format!("{prefix}/{model}");
    let names = [model, whole.as_str()];
    // Names are made up by whoever asks: for one that may not be used nothing is looked up, for what is found is kept.
    if names.iter().any(|name| decide_model(principal, name).is_allow()) {
        for name in names {
            if let Some(group) = catalogue.group(name).filter(|own| serves(own, providers)) {
                return (name.to_owned(), Found::Group(group));
            }
        }
        // A name means one thing: who may have it need not have the provider's model of that name.
        if catalogue.group(&whole).is_some() {
            return (whole, Found::Others);
        }
    } else if catalogue.groups().any(|(own, _)| own == model) {
        return (model.to_owned(), Found::Others);
    }
    let found = Found::Account(Some(model.to_owned()));
    (whole, found)
}

/// Who is asked, or why nobody can be.
fn way(catalogue: &Catalogue, found: Found, own: &Own) -> Result<Way, Box<Refused>> {
    let model = match found {
        Found::Group(group) => return Ok(Way::Group(group)),
        Found::Others => return Err(Box::new(told::of_others(&own.name, own.passage.api))),
        Found::Account(model) => model,
    };
    let mut providers = own.passage.providers().iter();
    let account = providers.find_map(|own| catalogue.account(own, model.as_deref()));
    let account = account.ok_or_else(|| Box::new(told::no_account(own.passage.api)))?;
    Ok(Way::Account(account))
}

/// Whether it may be asked: the model that it names, and all of the provider, if it names what they have in common.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn decide(own: &Own) -> Result<(), Refused> {
    let (api, principal) = (own.passage.api, &own.caller.principal);
    let all = own.asked.names_kept.then(|| format!("{}/*", api.prefix()));
    for name in std::iter::once(&own.name).chain(&all) {
        if let Decision::Deny(denial) = decide_model(principal, name) {
            let who = (&own.caller.request_id, principal);
            let what = (CallKind::PassThrough, name.as_str());
            denied::model(&own.gateway, who, what, denial, StatusCode::FORBIDDEN);
            return Err(match own.asked.model {
                Some(_) if *name == own.name => told::denied(denial, name),
                _ => told::untold(denial, api),
            });
        }
    }
    Ok(())
}

/// Decide, limit, choose.
async fn let_in(own: &mut Own, catalogue: &Catalogue, found: Found) -> Result<Chosen, Refused> {
    let (gateway, principal) = (&own.gateway, &own.caller.principal);
    decide(own)?;
    deadline::asked(&own.headers).map_err(|text| Refused::new(400, text))?;
    let way = way(catalogue, found, own).map_err(|refused| *refused)?;
    let has_price = match &way {
        Way::Account(ready) => own.has_price(ready),
        Way::Group(group) => {
            let mut usable = group.members.iter().filter(|own| own.defect.is_none());
            usable.all(|ready| own.has_price(ready))
        }
    };
    let limited = |exceeded| told::limited(&exceeded);
    if own.asked.model.is_none() && !own.passage.is_free() {
        Limits::may_spend_on_any(principal).map_err(limited)?;
    }
    let place = gateway.limits.place(principal).await.map_err(limited)?;
    let limits_tokens = !own.passage.is_free() && Limits::counts_tokens(principal, &own.name);
    let counted = ModelRequest {
        model: &own.name,
        tokens: limits_tokens.then(|| own.may_take(&way)),
        has_price,
    };
    let reserved = gateway.limits.count_request(principal, counted).await;
    let reserved = reserved.map_err(limited)?;
    let rules = catalogue.rules();
    let tags = if rules.filters_tags {
        tags::of(&own.headers, &own.asked.tags, principal)
    } else {
        Vec::new()
    };
    let wanted = Wanted {
        what: What::OwnApi(own.passage.providers()),
        tags: &tags,
        tried: &[],
    };
    let mut asks_to_try = 0;
    let chosen = loop {
        let chosen = match &way {
            Way::Group(group) => gateway.models.choose(group, wanted, (rules, &gateway.limits)),
            Way::Account(ready) => gateway.models.alone(ready),
        };
        match chosen {
            // It is known soon whether this replica may try the one that rested.
            Err(why) if why == NoDeployment::Resting(TRIAL_ASKED) && asks_to_try < MOST_ASKS_TO_TRY => {
                asks_to_try += 1;
                sleep(TRIAL_ASKED).await;
            }
            other => break other,
        }
    };
    let chosen = chosen.map_err(|why| told::nobody(&why, &own.name))?;
    (own.place, own.reserved) = (place, reserved);
    Ok(chosen)
}

impl Own {
    /// About how many tokens it may take.
    fn may_take(&self, way: &Way) -> u64 {
        let kind = self.asked.content_type.as_deref().unwrap_or_default();
        let asked = match self.asked.model {
            // A file that is uploaded is read by no model.
            None => 0,
            Some(_) if kind.starts_with("multipart/") => estimate::OF_A_FILE,
            Some(_) => estimate::read_of(&self.body),
        };
        let writes = |own: Endpoint| !own.is_other() && own != Endpoint::Embeddings;
        if !self.passage.endpoint().is_none_or(writes) {
            return asked;
        }
        if let Some(most) = self.asked.may_write {
            return asked.saturating_add(most);
        }
        let written = match way {
            Way::Group(group) => group.members.iter().filter_map(|own| own.load.written()).max(),
            Way::Account(ready) => ready.load.written(),
        };
        asked.saturating_add(written.unwrap_or(TYPICAL))
    }

    /// Whether it is known what it will cost.
    fn has_price(&self, ready: &Ready) -> bool {
        let known = match self.passage.endpoint() {
            _ if self.passage.is_free() => return true,
            None => false,
            Some(endpoint) if endpoint.is_other() => ready.prices.covers(endpoint),
            Some(endpoint) => ready.prices.is_known(endpoint != Endpoint::Embeddings),
        };
        known && !self.asked.has_extras
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn every_api_is_one_for_allowed_routes() {
        for name in Api::ALL.iter().flat_map(|api| api.routes()) {
            let path = format!("/{name}/x");
            assert!(trunkline_model::key::is_llm_path(&path), "{path}");
            assert!(trunkline_model::key::is_pass_through(&path), "{path}");
        }
    }

    #[test]
    fn a_key_in_the_query_is_one_of_googles() {
        let found = |api, query, header: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            }
            key_of_query(api, &mut headers, Some(query));
            headers
                .get(&X_GOOG_API_KEY)
                .map(|own| own.to_str().unwrap().to_owned())
        };
        assert_eq!(
            found(Api::Gemini, "alt=sse&key=sk%2D1", None).as_deref(),
            Some("sk-1")
        );
        assert_eq!(found(Api::Gemini, "key=sk-1", Some("Bearer x")), None);
        assert_eq!(found(Api::OpenAi, "key=sk-1", None), None);
    }
}
