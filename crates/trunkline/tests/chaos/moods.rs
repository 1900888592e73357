//! What goes wrong with whom: the servers of a run, and the tasks that change their moods.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use trunkline_testkit::{Act, Framing, ScriptedUpstream, Sessions};

use crate::chance::{Chance, Deck};
use crate::legacy::{Legacy, Mood};
use crate::line::{Fate, Line};
use crate::{MODERN, RELAYED};

/// How long a mood lasts, in milliseconds.
const MOOD_MS: (u64, u64) = (150, 700);

/// A server that changes.
pub(crate) enum Wild {
    /// Streamable HTTP of either era.
    Http {
        upstream: Box<ScriptedUpstream>,
        line: Arc<Line>,
        modern: bool,
    },
    /// HTTP+SSE of 2024-11-05.
    Legacy { server: Legacy, line: Arc<Line> },
    /// A program.
    Program { mark: String, mood: PathBuf },
}

impl Wild {
    pub(crate) async fn http(modern: bool) -> Self {
        let builder = ScriptedUpstream::builder();
        let upstream = if modern {
            let builder = builder.sessions(Sessions::Off).framing(Framing::Json);
            builder
                .revisions(&[MODERN])
                .on("server/discover", discovered())
                .start()
                .await
        } else {
            builder.start().await
        };
        let line = Line::to(&upstream.url());
        Self::Http {
            upstream: Box::new(upstream),
            line,
            modern,
        }
    }

    pub(crate) async fn legacy() -> Self {
        let server = Legacy::start().await;
        let line = Line::to(&server.url());
        Self::Legacy { server, line }
    }

    /// `folder` for the file that has its mood.
    pub(crate) fn program(folder: &Path) -> Self {
        Self::Program {
            mark: format!("mark-{}", trunkline_testkit::Canary::new("chaos").value()),
            mood: folder.join("mood"),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Http { modern: false, .. } => "wildold",
            Self::Http { modern: true, .. } => "wildnew",
            Self::Legacy { .. } => "wildsse",
            Self::Program { .. } => "wildprogram",
        }
    }

    /// How many processes of it there are, whoever their parent is.
    pub(crate) fn processes(&self) -> usize {
        match self {
            Self::Program { mark, .. } => crate::watch::with_argument(mark),
            _ => 0,
        }
    }

