//! More requests for one answer: providers that take one text at a time are asked for each, some at the same time.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Method;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, timeout_at};
use trunkline_model::Step;
use trunkline_upstream::fault::Fault;

use super::models::Ready;
use super::told::{self, Refused};
use super::{Asked, ask, cloud};

/// At the same time.
const AT_ONCE: usize = 8;

/// The texts of their answers, in order. The first that fails is what is told.
pub(super) async fn texts(
    (asked, ready): (&Asked<'_>, &Arc<Ready>),
    bodies: Vec<Vec<u8>>,
    until: Instant,
) -> Result<Vec<String>, Refused> {
    let asks = bodies
        .into_iter()
        .map(|body| one((asked, ready), body.into(), until));
    stream::iter(asks).buffered(AT_ONCE).try_collect().await
}

async fn one(
    (asked, ready): (&Asked<'_>, &Arc<Ready>),
    body: Bytes,
    until: Instant,
) -> Result<String, Refused> {
    let told = |fault| told::fault(ready, fault);
    let target = ready
        .target(asked.provider_endpoint(), false)
        .ok_or_else(|| told(Fault::misconfigured("it does not serve this endpoint")))?;
    let mut headers = ready.headers(false);
    let sent = (&Method::POST, target);
    cloud::prove(asked.gateway, ready, sent, (&mut headers, &body))
        .await
        .map_err(told)?;
    let time = until.saturating_duration_since(Instant::now());
    let answered = timeout_at(until, asked.gateway.upstreams.ask_provider(sent, &headers, body)).await;
    let response = answered
        .unwrap_or_else(|_| Err(Fault::timeout(Step::Call, time)))
        .map_err(told)?;
    if !response.status().is_success() {
        return Err(ask::refused(ready, response, std::time::Duration::ZERO, until)
            .await
            .refused);
    }
    let limit = asked.gateway.upstreams.settings().max_message_bytes;
    ask::read_text(ready, (response, time, until), limit).await
}
