//! Text that people do not see and models read: tag characters, bidirectional controls, characters without width, terminal
//! escapes (S30). Taken out of every string of a message, names of members included; everything else stays as it is.
//!
//! What such characters are for stays: joiners inside emoji and inside words of scripts that need them, the one variation
//! selector behind a character that can have one. Flags that are spelled with tags lose them: what is taken out has no
//! exceptions that a sender could dress up as.

use crate::edit::{self, RawObject};

/// How many were taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Tag characters, and variation selectors that select nothing.
    pub tags: u32,
    /// Bidirectional controls.
    pub bidi: u32,
    /// Characters without width.
    pub zero_width: u32,
    /// Control characters, and terminal sequences (each is one).
    pub control: u32,
}

/// The member of a result's `_meta` that says so.
pub const META_KEY: &str = "trunkline/hidden_text_removed";

impl Removed {
    /// All of them.
    pub fn total(self) -> u32 {
        self.tags + self.bidi + self.zero_width + self.control
    }

    /// With those of another text.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tags: self.tags.saturating_add(other.tags),
            bidi: self.bidi.saturating_add(other.bidi),
            zero_width: self.zero_width.saturating_add(other.zero_width),
            control: self.control.saturating_add(other.control),
        }
    }

    /// By their kinds.
    pub fn kinds(self) -> [(&'static str, u32); 4] {
        [
            ("tags", self.tags),
            ("bidi", self.bidi),
            ("zero_width", self.zero_width),
            ("control", self.control),
        ]
    }

    /// As it stands in `_meta`.
    pub fn to_json(self) -> String {
        format!(
            r#"{{"tags":{},"bidi":{},"zero_width":{},"control":{}}}"#,
            self.tags, self.bidi, self.zero_width, self.control
        )
    }
}

/// A JSON-RPC message without hidden text, and what was taken out; `None` if there is none. A result says so in its `_meta`.
pub fn strip_message(json: &str) -> Option<(String, Removed)> {
    let (text, removed) = strip(json)?;
    let noted = || {
        let mut message = RawObject::parse(&text).ok()?;
        let mut result = RawObject::parse(message.get("result")?).ok()?.clone();
        let mut meta = match result.get("_meta") {
            None => RawObject::default(),
            Some(own) => RawObject::parse(own).ok()?.clone(),
        };
        meta.set(META_KEY, removed.to_json());
        let meta = meta.to_json();
        result.set("_meta", meta);
        let result = result.to_json();
        message.set("result", result);
        Some(message.to_json())
    };
    let noted = noted();
    Some((noted.unwrap_or(text), removed))
}

/// JSON without hidden text, and what was taken out; `None` if there is none.
pub fn strip(json: &str) -> Option<(String, Removed)> {
    if is_plain(json) {
        return None;
    }
    let bytes = json.as_bytes();
    let mut removed = Removed::default();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'"', &bytes[at..]) {
        let begin = at + open + 1;
        let end = string_end(bytes, begin);
        let raw = &json[begin..end];
        if !is_plain(raw)
            && let Some((text, found)) = strip_text(&decoded(raw))
        {
            removed = removed.and(found);
            out.push_str(&json[copied..begin - 1]);
            edit::push_string(&mut out, &text);
            copied = (end + 1).min(json.len());
        }
        at = (end + 1).min(json.len());
    }
    (removed.total() > 0).then(|| {
        out.push_str(&json[copied..]);
        (out, removed)
    })
}

/// Whether nothing hidden can be in it, from a look at bytes many at a time: most messages are.
fn is_plain(json: &str) -> bool {
    json.is_ascii()
        && memchr::memchr(0x7f, json.as_bytes()).is_none()
        && memchr::memchr_iter(b'\\', json.as_bytes())
            .all(|at| !matches!(json.as_bytes().get(at + 1), Some(b'u' | b'b')))
}

/// Where the string that begins at `at` ends: its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        if bytes[at + next] == b'"' {
            return at + next;
        }
        at += next + 2;
    }
    bytes.len()
}

/// The inside of a JSON string as text. Half a surrogate pair is nothing that could be shown.
fn decoded(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (c, length) = escape(&rest.as_bytes()[at..]);
        out.push(c);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The character of an escape, and how long the escape is.
fn escape(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = bytes
            .get(at..at + 4)
            .and_then(|digits| std::str::from_utf8(digits).ok())?;
        u32::from_str_radix(digits, 16).ok()
    };
    match bytes.get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'u') => match unit(2) {
            Some(high @ 0xd800..=0xdbff) if bytes.get(6..8) == Some(b"\\u") => match unit(8) {
                Some(low @ 0xdc00..=0xdfff) => {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                }
                _ => (char::REPLACEMENT_CHARACTER, 6),
            },
            Some(code) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            None => (char::REPLACEMENT_CHARACTER, bytes.len()),
        },
        Some(other) => (char::from(*other), 2),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Text without hidden characters; `None` if it has none.
