//! How long a call may take: what the request asks for, else the tool's time, else the server's, else the general one (B64).
//!
//! A request may ask for less. It may ask for more up to what the operator allows: the tool's or the server's own time
//! where there is one, else the longest that is allowed in general. The time is for the whole call; progress does not
//! extend it.

use std::time::Duration;

use axum::http::HeaderMap;
use trunkline_model::Server;

/// LiteLLM's name for it: seconds.
const HEADER: &str = "x-litellm-timeout";

/// The time for a call of `tool`, if it is one of a tool. The error says what is wrong with the request's own.
pub fn of_call(
    headers: &HeaderMap,
    server: &Server,
    tool: Option<&str>,
    (general, longest): (Duration, Duration),
) -> Result<Duration, String> {
    let definition = &server.definition;
    let own = tool
        .and_then(|tool| definition.tool_timeouts.get(tool).copied())
        .or(definition.timeout)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let configured = own.unwrap_or(general);
    match asked(headers)? {
        None => Ok(configured),
        Some(asked) => Ok(asked.min(own.unwrap_or(longest.max(general)))),
    }
}

/// What a request asks for itself. The error says what is wrong with it.
pub fn asked(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(asked) = headers.get(HEADER) else {
        return Ok(None);
    };
    asked
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|asked| !asked.is_zero())
        .map(Some)
        .ok_or_else(|| format!("{HEADER} must be a number of seconds, greater than 0"))
}

#[cfg(test)]
mod tests {
    use trunkline_model::{Approval, Origin, ServerDefinition, ServerId, Stamps};

    use super::*;

    fn seconds(header: Option<&str>, server: Option<f64>, tool: Option<f64>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(HEADER, value.parse().unwrap());
        }
        let server = Server {
            id: ServerId::new("1"),
            origin: Origin::File,
            definition: ServerDefinition {
                timeout: server,
                tool_timeouts: tool.map(|tool| ("t".to_owned(), tool)).into_iter().collect(),
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        };
        let limits = (Duration::from_mins(1), Duration::from_mins(10));
        of_call(&headers, &server, Some("t"), limits)
            .ok()
            .map(|time| time.as_secs())
    }

    #[test]
    fn b64_the_request_then_the_tool_then_the_server_then_the_default() {
        for (header, server, tool, expected) in [
            (None, None, None, Some(60)),
            (None, Some(300.0), None, Some(300)),
            (None, Some(300.0), Some(20.0), Some(20)),
            (None, None, Some(400.0), Some(400)),
            // Less is always possible.
            (Some("5"), Some(300.0), Some(20.0), Some(5)),
            (Some("5"), None, None, Some(5)),
            // More, up to what the operator allows.
            (Some("90"), Some(300.0), None, Some(90)),
            (Some("900"), Some(300.0), None, Some(300)),
            (Some("900"), Some(300.0), Some(20.0), Some(20)),
            (Some("90"), None, None, Some(90)),
            (Some("900"), None, None, Some(600)),
            (Some("1e300"), None, None, None),
            (Some("0"), None, None, None),
            (Some("-1"), None, None, None),
            (Some("soon"), None, None, None),
            (Some("NaN"), None, None, None),
        ] {
            assert_eq!(
                seconds(header, server, tool),
                expected,
                "{header:?} {server:?} {tool:?}"
            );
        }
    }
}
