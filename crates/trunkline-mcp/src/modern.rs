//! 2026-07-28: every request carries what a session carried before, in `_meta` and in headers; every result says what kind
//! of result it is. And the translation between this and the revisions with a hand-shake, where it is a matter of one
//! message.

use serde_json::value::RawValue;

use crate::capability::ClientCapabilities;
use crate::edit::{RawObject, Word, string};
use crate::list::ListKind;
use crate::revision::Revision;
use crate::rpc;

/// The version that is spoken.
pub const VERSION: Revision = Revision::V2026_07_28;

/// `_meta` of requests: the version.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta` of requests: what the client is.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// `_meta` of requests: what the client can be asked.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta` of requests: the least severe log message that is wanted.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta` of results: what the server is.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// `_meta` of notifications and of the result of a subscription: the id of the request that opened it.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

const OF_REQUESTS: [&str; 4] = [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL];

/// Methods that earlier revisions had.
pub const REMOVED: [&str; 5] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

static VERSION_KEY: Word = Word::new(PROTOCOL_VERSION);
/// What tells the kinds of results apart.
pub static RESULT_TYPE: Word = Word::new("resultType");

/// What a request says about its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// The version that the request is of.
    pub version: String,
    /// What the client can be asked.
    pub capabilities: ClientCapabilities,
    /// The least severe log message that is wanted.
    pub log_level: Option<String>,
    /// What the client says that it is: JSON text.
    pub client_info: Option<String>,
}

/// Why the metadata of a request cannot be used: text for `-32602`.
pub type MetaError = &'static str;

/// The version that the parameters claim; with one, the request is of this era whatever its headers say.
pub fn claimed_version(params: Option<&RawValue>) -> Option<String> {
    let params = params?.get();
    if !VERSION_KEY.may_be_in(params) {
        return None;
    }
    claimed_in(&RawObject::parse(params).ok()?)
}

/// The same of parameters that were taken apart.
pub fn claimed_in(params: &RawObject<'_>) -> Option<String> {
    let meta = RawObject::parse(params.get("_meta")?).ok()?;
    meta.get(PROTOCOL_VERSION)
        .map(|version| serde_json::from_str(version).unwrap_or_default())
}

/// Takes the parameters of a request of this era apart.
pub fn request_params(params: &str) -> Result<RawObject<'_>, MetaError> {
    RawObject::parse(params).map_err(|_| "params is no object, or has a key twice")
}

/// Reads the metadata of a request that claims a version.
pub fn request_meta(params: &RawObject<'_>) -> Result<RequestMeta, MetaError> {
    let meta = params.get("_meta").ok_or("params._meta is missing")?;
    let meta = RawObject::parse(meta).map_err(|_| "params._meta is no object, or has a key twice")?;
    let version = meta
        .get_string(PROTOCOL_VERSION)
        .ok_or("_meta lacks io.modelcontextprotocol/protocolVersion")?;
    let capabilities = meta
        .get(CLIENT_CAPABILITIES)
        .filter(|value| value.starts_with('{'))
        .ok_or("_meta lacks io.modelcontextprotocol/clientCapabilities, an object")?;
    let capabilities: &RawValue =
        serde_json::from_str(capabilities).map_err(|_| "the client's capabilities cannot be read")?;
    Ok(RequestMeta {
        version,
        capabilities: ClientCapabilities::read(capabilities),
        log_level: meta.get_string(LOG_LEVEL),
        client_info: meta.get(CLIENT_INFO).map(ToOwned::to_owned),
    })
}

