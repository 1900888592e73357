//! What becomes of the same answers and streams (`*.in.json`, `*.in.sse`) for a client that asked for a response: `*.responses.json`,
//! `*.responses.sse`.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use serde_json::{Value, json};
use trunkline_llm::Dialect;
use trunkline_llm::translate::{self, Stream, Way};

use crate::streams::{all_events, events, sent};
use crate::{check, inputs, pretty, spoken};

fn way(path: &Path) -> Way {
    Way {
        provider: spoken(path),
        client: Dialect::Responses,
        form_is_tool: path.to_str().unwrap().contains("form"),
        include_usage: true,
        names: vec![("short_0123".to_owned(), "a_name__that_was_too_long".to_owned())],
        repeated: vec![
            ("temperature".to_owned(), "0.50".to_owned()),
            ("instructions".to_owned(), "\"Be brief.\"".to_owned()),
            (
                "tools".to_owned(),
                "[{\"type\":\"namespace\",\"name\":\"a_name\",\"tools\":[{\"type\":\"function\",\"name\":\"that_was_too_long\"}]}]".to_owned(),
            ),
        ],
    }
}

/// Those of Gemini's are there once for each of the two other dialects: the same.
fn once(folder: &str, end: &str) -> impl Iterator<Item = PathBuf> {
    let all = inputs(folder, end).into_iter();
    all.filter(|path| !path.to_str().unwrap().contains("-for-anthropic"))
}

#[test]
fn answers_are_responses() {
    for path in once("answers", ".in.json") {
        let text = fs::read_to_string(&path).unwrap();
        let (answer, usage) = translate::answer(&text, &way(&path), ("mine", 1_700_000_000)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (&answer["object"], &answer["model"], &answer["temperature"]),
            (&json!("response"), &json!("mine"), &json!(0.5))
        );
        assert_eq!(
            answer["usage"]["input_tokens"].as_u64(),
            usage.and_then(|own| own.input)
        );
        check(&path, (".in.json", ".responses.json"), &pretty(&answer));
    }
}

fn stream(path: &Path) -> Stream {
    Stream::new(way(path), ("mine", 1_700_000_000), 100_000)
}

fn run(path: &Path, pieces: &[&[u8]]) -> (String, Result<(), String>) {
    let mut stream = stream(path);
    let mut out = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut out).unwrap();
    }
    let end = stream.finish(&mut out).map_err(|error| error.to_string());
    (String::from_utf8(out).unwrap(), end)
}

/// Numbers without a gap; a beginning, items one after the other, of which the pieces make what their end repeats, and an end that repeats
/// them all.
fn grammar(text: &str) {
    let (mut items, mut open, mut pieces, mut state) = (Vec::new(), None, String::new(), "start");
    for (number, (name, data)) in events(text).into_iter().enumerate() {
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(
            (&data["type"], data["sequence_number"].as_u64()),
            (&json!(name), Some(number as u64))
        );
        if !data["output_index"].is_null() {
            assert_eq!(data["output_index"], items.len());
        }
        if !data["item_id"].is_null() {
            assert_eq!(Some(&data["item_id"]), open.as_ref());
        }
        match (name.as_str(), state) {
            ("response.created", "start") => state = "created",
            ("response.in_progress", "created") => state = "items",
            ("response.output_item.added", "items") => {
                assert!(open.is_none());
                open = Some(data["item"]["id"].clone());
                pieces.clear();
            }
            ("response.output_item.done", "items") => {
                assert_eq!(open.take().as_ref(), Some(&data["item"]["id"]));
                items.push(data["item"].clone());
            }
            ("response.content_part.added" | "response.reasoning_summary_part.added", "items") => {
                assert_eq!(data["part"]["text"], "");
            }
            (
                "response.output_text.delta"
                | "response.reasoning_summary_text.delta"
                | "response.function_call_arguments.delta",
                "items",
            ) => pieces.push_str(data["delta"].as_str().unwrap()),
            ("response.output_text.done" | "response.reasoning_summary_text.done", "items") => {
                assert_eq!(data["text"], pieces.as_str());
            }
            ("response.function_call_arguments.done", "items") => {
                let all = if pieces.trim().is_empty() {
                    "{}"
                } else {
                    pieces.as_str()
                };
                assert_eq!(data["arguments"], all);
            }
            ("response.content_part.done" | "response.reasoning_summary_part.done", "items") => {
                assert_eq!(data["part"]["text"], pieces.as_str());
            }
            ("response.completed" | "response.incomplete", "items") => {
                assert!(open.is_none());
                assert_eq!(data["response"]["output"], json!(items));
                assert_eq!(
                    format!("response.{}", data["response"]["status"].as_str().unwrap()),
                    name
                );
                state = "over";
            }
            ("response.failed", "start" | "items") => {
                assert!(data["response"]["error"]["message"].is_string());
                state = "over";
            }
            _ => panic!("{name} while {state}"),
        }
    }
    assert_eq!(state, "over");
}

#[test]
fn demand_37_streams_are_responses_however_they_come() {
    for path in once("streams", ".in.sse") {
        let text = sent(&path, &fs::read_to_string(&path).unwrap());
        let (whole, end) = run(&path, &[&text]);
        assert_eq!(end, Ok(()), "{}", path.display());
        check(&path, (".in.sse", ".responses.sse"), &whole);
        grammar(&whole);
        for at in 0..=text.len() {
            let found = run(&path, &[&text[..at], &text[at..]]).0;
            assert_eq!(found, whole, "{} split at {at}", path.display());
        }
        assert_eq!(run(&path, &text.chunks(1).collect::<Vec<_>>()).0, whole);
    }
}

/// Complete streams are of the grammar, and others do not say that they are complete.
fn holds(name: &str, texts: &[&str]) {
    let mut own = stream(Path::new(name));
    let mut out = Vec::new();
    let fed = texts
        .iter()
        .try_for_each(|text| own.feed(&sent(Path::new(name), text), &mut out));
    let complete = fed.is_ok() && own.finish(&mut out).is_ok();
    let text = String::from_utf8(out).unwrap();
    if complete {
        grammar(&text);
    } else {
        assert!(!text.contains("response.completed"), "{text}");
    }
}

proptest! {
    #[test]
    fn what_providers_never_send_breaks_no_grammar_of_responses(
        name in prop_oneof![Just("openai-x"), Just("anthropic-x"), Just("gemini-x"), Just("bedrock-x")],
        picks in prop::collection::vec(any::<Index>(), 0..30),
    ) {
        let events = all_events(spoken(Path::new(name)));
        let picked: Vec<&str> = picks.iter().map(|pick| pick.get(&events).as_str()).collect();
        holds(name, &picked);
    }

    #[test]
    fn with_pieces_missing_the_grammar_of_responses_holds(
        (name, kept) in prop_oneof![Just("openai-x"), Just("anthropic-x"), Just("gemini-x"), Just("bedrock-x")].prop_flat_map(|name| {
            let count = all_events(spoken(Path::new(name))).len();
            (Just(name), subsequence((0..count).collect::<Vec<_>>(), 0..=count.min(40)))
        })
    ) {
        let events = all_events(spoken(Path::new(name)));
        let picked: Vec<&str> = kept.iter().map(|at| events[*at].as_str()).collect();
        holds(name, &picked);
    }
}
