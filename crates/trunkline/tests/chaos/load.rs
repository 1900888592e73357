//! The clients: those of the server that behaves, whose times count, and those of the servers that do not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline_testkit::{HttpClient, Reply, TestGateway, TransportError};

use crate::chance::Chance;
use crate::named;
use crate::{CALL_LIMIT, GRACE, MODERN};

/// Between two calls of one client of the good server.
const GOOD_EVERY: Duration = Duration::from_millis(20);
/// Between two requests of one client of a wild one.
const WILD_EVERY: Duration = Duration::from_millis(400);
/// Requests of one client of a wild server that are open at the same time.
const WILD_OPEN: usize = 30;
/// Samples are of no slice.
pub(crate) const BETWEEN: usize = usize::MAX;

/// What the clients found.
#[derive(Default)]
pub(crate) struct Findings {
    /// Which slice of the run it is.
    pub(crate) slice: AtomicUsize,
    samples: Mutex<Vec<(usize, Duration)>>,
    wrong: Mutex<Vec<String>>,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Findings {
    /// Something that must not be.
    pub(crate) fn wrong(&self, what: String) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() < 40 {
            wrong.push(what);
        }
    }

    pub(crate) fn all_wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// Answers and named failures of the wild servers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (
            self.answered.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// The 99th percentile of some slices.
    ///
    /// # Panics
    /// When there are too few for one.
    pub(crate) fn p99(&self, of: impl Fn(usize) -> bool) -> Duration {
        let samples = lock(&self.samples);
        let own = samples.iter().filter(|(slice, _)| of(*slice));
        let mut times: Vec<Duration> = own.map(|(_, time)| *time).collect();
        assert!(times.len() >= 100, "{} calls are too few", times.len());
        times.sort_unstable();
        times[times.len() * 99 / 100]
    }

    fn saw(&self, what: &str, server: &str, reply: Result<Reply, TransportError>, check: Check) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return self.wrong(format!("{server}: {what}: {error}")),
        };
        match check(&reply, server) {
            Ok(true) => self.answered.fetch_add(1, Ordering::Relaxed),
            Ok(false) => self.failed.fetch_add(1, Ordering::Relaxed),
            Err(why) => {
                self.wrong(format!("{server}: {what}: {why}: {:.900}", reply.everything()));
                0
            }
        };
    }
}

type Check = fn(&Reply, &str) -> Result<bool, String>;

/// One client's requests in one manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// `/mcp`, the era with a hand-shake, under a session.
    Old,
    /// `/mcp`, 2026-07-28.
    New,
    /// REST.
    Rest,
    /// `tools/list` at the server's own path.
    Lists,
    /// The same over REST.
    RestLists,
    /// A call that its client leaves.
    Leaves,
}

impl Manner {
    pub(crate) const OF_CALLS: [Self; 3] = [Self::Old, Self::New, Self::Rest];
    pub(crate) const ALL: [Self; 6] = [
        Self::Old,
        Self::New,
        Self::Rest,
        Self::Lists,
        Self::RestLists,
        Self::Leaves,
    ];

    fn check(self) -> Check {
        match self {
            Self::Rest | Self::RestLists => named::over_rest,
            _ => named::over_mcp,
        }
    }
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    server: &'static str,
    manner: Manner,
    session: Option<String>,
}

impl Client {
    pub(crate) async fn new(gateway: &TestGateway, server: &'static str, manner: Manner) -> Self {
        let mut session = None;
        if manner == Manner::Old {
            let mut client = gateway.mcp().with_protocol("2025-11-25");
            client.initialize().await;
            session = client.session().map(str::to_owned);
        }
        Self {
            http: gateway.client().with_limit(CALL_LIMIT + GRACE),
            server,
            manner,
            session,
        }
    }

