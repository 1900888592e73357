//! `*.in.json`: an answer of the provider's; `*.out.json`: `{"answer", "usage"}`. Names with `form` are of requests whose form of the
//! answer was asked for as a tool.

use std::fs;

use serde_json::{Value, json};
use trunkline_llm::Dialect::{Anthropic, OpenAi};
use trunkline_llm::Spoken;
use trunkline_llm::translate::{self, Way};

use crate::{check, dialect, inputs, other, other_side, pretty, spoken};

#[test]
fn answers_are_what_the_other_dialect_wants() {
    for path in inputs("answers", ".in.json") {
        let way = Way {
            provider: spoken(&path),
            client: dialect(other_side(&path)),
            form_is_tool: path.to_str().unwrap().contains("form"),
            include_usage: false,
            names: vec![("short_0123".to_owned(), "a_name_that_was_too_long".to_owned())],
            repeated: Vec::new(),
        };
        let text = fs::read_to_string(&path).unwrap();
        let (answer, usage) = translate::answer(&text, &way, ("mine", 1_700_000_000)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let usage = usage.map(|own| {
            json!({"input": own.input, "output": own.output, "cache_read": own.cache_read, "cache_write": own.cache_write, "reasoning": own.reasoning})
        });
        check(
            &path,
            (".in.json", ".out.json"),
            &pretty(&json!({"answer": answer, "usage": usage})),
        );
    }
}

#[test]
fn what_is_no_answer_is_said() {
    let way = |provider| Way {
        provider: Spoken::By(provider),
        client: other(provider),
        form_is_tool: false,
        include_usage: false,
        names: Vec::new(),
        repeated: Vec::new(),
    };
    for (provider, text) in [
        (OpenAi, "{}"),
        (OpenAi, "{\"choices\":[]}"),
        (OpenAi, "[]"),
        (Anthropic, "{\"type\":\"message\"}"),
        (Anthropic, "{\"content\":[7]}"),
        (OpenAi, "not json"),
    ] {
        assert!(
            translate::answer(text, &way(provider), ("m", 0)).is_err(),
            "{text}"
        );
    }
}

#[test]
fn a_part_that_messages_have_no_word_for_is_said() {
    let way = |client| Way {
        provider: Spoken::Gemini,
        client,
        form_is_tool: false,
        include_usage: false,
        names: Vec::new(),
        repeated: Vec::new(),
    };
    let picture = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBOR"}}]},"finishReason":"STOP"}]}"#;
    assert!(
        translate::answer(picture, &way(Anthropic), ("m", 0))
            .unwrap_err()
            .contains("inlineData")
    );
    let (text, _) = translate::answer(picture, &way(OpenAi), ("m", 0)).unwrap();
    assert!(
        text.contains("\"content_blocks\":[{\"inlineData\":{\"mimeType\""),
        "{text}"
    );
}
