//! Requests of 2026-07-28: method, name and some arguments stand in headers, too (mcp `header`). Which arguments is in the
//! tool's definition, which is remembered from the lists that pass by.

use std::collections::HashMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::header::{self, HeaderParam};
use trunkline_mcp::{Message, modern};

use crate::exchange::VERSION;

static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Tools that are remembered.
const MAX_TOOLS: usize = 50_000;

/// Tools with mirrored parameters.
pub(super) type Mirrored = HashMap<String, Vec<HeaderParam>>;

/// What the lists said.
#[derive(Default)]
pub(super) struct Mirrors(Mirrored);

impl Mirrors {
    /// The answer to a request may be a list of tools.
    pub(super) fn learn(&mut self, request: &[u8], answer: &[u8]) {
        match Message::parse_deep(request) {
            Ok(Message::Request { method, .. }) if method == "tools/list" => {}
            _ => return,
        }
        let Ok(Message::Response {
            outcome: Ok(result), ..
        }) = Message::parse_deep(answer)
        else {
            return;
        };
        let tools = RawObject::parse(result.get()).ok();
        let tools = tools.as_ref().and_then(|result| result.get("tools"));
        let Some(Ok(tools)) = tools.map(serde_json::from_str::<Vec<&serde_json::value::RawValue>>) else {
            return;
        };
        for tool in tools {
            let Ok(tool) = RawObject::parse(tool.get()) else {
                continue;
            };
            let (Some(name), Some(schema)) = (tool.get_string("name"), tool.get("inputSchema")) else {
                continue;
            };
            match header::params_of(schema) {
                Ok(params) if !params.is_empty() && self.0.len() < MAX_TOOLS => {
                    self.0.insert(name, params);
                }
                _ => {
                    self.0.remove(&name);
                }
            }
        }
    }
}

/// The headers of a request.
pub(super) fn headers(line: &[u8], mirrors: &Mirrors) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Ok(Message::Request { method, params, .. }) = Message::parse_deep(line) else {
        return headers;
    };
    let mut set = |name: HeaderName, value: &str| {
        // What cannot stand in a header is encoded, so that this always works.
        if let Ok(value) = HeaderValue::from_str(&header::encode(value)) {
            headers.insert(name, value);
        }
    };
    if let Some(version) = modern::claimed_version(params) {
        set(VERSION.clone(), &version);
    }
    set(METHOD.clone(), &method);
    let Some(params) = params.and_then(|params| RawObject::parse(params.get()).ok()) else {
        return headers;
    };
    let Some(name) = modern::name_key(&method).and_then(|key| params.get_string(key)) else {
        return headers;
    };
    set(NAME.clone(), &name);
    if method == "tools/call"
        && let Some(mirrored) = mirrors.0.get(&name)
    {
        let arguments = params.get("arguments").unwrap_or("{}");
        for param in mirrored {
            let name = HeaderName::try_from(format!("{}{}", header::PARAM_PREFIX, param.name));
            if let (Ok(name), Ok(Some(value))) = (name, param.value_in(arguments)) {
                set(name, &value);
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_says_is_mirrored_in_calls() {
        let mut mirrors = Mirrors::default();
        let list = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
        let answer = br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}"#;
        mirrors.learn(list, answer);
        let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","arguments":{"region":"eu"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let found = headers(call.as_bytes(), &mirrors);
        for (name, value) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "t"),
            ("mcp-param-region", "eu"),
        ] {
            assert_eq!(
                found.get(name).map(HeaderValue::as_bytes),
                Some(value.as_bytes()),
                "{name}"
            );
        }
    }
}
