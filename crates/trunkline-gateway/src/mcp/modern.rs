//! Requests of 2026-07-28: each stands for itself, says in `_meta` what it is of, and mirrors it in headers (mcp reference
//! §1.2). What is asked for goes the same ways as in earlier revisions.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use trunkline_mcp::modern::{self, Cacheable, RequestMeta};
use trunkline_mcp::{Era, ListKind, Message, Revision, header, rpc};

use crate::Gateway;
use crate::answer;
use crate::calling::Operation;
use crate::context::Context;
use crate::mcp::{initialize, subscriptions, tools};

static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Whether a message is of this era: the body says so; where it says nothing, a header that names a revision without
/// hand-shake.
pub fn is_modern(message: &Message<'_>, headers: &HeaderMap) -> bool {
    // The headers first: they are the smaller part to read.
    names_modern(headers)
        || matches!(message, Message::Request { params, .. } if modern::claimed_version(*params).is_some())
}

/// A version after the last one with a hand-shake: versions are dates.
fn names_modern(headers: &HeaderMap) -> bool {
    let version = headers.get(&VERSION).and_then(|value| value.to_str().ok());
    version.is_some_and(|version| {
        let is_date = version.len() == 10
            && version.bytes().enumerate().all(|(at, b)| match at {
                4 | 7 => b == b'-',
                _ => b.is_ascii_digit(),
            });
        is_date && version > Revision::LATEST.as_str()
    })
}

/// Answers a message of this era.
pub async fn handle(
    gateway: &Arc<Gateway>,
    mut context: Box<Context>,
    message: Message<'_>,
    bytes: usize,
) -> Response {
    let (id, method, params) = match message {
        Message::Request { id, method, params } => (id.get(), method, params.map(RawValue::get)),
        // Nothing is told over HTTP that way; a cancellation is the end of its stream.
        Message::Notification { .. } => return answer::empty(StatusCode::ACCEPTED),
        Message::Response { .. } => {
            let text = "Invalid Request: a client does not send responses in 2026-07-28";
            return answer::rpc_error(StatusCode::BAD_REQUEST, "null", rpc::INVALID_REQUEST, text);
        }
    };
    let meta = match check(&context.headers, &method, params) {
        Ok(meta) => meta,
        Err(refusal) => {
            let error = rpc::error_object(refusal.code, &refusal.text, refusal.data.as_deref());
            return answer::json(refusal.status, rpc::error_response(id, &error));
        }
    };
    context.era = Era::Modern;
    context.capabilities = meta.capabilities.bridged();
    context.client_info = meta.client_info;
    context.log_level = meta.log_level.as_deref().and_then(trunkline_upstream::log_level);
    let context = Arc::new(*context);
    match method.as_ref() {
        "server/discover" => answer::json(StatusCode::OK, rpc::response(id, &discover(gateway, &context))),
        // Boxed: every call would carry room for it.
        "subscriptions/listen" => Box::pin(subscriptions::listen(gateway, context, id, params)).await,
        other => {
            if let Some(kind) = ListKind::of_method(other) {
                return tools::list(gateway, &context, kind, (id, params), bytes).await;
            }
            let operation = Operation::of_method(other).unwrap_or_else(|| Operation::Other(other.to_owned()));
            tools::call(gateway, &context, operation, (id, params), bytes).await
        }
    }
}

/// Why a request is refused before anybody looks at what it asks for.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: i64,
    text: String,
    data: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: i64, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            data: None,
        }
    }

    fn mismatch(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rpc::HEADER_MISMATCH, text)
    }
}

