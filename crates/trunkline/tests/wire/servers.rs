//! Servers that ask in the middle of a request: of the old era with requests of their own, of the new one with results. They
//! count what they did.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use trunkline_testkit::{Bare, BareServer, Said, event};

use crate::support::Era;

/// Something that a server asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) key: &'static str,
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

pub(crate) fn form() -> Question {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    Question {
        key: "form",
        method: "elicitation/create",
        params: json!({"mode": "form", "message": "who?", "requestedSchema": schema}),
    }
}

pub(crate) fn page() -> Question {
    Question {
        key: "page",
        method: "elicitation/create",
        params: json!({"mode": "url", "message": "sign in", "url": "https://example.com/in"}),
    }
}

pub(crate) fn sampling() -> Question {
    let message = json!({"role": "user", "content": {"type": "text", "text": "capital?"}});
    Question {
        key: "sampling",
        method: "sampling/createMessage",
        params: json!({"messages": [message], "maxTokens": 5}),
    }
}

pub(crate) fn roots() -> Question {
    Question {
        key: "roots",
        method: "roots/list",
        params: json!({}),
    }
}

/// What comes before the result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What is asked, round by round.
    pub(crate) rounds: Vec<Vec<Question>>,
    /// Asks the last round again and again.
    pub(crate) endless: bool,
    /// Rounds of the new era that ask nothing and want to be asked again.
    pub(crate) empty_rounds: usize,
    /// Waits for [`Asking::go_on`] before the result.
    pub(crate) holds: bool,
    /// Messages before anything else.
    pub(crate) before: Vec<Value>,
    /// An error in place of it all, the first time.
    pub(crate) first_error: Option<Value>,
}

#[derive(Default)]
struct State {
    plan: Mutex<Plan>,
    begun: AtomicUsize,
    done: AtomicUsize,
    cancelled: AtomicUsize,
    next: AtomicUsize,
    /// By the server's own id: of which call, and where the answer goes.
    waiting: Mutex<HashMap<String, (String, oneshot::Sender<Value>)>>,
    heard: Mutex<Vec<Value>>,
    go_on: Notify,
}

/// A server with one tool, one prompt and one resource, all of which ask.
pub(crate) struct Asking {
    pub(crate) server: BareServer,
    state: Arc<State>,
}

impl Asking {
    pub(crate) async fn start(era: Era, plan: Plan) -> Self {
        let state = Arc::new(State::default());
        *state.plan.lock().unwrap() = plan;
        let server = BareServer::start({
            let state = state.clone();
            move |asked| {
                let state = state.clone();
                async move {
                    match era {
                        Era::Legacy => legacy(&state, &asked),
                        Era::Modern => modern(&state, &asked).await,
                    }
                }
            }
        })
        .await;
        Self { server, state }
    }

    /// How many requests began to do something.
    pub(crate) fn begun(&self) -> usize {
        self.state.begun.load(Ordering::SeqCst)
    }

    /// How many did it: the side effect that must not happen twice.
    pub(crate) fn done(&self) -> usize {
        self.state.done.load(Ordering::SeqCst)
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.state.cancelled.load(Ordering::SeqCst)
    }

    /// Everything that was sent to it.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.state.heard.lock().unwrap().clone()
    }

    /// Requests and notifications of a method.
    pub(crate) fn heard_of(&self, method: &str) -> Vec<Value> {
        let mut heard = self.heard();
        heard.retain(|message| message["method"] == method);
        heard
    }

    /// Lets those go on that hold.
    pub(crate) fn go_on(&self) {
        self.state.go_on.notify_one();
    }
}

