//! The provider as Bedrock has it: signed requests, Converse, streams of frames. The signature is computed here anew, from what came.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::play::{Heard, Move, Pieces, Voice, halves, names, next_number, result, texts};
use super::{gemini, known_only};
use crate::bare::{Bare, Said};

/// What a stream of frames is.
const FRAMES: &str = "application/vnd.amazon.eventstream";

const REQUEST: [&str; 8] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "additionalModelRequestFields",
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
];

fn error(status: u16, message: &str) -> Said {
    Said::json(status, json!({ "message": message }).to_string())
        .with_header("x-amzn-errortype", "ValidationException")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    let short = Sha256::digest(key);
    let key = if key.len() > 64 { short.as_slice() } else { key };
    block[..key.len()].copy_from_slice(key);
    let keyed = |pad: u8, text: &[u8]| {
        let mut all: Vec<u8> = block.iter().map(|own| own ^ pad).collect();
        all.extend_from_slice(text);
        Sha256::digest(&all).to_vec()
    };
    keyed(0x5c, &keyed(0x36, text))
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|own| format!("{own:02x}")).collect();
    digits.concat()
}

/// Whether the signature is that of `secret` over what came.
fn is_signed(bare: &Bare, id: &str, secret: &str) -> bool {
    let Some(rest) = bare
        .header("authorization")
        .and_then(|own| own.strip_prefix("AWS4-HMAC-SHA256 "))
    else {
        return false;
    };
    let member = |name: &str| {
        rest.split(", ")
            .find_map(|own| own.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let scope = member("Credential");
    let Some(scope) = scope.strip_prefix(&format!("{id}/")) else {
        return false;
    };
    let names = member("SignedHeaders");
    let has_all = ["host", "x-amz-date"]
        .iter()
        .all(|own| names.split(';').any(|name| name == *own));
    if !has_all || names.split(';').any(|name| bare.header(name).is_none()) {
        return false;
    }
    // What was escaped for the address is escaped once more.
    let path = bare.head.uri.path().replace('%', "%25");
    let signed: Vec<String> = names
        .split(';')
        .map(|name| format!("{name}:{}\n", bare.header(name).unwrap_or_default()))
        .collect();
    let canonical = format!(
        "{}\n{path}\n{}\n{}\n{names}\n{}",
        bare.head.method,
        bare.head.uri.query().unwrap_or_default(),
        signed.concat(),
        hex(Sha256::digest(&bare.body).as_slice())
    );
    let time = bare.header("x-amz-date").unwrap_or_default();
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(Sha256::digest(canonical.as_bytes()).as_slice())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes());
    }
    scope.ends_with("/bedrock/aws4_request") && member("Signature") == hex(&hmac(&key, text.as_bytes()))
}

/// What it does not take, of any request. The key is `id:secret`, of which the secret may also come as a token.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn rejected(bare: &Bare, key: &str, models: &[String]) -> Result<Value, Said> {
    let (id, secret) = key.split_once(':').unwrap_or((key, key));
    let is_token = bare.header("authorization") == Some(format!("Bearer {secret}").as_str());
    if !is_token && !is_signed(bare, id, secret) {
        let text = "The request signature we calculated does not match the signature you provided.";
        return Err(error(403, text));
    }
    let path = bare.head.uri.path();
    let named = path.strip_prefix("/model/").and_then(|rest| rest.split_once('/'));
    let Some((model, how @ ("converse" | "converse-stream" | "invoke" | "count-tokens"))) = named else {
        return Err(error(404, "no such operation"));
    };
    let model = model.replace("%3A", ":").replace("%2F", "/");
    if !models.contains(&model) {
        return Err(error(400, "The provided model identifier is invalid."));
    }
    let body: Value =
        serde_json::from_slice(&bare.body).map_err(|_| error(400, "Unexpected token in the body"))?;
    let text = match how {
        "invoke" => wrong_vectors(&body, &model),
        "count-tokens" if model.starts_with("us.") || !model.contains("anthropic.") => {
            Some("The provided model doesn't support counting tokens.".to_owned())
        }
        "count-tokens" => {
            let asked = &body["input"]["converse"];
            let known = known_only(asked, &["messages", "system", "toolConfig"]);
            known.map_or_else(|| wrong(asked), |name| Some(format!("Unknown parameter: {name}")))
        }
        _ => wrong(&body),
    };
    match text {
        Some(text) => Err(error(400, &text)),
        None => Ok(body),
    }
}

/// Members of a request for vectors of Cohere's.
const VECTORS: [&str; 5] = [
    "texts",
    "input_type",
    "truncate",
    "embedding_types",
    "output_dimension",
];

