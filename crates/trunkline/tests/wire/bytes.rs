//! B62: nothing is lost. Arbitrary JSON through every cell, and what arrives is what was sent, byte for byte, but for what
//! `docs/bridge.md` says is translated.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use trunkline_testkit::{Bare, BareServer, McpClient, Said, TestGateway, event};

use crate::support::{CLIENT_INFO, Era, Message, Modern, appended, gateway_of, metadata, outcome};

/// Enough for every generator to be seen in every cell, in half a minute of a busy machine.
const CASES: u32 = 60;
const DEFINITIONS: usize = 60;

// === A server that says what it is told to ===

#[derive(Default)]
struct Script {
    /// What `tools/call` and `resources/read` answer.
    result: String,
    /// The parameters of the last of them.
    received: String,
}

/// The four lists: raw definitions by the member that holds them.
type Lists = Arc<Vec<(&'static str, &'static str, Vec<String>)>>;

struct Echo {
    server: BareServer,
    script: Arc<Mutex<Script>>,
    era: Era,
    sse: bool,
}

const SERVER_INFO: &str = r#"{"name":"w","version":"1"}"#;

async fn echo(era: Era, sse: bool, lists: Lists) -> Echo {
    let script = Arc::new(Mutex::new(Script::default()));
    let server = BareServer::start({
        let script = script.clone();
        move |asked: Bare| {
            let answer = answer(era, &asked, &lists, &script);
            async move {
                match answer {
                    None if asked.head.method == http::Method::GET => Said::status(405),
                    None => Said::status(202),
                    Some(answer) if sse => {
                        let (sender, texts) = mpsc::channel(1);
                        sender.send(event(None, &answer)).await.unwrap();
                        Said::events(texts)
                    }
                    Some(answer) => Said::json(200, answer),
                }
            }
        }
    })
    .await;
    Echo {
        server,
        script,
        era,
        sse,
    }
}

fn answer(era: Era, asked: &Bare, lists: &Lists, script: &Mutex<Script>) -> Option<String> {
    if asked.head.method != http::Method::POST {
        return None;
    }
    let body = std::str::from_utf8(&asked.body).unwrap();
    let message = Message::read(body);
    let id = message.id?.get();
    let method = message.method?;
    let capabilities = r#"{"tools":{},"prompts":{},"resources":{}}"#;
    let kept = r#""ttlMs":0,"cacheScope":"private""#;
    let result = match (&*method, era) {
        ("initialize", Era::Legacy) => {
            format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{SERVER_INFO}}}"#
            )
        }
        ("server/discover", Era::Modern) => format!(
            r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},{kept},"_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}}}"#
        ),
        ("tools/call" | "resources/read", _) => {
            let mut script = script.lock().unwrap();
            message.params.unwrap().get().clone_into(&mut script.received);
            let more = match (era, &*method) {
                (Era::Legacy, _) => None,
                (_, "tools/call") => Some(r#""resultType":"complete""#.to_owned()),
                _ => Some(format!(r#""resultType":"complete",{kept}"#)),
            };
            more.map_or_else(|| script.result.clone(), |more| appended(&script.result, &more))
        }
        (method, _) => {
            let Some((_, member, definitions)) = lists.iter().find(|(own, ..)| *own == method) else {
                return Some(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no such method"}}}}"#
                ));
            };
            let list = format!(r#"{{"{member}":[{}]}}"#, definitions.join(" , "));
            match era {
                Era::Legacy => list,
                Era::Modern => appended(&list, &format!(r#""resultType":"complete",{kept}"#)),
            }
        }
    };
    Some(format!(
        "{{ \"jsonrpc\" : \"2.0\", \"result\":{result} ,\"id\":{id}}}"
    ))
}

// === Arbitrary JSON, as text ===

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_map(|c| match c {
            '"' | '\\' => "z".to_owned(),
            c if (c as u32) < 0x20 => format!("\\u{:04X}", c as u32),
            c => c.to_string(),
        }),
        2 => prop::sample::select(vec![
            "\\u0061", "\\u00e9", "\\\"", "\\\\", "\\/", "\\b", "\\n", "\\r", "\\ud83d\\ude80", "\\u0000",
            "\\u2028", "\u{2028}", "\u{feff}", "\u{7f}", "data: ", "\u{85}",
            // Half a surrogate pair: legal text, and no string of most languages.
            "\\ud800", "\\uDFFF", "\\ude80\\ud83d",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0",
            "-0",
            "-0.0",
            "1",
            "1.0",
            "1.10",
            "1e2",
            "1E+2",
            "100",
            "1e400",
            "-1e-400",
            "9007199254740993",
            "123456789012345678901234567890",
            "0.1000000000000000055511151231257827",
            "18446744073709551616",
        ])
        .prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
    ]
}

fn blank() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\n]{1,3}"]
}

