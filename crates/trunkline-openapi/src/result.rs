//! An HTTP answer to the result of `tools/call`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use trunkline_mcp::{depth, edit};

use crate::body::is_text;
use crate::operation::Operation;

/// Bytes of an answer that is neither JSON nor text: in base64 it is a third more.
const MAX_BINARY: usize = 16 * 1024 * 1024;
/// Bytes of an error's text.
const MAX_ERROR: usize = 8 * 1024;
/// Nesting of JSON that is passed on as such: the result is some levels deeper, and clients have their limits.
const MAX_DEPTH: usize = 90;

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Headers that say something where there is no body: name and value.
    pub headers: &'a [(&'a str, &'a str)],
    /// Where it came from, without query: the URI of what is no text.
    pub uri: &'a str,
    /// Structured content need not be an object: revision 2026-07-28.
    pub any_structure: bool,
}

impl Operation {
    /// The result, JSON text. `redact` takes out of an error's text what must not be shown.
    pub fn result(&self, answer: &Answer<'_>, redact: impl Fn(&str) -> String) -> String {
        if !(200..300).contains(&answer.status) {
            return error(&failed(answer, &redact));
        }
        let media = media(answer.content_type);
        if answer.body.is_empty() {
            let text = edit::string(&empty(answer));
            let structure = if self.has_output {
                r#","structuredContent":{}"#
            } else {
                ""
            };
            return format!(r#"{{"content":[{{"type":"text","text":{text}}}]{structure}}}"#);
        }
        let looks_like_json = media.ends_with("/json") || media.ends_with("+json") || media.is_empty();
        if looks_like_json && let Some(json) = self.json(answer) {
            return json;
        }
        let as_text = looks_like_json || is_text(&media) || media == "application/x-www-form-urlencoded";
        let content = if as_text {
            text_block(&decoded(answer))
        } else if answer.body.len() > MAX_BINARY {
            return error(&format!(
                "HTTP {}: the answer is {} bytes of {}, more than the {MAX_BINARY} that are passed on",
                answer.status,
                answer.body.len(),
                printable(&media)
            ));
        } else {
            blob(answer, &media)
        };
        let structure = if self.has_output {
            r#","structuredContent":{}"#
        } else {
            ""
        };
        format!(r#"{{"content":[{content}]{structure}}}"#)
    }

    fn json(&self, answer: &Answer<'_>) -> Option<String> {
        if !depth::within(answer.body, MAX_DEPTH) {
            return None;
        }
        let text = std::str::from_utf8(answer.body).ok()?;
        let value: &RawValue = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
        let raw = value.get();
        let whole = raw.starts_with('{') || (answer.any_structure && !self.has_output);
        let mut out = String::with_capacity(raw.len() * 2 + raw.len() / 4 + 80);
        out.push_str(r#"{"content":[{"type":"text","text":"#);
        edit::push_string(&mut out, raw);
        out.push_str(r#"}],"structuredContent":"#);
        if whole {
            out.push_str(raw);
        } else {
            out.push_str(r#"{"result":"#);
            out.push_str(raw);
            out.push('}');
        }
        out.push('}');
        Some(out)
    }
}

/// A result that is an error.
pub fn error(text: &str) -> String {
    format!(r#"{{"content":[{}],"isError":true}}"#, text_block(text))
}

fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, edit::string(text))
}

/// What an error says: the status, and the server's words.
fn failed(answer: &Answer<'_>, redact: &impl Fn(&str) -> String) -> String {
    let media = media(answer.content_type);
    let head = format!("HTTP {}{}", answer.status, reason(answer.status));
    let location = answer.headers.iter().find(|(name, _)| *name == "location");
    let words = if (300..400).contains(&answer.status) {
        match location {
            Some((_, place)) => format!("the answer leads to {}, which is not followed", printable(place)),
            None => "the answer leads elsewhere".to_owned(),
        }
    } else if media.ends_with("/html") {
        "(an HTML page)".to_owned()
    } else if std::str::from_utf8(answer.body).is_err() && !is_text(&media) {
        format!("({} bytes of {})", answer.body.len(), printable(&media))
    } else {
        let text = decoded(answer);
        let text = text.trim();
        // Redacted before it is cut, so that no part of a secret is left at the end.
        let text = redact(text);
        if text.len() > MAX_ERROR {
            format!("{}…", &text[..text.floor_char_boundary(MAX_ERROR)])
        } else {
            text
        }
    };
    if words.is_empty() {
        head
    } else {
        format!("{head}: {words}")
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => " (Bad Request)",
        401 => " (Unauthorized)",
        403 => " (Forbidden)",
        404 => " (Not Found)",
        405 => " (Method Not Allowed)",
        409 => " (Conflict)",
        410 => " (Gone)",
        413 => " (Content Too Large)",
        415 => " (Unsupported Media Type)",
        422 => " (Unprocessable Content)",
        429 => " (Too Many Requests)",
        500 => " (Internal Server Error)",
        502 => " (Bad Gateway)",
        503 => " (Service Unavailable)",
        504 => " (Gateway Timeout)",
        _ => "",
    }
}

fn empty(answer: &Answer<'_>) -> String {
    let mut text = format!("HTTP {}: no content", answer.status);
    for (name, value) in answer.headers {
        text.push('\n');
        text.push_str(name);
        text.push_str(": ");
        text.push_str(&printable(value));
    }
    text
}

fn blob(answer: &Answer<'_>, media: &str) -> String {
    let data = STANDARD.encode(answer.body);
    let kind = edit::string(&printable(media));
    if media.starts_with("image/") {
        return format!(r#"{{"type":"image","data":"{data}","mimeType":{kind}}}"#);
    }
    if media.starts_with("audio/") {
        return format!(r#"{{"type":"audio","data":"{data}","mimeType":{kind}}}"#);
    }
    let uri = edit::string(answer.uri);
    format!(r#"{{"type":"resource","resource":{{"uri":{uri},"mimeType":{kind},"blob":"{data}"}}}}"#)
}

/// The media type without parameters, in lower case.
fn media(content_type: &str) -> String {
    let bare = content_type.split(';').next().unwrap_or_default();
    bare.trim().to_ascii_lowercase()
}

/// The body as text. Of the older character sets the one that is in use still is understood.
fn decoded(answer: &Answer<'_>) -> String {
    let kind = answer.content_type.to_ascii_lowercase();
    let latin = ["charset=iso-8859-1", "charset=\"iso-8859-1\"", "charset=latin1"];
    if latin.iter().any(|set| kind.contains(set)) && std::str::from_utf8(answer.body).is_err() {
        return answer.body.iter().map(|byte| char::from(*byte)).collect();
    }
    String::from_utf8_lossy(answer.body).into_owned()
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
