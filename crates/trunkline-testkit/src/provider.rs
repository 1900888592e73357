//! A provider of models in this process, of OpenAI's dialect (as Azure, Cohere or Voyage have it, too), Anthropic's or Gemini's. It rejects what a provider would: another key, a body
//! that is no request, members that it does not know, conversations in the wrong order. What it answers is scripted; what it was asked
//! is kept.

mod anthropic;
mod azure;
mod bedrock;
mod gemini;
mod others;
mod responses;
mod vertex;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::others::Searches;
use crate::bare::{Bare, BareServer, Said};

pub use self::azure::filtered;
pub use self::bedrock::frame;

/// What a provider does with the next request.
#[derive(Debug)]
pub enum Turn {
    /// A status and a body, as they are.
    Answer(u16, String),
    /// The same with one more header.
    AnswerWith(u16, String, (&'static str, String)),
    /// An event stream of these texts, as they are.
    Stream(Vec<String>),
    /// An answer of another kind than JSON, of these bytes.
    Bytes(&'static str, Vec<u8>),
    /// One that the test writes, of a kind; it ends with its sender.
    LiveOf(&'static str, mpsc::Receiver<String>),
    /// One whose connection breaks after these texts.
    BrokenOf(&'static str, Vec<String>),
    /// An event stream that the test writes; it ends with its sender.
    Live(mpsc::Receiver<String>),
    /// A JSON answer that the test writes; it ends with its sender.
    LiveJson(mpsc::Receiver<String>),
    /// An event stream whose connection breaks after these texts.
    Broken(Vec<String>),
    /// Nothing, for ever.
    Silence,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct ProviderRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// What comes after it.
    pub query: Option<String>,
    /// Every header, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Bytes,
}

impl ProviderRequest {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a provider accepts JSON alone")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct State {
    turns: VecDeque<Turn>,
    requests: Vec<ProviderRequest>,
    kept: responses::Kept,
    tokens: Option<vertex::Tokens>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    /// Google's cloud's.
    Vertex,
    /// Bedrock's.
    Bedrock,
    /// OpenAI's, at Azure's addresses.
    Azure,
    /// The same at Cohere's.
    Cohere,
    /// The same with Voyage's words for a search.
    Voyage,
}

impl Dialect {
    fn searches(self) -> Searches {
        match self {
            Self::Cohere => Searches::Cohere,
            Self::Voyage => Searches::Voyage,
            _ => Searches::Jina,
        }
    }
}

/// The provider. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct ScriptedProvider {
    server: BareServer,
    state: Arc<Mutex<State>>,
}

/// Members of a request that are known.
const CHAT: [&str; 23] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "metadata",
    "reasoning_effort",
    // Of servers of one's own.
    "top_k",
];
const TEXT: [&str; 10] = [
    "model",
    "prompt",
    "stream",
    "stream_options",
    "temperature",
    "max_tokens",
    "n",
    "stop",
    "user",
    "echo",
];
const EMBEDDINGS: [&str; 5] = ["model", "input", "encoding_format", "dimensions", "user"];

impl ScriptedProvider {
    /// Starts one of OpenAI's dialect that knows these models and this key.
    pub async fn start(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::OpenAi, format!("Bearer {key}"), models).await
    }

    /// Starts one of Anthropic's.
    pub async fn start_anthropic(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Anthropic, key.to_owned(), models).await
    }

    /// Starts one of Gemini's.
    pub async fn start_gemini(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Gemini, key.to_owned(), models).await
    }

    /// Starts one of Google's cloud's: `my-project` in `europe-west1`.
    pub async fn start_vertex(models: &[&str]) -> Self {
        let own = Self::speaking(Dialect::Vertex, String::new(), models).await;
        own.lock().tokens = Some(vertex::Tokens::new());
        own
    }

    /// The service account of Google's cloud's: the text of its file.
    pub fn account(&self) -> String {
        let root = self.root();
        self.lock()
            .tokens
            .as_ref()
            .map(|own| own.account(&root))
            .unwrap_or_default()
    }

    /// How many tokens were given.
    pub fn tokens_given(&self) -> usize {
        self.lock().tokens.as_ref().map_or(0, |own| own.given)
    }

    /// Seconds for which the next tokens hold.
    pub fn tokens_live(&self, seconds: u64) {
        if let Some(tokens) = &mut self.lock().tokens {
            tokens.life = seconds;
        }
    }

    /// No token is given any more.
    pub fn tokens_refused(&self) {
        if let Some(tokens) = &mut self.lock().tokens {
            tokens.refuses = true;
        }
    }

