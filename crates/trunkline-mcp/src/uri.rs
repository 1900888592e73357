//! Resource URIs of several servers under one endpoint: as they are where that is unambiguous, otherwise with the server's
//! prefix in front of the scheme, which can be taken off again (design §5).
//!
//! `file:///a` of the server `docs` is then `docs+file:///a`: still a URI by RFC 3986, and a template stays a template by
//! RFC 6570. What is shown with a tool's result has to begin with `ui://` for clients to take it, so there the prefix comes
//! after that: `ui://docs+page`.

/// Between a server's prefix and the URI. Legal in a scheme, and not in an encoded prefix.
const SEPARATOR: char = '+';

/// A prefix as it can begin a scheme: a letter, then letters, digits, `.` and `-`. What is none of these is `.` and two
/// hexadecimal digits, so that no two prefixes give the same.
fn scheme_of(prefix: &str) -> String {
    use std::fmt::Write as _;
    let mut scheme = String::with_capacity(prefix.len() + 2);
    for (index, b) in prefix.bytes().enumerate() {
        // Schemes are compared without case, so a capital is spelled out.
        let plain = b.is_ascii_lowercase() || (index > 0 && (b.is_ascii_digit() || b == b'-'));
        if plain {
            scheme.push(char::from(b));
        } else {
            if index == 0 {
                scheme.push('x');
            }
            // Writing to a String cannot fail.
            let _ = write!(scheme, ".{b:02x}");
        }
    }
    scheme
}

/// The scheme of what MCP Apps shows.
const UI: &str = "ui://";

/// The URI under the server's prefix.
pub fn qualified(prefix: &str, uri: &str) -> String {
    let (ui, rest) = split_ui(uri);
    let mut text = ui.to_owned();
    text.push_str(&scheme_of(prefix));
    text.push(SEPARATOR);
    text.push_str(rest);
    text
}

/// The server's own URI, if `uri` is one under its prefix.
pub fn unqualified(prefix: &str, uri: &str) -> Option<String> {
    let scheme = scheme_of(prefix);
    let (ui, rest) = split_ui(uri);
    let head = rest.get(..scheme.len())?;
    let own = head
        .eq_ignore_ascii_case(&scheme)
        .then(|| rest[scheme.len()..].strip_prefix(SEPARATOR))
        .flatten()?;
    Some(format!("{ui}{own}"))
}

fn split_ui(uri: &str) -> (&str, &str) {
    uri.strip_prefix(UI).map_or(("", uri), |rest| (UI, rest))
}

/// Whether `uri` may be an expansion of the RFC 6570 `template`. Literal parts must occur in their order; an expression
/// stands for any text, without a slash unless its operator lets one in.
pub fn matches_template(template: &str, uri: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        parts.push(Part::Literal(&rest[..open]));
        let Some(close) = rest[open..].find('}') else {
            return false;
        };
        let expression = &rest[open + 1..open + close];
        parts.push(Part::Expression {
            slashes: expression.starts_with(['+', '#', '/', '?', '&']),
        });
        rest = &rest[open + close + 1..];
    }
    parts.push(Part::Literal(rest));
    if parts.len() > MAX_PARTS || uri.len() > MAX_URI {
        return false;
    }
    matches_parts(&parts, uri)
}

enum Part<'a> {
    Literal(&'a str),
    Expression { slashes: bool },
}

/// Parts of a template, and bytes of a URI, that are compared: the work is at most their product.
const MAX_PARTS: usize = 64;
const MAX_URI: usize = 8 * 1024;

/// All positions that can be reached, part by part: no backtracking, so no template of a stranger takes for ever.
fn matches_parts(parts: &[Part<'_>], uri: &str) -> bool {
    let mut reached = vec![false; uri.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; uri.len() + 1];
        match part {
            Part::Literal(literal) => {
                for at in 0..=uri.len() {
                    if reached[at] && uri.as_bytes()[at..].starts_with(literal.as_bytes()) {
                        next[at + literal.len()] = true;
                    }
                }
            }
            Part::Expression { slashes } => {
                let mut open = false;
                for at in 0..=uri.len() {
                    open |= reached[at];
                    next[at] = open;
                    if !slashes && uri.as_bytes().get(at) == Some(&b'/') {
                        open = false;
                    }
                }
            }
        }
        reached = next;
    }
    reached[uri.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates() {
        assert!(matches_template(
            "test://template/{id}/data",
            "test://template/7/data"
        ));
        assert!(!matches_template(
            "test://template/{id}/data",
            "test://template/7/8/data"
        ));
        assert!(!matches_template(
            "test://template/{id}/data",
            "test://template/7/dat"
        ));
        assert!(matches_template("file:///{+path}", "file:///a/b/c"));
        assert!(matches_template("x://a{?q,r}", "x://a?q=1/2"));
        assert!(matches_template("x://a{?q,r}", "x://a"));
        assert!(!matches_template("x://{a", "x://{a"));
    }

    #[test]
    fn what_is_shown_keeps_its_scheme() {
        assert_eq!(qualified("docs", "ui://page/1"), "ui://docs+page/1");
        assert_eq!(
            unqualified("docs", "ui://docs+page/1").as_deref(),
            Some("ui://page/1")
        );
        assert_eq!(unqualified("docs", "ui://page/1"), None);
        assert_eq!(qualified("docs", "file:///a"), "docs+file:///a");
    }

    proptest! {
        #[test]
        fn s23_a_qualified_uri_leads_back(prefix in ".{1,12}", other in ".{1,12}", uri in ".{0,40}") {
            let text = qualified(&prefix, &uri);
            prop_assert_eq!(unqualified(&prefix, &text), Some(uri));
            if other != prefix {
                prop_assert_eq!(unqualified(&other, &text), None);
            }
        }

        #[test]
        fn a_qualified_uri_has_a_legal_scheme(prefix in ".{1,12}") {
            let text = qualified(&prefix, "file:///a");
            let scheme = text.split(':').next().unwrap();
            prop_assert!(scheme.as_bytes()[0].is_ascii_alphabetic());
            prop_assert!(scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)), "{}", scheme);
        }

        #[test]
        fn s38_a_hostile_template_takes_no_time(template in "(\\{[a-z]\\}a?){0,30}", uri in "a{0,400}") {
            let _ = matches_template(&template, &uri);
        }
    }
}
