//! Server-sent events: an incremental decoder with a bound on the event's size, and an encoder.
//!
//! Follows the WHATWG grammar: CR, LF and CRLF ends, also split over chunks; a BOM; comments; `data` over several lines;
//! events without data are reported too, since MCP's priming event is one.

/// One event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Event {
    /// `event:`; empty means `message`.
    pub event: String,
    /// `id:`.
    pub id: Option<String>,
    /// `retry:`, milliseconds.
    pub retry_ms: Option<u64>,
    /// `data:` lines joined with LF; `None` if there was no data field.
    pub data: Option<Vec<u8>>,
}

/// The stream holds an event that is larger than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {limit} bytes")]
pub struct EventTooLarge {
    /// The bound, bytes.
    pub limit: usize,
}

/// Decodes a stream chunk by chunk.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The unfinished line.
    line: Vec<u8>,
    /// A CR ended the last line: an LF right after it belongs to it.
    after_cr: bool,
    at_start: bool,
    current: Event,
    any_field: bool,
    size: usize,
}

impl Decoder {
    /// A decoder that accepts events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            current: Event::default(),
            any_field: false,
            size: 0,
        }
    }

    /// Feeds a chunk; finished events are appended to `out`.
    pub fn feed(&mut self, mut chunk: &[u8], out: &mut Vec<Event>) -> Result<(), EventTooLarge> {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            if chunk[0] == b'\n' {
                chunk = &chunk[1..];
            }
        }
        while let Some(at) = memchr::memchr2(b'\n', b'\r', chunk) {
            let end = chunk[at];
            self.grow(at)?;
            if self.line.is_empty() {
                self.end_line(&chunk[..at], out);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&chunk[..at]);
                self.end_line(&line, out);
            }
            chunk = &chunk[at + 1..];
            if end == b'\r' {
                match chunk.first() {
                    Some(b'\n') => chunk = &chunk[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
        }
        self.grow(chunk.len())?;
        self.line.extend_from_slice(chunk);
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), EventTooLarge> {
        self.size += bytes;
        if self.size > self.limit {
            Err(EventTooLarge { limit: self.limit })
        } else {
            Ok(())
        }
    }

    fn end_line(&mut self, mut line: &[u8], out: &mut Vec<Event>) {
        if self.at_start {
            self.at_start = false;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.size = 0;
            let event = std::mem::take(&mut self.current);
            if std::mem::take(&mut self.any_field) {
                out.push(event);
            }
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment does not count towards an event's size: keep-alives go on for ever.
            Some(0) => {
                self.size = self.size.saturating_sub(line.len());
                return;
            }
            Some(at) => (
                &line[..at],
                line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..]),
            ),
            None => (line, &b""[..]),
        };
        match field {
            b"data" => match &mut self.current.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            b"event" => self.current.event = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.current.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => self.current.retry_ms = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()),
            _ => return,
        }
        self.any_field = true;
    }
}

/// One message as an event with an id.
pub fn encode_event(id: &str, message: &str) -> String {
    format!("id: {id}\n{}", encode_message(message))
}

/// The first event of a stream that can be read on later: an id, nothing else, and when to come back.
pub fn priming_event(id: &str, retry_ms: u64) -> String {
    format!("id: {id}\nretry: {retry_ms}\ndata: \n\n")
}

/// A `message` event around one JSON-RPC message. Line breaks, which only pretty-printed JSON has, become several
/// `data` lines.
pub fn encode_message(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 24);
    text.push_str("event: message\n");
    for line in json.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// A comment, to keep a stream alive.
pub const KEEP_ALIVE: &str = ": ping\n\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 16);
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn line_ends_bom_comments_priming() {
        let text = b"\xef\xbb\xbf: hi\r\nid: 1\r\ndata:\r\n\r\nevent: message\rdata: {\"a\":\rdata: 1}\r\rretry: 5\n\ndata: x";
        let events = decode(&[text]);
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].id.as_deref(), Some("1"));
        assert_eq!(events[0].data.as_deref(), Some(&b""[..]));
        assert_eq!(events[1].data.as_deref(), Some(&b"{\"a\":\n1}"[..]));
        assert_eq!(events[2].retry_ms, Some(5));
        assert_eq!(events[2].data, None);
        // Every split gives the same.
        for at in 0..text.len() {
            assert_eq!(decode(&[&text[..at], &text[at..]]), events, "split at {at}");
        }
    }

    #[test]
    fn s38_events_are_bounded_but_keep_alives_are_not_counted() {
        let mut decoder = Decoder::new(100);
        let mut out = Vec::new();
        for _ in 0..1000 {
            decoder.feed(b": ping\n", &mut out).unwrap();
        }
        assert!(decoder.feed(&[b'x'; 101], &mut out).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "[^\r\n]{0,200}", cut in 0usize..400) {
            let wire = encode_message(&text);
            let cut = cut.min(wire.len());
            let events = decode(&[&wire.as_bytes()[..cut], &wire.as_bytes()[cut..]]);
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(events[0].data.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut decoder = Decoder::new(200);
            let mut out = Vec::new();
            let _ = decoder.feed(&bytes, &mut out);
        }
    }
}