    /// One request to its end.
    pub(crate) async fn ask(&self) -> Result<Reply, TransportError> {
        let server = self.server;
        let call = json!({"name": format!("{server}-echo"), "arguments": {"message": "m"}});
        match self.manner {
            Manner::Old => self.http.try_send(self.old("/mcp", "tools/call", &call)).await,
            Manner::New | Manner::Leaves => self.http.try_send(new("/mcp", "tools/call", &call)).await,
            Manner::Lists => {
                let request = self.old(&format!("/{server}/mcp"), "tools/list", &json!({}));
                self.http.try_send(request).await
            }
            Manner::Rest => {
                let body = json!({"server_id": server, "name": "echo", "arguments": {"message": "m"}});
                let request =
                    Request::post("/mcp-rest/tools/call").header("content-type", "application/json");
                let request = request.body(Bytes::from(body.to_string())).unwrap();
                self.http.try_send(request).await
            }
            Manner::RestLists => {
                let request = Request::get(format!("/mcp-rest/tools/list?server_id={server}"));
                self.http.try_send(request.body(Bytes::new()).unwrap()).await
            }
        }
    }

    fn old(&self, path: &str, method: &str, params: &Value) -> Request<Bytes> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        request.body(Bytes::from(body.to_string())).unwrap()
    }

    /// Whether a request is answered as it should be; else what came instead.
    pub(crate) async fn is_served(&self) -> Result<(), String> {
        let reply = self.ask().await.map_err(|error| error.to_string())?;
        if (self.manner.check())(&reply, self.server) == Ok(true) {
            return Ok(());
        }
        Err(reply.everything())
    }
}

fn new(path: &str, method: &str, params: &Value) -> Request<Bytes> {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "chaos", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Request::post(path)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method)
        .header("mcp-name", params["name"].as_str().unwrap_or_default())
        .body(Bytes::from(body.to_string()))
        .unwrap()
}

/// Calls the good server at an even rate; every call works.
pub(crate) async fn good(client: Client, findings: Arc<Findings>) {
    let mut ticks = tokio::time::interval(GOOD_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let slice = findings.slice.load(Ordering::Relaxed);
        let began = Instant::now();
        let reply = client.ask().await;
        let took = began.elapsed();
        if crate::tells() && took > Duration::from_millis(200) {
            println!("a call of the good server took {took:.0?}");
        }
        match reply.map(|reply| ((client.manner.check())(&reply, client.server), reply)) {
            Ok((Ok(true), _)) => {}
            Ok((why, reply)) => {
                findings.wrong(format!("the good server: {why:?}: {:.600}", reply.everything()));
            }
            Err(error) => findings.wrong(format!("the good server: {error}")),
        }
        if slice != BETWEEN && slice == findings.slice.load(Ordering::Relaxed) {
            lock(&findings.samples).push((slice, took));
        }
    }
}

/// Asks a wild server at an even rate, whatever becomes of what it asked before.
pub(crate) async fn wild(client: Client, mut chance: Chance, findings: Arc<Findings>) {
    let mut open = JoinSet::new();
    loop {
        tokio::time::sleep(WILD_EVERY).await;
        while open.try_join_next().is_some() {}
        if open.len() >= WILD_OPEN {
            continue;
        }
        let (client, findings) = (client.clone(), Arc::clone(&findings));
        let stays = chance.millis(0, 300);
        open.spawn(async move {
            let asked = client.ask();
            if client.manner == Manner::Leaves {
                // Dropped with the connection, answered or not.
                let _ = tokio::time::timeout(stays, asked).await;
                return;
            }
            let reply = asked.await;
            let what = format!("{:?}", client.manner);
            findings.saw(&what, client.server, reply, client.manner.check());
        });
    }
}

/// Opens a session's stream at a wild server, hears what comes for a while, ends it, and begins again.
pub(crate) async fn listens(
    url: String,
    key: String,
    server: &'static str,
    mut chance: Chance,
    findings: Arc<Findings>,
) {
    let http = HttpClient::new(&url)
        .with_header("authorization", &format!("Bearer {key}"))
        .with_limit(CALL_LIMIT + GRACE);
    loop {
        let mut client = trunkline_testkit::McpClient::over(http.clone(), &format!("/{server}/mcp"));
        let reply = client.initialize_only().await;
        if client.session().is_none() {
            findings.wrong(format!("{server}: no session: {:.600}", reply.everything()));
        }
        let mut stream = client.get_stream().await;
        if !stream.status().is_success() {
            findings.wrong(format!("{server}: no stream: {}", stream.status()));
        }
        let until = tokio::time::sleep(chance.millis(200, 2500));
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => break,
                next = stream.next() => if next.is_none() { break },
            }
        }
        drop(stream);
        client.delete().await;
    }
}