/// What `Mcp-Name` mirrors of a method's parameters.
pub fn name_key(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// What the handles of calls that wait in a gateway begin with: in `requestState`, so that they are told apart from a server's.
pub const HANDLE: &str = "tl1.";

/// Whether parameters go on with a call that waits in a gateway.
pub fn has_handle(params: &str) -> bool {
    params.contains(HANDLE)
        && RawObject::parse(params)
            .ok()
            .and_then(|object| object.get_string("requestState"))
            .is_some_and(|state| state.starts_with(HANDLE))
}

/// Parameters of this era without what only it has, for a server of an earlier revision. Progress, trace context and what
/// vendors added stay.
pub fn params_to_legacy(params: &str) -> String {
    let Ok(mut object) = RawObject::parse(params) else {
        return params.to_owned();
    };
    object.remove("inputResponses");
    object.remove("requestState");
    if let Some(meta) = object.get("_meta").map(ToOwned::to_owned)
        && let Ok(mut meta) = RawObject::parse(&meta)
    {
        for key in OF_REQUESTS {
            meta.remove(key);
        }
        if meta.is_empty() {
            object.remove("_meta");
        } else {
            object.set("_meta", meta.to_json());
        }
    }
    object.to_json()
}

/// Parameters of an earlier revision with what this era asks for.
pub fn params_to_modern(
    params: Option<&str>,
    client_info: &str,
    capabilities: ClientCapabilities,
    log_level: Option<&str>,
) -> String {
    let params = params.unwrap_or("{}");
    let Ok(mut object) = RawObject::parse(params) else {
        return params.to_owned();
    };
    let before = object.get("_meta").unwrap_or("{}").to_owned();
    let mut meta = RawObject::parse(&before).unwrap_or_default();
    meta.set_string(PROTOCOL_VERSION, VERSION.as_str());
    meta.set(CLIENT_INFO, client_info.to_owned());
    meta.set(CLIENT_CAPABILITIES, capabilities.to_json());
    if let Some(level) = log_level {
        meta.set_string(LOG_LEVEL, level);
    }
    object.set("_meta", meta.to_json());
    // A task of 2025-11-25 is asked for by a parameter that means nothing here.
    object.remove("task");
    object.to_json()
}

/// How long, and by whom, an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// `ttlMs`, milliseconds.
    pub ttl_ms: u64,
    /// `cacheScope: public`.
    pub public: bool,
}

impl Cacheable {
    /// Not at all.
    pub const NEVER: Self = Self {
        ttl_ms: 0,
        public: false,
    };

    /// The two members, to be put into a result's text.
    pub fn members(self) -> String {
        let scope = if self.public { "public" } else { "private" };
        format!(r#""ttlMs":{},"cacheScope":"{scope}""#, self.ttl_ms)
    }
}

/// Whether results of a method say how long they may be kept.
pub fn is_cacheable(method: &str) -> bool {
    ListKind::of_method(method).is_some() || matches!(method, "resources/read" | "server/discover")
}

/// A result of an earlier revision as this era has it. An error if it has a member twice: which of them counts cannot be
/// told, so nothing can be added to it (S23).
pub fn result_to_modern(
    method: &str,
    result: &str,
    server_info: Option<&str>,
) -> Result<String, serde_json::Error> {
    let mut object = RawObject::parse(result)?;
    if object.get("resultType").is_none() {
        object.set_string("resultType", "complete");
    }
    if is_cacheable(method) {
        // What an earlier revision does not say must not be made up.
        if object.get("ttlMs").is_none() {
            object.set("ttlMs", "0".to_owned());
        }
        if object.get("cacheScope").is_none() {
            object.set_string("cacheScope", "private");
        }
    }
    if let Some(info) = server_info {
        let before = object.get("_meta").unwrap_or("{}").to_owned();
        if let Ok(mut meta) = RawObject::parse(&before)
            && meta.get(SERVER_INFO).is_none()
        {
            meta.set(SERVER_INFO, info.to_owned());
            object.set("_meta", meta.to_json());
        }
    }
    Ok(object.to_json())
}

/// A complete result of this era as earlier revisions have it. An error if it has a member twice.
pub fn result_to_legacy(result: &str) -> Result<String, serde_json::Error> {
    let mut object = RawObject::parse(result)?;
    for key in ["resultType", "ttlMs", "cacheScope"] {
        object.remove(key);
    }
    Ok(object.to_json())
}

/// A result that says that anybody may have it, for one whose it is alone; `None` if it does not say so.
pub fn as_private(result: &str) -> Option<String> {
    let mut object = RawObject::parse(result).ok()?;
    // Whatever is no `private` is not what it should be.
    object.get("cacheScope").filter(|scope| *scope != "\"private\"")?;
    object.set_string("cacheScope", "private");
    Some(object.to_json())
}

/// `resultType`; without one a result is complete.
pub fn result_type(result: &str) -> String {
    let object = RESULT_TYPE
        .may_be_in(result)
        .then(|| RawObject::parse(result).ok());
    object
        .flatten()
        .and_then(|object| object.get_string("resultType"))
        .unwrap_or_else(|| "complete".to_owned())
}

/// An error of an earlier revision as this era has it: two codes are no more. A resource that is not there is a wrong
/// parameter; what a page has to be visited for is asked for by a result ([`url_elicitation`]), where that can be.
pub fn error_to_modern(error: &str) -> String {
    let Ok(mut object) = RawObject::parse(error) else {
        return error.to_owned();
    };
    match rpc::code_of(error) {
        Some(rpc::RESOURCE_NOT_FOUND) => object.set("code", rpc::INVALID_PARAMS.to_string()),
        Some(rpc::URL_ELICITATION_REQUIRED) => object.set("code", rpc::INTERNAL_ERROR.to_string()),
        _ => {}
    }
    object.to_json()
}

/// What this era makes of an error of 2025-11-25 that says which pages the user has to visit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlElicitation {
    /// The result that asks the client to. Its next request is the same call once more.
    Asks(String),
    /// The error for a client that did not declare that it can.
    Unable(String),
}

