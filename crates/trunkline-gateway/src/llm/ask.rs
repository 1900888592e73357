//! Ask: one deployment; after a failure that did nothing perhaps another one is asked ([`super::tries`]).
//!
//! A request is sent again only if nothing of it was sent, or if the provider said with a status that it did not do it: 408, 409,
//! 429 and 5xx as in LiteLLM, and 401 and 403, because another deployment has another credential. Once an answer has begun, it is
//! the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use scopeguard::ScopeGuard;
use tokio::time::{Instant, timeout_at};
use trunkline_llm::place::Paths;
use trunkline_llm::translate::{Drops, Target as Written};
use trunkline_llm::{BadRequest, Cause, Dialect, Endpoint, Sent, Spoken, Task};
use trunkline_model::{FailureKind, Step};
use trunkline_upstream::fault::Fault;
use trunkline_upstream::http::{read_body, read_whole};
use trunkline_upstream::{ResponseBody, provider};

use super::bill::{self, Bill};
use super::catalogue::Catalogue;
use super::load::Turn;
use super::models::{BETA, Ready, VERSION};
use super::passing::Passing;
use super::retry::LONGEST;
use super::told::{self, Refused};
use super::tries::{Answered, Tries};
use super::{Asked, cloud, kept, more, others, relay, spent};
use crate::answer;
use crate::record::Pending;

/// Bytes that are read of an answer that is an error.
pub(super) const MAX_ERROR: usize = 64 * 1024;
/// Characters of the header that says what was left out.
const MAX_DROPPED: usize = 1024;

/// What a client is told that gets no answer.
pub(super) fn refuse(asked: &Asked<'_>, refused: Refused, pending: Pending, tries: &Tries) -> Response {
    let mut response = refused.answer_in(asked.endpoint.dialect(), asked.request_id);
    let headers = response.headers_mut();
    tried(headers, tries);
    mark(headers, "x-litellm-model-group", &asked.request.model);
    pending.finish(refused.word, Some(refused.failure.message));
    response
}

/// What an answer of a deployment will come to.
pub(super) fn bill(asked: &Asked<'_>, ready: &Arc<Ready>, turn: Turn) -> Bill {
    Bill {
        gateway: asked.gateway.clone(),
        ready: ready.clone(),
        turn,
        model: asked.request.model.clone(),
        endpoint: asked.endpoint,
        request_bytes: asked.request_bytes as u64,
        has_extras: asked.request.has_extras && ready.has_extras(asked.endpoint),
        takes: asked.takes(),
        is_unknown: false,
        asked: asked.request.measure(),
    }
}

/// How often what was done.
pub(super) fn tried(headers: &mut HeaderMap, tries: &Tries) {
    for (name, number) in [
        ("x-litellm-attempted-retries", tries.retries),
        ("x-litellm-max-retries", tries.most),
        ("x-litellm-attempted-fallbacks", tries.fallbacks),
    ] {
        headers.insert(name, HeaderValue::from(number));
    }
}

/// The head of an answer that is one, and until when the rest has to be there.
pub(super) struct Head {
    pub(super) response: http::Response<ResponseBody>,
    /// What was sent, without its body.
    pub(super) sent: Sent,
    /// Between two pieces.
    pub(super) time: Duration,
    /// Of a whole answer.
    pub(super) until: Instant,
}

/// A deployment that gave none.
pub(super) struct Failed {
    pub(super) refused: Refused,
    pub(super) kind: FailureKind,
    /// Another one may be asked.
    pub(super) again: bool,
    /// It may have done it all the same, for nobody knows what.
    pub(super) may_have_cost: bool,
    /// It is left alone for so long.
    pub(super) rest: Option<Duration>,
    /// It said no, and not nothing.
    pub(super) answered: bool,
}

