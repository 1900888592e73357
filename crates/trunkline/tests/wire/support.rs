//! Raw messages, and clients of both eras that send text and give back text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use http::{Method, Request};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_testkit::{BareServer, HttpClient, Reply, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The version of the new era.
pub(crate) const MODERN: &str = "2026-07-28";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

impl Era {
    pub(crate) const BOTH: [Self; 2] = [Self::Legacy, Self::Modern];

    /// `protocol_version` of a server that is held to it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => MODERN,
        }
    }
}

/// A message whose parts are as they came.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    pub(crate) fn read(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("no message ({error}): {text}"))
    }
}

/// The messages of an answer, JSON or events.
pub(crate) fn messages(reply: &Reply) -> Vec<String> {
    let text = reply.text();
    let streamed = reply
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    if !streamed {
        return vec![text];
    }
    let data = |event: &str| {
        let lines: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        lines.join("\n")
    };
    text.split("\n\n")
        .map(data)
        .filter(|data| !data.is_empty())
        .collect()
}

/// The last message of an answer, which is the response.
pub(crate) fn last(reply: &Reply) -> String {
    messages(reply)
        .pop()
        .unwrap_or_else(|| panic!("an empty answer: {}", reply.everything()))
}

/// The result of an answer as text; the error, if it is one, as the other.
pub(crate) fn outcome(reply: &Reply) -> Result<String, String> {
    let text = last(reply);
    let message = Message::read(&text);
    match (message.result, message.error) {
        (Some(result), None) => Ok(result.get().to_owned()),
        (None, Some(error)) => Err(error.get().to_owned()),
        _ => panic!("neither result nor error: {text}"),
    }
}

/// The error of an answer.
#[track_caller]
pub(crate) fn error(reply: &Reply) -> Value {
    match outcome(reply) {
        Err(error) => serde_json::from_str(&error).unwrap(),
        Ok(result) => panic!("a result, no error: {result}"),
    }
}

/// The result of an answer.
#[track_caller]
pub(crate) fn result(reply: &Reply) -> Value {
    match outcome(reply) {
        Ok(result) => serde_json::from_str(&result).unwrap(),
        Err(error) => panic!("an error, no result: {error}"),
    }
}

/// Members at the end of an object, behind a comma if there are others. Blanks before the brace stay before it.
pub(crate) fn appended(object: &str, members: &str) -> String {
    let inner = object.strip_suffix('}').unwrap();
    let body = inner.trim_end();
    let tail = &inner[body.len()..];
    let comma = if body == "{" { "" } else { "," };
    format!("{body}{comma}{members}{tail}}}")
}

/// The three members of a request's metadata.
pub(crate) fn metadata(info: &str, capabilities: &str) -> String {
    format!(
        r#""io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientInfo":{info},"io.modelcontextprotocol/clientCapabilities":{capabilities}"#
    )
}

/// What the client of these tests says that it is.
pub(crate) const CLIENT_INFO: &str = r#"{"name":"wire","version":"1"}"#;

/// A client of the new era.
#[derive(Clone)]
pub(crate) struct Modern {
    pub(crate) http: HttpClient,
    pub(crate) path: String,
    pub(crate) capabilities: String,
    /// More members of `_meta`, behind a comma.
    pub(crate) more: String,
}

impl Modern {
    pub(crate) fn at(gateway: &TestGateway, path: &str) -> Self {
        Self {
            http: gateway.client(),
            path: path.to_owned(),
            capabilities: "{}".to_owned(),
            more: String::new(),
        }
    }

    pub(crate) fn with_capabilities(mut self, capabilities: &Value) -> Self {
        self.capabilities = capabilities.to_string();
        self
    }

    /// The POST of a request whose parameters have their metadata already.
    pub(crate) fn post(&self, method: &str, name: Option<&str>, body: String) -> Request<bytes::Bytes> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        request.body(body.into()).unwrap()
    }

    /// Sends a request; `params` is an object without `_meta`.
    pub(crate) async fn ask(&self, method: &str, params: &Value) -> Reply {
        self.http.try_send(self.request(method, params)).await.unwrap()
    }

    /// The request that [`Modern::ask`] sends.
    pub(crate) fn request(&self, method: &str, params: &Value) -> Request<bytes::Bytes> {
        let meta = format!("{}{}", metadata(CLIENT_INFO, &self.capabilities), self.more);
        let params = appended(&params.to_string(), &format!(r#""_meta":{{{meta}}}"#));
        let read: Value = serde_json::from_str(&params).unwrap();
        let name = read["name"].as_str().or(read["uri"].as_str());
        let body = format!(r#"{{"jsonrpc":"2.0","id":"m1","method":"{method}","params":{params}}}"#);
        self.post(method, name, body)
    }
}

/// A gateway in front of these, each held to its era, and each listed.
pub(crate) async fn gateway_of(servers: &[(&str, &BareServer, Era)], general: &str) -> TestGateway {
    let mut text = "mcp_servers:\n".to_owned();
    for (name, server, era) in servers {
        writeln!(
            text,
            "  {name}:\n    url: {}\n    prefix: never\n    protocol_version: '{}'",
            server.url(),
            era.version()
        )
        .unwrap();
    }
    if !general.is_empty() {
        write!(text, "general_settings:\n{general}").unwrap();
    }
    let gateway = TestGateway::start(&text).await;
    for (name, ..) in servers {
        eventually(&format!("{name} is listed"), PATIENCE, async || {
            let rows = gateway.client().get("/v1/mcp/server").await.json();
            let found = rows
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["alias"] == *name || row["server_name"] == *name);
            found.is_some_and(|row| row["outcome"]["status"] == "ok")
        })
        .await;
    }
    gateway
}
