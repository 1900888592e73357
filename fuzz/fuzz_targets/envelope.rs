//! Messages and batches: never a panic, and what is read is in the text that was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_mcp::{Message, depth, envelope};

fuzz_target!(|body: &[u8]| {
    if let Ok(message) = Message::parse(body) {
        assert!(depth::within(body, depth::MAX_DEPTH));
        assert!(std::str::from_utf8(body).is_ok());
        // Numbers beyond the parser's reach are legal where nobody looks.
        let Ok(whole) = serde_json::from_slice::<serde_json::Value>(body) else {
            return;
        };
        match message {
            Message::Request { method, .. } | Message::Notification { method, .. } => {
                assert_eq!(whole["method"], *method);
            }
            Message::Response { id, .. } => {
                let id: serde_json::Value = serde_json::from_str(id.get()).expect("an id is JSON");
                assert_eq!(whole["id"], id);
            }
        }
    }
    if let Ok(messages) = envelope::split_batch(body, 50) {
        assert!(envelope::is_batch(body));
        assert!((1..=50).contains(&messages.len()));
        for message in messages {
            let _ = Message::parse(message.get().as_bytes());
        }
    }
});
