//! What a scripted server can be told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Live, ScriptedUpstream, protocol};

/// What is done with one request, in place of the proper answer.
#[derive(Clone, Debug)]
pub enum Act {
    /// The proper answer.
    Serve,
    /// The proper answer, after that time.
    Delay(Duration),
    /// No answer; the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// The head of a JSON answer and so many bytes of its body, then the connection is closed.
    Truncate(usize),
    /// The head of a JSON answer and so many bytes of its body, then nothing; the connection stays open.
    Stall(usize),
    /// A proper answer to another request than the one that was asked.
    WrongId,
    /// The head of a JSON answer and a body that does not end.
    EndlessBody,
    /// This HTTP answer, and nothing else. See [`Act::status`].
    Http {
        /// Status code.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The whole body.
        body: Bytes,
    },
    /// A JSON-RPC result, given as text and sent byte for byte.
    Result(String),
    /// A JSON-RPC result that depends on a header: that of its value, else 401.
    ByHeader {
        /// The header.
        name: String,
        /// Values, and the results' texts. An empty value is that of no header.
        results: Vec<(String, String)>,
    },
    /// A JSON-RPC error.
    Error {
        /// The code.
        code: i64,
        /// The message.
        message: String,
    },
    /// A proper answer whose one frame is padded with spaces to so many bytes.
    GiantFrame(usize),
    /// Progress notifications without end, with this pause between two.
    EndlessNotifications(Duration),
    /// An event stream that gives one byte in this time, and never a whole event.
    SlowLoris(Duration),
    /// An event stream that gives a comment in this time, and never a message.
    KeepAlivesOnly(Duration),
    /// An event stream with these messages and then the result; without one, it stays open and gives what is pushed (see
    /// [`ScriptedUpstream::push`]).
    Events {
        /// Notifications or requests of the server.
        before: Vec<Value>,
        /// The result.
        result: Option<Value>,
    },
    /// What `subscriptions/listen` of 2026-07-28 asks for: acknowledged as it is asked for, then a stream of what is
    /// pushed, under the id of the subscription.
    Listen,
}

impl Act {
    /// An HTTP answer of this status with a text body.
    pub fn status(status: u16, body: &str) -> Self {
        Self::Http {
            status,
            headers: vec![("content-type".into(), "text/plain; charset=utf-8".into())],
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    /// Adds a header to an HTTP answer; nothing to the others.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// 429 with `Retry-After` in seconds.
    pub fn rate_limited(seconds: u32) -> Self {
        Self::status(429, "slow down").with_header("retry-after", &seconds.to_string())
    }

    /// 307 to another place: a path, or an address of another origin.
    pub fn redirect(location: &str) -> Self {
        Self::status(307, "").with_header("location", location)
    }

    /// 200 with a web page, as a proxy's sign-in page is.
    pub fn html() -> Self {
        Self::status(200, "<!doctype html><title>Sign in</title>").with_header("content-type", "text/html")
    }

    /// 200 that says JSON and is not.
    pub fn not_json() -> Self {
        Self::status(200, "{\"jsonrpc\": \"2.0\", oops").with_header("content-type", "application/json")
    }
}

/// What is done with connections, before HTTP.
#[derive(Clone, Debug, Default)]
pub enum Socket {
    /// Serves them.
    #[default]
    Serve,
    /// Refuses them; the port stays taken, so that nobody else can answer on it.
    Refuse,
    /// Accepts them and never answers.
    Hang,
    /// Accepts and closes them.
    Close,
    /// Accepts them, waits for the first bytes, sends these and closes.
    Raw(Bytes),
}

/// How answers to requests are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`
    #[default]
    Sse,
    /// `application/json`, except where notifications come before the result.
    Json,
}

/// Whether the server has sessions, and what it says to one that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sessions {
    /// None: no session id is given or looked at.
    Off,
    /// 404, as the protocol says; 400 when there is no session id at all.
    #[default]
    NotFound,
    /// 400 "Bad Request: No valid session ID provided" as plain text, as FastMCP of mcp 1.16 does.
    FastMcp,
}

/// What is odd about the cursors of `tools/list`. Pages count from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cursors {
    /// Nothing: the last page has none.
    #[default]
    Proper,
    /// The first time that page is asked for in a session, its `nextCursor` leads to itself again.
    RepeatedOnce(usize),
    /// That page's `nextCursor` always leads to itself.
    Loop(usize),
    /// Every page has a new `nextCursor`; after the last tool the pages are empty.
    Endless,
}

/// A `tools/call` as it arrived.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The tool's own name.
    pub name: String,
    /// `arguments`; null when there were none.
    pub arguments: Value,
    /// `_meta`; null when there was none.
    pub meta: Value,
    /// All parameters of the call.
    pub params: Value,
    /// The session id, when there was one.
    pub session: Option<String>,
    /// HTTP headers.
    pub headers: HeaderMap,
}

