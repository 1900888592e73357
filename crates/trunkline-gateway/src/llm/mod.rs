//! Requests to models: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/messages`, `/v1/responses`, `/v1/rerank`,
//! `/v1/moderations`, `/v1/images/generations`, `/v1/audio/…`, the lists of models, and LiteLLM's other paths of the same.
//!
//! ```text
//! accept → identify → read → decide → limit → choose → ask → relay → record
//! ```
//!
//! Identity, limits and records are those of the rest of the gateway, and who may use a model is decided beside tools
//! (`trunkline_policy::decide_model`). [`models`] has the deployments, [`catalogue`] finds them by their names, [`route`] chooses one by how
//! all of them do ([`load`]), [`ask`] asks it, `tries` asks the next of the name ([`retry`]), [`rests`] tells the other replicas who fails,
//! `fallback` asks the next name. [`relay`] hands the answer on ([`passing`] as it is, or translated), `others` what is no text of a model,
//! `through` whatever else of a provider's own API, `bill` notes what it cost and `spent` says it,
//! `credentials` is what a provider is told beside a body, `kept` finds the deployment that has a response, [`told`] says what went wrong,
//! [`list`] and [`groups`] show what there is.
//!
//! **Invariant:** of what a client sends only its body goes to a provider, with another name for the model in it or translated; and,
//! to one that speaks Anthropic's dialect, `anthropic-version` and `anthropic-beta`. (Of a request that is handed on as it is, also the
//! headers of a short list in `through`.)
//! **Invariant:** nothing is sent a second time that a provider may have begun to answer.

pub mod ask;
mod bill;
pub mod catalogue;
mod cloud;
mod counting;
mod credentials;
mod fallback;
pub mod groups;
mod kept;
pub mod list;
mod load;
pub mod models;
mod more;
mod others;
mod passing;
pub mod relay;
pub mod rests;
mod retry;
pub mod route;
mod spent;
mod tags;
mod through;
pub mod told;
mod tools;
mod tries;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::time::Instant;
use trunkline_auth::{Admission, AuthError, Surface};
use trunkline_llm::Endpoint;
use trunkline_llm::routing::MOST_RETRIES;
use trunkline_llm::translate::Dialogue;
use trunkline_model::{CallKind, ClientAddress, Principal, RequestId};
use trunkline_policy::{Decision, decide_model};

use crate::accept::{Arrived, read_body};
use crate::context::identify;
use crate::limits::{Limits, ModelRequest, Place, Reserved};
use crate::record::Pending;
use crate::{Gateway, callers, deadline, denied};

use catalogue::Group;
pub use route::Models;
use told::Refused;

/// The routes.
pub(crate) fn router() -> Router<Arc<Gateway>> {
    let mut router = Router::new()
        .route("/v1/models", get(list::all))
        .route("/models", get(list::all))
        .route("/v1/models/{*model}", get(list::one))
        .route("/models/{*model}", get(list::one))
        .route("/v1/model/info", get(list::info))
        .route("/model/info", get(list::info))
        .route("/model_group/info", get(groups::info));
    for endpoint in Endpoint::ANTHROPIC {
        let path = endpoint.path();
        let plain = move |State(gateway), request| handle(gateway, endpoint, None, request);
        router = router
            .route(&format!("/v1/{path}"), post(plain))
            .route(&format!("/anthropic/v1/{path}"), post(plain));
    }
    for endpoint in Endpoint::OPENAI {
        let path = endpoint.path();
        let plain = move |State(gateway), request| handle(gateway, endpoint, None, request);
        let named = move |State(gateway), Path(model): Path<String>, request| {
            handle(gateway, endpoint, Some(model), request)
        };
        router = router
            .route(&format!("/v1/{path}"), post(plain))
            .route(&format!("/{path}"), post(plain))
            .route(&format!("/engines/{{model}}/{path}"), post(named))
            .route(&format!("/openai/deployments/{{model}}/{path}"), post(named));
    }
    router = through::routes(others::routes(router));
    for path in RESPONSES {
        let plain = move |State(gateway), request| handle(gateway, Endpoint::Responses, None, request);
        router = kept::routes(router.route(path, post(plain)), path);
    }
    router
}