/// Asks one deployment.
pub(super) async fn attempt(
    asked: &Asked<'_>,
    catalogue: &Catalogue,
    ready: &Arc<Ready>,
) -> Result<Head, Failed> {
    let rules = catalogue.rules();
    let own = ready.time(asked.request.stream, rules);
    let time = asked.time.map_or(own, |wanted| wanted.min(own));
    let now = Instant::now();
    // What a request asks for is for all of its tries together.
    let until = asked
        .time
        .map_or(now + time, |wanted| (now + time).min(asked.began + wanted));
    let rest = ready.rest(rules);
    let failed = |fault: Fault, again: bool| Failed {
        refused: told::fault(ready, fault),
        kind: FailureKind::InternalServer,
        again,
        may_have_cost: false,
        rest: Some(rest),
        answered: false,
    };
    let endpoint = asked.provider_endpoint();
    let (Some(target), Some(provider)) = (ready.target(endpoint, asked.request.stream), ready.provider)
    else {
        return Err(failed(
            Fault::misconfigured("it does not serve this endpoint"),
            true,
        ));
    };
    let errand = asked.kept.as_ref().and_then(|kept| kept.errand.as_ref());
    let (written, drops) = ready.written((provider, endpoint), rules);
    let served = provider.serving(endpoint).unwrap_or(endpoint);
    let mut sent = match asked.written((endpoint, served), (&written, provider.renames), &drops) {
        Ok(sent) => sent,
        // Another deployment may have a word for it.
        Err(error) => {
            return Err(Failed {
                refused: told::bad(error),
                kind: FailureKind::BadRequest,
                again: true,
                may_have_cost: false,
                rest: None,
                answered: false,
            });
        }
    };
    let mut headers = ready.headers(asked.request.stream);
    if provider.dialect == Spoken::By(Dialect::Anthropic) {
        anthropics(&mut headers, (ready, asked.headers), &sent.betas);
    }
    others::fit(&mut headers, asked.endpoint, sent.content_type.as_deref());
    let mut body = Bytes::from(std::mem::take(&mut sent.body));
    if provider.paths == Paths::VertexAnthropic {
        headers.remove(&VERSION);
        let counts = endpoint == Endpoint::CountTokens;
        body = trunkline_llm::google::vertex_message(&body, counts).map_or(body, Bytes::from);
    }
    let kept = match errand.and_then(|errand| ready.kept(errand)) {
        None if errand.is_some() => {
            // Its name has another provider by now.
            return Err(Failed {
                rest: None,
                ..failed(Fault::misconfigured("it keeps no responses"), false)
            });
        }
        Some(Err(fault)) => return Err(failed(fault, false)),
        Some(Ok(target)) => Some(target),
        None => None,
    };
    let method = errand.map_or(&Method::POST, |errand| &errand.method);
    let target = (method, kept.as_ref().unwrap_or(target));
    let proved = cloud::prove(asked.gateway, ready, target, (&mut headers, &body)).await;
    proved.map_err(|fault| failed(fault, true))?;
    let answered = asked.gateway.upstreams.ask_provider(target, &headers, body);
    match timeout_at(until, answered).await {
        // One client's impatience is nobody else's.
        Err(_) => Err(Failed {
            rest: (until >= now + own).then_some(rest),
            kind: FailureKind::Timeout,
            may_have_cost: true,
            ..failed(Fault::timeout(Step::Call, time), false)
        }),
        Ok(Err(fault)) => {
            let again = !provider::may_have_been_sent(&fault);
            Err(Failed {
                may_have_cost: !again,
                ..failed(fault, again)
            })
        }
        Ok(Ok(response)) if response.status().is_success() => Ok(Head {
            response,
            sent,
            time,
            until,
        }),
        Ok(Ok(response)) => {
            let is_gone = asked.kept.is_some() && response.status() == StatusCode::NOT_FOUND;
            let failed = Box::pin(refused(ready, response, rest, until)).await;
            // There is no such response: the deployment is well.
            Err(Failed {
                rest: failed.rest.filter(|_| !is_gone),
                ..failed
            })
        }
    }
}

impl Asked<'_> {
    /// What is sent: of one about a response that is kept nothing.
    fn written(
        &self,
        endpoints: (Endpoint, Endpoint),
        (target, renames): (&Written<'_>, &[(&str, &str)]),
        drops: &Drops,
    ) -> Result<Sent, BadRequest> {
        let errand = self.kept.as_ref().and_then(|kept| kept.errand.as_ref());
        match (errand, &self.dialogue) {
            (Some(_), _) => Ok(Sent::nothing()),
            (None, Some(dialogue)) => self.request.send_dialogue(dialogue, target, drops),
            (None, None) => self.request.send_as(endpoints, target, renames, drops),
        }
    }
}

/// The client's headers about Anthropic's API. The operator's revision counts more than the client's; what is tried out is what
/// anybody wants to.
pub(super) fn anthropics(headers: &mut HeaderMap, (ready, theirs): (&Ready, &HeaderMap), betas: &[String]) {
    if let (Some(version), false) = (theirs.get(&VERSION), ready.has_own_version()) {
        headers.insert(VERSION.clone(), version.clone());
    }
    let mut all: Vec<String> = Vec::new();
    let own = headers.get_all(&BETA).iter().chain(theirs.get_all(&BETA));
    let own = own
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    for beta in own.map(str::trim).chain(betas.iter().map(String::as_str)) {
        if !beta.is_empty() && !all.iter().any(|own| own == beta) {
            all.push(beta.to_owned());
        }
    }
    if let Ok(value) = HeaderValue::from_str(&all.join(","))
        && !all.is_empty()
    {
        headers.insert(BETA.clone(), value);
    }
}

