//! A router on a store of its own, and a probe that does as it is told.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trunkline_admin::{
    AdminState, BoxFuture, Configuration, Models, NotReloaded, Probe, ProbeStep, Programs, Reloaded,
    ServerProbe,
};
use trunkline_auth::{Authenticator, Vault};
use trunkline_model::{Circuit, Clock, Outcome, OutcomeStatus, Secret, Server, ServerId, Step};
use trunkline_store::{Actor, Denials, Registry, Store};

pub(crate) const KEY: &str = "sk-gateway-key-canary-0123456789abcdef";

/// What a scripted server does.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) outcome: Outcome,
    pub(crate) tools: Vec<&'static str>,
    pub(crate) takes: Duration,
}

/// A probe that plays scripts, by server id, and writes down what it was asked.
#[derive(Default)]
pub(crate) struct FakeProbe {
    pub(crate) scripts: Mutex<HashMap<String, Script>>,
    known: Mutex<HashMap<ServerId, (Outcome, usize)>>,
    pub(crate) probed: Mutex<Vec<(Server, HeaderMap)>>,
    pub(crate) refreshed: Mutex<Vec<ServerId>>,
}

impl FakeProbe {
    fn script(&self, id: &ServerId) -> Script {
        let scripts = self.scripts.lock().unwrap();
        let any = || scripts.get("*").cloned();
        scripts
            .get(id.as_str())
            .cloned()
            .or_else(any)
            .unwrap_or_else(|| Script {
                outcome: outcome(OutcomeStatus::Ok, Step::List, None, ""),
                tools: vec![r#"{"name":"echo","inputSchema":{"type":"object"},"x-unknown":1.0}"#],
                takes: Duration::ZERO,
            })
    }

    pub(crate) fn contacts(&self) -> usize {
        self.probed.lock().unwrap().len() + self.refreshed.lock().unwrap().len()
    }
}

/// A gateway without a configuration file.
struct NoFile;

impl Configuration for NoFile {
    fn reload(&self, _by: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        Box::pin(async { Err(NotReloaded::NoFile) })
    }
}

/// Models are not kept here: what is made of them is the binary's.
struct NoModels;

impl Models for NoModels {
    fn is_on(&self) -> bool {
        false
    }

    fn is_of_file(&self, _id: &str) -> bool {
        false
    }

    fn check(&self, _model: &trunkline_model::StoredModel) -> Result<(), String> {
        Ok(())
    }

    fn refresh(&self) {}
}

impl ServerProbe for FakeProbe {
    fn probe<'a>(&'a self, server: &'a Server, client_headers: &'a HeaderMap) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            self.probed
                .lock()
                .unwrap()
                .push((server.clone(), client_headers.clone()));
            let script = self.script(&server.id);
            tokio::time::sleep(script.takes).await;
            let ok = script.outcome.is_ok();
            let tools = script
                .tools
                .iter()
                .map(|tool| RawValue::from_string((*tool).to_owned()).unwrap());
            Probe {
                steps: vec![ProbeStep {
                    step: script.outcome.step,
                    ok,
                    http_status: script.outcome.http_status,
                    session_id: ok,
                    duration_ms: 1.5,
                    detail: script.outcome.message.clone(),
                }],
                tools: tools.collect(),
                protocol_version: ok.then(|| "2025-06-18".to_owned()),
                outcome: script.outcome,
            }
        })
    }

    fn outcome(&self, server: &Server) -> Outcome {
        let known = self.known.lock().unwrap();
        known.get(&server.id).map_or_else(
            || outcome(OutcomeStatus::Pending, Step::Configuration, None, ""),
            |known| known.0.clone(),
        )
    }

    fn circuit(&self, _server: &Server) -> Circuit {
        Circuit::Closed
    }

    fn tool_count(&self, id: &ServerId) -> Option<usize> {
        self.known
            .lock()
            .unwrap()
            .get(id)
            .filter(|known| known.0.is_ok())
            .map(|known| known.1)
    }

    fn refresh<'a>(&'a self, server: &'a Arc<Server>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.refreshed.lock().unwrap().push(server.id.clone());
            let script = self.script(&server.id);
            tokio::time::sleep(script.takes).await;
            let known = (script.outcome.clone(), script.tools.len());
            self.known.lock().unwrap().insert(server.id.clone(), known);
            script.outcome
        })
    }
}

