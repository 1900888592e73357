//! What went wrong, in the envelope of the client's dialect, with LiteLLM's statuses and types.
//!
//! OpenAI's is `{"error": {"message", "type", "param", "code"}}`, in which `code` is the HTTP status as text. A provider's own code
//! is beside it in `provider_specific_fields`. Anthropic's is `{"type": "error", "error": {"type", "message"}, "request_id"}`.

use serde_json::{Value, json};

use crate::Dialect;

/// Characters of a message that is repeated.
const MAX_MESSAGE: usize = 2000;
/// Characters of a word (a type, a code, a name of a parameter) that is repeated.
const MAX_WORD: usize = 100;

/// Something to tell a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: String,
    /// `error.message`.
    pub message: String,
    /// `error.param`.
    pub param: Option<String>,
    /// What the provider calls it.
    pub provider_code: Option<String>,
}

impl Failure {
    /// Of the usual type for its status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: usual_type(status).to_owned(),
            message: message.into(),
            param: None,
            provider_code: None,
        }
    }

    /// The same with another type.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }

    /// The same about a member of the request.
    #[must_use]
    pub fn param(mut self, param: Option<String>) -> Self {
        self.param = param;
        self
    }

    /// What a provider tells of in the middle of a stream, by its type of it.
    pub fn told(kind: Option<String>, message: impl Into<String>) -> Self {
        let known = ANTHROPICS.iter().find(|(_, own)| Some(*own) == kind.as_deref());
        let status = known.map_or(500, |(status, _)| *status);
        let failure = Self::new(status, message);
        match kind {
            Some(kind) => failure.kind(&kind),
            None => failure,
        }
    }

    /// The envelope of a dialect.
    pub fn body(&self, dialect: Dialect, request_id: Option<&str>) -> String {
        if dialect != Dialect::Anthropic {
            return self.to_json();
        }
        let error = json!({ "type": anthropics_type(self.status), "message": self.message });
        let mut body = json!({ "type": "error", "error": error });
        if let Some(id) = request_id.filter(|id| !id.is_empty()) {
            body["request_id"] = id.into();
        }
        body.to_string()
    }

    /// The end of a stream in a dialect that fails in the middle.
    pub fn event(&self, dialect: Dialect) -> String {
        let name = match dialect {
            Dialect::OpenAi => "",
            Dialect::Responses => return self.numbered_event(0),
            Dialect::Anthropic => "event: error\n",
        };
        format!("{name}data: {}\n\n", self.body(dialect, None))
    }

    /// The end of a stream of responses that fails in the middle: events of these have numbers, and no envelope.
    pub fn numbered_event(&self, number: u64) -> String {
        let event = json!({
            "type": "error",
            "code": self.provider_code.as_deref().unwrap_or(&self.kind),
            "message": self.message,
            "param": self.param,
            "sequence_number": number,
        });
        format!("event: error\ndata: {event}\n\n")
    }

    /// OpenAI's envelope.
    pub fn to_json(&self) -> String {
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.status.to_string(),
        });
        if let Some(code) = &self.provider_code {
            error["provider_specific_fields"] = json!({ "code": code });
        }
        json!({ "error": error }).to_string()
    }
}

/// LiteLLM's `error.type` by status.
fn usual_type(status: u16) -> &'static str {
    match status {
        400 | 413 | 415 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 => "timeout_error",
        409 => "conflict_error",
        429 => "throttling_error",
        503 => "service_unavailable_error",
        _ => "internal_server_error",
    }
}

/// Anthropic's types by status.
const ANTHROPICS: [(u16, &str); 10] = [
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (402, "billing_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (413, "request_too_large"),
    (429, "rate_limit_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
    (500, "api_error"),
];

fn anthropics_type(status: u16) -> &'static str {
    let known = ANTHROPICS.iter().find(|(own, _)| *own == status);
    match (known, status) {
        (Some((_, kind)), _) => kind,
        (None, 408) => "timeout_error",
        (None, 400..=499) => "invalid_request_error",
        _ => "api_error",
    }
}

/// The body of a provider's answer that is no success, as far as it can be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderError {
    /// Its words.
    pub message: String,
    /// Its type.
    pub kind: Option<String>,
    /// Its code.
    pub code: Option<String>,
    /// The parameter that it is about.
    pub param: Option<String>,
}

