//! Handing a request on to the replica that holds what it is about, and its answer back, unbuffered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{Method, Request, Uri};
use axum::response::Response;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout;
use trunkline_mcp::sse;
use trunkline_model::{ClientAddress, ReplicaId};
use trunkline_upstream::peer::{PeerBody, PeerConnection, PeerFault};

use crate::Gateway;
use crate::context::Context;
use crate::peers::hop::{self, HELLO, HELLO_WITHIN, HOP, HandedOn};

/// How long the head of an answer may take: the replica hands answers to a server and then sends a head within seconds.
const HEAD_WITHIN: Duration = Duration::from_secs(90);
/// Streams have a comment every 15 s; what says nothing for so long is over.
const SILENCE: Duration = Duration::from_mins(1);
/// How long one replica may take to be told something that nobody waits for.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// Why a request was not answered by the replica that holds what it is about. It was not sent twice, and nothing was run
/// again.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not among the replicas, cannot be reached, or is another one by now.
    #[error("the gateway's replica that has it is gone, or cannot be reached")]
    Gone,
    /// Nobody knows where it is.
    #[error("the gateway's replica that has it has no address: set --advertise-url there")]
    NoAddress,
    /// It took the request and went away.
    #[error("the gateway's replica that has it went away before it answered")]
    Broken,
    /// It took the request and says nothing.
    #[error("the gateway's replica that has it did not answer within {} s", HEAD_WITHIN.as_secs())]
    Late,
    /// The request was handed on already.
    #[error("the gateway's replica that it was handed to does not have it")]
    Again,
}

impl Context {
    /// The request that this is about, to be handed on with this body.
    pub fn request(&self, method: Method, body: impl Into<Bytes>) -> Request<Bytes> {
        let mut request = Request::new(body.into());
        *request.method_mut() = method;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(self.request_id.as_str()) {
            // One request, one id, in the logs of both.
            request
                .headers_mut()
                .insert(HeaderName::from_static("x-litellm-call-id"), id);
        }
        request.extensions_mut().insert(self.principal.client());
        if self.handed_on {
            request.extensions_mut().insert(HandedOn);
        }
        request
    }
}

/// Hands a client's request on, as it came, to the replica `to`, and gives its answer. That replica identifies and
/// authorises it like any other. A request that was handed on is not handed on again.
pub async fn forward(
    gateway: &Gateway,
    to: ReplicaId,
    request: Request<Bytes>,
) -> Result<Response, PeerError> {
    if request.extensions().get::<HandedOn>().is_some() || to == gateway.peers.own_id() {
        return Err(PeerError::Again);
    }
    let address = gateway.peers.find(to).await?;
    let failed = |fault: PeerFault| {
        tracing::warn!(replica = %to.to_hex(), %address, %fault, "a request could not be handed to another replica");
        match fault {
            PeerFault::Connect(_) => PeerError::Gone,
            PeerFault::Broken(_) => PeerError::Broken,
            PeerFault::Late(_) => PeerError::Late,
        }
    };
    let mut connection = PeerConnection::open(&address).await.map_err(failed)?;
    greet(gateway, to, &address, &mut connection).await?;
    let request = outgoing(gateway, to, request);
    let answer = connection.send(request, HEAD_WITHIN).await.map_err(failed)?;
    let (mut parts, body) = answer.into_parts();
    without_hops(&mut parts.headers);
    tracing::debug!(replica = %to.to_hex(), status = parts.status.as_u16(), "handed to another replica");
    Ok(Response::from_parts(parts, relayed(body)))
}

/// Asks for a proof that it is the replica that is meant: its address may be somebody else's by now, who must not be
/// sent a client's credentials.
async fn greet(
    gateway: &Gateway,
    to: ReplicaId,
    address: &str,
    connection: &mut PeerConnection,
) -> Result<(), PeerError> {
    let uri = Uri::from_static(HELLO);
    let hop = gateway.peers.hop_to(
        to,
        (&Method::GET, &uri),
        ClientAddress::default(),
        gateway.clock.now(),
    );
    let mut hello = Request::new(Full::default());
    *hello.uri_mut() = uri;
    for (name, value) in [(HOST, address), (HOP.clone(), hop.as_str())] {
        let value = HeaderValue::from_str(value).map_err(|_| PeerError::Gone)?;
        hello.headers_mut().insert(name, value);
    }
    let shown = match connection.send(hello, HELLO_WITHIN).await {
        Ok(answer) if gateway.peers.is_welcome(to, &hop, answer.headers()) => return Ok(()),
        Ok(answer) => format!("its answer was {}", answer.status()),
        Err(fault) => fault.to_string(),
    };
    tracing::warn!(
        replica = %to.to_hex(), address, shown,
        "what listens there did not show that it is the replica: it may be another one by now, or the clocks differ by more than a minute"
    );
    Err(PeerError::Gone)
}

