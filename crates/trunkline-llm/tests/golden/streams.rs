//! `*.in.sse`: a stream of the provider's; `*.out.sse`: the client's. Whatever the pieces it comes in, the client's is the same, and of the
//! grammar of its dialect.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use serde_json::Value;
use trunkline_llm::translate::{Stream, Way};
use trunkline_llm::{Dialect, Spoken};

use crate::{check, dialect, inputs, other_side, spoken};

fn stream(path: &Path) -> Stream {
    let way = Way {
        provider: spoken(path),
        client: dialect(other_side(path)),
        form_is_tool: path.to_str().unwrap().contains("form"),
        include_usage: true,
        names: vec![("short_0123".to_owned(), "a_name_that_was_too_long".to_owned())],
        repeated: Vec::new(),
    };
    Stream::new(way, ("mine", 1_700_000_000), 100_000)
}

/// The client's stream, and whether the provider's was complete.
fn run(path: &Path, pieces: &[&[u8]]) -> (String, Result<(), String>, Stream) {
    let mut stream = stream(path);
    let mut out = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut out).unwrap();
    }
    let end = stream.finish(&mut out).map_err(|error| error.to_string());
    (String::from_utf8(out).unwrap(), end, stream)
}

/// A stream as the provider sends it. Bedrock's are frames, which the files have a line each.
pub(crate) fn sent(path: &Path, text: &str) -> Vec<u8> {
    if spoken(path) != Spoken::Bedrock {
        return text.as_bytes().to_vec();
    }
    let frame = |line: &str| {
        let event: Value = serde_json::from_str(line.strip_prefix("data: ")?).unwrap();
        let (name, said) = event.as_object()?.iter().next()?;
        let kind = if name.ends_with("Exception") {
            "exception"
        } else {
            "event"
        };
        Some(trunkline_llm::frames::encode(
            kind,
            name,
            said.to_string().as_bytes(),
        ))
    };
    text.lines().filter_map(frame).collect::<Vec<_>>().concat()
}

/// Event names and data, without comments.
pub(crate) fn events(text: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for event in text
        .split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'))
    {
        let mut name = "";
        for line in event.lines() {
            if let Some(own) = line.strip_prefix("event: ") {
                name = own;
            } else {
                let data = line
                    .strip_prefix("data: ")
                    .unwrap_or_else(|| panic!("{line} is no data"));
                events.push((name.to_owned(), data.to_owned()));
            }
        }
    }
    events
}

/// Begins, then blocks one after the other, then its end.
fn anthropics_grammar(text: &str) {
    let mut open: Option<u64> = None;
    let (mut next, mut state) = (0, "start");
    for (name, data) in events(text) {
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["type"], name.as_str());
        match (name.as_str(), state) {
            ("ping", "start" | "content") => {}
            ("message_start", "start") => {
                assert!(data["message"]["usage"]["input_tokens"].is_u64());
                assert_eq!(
                    (&data["message"]["model"], &data["message"]["role"]),
                    (&"mine".into(), &"assistant".into())
                );
                state = "content";
            }
            ("content_block_start", "content") => {
                assert_eq!((open, data["index"].as_u64()), (None, Some(next)));
                assert!(data["content_block"]["type"].is_string());
                open = Some(next);
            }
            ("content_block_delta", "content") => assert_eq!(data["index"].as_u64(), open),
            ("content_block_stop", "content") => {
                assert_eq!(data["index"].as_u64(), open.take());
                next += 1;
            }
            ("message_delta", "content") => {
                assert!(open.is_none() && data["delta"]["stop_reason"].is_string());
                assert!(data["usage"]["output_tokens"].is_u64());
                state = "stopping";
            }
            ("message_stop", "stopping") | ("error", "start" | "content") => state = "over",
            _ => panic!("{name} while {state}"),
        }
    }
    assert_eq!(state, "over");
}

/// Chunks of one id, one reason at the end, then the usage, then `[DONE]`; or an error at the end.
fn openais_grammar(text: &str) {
    let events = events(text);
    let (last, chunks) = events.split_last().unwrap();
    let mut reasons = 0;
    for (index, (name, data)) in chunks.iter().enumerate() {
        assert_eq!(name, "");
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            (&data["object"], &data["model"]),
            (&"chat.completion.chunk".into(), &"mine".into())
        );
        let choices = data["choices"].as_array().unwrap();
        match choices.as_slice() {
            [] => assert!(index == chunks.len() - 1 && data["usage"]["total_tokens"].is_u64()),
            [choice] => {
                assert_eq!(
                    (index == 0, choice["delta"]["role"] == "assistant"),
                    (index == 0, index == 0)
                );
                reasons += usize::from(choice["finish_reason"].is_string());
            }
            more => panic!("{} choices", more.len()),
        }
    }
    if last.1 == "[DONE]" {
        assert_eq!(reasons, 1);
    } else {
        let error: Value = serde_json::from_str(&last.1).unwrap();
        assert!(error["error"]["message"].is_string() && reasons == 0);
    }
}

