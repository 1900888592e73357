//! The provider in Gemini's dialect: what it rejects, and how it says things.

use bytes::Bytes;
use serde_json::{Value, json};

use super::known_only;
use super::play::{Heard, Move, Pieces, Voice, halves, names, next_number, texts};
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

/// What it says where no model says anything.
pub(super) fn unvoiced(path: &str, body: &Value) -> Option<Said> {
    if path.ends_with(":batchEmbedContents") {
        let requests = body["requests"].as_array().cloned().unwrap_or_default();
        let of = |own: &Value| {
            let text = &own["content"]["parts"][0]["text"];
            json!({"values": vector(text, &own["outputDimensionality"])})
        };
        let all: Vec<Value> = requests.iter().map(of).collect();
        return Some(Said::json(200, json!({ "embeddings": all }).to_string()));
    }
    let counts = path.ends_with(":countTokens");
    counts.then(|| {
        Said::json(
            200,
            json!({"totalTokens": 31, "promptTokensDetails": []}).to_string(),
        )
    })
}

pub(super) const VOICE: Voice = Voice {
    kind: "text/event-stream",
    whole,
    pieces,
    failure: |code| {
        let status = match code {
            401 => "UNAUTHENTICATED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            500.. => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        };
        error(code, status, &format!("The model failed with {code}."))
    },
};

pub(super) fn heard(body: &Value) -> Heard {
    let mut heard = Heard {
        tools: names(&body["tools"][0]["functionDeclarations"], "/name"),
        ..Heard::default()
    };
    let mut asked = Vec::new();
    for content in body["contents"].as_array().into_iter().flatten() {
        if content["role"] == "user" {
            asked.extend(texts(&content["parts"]));
        }
        let results = names(&content["parts"], "/functionResponse/response/output");
        heard.answered = content["parts"].to_string().contains("functionResponse");
        heard.results.extend(results);
    }
    heard.asked = asked.join("\n");
    heard
}

fn piece(body: &Value, parts: &Value, finish: &str) -> Value {
    let finish = (!finish.is_empty()).then_some(finish);
    let usage = json!({"promptTokenCount": 15, "cachedContentTokenCount": 10, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 18});
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
        "usageMetadata": usage, "modelVersion": "gemini", "responseId": format!("r{}", next_number(&body["contents"])),
    })
}

/// Of several calls the first alone is signed.
fn calls(does: &Move) -> Value {
    let Move::Call(calls) = does else {
        return json!([]);
    };
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| {
        let call = json!({"name": name, "args": arguments});
        if index == 0 {
            json!({"functionCall": call, "thoughtSignature": "c2ln"})
        } else {
            json!({ "functionCall": call })
        }
    });
    calls.collect()
}

fn whole(does: &Move, body: &Value) -> Value {
    match does {
        Move::Say(text) => piece(body, &json!([{ "text": text }]), "STOP"),
        _ => piece(body, &calls(does), "STOP"),
    }
}

fn pieces(does: &Move, body: &Value) -> Pieces {
    let event = |piece: Value| Bytes::from(format!("data: {piece}\r\n\r\n"));
    let middle = match does {
        Move::Say(text) => {
            let (first, second) = halves(text);
            vec![
                event(piece(body, &json!([{ "text": first }]), "")),
                event(piece(body, &json!([{ "text": second }]), "STOP")),
            ]
        }
        _ => vec![event(piece(body, &calls(does), "STOP"))],
    };
    Pieces {
        begin: Vec::new(),
        middle,
        end: Vec::new(),
    }
}