/// Methods whose results may ask.
const MAY_ASK: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// Translates such an error; `None` if it is another one, or cannot be read.
pub fn url_elicitation(
    method: &str,
    error: &str,
    capabilities: ClientCapabilities,
) -> Option<UrlElicitation> {
    if rpc::code_of(error) != Some(rpc::URL_ELICITATION_REQUIRED) || !MAY_ASK.contains(&method) {
        return None;
    }
    let error = RawObject::parse(error).ok()?;
    let data = RawObject::parse(error.get("data")?).ok()?;
    let elicitations: Vec<&RawValue> = serde_json::from_str(data.get("elicitations")?).ok()?;
    let mut requests = RawObject::default();
    for (index, own) in elicitations.iter().enumerate() {
        let mut params = RawObject::parse(own.get()).ok()?;
        // It means nothing where there is nothing to refer to it with.
        params.remove("elicitationId");
        let mut request = RawObject::default();
        request.set_string("method", "elicitation/create");
        request.set("params", params.to_json());
        requests.set(&format!("url-{}", index + 1), request.to_json());
    }
    if requests.is_empty() {
        return None;
    }
    if !capabilities.visits_pages() {
        let data = r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#;
        let message = error.get_string("message").unwrap_or_default();
        return Some(UrlElicitation::Unable(rpc::error_object(
            rpc::MISSING_CLIENT_CAPABILITY,
            &message,
            Some(data),
        )));
    }
    let mut result = RawObject::default();
    result.set_string("resultType", "input_required");
    result.set("inputRequests", requests.to_json());
    Some(UrlElicitation::Asks(result.to_json()))
}

/// A notification that belongs to a subscription.
pub fn tagged(message: &str, subscription: &str) -> Option<String> {
    let mut object = RawObject::parse(message).ok()?;
    let before = object.get("params").unwrap_or("{}").to_owned();
    let mut params = RawObject::parse(&before).ok()?;
    let meta = params.get("_meta").unwrap_or("{}").to_owned();
    let mut meta = RawObject::parse(&meta).ok()?;
    meta.set(SUBSCRIPTION_ID, subscription.to_owned());
    params.set("_meta", meta.to_json());
    object.set("params", params.to_json());
    Some(object.to_json())
}

/// A notification of a subscription as the old era has it, where it belongs to none.
pub fn untagged(message: &str) -> Option<String> {
    let mut object = RawObject::parse(message).ok()?;
    let Some(before) = object.get("params").map(ToOwned::to_owned) else {
        return Some(message.to_owned());
    };
    let mut params = RawObject::parse(&before).ok()?;
    if let Some(meta) = params.get("_meta").map(ToOwned::to_owned) {
        let mut meta = RawObject::parse(&meta).ok()?;
        meta.remove(SUBSCRIPTION_ID);
        if meta.keys().next().is_some() {
            params.set("_meta", meta.to_json());
        } else {
            params.remove("_meta");
        }
    }
    object.set("params", params.to_json());
    Some(object.to_json())
}