/// The request as it goes to the replica.
fn outgoing(gateway: &Gateway, to: ReplicaId, request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let uri = hop::target(&parts.uri, &parts.extensions);
    // Origin form: the target of a request to a proxy names a host as well.
    parts.uri = uri.path_and_query().cloned().map_or(uri, Uri::from);
    let client = parts.extensions.remove::<ClientAddress>().unwrap_or_default();
    parts.extensions.clear();
    without_hops(&mut parts.headers);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(EXPECT);
    let hop = gateway
        .peers
        .hop_to(to, (&parts.method, &parts.uri), client, gateway.clock.now());
    if let Ok(value) = HeaderValue::from_str(&hop) {
        parts.headers.insert(HOP.clone(), value);
    }
    Request::from_parts(parts, Full::new(body))
}

/// Takes off what is about one connection (RFC 9110, 7.6.1).
fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HOP.clone()];
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The body of an answer, as it comes. Dropping it closes the connection, and the replica sees that the client has left.
fn relayed(body: PeerBody) -> Body {
    let pieces = stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match timeout(SILENCE, body.frame()).await {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => {
                let piece = frame.into_data().unwrap_or_default();
                Some((Ok::<_, axum::BoxError>(piece), Some(body)))
            }
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Err(_) => Some((Err("the replica says nothing any more".into()), None)),
        }
    });
    Body::from_stream(pieces)
}

/// The same answer; if its event stream breaks off between two events, `word` is the last one: a client then knows why
/// nothing more comes.
pub fn with_last_word(response: Response, word: String) -> Response {
    let streams = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "text/event-stream");
    if !streams {
        return response;
    }
    response.map(|body| {
        let pieces = body.into_data_stream();
        let told = stream::unfold((Some(pieces), true, word), |(pieces, between, word)| async move {
            let mut pieces = pieces?;
            match pieces.next().await? {
                Ok(piece) => {
                    let between = piece.ends_with(b"\n\n") || (between && piece.is_empty());
                    Some((Ok(piece), (Some(pieces), between, word)))
                }
                Err(_) if between => {
                    let last = Bytes::from(sse::encode_message(&word));
                    Some((Ok(last), (None, true, word)))
                }
                Err(error) => Some((Err(error), (None, false, word))),
            }
        });
        Body::from_stream(told)
    })
}

/// Hands a request to all other replicas, for what any of them may hold. Nobody waits for it, and when too many are
/// under way it is left out: it is for what helps and is not promised.
pub fn tell_all(gateway: &Arc<Gateway>, request: Request<Bytes>) {
    if request.extensions().get::<HandedOn>().is_some() {
        return;
    }
    let others = gateway.peers.reachable();
    if others.is_empty() {
        return;
    }
    let Ok(permit) = gateway.peers.telling.clone().try_acquire_owned() else {
        tracing::debug!("too much is being told to the other replicas");
        return;
    };
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let told = others
            .into_iter()
            .map(|to| timeout(TELL_WITHIN, forward(&gateway, to, request.clone())));
        join_all(told).await;
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer;

    #[test]
    fn what_is_about_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Once"),
            ("connection", "te"),
            ("x-once", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer key"),
            ("host", "gateway.example.com"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        without_hops(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host"]);
    }

    async fn with_pieces(pieces: &'static [&'static str], breaks: bool) -> Result<String, axum::Error> {
        let pieces = stream::iter(
            pieces
                .iter()
                .map(|piece| Ok(Bytes::from_static(piece.as_bytes()))),
        );
        let end = stream::iter(breaks.then(|| Err(std::io::Error::other("gone"))));
        let answer = answer::event_stream(Body::from_stream(pieces.chain(end)));
        let answer = with_last_word(answer, "{\"last\":1}".to_owned());
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_between_events_has_a_last_word() {
        let whole = with_pieces(&[": a\n\n", "data: 1\n\n"], true).await.unwrap();
        assert!(whole.ends_with("data: {\"last\":1}\n\n"), "{whole}");
        assert!(with_pieces(&["data: 1\n\n", "data: {"], true).await.is_err());
        assert_eq!(with_pieces(&["data: 1\n\n"], false).await.unwrap(), "data: 1\n\n");
    }
}
