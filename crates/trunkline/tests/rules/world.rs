//! A server with rules, and what it was sent.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::support::{Way, listed};

/// A search in a repository, which only reads.
pub(crate) fn search() -> Value {
    json!({
        "name": "search",
        "description": "Searches.",
        "inputSchema": {"type": "object", "properties": {
            "q": {"type": "string"}, "repo": {"type": "string"}, "limit": {"type": "integer"}, "deep": {"type": "object"},
        }, "required": ["q", "repo"]},
        "annotations": {"readOnlyHint": true},
    })
}

/// Deletes something.
pub(crate) fn delete() -> Value {
    json!({
        "name": "delete",
        "description": "Deletes.",
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}, "force": {"type": "boolean"}}},
        "annotations": {"destructiveHint": true},
    })
}

/// Says something back.
pub(crate) fn echo() -> Value {
    json!({"name": "echo", "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}}})
}

/// A server `s` with these tools, behind a gateway with these lines of its entry, each in YAML's flow style.
pub(crate) async fn world(rules: &[&str]) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::builder()
        .tool(search())
        .tool(delete())
        .tool(echo())
        .start()
        .await;
    let gateway = TestGateway::start(&config(&upstream, rules)).await;
    listed(&gateway, &["s"]).await;
    upstream.clear();
    (gateway, upstream)
}

/// Its configuration.
pub(crate) fn config(upstream: &ScriptedUpstream, rules: &[&str]) -> String {
    let mut text = format!(
        "mcp_servers:\n  s:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    for rule in rules {
        writeln!(text, "    {rule}").unwrap();
    }
    text
}

/// The arguments of the calls that arrived, byte for byte; `null` where there were none. Nothing that arrived could be taken for them.
pub(crate) fn sent(upstream: &ScriptedUpstream) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        params: Params,
    }
    #[derive(serde::Deserialize)]
    struct Params {
        arguments: Option<Box<RawValue>>,
    }
    let requests = upstream.requests();
    let calls = requests.iter().filter(|request| request.is("tools/call"));
    let arguments = calls.map(|request| {
        let members = request.json()["params"].as_object().unwrap().clone();
        let known = ["name", "arguments", "_meta", "task"];
        let odd = members.keys().find(|key| {
            !known.contains(&key.as_str()) && known.iter().any(|own| own.eq_ignore_ascii_case(key))
        });
        assert_eq!(odd, None, "{members:?}");
        let body: Body = serde_json::from_slice(&request.body).unwrap();
        body.params
            .arguments
            .map_or("null".to_owned(), |own| own.get().to_owned())
    });
    arguments.collect()
}

/// What a refused call says, by the way it was made; `Err` with the whole answer if it was not refused so.
pub(crate) fn refusal(way: Way, (status, said): &(u16, Value)) -> Result<String, String> {
    let text = match way {
        Way::Rest | Way::AllTools => {
            let code = said["detail"]["error"].as_str().unwrap_or_default();
            let text = said["detail"]["message"].as_str().unwrap_or_default();
            (*status == 403 && text.starts_with(code) && !code.is_empty()).then_some(text)
        }
        _ => {
            let result = &said["result"];
            (result["isError"] == true)
                .then(|| result["content"][0]["text"].as_str())
                .flatten()
        }
    };
    text.map(str::to_owned)
        .ok_or_else(|| format!("{way:?} {status}: {said}"))
}

/// Whether a call was answered by the server.
pub(crate) fn served(way: Way, (status, said): &(u16, Value)) -> bool {
    let result = match way {
        Way::Rest | Way::AllTools => said,
        _ => &said["result"],
    };
    *status == 200 && result["content"].is_array() && result["isError"] == false
}

/// A tool's schema in what a list answers.
pub(crate) fn schema(said: &Value, tool: &str) -> Option<Value> {
    let tools = said["result"]["tools"].as_array().or(said["tools"].as_array())?;
    let named = |own: &&Value| own["name"] == tool || own["name"] == format!("s-{tool}");
    tools.iter().find(named).map(|own| own["inputSchema"].clone())
}
