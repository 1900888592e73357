//! Ask: one deployment, and after a failure that did nothing perhaps another one.
//!
//! A request is sent again only if nothing of it was sent, or if the provider said with a status that it did not do it: 408, 409,
//! 429 and 5xx as in LiteLLM, and 401 and 403, because another deployment has another credential. Once an answer has begun, it is
//! the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};
use trunkline_model::Step;
use trunkline_upstream::fault::Fault;
use trunkline_upstream::http::{read_body, read_whole};
use trunkline_upstream::{ResponseBody, provider};

use super::models::{Catalogue, NoDeployment, Ready};
use super::told::{self, Refused};
use super::{Asked, relay};
use crate::record::Pending;
use crate::{answer, deadline};

/// Bytes that are read of an answer that is an error.
const MAX_ERROR: usize = 64 * 1024;
/// The longest that a provider's `Retry-After` is believed.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Asks until there is an answer, or nobody is left to ask.
pub(super) async fn run(asked: Asked<'_>, mut pending: Pending) -> Response {
    let catalogue = asked.gateway.models.catalogue();
    let mut tried: Vec<String> = Vec::new();
    let mut last: Option<Refused> = None;
    let most = usize::try_from(catalogue.rules().num_retries).unwrap_or(usize::MAX);
    while tried.len() <= most {
        let name = (asked.request.model.as_str(), asked.endpoint);
        let ready = match asked.gateway.models.choose(&catalogue, name, &tried) {
            Ok(ready) => ready,
            Err(why) => {
                // What the last one said is worth more than that there is nobody else.
                let known =
                    matches!(why, NoDeployment::Tried | NoDeployment::Resting(_)).then(|| last.take());
                last = known.flatten().or_else(|| Some(told::nobody(&why, name.0)));
                break;
            }
        };
        pending.target(&ready.deployment.id, name.0);
        match attempt(&asked, &catalogue, &ready).await {
            Ok(head) => {
                let retries = tried.len();
                return hand_on(asked, pending, &ready, head, retries).await;
            }
            Err(failed) => {
                if let Some(time) = failed.rest {
                    asked.gateway.models.rest(&ready, time);
                }
                tried.push(ready.deployment.id.clone());
                last = Some(failed.refused);
                if !failed.again {
                    break;
                }
            }
        }
    }
    let refused = last.unwrap_or_else(|| told::unknown(&asked.request.model));
    let mut response = refused.answer();
    let retries = tried.len().saturating_sub(1);
    mark(
        response.headers_mut(),
        "x-litellm-attempted-retries",
        &retries.to_string(),
    );
    mark(
        response.headers_mut(),
        "x-litellm-model-group",
        &asked.request.model,
    );
    pending.finish(refused.word, Some(refused.failure.message));
    response
}

/// The head of an answer that is one, and until when the rest has to be there.
struct Head {
    response: http::Response<ResponseBody>,
    time: Duration,
    until: Instant,
}

/// A deployment that gave none.
struct Failed {
    refused: Refused,
    /// Another one may be asked.
    again: bool,
    /// It is left alone for so long.
    rest: Option<Duration>,
}

async fn attempt(asked: &Asked<'_>, catalogue: &Catalogue, ready: &Arc<Ready>) -> Result<Head, Failed> {
    let rules = catalogue.rules();
    let own = ready.time(asked.request.stream, rules);
    // What is wrong with it was said before.
    let time = deadline::asked(asked.headers)
        .ok()
        .flatten()
        .map_or(own, |wanted| wanted.min(own));
    let until = Instant::now() + time;
    let rest = Duration::try_from_secs_f64(rules.cooldown_time).unwrap_or_default();
    let failed = |fault: Fault, again: bool| Failed {
        refused: told::fault(ready, fault),
        again,
        rest: Some(rest),
    };
    let (Some(target), Some(provider)) = (ready.target(asked.endpoint), ready.provider) else {
        return Err(failed(
            Fault::misconfigured("it does not serve this endpoint"),
            true,
        ));
    };
    let body = asked.request.body(&ready.deployment.model, provider.renames);
    let headers = ready.headers(asked.request.stream);
    let sent = asked
        .gateway
        .upstreams
        .ask_provider(target, &headers, Bytes::from(body));
    match timeout_at(until, sent).await {
        // One client's impatience is nobody else's.
        Err(_) => Err(Failed {
            rest: (time == own).then_some(rest),
            ..failed(Fault::timeout(Step::Call, time), false)
        }),
        Ok(Err(fault)) => {
            let again = !provider::may_have_been_sent(&fault);
            Err(failed(fault, again))
        }
        Ok(Ok(response)) if response.status().is_success() => Ok(Head {
            response,
            time,
            until,
        }),
        Ok(Ok(response)) => Err(refused(ready, response, rest, until).await),
    }
}

