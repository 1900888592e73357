//! Header values that mirror the body: what is encoded is decoded, and garbage is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_mcp::{header, modern, uri};

fuzz_target!(|bytes: &[u8]| {
    let _ = header::decode(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let encoded = header::encode(text);
    assert_eq!(header::decode(encoded.as_bytes()).as_deref(), Some(text));
    let _ = header::params_of(text);
    if let Ok(meta) = modern::request_meta(text) {
        let legacy = modern::params_to_legacy(text);
        assert!(modern::request_meta(&legacy).is_err(), "{meta:?}");
    }
    let (one, other) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let _ = uri::matches_template(one, other);
    assert_eq!(uri::unqualified("server", &uri::qualified("server", text)).as_deref(), Some(text));
});