pub fn strip_text(text: &str) -> Option<(String, Removed)> {
    let mut removed = Removed::default();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if let Some(length) = sequence(rest) {
            removed.control = removed.control.saturating_add(1);
            rest = &rest[length..];
            continue;
        }
        let count = match kind(c) {
            None => None,
            Some(Kind::Joiner) if joins(&out, after) => None,
            Some(Kind::Selector) if selects(&out, c) => None,
            Some(Kind::Joiner | Kind::ZeroWidth) => Some(&mut removed.zero_width),
            Some(Kind::Selector | Kind::Tag) => Some(&mut removed.tags),
            Some(Kind::Bidi) => Some(&mut removed.bidi),
            Some(Kind::Control) => Some(&mut removed.control),
        };
        match count {
            None => out.push(c),
            Some(count) => *count = count.saturating_add(1),
        }
        rest = after;
    }
    (removed.total() > 0).then_some((out, removed))
}

enum Kind {
    Tag,
    Selector,
    Bidi,
    Joiner,
    ZeroWidth,
    Control,
}

fn kind(c: char) -> Option<Kind> {
    Some(match c {
        '\t' | '\n' | '\r' | '\u{c}' | ' '..='~' => return None,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Kind::Control,
        '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => Kind::Tag,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Kind::Selector,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => Kind::Bidi,
        '\u{200c}' | '\u{200d}' => Kind::Joiner,
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2065}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' => Kind::ZeroWidth,
        _ => return None,
    })
}