/// RFC 5424's words for severities, as MCP has them, the least severe first.
pub const LOG_LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// The severity of a log level, 0 the least; `None` if it is none.
pub fn severity(level: &str) -> Option<usize> {
    LOG_LEVELS.iter().position(|own| *own == level)
}

/// `data` of `-32022`.
pub fn unsupported_version_data(requested: &str) -> String {
    format!(
        r#"{{"supported":["{}"],"requested":{}}}"#,
        VERSION.as_str(),
        string(requested)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &str = r#"{"name":"a","arguments":{"x":1.0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":7}}"#;

    fn read(params: &str) -> Result<RequestMeta, MetaError> {
        request_meta(&request_params(params)?)
    }

    #[test]
    fn metadata_of_requests() {
        let raw: Box<RawValue> = RawValue::from_string(PARAMS.to_owned()).unwrap();
        assert_eq!(claimed_version(Some(&raw)).as_deref(), Some("2026-07-28"));
        let meta = read(PARAMS).unwrap();
        assert!(meta.capabilities.answers("elicitation/create"));
        assert_eq!(meta.log_level, None);
        assert!(read("{}").is_err());
        assert!(read(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#).is_err());
    }

    #[test]
    fn b62_there_and_back_nothing_is_lost() {
        let legacy = params_to_legacy(PARAMS);
        assert_eq!(
            legacy,
            r#"{"name":"a","arguments":{"x":1.0},"_meta":{"progressToken":7}}"#
        );
        let modern = params_to_modern(Some(&legacy), "{}", ClientCapabilities::NONE, Some("info"));
        assert_eq!(params_to_legacy(&modern), legacy);
        assert_eq!(read(&modern).unwrap().log_level.as_deref(), Some("info"));
        let result = r#"{"contents":[],"x":1e2}"#;
        let there = result_to_modern("resources/read", result, None).unwrap();
        assert_eq!(
            there,
            r#"{"contents":[],"x":1e2,"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#
        );
        assert_eq!(result_to_legacy(&there).unwrap(), result);
        for twice in [r#"{"isError":false,"isError":true}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(result_to_modern("tools/call", twice, None).is_err());
            assert!(result_to_legacy(twice).is_err());
        }
    }

    #[test]
    fn b59_pages_to_visit_are_asked_for_by_a_result() {
        let able = ClientCapabilities::read(
            &RawValue::from_string(r#"{"elicitation":{"url":{}}}"#.to_owned()).unwrap(),
        );
        let error = r#"{"code":-32042,"message":"sign in","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a.example","message":"m","x":1.0}]}}"#;
        assert_eq!(
            url_elicitation("tools/call", error, able),
            Some(UrlElicitation::Asks(
                r#"{"resultType":"input_required","inputRequests":{"url-1":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example","message":"m","x":1.0}}}}"#.to_owned()
            ))
        );
        let unable =
            ClientCapabilities::read(&RawValue::from_string(r#"{"elicitation":{}}"#.to_owned()).unwrap());
        assert_eq!(
            url_elicitation("tools/call", error, unable),
            Some(UrlElicitation::Unable(
                r#"{"code":-32021,"message":"sign in","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}"#.to_owned()
            ))
        );
        assert_eq!(url_elicitation("completion/complete", error, able), None);
        assert_eq!(
            rpc::code_of(&error_to_modern(error)),
            Some(rpc::INTERNAL_ERROR),
            "the code is no more"
        );
        for other in [
            r#"{"code":-32042,"message":"m"}"#,
            r#"{"code":-32042,"data":{"elicitations":[]}}"#,
            r#"{"code":-1}"#,
        ] {
            assert_eq!(url_elicitation("tools/call", other, able), None);
        }
    }

    #[test]
    fn notifications_of_a_subscription_carry_its_id() {
        let message = rpc::notification("notifications/tools/list_changed", None);
        assert_eq!(
            tagged(&message, "\"s\"").unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#
        );
    }
}
