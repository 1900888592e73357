//! What is no text of a model: what of it the provider rejects, and what it says where nothing is scripted.

use serde_json::{Value, json};

use super::{error, known_only, stream};
use crate::bare::{Bare, Said};

/// The members of a request that are known, by the end of its path, and those that have to be there.
fn members(path: &str, searches: Searches) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match path.rsplit('/').next()? {
        "rerank" => match searches {
            Searches::Cohere => (
                &[
                    "model",
                    "query",
                    "documents",
                    "top_n",
                    "max_tokens_per_doc",
                    "priority",
                ],
                &["query", "documents"],
            ),
            Searches::Voyage => (
                &[
                    "model",
                    "query",
                    "documents",
                    "top_k",
                    "return_documents",
                    "truncation",
                ],
                &["query", "documents"],
            ),
            Searches::Jina => (
                &["model", "query", "documents", "top_n", "return_documents"],
                &["query", "documents"],
            ),
        },
        "moderations" => (&["model", "input"], &["input"]),
        "generations" => (
            &[
                "model",
                "prompt",
                "n",
                "size",
                "quality",
                "style",
                "response_format",
                "background",
                "output_format",
                "user",
            ],
            &["prompt"],
        ),
        "speech" => (
            &[
                "model",
                "input",
                "voice",
                "response_format",
                "speed",
                "instructions",
            ],
            &["input", "voice"],
        ),
        _ => return None,
    })
}

/// Whose words for a search are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Searches {
    Cohere,
    Jina,
    Voyage,
}

/// Whether the path is one of these.
pub(super) fn is_one(path: &str) -> bool {
    path.ends_with("/audio/transcriptions") || members(path, Searches::Jina).is_some()
}

/// What is wrong with a request of JSON.
pub(super) fn rejected(path: &str, body: &Value, models: &[String], searches: Searches) -> Option<Said> {
    let invalid = |text: String| Some(error(400, &text, "invalid_request_error", ""));
    let (known, wanted) = members(path, searches)?;
    if !body.is_object() {
        return invalid("the body is no object".to_owned());
    }
    if let Some(name) = known_only(body, known) {
        return invalid(format!("Unrecognized request argument supplied: {name}"));
    }
    if let Some(name) = wanted.iter().find(|name| body[**name].is_null()) {
        return invalid(format!("Missing required parameter: '{name}'."));
    }
    let is_text = |own: &Value| own.as_str().is_some_and(|own| !own.is_empty());
    if path.ends_with("/rerank")
        && !body["documents"]
            .as_array()
            .is_some_and(|own| !own.is_empty() && own.iter().all(is_text))
    {
        return invalid("documents must be a list of texts".to_owned());
    }
    unknown_model(body["model"].as_str().unwrap_or_default(), models)
}

fn unknown_model(model: &str, models: &[String]) -> Option<Said> {
    if models.iter().any(|own| own == model) {
        return None;
    }
    let text = format!("The model `{model}` does not exist or you do not have access to it.");
    Some(error(404, &text, "invalid_request_error", "model_not_found"))
}

/// The parts of a form, as an object: of a file how many bytes it has, and their sum.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn form(bare: &Bare, models: &[String]) -> Result<Value, Said> {
    const KNOWN: [&str; 8] = [
        "file",
        "model",
        "language",
        "prompt",
        "response_format",
        "temperature",
        "timestamp_granularities[]",
        "stream",
    ];
    let invalid = |text: &str| error(400, text, "invalid_request_error", "");
    let kind = bare.header("content-type").unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/form-data; boundary=") else {
        return Err(invalid("the body is no form"));
    };
    // Every byte is a character of this text, so that it can be cut like one.
    let text: String = bare.body.iter().map(|own| char::from(*own)).collect();
    let whole = format!("\r\n{text}");
    let between = format!("\r\n--{boundary}");
    let mut parts = whole.split(&between);
    let mut found = json!({});
    if parts.next() != Some("") {
        return Err(invalid("the form does not begin"));
    }
    for part in parts {
        if part.trim_end() == "--" {
            break;
        }
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            return Err(invalid("a part has no head"));
        };
        let name = head
            .split("name=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let Some(name) = name.filter(|name| KNOWN.contains(name)) else {
            return Err(invalid(&format!("a part has an unknown name: {head}")));
        };
        found[name] = if head.contains("filename=") {
            let sum: u64 = content.chars().map(|own| u64::from(u32::from(own))).sum();
            json!([content.chars().count(), sum])
        } else {
            content.into()
        };
    }
    if !found["file"].is_array() {
        return Err(invalid("Missing required parameter: 'file'."));
    }
    match unknown_model(found["model"].as_str().unwrap_or_default(), models) {
        Some(said) => Err(said),
        None => Ok(found),
    }
}

/// What it says where nothing is scripted.
pub(super) fn usual(path: &str, body: &Value, searches: Searches) -> Said {
    let model = &body["model"];
    let answer = match path.rsplit('/').next().unwrap_or_default() {
        "rerank" => ranked(body, searches),
        "moderations" => json!({
            "id": "modr-1", "model": model,
            "results": [{"flagged": false, "categories": {"violence": false}, "category_scores": {"violence": 0.01}}],
        }),
        "generations" => {
            let count = body["n"].as_u64().unwrap_or(1);
            let one = json!({"b64_json": "aGk=", "revised_prompt": body["prompt"]});
            let data: Vec<Value> = (0..count).map(|_| one.clone()).collect();
            json!({"created": 1, "data": data})
        }
        "speech" => return Said::json(200, "\u{1}sound\u{0}").with_header("content-type", "audio/mpeg"),
        _ => return heard(body),
    };
    Said::json(200, answer.to_string())
}

fn ranked(body: &Value, searches: Searches) -> Value {
    let documents = body["documents"].as_array().map_or(0, Vec::len);
    let most = body["top_n"].as_u64().or(body["top_k"].as_u64());
    let most = most.map_or(documents, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let results: Vec<Value> = (0..documents.min(most))
        .map(|index| json!({"index": index, "relevance_score": 0.5}))
        .collect();
    match searches {
        Searches::Cohere => json!({
            "id": "r-1", "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        }),
        Searches::Jina => json!({
            "model": body["model"], "object": "list", "usage": {"total_tokens": 30, "prompt_tokens": 30}, "results": results,
        }),
        Searches::Voyage => json!({
            "object": "list", "data": results, "model": body["model"], "usage": {"total_tokens": 30},
        }),
    }
}

fn heard(body: &Value) -> Said {
    let text = "what was said";
    if body["stream"] == "true" {
        let usage = json!({
            "type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
        });
        let delta = json!({"type": "transcript.text.delta", "delta": "what was"});
        let done = json!({"type": "transcript.text.done", "text": text, "usage": usage});
        return stream(vec![format!("data: {delta}\n\n"), format!("data: {done}\n\n")]);
    }
    match body["response_format"].as_str().unwrap_or("json") {
        "text" => Said::json(200, text).with_header("content-type", "text/plain; charset=utf-8"),
        "verbose_json" => {
            let answer = json!({"task": "transcribe", "language": "english", "duration": 2.5, "text": text, "segments": []});
            Said::json(200, answer.to_string())
        }
        _ => {
            let answer = json!({"text": text, "usage": {"type": "duration", "seconds": 3}});
            Said::json(200, answer.to_string())
        }
    }
}