/// Whether a joiner is between two parts of an emoji, or inside a word of a script that is written with joiners.
fn joins(before: &str, after: &str) -> bool {
    let base = before
        .chars()
        .rev()
        .find(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'));
    let (Some(base), Some(last), Some(next)) = (base, before.chars().next_back(), after.chars().next())
    else {
        return false;
    };
    (is_emoji(base) && is_emoji(next)) || (is_joined(last) && is_joined(next))
}

/// Letters of scripts in which a joiner changes how its neighbours are written: Arabic and its relatives, those of India and
/// its neighbours, Mongolian.
fn is_joined(c: char) -> bool {
    let letter = c.is_alphanumeric()
        && matches!(c, '\u{620}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{18aa}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
    // What takes the vowel off a letter stands before a joiner.
    letter
        || matches!(
            c,
            '\u{94d}'
                | '\u{9cd}'
                | '\u{a4d}'
                | '\u{acd}'
                | '\u{b4d}'
                | '\u{bcd}'
                | '\u{c4d}'
                | '\u{ccd}'
                | '\u{d4d}'
                | '\u{dca}'
                | '\u{1039}'
                | '\u{17d2}'
        )
}

/// Whether a selector stands behind a character that comes in several forms. One does; more are somebody's alphabet.
fn selects(before: &str, selector: char) -> bool {
    let Some(base) = before.chars().next_back() else {
        return false;
    };
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => is_emoji(base) || matches!(base, '0'..='9' | '#' | '*'),
        '\u{fe00}'..='\u{fe0d}' => {
            matches!(base, '\u{2200}'..='\u{22ff}' | '\u{2a00}'..='\u{2aff}' | '\u{1000}'..='\u{109f}' | '\u{1800}'..='\u{18aa}' | '\u{a840}'..='\u{a87f}')
                || is_ideograph(base)
        }
        _ => is_ideograph(base),
    }
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' | '\u{ff01}'..='\u{ff5e}')
}

fn is_emoji(c: char) -> bool {
    matches!(c, '©' | '®' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}' | '\u{20e3}')
}

/// The length of the terminal sequence that `text` begins with, if it does (ECMA-48): what a terminal would swallow.
fn sequence(text: &str) -> Option<usize> {
    let (introducer, rest) = if let Some(rest) = text.strip_prefix('\u{1b}') {
        let introducer = rest.chars().next()?;
        (introducer, rest.get(introducer.len_utf8()..)?)
    } else {
        let c = text.chars().next()?;
        // The same in one character.
        let introducer = match c {
            '\u{9b}' => '[',
            '\u{9d}' => ']',
            '\u{90}' => 'P',
            '\u{98}' => 'X',
            '\u{9e}' => '^',
            '\u{9f}' => '_',
            _ => return None,
        };
        (introducer, &text[c.len_utf8()..])
    };
    let begin = text.len() - rest.len();
    match introducer {
        '[' => {
            let end = rest.find(|c: char| !(' '..='?').contains(&c))?;
            let last = rest[end..].chars().next()?;
            ('@'..='~').contains(&last).then_some(begin + end + 1)
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            let end = rest.find(['\u{7}', '\u{1b}', '\u{9c}'])?;
            let tail = &rest[end..];
            let closed = if tail.starts_with("\u{1b}\\") {
                2
            } else if tail.starts_with('\u{1b}') {
                0
            } else {
                tail.chars().next().map_or(0, char::len_utf8)
            };
            Some(begin + end + closed)
        }
        ' '..='~' => Some(begin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s30_what_is_hidden_goes_and_what_is_seen_stays() {
        for (text, seen) in [
            ("a\u{e0041}\u{e0042}b", "ab"),
            ("a\u{200b}b\u{feff}c\u{2060}d\u{ad}e", "abcde"),
            ("\u{202e}txt.exe\u{202c}", "txt.exe"),
            ("\u{1b}[31mred\u{1b}[0m \u{9b}1mbold", "red bold"),
            ("\u{1b}]8;;http://evil\u{7}link\u{1b}]8;;\u{1b}\\.", "link."),
            ("\u{1b}Pq#0\u{1b}\\x\u{1b}cy", "xy"),
            // Not closed: a terminal would wait, people read it.
            ("\u{1b}]0;title", "]0;title"),
            ("a\u{8}\u{7}\u{0}\u{7f}\u{85}b", "ab"),
            // A byte a selector, behind an emoji.
            ("😀\u{e0148}\u{e0155}", "😀"),
            ("x\u{fe0f}\u{200d}y", "xy"),
            // A flag spelled with tags.
            ("🏴\u{e0067}\u{e0062}\u{e007f}", "🏴"),
            ("سلام\u{200f}", "سلام"),
        ] {
            assert_eq!(strip_text(text).unwrap().0, seen, "{text:?}");
        }
        for plain in [
            "tab\tline\r\npage\u{c}",
            "👩\u{200d}👩\u{200d}👧 👩🏽\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 🏳\u{fe0f}\u{200d}🌈 1\u{fe0f}\u{20e3} ☺\u{fe0e}",
            "שלום עולם، مرحبا بالعالم، می\u{200c}خواهم، क्\u{200d}ष",
            "葛\u{e0100}城 日本語 ∩\u{fe00}",
            "naïve ﬁ Ω 🇩🇪",
        ] {
            assert_eq!(strip_text(plain), None, "{plain:?}");
        }
    }

    #[test]
    fn s30_in_json_every_string_and_every_spelling() {
        let json = r#"{"k\u200bey" : "a\udb40\udc41\u001b[31mb", "n":1.50e2, "path":"C:\\bin\\u200b", "x":["ZWy", "\u00e9"]}"#;
        let json = json.replace("ZW", "\u{200b}");
        let (stripped, removed) = strip(&json).unwrap();
        assert_eq!(
            stripped,
            r#"{"key" : "ab", "n":1.50e2, "path":"C:\\bin\\u200b", "x":["y", "\u00e9"]}"#
        );
        let expected = Removed {
            tags: 1,
            zero_width: 2,
            control: 1,
            bidi: 0,
        };
        assert_eq!(removed, expected);
        assert_eq!(
            removed.to_json(),
            r#"{"tags":1,"bidi":0,"zero_width":2,"control":1}"#
        );
        // Half a pair hides nothing behind it.
        assert_eq!(strip(r#"["\ud83d\u200b"]"#).unwrap().0, "[\"\u{fffd}\"]");
        for plain in [
            r#"{"a":"plain","b":"\"\\\/\n","c":"\\u200b"}"#,
            r#"{"a":"é😀\u00e9\ud83d\ude00"}"#,
        ] {
            assert_eq!(strip(plain), None, "{plain}");
        }
    }

    #[test]
    fn s30_a_result_says_what_was_taken_out_of_it() {
        let message = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a\u202eb"}],"_meta":{"x":1.0}}}"#;
        assert_eq!(
            strip_message(message).unwrap().0,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"ab"}],"_meta":{"x":1.0,"trunkline/hidden_text_removed":{"tags":0,"bidi":1,"zero_width":0,"control":0}}}}"#
        );
        let message = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"a\u202eb"}}"#;
        assert_eq!(
            strip_message(message).unwrap().0,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ab"}}"#
        );
    }

    proptest! {
        #[test]
        fn s30_what_is_stripped_is_json_and_has_nothing_left(
            texts in proptest::collection::vec("[a-c\u{200b}\u{200d}\u{202e}\u{e0041}\u{1b}\\[m😀\u{fe0f}\"\\\\]{0,10}", 1..4),
        ) {
            let own = serde_json::json!({texts[0].clone(): texts});
            for json in [own.to_string(), escaped(&own.to_string())] {
                let Some((stripped, _)) = strip(&json) else { continue };
                prop_assert!(serde_json::from_str::<serde_json::Value>(&stripped).is_ok(), "{}", stripped);
                let left = stripped.contains(['\u{200b}', '\u{202e}', '\u{e0041}', '\u{1b}']);
                prop_assert!(!left, "{}", stripped);
            }
        }

        #[test]
        fn s38_garbage_never_panics(text in "[ -~\\\\\"u\u{200b}é😀]{0,60}") {
            let _ = strip(&text);
            let _ = strip_text(&text);
        }
    }

    /// The same JSON with every character of its strings that can be an escape as one.
    fn escaped(json: &str) -> String {
        let mut out = String::new();
        for c in json.chars() {
            if c.is_ascii() {
                out.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    use std::fmt::Write as _;
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
        }
        out
    }
}
