//! What goes to the provider: the client's method, path, query and body, of its headers those of a short list, and the gateway's proof of
//! who asks. One request, and none again: nobody here knows what it does.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use scopeguard::ScopeGuard;
use tokio::time::{Instant, timeout_at};
use trunkline_llm::through::body::{self, Edit};
use trunkline_llm::through::{Api, Shape};
use trunkline_llm::{Endpoint, Place, Provider, Spoken};
use trunkline_model::{FailureKind, RouterRules, Step};
use trunkline_upstream::fault::Fault;
use trunkline_upstream::http::{Target, read_body};
use trunkline_upstream::{ResponseBody, provider};

use super::relay::{self, Relay};
use super::{Own, content_type};
use crate::llm::ask::{ANTHROPICS, MAX_ERROR, PROVIDERS, anthropics, kind, mark, rest_of, retry_after};
use crate::llm::bill::{self, Bill};
use crate::llm::catalogue::Catalogue;
use crate::llm::models::Ready;
use crate::llm::route::Chosen;
use crate::llm::told::{self, Refused};
use crate::llm::{cloud, spent};
use crate::record::Pending;
use crate::{answer, deadline};

/// Headers of a client's that go to a provider. What says who asks, who pays, or by which way it came is not among them.
const HANDED_ON: [&str; 11] = [
    "accept",
    "accept-language",
    "content-type",
    "idempotency-key",
    "openai-beta",
    "x-amzn-bedrock-accept",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-trace",
];
/// Headers of a provider's that go to the client, beside those that say how much it may ask for.
const HANDED_BACK: [&str; 14] = [
    "content-disposition",
    "content-encoding",
    "content-type",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "x-amzn-bedrock-content-type",
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-invocation-latency",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-request-id",
];

/// Asks, and hands the answer on.
pub(super) async fn send(own: Own, catalogue: &Catalogue, chosen: Chosen, pending: Pending) -> Response {
    let Chosen { ready, turn } = chosen;
    let bill = Bill {
        gateway: own.gateway.clone(),
        ready: ready.clone(),
        turn,
        model: own.name.clone(),
        endpoint: own.passage.endpoint().unwrap_or(Endpoint::ChatCompletions),
        request_bytes: own.body.len() as u64,
        has_extras: own.asked.has_extras,
        takes: !own.passage.is_free(),
        is_unknown: own.passage.endpoint().is_none(),
        asked: own.asked.measure,
    };
    let rules = catalogue.rules();
    let rest = ready.rest(rules);
    let (target, mut headers, body) = match written(&own, &ready) {
        Ok(written) => written,
        Err(refused) => return refuse(&own, *refused, pending),
    };
    let proved = cloud::prove(
        &own.gateway,
        &ready,
        (&own.method, &target),
        (&mut headers, &body),
    )
    .await;
    if let Err(fault) = proved {
        return refuse(&own, told::fault(&ready, fault), pending);
    }
    let its_own = ready.time(own.asked.stream, rules);
    // It was looked at when the request was let in.
    let wanted = deadline::asked(&own.headers).ok().flatten();
    let time = wanted.map_or(its_own, |wanted| wanted.min(its_own));
    let until = Instant::now() + time;
    // Whoever leaves in the meantime pays for what may have been done.
    let mut sending = bill::sending(bill, pending);
    let sent = (&own.method, &target);
    let answered = timeout_at(until, own.gateway.upstreams.ask_provider(sent, &headers, body)).await;
    let (fault, may_have_cost, failure) = match answered {
        Ok(Ok(response)) => {
            fares(&own.name, &mut sending.0, &response, (rules, rest));
            let (bill, pending) = ScopeGuard::into_inner(sending);
            return handed_on((own, &ready), (bill, pending), response, (time, until)).await;
        }
        Ok(Err(fault)) => {
            let may_have_cost = provider::may_have_been_sent(&fault);
            (fault, may_have_cost, FailureKind::InternalServer)
        }
        Err(_) => (Fault::timeout(Step::Call, time), true, FailureKind::Timeout),
    };
    let (mut bill, mut pending) = ScopeGuard::into_inner(sending);
    // One client's impatience is nobody else's.
    if failure != FailureKind::Timeout || time == its_own {
        let models = &own.gateway.models;
        let allowed = (rules.allowed_of(failure), failure);
        let news = bill.turn.failed(models.now(), rest, allowed);
        models.news.tell(&own.name, &ready, Some(news));
    }
    if may_have_cost {
        bill.settle_sent(&mut pending);
    }
    refuse(&own, told::fault(&ready, fault), pending)
}