/// The provider said no.
pub(super) async fn refused(
    ready: &Ready,
    response: http::Response<ResponseBody>,
    rest: Duration,
    until: Instant,
) -> Failed {
    let status = response.status().as_u16();
    let after = retry_after(response.headers());
    // Two seconds at most: the words are worth no more.
    let soon = until.min(Instant::now() + Duration::from_secs(2));
    let body = timeout_at(soon, read_body(response, MAX_ERROR, Step::Call)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let rests = matches!(status, 401 | 402 | 403 | 404 | 408 | 429 | 500..);
    let refused = told::provider(ready, status, &body, after);
    Failed {
        kind: kind(status, refused.cause),
        refused,
        again: matches!(status, 401 | 403 | 408 | 409 | 429 | 500..),
        may_have_cost: false,
        answered: true,
        rest: rests.then(|| rest_of(rest, status, after)),
    }
}

/// When a provider wants to be asked again: seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok()
}

/// How long a deployment is left alone that answered with this: as long as it wants, where it says that it is asked too often.
pub(super) fn rest_of(rest: Duration, status: u16, after: Option<u64>) -> Duration {
    let wanted = after.map(Duration::from_secs);
    match wanted.filter(|wanted| *wanted <= LONGEST && status == 429) {
        Some(wanted) if !rest.is_zero() => wanted.max(rest),
        _ => rest,
    }
}

pub(super) fn kind(status: u16, cause: Option<Cause>) -> FailureKind {
    match (cause, status) {
        (Some(Cause::ContentPolicy), _) => FailureKind::ContentPolicy,
        (_, 401 | 403) => FailureKind::Authentication,
        (_, 408) => FailureKind::Timeout,
        (_, 429) => FailureKind::RateLimit,
        (_, 400 | 404 | 413 | 422) => FailureKind::BadRequest,
        _ => FailureKind::InternalServer,
    }
}

/// The answer to the client: in pieces if it comes in pieces.
pub(super) async fn hand_on(asked: Box<Asked<'_>>, answered: Answered, tries: &Tries) -> Response {
    let Answered { sending, ready, head } = answered;
    let ready = &ready;
    let mut headers = headers(&asked, ready, &head, tries);
    if asked.endpoint.is_other() {
        return Box::pin(others::hand_on((asked, sending), ready, head, headers)).await;
    }
    let passing = Passing {
        way: head.sent.way.clone(),
        task: head.sent.task.clone(),
        dialect: asked.endpoint.dialect(),
        model: asked.request.model.clone(),
        created: asked.gateway.clock.now().as_second(),
        hides_usage: !asked.request.wants_usage,
        ids: kept::ids(
            asked.gateway,
            asked.principal.id(),
            (&asked.request.model, &ready.deployment.id),
            asked.name,
        ),
    };
    let limit = asked.gateway.upstreams.settings().max_message_bytes;
    if is_stream(head.response.headers()) {
        let (bill, pending) = ScopeGuard::into_inner(sending);
        spent::before(&mut headers, asked.gateway, &asked.principal, &pending);
        let relay = relay::Relay {
            bill,
            passing,
            time: head.time,
            limit,
            pending,
            place: asked.place,
        };
        let mut response = relay.answer(head.response.into_body());
        response.headers_mut().extend(headers);
        return response;
    }
    let status = head.response.status();
    let counted = counted(&passing.task, head.response.headers());
    let counted = (counted, sending.0.about());
    let body = (head.response, head.time, head.until);
    // Its provider counts each of them.
    let now = asked.gateway.models.now();
    sending.0.turn.sends(now, head.sent.more.len());
    let read = match read_text(ready, body, limit).await {
        Ok(text) => more::texts((&asked, ready), head.sent.more, head.until)
            .await
            .map(|more| (text, more)),
        Err(refused) => Err(refused),
    };
    let read = match read {
        Ok((text, more)) => {
            let whole = passing.whole(&text, &more, counted);
            whole.map_err(|why| told::unreadable(ready, &why))
        }
        Err(refused) => Err(refused),
    };
    let (bill, mut pending) = ScopeGuard::into_inner(sending);
    let (text, usage) = match read {
        Ok(read) => read,
        Err(refused) => {
            // It may have been done, and cost something.
            bill.settle_sent(&mut pending);
            let mut response = refused.answer_in(passing.dialect, asked.request_id);
            pending.finish(refused.word, Some(refused.failure.message));
            response.headers_mut().extend(headers);
            return response;
        }
    };
    let cost = bill.settle(&mut pending, usage, bill::tokens_of(text.len()));
    spent::after(&mut headers, asked.gateway, &asked.principal, (&pending, cost));
    pending.sent(text.len());
    pending.finish("ok", None);
    let status = StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::OK);
    let mut response = answer::json(status, text);
    response.headers_mut().extend(headers);
    response
}