pub(crate) fn outcome(status: OutcomeStatus, step: Step, http_status: Option<u16>, message: &str) -> Outcome {
    Outcome {
        status,
        step,
        http_status,
        message: message.to_owned(),
        hint: (!matches!(status, OutcomeStatus::Ok)).then(|| "set credentials.auth_value".to_owned()),
        ..Outcome::ok(Timestamp::from_second(1_700_000_000).unwrap(), 7)
    }
}

/// A clock that is a second further at each look.
#[derive(Default)]
pub(crate) struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_second(1_750_000_000 + seconds).unwrap()
    }
}

pub(crate) struct Harness {
    router: axum::Router,
    pub(crate) probe: Arc<FakeProbe>,
    pub(crate) registry: Arc<Registry>,
    /// Every answer so far, headers and body, to search for what must not be in one.
    pub(crate) answers: Mutex<String>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// `detail.error`.
    pub(crate) fn error(&self) -> String {
        self.json()["detail"]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.text))
            .to_owned()
    }

    /// Type and place of every problem of a 422, without `body`.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 422, "{}", self.text);
        let json = self.json();
        let problems = json["detail"].as_array().unwrap().iter().map(|problem| {
            assert!(problem.get("input").is_none(), "values are not repeated");
            let loc = problem["loc"].as_array().unwrap();
            assert_eq!(loc[0], "body");
            let place: Vec<String> = loc[1..]
                .iter()
                .map(|step| step.to_string().replace('"', ""))
                .collect();
            (problem["type"].as_str().unwrap().to_owned(), place.join("."))
        });
        problems.collect()
    }
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with_file_servers(Vec::new()).await
    }

    pub(crate) async fn with_file_servers(servers: Vec<Server>) -> Self {
        Self::on("sqlite::memory:", servers).await
    }

    pub(crate) async fn on(url: &str, servers: Vec<Server>) -> Self {
        Self::sealed_under("root", url, servers).await
    }

    /// With secrets sealed under a key of one's own.
    pub(crate) async fn sealed_under(root: &str, url: &str, servers: Vec<Server>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TickingClock::default());
        let vault = Arc::new(Vault::derive(&Secret::new(root)));
        let store = Store::connect(&Secret::new(url), vault, Arc::clone(&clock))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let (denials, writer) = Denials::new(store.clone());
        tokio::spawn(writer);
        let registry = Registry::load(store, servers).await.unwrap();
        let probe = Arc::new(FakeProbe::default());
        let ids = AtomicU64::new(1);
        let router = trunkline_admin::router(AdminState {
            registry: Arc::clone(&registry),
            probe: Arc::clone(&probe) as Arc<dyn ServerProbe>,
            configuration: Arc::new(NoFile),
            models: Arc::new(NoModels),
            authenticator: Arc::new(Authenticator::new(
                &Secret::new(KEY),
                Arc::clone(registry.keys().ring()),
                Arc::clone(&clock),
            )),
            clock,
            new_id: Arc::new(move || format!("made-up-{}", ids.fetch_add(1, Ordering::Relaxed))),
            programs: Programs::from_file(),
            denials,
            selecting: Arc::new(|_, _, _, _| Some(trunkline_model::Scope::All)),
        });
        Self {
            router,
            probe,
            registry,
            answers: Mutex::default(),
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        writeln!(self.answers.lock().unwrap(), "{answer:?}").unwrap();
        answer
    }

    /// A request with the right key.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let text = body.map_or_else(String::new, |body| body.to_string());
        self.ask_text(method, path, text).await
    }

    pub(crate) async fn ask_text(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn post(&self, body: Value) -> Answer {
        self.ask("POST", "/v1/mcp/server", Some(body)).await
    }

    pub(crate) async fn put(&self, body: Value) -> Answer {
        self.ask("PUT", "/v1/mcp/server", Some(body)).await
    }

    /// Registers a server that must be accepted; the row.
    pub(crate) async fn registered(&self, body: Value) -> Value {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    pub(crate) fn stored(&self, id: &str) -> Arc<Server> {
        self.registry.snapshot().get(&ServerId::new(id)).unwrap().clone()
    }

    pub(crate) fn script(&self, id: &str, outcome: Outcome, tools: Vec<&'static str>, takes: Duration) {
        let script = Script {
            outcome,
            tools,
            takes,
        };
        self.probe.scripts.lock().unwrap().insert(id.to_owned(), script);
    }
}

/// The least that can be registered.
pub(crate) fn plain(alias: &str) -> Value {
    json!({"server_id": format!("id-{alias}"), "alias": alias, "url": "https://upstream.example/mcp", "transport": "http"})
}