/// Where clients look for responses.
const RESPONSES: [&str; 3] = ["/v1/responses", "/responses", "/openai/v1/responses"];

/// Who asks, and for what.
pub(crate) struct Caller {
    pub(crate) request_id: RequestId,
    pub(crate) principal: Principal,
}

/// Which request it is; without the front door, nobody knows.
fn request_id(arrived: Option<&Arrived>) -> RequestId {
    arrived.map_or_else(|| RequestId::new(""), |arrived| arrived.request_id.clone())
}

/// Identify.
pub(crate) fn enter(
    gateway: &Gateway,
    arrived: Option<&Arrived>,
    headers: &HeaderMap,
    path: &str,
) -> Result<Caller, AuthError> {
    admitted(gateway, arrived, headers, path).map(|(caller, _)| caller)
}

/// The same, with what of the headers was the proof.
fn admitted(
    gateway: &Gateway,
    arrived: Option<&Arrived>,
    headers: &HeaderMap,
    path: &str,
) -> Result<(Caller, Admission), AuthError> {
    let request_id = request_id(arrived);
    let client = arrived.map_or_else(ClientAddress::default, |arrived| arrived.client);
    let (principal, admission) =
        identify(gateway, headers, Surface::Management, path).inspect_err(|error| {
            denied::route(gateway, *error, Some(&request_id), path);
        })?;
    let caller = Caller {
        request_id,
        principal: principal.at(client),
    };
    Ok((caller, admission))
}

/// One request to a model, let in.
pub(crate) struct Asked<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) request_id: &'a RequestId,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: &'a HeaderMap,
    /// Who asks.
    pub(crate) principal: Cow<'a, Principal>,
    /// Its name of the model is the one that is asked just now.
    pub(crate) request: trunkline_llm::Request<'a>,
    /// What is sent instead, where the gateway calls tools for the model.
    dialogue: Option<Dialogue>,
    /// The name of the model that the client asked for.
    pub(crate) name: &'a str,
    /// The deployments of the name that is asked just now.
    group: Arc<Group>,
    /// Which deployments it is for.
    tags: Vec<String>,
    began: Instant,
    /// How long it may take, as it says itself.
    time: Option<Duration>,
    /// How often it may be tried again, as it says itself.
    retries: Option<u32>,
    /// Of its body.
    pub(crate) request_bytes: usize,
    /// The response that it is about, or goes on from.
    pub(crate) kept: Option<kept::Kept>,
    pub(crate) place: Option<Place>,
    /// The tokens that it may take, until its record has them.
    reserved: Option<Reserved>,
}

impl Asked<'_> {
    /// Whether its answer takes tokens: one about a response that is kept only tells again what that took.
    pub(crate) fn takes(&self) -> bool {
        takes(self.endpoint, self.kept.as_ref())
    }

    /// What the provider is asked for. Nobody else's responses can be gone on from when tools were called here.
    fn provider_endpoint(&self) -> Endpoint {
        match self.endpoint {
            Endpoint::Responses if self.dialogue.is_some() => Endpoint::ChatCompletions,
            endpoint => endpoint,
        }
    }
}

fn takes(endpoint: Endpoint, kept: Option<&kept::Kept>) -> bool {
    endpoint != Endpoint::CountTokens && kept.is_none_or(|kept| kept.errand.is_none())
}

