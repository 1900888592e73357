//! Nesting depth. `serde_json` skips into raw values without a limit, so a deep body would pass here and break whoever
//! parses it next: the depth is checked on the bytes, before anything else (S38).

/// Deepest nesting of objects and arrays that is accepted, in either direction.
pub const MAX_DEPTH: usize = 100;

/// Whether `json` nests at most `limit` deep. Counts brackets outside of strings; says nothing about validity.
pub fn within(json: &[u8], limit: usize) -> bool {
    // Finding brackets is done many bytes at a time; most messages have too few of them to be deep.
    if memchr::memchr2_iter(b'{', b'[', json).nth(limit).is_none() {
        return true;
    }
    let mut depth = 0usize;
    let mut rest = json;
    while let Some(at) = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'{' | b'[' | b'}' | b']'))
    {
        match rest[at] {
            b'"' => {
                rest = after_string(&rest[at + 1..]);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return false;
                }
            }
            _ => depth = depth.saturating_sub(1),
        }
        rest = &rest[at + 1..];
    }
    true
}

/// What follows the closing quote of a string whose opening quote was just read.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outside_of_strings() {
        assert!(within(br#"{"a":[1,{"b":"[[[[\"[["}]}"#, 3));
        assert!(!within(br#"{"a":[1,{"b":1}]}"#, 2));
        assert!(within(b"]]]]{}", 1));
        assert!(!within("[".repeat(101).as_bytes(), MAX_DEPTH));
        assert!(within(b"\"unterminated [[[[", 1));
    }
}