/// What a provider has against a request itself, for which another model may be the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is longer than the model can read.
    ContextWindow,
    /// It, or what would be the answer, is about something that the provider will not talk about.
    ContentPolicy,
}

/// By which codes and types providers say that a request is too long.
const TOO_LONG_CODES: [&str; 2] = ["context_length_exceeded", "context_window_exceeded"];
/// And by which words: OpenAI's and those of services that copy it, Anthropic's, Gemini's, xAI's, Together's, Mistral's, llama.cpp's.
const TOO_LONG: [&str; 12] = [
    "context_length_exceeded",
    "maximum context length",
    "model's context length",
    "context window",
    "exceed context limit",
    "exceeds the available context size",
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
    "maximum prompt length is",
    "reduce the length of the messages",
    "too large for model with",
];
/// The same of what is not talked about.
const POLICY_CODES: [&str; 3] = ["content_policy_violation", "content_filter", "invalid_prompt"];
const POLICY: [&str; 7] = [
    "content_policy_violation",
    "content management policy",
    "content filtering policy",
    "content policy",
    "violating our usage policy",
    "rejected as a result of our safety system",
    "prohibited content",
];

impl ProviderError {
    /// Reads the beginning of a body: OpenAI's envelope, the others that compatible services have, or plain text.
    pub fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            let page = text.trim_start().starts_with('<');
            return Self {
                message: if page {
                    "(an HTML page)".to_owned()
                } else {
                    line(&text, MAX_MESSAGE)
                },
                ..Self::default()
            };
        };
        // Some answer with a list of one.
        let value = value.get(0).cloned().unwrap_or(value);
        let error = value
            .get("error")
            .filter(|error| error.is_object())
            .unwrap_or(&value);
        let word = |name: &str| match error.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(line(text, MAX_WORD)),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = ["/message", "/detail", "/error", "/msg", "/Message"]
            .iter()
            .find_map(|path| error.pointer(path).and_then(Value::as_str))
            .map_or_else(|| line(&text, MAX_MESSAGE), |words| line(words, MAX_MESSAGE));
        Self {
            message,
            kind: word("type"),
            code: word("code"),
            param: word("param"),
        }
    }

    /// What the provider has against the request itself, as far as it can be told from an answer with this status: its code, else its words.
    pub fn cause(&self, status: u16) -> Option<Cause> {
        if !matches!(status, 400 | 413 | 422) {
            return None;
        }
        let codes = [&self.code, &self.kind];
        let is = |known: &[&str]| {
            codes
                .iter()
                .any(|own| own.as_deref().is_some_and(|own| known.contains(&own)))
        };
        let words = self.message.to_ascii_lowercase();
        let says = |known: &[&str]| known.iter().any(|own| words.contains(own));
        if is(&TOO_LONG_CODES) || says(&TOO_LONG) {
            Some(Cause::ContextWindow)
        } else if is(&POLICY_CODES) || says(&POLICY) {
            Some(Cause::ContentPolicy)
        } else {
            None
        }
    }

    /// For the client, of an answer with this status by `provider`.
    pub fn failure(self, status: u16, provider: &str) -> Failure {
        let own = match status {
            400..=599 => status,
            // A redirect, or nothing that a client could act upon.
            _ => 500,
        };
        let words = match (status, self.message.is_empty()) {
            (401 | 403, true) => {
                format!("{provider} refuses the gateway's credential for this model (HTTP {status})")
            }
            (401 | 403, false) => format!(
                "{provider} refuses the gateway's credential for this model (HTTP {status}): {}",
                self.message
            ),
            (_, true) => format!("{provider} answered HTTP {status}"),
            (_, false) => format!("{provider}: {}", self.message),
        };
        let failure = Failure::new(own, words).param(self.param);
        Failure {
            // 429 has LiteLLM's own word, whatever the provider says.
            kind: self.kind.filter(|_| own != 429).unwrap_or(failure.kind),
            provider_code: self.code,
            ..failure
        }
    }
}