/// Keys that look alike, that others give a meaning to, and any.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            r#""a""#,
            r#""\u0061""#,
            r#""A""#,
            r#""name""#,
            r#""n\u0061me""#,
            r#""Name""#,
            r#""_meta""#,
            r#""uri""#,
            r#""type""#,
            r#""""#,
            r#""__proto__""#,
            r#""$ref""#,
        ])
        .prop_map(str::to_owned),
        string(),
    ]
}

/// No blanks before a comma: whether they belong to what was there or to what is put behind it, nobody can tell.
fn object_of(members: Vec<(String, String, String, String)>, tail: &str) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(key, before, value, after)| format!("{before}{key}{after}:{before}{value}"))
        .collect();
    format!("{{{}{tail}}}", members.join(","))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        number(),
        prop::sample::select(vec!["true", "false", "null", "{}", "[]", "{ }"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::vec((blank(), inner.clone()), 0..4), blank()).prop_map(|(items, tail)| {
                let items: Vec<String> = items.into_iter().map(|(blank, item)| blank + &item).collect();
                format!("[{}{tail}]", items.join(","))
            }),
            object(inner),
        ]
    })
}

/// An object whose keys may be there twice: nobody looks into it.
fn object(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (key(), blank(), values, blank());
    (prop::collection::vec(member, 0..4), blank()).prop_map(|(members, tail)| object_of(members, &tail))
}

/// Members that no revision knows, each of another key.
fn unknown() -> impl Strategy<Value = Vec<(String, String, String, String)>> {
    prop::collection::vec((string(), blank(), value(), blank()), 0..3).prop_map(|members| {
        let own = |(index, (key, before, value, after)): (usize, (String, String, String, String))| {
            let key = format!("\"\\u0078{index}{}", &key[1..]);
            (key, before, value, after)
        };
        members.into_iter().enumerate().map(own).collect()
    })
}

fn member(key: &str, value: &str) -> (String, String, String, String) {
    (
        format!("\"{key}\""),
        String::new(),
        value.to_owned(),
        String::new(),
    )
}

/// An object to which the gateway may add something.
fn meta_object() -> impl Strategy<Value = String> {
    (unknown(), blank()).prop_map(|(members, tail)| object_of(members, &tail))
}

/// One exchange.
#[derive(Clone, Debug)]
struct Case {
    arguments: String,
    /// Members of the parameters' `_meta`, besides those of the protocol.
    meta: Vec<(String, String, String, String)>,
    params: Vec<(String, String, String, String)>,
    tail: String,
    result: String,
    /// Its `_meta`.
    result_meta: Option<String>,
    /// On the endpoint of all servers, under the server's prefix.
    among_all: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let block = (value(), unknown()).prop_map(|(text, unknown)| {
        let mut members = vec![member("type", "\"text\""), member("text", &text)];
        members.extend(unknown);
        object_of(members, "")
    });
    let result = (
        prop::collection::vec(block, 0..3),
        // Another than an object is wrapped for clients of the old era.
        prop::option::of(object(value())),
        prop::option::of(prop_oneof![meta_object(), Just("null".to_owned())]),
        unknown(),
        blank(),
    )
        .prop_map(|(content, structured, meta, unknown, tail)| {
            let mut members = unknown;
            members.push(member("content", &format!("[{}]", content.join(","))));
            members.extend(structured.map(|value| member("structuredContent", &value)));
            members.extend(meta.iter().map(|value| member("_meta", value)));
            (object_of(members, &tail), meta)
        });
    (
        object(value()),
        unknown(),
        unknown(),
        blank(),
        result,
        any::<bool>(),
    )
        .prop_map(
            |(arguments, meta, params, tail, (result, result_meta), among_all)| Case {
                arguments,
                meta,
                params,
                tail,
                result,
                result_meta,
                among_all,
            },
        )
}