    /// Starts one of Bedrock's. The key is `id:secret`, of which the secret may also come as a token.
    pub async fn start_bedrock(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Bedrock, key.to_owned(), models).await
    }

    /// Starts one with Azure's addresses, of these deployments. The key may also come as a token.
    pub async fn start_azure(key: &str, deployments: &[&str]) -> Self {
        Self::speaking(Dialect::Azure, key.to_owned(), deployments).await
    }

    /// Starts one with Cohere's addresses.
    pub async fn start_cohere(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Cohere, format!("Bearer {key}"), models).await
    }

    /// Starts one with Voyage's words.
    pub async fn start_voyage(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Voyage, format!("Bearer {key}"), models).await
    }

    async fn speaking(dialect: Dialect, key: String, models: &[&str]) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let models: Vec<String> = models.iter().map(|name| (*name).to_owned()).collect();
        let server = BareServer::start(move |bare| {
            let said = answer(&shared, (dialect, &key), &models, &bare);
            async move {
                match said {
                    Some(said) => said,
                    None => std::future::pending().await,
                }
            }
        })
        .await;
        Self { server, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `http://127.0.0.1:PORT/v1`
    pub fn url(&self) -> String {
        self.server.url().replace("/mcp", "/v1")
    }

    /// `http://127.0.0.1:PORT`
    pub fn root(&self) -> String {
        self.server.url().replace("/mcp", "")
    }

    /// What it does with the next request that it accepts; without one it answers as it is asked.
    pub fn next(&self, turn: Turn) {
        self.lock().turns.push_back(turn);
    }

    /// All requests so far, also those that it rejected.
    pub fn requests(&self) -> Vec<ProviderRequest> {
        self.lock().requests.clone()
    }
}