/// What a tool answers.
#[derive(Clone, Debug)]
pub enum ToolAnswer {
    /// A result.
    Result(Value),
    /// A result given as text and sent byte for byte.
    Raw(String),
    /// A JSON-RPC error.
    Error {
        /// The code.
        code: i64,
        /// The message.
        message: String,
        /// The data; null: left out.
        data: Value,
    },
    /// Questions to the client (`method` and `params`), each sent when the one before is answered; then a result whose text
    /// is the last answer as JSON. Always an event stream.
    Ask(Vec<Value>),
    /// Messages, each after its pause, then a result. Always an event stream.
    Stream {
        /// Notifications or requests of the server, with the pause before each.
        before: Vec<(Duration, Value)>,
        /// The result, right after the last.
        result: Value,
    },
    /// Progress notifications that say when they were sent: `progress` is [`ScriptedUpstream::now`] in microseconds. Then
    /// the text `done`.
    Stamped {
        /// The token of the call.
        token: Value,
        /// How many.
        count: u32,
        /// The pause before each.
        every: Duration,
    },
}

impl ToolAnswer {
    /// One text.
    pub fn text(text: &str) -> Self {
        Self::Result(json!({"content": [{"type": "text", "text": text}], "isError": false}))
    }

    /// One text that is an error of the tool.
    pub fn tool_error(text: &str) -> Self {
        Self::Result(json!({"content": [{"type": "text", "text": text}], "isError": true}))
    }

    /// The arguments: `message` as it is when there is one, else all of them as JSON.
    pub fn echo(call: &ToolCall) -> Self {
        match call.arguments.get("message").and_then(Value::as_str) {
            Some(message) => Self::text(message),
            None => Self::text(&call.arguments.to_string()),
        }
    }

    /// Progress and log notifications in turn, `steps` of each `every` so long, then the text `done`.
    pub fn progress(call: &ToolCall, steps: u32, every: Duration) -> Self {
        let token = call.meta.get("progressToken");
        let before = (1..=steps).flat_map(|step| {
            let progress = token.map(|token| {
                let params = json!({"progressToken": token, "progress": step, "total": steps, "message": format!("step {step}")});
                (every, json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            });
            let params = json!({"level": "info", "logger": "scripted", "data": format!("log {step}")});
            let pause = if progress.is_some() { Duration::ZERO } else { every };
            let log = (pause, json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
            progress.into_iter().chain([log])
        });
        Self::Stream {
            before: before.collect(),
            result: json!({"content": [{"type": "text", "text": "done"}], "isError": false}),
        }
    }
}

type Handler = Arc<dyn Fn(&ToolCall) -> ToolAnswer + Send + Sync>;

/// A tool: its definition as JSON text, sent byte for byte, and what it answers.
#[derive(Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) handler: Handler,
}

#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

impl Tool {
    fn new(definition: String, handler: Handler) -> Self {
        // The name alone: a definition may hold numbers that are legal JSON and fit no type here.
        let Named { name } =
            serde_json::from_str(&definition).expect("a tool definition is JSON with a name");
        Self {
            name,
            definition,
            handler,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "used to map over owned values")]
    pub(crate) fn echo(definition: Value) -> Self {
        Self::new(definition.to_string(), Arc::new(ToolAnswer::echo))
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.definition)
    }
}

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) path: String,
    pub(crate) framing: Framing,
    pub(crate) sessions: Sessions,
    pub(crate) cursors: Cursors,
    pub(crate) page_size: usize,
    pub(crate) required_headers: Vec<(String, String)>,
    pub(crate) challenge: String,
    pub(crate) redirect_slash: bool,
    pub(crate) get_stream: bool,
    pub(crate) stateful_tools: bool,
    pub(crate) revisions: Vec<String>,
    pub(crate) initialize_extra: BTreeMap<String, Value>,
}

/// Says what a [`ScriptedUpstream`] is like.
#[derive(Debug)]
pub struct UpstreamBuilder {
    script: Script,
    live: Live,
}

impl UpstreamBuilder {
    pub(crate) fn new() -> Self {
        let revisions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
        let script = Script {
            path: "/mcp".to_owned(),
            framing: Framing::default(),
            sessions: Sessions::default(),
            cursors: Cursors::default(),
            page_size: usize::MAX,
            required_headers: Vec::new(),
            challenge: "Bearer".to_owned(),
            redirect_slash: false,
            get_stream: true,
            stateful_tools: false,
            revisions: revisions.map(str::to_owned).to_vec(),
            initialize_extra: BTreeMap::new(),
        };
        Self {
            script,
            live: Live::default(),
        }
    }

