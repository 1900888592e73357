//! One worker's client: one kept-alive connection, one session, every answer checked.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Args, Mode};

/// The revision in which every request stands for itself.
const MODERN: &str = "2026-07-28";
const BOTH: &str = "application/json, text/event-stream";

/// Where requests go and what they carry; the same for all requests of a worker.
pub(crate) struct Target {
    authority: String,
    path: String,
    headers: HeaderMap,
    protocol: String,
    tool: String,
    model: String,
    payload: usize,
    expect_tools: usize,
    server_id: String,
}

impl Target {
    pub(crate) fn of(args: &Args) -> Result<Self> {
        let rest = args
            .url
            .strip_prefix("http://")
            .context("--url must begin with http://")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(authority)?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static("mcpload"));
        for given in &args.header {
            let (name, value) = given.split_once(':').context("-H must be `Name: value`")?;
            headers.insert(
                HeaderName::try_from(name.trim())?,
                HeaderValue::from_str(value.trim())?,
            );
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers,
            protocol: args.protocol.clone(),
            tool: args.tool.clone(),
            model: args.model.clone(),
            payload: args.p,
            expect_tools: args.expect_tools,
            server_id: args.server_id.clone(),
        })
    }

    fn is_modern(&self) -> bool {
        self.protocol == MODERN
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Initialized {
    #[serde(rename = "protocolVersion")]
    protocol_version: String,
}

#[derive(Deserialize)]
struct Page {
    tools: Vec<IgnoredAny>,
    #[serde(rename = "nextCursor")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct CallResult {
    content: Vec<Content>,
    #[serde(rename = "isError", default)]
    is_error: Option<bool>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
}

pub(crate) struct Client {
    target: Arc<Target>,
    sender: Option<SendRequest<Full<Bytes>>>,
    connections: u64,
    session: Option<HeaderValue>,
    revision: Option<HeaderValue>,
    next_id: u64,
    number: u64,
}

impl Client {
    pub(crate) fn new(target: Arc<Target>, number: u64) -> Self {
        Self {
            target,
            sender: None,
            connections: 0,
            session: None,
            revision: None,
            next_id: 0,
            number,
        }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// The next request opens a new connection.
    pub(crate) fn disconnect(&mut self) {
        self.sender = None;
    }

    /// One operation. Returns when its answer was complete.
    pub(crate) async fn operation(&mut self, mode: Mode) -> Result<Instant> {
        match mode {
            Mode::Call => self.call().await,
            Mode::List => self.list().await,
            Mode::Rest => self.rest().await,
            Mode::Chat => self.chat(false).await,
            Mode::ChatStream => self.chat(true).await,
            Mode::Session => {
                self.disconnect();
                self.initialize().await?;
                let listed = self.list().await;
                self.close().await?;
                listed?;
                Ok(Instant::now())
            }
        }
    }

    pub(crate) async fn initialize(&mut self) -> Result<()> {
        (self.session, self.revision) = (None, None);
        if self.target.is_modern() {
            self.revision = Some(HeaderValue::from_static(MODERN));
            return Ok(());
        }
        let params = json!({
            "protocolVersion": self.target.protocol,
            "capabilities": {},
            "clientInfo": {"name": "mcpload", "version": "1"},
        });
        let (reply, _) = self
            .rpc("initialize", &params.to_string())
            .await
            .context("initialize")?;
        let initialized: Initialized = serde_json::from_str(&reply).context("initialize")?;
        self.revision = Some(HeaderValue::from_str(&initialized.protocol_version)?);
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let answer = self.send(Method::POST, initialized.into()).await?;
        let status = answer.status();
        let body = self.drain(answer.into_body()).await?;
        ensure!(
            status.is_success(),
            "initialized: HTTP {status}: {}",
            shown(&body)
        );
        Ok(())
    }

    /// Ends the session, when there is one.
    pub(crate) async fn close(&mut self) -> Result<()> {
        if self.session.is_some() {
            let answer = self.send(Method::DELETE, Bytes::new()).await?;
            self.drain(answer.into_body()).await?;
            self.session = None;
        }
        Ok(())
    }

    async fn call(&mut self) -> Result<Instant> {
        let text = self.text();
        let params = json!({"name": self.target.tool, "arguments": {"message": text}});
        let (reply, ended) = self.rpc("tools/call", &params.to_string()).await?;
        check_call(reply.as_bytes(), &text)?;
        Ok(ended)
    }

    async fn list(&mut self) -> Result<Instant> {
        let mut tools = 0;
        let mut params = "{}".to_owned();
        loop {
            let (reply, ended) = self.rpc("tools/list", &params).await?;
            let page: Page = serde_json::from_str(&reply).context("a page of tools")?;
            tools += page.tools.len();
            let Some(cursor) = page.next else {
                let wanted = self.target.expect_tools;
                ensure!(
                    tools > 0 && (wanted == 0 || tools == wanted),
                    "{tools} tools, not {wanted}"
                );
                return Ok(ended);
            };
            params = json!({"cursor": cursor}).to_string();
        }
    }

    async fn rest(&mut self) -> Result<Instant> {
        self.next_id += 1;
        let text = self.text();
        let mut body = json!({"name": self.target.tool, "arguments": {"message": text}});
        if !self.target.server_id.is_empty() {
            body["server_id"] = json!(self.target.server_id);
        }
        let answer = self.send(Method::POST, body.to_string().into()).await?;
        let status = answer.status();
        let body = self.drain(answer.into_body()).await?;
        let ended = Instant::now();
        ensure!(status.is_success(), "HTTP {status}: {}", shown(&body));
        check_call(&body, &text)?;
        Ok(ended)
    }

    /// A chat of one message: the answer begins as the message does.
    async fn chat(&mut self, streams: bool) -> Result<Instant> {
        self.next_id += 1;
        let text = self.text();
        let body = json!({
            "model": self.target.model, "messages": [{"role": "user", "content": text}], "stream": streams,
        });
        let answer = self.send(Method::POST, body.to_string().into()).await?;
        let status = answer.status();
        let body = self.drain(answer.into_body()).await?;
        let ended = Instant::now();
        ensure!(status.is_success(), "HTTP {status}: {}", shown(&body));
        let said = if streams {
            said_in_pieces(&body)?
        } else {
            said(&body)?
        };
        let wanted: String = text.chars().take(ANSWER).collect();
        ensure!(said == wanted, "another text: {}", shown(&body));
        Ok(ended)
    }

    /// A text that no other request has.
    fn text(&self) -> String {
        let mut text = format!("{}-{}-", self.number, self.next_id);
        let letters = (b'a'..=b'z')
            .cycle()
            .skip(usize::try_from(self.next_id % 26).unwrap_or(0));
        text.extend(
            letters
                .map(char::from)
                .take(self.target.payload.saturating_sub(text.len())),
        );
        text
    }

    /// One JSON-RPC request. Returns its result as JSON text, and when the answer was complete.
    async fn rpc(&mut self, method: &str, params: &str) -> Result<(String, Instant)> {
        self.next_id += 1;
        let id = self.next_id.to_string();
        let (params, mirrored) = self.of_era(method, params)?;
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}");
        let answer = self.send_with(Method::POST, body.into(), &mirrored).await?;
        let status = answer.status();
        if let Some(session) = answer.headers().get("mcp-session-id") {
            self.session = Some(session.clone());
        }
        let kind = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let streamed = kind.starts_with(b"text/event-stream");
        let body = self.drain(answer.into_body()).await?;
        let ended = Instant::now();
        ensure!(status.is_success(), "HTTP {status}: {}", shown(&body));
        if !streamed {
            let result = result_for(&body, &id)?.context("no answer with the id of the request")?;
            return Ok((result, ended));
        }
        for event in body.split(|&byte| byte == b'\n') {
            let data = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
            if let Some(result) = data.map(|data| result_for(data, &id)).transpose()?.flatten() {
                return Ok((result, ended));
            }
        }
        bail!("the stream ended without the answer")
    }

    /// Parameters with the metadata that the revision asks for, and the headers that mirror them.
    fn of_era(&self, method: &str, params: &str) -> Result<(String, HeaderMap)> {
        const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mcpload","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}"#;
        let mut mirrored = HeaderMap::new();
        if !self.target.is_modern() {
            return Ok((params.to_owned(), mirrored));
        }
        mirrored.insert("mcp-method", HeaderValue::from_str(method)?);
        if method == "tools/call" {
            mirrored.insert("mcp-name", HeaderValue::from_str(&self.target.tool)?);
        }
        let open = params.strip_suffix('}').context("parameters are an object")?;
        let comma = if open == "{" { "" } else { "," };
        Ok((format!("{open}{comma}{META}"), mirrored))
    }

    async fn send(&mut self, method: Method, body: Bytes) -> Result<Response<Incoming>> {
        self.send_with(method, body, &HeaderMap::new()).await
    }

    async fn send_with(
        &mut self,
        method: Method,
        body: Bytes,
        also: &HeaderMap,
    ) -> Result<Response<Incoming>> {
        // The server may have closed a kept-alive connection: once more, on a new one.
        for last in [false, true] {
            let fresh = self.connect().await?;
            let mut request = self.request(method.clone(), body.clone())?;
            request.headers_mut().extend(also.clone());
            let Some(sender) = &mut self.sender else {
                bail!("not connected")
            };
            if sender.ready().await.is_ok() {
                match sender.send_request(request).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if fresh || last => {
                        self.disconnect();
                        return Err(error).context("send");
                    }
                    Err(_) => {}
                }
            }
            self.disconnect();
        }
        bail!("the connection was closed")
    }

    /// Whether it had to connect.
    async fn connect(&mut self) -> Result<bool> {
        if self.sender.is_some() {
            return Ok(false);
        }
        let socket = TcpStream::connect(&self.target.authority)
            .await
            .context("connect")?;
        socket.set_nodelay(true).context("connect")?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .context("handshake")?;
        // Its errors show up in the requests.
        tokio::spawn(async move { drop(connection.await) });
        self.sender = Some(sender);
        self.connections += 1;
        Ok(true)
    }

    fn request(&self, method: Method, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(self.target.path.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.target.headers);
            headers.insert(header::ACCEPT, HeaderValue::from_static(BOTH));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let session = self.session.clone().map(|value| ("mcp-session-id", value));
            let revision = self.revision.clone().map(|value| ("mcp-protocol-version", value));
            headers.extend(
                session
                    .into_iter()
                    .chain(revision)
                    .map(|(name, value)| (HeaderName::from_static(name), value)),
            );
        }
        request.body(Full::new(body)).context("request")
    }

    async fn drain(&mut self, mut body: Incoming) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => {
                    self.disconnect();
                    return Err(error).context("body");
                }
            }
        }
        Ok(whole.freeze())
    }
}

