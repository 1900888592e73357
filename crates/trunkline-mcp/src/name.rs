//! Exposed tool names (design §5): `{prefix}-{tool}`, at most 64 characters of `[A-Za-z0-9_-]`, because one longer or
//! stranger name makes some clients drop the whole list (B15). The reverse is a map lookup, never a split (B16).

use aws_lc_rs::digest::{SHA256, digest};

/// Longest exposed name.
pub const MAX_NAME: usize = 64;
const HASH_DIGITS: usize = 8;

/// LiteLLM's separator between prefix and tool.
pub const SEPARATOR: char = '-';

/// The name under which `tool` of the server with `prefix` is listed. The same after every restart.
pub fn exposed(prefix: &str, tool: &str) -> String {
    let full = format!("{prefix}{SEPARATOR}{tool}");
    if is_legal(&full) {
        full
    } else {
        shortened(&full, &full)
    }
}

/// The name of a tool that an operator has named: that name, without a prefix.
pub fn chosen(name: &str) -> String {
    if is_legal(name) {
        name.to_owned()
    } else {
        shortened(name, name)
    }
}

/// The name used instead of `taken` when another server already exposes it. `identity` tells the two apart.
pub fn disambiguated(taken: &str, identity: &str) -> String {
    shortened(taken, &format!("{identity}\u{0}{taken}"))
}

/// Whether every client accepts the name.
pub fn is_legal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn shortened(text: &str, hashed: &str) -> String {
    let hash = digest(&SHA256, hashed.as_bytes());
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .take(MAX_NAME - HASH_DIGITS - 1)
        .collect();
    name.push('_');
    for byte in &hash.as_ref()[..HASH_DIGITS / 2] {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn b15_long_names_are_shortened_the_same_way_each_time() {
        assert_eq!(exposed("github", "list_issues"), "github-list_issues");
        let long = exposed("github", &"x".repeat(70));
        assert_eq!(long.len(), MAX_NAME);
        assert_eq!(long, exposed("github", &"x".repeat(70)));
        assert_ne!(long, exposed("github", &"x".repeat(71)));
        assert!(exposed("g", "a.b/c").starts_with("g-a_b_c_"));
    }

    proptest! {
        #[test]
        fn always_legal(prefix in ".{0,80}", tool in ".{0,140}") {
            let name = exposed(&prefix, &tool);
            prop_assert!(is_legal(&name), "{name}");
            prop_assert!(is_legal(&disambiguated(&name, "other")));
        }
    }
}