/// Notes how the deployment does. What is not there, or may not be, is the request's affair and not its.
fn fares(
    name: &str,
    bill: &mut Bill,
    response: &http::Response<ResponseBody>,
    (rules, rest): (&RouterRules, Duration),
) {
    let models = &bill.gateway.models;
    let now = models.now();
    let news = match response.status().as_u16() {
        status @ (401 | 408 | 429 | 500..) => {
            let kind = kind(status, None);
            let rest = rest_of(rest, status, retry_after(response.headers()));
            Some(bill.turn.failed(now, rest, (rules.allowed_of(kind), kind)))
        }
        _ => bill.turn.succeeded(now),
    };
    models.news.tell(name, &bill.ready, news);
}

fn refuse(own: &Own, refused: Refused, pending: Pending) -> Response {
    let response = refused.answer_of(own.passage.api, &own.caller.request_id);
    pending.finish(refused.word, Some(refused.failure.message));
    response
}

/// Whether the provider is asked for what a stream takes although the client does not want to know it.
fn asks_usage(own: &Own, ready: &Ready) -> bool {
    let passage = &own.passage;
    let is_openais = passage.shape() == Some(Shape::OpenAi) && passage.api != Api::Vertex;
    let endpoint = passage.endpoint();
    let writes = matches!(endpoint, Some(Endpoint::ChatCompletions | Endpoint::Completions));
    // Google's own dialect knows no such wish, and its form of OpenAI's does.
    let knows = |own: &Provider| own.asks_usage || own.dialect == Spoken::Gemini;
    let is_asked = ready.provider.is_some_and(knows);
    is_openais && writes && is_asked && own.asked.stream && !own.asked.wants_usage
}

/// What is sent, but for a proof that is of the request itself.
fn written(own: &Own, ready: &Ready) -> Result<(Target, HeaderMap, Bytes), Box<Refused>> {
    let deployment = &ready.deployment;
    let params = &deployment.params;
    let place = Place {
        api_base: &params.api_base,
        model: &deployment.model,
        api_version: params.api_version.as_deref(),
        project: params.vertex_project.as_deref(),
        location: params.vertex_location.as_deref(),
        stream: false,
    };
    let asked = own.asked.model.as_deref();
    let other = asked.filter(|own| *own != deployment.model);
    let other = other.map(|_| deployment.model.as_str());
    let url = own.passage.url(&place, other, own.query.as_deref());
    let target = provider::target(&url).map_err(|fault| Box::new(told::fault(ready, fault)))?;
    let edit = Edit {
        model: &deployment.model,
        asks_usage: asks_usage(own, ready),
    };
    let body = body::written(&own.passage, content_type(&own.headers), &own.body, edit);
    let body = body.map_err(|error| Box::new(told::bad(error)))?;
    let body = body.map_or_else(|| own.body.clone(), Bytes::from);
    Ok((target, headers(own, ready)?, body))
}

