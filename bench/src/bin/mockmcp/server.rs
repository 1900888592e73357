//! The servers behind one port.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Args;

type Answer = Response<Full<Bytes>>;

/// Without a hand-shake: every request says of which revision it is, and results of which kind they are.
const MODERN: &str = "2026-07-28";
/// With one; newest first.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

pub(crate) struct Servers {
    args: Args,
    all: Vec<Server>,
    /// How many requests there were, by JSON-RPC method, else by HTTP method, or `rejected`.
    counts: Mutex<BTreeMap<String, u64>>,
}

struct Server {
    /// The result of `tools/list`.
    tools: String,
    sessions: Mutex<HashSet<String>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize, Default)]
struct Arguments {
    #[serde(default)]
    message: String,
}

impl Servers {
    pub(crate) fn new(args: Args) -> Self {
        let server = |number| Server {
            tools: tools(number, args.tools),
            sessions: Mutex::default(),
        };
        let all = (0..args.servers.max(1)).map(server).collect();
        Self {
            args,
            all,
            counts: Mutex::default(),
        }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().trim_end_matches('/');
        let server = match path {
            "/mcp" => Some(0),
            "/stats" => return json_answer(json!(*self.counts()).to_string()),
            _ => path
                .strip_prefix("/s/")
                .and_then(|rest| rest.strip_suffix("/mcp"))
                .and_then(|i| i.parse().ok()),
        };
        let Some(server) = server.and_then(|number: usize| self.all.get(number)) else {
            return refusal(StatusCode::NOT_FOUND, "no such server");
        };
        let answer = self.mcp(server, request).await;
        answer.unwrap_or_else(|refused| {
            self.count("rejected");
            refused
        })
    }

    /// An answer, or the refusal of a request that is not as the protocol has it.
    async fn mcp(&self, server: &Server, request: Request<Incoming>) -> Result<Answer, Answer> {
        if let Some(refused) = self.unauthorized(&request) {
            return Err(refused);
        }
        let session = header_of(&request, "mcp-session-id").map(str::to_owned);
        let modern = header_of(&request, "mcp-protocol-version") == Some(MODERN);
        let known = modern
            || self.args.stateless
            || session
                .as_ref()
                .is_some_and(|session| lock(&server.sessions).contains(session));
        let unknown = || refusal(StatusCode::NOT_FOUND, "unknown session");
        match *request.method() {
            Method::POST => {}
            Method::DELETE if known => {
                self.count("DELETE");
                lock(&server.sessions).remove(&session.unwrap_or_default());
                return Ok(Response::new(Full::default()));
            }
            Method::DELETE => return Err(unknown()),
            _ => return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "POST or DELETE")),
        }
        let accept = header_of(&request, "accept").unwrap_or_default();
        if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
            return Err(refusal(StatusCode::NOT_ACCEPTABLE, "Accept must name both kinds"));
        }
        let body = request.into_body().collect().await;
        let body = body
            .map_err(|_| refusal(StatusCode::BAD_REQUEST, "body"))?
            .to_bytes();
        let message: Message =
            serde_json::from_slice(&body).map_err(|_| refusal(StatusCode::BAD_REQUEST, "not JSON-RPC"))?;
        let method = message.method.as_deref().unwrap_or("response");
        if method != "initialize" && !known {
            return Err(unknown());
        }
        self.count(method);
        let Some(id) = message.id.filter(|_| message.method.is_some()) else {
            let mut accepted = Response::new(Full::default());
            *accepted.status_mut() = StatusCode::ACCEPTED;
            return Ok(accepted);
        };
        let params = message.params.map_or("{}", RawValue::get);
        if modern && method != "initialize" {
            return Ok(self.modern(server, method, id.get(), params));
        }
        Ok(self.request(server, method, id.get(), params))
    }

    /// The refusal of a request without the token.
    fn unauthorized(&self, request: &Request<Incoming>) -> Option<Answer> {
        let token = &self.args.token;
        let given = header_of(request, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_empty() || given == Some(token) {
            return None;
        }
        let mut refused = refusal(StatusCode::UNAUTHORIZED, "bad bearer token");
        refused
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(refused)
    }

    fn request(&self, server: &Server, method: &str, id: &str, params: &str) -> Answer {
        match method {
            "initialize" => self.initialize(server, id, params),
            "ping" => self.result(id, "{}"),
            "tools/list" => self.result(id, &server.tools),
            "tools/call" => match called(params, "") {
                Some(result) => self.result(id, &result),
                None => error(id, -32602, "Invalid params"),
            },
            _ => error(id, -32601, "Method not found"),
        }
    }

    fn modern(&self, server: &Server, method: &str, id: &str, params: &str) -> Answer {
        const COMPLETE: &str = r#""resultType":"complete","#;
        const CACHEABLE: &str = r#""resultType":"complete","ttlMs":0,"cacheScope":"private","#;
        match method {
            "server/discover" => {
                let result = format!(
                    r#"{{{CACHEABLE}"supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}}}}}}"#
                );
                self.result(id, &result)
            }
            "tools/list" => {
                let list = server.tools.strip_prefix('{').unwrap_or_default();
                self.result(id, &format!("{{{CACHEABLE}{list}"))
            }
            "tools/call" => match called(params, COMPLETE) {
                Some(result) => self.result(id, &result),
                None => error(id, -32602, "Invalid params"),
            },
            _ => error(id, -32601, "Method not found"),
        }
    }

    fn initialize(&self, server: &Server, id: &str, params: &str) -> Answer {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let wanted = params["protocolVersion"].as_str().unwrap_or_default();
        let revision = REVISIONS
            .iter()
            .find(|&&known| known == wanted)
            .unwrap_or(&REVISIONS[0]);
        let result = json!({
            "protocolVersion": revision,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "mock", "version": "1.0.0"},
        });
        let mut answer = self.result(id, &result.to_string());
        if !self.args.stateless {
            let random = || RandomState::new().hash_one(id);
            let session = format!("{:016x}{:016x}", random(), random());
            if let Ok(value) = HeaderValue::from_str(&session) {
                answer.headers_mut().insert("mcp-session-id", value);
            }
            lock(&server.sessions).insert(session);
        }
        answer
    }

    fn result(&self, id: &str, result: &str) -> Answer {
        let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
        if !self.args.sse {
            return json_answer(message);
        }
        let mut answer = json_answer(format!("event: message\ndata: {message}\n\n"));
        answer.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        answer
    }

    fn count(&self, what: &str) {
        let mut counts = self.counts();
        match counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(counts.insert(what.to_owned(), 1)),
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        lock(&self.counts)
    }
}