/// The checks of the specification, in the order that the reference (§1.2, steps 7 to 11) gives, and what they read.
fn check(headers: &HeaderMap, method: &str, params: Option<&str>) -> Result<RequestMeta, Refusal> {
    let twice = headers
        .keys()
        .filter(|name| {
            **name == VERSION
                || **name == METHOD
                || **name == NAME
                || name.as_str().starts_with(header::PARAM_PREFIX)
        })
        .find(|name| headers.get_all(*name).iter().nth(1).is_some());
    if let Some(name) = twice {
        return Err(Refusal::mismatch(format!("{name} is there more than once")));
    }
    let invalid = |text: &str| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            rpc::INVALID_PARAMS,
            format!("Invalid params: {text}"),
        )
    };
    let params = params.ok_or_else(|| invalid("params._meta is missing"))?;
    let params = modern::request_params(params).map_err(invalid)?;
    let meta = modern::request_meta(&params).map_err(invalid)?;
    let said = |name: &HeaderName| {
        headers
            .get(name)
            .and_then(|value| header::decode(value.as_bytes()))
    };
    if said(&VERSION).as_deref() != Some(&*meta.version) {
        return Err(Refusal::mismatch("MCP-Protocol-Version is not what _meta says"));
    }
    if said(&METHOD).as_deref() != Some(method) {
        return Err(Refusal::mismatch("Mcp-Method is not the body's method"));
    }
    if let Some(key) = modern::name_key(method) {
        let own = params.get_string(key);
        // A body without it is wrong for another reason, which is told by whoever needs it.
        if own.is_some() && said(&NAME).as_deref() != own.as_deref() {
            return Err(Refusal::mismatch(format!("Mcp-Name is not params.{key}")));
        }
    }
    if meta.version != modern::VERSION.as_str() {
        let text = format!(
            "Unsupported protocol version {}; supported: {}",
            trunkline_upstream::fault::printable(&meta.version),
            modern::VERSION.as_str()
        );
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, rpc::UNSUPPORTED_VERSION, text);
        refusal.data = Some(modern::unsupported_version_data(&meta.version));
        return Err(refusal);
    }
    if modern::REMOVED.contains(&method) {
        let text = format!("Method not found: {method}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, rpc::METHOD_NOT_FOUND, text));
    }
    Ok(meta)
}

/// What the servers of this request are, together: answered here, so that none of them can hold it up, and none of them
/// decides for the others which versions are spoken.
fn discover(gateway: &Gateway, context: &Context) -> String {
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": [modern::VERSION.as_str()],
        "capabilities": initialize::capabilities(gateway, context, modern::VERSION),
        "ttlMs": Cacheable::NEVER.ttl_ms,
        "cacheScope": "private",
        "_meta": {modern::SERVER_INFO: initialize::server_info(context)},
    });
    if let Some(text) = initialize::instructions(gateway, context) {
        result["instructions"] = Value::from(text);
    }
    result.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn code(pairs: &[(&str, &str)], method: &str, params: &str) -> i64 {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        check(&headers, method, Some(params)).map_or_else(|refusal| refusal.code, |_| 0)
    }

    #[test]
    fn s23_headers_say_what_the_body_says() {
        let call = format!(r#"{{"name":"a",{META}}}"#);
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "a");
        assert_eq!(code(&[version, method, name], "tools/call", &call), 0);
        assert_eq!(
            code(&[version, method, ("mcp-name", " a ")], "tools/call", &call),
            0
        );
        assert_eq!(
            code(
                &[version, method, ("mcp-name", "=?base64?YQ==?=")],
                "tools/call",
                &call
            ),
            0
        );
        for wrong in [
            &[version, method][..],
            &[version, name],
            &[method, name],
            &[version, method, ("mcp-name", "A")],
            &[version, ("mcp-method", "TOOLS/CALL"), name],
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            &[version, method, name, name],
            &[version, version, method, name],
        ] {
            assert_eq!(
                code(wrong, "tools/call", &call),
                rpc::HEADER_MISMATCH,
                "{wrong:?}"
            );
        }
        assert_eq!(code(&[version, method], "tools/call", "{}"), rpc::INVALID_PARAMS);
        let other = call.replace("2026-07-28", "2099-01-01");
        assert_eq!(
            code(&[version, method, name], "tools/call", &other),
            rpc::HEADER_MISMATCH
        );
        let later = ("mcp-protocol-version", "2099-01-01");
        assert_eq!(
            code(&[later, method, name], "tools/call", &other),
            rpc::UNSUPPORTED_VERSION
        );
        let ping = format!("{{{META}}}");
        assert_eq!(
            code(&[version, ("mcp-method", "ping")], "ping", &ping),
            rpc::METHOD_NOT_FOUND
        );
    }
}
