//! A mock provider of models for measurements: chat completions in OpenAI's dialect, with as little work as an honest answer takes.
//!
//!     mockmodel --port 9131 --token KEY
//!
//! It answers with the first 64 characters of the last message, whole or in pieces (`"stream": true`), and says what that took. The model
//! `slow` waits between pieces. `GET /stats` counts what arrived.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};

/// Characters of the answer.
const ANSWER: usize = 64;

#[derive(Parser, Clone)]
#[command(about = "Mock provider of models for measurements")]
struct Args {
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// bearer token asked for (empty: none)
    #[arg(long, default_value = "")]
    token: String,
    /// pieces of an answer that comes in pieces
    #[arg(long, default_value_t = 16)]
    pieces: usize,
    /// milliseconds between two pieces of the model `slow`
    #[arg(long, default_value_t = 500)]
    pause: u64,
}

#[derive(Deserialize)]
struct Chat {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Options,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

struct Mock {
    args: Args,
    chats: AtomicU64,
}

fn answer(status: StatusCode, kind: &'static str, body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", Full::from(value.to_string()).boxed())
}

fn refusal(status: StatusCode, words: &str) -> Answer {
    json_answer(
        status,
        &json!({"error": {"message": words, "type": "invalid_request_error", "code": null}}),
    )
}

impl Mock {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == "/stats" {
            let chats = self.chats.load(Ordering::Relaxed);
            return json_answer(StatusCode::OK, &json!({ "chats": chats }));
        }
        if !request.uri().path().ends_with("/chat/completions") {
            return refusal(StatusCode::NOT_FOUND, "no such endpoint");
        }
        let given = request.headers().get(header::AUTHORIZATION);
        let wanted = format!("Bearer {}", self.args.token);
        if !self.args.token.is_empty() && given.is_none_or(|own| own.as_bytes() != wanted.as_bytes()) {
            return refusal(StatusCode::UNAUTHORIZED, "bad bearer token");
        }
        let Ok(body) = request.into_body().collect().await else {
            return refusal(StatusCode::BAD_REQUEST, "body");
        };
        let Ok(chat) = serde_json::from_slice::<Chat>(&body.to_bytes()) else {
            return refusal(StatusCode::BAD_REQUEST, "not a chat");
        };
        let number = self.chats.fetch_add(1, Ordering::Relaxed);
        let text: String = chat
            .messages
            .last()
            .map_or_else(String::new, |last| last.content.chars().take(ANSWER).collect());
        let usage = json!({"prompt_tokens": 16, "completion_tokens": 16, "total_tokens": 32});
        if chat.stream {
            return self.streamed(number, &chat, &text, &usage);
        }
        let message = json!({"role": "assistant", "content": text});
        let whole = json!({
            "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 1_700_000_000, "model": chat.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage,
        });
        json_answer(StatusCode::OK, &whole)
    }

    fn streamed(&self, number: u64, chat: &Chat, text: &str, usage: &Value) -> Answer {
        let chunk = |choices: Value| {
            json!({
                "id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000, "model": chat.model,
                "choices": choices,
            })
        };
        let piece = |delta: Value, finish: Value| {
            chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]))
        };
        let mut events = vec![piece(json!({"role": "assistant", "content": ""}), Value::Null)];
        let letters: Vec<char> = text.chars().collect();
        let step = letters.len().div_ceil(self.args.pieces.max(1)).max(1);
        for part in letters.chunks(step) {
            let part: String = part.iter().collect();
            events.push(piece(json!({ "content": part }), Value::Null));
        }
        events.push(piece(json!({}), json!("stop")));
        if chat.stream_options.include_usage {
            let mut last = chunk(json!([]));
            last["usage"] = usage.clone();
            events.push(last);
        }
        let texts: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let pause = (chat.model == "slow").then(|| Duration::from_millis(self.args.pause));
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(4);
        tokio::spawn(async move {
            for text in texts.into_iter().chain(["data: [DONE]\n\n".to_owned()]) {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                // Whoever leaves needs no more.
                if sender.send_data(text.into()).await.is_err() {
                    return;
                }
            }
        });
        answer(StatusCode::OK, "text/event-stream", body.boxed())
    }
}

async fn serve(args: Args) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port))
        .await
        .context("listen")?;
    println!("listening on http://{}", listener.local_addr().context("listen")?);
    let mock = Arc::new(Mock {
        args,
        chats: AtomicU64::new(0),
    });
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        // Without it the last piece of an answer waits for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        let mock = Arc::clone(&mock);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let mock = Arc::clone(&mock);
                async move { Ok::<_, Infallible>(mock.answer(request).await) }
            });
            // Ends when the client goes, in an error or not.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn main() -> Result<()> {
    // One thread: it shares the machine with what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    runtime.block_on(serve(Args::parse()))
}