/// The result of a call, with `members` before the others; `None` for none of a tool.
fn called(params: &str, members: &str) -> Option<String> {
    let call: Call = serde_json::from_str(params).ok()?;
    let text = Value::from(call.arguments.message);
    (!call.name.is_empty()).then(|| {
        format!("{{{members}\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":false}}")
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn header_of<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn json_answer(text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn error(id: &str, code: i64, message: &str) -> Answer {
    let message = Value::from(message);
    json_answer(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}}}}}"
    ))
}

fn refusal(status: StatusCode, message: &str) -> Answer {
    let mut answer = error("null", -32600, message);
    *answer.status_mut() = status;
    answer
}

/// The result of `tools/list`: `echo`, then tools of the size that real ones have.
fn tools(server: usize, count: usize) -> String {
    let echo = json!({
        "name": "echo",
        "description": "Return the message unchanged.",
        "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
    });
    let others = (1..count).map(|number| {
        json!({
            "name": format!("mirror_op_{number:03}"),
            "title": format!("Mirror operation {number}"),
            "description": format!(
                "Operation {number} on server {server}: create, synchronise or inspect a repository mirror and \
                 return its state, with the commit it is at and the time of the last successful run."
            ),
            "inputSchema": {
                "type": "object",
                "properties": {
                    "owner": {"type": "string", "description": "Owner of the source repository"},
                    "repo": {"type": "string", "description": "Name of the source repository"},
                    "branch": {"type": "string", "description": "Branch to mirror; all when absent"},
                    "depth": {"type": "integer", "minimum": 0, "description": "History depth; 0 for all of it"},
                    "force": {"type": "boolean", "default": false},
                },
                "required": ["owner", "repo"],
            },
            "annotations": {"readOnlyHint": number % 2 == 0, "destructiveHint": false},
        })
    });
    let tools: Vec<Value> = std::iter::once(echo).chain(others).collect();
    json!({"tools": tools}).to_string()
}
