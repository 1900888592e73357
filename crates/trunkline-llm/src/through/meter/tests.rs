use super::*;
use crate::frames::encode;

const LIMIT: usize = 1024;

fn took(shape: Shape, kind: &str, text: &[u8]) -> (Option<u64>, Option<u64>) {
    let mut meter = Meter::new(Some(shape), kind, LIMIT);
    let mut out = Vec::new();
    // In the smallest pieces.
    for piece in text.chunks(1) {
        out.extend(meter.feed(piece));
    }
    out.extend(meter.finish());
    assert_eq!(out, text, "every byte goes on");
    let usage = meter.usage().unwrap_or_default();
    (usage.input, usage.output)
}

#[test]
fn every_shape_says_what_it_took() {
    let json = "application/json; charset=utf-8";
    let events = "text/event-stream";
    for (shape, kind, text) in [
        (
            Shape::OpenAi,
            json,
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":3}}"#,
        ),
        (
            Shape::OpenAi,
            events,
            "data: {\"choices\":[],\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\r\n\r\ndata: [DONE]",
        ),
        (
            Shape::Anthropic,
            json,
            r#"{"usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":3}}"#,
        ),
        (
            Shape::Anthropic,
            events,
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":3}}\n\n",
        ),
        (
            Shape::Gemini,
            json,
            r#"{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"thoughtsTokenCount":1}}"#,
        ),
        (
            Shape::Gemini,
            json,
            r#"[{"usageMetadata":{"promptTokenCount":5}},
                {"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3}}]"#,
        ),
        (
            Shape::Converse,
            json,
            r#"{"usage":{"inputTokens":5,"outputTokens":3}}"#,
        ),
        (
            Shape::Invoke,
            json,
            r#"{"usage":{"input_tokens":5,"output_tokens":3}}"#,
        ),
        (
            Shape::Cohere,
            json,
            r#"{"usage":{"tokens":{"input_tokens":5.0,"output_tokens":3}}}"#,
        ),
        (
            Shape::Cohere,
            json,
            r#"{"meta":{"billed_units":{"input_tokens":5,"output_tokens":3}}}"#,
        ),
        (
            Shape::Cohere,
            events,
            "data: {\"type\":\"message-end\",\"delta\":{\"usage\":{\"tokens\":{\"input_tokens\":5,\"output_tokens\":3}}}}\n",
        ),
    ] {
        assert_eq!(
            took(shape, kind, text.as_bytes()),
            (Some(5), Some(3)),
            "{shape:?} {text}"
        );
    }
    let metadata = encode(
        "event",
        "metadata",
        br#"{"usage":{"inputTokens":5,"outputTokens":3}}"#,
    );
    let frames = "application/vnd.amazon.eventstream";
    assert_eq!(took(Shape::Converse, frames, &metadata), (Some(5), Some(3)));
    let inner = STANDARD.encode(
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":3}}"#,
    );
    let chunk = encode("event", "chunk", format!("{{\"bytes\":\"{inner}\"}}").as_bytes());
    assert_eq!(took(Shape::Invoke, frames, &chunk), (Some(5), Some(3)));
}

#[test]
fn what_cannot_be_read_passes_and_says_nothing() {
    let long = format!(
        "{{\"usage\":{{\"prompt_tokens\":1}},\"x\":\"{}\"}}",
        "a".repeat(LIMIT)
    );
    for (kind, text) in [
        ("application/json", long.as_bytes()),
        ("application/json", b"no json"),
        ("audio/mpeg", b"\x01{\"usage\":{\"prompt_tokens\":1}}"),
        (
            "application/vnd.amazon.eventstream",
            b"no frames, and longer than a prelude",
        ),
        ("text/event-stream", b"data: {\"usage\":\n"),
    ] {
        assert_eq!(took(Shape::OpenAi, kind, text), (None, None), "{kind}");
    }
}

#[test]
fn a_client_that_did_not_ask_what_it_took_is_not_told() {
    let asked = "data: {\"model\":\"m\",\"choices\":[{}],\"usage\":null}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\r\n\r\ndata: [DONE]\n\n";
    let wanted = "data: {\"model\":\"m\",\"choices\":[{}]}\r\n\r\ndata: [DONE]\n\n";
    for size in [1, 7, 1000] {
        let mut meter = Meter::new(Some(Shape::OpenAi), "text/event-stream", LIMIT).hiding_usage(true);
        let mut out = Vec::new();
        for piece in asked.as_bytes().chunks(size) {
            out.extend(meter.feed(piece));
        }
        out.extend(meter.finish());
        assert_eq!(String::from_utf8(out).unwrap(), wanted, "{size}");
        let usage = meter.usage().unwrap();
        assert_eq!((usage.input, usage.output), (Some(5), Some(3)));
        assert!(meter.is_whole());
    }
    // A line that is too long to be looked at ends it.
    let mut long = Meter::new(Some(Shape::OpenAi), "text/event-stream", LIMIT).hiding_usage(true);
    long.feed("a".repeat(LIMIT + 1).as_bytes());
    assert_eq!(long.feed(b"b\n"), b"");
    assert_eq!(long.finish(), b"");
    assert!(!long.is_whole());
}

#[test]
fn errors_in_the_middle_are_seen_before_they_are_handed_on() {
    let mut meter = Meter::new(Some(Shape::Gemini), "text/event-stream", LIMIT);
    assert_eq!(meter.feed(b"data: {\"error\":{\"mess"), b"");
    assert_eq!(meter.error(), None);
    assert_eq!(meter.feed(b"age\":\"x\"}}\n").len(), 32);
    assert!(meter.error().is_some());
    let mut meter = Meter::new(None, "application/vnd.amazon.eventstream", LIMIT);
    meter.feed(&encode(
        "exception",
        "throttlingException",
        b"{\"message\":\"slow\"}",
    ));
    assert_eq!(meter.error(), Some("{\"message\":\"slow\"}"));
    let mut cut = Meter::new(None, "application/vnd.amazon.eventstream", LIMIT);
    cut.feed(b"\0");
    cut.finish();
    assert!(!cut.is_whole());
}
