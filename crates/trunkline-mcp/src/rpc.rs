//! JSON-RPC error codes and messages built as text.

use crate::edit::{RawObject, push_string};

/// Not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// No request.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Wrong parameters; also: unknown tool, unknown cursor.
pub const INVALID_PARAMS: i64 = -32602;
/// Everything else, upstream failures among them.
pub const INTERNAL_ERROR: i64 = -32603;

/// No such resource, in revisions before 2026-07-28.
pub const RESOURCE_NOT_FOUND: i64 = -32002;

/// The user has to visit a page first (2025-11-25 alone).
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// Headers do not say what the body says (2026-07-28).
pub const HEADER_MISMATCH: i64 = -32020;

/// The request needs a capability that the client did not declare (2026-07-28).
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;

/// A protocol version that is not spoken here (2026-07-28).
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// A response with a result. `id` and `result` are JSON text.
pub fn response(id: &str, result: &str) -> String {
    let mut text = String::with_capacity(id.len() + result.len() + 36);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(id);
    text.push_str(r#","result":"#);
    text.push_str(result);
    text.push('}');
    text
}

/// A response with an error object as it came. `id` and `error` are JSON text.
pub fn error_response(id: &str, error: &str) -> String {
    let mut text = String::with_capacity(id.len() + error.len() + 36);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(id);
    text.push_str(r#","error":"#);
    text.push_str(error);
    text.push('}');
    text
}

/// An error object. `data` is JSON text.
pub fn error_object(code: i64, message: &str, data: Option<&str>) -> String {
    let mut text = format!(r#"{{"code":{code},"message":"#);
    push_string(&mut text, message);
    if let Some(data) = data {
        text.push_str(r#","data":"#);
        text.push_str(data);
    }
    text.push('}');
    text
}

/// The code of an error object.
pub fn code_of(error: &str) -> Option<i64> {
    RawObject::parse(error).ok()?.get("code")?.parse().ok()
}

/// A request. `id` and `params` are JSON text.
pub fn request(id: &str, method: &str, params: Option<&str>) -> String {
    let mut text = String::with_capacity(method.len() + params.map_or(0, str::len) + 64);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(id);
    text.push_str(r#","method":"#);
    push_string(&mut text, method);
    if let Some(params) = params {
        text.push_str(r#","params":"#);
        text.push_str(params);
    }
    text.push('}');
    text
}

/// A notification. `params` is JSON text.
pub fn notification(method: &str, params: Option<&str>) -> String {
    let mut text = String::from(r#"{"jsonrpc":"2.0","method":"#);
    push_string(&mut text, method);
    if let Some(params) = params {
        text.push_str(r#","params":"#);
        text.push_str(params);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_messages_are_json() {
        for text in [
            response("1", "{}"),
            error_response("\"a\"", &error_object(-1, "x\"\n", Some("[1]"))),
            request("7", "tools/call", Some("{}")),
            notification("notifications/initialized", None),
        ] {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
