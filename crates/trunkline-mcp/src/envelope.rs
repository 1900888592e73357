//! JSON-RPC 2.0 messages, borrowed from the body they came in.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::bounded::Bounded;
use crate::depth;

/// One message.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// String or number, as spelled by the sender.
        id: &'a RawValue,
        /// What is asked.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// What happened.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Answers a request.
    Response {
        /// The id of the request; `null` where the other side could not read it.
        id: &'a RawValue,
        /// The result, or the error object.
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
}

/// Why a body is no message. [`EnvelopeError::code`] is the JSON-RPC code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or nested too deep.
    #[error("Parse error: {0}")]
    NotJson(String),
    /// JSON, but no JSON-RPC message.
    #[error("Invalid Request: {0}")]
    Invalid(&'static str),
}

impl EnvelopeError {
    /// JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::NotJson(_) => crate::rpc::PARSE_ERROR,
            Self::Invalid(_) => crate::rpc::INVALID_REQUEST,
        }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// `Some` for every member that is there, `null` too: `"id": null` is not the same as no id.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

/// Whether the body is an array: a batch, before anything of it is read.
pub fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Longest batch that is read at all.
const MAX_BATCH: usize = 10_000;

/// Takes a batch apart. At most `limit` messages.
pub fn split_batch(body: &[u8], limit: usize) -> Result<Vec<&RawValue>, EnvelopeError> {
    check_depth(body)?;
    let Bounded::<MAX_BATCH>(messages) =
        serde_json::from_slice(body).map_err(|error| EnvelopeError::NotJson(error.to_string()))?;
    match messages.len() {
        0 => Err(EnvelopeError::Invalid("an empty batch")),
        count if count > limit => Err(EnvelopeError::Invalid("the batch is too long")),
        _ => Ok(messages),
    }
}

fn check_depth(body: &[u8]) -> Result<(), EnvelopeError> {
    if depth::within(body, depth::MAX_DEPTH) {
        Ok(())
    } else {
        Err(EnvelopeError::NotJson(format!(
            "nested deeper than {} levels",
            depth::MAX_DEPTH
        )))
    }
}

impl<'a> Message<'a> {
    /// Reads a message. Duplicate envelope members are an error, unknown ones are ignored.
    pub fn parse(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        check_depth(body)?;
        Self::parse_deep(body)
    }

    /// The same with any depth, for what is taken apart and checked piece by piece: one definition that is nested too deep
    /// must not take a whole list with it. Nothing is recursed into.
    pub fn parse_deep(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        // All of it: the parser does not look into the texts of members that it passes over.
        let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::NotJson(error.to_string()))?;
        let wire: Wire<'a> = match serde_json::from_str(text) {
            Ok(wire) => wire,
            Err(error) if error.is_data() => {
                return Err(EnvelopeError::Invalid(
                    "a JSON-RPC message is an object without duplicate members",
                ));
            }
            Err(error) => return Err(EnvelopeError::NotJson(error.to_string())),
        };
        if wire.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return Err(EnvelopeError::Invalid("`jsonrpc` must be \"2.0\""));
        }
        match (wire.method, wire.id) {
            (Some(method), id) => {
                let method = raw_str(method).ok_or(EnvelopeError::Invalid("`method` must be a string"))?;
                let params = wire.params;
                if params.is_some_and(|params| !matches!(params.get().as_bytes().first(), Some(b'{' | b'[')))
                {
                    return Err(EnvelopeError::Invalid("`params` must be an object"));
                }
                match id {
                    None => Ok(Self::Notification { method, params }),
                    Some(id) if is_id(id) => Ok(Self::Request { id, method, params }),
                    Some(_) => Err(EnvelopeError::Invalid("`id` must be a string or a number")),
                }
            }
            (None, Some(id)) => {
                let outcome = match (wire.result, wire.error) {
                    (Some(result), None) => Ok(result),
                    (None, Some(error)) => Err(error),
                    _ => return Err(EnvelopeError::Invalid("neither a request nor a response")),
                };
                Ok(Self::Response { id, outcome })
            }
            (None, None) => Err(EnvelopeError::Invalid("neither `method` nor `id`")),
        }
    }
}

/// The id of a request that cannot be read otherwise, as raw JSON: whoever sent it waits for an answer.
pub fn id_of_request(body: &[u8]) -> Option<String> {
    check_depth(body).ok()?;
    let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
    wire.method?;
    wire.id.filter(|id| is_id(id)).map(|id| id.get().to_owned())
}