/// The result in a message, when it answers that id; `None` for notifications.
fn result_for(message: &[u8], id: &str) -> Result<Option<String>> {
    let reply: Reply =
        serde_json::from_slice(message).with_context(|| format!("not JSON-RPC: {}", shown(message)))?;
    if let Some(error) = reply.error {
        bail!("JSON-RPC error: {}", shown(error.get().as_bytes()));
    }
    let Some(result) = reply.result else {
        return Ok(None);
    };
    ensure!(
        reply.id.is_some_and(|found| found.get() == id),
        "the answer to another request: {}",
        shown(message)
    );
    Ok(Some(result.get().to_owned()))
}

/// Characters of a message that the mock answers with.
const ANSWER: usize = 64;

/// The text of a whole chat completion.
fn said(body: &[u8]) -> Result<String> {
    let whole: Value = serde_json::from_slice(body).with_context(|| format!("no JSON: {}", shown(body)))?;
    let text = whole["choices"][0]["message"]["content"].as_str();
    Ok(text.context("no text")?.to_owned())
}

/// The same of one in pieces, which has to end as one does.
fn said_in_pieces(body: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(body).context("not UTF-8")?;
    ensure!(
        text.ends_with("data: [DONE]\n\n"),
        "it does not end: {}",
        shown(body)
    );
    let mut said = String::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data != "[DONE]" {
            let chunk: Value = serde_json::from_str(data).context("a piece")?;
            said.push_str(
                chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .unwrap_or_default(),
            );
        }
    }
    Ok(said)
}

fn check_call(result: &[u8], text: &str) -> Result<()> {
    let call: CallResult =
        serde_json::from_slice(result).with_context(|| format!("not a result: {}", shown(result)))?;
    ensure!(call.is_error != Some(true), "isError: {}", shown(result));
    ensure!(
        call.content.first().is_some_and(|first| first.text == text),
        "another text: {}",
        shown(result)
    );
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    let value = Value::from(String::from_utf8_lossy(&bytes[..bytes.len().min(160)]));
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_errors() {
        let answer = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hi"}]}}"#;
        let result = result_for(answer, "7").unwrap().unwrap();
        check_call(result.as_bytes(), "hi").unwrap();
        check_call(result.as_bytes(), "ho").unwrap_err();
        result_for(answer, "8").unwrap_err();
        result_for(
            br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#,
            "7",
        )
        .unwrap_err();
        let note = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        assert_eq!(result_for(note, "7").unwrap(), None);
        check_call(
            br#"{"content":[{"type":"text","text":"hi"}],"isError":true}"#,
            "hi",
        )
        .unwrap_err();
    }
}