async fn handle(
    gateway: Arc<Gateway>,
    endpoint: Endpoint,
    model: Option<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrived = parts.extensions.get::<Arrived>();
    let dialect = endpoint.dialect();
    let mut caller = match enter(&gateway, arrived, &parts.headers, parts.uri.path()) {
        Ok(caller) => caller,
        Err(error) => return told::unauthorized(error, dialect, &request_id(arrived)),
    };
    let body = match read_body(body, gateway.edge.load().max_body_bytes).await {
        Ok(body) => body,
        Err(error) => {
            let refused = Refused::new(error.status().as_u16(), error.to_string());
            return refused.answer_in(dialect, &caller.request_id);
        }
    };
    // Before anything of it is sent: a body may say for whom it is, and that decides too.
    let named = (endpoint, model.as_deref());
    let mut request = match read(&gateway, &mut caller, (&parts.headers, &body), named) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    match tools::named(&mut request, &parts.headers) {
        Ok(own) if own.is_empty() => {}
        Ok(_) if !tools::are_served(endpoint) => {
            let text =
                "tools of MCP servers are called in chats, messages and responses alone: leave them out";
            let refused = Refused::new(400, text).param(Some("tools".to_owned()));
            return refused.answer_in(dialect, &caller.request_id);
        }
        Ok(_) => {
            let (principal, streams) = (caller.principal.clone(), request.stream);
            drop(request);
            let client = tools::Client {
                gateway: gateway.clone(),
                caller,
                headers: parts.headers,
                body,
                endpoint,
                model,
            };
            let response = Box::pin(tools::serve(client, streams)).await;
            return callers::bound(&gateway, &principal, response);
        }
        Err(refused) => return refused.answer_in(dialect, &caller.request_id),
    }
    let what = (endpoint, body.len());
    let pending = pending_of((&gateway, &caller), &parts.headers, &request, what);
    let name = request.model.clone();
    let kept = match kept::previous(&gateway, &caller.principal, &mut request) {
        Ok(kept) => kept,
        Err(refused) => {
            pending.finish(refused.word, Some(refused.failure.message.clone()));
            return refused.answer_in(dialect, &caller.request_id);
        }
    };
    let what = (endpoint, kind(endpoint));
    let sent = (&parts.headers, body.len());
    let asked = match let_in(&gateway, &caller, what, sent, (request, kept), &name).await {
        Ok(asked) => asked,
        Err(refused) => {
            pending.finish(refused.word, Some(refused.failure.message.clone()));
            return refused.answer_in(dialect, &caller.request_id);
        }
    };
    if endpoint == Endpoint::CountTokens && counting::is_guessed(&asked) {
        return counting::guess(&asked, pending);
    }
    let response = Box::pin(fallback::run(asked, pending)).await;
    callers::bound(&gateway, &caller.principal, response)
}

/// The record of a request.
fn pending_of(
    (gateway, caller): (&Arc<Gateway>, &Caller),
    headers: &HeaderMap,
    request: &trunkline_llm::Request<'_>,
    (endpoint, bytes): (Endpoint, usize),
) -> Pending {
    let who = (&caller.request_id, &caller.principal);
    let mut pending = Pending::of(gateway, who, kind(endpoint), bytes);
    pending.model(&request.model);
    pending.tagged(tags::of(headers, &request.routing.tags, &caller.principal));
    pending
}

fn kind(endpoint: Endpoint) -> CallKind {
    match endpoint {
        Endpoint::ChatCompletions => CallKind::ChatCompletion,
        Endpoint::Completions => CallKind::TextCompletion,
        Endpoint::Embeddings => CallKind::Embedding,
        Endpoint::Messages => CallKind::Message,
        Endpoint::CountTokens => CallKind::CountTokens,
        Endpoint::Responses => CallKind::Response,
        Endpoint::Rerank => CallKind::Rerank,
        Endpoint::Moderations => CallKind::Moderation,
        Endpoint::ImageGenerations => CallKind::ImageGeneration,
        Endpoint::Speech => CallKind::Speech,
        Endpoint::Transcriptions => CallKind::Transcription,
    }
}

#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn read<'a>(
    gateway: &Gateway,
    caller: &mut Caller,
    (headers, body): (&HeaderMap, &'a Bytes),
    (endpoint, model): (Endpoint, Option<&str>),
) -> Result<trunkline_llm::Request<'a>, Response> {
    let dialect = endpoint.dialect();
    let request = if endpoint == Endpoint::Transcriptions {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        trunkline_llm::Request::read_form(body, kind.unwrap_or_default(), model)
    } else {
        trunkline_llm::Request::read_in(dialect, body, model)
    };
    let request = request.map_err(|error| told::bad(error).answer_in(dialect, &caller.request_id))?;
    let principal = gateway
        .authenticator
        .on_behalf_of(caller.principal.clone(), request.user.as_deref());
    caller.principal = principal.map_err(|error| told::unauthorized(error, dialect, &caller.request_id))?;
    Ok(request)
}