/// One bounded line without control characters.
fn line(text: &str, most: usize) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = shown.take(most).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_words_reach_the_client() {
        let body = br#"{"error":{"message":"too\nlong","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
        let failure = ProviderError::read(body).failure(400, "openai");
        assert_eq!(
            failure.to_json(),
            r#"{"error":{"message":"openai: too long","type":"invalid_request_error","param":"messages","code":"400","provider_specific_fields":{"code":"context_length_exceeded"}}}"#
        );
        for (body, message) in [
            (&b"{\"detail\":\"no\"}"[..], "no"),
            (b"{\"error\":\"model not found\"}", "model not found"),
            (b"{\"object\":\"error\",\"message\":\"m\",\"code\":40001}", "m"),
            (b"[{\"error\":{\"message\":\"m\"}}]", "m"),
            (b"<html>secret</html>", "(an HTML page)"),
            (b"plain\x00", "plain"),
            (b"", ""),
        ] {
            assert_eq!(ProviderError::read(body).message, message);
        }
    }

    #[test]
    fn anthropics_envelope_has_anthropics_types() {
        let of = |status| Failure::new(status, "m").body(Dialect::Anthropic, Some("r"));
        assert_eq!(
            of(403),
            r#"{"type":"error","error":{"type":"permission_error","message":"m"},"request_id":"r"}"#
        );
        for (status, kind) in [
            (408, "timeout_error"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (503, "api_error"),
            (529, "overloaded_error"),
        ] {
            assert!(of(status).contains(kind), "{status}");
        }
        assert_eq!(
            Failure::told(Some("overloaded_error".to_owned()), "busy").event(Dialect::Anthropic),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n"
        );
        let openai = Failure::told(Some("overloaded_error".to_owned()), "busy").event(Dialect::OpenAi);
        assert!(
            openai.starts_with("data: {\"error\":{") && openai.contains("\"code\":\"529\""),
            "{openai}"
        );
    }

    #[test]
    fn why_a_request_is_refused_is_known_in_each_dialect() {
        use super::Cause::{ContentPolicy, ContextWindow};
        for (status, body, wanted) in [
            (
                400,
                r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
                Some(ContextWindow),
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"}}"#,
                Some(ContextWindow),
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#,
                Some(ContextWindow),
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 1 + 2 > 3"}}"#,
                Some(ContextWindow),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
                Some(ContextWindow),
            ),
            (
                400,
                r#"{"error":{"message":"m","code":"content_policy_violation"}}"#,
                Some(ContentPolicy),
            ),
            (
                400,
                r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","code":"content_filter"}}"#,
                Some(ContentPolicy),
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
                Some(ContentPolicy),
            ),
            (400, r#"{"error":{"message":"max_tokens is too large"}}"#, None),
            (429, r#"{"error":{"message":"maximum context length"}}"#, None),
            (500, r#"{"error":{"message":"m","code":"content_filter"}}"#, None),
        ] {
            assert_eq!(
                ProviderError::read(body.as_bytes()).cause(status),
                wanted,
                "{body}"
            );
        }
    }

    #[test]
    fn statuses_have_litellms_types() {
        let limited =
            ProviderError::read(br#"{"error":{"message":"slow","type":"tokens"}}"#).failure(429, "groq");
        assert_eq!((limited.status, limited.kind.as_str()), (429, "throttling_error"));
        let moved = ProviderError::default().failure(302, "groq");
        assert_eq!(
            (moved.status, moved.kind.as_str()),
            (500, "internal_server_error")
        );
        let refused = ProviderError::default().failure(401, "groq");
        assert!(refused.message.contains("the gateway's credential"));
        let long = "x".repeat(5000);
        assert!(ProviderError::read(long.as_bytes()).message.chars().count() <= MAX_MESSAGE + 1);
    }
}