/// Tokens that Bedrock says in a header, of vectors of which the body does not say it.
fn counted(task: &Task, headers: &HeaderMap) -> Option<u64> {
    let value = headers.get("x-amzn-bedrock-input-token-count")?;
    let count = value.to_str().ok()?.trim().parse().ok();
    count.filter(|_| matches!(task, Task::Vectors(_)))
}

/// The text of a whole answer.
pub(super) async fn read_text(
    ready: &Ready,
    (response, time, until): (http::Response<ResponseBody>, Duration, Instant),
    limit: usize,
) -> Result<String, Refused> {
    let declared = trunkline_upstream::http::declared_length(&response);
    let mut body = response.into_body();
    let whole = timeout_at(until, read_whole(&mut body, declared, limit, Step::Call)).await;
    let whole = whole.unwrap_or_else(|_| Err(Fault::timeout(Step::Call, time)));
    let whole = whole.map_err(|fault| told::fault(ready, fault))?;
    String::from_utf8(whole.to_vec()).map_err(|_| told::unreadable(ready, "it is not UTF-8"))
}

/// What answers in pieces say that they are.
const STREAMS: [&str; 2] = ["text/event-stream", "application/vnd.amazon.eventstream"];

pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    kind.split(';')
        .next()
        .is_some_and(|kind| STREAMS.iter().any(|own| kind.trim().eq_ignore_ascii_case(own)))
}

/// Headers of a provider's that are handed on as they are.
pub(super) const PROVIDERS: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// Anthropic's, and LiteLLM's names for them.
pub(super) const ANTHROPICS: [(&str, &str); 6] = [
    ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
    (
        "anthropic-ratelimit-requests-remaining",
        "x-ratelimit-remaining-requests",
    ),
    ("anthropic-ratelimit-requests-reset", "x-ratelimit-reset-requests"),
    ("anthropic-ratelimit-tokens-limit", "x-ratelimit-limit-tokens"),
    (
        "anthropic-ratelimit-tokens-remaining",
        "x-ratelimit-remaining-tokens",
    ),
    ("anthropic-ratelimit-tokens-reset", "x-ratelimit-reset-tokens"),
];

/// What of the request was left out is told to the client, and to the operator.
fn told_dropped(headers: &mut HeaderMap, asked: &Asked<'_>, ready: &Ready, dropped: &[String]) {
    let names = dropped.join(",");
    tracing::debug!(
        request_id = asked.request_id.as_str(),
        model = asked.request.model,
        deployment = ready.deployment.id,
        dropped = names,
        "members of a request were left out: its provider has no word for them"
    );
    // Names of members may have anything in them.
    let shown: String = names
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect();
    mark(
        headers,
        "x-trunkline-dropped-params",
        shown.get(..MAX_DROPPED).unwrap_or(&shown),
    );
}

/// LiteLLM's headers, those of which the value is known.
pub(super) fn headers(asked: &Asked<'_>, ready: &Ready, head: &Head, tries: &Tries) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let theirs = head.response.headers();
    tried(&mut headers, tries);
    if !head.sent.dropped.is_empty() {
        told_dropped(&mut headers, asked, ready, &head.sent.dropped);
    }
    mark(&mut headers, "x-litellm-model-id", &ready.deployment.id);
    mark(&mut headers, "x-litellm-model-group", &asked.request.model);
    mark(
        &mut headers,
        "x-litellm-model-api-base",
        &ready.deployment.params.api_base,
    );
    for name in PROVIDERS {
        if let Some(value) = theirs.get(name) {
            headers.insert(name, value.clone());
        }
    }
    for (name, other) in ANTHROPICS {
        if let Some(value) = theirs.get(name) {
            headers.insert(other, value.clone());
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = theirs.get("x-request-id") {
        headers.insert("llm_provider-x-request-id", value.clone());
    }
    if let Some(value) = theirs.get("request-id") {
        headers.insert("llm_provider-request-id", value.clone());
        // Where Anthropic's own SDKs look for it.
        headers.insert("request-id", value.clone());
    }
    headers
}

/// What cannot stand in a header is left out.
pub(super) fn mark(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