const LISTS: [(&str, &str, &str); 4] = [
    (
        "tools/list",
        "tools",
        r#"[{"name":"ask","inputSchema":{"type":"object"}}]"#,
    ),
    ("prompts/list", "prompts", r#"[{"name":"ask"}]"#),
    (
        "resources/list",
        "resources",
        r#"[{"uri":"memo://ask","name":"ask"}]"#,
    ),
    ("resources/templates/list", "resourceTemplates", "[]"),
];

fn lists(method: &str) -> Option<Value> {
    let (_, member, items) = LISTS.iter().find(|(own, ..)| *own == method)?;
    Some(json!({*member: serde_json::from_str::<Value>(items).unwrap()}))
}

/// The result of a method with this text in it.
fn said(method: &str, text: &str) -> Value {
    let content = json!({"type": "text", "text": text});
    match method {
        "prompts/get" => json!({"messages": [{"role": "user", "content": content}]}),
        "resources/read" => json!({"contents": [{"uri": "memo://ask", "text": text}]}),
        _ => json!({"content": [content], "isError": false}),
    }
}

fn capabilities() -> Value {
    json!({"tools": {}, "prompts": {}, "resources": {}, "logging": {}, "completions": {}})
}

fn response(id: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

fn refusal(id: &Value, error: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// The plan, and whether this request is the one that fails.
fn planned(state: &State) -> (Plan, Option<Value>) {
    let mut plan = lock(&state.plan);
    let error = plan.first_error.take();
    (plan.clone(), error)
}

// === Of the old era ===

fn legacy(state: &Arc<State>, asked: &Bare) -> Said {
    match asked.head.method {
        http::Method::GET => return Said::status(405),
        http::Method::DELETE => return Said::status(200),
        _ => {}
    }
    let message: Value = serde_json::from_slice(&asked.body).unwrap();
    lock(&state.heard).push(message.clone());
    let id = &message["id"];
    match message["method"].as_str() {
        Some("initialize") => {
            let session = format!("s{}", state.next.fetch_add(1, Ordering::SeqCst));
            let result = json!({"protocolVersion": message["params"]["protocolVersion"], "capabilities": capabilities(), "serverInfo": {"name": "asking", "version": "1"}});
            Said::json(200, response(id, &result)).with_header("mcp-session-id", &session)
        }
        Some("notifications/cancelled") => {
            state.cancelled.fetch_add(1, Ordering::SeqCst);
            let call = message["params"]["requestId"].to_string();
            lock(&state.waiting).retain(|_, (own, _)| *own != call);
            Said::status(202)
        }
        None => {
            let id = id.as_str().unwrap_or_default();
            if let Some((_, sender)) = lock(&state.waiting).remove(id) {
                let answer = message.get("result").or(message.get("error")).cloned();
                let _ = sender.send(answer.unwrap_or_default());
            }
            Said::status(202)
        }
        Some(method @ ("tools/call" | "prompts/get" | "resources/read")) => {
            state.begun.fetch_add(1, Ordering::SeqCst);
            let (plan, error) = planned(state);
            if let Some(error) = error {
                return Said::json(200, refusal(id, &error));
            }
            let (sender, texts) = mpsc::channel(8);
            let (state, method, id) = (state.clone(), method.to_owned(), id.clone());
            tokio::spawn(async move {
                let _ = push(&state, &plan, &method, &id, &sender).await;
            });
            Said::events(texts)
        }
        Some(method) => match (lists(method), id.is_null()) {
            (Some(list), _) => Said::json(200, response(id, &list)),
            (None, true) => Said::status(202),
            (None, false) => Said::json(200, response(id, &json!({}))),
        },
    }
}

/// Asks, waits, and says what was answered. Gives up without an answer when its call is off.
async fn push(
    state: &State,
    plan: &Plan,
    method: &str,
    call: &Value,
    events: &mpsc::Sender<String>,
) -> Option<()> {
    for message in &plan.before {
        events.send(event(None, &message.to_string())).await.ok()?;
    }
    let mut said_so_far = Map::new();
    let mut round = 0;
    while let Some(questions) = plan.rounds.get(round) {
        let mut answers = Vec::new();
        for question in questions {
            let id = format!("srv-{}", state.next.fetch_add(1, Ordering::SeqCst));
            let (sender, answer) = oneshot::channel();
            lock(&state.waiting).insert(id.clone(), (call.to_string(), sender));
            let mut params = question.params.clone();
            if params["mode"] == "url" {
                params["elicitationId"] = json!("e-1");
            }
            let request = json!({"jsonrpc": "2.0", "id": id, "method": question.method, "params": params});
            events.send(event(None, &request.to_string())).await.ok()?;
            answers.push((question.key, answer));
        }
        for (key, answer) in answers {
            said_so_far.insert(key.to_owned(), answer.await.ok()?);
        }
        if !plan.endless || round + 1 < plan.rounds.len() {
            round += 1;
        }
    }
    if plan.holds {
        tokio::select! {
            () = state.go_on.notified() => {}
            () = events.closed() => return None,
        }
    }
    state.done.fetch_add(1, Ordering::SeqCst);
    let result = said(method, &Value::Object(said_so_far).to_string());
    events.send(event(None, &response(call, &result))).await.ok()
}

// === Of the new era ===

/// What `requestState` begins with: nobody must touch it on its way.
const STATE: &str = "é \"\\ ";

async fn modern(state: &Arc<State>, asked: &Bare) -> Said {
    if asked.head.method != http::Method::POST {
        return Said::status(405);
    }
    let message: Value = serde_json::from_slice(&asked.body).unwrap();
    lock(&state.heard).push(message.clone());
    let id = &message["id"];
    let kept = |mut result: Value| {
        result["resultType"] = json!("complete");
        result["ttlMs"] = json!(0);
        result["cacheScope"] = json!("private");
        result
    };
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => Said::json(
            404,
            refusal(id, &json!({"code": -32601, "message": "no hand-shake here"})),
        ),
        "server/discover" => {
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities()});
            Said::json(200, response(id, &kept(result)))
        }
        method @ ("tools/call" | "prompts/get" | "resources/read") => {
            state.begun.fetch_add(1, Ordering::SeqCst);
            let (plan, error) = planned(state);
            if let Some(error) = error {
                return Said::json(400, refusal(id, &error));
            }
            let params = &message["params"];
            let mut so_far: Value = match params["requestState"].as_str() {
                Some(text) => match text.strip_prefix(STATE) {
                    Some(own) => serde_json::from_str(own).unwrap(),
                    None => {
                        return Said::json(
                            400,
                            refusal(id, &json!({"code": -32602, "message": "what a state"})),
                        );
                    }
                },
                None => json!({"round": 0, "empty": 0, "answers": {}}),
            };
            if let Some(responses) = params["inputResponses"].as_object() {
                for (key, answer) in responses {
                    so_far["answers"][key] = answer.clone();
                }
                if !responses.is_empty() && !plan.endless {
                    so_far["round"] = json!(so_far["round"].as_u64().unwrap() + 1);
                }
            }
            let ask = |so_far: &Value, requests: Option<Map<String, Value>>| {
                let mut result =
                    json!({"resultType": "input_required", "requestState": format!("{STATE}{so_far}")});
                if let Some(requests) = requests {
                    result["inputRequests"] = Value::Object(requests);
                }
                Said::json(200, response(id, &result))
            };
            let empty = so_far["empty"].as_u64().unwrap();
            if usize::try_from(empty).unwrap() < plan.empty_rounds {
                so_far["empty"] = json!(empty + 1);
                return ask(&so_far, None);
            }
            let round = usize::try_from(so_far["round"].as_u64().unwrap()).unwrap();
            if let Some(questions) = plan.rounds.get(round) {
                let requests = questions
                    .iter()
                    .map(|own| {
                        (
                            own.key.to_owned(),
                            json!({"method": own.method, "params": own.params}),
                        )
                    })
                    .collect();
                return ask(&so_far, Some(requests));
            }
            if plan.holds {
                state.go_on.notified().await;
            }
            state.done.fetch_add(1, Ordering::SeqCst);
            Said::json(
                200,
                response(id, &kept(said(method, &so_far["answers"].to_string()))),
            )
        }
        method => match lists(method) {
            Some(list) => Said::json(200, response(id, &kept(list))),
            None => Said::json(
                404,
                refusal(id, &json!({"code": -32601, "message": "no such method"})),
            ),
        },
    }
}