    /// Starts it on a free port of the loopback interface. Without tools it gets `echo`.
    pub async fn start(mut self) -> ScriptedUpstream {
        if self.live.tools.is_empty() {
            self = self.tool(json!({
                "name": "echo",
                "description": "Return the message unchanged.",
                "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
            }));
        }
        ScriptedUpstream::serve(self.script, self.live).await
    }

    /// The path; `/mcp` unless set.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.script.path);
        self
    }

    /// JSON or SSE answers; SSE unless set.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.script.framing = framing;
        self
    }

    /// Sessions; on, with 404 for unknown ones, unless set.
    #[must_use]
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.script.sessions = sessions;
        self
    }

    /// Tools in a page of `tools/list`; all in one unless set.
    #[must_use]
    pub fn page_size(mut self, tools: usize) -> Self {
        self.script.page_size = tools.max(1);
        self
    }

    /// Odd cursors.
    #[must_use]
    pub fn cursors(mut self, cursors: Cursors) -> Self {
        self.script.cursors = cursors;
        self
    }

    /// Refuses requests without `Authorization: Bearer KEY`: 401 with the challenge.
    #[must_use]
    pub fn bearer(mut self, key: &str) -> Self {
        self.live.bearer = Some(key.to_owned());
        self
    }

    /// Refuses requests without this header: 401 with the challenge.
    #[must_use]
    pub fn require_header(mut self, name: &str, value: &str) -> Self {
        self.script
            .required_headers
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// The `WWW-Authenticate` of a 401; `Bearer` unless set.
    #[must_use]
    pub fn challenge(mut self, value: &str) -> Self {
        value.clone_into(&mut self.script.challenge);
        self
    }

    /// Answers its path with 307 to the same with a slash, as a mounted Starlette application does.
    #[must_use]
    pub fn redirect_slash(mut self) -> Self {
        self.script.redirect_slash = true;
        self
    }

    /// Answers GET with 405.
    #[must_use]
    pub fn no_get_stream(mut self) -> Self {
        self.script.get_stream = false;
        self
    }

    /// Adds the tools `set_value` (argument `value`) and `get_value`, whose value belongs to the session.
    #[must_use]
    pub fn stateful_tools(mut self) -> Self {
        self.script.stateful_tools = true;
        let no_arguments = json!({"type": "object", "properties": {}});
        let value = json!({"type": "object", "properties": {"value": {}}, "required": ["value"]});
        self.tool(json!({"name": protocol::SET_VALUE, "description": "Keep a value.", "inputSchema": value}))
            .tool(json!({"name": protocol::GET_VALUE, "description": "The value kept.", "inputSchema": no_arguments}))
    }

    /// The revisions it speaks, newest first; the four with `initialize` unless set.
    #[must_use]
    pub fn revisions(mut self, revisions: &[&str]) -> Self {
        self.script.revisions = revisions.iter().map(|&revision| revision.to_owned()).collect();
        self
    }

    /// Sets a member of the result of `initialize`, such as `capabilities`, `serverInfo` or `instructions`.
    #[must_use]
    pub fn initialize_member(mut self, name: &str, value: Value) -> Self {
        self.script.initialize_extra.insert(name.to_owned(), value);
        self
    }

    /// A tool that answers with [`ToolAnswer::echo`].
    #[must_use]
    pub fn tool(mut self, definition: Value) -> Self {
        self.live.tools.push(Tool::echo(definition));
        self
    }

    /// So many echoing tools, `{prefix}_000` and on.
    #[must_use]
    pub fn tools(mut self, prefix: &str, count: usize) -> Self {
        for number in 0..count {
            self = self.tool(json!({
                "name": format!("{prefix}_{number:03}"),
                "description": format!("Tool {number} of {prefix}."),
                "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}},
            }));
        }
        self
    }

    /// A tool with an answer of its own.
    #[must_use]
    pub fn tool_fn(
        self,
        definition: &Value,
        answer: impl Fn(&ToolCall) -> ToolAnswer + Send + Sync + 'static,
    ) -> Self {
        self.tool_raw(&definition.to_string(), answer)
    }

    /// The same with the definition as text, which is sent byte for byte.
    #[must_use]
    pub fn tool_raw(
        mut self,
        definition: &str,
        answer: impl Fn(&ToolCall) -> ToolAnswer + Send + Sync + 'static,
    ) -> Self {
        self.live
            .tools
            .push(Tool::new(definition.to_owned(), Arc::new(answer)));
        self
    }

    /// [`ScriptedUpstream::on`] from the start.
    #[must_use]
    pub fn on(mut self, method: &str, act: Act) -> Self {
        self.live.always.insert(method.to_owned(), act);
        self
    }

    /// What is done with connections; they are served unless set.
    #[must_use]
    pub fn socket(mut self, socket: Socket) -> Self {
        self.live.socket = socket;
        self
    }
}