/// Whether a value can be a request's id: a string or a number.
fn is_id(raw: &RawValue) -> bool {
    matches!(raw.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))
}

/// A JSON string, borrowed where it has no escapes.
pub fn raw_str(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn b59_a_request_that_cannot_be_read_has_an_id_to_refuse_it_by() {
        for broken in [
            r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":5}"#,
            r#"{"jsonrpc":"1.0","id":7,"method":"elicitation/create"}"#,
            r#"{"id":7,"method":7}"#,
        ] {
            assert!(Message::parse(broken.as_bytes()).is_err(), "{broken}");
            assert_eq!(id_of_request(broken.as_bytes()).as_deref(), Some("7"), "{broken}");
        }
        for nothing in [
            "7",
            r#"{"id":7}"#,
            r#"{"id":null,"method":"a"}"#,
            r#"{"method":"a"}"#,
            "{",
        ] {
            assert_eq!(id_of_request(nothing.as_bytes()), None, "{nothing}");
        }
    }

    #[test]
    fn three_kinds() {
        let request = br#"{"jsonrpc":"2.0","id":1.0,"method":"tools\/list","params":{}}"#;
        let Ok(Message::Request { id, method, .. }) = Message::parse(request) else {
            panic!("request")
        };
        assert_eq!((id.get(), method.as_ref()), ("1.0", "tools/list"));
        assert!(matches!(
            Message::parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
            Ok(Message::Notification { .. })
        ));
        assert!(matches!(
            Message::parse(br#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#),
            Ok(Message::Response { outcome: Err(_), .. })
        ));
    }

    #[test]
    fn what_is_no_message() {
        let code = |body: &str| Message::parse(body.as_bytes()).map(|_| ()).unwrap_err().code();
        assert_eq!(code("{"), crate::rpc::PARSE_ERROR);
        assert_eq!(code(""), crate::rpc::PARSE_ERROR);
        let not_text = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"x\":\"\xff\"}";
        assert_eq!(
            Message::parse(not_text).unwrap_err().code(),
            crate::rpc::PARSE_ERROR
        );
        assert_eq!(code("[]"), crate::rpc::INVALID_REQUEST);
        assert_eq!(code(r#"{"id":1,"method":"ping"}"#), crate::rpc::INVALID_REQUEST);
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
            crate::rpc::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"method":2}"#),
            crate::rpc::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#),
            crate::rpc::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
            crate::rpc::INVALID_REQUEST
        );
        assert_eq!(
            code(&format!("{}1{}", "[".repeat(200), "]".repeat(200))),
            crate::rpc::PARSE_ERROR
        );
    }

    /// Text that is nearly a message: the members that are, with values that may be wrong, in any order and number.
    fn nearly() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            Just("jsonrpc"),
            Just("id"),
            Just("method"),
            Just("params"),
            Just("result"),
            Just("error"),
            Just("x"),
            Just("m\\u0065thod"),
        ];
        let value = prop_oneof![
            Just("\"2.0\"".to_owned()),
            Just("1".to_owned()),
            Just("null".to_owned()),
            Just("{}".to_owned()),
            Just("[]".to_owned()),
            Just("\"ping\"".to_owned()),
            Just("-0.0e9".to_owned()),
            Just(String::new()),
            "\"[ -~]{0,8}\"",
            "[\\PC]{0,6}",
        ];
        proptest::collection::vec((key, value), 0..8).prop_map(|members| {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    }

    proptest! {
        #[test]
        fn s38_garbage_is_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&body);
            let _ = split_batch(&body, 3);
        }

        #[test]
        fn s23_a_message_is_what_every_other_parser_reads(text in nearly()) {
            if let Ok(message) = Message::parse(text.as_bytes()) {
                // A number beyond the parser's reach is legal where nobody looks.
                let Ok(whole) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(()) };
                match message {
                    Message::Request { method, .. } | Message::Notification { method, .. } => {
                        prop_assert_eq!(&whole["method"], &*method);
                    }
                    Message::Response { outcome, .. } => {
                        prop_assert!(whole.get("result").is_some() != outcome.is_err());
                    }
                }
            }
        }

        #[test]
        fn a_batch_is_its_messages(texts in proptest::collection::vec(nearly(), 1..5)) {
            let body = format!("[{}]", texts.join(","));
            if let Ok(messages) = split_batch(body.as_bytes(), 5) {
                prop_assert_eq!(messages.len(), texts.len());
            }
        }
    }
}
