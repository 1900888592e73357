//! From a request to an answer: record it, then do what the script says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::protocol::{self, rpc_error, rpc_result};
use super::stream::{self, Body};
use super::{Act, Recorded, State};

/// A request with its body read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) head: Parts,
    /// The body as JSON; null when it is not.
    pub(crate) message: Value,
    pub(crate) body: Bytes,
}

impl Arrived {
    /// The `id` as JSON text; `null` when there is none.
    pub(crate) fn id(&self) -> String {
        self.message["id"].to_string()
    }

    /// The JSON-RPC method.
    pub(crate) fn method(&self) -> Option<&str> {
        self.message["method"].as_str()
    }
}

/// Closes the connection.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed here")
    }
}

impl std::error::Error for Closed {}

/// Counts a request as being answered for as long as it lives.
struct InFlight(Arc<State>);

impl InFlight {
    fn new(state: &Arc<State>) -> Self {
        let now = state.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        state.max_in_flight.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) async fn answer(
    state: Arc<State>,
    connection: usize,
    request: Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    let at = state.began.elapsed();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let message = serde_json::from_slice(&body).unwrap_or_default();
    let arrived = Arrived { head, message, body };
    let number = record(&state, connection, at, &arrived);
    let in_flight = (arrived.head.method == Method::POST).then(|| InFlight::new(&state));

    let name = arrived.method().unwrap_or(arrived.head.method.as_str());
    let act = state.next_act(&[name, "*"]);
    let response = perform(act, &state, &arrived).await?;
    state.set_status(number, response.status());
    Ok(response.map(|body| {
        body.map_frame(move |frame| {
            // Moves the guard into the body: a request is in flight until its answer is read.
            let _ = &in_flight;
            frame
        })
        .boxed_unsync()
    }))
}

fn record(state: &State, connection: usize, at: Duration, arrived: &Arrived) -> usize {
    let head = &arrived.head;
    let number = usize::try_from(state.counter.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
    let path = head
        .uri
        .path_and_query()
        .map_or(head.uri.path(), http::uri::PathAndQuery::as_str);
    state.live().requests.push(Recorded {
        number,
        at,
        http_method: head.method.clone(),
        path: path.to_owned(),
        headers: head.headers.clone(),
        body: arrived.body.clone(),
        method: arrived.method().map(str::to_owned),
        session: protocol::session_of(head),
        connection,
        status: None,
    });
    number
}

async fn perform(act: Act, state: &Arc<State>, arrived: &Arrived) -> Result<Response<Body>, Closed> {
    let proper = || protocol::serve(state, arrived);
    Ok(match act {
        Act::Serve => proper(),
        Act::Delay(time) => {
            tokio::time::sleep(time).await;
            proper()
        }
        Act::Hang => std::future::pending().await,
        Act::Drop => return Err(Closed),
        Act::Truncate(bytes) => {
            let (head, body) = whole(proper()).await?;
            Response::from_parts(head, stream::broken_off(body.slice(..bytes.min(body.len()))))
        }
        Act::Stall(bytes) => {
            let (head, body) = whole(proper()).await?;
            Response::from_parts(head, stream::stalled(body.slice(..bytes.min(body.len()))))
        }
        Act::WrongId => {
            let mut other = serde_json::from_slice::<Value>(&arrived.body).unwrap_or_default();
            if other.get("id").is_some() {
                other["id"] = "of-another-request".into();
            }
            let other = Arrived {
                head: arrived.head.clone(),
                body: other.to_string().into(),
                message: other,
            };
            protocol::serve(state, &other)
        }
        Act::EndlessBody => Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(stream::forever("[", vec![b' '; 16 * 1024], Duration::ZERO))
            .expect("legal headers"),
        Act::Http {
            status,
            headers,
            body,
        } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response
                .body(stream::full(body))
                .expect("status and headers of the script are legal")
        }
        Act::Result(result) => rpc_result(state, &arrived.id(), &result),
        Act::ByHeader { name, results } => {
            let value = arrived.head.headers.get(&name).map(http::HeaderValue::as_bytes);
            let value = value.unwrap_or_default();
            match results.iter().find(|(own, _)| own.as_bytes() == value) {
                Some((_, result)) => rpc_result(state, &arrived.id(), result),
                None => Response::builder()
                    .status(http::StatusCode::UNAUTHORIZED)
                    .body(stream::full("unauthorized"))
                    .expect("the status is legal"),
            }
        }
        Act::Error { code, message } => rpc_error(&arrived.id(), code, &message, &Value::Null),
        Act::GiantFrame(bytes) => {
            let (head, body) = whole(proper()).await?;
            // After `data:` in an event, at the start of a JSON body: spaces are legal in both places.
            let at = body
                .windows(5)
                .position(|window| window == b"data:")
                .map_or(0, |at| at + 5);
            Response::from_parts(head, stream::padded(body.slice(..at), bytes, body.slice(at..)))
        }
        Act::EndlessNotifications(pause) => {
            let token = &arrived.message["params"]["_meta"]["progressToken"];
            let params = serde_json::json!({"progressToken": token, "progress": 1});
            let message =
                serde_json::json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
            events(stream::forever("", stream::event(&message.to_string()), pause))
        }
        Act::SlowLoris(pause) => events(stream::forever("data: {", " ", pause)),
        Act::Events { before, result } => {
            let before = before.iter().map(Value::to_string);
            match result {
                Some(result) => {
                    let last = format!(
                        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}",
                        arrived.id()
                    );
                    let all = before.chain([last]).map(|message| (Duration::ZERO, message));
                    events(stream::timed(all.collect()))
                }
                None => protocol::pushed_after(state, before.collect()),
            }
        }
        Act::Listen => protocol::listen(state, arrived),
        Act::KeepAlivesOnly(pause) => events(stream::forever("", ": still here\n\n", pause)),
    })
}

async fn whole(response: Response<Body>) -> Result<(http::response::Parts, Bytes), Closed> {
    let (mut head, body) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Ok((head, body.collect().await.map_err(|_| Closed)?.to_bytes()))
}

pub(crate) fn events(body: Body) -> Response<Body> {
    let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    response
        .header(header::CACHE_CONTROL, "no-cache")
        .body(body)
        .expect("legal headers")
}