/// What is wrong with a request for vectors.
fn wrong_vectors(body: &Value, model: &str) -> Option<String> {
    if model.contains("titan-embed") {
        let known: &[&str] = if model.contains("text-v2") {
            &["inputText", "dimensions", "normalize", "embeddingTypes"]
        } else {
            &["inputText"]
        };
        let unknown = known_only(body, known).map(|name| format!("extraneous key [{name}] is not permitted"));
        let is_empty = body["inputText"].as_str().is_none_or(str::is_empty);
        return unknown.or(is_empty.then(|| "expected minLength: 1, actual: 0".to_owned()));
    }
    if let Some(name) = known_only(body, &VECTORS) {
        return Some(format!("extraneous key [{name}] is not permitted"));
    }
    let kinds = ["search_document", "search_query", "classification", "clustering"];
    if !kinds.contains(&body["input_type"].as_str().unwrap_or_default()) {
        return Some("input_type is required".to_owned());
    }
    let texts = body["texts"]
        .as_array()
        .filter(|own| (1..=96).contains(&own.len()));
    texts
        .is_none()
        .then(|| "texts must have 1 to 96 items".to_owned())
}

fn wrong(body: &Value) -> Option<String> {
    if let Some(name) = known_only(body, &REQUEST) {
        return Some(format!("Unknown parameter in input: {name}"));
    }
    let config = &body["inferenceConfig"];
    if let Some(name) = known_only(config, &["maxTokens", "temperature", "topP", "stopSequences"]) {
        return Some(format!("Unknown parameter in inferenceConfig: {name}"));
    }
    let messages = body["messages"].as_array()?;
    if messages.first().is_none_or(|own| own["role"] != "user") {
        return Some("A conversation must start with a user message.".to_owned());
    }
    let mut calls: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let wanted = if index % 2 == 0 { "user" } else { "assistant" };
        if message["role"] != wanted {
            return Some("A conversation must alternate between user and assistant roles.".to_owned());
        }
        let content = message["content"].as_array().filter(|own| !own.is_empty())?;
        let results: Vec<&str> = content
            .iter()
            .filter_map(|own| own["toolResult"]["toolUseId"].as_str())
            .collect();
        if results != calls {
            return Some(format!(
                "Expected toolResult blocks for: {calls:?}, not {results:?}"
            ));
        }
        calls.clear();
        for block in content {
            if let Some(text) = block_is_wrong(block, &mut names) {
                return Some(text);
            }
            calls.extend(block["toolUse"]["toolUseId"].as_str());
        }
    }
    let has_calls = body["messages"].to_string().contains("\"toolUse\"");
    if has_calls && body["toolConfig"]["tools"].as_array().is_none_or(Vec::is_empty) {
        return Some(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
                .to_owned(),
        );
    }
    for tool in body["toolConfig"]["tools"].as_array().into_iter().flatten() {
        let spec = &tool["toolSpec"];
        let is_spec = spec["inputSchema"]["json"]["type"] == "object" && spec["description"] != "";
        if !is_spec && tool["cachePoint"]["type"] != "default" {
            return Some(format!("Invalid tool: {tool}"));
        }
    }
    None
}

fn block_is_wrong<'a>(block: &'a Value, names: &mut Vec<&'a str>) -> Option<String> {
    let object = block.as_object().filter(|own| own.len() == 1)?;
    let (kind, value) = object.iter().next()?;
    match kind.as_str() {
        "text" if value.as_str().is_none_or(|own| own.trim().is_empty()) => {
            Some("The text field in the ContentBlock object is blank.".to_owned())
        }
        "image" if !matches!(value["format"].as_str(), Some("png" | "jpeg" | "gif" | "webp")) => {
            Some(format!("Invalid image format: {}", value["format"]))
        }
        "document" => {
            let name = value["name"].as_str().unwrap_or_default();
            let is_plain = name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || " -()[]".contains(c));
            if name.is_empty() || !is_plain || name.contains("  ") || names.contains(&name) {
                return Some(format!("Invalid document name: {name}"));
            }
            names.push(name);
            value["source"]["bytes"]
                .is_null()
                .then(|| "a document has no bytes".to_owned())
        }
        "toolUse" if !value["input"].is_object() => Some("toolUse.input must be a JSON object".to_owned()),
        "reasoningContent"
            if value["reasoningText"]["signature"].is_null() && value["redactedContent"].is_null() =>
        {
            Some("a thought has no signature".to_owned())
        }
        "text" | "image" | "toolUse" | "toolResult" | "reasoningContent" | "cachePoint" => None,
        other => Some(format!("Unknown content: {other}")),
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            };
        }
    }
    !sum
}

