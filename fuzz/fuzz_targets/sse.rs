//! Event streams: the same events however the stream is cut, and never more than the bound is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_mcp::sse::{Decoder, Event};

const LIMIT: usize = 256;

fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        if decoder.feed(chunk, &mut events).is_err() {
            return (events, false);
        }
    }
    (events, true)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, text) = input;
    let (whole, whole_fits) = decode(std::iter::once(text));
    let (parts, parts_fit) = decode(text.chunks(usize::from(cut) + 1));
    for event in whole.iter().chain(&parts) {
        assert!(event.data.as_ref().is_none_or(|data| data.len() <= LIMIT));
    }
    if whole_fits && parts_fit {
        assert_eq!(whole, parts);
    }
});