/// What is said; `None`: nothing, for ever.
fn answer(
    state: &Mutex<State>,
    (dialect, key): (Dialect, &str),
    models: &[String],
    bare: &Bare,
) -> Option<Said> {
    let headers = bare.head.headers.iter();
    let headers = headers
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let path = bare.head.uri.path().to_owned();
    let request = ProviderRequest {
        method: bare.head.method.to_string(),
        path: path.clone(),
        query: bare.head.uri.query().map(str::to_owned),
        headers,
        body: bare.body.clone(),
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.requests.push(request);
    let path = match own_path(dialect, bare, key, models) {
        Ok(path) => path,
        Err(said) => return Some(said),
    };
    let searches = dialect.searches();
    let taken = match dialect {
        Dialect::OpenAi | Dialect::Azure | Dialect::Cohere | Dialect::Voyage => {
            let key = (dialect != Dialect::Azure).then_some(key);
            taken(&mut state.kept, (bare, &path), (key, models), searches)
        }
        Dialect::Anthropic => anthropic::rejected(bare, key, models),
        Dialect::Gemini => gemini::rejected(bare, key, models),
        Dialect::Bedrock => bedrock::rejected(bare, key, models),
        Dialect::Vertex => match &mut state.tokens {
            Some(tokens) => vertex::rejected(tokens, bare, models),
            None => Err(Said::status(500)),
        },
    };
    let body = match taken {
        Ok(body) => body,
        Err(said) => return Some(said),
    };
    match state.turns.pop_front() {
        None if dialect == Dialect::Anthropic => Some(anthropic::usual(&path, &body)),
        None if dialect == Dialect::Vertex => Some(vertex::usual(&path, &body)),
        None if dialect == Dialect::Bedrock => Some(bedrock::usual(&path, &body)),
        None if dialect == Dialect::Gemini => Some(gemini::usual(&path, &body)),
        None if others::is_one(&path) => Some(others::usual(&path, &body, searches)),
        None if path == "/v1/responses" => Some(responses::usual(&mut state.kept, &body)),
        None => Some(usual(&path, &body)),
        Some(Turn::Answer(status, text)) => Some(Said::json(status, text)),
        Some(Turn::AnswerWith(status, text, (name, value))) => {
            Some(Said::json(status, text).with_header(name, &value))
        }
        Some(Turn::Stream(texts)) => Some(stream(texts)),
        Some(Turn::Bytes(kind, bytes)) => Some(Said::json(200, bytes).with_header("content-type", kind)),
        Some(Turn::LiveOf(kind, texts)) => Some(Said::events(texts).with_header("content-type", kind)),
        Some(Turn::BrokenOf(kind, texts)) => Some(Said::broken(&texts).with_header("content-type", kind)),
        Some(Turn::Live(texts)) => Some(Said::events(texts)),
        Some(Turn::LiveJson(texts)) => {
            Some(Said::events(texts).with_header("content-type", "application/json"))
        }
        Some(Turn::Broken(texts)) => Some(Said::broken(&texts)),
        Some(Turn::Silence) => None,
    }
}

/// The path as OpenAI has it.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
fn own_path(dialect: Dialect, bare: &Bare, key: &str, models: &[String]) -> Result<String, Said> {
    let path = bare.head.uri.path();
    match dialect {
        Dialect::Azure => azure::path(bare, key, models),
        Dialect::Cohere => match path.strip_prefix("/compatibility") {
            None if path == "/v2/rerank" => Ok("/v1/rerank".to_owned()),
            // It has no such member.
            Some(_) if String::from_utf8_lossy(&bare.body).contains("\"stream_options\"") => Err(Said::json(
                400,
                json!({"message": "invalid request: unknown field: stream_options"}).to_string(),
            )),
            Some(path) if path != "/v1/rerank" => Ok(path.to_owned()),
            _ => Err(Said::json(404, json!({"message": "not found"}).to_string())),
        },
        _ => Ok(path.to_owned()),
    }
}

/// The body, if it is taken.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
fn taken(
    kept: &mut responses::Kept,
    (bare, path): (&Bare, &str),
    (key, models): (Option<&str>, &[String]),
    searches: Searches,
) -> Result<Value, Said> {
    if key.is_some() && bare.header("authorization") != key {
        let given = bare.header("authorization").unwrap_or_default();
        return Err(error(
            401,
            &format!("Incorrect API key provided: {given}"),
            "invalid_request_error",
            "invalid_api_key",
        ));
    }
    if let Some(said) = responses::about(kept, (bare, path)) {
        return Err(said);
    }
    if let Some(said) = own(bare, path, models) {
        return Err(said);
    }
    if path == "/v1/audio/transcriptions" {
        return others::form(bare, models);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&bare.body) else {
        return Err(error(
            400,
            "We could not parse the JSON body",
            "invalid_request_error",
            "",
        ));
    };
    if others::is_one(path) {
        return others::rejected(path, &body, models, searches).map_or(Ok(body), Err);
    }
    let known: &[&str] = match path {
        "/v1/chat/completions" => &CHAT,
        "/v1/completions" => &TEXT,
        "/v1/embeddings" => &EMBEDDINGS,
        "/v1/responses" => {
            return responses::rejected(kept, &body, models).map_or(Ok(body), Err);
        }
        _ => {
            return Err(error(
                404,
                "Unknown request URL",
                "invalid_request_error",
                "unknown_url",
            ));
        }
    };
    match rejected(&body, known, models) {
        Some(said) => Err(said),
        None => Ok(body),
    }
}

/// What is about no model: what there is, and what it keeps for whoever has the key.
fn own(bare: &Bare, path: &str, models: &[String]) -> Option<Said> {
    let list = |data: Vec<Value>| Said::json(200, json!({"object": "list", "data": data}).to_string());
    match (bare.head.method.as_str(), path) {
        ("GET", "/v1/models") => {
            let of = |own: &String| json!({"id": own, "object": "model"});
            Some(list(models.iter().map(of).collect()))
        }
        ("GET", "/v1/files") => Some(list(vec![json!({"id": "file-1", "object": "file"})])),
        ("GET", "/v1/files/file-1/content") => {
            let said = Said::json(200, "\u{1}every byte\u{0}");
            Some(said.with_header("content-type", "application/octet-stream"))
        }
        ("DELETE", "/v1/files/file-1") => {
            let body = json!({"id": "file-1", "object": "file", "deleted": true});
            Some(Said::json(200, body.to_string()))
        }
        ("POST", "/v1/files") => {
            let body = json!({"id": "file-1", "object": "file", "bytes": bare.body.len()});
            Some(Said::json(201, body.to_string()))
        }
        _ => None,
    }
}

/// A member that is not known.
fn known_only(value: &Value, known: &[&str]) -> Option<String> {
    let members = value.as_object()?;
    members
        .keys()
        .find(|name| !known.contains(&name.as_str()))
        .cloned()
}

/// What is wrong with the conversation, or with the choice of tools.
fn conversation(body: &Value) -> Option<String> {
    const MEMBERS: [&str; 6] = ["role", "content", "name", "refusal", "tool_calls", "tool_call_id"];
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in body["messages"].as_array()?.iter().enumerate() {
        if let Some(name) = known_only(message, &MEMBERS) {
            return Some(format!(
                "Additional properties are not allowed: messages[{index}].{name}"
            ));
        }
        let role = message["role"].as_str().unwrap_or_default();
        if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool") {
            return Some(format!("Invalid value: messages[{index}].role"));
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = calls.iter().position(|own| *own == id) else {
                return Some(
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                        .to_owned(),
                );
            };
            calls.remove(at);
        } else if !calls.is_empty() {
            return Some(format!("tool_call_ids did not have response messages: {calls:?}"));
        }
        for part in message["content"].as_array().into_iter().flatten() {
            let kind = part["type"].as_str().unwrap_or_default();
            if !part[kind].is_string() && !part[kind].is_object() || (role != "user" && kind != "text") {
                return Some(format!("Invalid content: messages[{index}] has {part}"));
            }
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap_or("no text");
            if serde_json::from_str::<Value>(arguments).is_err() {
                return Some(format!("Invalid arguments: messages[{index}]"));
            }
            calls.extend(call["id"].as_str());
        }
    }
    let has_choice = !body["tool_choice"].is_null() || !body["parallel_tool_calls"].is_null();
    let has_tools = body["tools"].as_array().is_some_and(|own| !own.is_empty());
    (has_choice && !has_tools).then(|| "'tool_choice' is only allowed when 'tools' are specified.".to_owned())
}