impl Case {
    /// The parameters around `name` or `uri`, with this in `_meta` besides the case's own.
    fn params(&self, own: (&str, &str), metadata: Option<&str>) -> String {
        let mut members = vec![member(own.0, own.1)];
        members.extend(self.params.clone());
        if own.0 == "name" {
            members.push(member("arguments", &self.arguments));
        }
        let meta = (!self.meta.is_empty()).then(|| object_of(self.meta.clone(), ""));
        let meta = match (meta, metadata) {
            (Some(meta), Some(metadata)) => Some(appended(&meta, metadata)),
            (None, Some(metadata)) => Some(format!("{{{metadata}}}")),
            (meta, None) => meta,
        };
        members.extend(meta.map(|meta| member("_meta", &meta)));
        object_of(members, &self.tail)
    }
}

// === Through the gateway ===

struct Cell<'a> {
    echo: &'a Echo,
    name: &'static str,
    legacy: &'a McpClient,
    modern: &'a Modern,
    legacy_all: &'a McpClient,
    modern_all: &'a Modern,
}

impl Cell<'_> {
    /// One request of the case: what the server got and what the client got.
    async fn exchange(&self, client: Era, method: &str, case: &Case) -> (String, String) {
        let exposed = if case.among_all && method == "tools/call" {
            format!("{}-tool", self.name)
        } else if case.among_all {
            format!("{}+memo://x", self.name)
        } else if method == "tools/call" {
            "tool".to_owned()
        } else {
            "memo://x".to_owned()
        };
        let key = if method == "tools/call" { "name" } else { "uri" };
        let quoted = format!("\"{exposed}\"");
        self.echo.script.lock().unwrap().result.clone_from(&case.result);
        let reply = match client {
            Era::Legacy => {
                let to = if case.among_all {
                    self.legacy_all
                } else {
                    self.legacy
                };
                let params = case.params((key, &quoted), None);
                let body =
                    format!(r#"{{"jsonrpc":"2.0","id":"q\u0031","method":"{method}","params":{params}}}"#);
                to.http().try_send(to.post(body)).await.unwrap()
            }
            Era::Modern => {
                let to = if case.among_all {
                    self.modern_all
                } else {
                    self.modern
                };
                let params = case.params((key, &quoted), Some(&metadata(CLIENT_INFO, "{}")));
                let body =
                    format!(r#"{{"jsonrpc":"2.0","id":"q\u0031","method":"{method}","params":{params}}}"#);
                to.http
                    .try_send(to.post(method, Some(&exposed), body))
                    .await
                    .unwrap()
            }
        };
        assert!(
            crate::support::last(&reply).contains(r#""id":"q\u0031""#),
            "the id as it was spelled"
        );
        let received = self.echo.script.lock().unwrap().received.clone();
        let result =
            outcome(&reply).unwrap_or_else(|error| panic!("{client:?} {method} {}: {error}", self.name));
        (received, result)
    }

    /// What the server is to get: the parameters of its own era, with its own name of the thing.
    fn expected_params(&self, client: Era, method: &str, case: &Case) -> String {
        let own = match method {
            "tools/call" => ("name", "\"tool\""),
            _ => ("uri", "\"memo://x\""),
        };
        let gateway = format!(
            r#"{{"name":"trunkline","version":"{}"}}"#,
            env!("CARGO_PKG_VERSION")
        );
        match (client, self.echo.era) {
            (_, Era::Legacy) => case.params(own, None),
            (Era::Legacy, Era::Modern) => case.params(own, Some(&metadata(&gateway, "{}"))),
            (Era::Modern, Era::Modern) => case.params(own, Some(&metadata(CLIENT_INFO, "{}"))),
        }
    }

    /// What the client is to get of the case's result.
    fn expected_result(&self, client: Era, method: &str, case: &Case) -> String {
        let kept = r#""ttlMs":0,"cacheScope":"private""#;
        let more = match method {
            "tools/call" => r#""resultType":"complete""#.to_owned(),
            _ => format!(r#""resultType":"complete",{kept}"#),
        };
        match (client, self.echo.era) {
            (Era::Legacy, _) => case.result.clone(),
            (Era::Modern, Era::Modern) => appended(&case.result, &more),
            (Era::Modern, Era::Legacy) => {
                let info = format!(r#""io.modelcontextprotocol/serverInfo":{SERVER_INFO}"#);
                let whole = appended(&case.result, &more);
                match &case.result_meta {
                    None => appended(&whole, &format!(r#""_meta":{{{info}}}"#)),
                    // There is nothing that it could be put into.
                    Some(meta) if meta == "null" => whole,
                    Some(meta) => {
                        let (before, after) = (format!(r#""_meta":{meta}"#), appended(meta, &info));
                        whole.replacen(&before, &format!(r#""_meta":{after}"#), 1)
                    }
                }
            }
        }
    }
}

/// The servers by the names that they have at the gateway.
const NAMES: [&str; 4] = ["legacyjson", "legacysse", "modernjson", "modernsse"];

async fn four(lists: &Lists) -> (Vec<Echo>, TestGateway) {
    let mut echoes = Vec::new();
    for era in Era::BOTH {
        for sse in [false, true] {
            echoes.push(echo(era, sse, lists.clone()).await);
        }
    }
    let servers: Vec<(&str, &BareServer, Era)> = NAMES
        .iter()
        .zip(&echoes)
        .map(|(name, echo)| (*name, &echo.server, echo.era))
        .collect();
    let gateway = gateway_of(&servers, "").await;
    drop(servers);
    (echoes, gateway)
}

fn tool_alone() -> Lists {
    let lists = [
        (
            "tools/list",
            "tools",
            r#"{"name":"tool","inputSchema":{"type":"object"}}"#,
        ),
        ("resources/list", "resources", r#"{"uri":"memo://x","name":"x"}"#),
    ];
    Arc::new(
        lists
            .into_iter()
            .map(|(method, member, definition)| (method, member, vec![definition.to_owned()]))
            .collect(),
    )
}

struct Clients {
    legacy: Vec<McpClient>,
    modern: Vec<Modern>,
    legacy_all: McpClient,
    modern_all: Modern,
}

async fn clients(gateway: &TestGateway) -> Clients {
    let mut legacy = Vec::new();
    for name in NAMES {
        let mut client = gateway
            .mcp_at(&format!("/{name}/mcp"))
            .with_protocol("2025-11-25");
        client.initialize().await;
        legacy.push(client);
    }
    let mut legacy_all = gateway.mcp().with_protocol("2025-11-25");
    legacy_all.initialize().await;
    Clients {
        legacy,
        modern: NAMES
            .iter()
            .map(|name| Modern::at(gateway, &format!("/{name}/mcp")))
            .collect(),
        legacy_all,
        modern_all: Modern::at(gateway, "/mcp"),
    }
}

impl Clients {
    /// So many bytes take a busy machine its time.
    fn with_limit(self, limit: Duration) -> Self {
        let modern = |own: Modern| Modern {
            http: own.http.with_limit(limit),
            ..own
        };
        Self {
            legacy: self.legacy.into_iter().map(|own| own.with_limit(limit)).collect(),
            modern: self.modern.into_iter().map(modern).collect(),
            ..self
        }
    }

    fn cells<'a>(&'a self, echoes: &'a [Echo]) -> Vec<Cell<'a>> {
        echoes
            .iter()
            .enumerate()
            .map(|(index, echo)| Cell {
                echo,
                name: NAMES[index],
                legacy: &self.legacy[index],
                modern: &self.modern[index],
                legacy_all: &self.legacy_all,
                modern_all: &self.modern_all,
            })
            .collect()
    }
}

#[test]
fn b62_arguments_and_results_are_byte_for_byte_in_every_cell() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (echoes, gateway) = runtime.block_on(four(&tool_alone()));
    let clients = runtime.block_on(clients(&gateway));
    let cells = clients.cells(&echoes);
    let config = Config {
        cases: CASES,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases each time: what fails here fails there.
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&case(), |case| {
        for cell in &cells {
            for client in Era::BOTH {
                for method in ["tools/call", "resources/read"] {
                    let (received, result) = runtime.block_on(cell.exchange(client, method, &case));
                    let at = format!(
                        "{client:?} client, {:?} server, sse {}, {method}",
                        cell.echo.era, cell.echo.sse
                    );
                    let expected = cell.expected_params(client, method, &case);
                    prop_assert_eq!(received, expected, "at the server: {}", at);
                    let expected = cell.expected_result(client, method, &case);
                    prop_assert_eq!(result, expected, "at the client: {}", at);
                }
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    drop(runtime);
}

/// Definitions are asked for once: so many different ones at the same time.
fn definitions(runner: &mut TestRunner, key: &str, spelled: &str, schema: bool) -> Vec<String> {
    (0..DEFINITIONS)
        .map(|index| {
            let name = if key == "name" {
                format!("t{index}")
            } else {
                format!("memo://{index}/{{x}}")
            };
            let (unknown, own, tail) = (unknown(), object(value()), blank())
                .new_tree(runner)
                .unwrap()
                .current();
            let mut members = unknown;
            members.insert(members.len() / 2, member(spelled, &format!("\"{name}\"")));
            if key == "uri" {
                members.push(member("name", "\"n\""));
            }
            if schema {
                members.push(member(
                    "inputSchema",
                    &format!(r#"{{"type":"object","x-own":{own}}}"#),
                ));
            }
            object_of(members, &tail)
        })
        .collect()
}

#[tokio::test]
async fn b62_definitions_are_byte_for_byte_in_every_cell() {
    let mut runner = TestRunner::deterministic();
    let lists: Lists = Arc::new(vec![
        (
            "tools/list",
            "tools",
            definitions(&mut runner, "name", "n\\u0061me", true),
        ),
        (
            "prompts/list",
            "prompts",
            definitions(&mut runner, "name", "name", false),
        ),
        (
            "resources/list",
            "resources",
            definitions(&mut runner, "uri", "uri", false),
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            definitions(&mut runner, "uri", "uriTemplate", false),
        ),
    ]);
    let (echoes, gateway) = four(&lists).await;
    let clients = clients(&gateway).await;
    for (cell, client) in clients
        .cells(&echoes)
        .iter()
        .flat_map(|cell| Era::BOTH.map(|client| (cell, client)))
    {
        for (method, member, definitions) in lists.iter() {
            let reply = match client {
                Era::Legacy => {
                    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
                    cell.legacy.http().try_send(cell.legacy.post(body)).await.unwrap()
                }
                Era::Modern => cell.modern.ask(method, &serde_json::json!({})).await,
            };
            let result = outcome(&reply).unwrap();
            let members: std::collections::HashMap<String, &RawValue> =
                serde_json::from_str(&result).unwrap();
            let listed: Vec<&RawValue> = serde_json::from_str(members[*member].get()).unwrap();
            let listed: Vec<&str> = listed.iter().map(|own| own.get()).collect();
            assert_eq!(
                listed, *definitions,
                "{client:?} client, {:?} server, {method}",
                cell.echo.era
            );
        }
    }
    // Among all, under their prefixes, and but for the names the same.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let reply = clients
        .legacy_all
        .http()
        .try_send(clients.legacy_all.post(body))
        .await
        .unwrap();
    let text = crate::support::last(&reply);
    for name in NAMES {
        for (index, own) in lists[0].2.iter().enumerate() {
            let (before, after) = (format!("\"t{index}\""), format!("\"{name}-t{index}\""));
            let exposed = own.replacen(&format!("me\":{before}"), &format!("me\":{after}"), 1);
            assert_ne!(exposed, *own);
            assert!(text.contains(&exposed), "{name}: {exposed}");
        }
    }
}

#[tokio::test]
async fn b62_ten_megabytes_and_ninety_levels_pass_in_every_cell() {
    let (echoes, gateway) = four(&tool_alone()).await;
    let clients = clients(&gateway).await.with_limit(Duration::from_mins(2));
    let long = format!("\"{}\"", "é\\u00e9\\ud800z".repeat(10 << 20 >> 4));
    let deep = format!("{}1e400{}", "[{\"a\":".repeat(46), "}]".repeat(46));
    for (inner, every) in [(long, false), (deep, true)] {
        let case = Case {
            arguments: format!(r#"{{"x":{inner}}}"#),
            meta: Vec::new(),
            params: Vec::new(),
            tail: String::new(),
            result: format!(r#"{{"content":[],"structuredContent":{{"x":{inner}}}}}"#),
            result_meta: None,
            among_all: false,
        };
        for cell in clients.cells(&echoes) {
            // Each era and each framing once with the long one: it is the same way, and takes seconds.
            if !every && cell.echo.sse != (cell.echo.era == Era::Legacy) {
                continue;
            }
            for client in Era::BOTH {
                let (received, result) = cell.exchange(client, "tools/call", &case).await;
                // Not shown: it is long.
                assert!(
                    received == cell.expected_params(client, "tools/call", &case),
                    "{client:?} {}",
                    cell.name
                );
                assert!(
                    result == cell.expected_result(client, "tools/call", &case),
                    "{client:?} {}",
                    cell.name
                );
            }
        }
    }
}
