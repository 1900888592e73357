//! The transports, the entry points of each, and what comes back on them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, Reply, RpcReply, SseClient};

use crate::support::MODERN;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A session of the old era.
    Session,
    /// The old era without a session.
    Bare,
    /// The new era.
    Modern,
    /// The transport of 2024-11-05.
    Sse,
    /// `/mcp-rest`
    Rest,
}

pub(crate) const WAYS: [Way; 5] = [Way::Session, Way::Bare, Way::Modern, Way::Sse, Way::Rest];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `/mcp`
    Whole,
    /// `/{server}/mcp`; over REST `server_id`
    Own,
    /// `/mcp/{servers}`; over REST `mcp_server_name`
    Path,
    /// `x-mcp-servers`
    Header,
    /// `/toolset/{name}/mcp`; over REST `toolset_name`
    Toolset,
}

pub(crate) const ENTRIES: [Entry; 5] = [
    Entry::Whole,
    Entry::Own,
    Entry::Path,
    Entry::Header,
    Entry::Toolset,
];

/// What a client can tell one answer from another by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Answer {
    fn new(status: http::StatusCode, headers: &http::HeaderMap, mut body: Value) -> Self {
        // What is new each time, whatever is asked; the length is that of the request's id, too.
        let is_new = |name: &str| {
            matches!(
                name,
                "date" | "mcp-session-id" | "x-litellm-call-id" | "content-length"
            )
        };
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().filter(|(name, _)| !is_new(name.as_str()));
        if let Some(body) = body.as_object_mut() {
            body.remove("id");
        }
        Self {
            status: status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body,
        }
    }

    fn of_reply(reply: &Reply) -> Self {
        let body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| reply.text().into());
        Self::new(reply.status, &reply.headers, body)
    }

    fn of_rpc(reply: &RpcReply) -> Self {
        let message = reply.events.last().map(|event| event.message.clone());
        let message = message.or_else(|| serde_json::from_slice(&reply.raw).ok());
        Self::new(reply.status, &reply.headers, message.unwrap_or_default())
    }

    /// Whether what was asked for was done.
    pub(crate) fn is_done(&self) -> bool {
        let result = self.body.get("result").unwrap_or(&self.body);
        let is_result = self.body.get("result").is_some() || self.body.get("content").is_some();
        self.status == 200 && is_result && result["isError"] != true
    }

    /// The exposed names of the tools of a list, if it is one.
    pub(crate) fn tools(&self) -> Option<Vec<String>> {
        let tools = self.body["result"]["tools"]
            .as_array()
            .or(self.body["tools"].as_array());
        let name = |tool: &Value| {
            let name = tool["name"].as_str().unwrap();
            match tool["mcp_info"]["server_name"].as_str() {
                Some(server) if self.body.get("result").is_none() => format!("{server}-{name}"),
                _ => name.to_owned(),
            }
        };
        Some(tools?.iter().map(name).collect())
    }

    /// The same answer about something else.
    pub(crate) fn about(&self, replace: impl Fn(&str) -> String) -> Self {
        let headers = self.headers.iter();
        Self {
            status: self.status,
            headers: headers
                .map(|(name, value)| (name.clone(), replace(value)))
                .collect(),
            body: serde_json::from_str(&replace(&self.body.to_string())).unwrap(),
        }
    }
}

/// A way that is open at an entry.
pub(crate) enum Line {
    Rpc(Box<McpClient>, Way),
    Sse(Box<SseClient>),
    Rest {
        http: HttpClient,
        query: String,
        server: Option<String>,
    },
    /// There is no such place: every request has this answer.
    Refused(Answer),
}

impl Line {
    /// Opens it; at one server, or at the toolset.
    pub(crate) async fn open(way: Way, entry: Entry, http: &HttpClient, server: &str, toolset: &str) -> Self {
        let http = match entry {
            Entry::Header => http.clone().with_header("x-mcp-servers", server),
            _ => http.clone(),
        };
        let path = |end: &str| match entry {
            Entry::Whole | Entry::Header => format!("/{end}"),
            Entry::Own => format!("/{server}/{end}"),
            Entry::Path if end == "sse" => format!("/mcp/{server}/sse"),
            Entry::Path => format!("/mcp/{server}"),
            Entry::Toolset => format!("/toolset/{toolset}/{end}"),
        };
        match way {
            Way::Session => {
                let mut client = McpClient::over(http, &path("mcp"));
                let begun = client.initialize_only().await;
                if begun.status != 200 {
                    return Self::Refused(Answer::of_rpc(&begun));
                }
                Self::Rpc(Box::new(client), way)
            }
            Way::Bare | Way::Modern => Self::Rpc(Box::new(McpClient::over(http, &path("mcp"))), way),
            Way::Sse => match SseClient::try_open(&http, &path("sse")).await {
                Ok(client) => Self::Sse(Box::new(client)),
                Err(mut refused) => {
                    let mut body = Vec::new();
                    while let Some(Ok((_, piece))) = refused.next().await {
                        body.extend_from_slice(&piece);
                    }
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    Self::Refused(Answer::new(refused.status, &refused.headers, body))
                }
            },
            Way::Rest => {
                let (query, named) = match entry {
                    Entry::Whole | Entry::Header => (String::new(), None),
                    Entry::Own => (format!("?server_id={server}"), Some(server.to_owned())),
                    Entry::Path => (format!("?mcp_server_name={server}"), Some(server.to_owned())),
                    Entry::Toolset => (format!("?toolset_name={toolset}"), None),
                };
                Self::Rest {
                    http,
                    query,
                    server: named,
                }
            }
        }
    }

    /// Whether this is asked on it at all.
    pub(crate) fn speaks(&self, method: &str) -> bool {
        match self {
            // A call over REST is at no toolset.
            Self::Rest { query, .. } => {
                method == "tools/list" || method == "tools/call" && !query.starts_with("?toolset_name")
            }
            _ => true,
        }
    }

    pub(crate) async fn ask(&mut self, method: &str, params: &Value) -> Answer {
        match self {
            Self::Refused(answer) => answer.clone(),
            Self::Rpc(client, Way::Modern) => {
                let mut params = params.clone();
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                let mut client = client
                    .as_ref()
                    .clone()
                    .with_header("mcp-protocol-version", MODERN)
                    .with_header("mcp-method", method);
                if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
                    client = client.with_header("mcp-name", name);
                }
                Answer::of_rpc(&client.request(method, &params).await)
            }
            Self::Rpc(client, _) => Answer::of_rpc(&client.request(method, params).await),
            Self::Sse(client) => {
                let body = client.request(method, params).await;
                Answer::new(http::StatusCode::OK, &http::HeaderMap::new(), body)
            }
            Self::Rest { http, query, .. } if method == "tools/list" => {
                Answer::of_reply(&http.get(&format!("/mcp-rest/tools/list{query}")).await)
            }
            Self::Rest { http, server, .. } => {
                let mut body = params.clone();
                if let Some(server) = server {
                    body["server_id"] = server.as_str().into();
                }
                Answer::of_reply(&http.post("/mcp-rest/tools/call", &body).await)
            }
        }
    }
}