/// A frame of a stream: `event` or `exception`, its name, and what it says.
pub fn frame(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut headers = Vec::new();
    for (own, value) in [
        (
            if kind == "event" {
                ":event-type"
            } else {
                ":exception-type"
            },
            name,
        ),
        (":content-type", "application/json"),
        (":message-type", kind),
    ] {
        headers.push(u8::try_from(own.len()).unwrap_or(0));
        headers.extend_from_slice(own.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |own: usize| u32::try_from(own).unwrap_or(0).to_be_bytes();
    let mut out = Vec::new();
    out.extend_from_slice(&length(16 + headers.len() + payload.len()));
    out.extend_from_slice(&length(headers.len()));
    let sum = crc(&out).to_be_bytes();
    out.extend_from_slice(&sum);
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload.as_bytes());
    let sum = crc(&out).to_be_bytes();
    out.extend_from_slice(&sum);
    out
}

fn vectors(body: &Value) -> Said {
    if let Some(texts) = body["texts"].as_array() {
        let all: Vec<Value> = texts
            .iter()
            .map(|text| gemini::vector(text, &Value::Null))
            .collect();
        let answer =
            json!({"id": "1", "response_type": "embeddings_floats", "embeddings": all, "texts": texts});
        return Said::json(200, answer.to_string()).with_header("x-amzn-bedrock-input-token-count", "9");
    }
    let vector = gemini::vector(&body["inputText"], &body["dimensions"]);
    Said::json(
        200,
        json!({"embedding": vector, "inputTextTokenCount": 4}).to_string(),
    )
}

/// What it says where no model says anything.
pub(super) fn unvoiced(path: &str, body: &Value) -> Option<Said> {
    if path.ends_with("/invoke") {
        return Some(vectors(body));
    }
    let counts = path.ends_with("/count-tokens");
    counts.then(|| Said::json(200, json!({"inputTokens": 31}).to_string()))
}

pub(super) const VOICE: Voice = Voice {
    kind: FRAMES,
    whole,
    pieces,
    failure: |status| {
        let name = match status {
            401 | 403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            429 => "ThrottlingException",
            500.. => "InternalServerException",
            _ => "ValidationException",
        };
        error(status, &format!("The model failed with {status}.")).with_header("x-amzn-errortype", name)
    },
};

pub(super) fn heard(body: &Value) -> Heard {
    let mut heard = Heard {
        tools: names(&body["toolConfig"]["tools"], "/toolSpec/name"),
        ..Heard::default()
    };
    let mut asked = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        if message["role"] == "user" {
            asked.extend(texts(&message["content"]));
        }
        let blocks = message["content"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let results = blocks.iter().filter(|own| own["toolResult"].is_object());
        let results: Vec<String> = results.map(|own| result(&own["toolResult"]["content"])).collect();
        heard.answered = !results.is_empty();
        heard.results.extend(results);
    }
    heard.asked = asked.join("\n");
    heard
}

fn usage() -> Value {
    json!({"inputTokens": 5, "outputTokens": 3, "totalTokens": 8})
}

fn calls<'a>(does: &'a Move, body: &Value) -> Vec<(String, &'a str, &'a Value)> {
    let Move::Call(calls) = does else {
        return Vec::new();
    };
    let numbered = (next_number(&body["messages"])..).zip(calls);
    let calls = numbered.map(|(number, (name, input))| (format!("tooluse_{number}"), name.as_str(), input));
    calls.collect()
}

fn whole(does: &Move, body: &Value) -> Value {
    let (content, stop): (Vec<Value>, _) = if let Move::Say(text) = does {
        (vec![json!({ "text": text })], "end_turn")
    } else {
        let calls = calls(does, body).into_iter();
        let calls = calls
            .map(|(id, name, input)| json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}));
        (calls.collect(), "tool_use")
    };
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop, "usage": usage(), "metrics": {"latencyMs": 1},
    })
}

fn pieces(does: &Move, body: &Value) -> Pieces {
    let event = |name: &str, payload: Value| Bytes::from(frame("event", name, &payload));
    let delta = |index: usize, delta: Value| {
        event(
            "contentBlockDelta",
            json!({"contentBlockIndex": index, "delta": delta, "p": "abc"}),
        )
    };
    let stop = |index: usize| event("contentBlockStop", json!({"contentBlockIndex": index}));
    let (middle, reason) = if let Move::Say(text) = does {
        let (first, second) = halves(text);
        let say = |text: &str| delta(0, json!({ "text": text }));
        (vec![say(first), say(second), stop(0)], "end_turn")
    } else {
        let calls = calls(does, body).into_iter().enumerate();
        let middle = calls.flat_map(|(index, (id, name, input))| {
            let text = input.to_string();
            let (first, second) = halves(&text);
            let start =
                json!({"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": name}}});
            [
                event("contentBlockStart", start),
                delta(index, json!({"toolUse": {"input": first}})),
                delta(index, json!({"toolUse": {"input": second}})),
                stop(index),
            ]
        });
        (middle.collect(), "tool_use")
    };
    Pieces {
        begin: vec![event("messageStart", json!({"role": "assistant", "p": "ab"}))],
        middle,
        end: vec![
            event("messageStop", json!({ "stopReason": reason })),
            event("metadata", json!({"usage": usage(), "metrics": {"latencyMs": 1}})),
        ],
    }
}
