//! `*.in.json`: `{"for": {"provider", "model"}, "request"}`; `*.out.json`: `{"body", "dropped", "betas"}`, or `{"refused"}`.

use std::fs;

use serde_json::{Value, json};
use trunkline_llm::translate::{Drops, Target};
use trunkline_llm::{Dialect, Request, Spoken};

use crate::{check, dialect, inputs, other_side, pretty, spoken};

#[test]
fn requests_are_what_the_other_dialect_wants() {
    for path in inputs("requests", ".in.json") {
        let input: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let client = dialect(spoken(&path));
        let target = Target {
            dialect: if client == Dialect::Responses && input["for"]["provider"] == "anthropic" {
                Spoken::By(Dialect::Anthropic)
            } else {
                other_side(&path)
            },
            provider: input["for"]["provider"].as_str().unwrap(),
            model: input["for"]["model"].as_str().unwrap(),
            max_tokens: input["for"]["max_output_tokens"].as_u64(),
            asks_usage: input["for"]["provider"] != "mistral",
        };
        let body = input["request"].to_string();
        let request = Request::read_in(client, body.as_bytes(), None).unwrap();
        let found = match request.send(&target, &[], &Drops::default()) {
            Ok(sent) => {
                let body: Value = serde_json::from_slice(&sent.body).unwrap();
                assert!(sent.way.is_some());
                json!({"body": body, "dropped": sent.dropped, "betas": sent.betas})
            }
            Err(refused) => json!({"refused": {"param": refused.param, "message": refused.message}}),
        };
        check(&path, (".in.json", ".out.json"), &pretty(&found));
    }
}

#[test]
fn numbers_and_schemas_stay_the_text_that_they_were() {
    let target = Target {
        dialect: Spoken::By(Dialect::Anthropic),
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        max_tokens: None,
        asks_usage: false,
    };
    let body = r#"{"model":"m","temperature":0.50,"messages":[{"role":"user","content":"\u00e9\n"},{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"n\": 1.50, \"big\": 12345678901234567890}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object", "maximum": 1e3}}}]}"#;
    let request = Request::read(body.as_bytes(), None).unwrap();
    let sent = request.send(&target, &[], &Drops::default()).unwrap().body;
    let sent = String::from_utf8(sent).unwrap();
    for kept in [
        "\"temperature\":0.50",
        "{\"n\": 1.50, \"big\": 12345678901234567890}",
        "{\"type\":\"object\", \"maximum\": 1e3}",
        "\u{e9}\\n",
    ] {
        assert!(sent.contains(kept), "{kept}: {sent}");
    }
}