    /// Its lines under `mcp_servers`.
    pub(crate) fn entry(&self) -> String {
        let name = self.name();
        match self {
            Self::Http { line, modern, .. } => {
                let revision = if *modern { MODERN } else { "auto" };
                let origin = line.origin();
                format!("  {name}:\n    url: {origin}/mcp\n    protocol_version: \"{revision}\"\n")
            }
            Self::Legacy { line, .. } => {
                format!("  {name}:\n    url: {}/sse\n    transport: sse\n", line.origin())
            }
            Self::Program { mark, mood } => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/program.py");
                let args = json!([script, mark, mood]);
                format!(
                    "  {name}:\n    transport: stdio\n    command: python3\n    args: {args}\n    sandbox: off\n"
                )
            }
        }
    }

    /// As it should be.
    pub(crate) async fn calm(&self) {
        match self {
            Self::Http {
                upstream,
                line,
                modern,
            } => {
                upstream.behave();
                upstream.clear();
                if *modern {
                    upstream.on("server/discover", discovered());
                }
                line.set(Fate::Whole).await;
            }
            Self::Legacy { server, line } => {
                server.set(Mood::Calm);
                line.set(Fate::Whole).await;
            }
            Self::Program { mood, .. } => feel(mood, "calm"),
        }
    }

    /// Something goes wrong.
    async fn rage(&self, cards: &mut Cards, chance: &mut Chance) -> String {
        match self {
            Self::Http { upstream, line, .. } => {
                upstream.clear();
                let said = cards.http(upstream, chance);
                // The wire is in order most of the time: what the server says is to be heard too.
                let fate = if chance.below(4) == 0 {
                    cards.fates.deal(chance)
                } else {
                    Fate::Whole
                };
                line.set(fate).await;
                format!("{said} {fate:?}")
            }
            Self::Legacy { server, line } => {
                let mood = cards.moods.deal(chance);
                let fate = if chance.below(4) == 0 {
                    cards.fates.deal(chance)
                } else {
                    Fate::Whole
                };
                server.set(mood);
                line.set(fate).await;
                format!("{mood:?} {fate:?}")
            }
            Self::Program { mood, .. } => {
                let word = cards.words.deal(chance);
                feel(mood, word);
                word.to_owned()
            }
        }
    }

    /// Changes until `stop`; in between, as often as not for a moment, it is as it should be.
    pub(crate) async fn changes(&self, mut chance: Chance, calm: tokio::sync::watch::Receiver<bool>) {
        let mut cards = Cards::new();
        let mut was_calm = false;
        loop {
            if *calm.borrow() {
                if !was_calm {
                    self.calm().await;
                    was_calm = true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            if chance.below(4) == 0 {
                self.calm().await;
            } else {
                let what = self.rage(&mut cards, &mut chance).await;
                if crate::tells() {
                    println!("{}: {what}", self.name());
                }
            }
            was_calm = false;
            tokio::time::sleep(chance.millis(MOOD_MS.0, MOOD_MS.1)).await;
        }
    }
}

/// The whole file at once: a program that reads half of it would have no mood.
fn feel(file: &Path, mood: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, mood).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

fn discovered() -> Act {
    let result = json!({
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    });
    Act::Result(result.to_string())
}

/// What there is to go wrong.
struct Cards {
    acts: Deck<Act>,
    methods: Deck<&'static str>,
    fates: Deck<Fate>,
    moods: Deck<Mood>,
    words: Deck<&'static str>,
}

impl Cards {
    fn new() -> Self {
        Self {
            acts: Deck::new(acts()),
            // Those twice that are asked for most.
            methods: Deck::new(vec![
                "*",
                "*",
                "*",
                "tools/call",
                "tools/call",
                "tools/list",
                "tools/list",
                "initialize",
                "server/discover",
                "notifications/initialized",
                "GET",
                "DELETE",
            ]),
            fates: Deck::new(vec![
                Fate::Refused,
                Fate::Held,
                Fate::Reset,
                Fate::Cut(40),
                Fate::Cut(250),
                Fate::Nonsense,
            ]),
            moods: Deck::new(Mood::WILD.to_vec()),
            words: Deck::new(vec![
                "exit", "die", "mute", "hang", "deaf", "garbage", "wrong", "nothing", "longline", "flood",
                "spam", "orphans",
            ]),
        }
    }

    fn http(&mut self, upstream: &ScriptedUpstream, chance: &mut Chance) -> String {
        upstream.behave();
        let mut told = String::new();
        for _ in 0..=chance.below(2) {
            let (method, act) = (self.methods.deal(chance), self.acts.deal(chance));
            let act_told = format!("{act:?}");
            let _ = write!(told, "{method} {act_told:.60} ");
            upstream.on(method, act);
        }
        match chance.below(4) {
            0 => upstream.expire_sessions(),
            1 => {
                let more = (0..chance.below(20)).map(|number| tool(&format!("more_{number}")));
                upstream.set_tools(more.chain([tool("echo")]));
                upstream.push(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            }
            _ => {}
        }
        told
    }
}

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

/// Between two notifications of a flood: as fast as can be, but for a gateway that was not optimised, which would do nothing else.
fn flood_every() -> Duration {
    if crate::is_optimised() {
        Duration::ZERO
    } else {
        Duration::from_millis(1)
    }
}

fn acts() -> Vec<Act> {
    let json = |status: u16, text: &str| Act::Http {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::copy_from_slice(text.as_bytes()),
    };
    let relayed = |code| Act::Error {
        code,
        message: format!("{RELAYED}: no"),
    };
    vec![
        Act::Hang,
        Act::Drop,
        Act::Truncate(0),
        Act::Truncate(30),
        Act::Stall(0),
        Act::Stall(30),
        Act::WrongId,
        Act::EndlessBody,
        Act::EndlessNotifications(flood_every()),
        Act::SlowLoris(Duration::from_millis(2)),
        Act::KeepAlivesOnly(Duration::from_millis(2)),
        // More than the gateway takes in these tests.
        Act::GiantFrame(crate::max_upstream_bytes() * 3 / 2),
        Act::status(401, "who are you?").with_header("www-authenticate", "Bearer"),
        Act::status(403, "not you"),
        Act::status(404, "nothing here"),
        Act::rate_limited(1),
        Act::status(500, "boom"),
        Act::status(502, "<html>bad gateway</html>").with_header("content-type", "text/html"),
        Act::status(503, ""),
        Act::status(204, ""),
        Act::status(202, ""),
        Act::status(200, ""),
        Act::status(200, "fine").with_header("x-huge", &"y".repeat(1 << 20)),
        Act::redirect("/mcp"),
        Act::redirect("http://elsewhere.test/"),
        Act::html(),
        Act::not_json(),
        Act::Result("7".to_owned()),
        Act::Result("{}".to_owned()),
        json(200, "[]"),
        json(
            200,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        ),
        json(
            400,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["1999-01-01"],"requested":"x"}}}"#,
        ),
        relayed(-32000),
        relayed(-32601),
        relayed(-32022),
        Act::Delay(Duration::from_millis(300)),
    ]
}