fn rejected(body: &Value, known: &[&str], models: &[String]) -> Option<Said> {
    let invalid = |text: String| Some(error(400, &text, "invalid_request_error", ""));
    if !body.is_object() {
        return invalid("the body is no object".to_owned());
    }
    if let Some(name) = known_only(body, known) {
        return invalid(format!("Unrecognized request argument supplied: {name}"));
    }
    let model = body["model"].as_str().unwrap_or_default();
    if !models.iter().any(|own| own == model) {
        let text = format!("The model `{model}` does not exist or you do not have access to it.");
        return Some(error(404, &text, "invalid_request_error", "model_not_found"));
    }
    let is_list = |name: &str| body[name].as_array().is_some_and(|items| !items.is_empty());
    let wanted = [
        ("messages", is_list("messages")),
        ("prompt", !body["prompt"].is_null()),
        ("input", !body["input"].is_null()),
    ];
    let missing = wanted
        .iter()
        .find(|(name, is_there)| known.contains(name) && !is_there);
    if let Some((name, _)) = missing {
        return invalid(format!("Missing required parameter: '{name}'."));
    }
    conversation(body).and_then(invalid)
}

fn error(status: u16, message: &str, kind: &str, code: &str) -> Said {
    let code = if code.is_empty() { Value::Null } else { code.into() };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    Said::json(status, body.to_string())
}

fn stream(texts: Vec<String>) -> Said {
    let (sender, receiver) = mpsc::channel(texts.len().max(1));
    for text in texts {
        // There is room for all of them.
        let _ = sender.try_send(text);
    }
    Said::events(receiver)
}

/// What it says where nothing is scripted: how much it was asked, or a tool call if tools were given.
fn usual(path: &str, body: &Value) -> Said {
    let model = body["model"].as_str().unwrap_or_default();
    if path == "/v1/embeddings" {
        let answer = json!({
            "object": "list", "model": model, "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        });
        return Said::json(200, answer.to_string());
    }
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8});
    if path == "/v1/completions" {
        let answer = json!({
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": model, "usage": usage,
            "choices": [{"index": 0, "text": "and so on", "finish_reason": "stop", "logprobs": null}],
        });
        return Said::json(200, answer.to_string());
    }
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let answered = body["messages"].as_array().and_then(|own| own.last());
    let answered = answered.is_some_and(|own| own["role"] == "tool");
    let called = body["tools"][0]["function"]["name"]
        .as_str()
        .filter(|_| !answered);
    if body["stream"] == true {
        let call = |call: Value| chunk(json!({"tool_calls": [call]}), Value::Null);
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        match called {
            Some(name) => events.extend([
                call(json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}})),
                call(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
                call(json!({"index": 0, "function": {"arguments": "\"Oslo\"}"}})),
                chunk(json!({}), "tool_calls".into()),
            ]),
            None => events.extend([
                chunk(json!({"content": "He"}), Value::Null),
                chunk(json!({"content": "llo"}), Value::Null),
                chunk(json!({}), "stop".into()),
            ]),
        }
        if body["stream_options"]["include_usage"] == true {
            events.push(json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": usage,
            }));
        }
        let mut texts: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        texts.push("data: [DONE]\n\n".to_owned());
        return stream(texts);
    }
    let message = match called {
        Some(name) => json!({
            "role": "assistant", "content": null,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{\"city\":\"Oslo\"}"}}],
        }),
        None => json!({"role": "assistant", "content": "Hello"}),
    };
    let finish = if called.is_some() { "tool_calls" } else { "stop" };
    let answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    });
    Said::json(200, answer.to_string())
}