#[test]
fn demand_37_streams_are_the_same_however_they_come() {
    for path in inputs("streams", ".in.sse") {
        let text = sent(&path, &fs::read_to_string(&path).unwrap());
        let (whole, end, stream) = run(&path, &[&text]);
        assert_eq!(end, Ok(()), "{}", path.display());
        check(&path, (".in.sse", ".out.sse"), &whole);
        match dialect(other_side(&path)) {
            Dialect::Anthropic => anthropics_grammar(&whole),
            _ => openais_grammar(&whole),
        }
        let failed = path.to_str().unwrap().contains("failing");
        assert_eq!((stream.error().is_some(), stream.is_done()), (failed, !failed));
        if !failed {
            assert!(stream.usage().unwrap().output.is_some(), "{}", path.display());
        }
        for at in 0..=text.len() {
            assert_eq!(
                run(&path, &[&text[..at], &text[at..]]).0,
                whole,
                "{} split at {at}",
                path.display()
            );
        }
        assert_eq!(run(&path, &text.chunks(1).collect::<Vec<_>>()).0, whole);
    }
}

#[test]
fn a_stream_that_is_cut_off_is_not_taken_for_complete() {
    for path in inputs("streams", ".in.sse") {
        let text = fs::read_to_string(&path).unwrap();
        // Until the reason is said, nothing is complete.
        let mark = match spoken(&path) {
            Spoken::By(Dialect::OpenAi) => "\"finish_reason\":\"",
            Spoken::By(_) => "event: message_stop",
            Spoken::Gemini => "\"finishReason\":\"",
            Spoken::Bedrock => "{\"messageStop\":",
        };
        let Some(end) = text.find(mark) else {
            continue;
        };
        let begin = text[..end].rfind("\n\n").unwrap_or_default();
        let (told, end, stream) = run(&path, &[&sent(&path, &text[..begin])]);
        assert!(end.is_err() && !stream.is_done(), "{}", path.display());
        assert!(
            !told.contains("[DONE]") && !told.contains("message_stop"),
            "{told}"
        );
    }
}

#[test]
fn what_is_no_stream_of_the_dialect_is_said() {
    let mut found = Vec::new();
    for (name, text) in [
        ("openai-x", "data: nonsense\n\n"),
        ("openai-x", "data: [DONE]\n\n"),
        (
            "openai-x",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\ndata: [DONE]\n\n",
        ),
        ("anthropic-x", "data: {}\n\n"),
        (
            "anthropic-x",
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        ),
        (
            "anthropic-x",
            "data: {\"type\":\"message_start\"}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        ),
    ] {
        let mut own = stream(Path::new(name));
        let fed = own.feed(text.as_bytes(), &mut Vec::new());
        assert!(fed.is_err(), "{text}");
        found.push(fed.unwrap_err().to_string());
    }
    assert!(found.iter().all(|text| !text.is_empty()));
}

/// The events of all streams of a dialect.
pub(crate) fn all_events(provider: Spoken) -> Vec<String> {
    let paths = inputs("streams", ".in.sse");
    let texts = paths
        .iter()
        .filter(|path| spoken(path) == provider)
        .map(|path| fs::read_to_string(path).unwrap().replace("\r\n", "\n"));
    texts
        .flat_map(|text| {
            text.split_inclusive("\n\n")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Events in an order in which no provider sends them: what the client gets is of its grammar, or the gateway says that it is not.
fn in_any_order(name: &str, picks: &[Index]) {
    let path = Path::new(name);
    let events = all_events(spoken(path));
    let mut own = stream(path);
    let mut out = Vec::new();
    let fed = picks
        .iter()
        .try_for_each(|pick| own.feed(&sent(path, pick.get(&events).as_str()), &mut out));
    let complete = fed.is_ok() && own.finish(&mut out).is_ok();
    let text = String::from_utf8(out).unwrap();
    match dialect(other_side(path)) {
        Dialect::Anthropic if complete => anthropics_grammar(&text),
        Dialect::OpenAi if complete => openais_grammar(&text),
        _ => assert!(
            !text.contains("[DONE]") && !text.contains("message_stop"),
            "{text}"
        ),
    }
}

proptest! {
    #[test]
    fn what_openais_providers_never_send_breaks_no_grammar(picks in prop::collection::vec(any::<Index>(), 0..30)) {
        in_any_order("openai-x", &picks);
    }

    #[test]
    fn what_anthropic_never_sends_breaks_no_grammar(picks in prop::collection::vec(any::<Index>(), 0..30)) {
        in_any_order("anthropic-x", &picks);
    }

    #[test]
    fn what_gemini_never_sends_breaks_no_grammar(picks in prop::collection::vec(any::<Index>(), 0..30)) {
        in_any_order("gemini-x-for-openai", &picks);
        in_any_order("gemini-x-for-anthropic", &picks);
    }

    #[test]
    fn what_bedrock_never_sends_breaks_no_grammar(picks in prop::collection::vec(any::<Index>(), 0..30)) {
        in_any_order("bedrock-x-for-openai", &picks);
        in_any_order("bedrock-x-for-anthropic", &picks);
    }

    #[test]
    fn with_pieces_missing_the_grammar_holds(
        (name, kept) in prop_oneof![Just("openai-x"), Just("anthropic-x")].prop_flat_map(|name| {
            let count = all_events(spoken(Path::new(name))).len();
            (Just(name), subsequence((0..count).collect::<Vec<_>>(), 0..=count.min(40)))
        })
    ) {
        let events = all_events(spoken(Path::new(name)));
        let mut own = stream(Path::new(name));
        let mut out = Vec::new();
        let fed = kept.iter().try_for_each(|at| own.feed(events[*at].as_bytes(), &mut out));
        let complete = fed.is_ok() && own.finish(&mut out).is_ok();
        let text = String::from_utf8(out).unwrap();
        if complete && name == "openai-x" {
            anthropics_grammar(&text);
        } else if complete {
            openais_grammar(&text);
        }
    }
}
