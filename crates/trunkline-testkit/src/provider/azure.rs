//! The provider as Azure has it: the deployment and the revision are in the address, the key in a header of its own.

use serde_json::{Value, json};

use crate::bare::{Bare, Said};

fn error(code: u16, name: &str, message: &str) -> Said {
    Said::json(
        code,
        json!({"error": {"code": name, "message": message}}).to_string(),
    )
}

/// The path as OpenAI has it, of a request that Azure takes; or what it says.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn path(bare: &Bare, key: &str, deployments: &[String]) -> Result<String, Said> {
    let bearer = format!("Bearer {key}");
    let is_known = match (bare.header("api-key"), bare.header("authorization")) {
        (Some(own), None) => own == key,
        (None, Some(own)) => own == bearer,
        _ => false,
    };
    if !is_known {
        let text = "Access denied due to invalid subscription key or wrong API endpoint.";
        return Err(error(401, "401", text));
    }
    let query = bare.head.uri.query().unwrap_or_default();
    let version = query.split('&').find_map(|own| own.strip_prefix("api-version="));
    let missing = || error(404, "404", "Resource not found");
    let path = bare.head.uri.path();
    let Some(rest) = path.strip_prefix("/openai/") else {
        return Err(missing());
    };
    if let Some(rest) = rest.strip_prefix("v1/") {
        return match version {
            None | Some("preview" | "latest" | "v1") => Ok(format!("/v1/{rest}")),
            Some(_) => Err(error(400, "BadRequest", "API version not supported")),
        };
    }
    // A revision is a day, and perhaps `-preview`.
    let is_day = |own: &str| own.len() >= 10 && own.as_bytes().iter().take(4).all(u8::is_ascii_digit);
    if !version.is_some_and(is_day) {
        return Err(missing());
    }
    if rest == "responses" || rest.starts_with("responses/") {
        return Ok(format!("/v1/{rest}"));
    }
    let deployment = rest
        .strip_prefix("deployments/")
        .and_then(|rest| rest.split_once('/'));
    let Some((deployment, rest)) = deployment else {
        return Err(missing());
    };
    if !deployments.iter().any(|own| own == deployment) {
        let text = "The API deployment for this resource does not exist.";
        return Err(error(404, "DeploymentNotFound", text));
    }
    Ok(format!("/v1/{rest}"))
}

/// What is said of texts that are refused, in the middle of all that is known of them.
pub fn filtered() -> Value {
    json!({"error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": true, "severity": "high"}},
        },
    }})
}