/// The provider said no.
async fn refused(
    ready: &Ready,
    response: http::Response<ResponseBody>,
    rest: Duration,
    until: Instant,
) -> Failed {
    let status = response.status().as_u16();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let after: Option<u64> = after.and_then(|text| text.trim().parse().ok());
    // Two seconds at most: the words are worth no more.
    let soon = until.min(Instant::now() + Duration::from_secs(2));
    let body = timeout_at(soon, read_body(response, MAX_ERROR, Step::Call)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let wanted = after
        .map(Duration::from_secs)
        .filter(|wanted| *wanted <= LONGEST_REST && status == 429);
    let rests = matches!(status, 401 | 402 | 403 | 404 | 408 | 429 | 500..);
    Failed {
        refused: told::provider(ready, status, &body, after),
        again: matches!(status, 401 | 403 | 408 | 409 | 429 | 500..),
        rest: rests.then(|| {
            if rest.is_zero() {
                rest
            } else {
                wanted.map_or(rest, |wanted| wanted.max(rest))
            }
        }),
    }
}

/// The answer to the client: in pieces if it comes in pieces.
async fn hand_on(
    asked: Asked<'_>,
    mut pending: Pending,
    ready: &Arc<Ready>,
    head: Head,
    retries: usize,
) -> Response {
    let headers = headers(&asked, ready, head.response.headers(), retries);
    let model = asked.request.model.clone();
    let limit = asked.gateway.upstreams.settings().max_message_bytes;
    if is_stream(head.response.headers()) {
        let relay = relay::Relay {
            gateway: asked.gateway.clone(),
            ready: ready.clone(),
            model,
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
    let declared = trunkline_upstream::http::declared_length(&head.response);
    let mut body = head.response.into_body();
    let whole = timeout_at(head.until, read_whole(&mut body, declared, limit, Step::Call)).await;
    let whole = whole.unwrap_or_else(|_| Err(Fault::timeout(Step::Call, head.time)));
    let read = match whole.as_deref().map(std::str::from_utf8) {
        Ok(Ok(text)) => {
            trunkline_llm::answer::renamed(text, &model).map_err(|why| told::unreadable(ready, &why))
        }
        Ok(Err(_)) => Err(told::unreadable(ready, "it is not UTF-8")),
        Err(fault) => Err(told::fault(ready, fault.clone())),
    };
    let mut response = match read {
        Ok((text, usage)) => {
            if let Some(usage) = usage {
                asked.gateway.metrics.count_tokens(&model, &usage);
            }
            pending.sent(text.len());
            pending.finish("ok", None);
            answer::json(
                StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::OK),
                text,
            )
        }
        Err(refused) => {
            let response = refused.answer();
            pending.finish(refused.word, Some(refused.failure.message));
            response
        }
    };
    response.headers_mut().extend(headers);
    response
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    kind.split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Headers of a provider's that are handed on as they are.
const PROVIDERS: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// LiteLLM's headers, those of which the value is known.
fn headers(asked: &Asked<'_>, ready: &Ready, theirs: &HeaderMap, retries: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    mark(&mut headers, "x-litellm-model-id", &ready.deployment.id);
    mark(&mut headers, "x-litellm-model-group", &asked.request.model);
    mark(
        &mut headers,
        "x-litellm-model-api-base",
        &ready.deployment.params.api_base,
    );
    mark(&mut headers, "x-litellm-attempted-retries", &retries.to_string());
    mark(&mut headers, "x-litellm-attempted-fallbacks", "0");
    for name in PROVIDERS {
        if let Some(value) = theirs.get(name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = theirs.get("x-request-id") {
        headers.insert("llm_provider-x-request-id", value.clone());
    }
    headers
}

/// What cannot stand in a header is left out.
fn mark(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