fn headers(own: &Own, ready: &Ready) -> Result<HeaderMap, Box<Refused>> {
    let mut headers = ready.proofs();
    if own.passage.api == Api::Anthropic {
        anthropics(&mut headers, (ready, &own.headers), &[]);
    }
    for name in HANDED_ON.map(HeaderName::from_static) {
        let value = own.headers.get(&name);
        let value = value.filter(|value| !own.admission.carries(value.as_bytes()));
        // What the operator always sends counts more.
        if let (Some(value), false) = (value, headers.contains_key(&name)) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(kind) = &own.asked.content_type {
        // As it was read, whatever the client has besides.
        let kind = HeaderValue::from_str(kind);
        headers.insert(
            CONTENT_TYPE,
            kind.map_err(|_| Box::new(told::other_kind(own.passage.api)))?,
        );
    } else if !own.body.is_empty() {
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

/// The provider has said something.
async fn handed_on(
    (own, ready): (Own, &Arc<Ready>),
    (bill, mut pending): (Bill, Pending),
    response: http::Response<ResponseBody>,
    (time, until): (Duration, Instant),
) -> Response {
    let status = response.status();
    if status.is_redirection() {
        bill.settle_sent(&mut pending);
        let refused = told::unreadable(ready, "it leads elsewhere, and nothing is followed");
        return refuse(&own, refused, pending);
    }
    let mut headers = handed_back(response.headers());
    mark(&mut headers, "x-litellm-model-id", &ready.deployment.id);
    mark(&mut headers, "x-litellm-model-group", &own.name);
    mark(
        &mut headers,
        "x-litellm-model-api-base",
        &ready.deployment.params.api_base,
    );
    if !status.is_success() {
        return said_no((&own, &**ready), response, headers, (pending, until)).await;
    }
    let principal = &own.caller.principal;
    // What is said aloud is paid by what was to be said.
    let is_settled = own.passage.endpoint() == Some(Endpoint::Speech);
    let said = is_settled.then(|| bill.settle_measured(&mut pending, &bill.asked));
    let limit = own.gateway.upstreams.settings().max_message_bytes;
    let mut relay = Relay {
        meter: relay::meter(&own.passage, response.headers(), limit).hiding_usage(asks_usage(&own, ready)),
        is_measured: own.passage.endpoint().is_some_and(Endpoint::is_other),
        bill,
        pending: Some(pending),
        place: own.place,
        time,
        is_settled,
        body: response.into_body(),
        ended: None,
    };
    let (mut held, mut cost) = (Vec::new(), said.flatten());
    if !own.asked.stream && relay.is_read_whole() {
        (held, cost) = Box::pin(relay.hold()).await;
    }
    if let Some(pending) = &relay.pending {
        let spent = (pending, cost);
        if relay.is_settled {
            spent::after(&mut headers, &own.gateway, principal, spent);
        } else {
            spent::before(&mut headers, &own.gateway, principal, pending);
        }
    }
    relay.answer(status, headers, held)
}

fn handed_back(theirs: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let limits = ANTHROPICS.iter().map(|(name, _)| *name);
    for name in HANDED_BACK.into_iter().chain(PROVIDERS).chain(limits) {
        if let Some(value) = theirs.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    headers
}

/// Its error goes on as it is, without the credential that it was asked with.
async fn said_no(
    (own, ready): (&Own, &Ready),
    response: http::Response<ResponseBody>,
    mut headers: HeaderMap,
    (mut pending, until): (Pending, Instant),
) -> Response {
    let status = response.status();
    let after = retry_after(&headers);
    let body = timeout_at(until, read_body(response, MAX_ERROR, Step::Call)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let refused = told::provider(ready, status.as_u16(), &body, after);
    let mut response = match std::str::from_utf8(&body) {
        Ok(text) if !text.is_empty() => answer::json(status, ready.redacted(text)),
        _ => {
            // What is no text is nothing that could be looked through.
            headers.remove(CONTENT_TYPE);
            headers.remove(http::header::CONTENT_ENCODING);
            refused.answer_of(own.passage.api, &own.caller.request_id)
        }
    };
    pending.sent(body.len());
    pending.finish(refused.word, Some(refused.failure.message));
    response.headers_mut().extend(headers);
    response
}
