//! A provider of models in this process, of OpenAI's dialect (as Azure, Cohere or Voyage have it, too), Anthropic's or Gemini's. It rejects what a provider would: another key, a body
//! that is no request, members that it does not know, conversations in the wrong order. What it answers is scripted; what it was asked
//! is kept.

mod anthropic;
mod azure;
mod bedrock;
mod chat;
mod gemini;
mod others;
mod play;
mod responses;
mod vertex;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::others::Searches;
use self::play::{Play, Voice};
use crate::bare::{Bare, BareServer, Said};

pub use self::azure::filtered;
pub use self::bedrock::frame;
pub use self::play::{Heard, Move};

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
    play: Option<Play>,
    left: Arc<AtomicUsize>,
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
    /// The same without `stream_options`.
    Mistral,
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

    /// Starts one of Mistral's.
    pub async fn start_mistral(key: &str, models: &[&str]) -> Self {
        Self::speaking(Dialect::Mistral, format!("Bearer {key}"), models).await
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

    /// What its models do from now on, by what they heard, where nothing is scripted for the next request.
    pub fn plays(&self, script: impl Fn(&Heard) -> Move + Send + Sync + 'static) {
        self.lock().play = Some(Play(Arc::new(script)));
    }

    /// How many went away while it babbled.
    pub fn left(&self) -> usize {
        self.lock().left.load(Ordering::Relaxed)
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
        Dialect::OpenAi | Dialect::Azure | Dialect::Cohere | Dialect::Mistral | Dialect::Voyage => {
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
        None => Some(unscripted(&mut state, dialect, &path, body)),
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

/// What is said where no turn is left: what the script says, or the usual.
fn unscripted(state: &mut State, dialect: Dialect, path: &str, mut body: Value) -> Said {
    let is_openai = matches!(
        dialect,
        Dialect::OpenAi | Dialect::Azure | Dialect::Cohere | Dialect::Mistral | Dialect::Voyage
    );
    let is_google = dialect == Dialect::Gemini || (dialect == Dialect::Vertex && vertex::is_google(path));
    let streams = body["stream"] == true
        || path.ends_with(":streamGenerateContent")
        || path.ends_with("/converse-stream");
    let unvoiced = match dialect {
        Dialect::Gemini => gemini::unvoiced(path, &body),
        Dialect::Vertex => vertex::unvoiced(path, &body),
        Dialect::Bedrock => bedrock::unvoiced(path, &body),
        _ => None,
    };
    if let Some(said) = unvoiced {
        return said;
    }
    let (heard, voice): (_, &Voice) = match path {
        "/v1/embeddings" => return chat::embedding(&body),
        "/v1/completions" => return chat::completion(&body),
        _ if is_openai && others::is_one(path) => return others::usual(path, &body, dialect.searches()),
        _ if path.ends_with("count_tokens") => return anthropic::counted(),
        "/v1/responses" => (responses::heard(&body), &responses::VOICE),
        _ if matches!(dialect, Dialect::Cohere | Dialect::Mistral) => (chat::heard(&body), &chat::UNASKED),
        _ if is_openai => (chat::heard(&body), &chat::VOICE),
        _ if is_google => (gemini::heard(&body), &gemini::VOICE),
        _ if dialect == Dialect::Bedrock => (bedrock::heard(&body), &bedrock::VOICE),
        _ => (anthropic::heard(&body), &anthropic::VOICE),
    };
    let does = match &state.play {
        Some(Play(script)) => script(&heard),
        None => Move::usual(&heard),
    };
    if path == "/v1/responses" {
        responses::keep(&mut state.kept, &does, &mut body);
    }
    let said = voice.said(&does, &body, streams, &state.left);
    match dialect {
        Dialect::Anthropic => said.with_header("request-id", "req_1"),
        _ => said,
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
        // Nor has it.
        Dialect::Mistral if String::from_utf8_lossy(&bare.body).contains("\"stream_options\"") => {
            Err(Said::json(
                422,
                json!({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]})
                    .to_string(),
            ))
        }
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
    if path == "/v1/responses" {
        return responses::rejected(kept, &body, models).map_or(Ok(body), Err);
    }
    chat::rejected(path, &body, models).map_or(Ok(body), Err)
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

fn error(status: u16, message: &str, kind: &str, code: &str) -> Said {
    let code = if code.is_empty() { Value::Null } else { code.into() };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    Said::json(status, body.to_string())
}

fn stream<T: Into<Bytes> + Send + 'static>(texts: Vec<T>) -> Said {
    let (sender, receiver) = mpsc::channel(texts.len().max(1));
    for text in texts {
        // There is room for all of them.
        let _ = sender.try_send(text);
    }
    Said::events(receiver)
}
