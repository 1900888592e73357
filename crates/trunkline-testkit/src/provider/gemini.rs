//! The provider in Gemini's dialect: what it rejects, and what it says where nothing is scripted.

use serde_json::{Value, json};

use super::{known_only, stream};
use crate::bare::{Bare, Said};

const REQUEST: [&str; 8] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "labels",
];
const CONFIG: [&str; 14] = [
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "stopSequences",
    "candidateCount",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "responseMimeType",
    "responseJsonSchema",
    "thinkingConfig",
    "logprobs",
];
const PART: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "thought",
    "thoughtSignature",
];

fn error(code: u16, status: &str, message: &str) -> Said {
    let body = json!({"error": {"code": code, "message": message, "status": status}});
    Said::json(code, body.to_string())
}

/// What it does not take, of any request.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn rejected(bare: &Bare, key: &str, models: &[String]) -> Result<Value, Said> {
    let invalid = |text: &str| error(400, "INVALID_ARGUMENT", text);
    if bare.header("x-goog-api-key") != Some(key) {
        return Err(error(
            403,
            "PERMISSION_DENIED",
            "API key not valid. Please pass a valid API key.",
        ));
    }
    let path = bare.head.uri.path();
    let named = path
        .strip_prefix("/v1/v1beta/models/")
        .and_then(|rest| rest.split_once(':'));
    let Some((
        model,
        how @ ("generateContent" | "streamGenerateContent" | "batchEmbedContents" | "countTokens"),
    )) = named
    else {
        return Err(error(404, "NOT_FOUND", "no such method"));
    };
    if !models.iter().any(|own| own == model) {
        return Err(error(404, "NOT_FOUND", &format!("models/{model} is not found")));
    }
    let body: Value =
        serde_json::from_slice(&bare.body).map_err(|_| invalid("Invalid JSON payload received"))?;
    let text = match how {
        "batchEmbedContents" => wrong_vectors(&body, model),
        "countTokens" => wrong_count(&body, model),
        _ => wrong(&body),
    };
    match text {
        Some(text) => Err(invalid(&text)),
        None => Ok(body),
    }
}

/// What is wrong with a request for vectors.
fn wrong_vectors(body: &Value, model: &str) -> Option<String> {
    const KNOWN: [&str; 5] = ["model", "content", "taskType", "title", "outputDimensionality"];
    if let Some(name) = known_only(body, &["requests"]) {
        return Some(format!("Unknown name \"{name}\""));
    }
    let requests = body["requests"].as_array().filter(|own| !own.is_empty());
    let Some(requests) = requests else {
        return Some("requests must not be empty".to_owned());
    };
    for own in requests {
        if let Some(name) = known_only(own, &KNOWN) {
            return Some(format!("Unknown name \"{name}\" at 'requests[0]'"));
        }
        if own["model"] != format!("models/{model}") {
            return Some("the model of a request must be that of the address".to_owned());
        }
        if own["content"]["parts"][0]["text"]
            .as_str()
            .is_none_or(str::is_empty)
        {
            return Some("content must not be empty".to_owned());
        }
    }
    None
}

/// What is wrong with the question how many tokens something has.
fn wrong_count(body: &Value, model: &str) -> Option<String> {
    if let Some(name) = known_only(body, &["contents", "generateContentRequest"]) {
        return Some(format!("Unknown name \"{name}\""));
    }
    let mut asked = body["generateContentRequest"].clone();
    let Some(object) = asked.as_object_mut() else {
        return body["contents"]
            .is_null()
            .then(|| "contents is not specified".to_owned());
    };
    if object.remove("model") != Some(format!("models/{model}").into()) {
        return Some("the model must be that of the address".to_owned());
    }
    wrong(&asked)
}

/// A vector for a text: its length, and how many vectors there were.
pub(super) fn vector(text: &Value, dimensions: &Value) -> Value {
    let length = text.as_str().map_or(0, str::len);
    let most = dimensions.as_u64().unwrap_or(2);
    let numbers = (0..most).map(|index| if index == 0 { json!(length) } else { json!(0.5) });
    numbers.collect()
}