/// Decide and limit.
async fn let_in<'a>(
    gateway: &'a Arc<Gateway>,
    caller: &'a Caller,
    (endpoint, kind): (Endpoint, CallKind),
    (headers, request_bytes): (&'a HeaderMap, usize),
    (request, kept): (trunkline_llm::Request<'a>, Option<kept::Kept>),
    name: &'a str,
) -> Result<Box<Asked<'a>>, Refused> {
    let principal = &caller.principal;
    if let Decision::Deny(denial) = decide_model(principal, &request.model) {
        let who = (&caller.request_id, principal);
        let what = (kind, request.model.as_str());
        denied::model(gateway, who, what, denial, StatusCode::FORBIDDEN);
        return Err(told::denied(denial, &request.model));
    }
    let catalogue = gateway.models.catalogue();
    let Some(group) = catalogue.group(&request.model) else {
        return Err(told::unknown(&request.model));
    };
    let takes = takes(endpoint, kept.as_ref());
    let has_price = !takes || has_price(&group, &request, endpoint);
    if request.stream && !endpoint.streams() {
        let text = "this endpoint has no answers in pieces: leave `stream` out";
        return Err(Refused::new(400, text).param(Some("stream".to_owned())));
    }
    let asked = deadline::asked(headers).map_err(|text| Refused::new(400, text))?;
    let time = asked.or(request.routing.timeout);
    let retries = match request.routing.num_retries {
        None => retries(headers).map_err(|text| Refused::new(400, text))?,
        own => own,
    };
    let tags = if catalogue.rules().filters_tags {
        tags::of(headers, &request.routing.tags, principal)
    } else {
        Vec::new()
    };
    let place = gateway
        .limits
        .place(principal)
        .await
        .map_err(|exceeded| told::limited(&exceeded))?;
    let limits_tokens = takes && Limits::counts_tokens(principal, &request.model);
    let counted = ModelRequest {
        model: &request.model,
        tokens: limits_tokens.then(|| may_take(&group, &request, endpoint)),
        has_price,
    };
    let reserved = gateway
        .limits
        .count_request(principal, counted)
        .await
        .map_err(|exceeded| told::limited(&exceeded))?;
    // Boxed: it is handed from one step to the next.
    Ok(Box::new(Asked {
        gateway,
        request_id: &caller.request_id,
        endpoint,
        headers,
        principal: Cow::Borrowed(principal),
        request,
        dialogue: None,
        name,
        group,
        tags,
        began: Instant::now(),
        time,
        retries,
        request_bytes,
        kept,
        place,
        reserved,
    }))
}

/// Tokens that an answer is taken to have, before there was one.
const TYPICAL: u64 = 256;

/// About how many tokens it may take: as many as the deployments of the name write, where the request does not say how many that may be.
fn may_take(group: &Group, request: &trunkline_llm::Request<'_>, endpoint: Endpoint) -> u64 {
    if endpoint.is_other() || endpoint == Endpoint::Embeddings {
        return request.may_take(0);
    }
    let written = group.members.iter().filter_map(|own| own.load.written());
    request.may_take(written.max().unwrap_or(TYPICAL))
}

/// Whether it is known what an answer of any of them costs: which one will be asked is not known yet.
fn has_price(group: &Group, request: &trunkline_llm::Request<'_>, endpoint: Endpoint) -> bool {
    let writes = endpoint != Endpoint::Embeddings;
    let mut usable = group.members.iter().filter(|own| own.defect.is_none());
    usable.all(|own| {
        let is_known = if endpoint.is_other() {
            own.prices.covers(endpoint)
        } else {
            own.prices.is_known(writes)
        };
        is_known && !(request.has_extras && own.has_extras(endpoint))
    })
}

/// LiteLLM's header for how often a request is tried again.
const RETRIES: &str = "x-litellm-num-retries";

/// What it says. The error says what is wrong with it.
fn retries(headers: &HeaderMap) -> Result<Option<u32>, String> {
    let Some(value) = headers.get(RETRIES) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let number = number.filter(|own| *own <= MOST_RETRIES);
    match number {
        None => Err(format!("{RETRIES} must be a whole number, up to {MOST_RETRIES}")),
        own => Ok(own),
    }
}