pub(super) fn wrong(body: &Value) -> Option<String> {
    let unknown = |name: String| format!("Invalid JSON payload received. Unknown name \"{name}\"");
    if let Some(name) = known_only(body, &REQUEST) {
        return Some(unknown(name));
    }
    if let Some(name) = known_only(&body["generationConfig"], &CONFIG) {
        return Some(unknown(name));
    }
    let Some(contents) = body["contents"].as_array().filter(|own| !own.is_empty()) else {
        return Some("contents is not specified".to_owned());
    };
    let mut calls: Vec<&str> = Vec::new();
    let mut last = "model";
    for content in contents {
        let role = content["role"].as_str().unwrap_or_default();
        if role == last || !matches!(role, "user" | "model") {
            return Some("Please ensure that roles alternate between user and model".to_owned());
        }
        last = role;
        let parts = content["parts"].as_array().filter(|own| !own.is_empty());
        let Some(parts) = parts else {
            return Some("contents.parts must not be empty".to_owned());
        };
        if let Some(name) = parts.iter().find_map(|part| known_only(part, &PART)) {
            return Some(unknown(name));
        }
        let names = |kind: &str| -> Vec<&str> {
            let own = parts.iter().filter_map(|part| part[kind]["name"].as_str());
            own.collect()
        };
        let results = names("functionResponse");
        if results.len() != calls.len() || results.iter().any(|name| !calls.contains(name)) {
            return Some(
                "the number of function response parts must equal that of function call parts".to_owned(),
            );
        }
        if parts.iter().any(|part| {
            part["functionResponse"].is_object() && !part["functionResponse"]["response"].is_object()
        }) {
            return Some("functionResponse.response must be an object".to_owned());
        }
        calls = names("functionCall");
    }
    None
}

/// What it says where nothing is scripted: a word, or a tool call if tools were given.
pub(super) fn usual(path: &str, body: &Value) -> Said {
    if path.ends_with(":batchEmbedContents") {
        let requests = body["requests"].as_array().cloned().unwrap_or_default();
        let of = |own: &Value| {
            let text = &own["content"]["parts"][0]["text"];
            json!({"values": vector(text, &own["outputDimensionality"])})
        };
        let all: Vec<Value> = requests.iter().map(of).collect();
        return Said::json(200, json!({ "embeddings": all }).to_string());
    }
    if path.ends_with(":countTokens") {
        return Said::json(
            200,
            json!({"totalTokens": 31, "promptTokensDetails": []}).to_string(),
        );
    }
    let last = body["contents"].as_array().and_then(|own| own.last());
    let answered = last.is_some_and(|own| own.to_string().contains("functionResponse"));
    let called = body["tools"][0]["functionDeclarations"][0]["name"]
        .as_str()
        .filter(|_| !answered);
    let usage = json!({"promptTokenCount": 15, "cachedContentTokenCount": 10, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 18});
    let piece = |parts: Value, finish: Value| {
        json!({
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
            "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r1",
        })
    };
    let call = |name: &str| json!([{"functionCall": {"name": name, "args": {"city": "Oslo"}}, "thoughtSignature": "c2ln"}]);
    if path.ends_with(":streamGenerateContent") {
        let pieces = match called {
            Some(name) => vec![piece(call(name), "STOP".into())],
            None => vec![
                piece(json!([{"text": "He"}]), Value::Null),
                piece(json!([{"text": "llo"}]), "STOP".into()),
            ],
        };
        return stream(
            pieces
                .iter()
                .map(|piece| format!("data: {piece}\r\n\r\n"))
                .collect(),
        );
    }
    let parts = called.map_or_else(|| json!([{"text": "Hello"}]), call);
    Said::json(200, piece(parts, "STOP".into()).to_string())
}
