//! A request that is a form (`multipart/form-data`), as the gateway has to know it: which model it is for. Its parts are found where they
//! lie, files are not copied before the form is written anew, and nothing of it changes but the name of the model.
//!
//! What two readers could read in two ways is refused: whoever decides must see what the provider sees. So every part has one plain
//! name, `model` is there once and is no file, and nothing is before the first part or after the last.

use std::ops::Range;

/// Parts of a form.
const MAX_PARTS: usize = 100;
/// Bytes of the head of a part.
const MAX_HEAD: usize = 4096;
/// Characters of a boundary, as RFC 2046 has it.
const MAX_BOUNDARY: usize = 70;
/// Headers that a part may have.
const HEADERS: [&str; 3] = ["content-disposition", "content-type", "content-length"];

/// A form.
#[derive(Clone, Debug)]
pub struct Form<'a> {
    body: &'a [u8],
    boundary: String,
    parts: Vec<Part<'a>>,
}

#[derive(Clone, Debug)]
struct Part<'a> {
    name: &'a str,
    is_file: bool,
    /// Where its content is in the body.
    content: Range<usize>,
}

impl<'a> Form<'a> {
    /// Reads it. `content_type` is the header. Errors say what is wrong with it, for people.
    pub fn read(body: &'a [u8], content_type: &str) -> Result<Form<'a>, String> {
        let boundary = boundary(content_type)?;
        let mut parts: Vec<Part<'a>> = Vec::new();
        let line = format!("--{boundary}");
        let mut at = line.len();
        if !body.starts_with(line.as_bytes()) {
            return Err("the form does not begin with its boundary".to_owned());
        }
        let between = memchr::memmem::Finder::new(&format!("\r\n{line}")).into_owned();
        loop {
            if let Some(rest) = body.get(at..).and_then(|rest| rest.strip_prefix(b"--")) {
                if !matches!(rest, b"" | b"\r\n") {
                    return Err("the form goes on after its end".to_owned());
                }
                break;
            }
            let rest = body.get(at..).and_then(|rest| rest.strip_prefix(b"\r\n"));
            let rest = rest.ok_or("a line of the form's boundary does not end")?;
            let (part, length) = part(rest, &between)?;
            let begin = at + 2;
            let content = part.content.start + begin..part.content.end + begin;
            if parts
                .iter()
                .any(|own| own.name == part.name && !part.name.ends_with("[]"))
            {
                return Err(format!("the form has `{}` twice", part.name));
            }
            parts.push(Part { content, ..part });
            if parts.len() > MAX_PARTS {
                return Err(format!("the form has more than {MAX_PARTS} parts"));
            }
            at = begin + length + 2 + line.len();
        }
        Ok(Form {
            body,
            boundary: boundary.to_owned(),
            parts,
        })
    }

    /// The names of its parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name)
    }

    /// The text of a part. Errors if it is a file, or no text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(part) = self.parts.iter().find(|part| part.name == name) else {
            return Ok(None);
        };
        let content = self.body.get(part.content.clone()).unwrap_or_default();
        match std::str::from_utf8(content) {
            Ok(text) if !part.is_file => Ok(Some(text)),
            _ => Err(format!("`{name}` must be text, and no file")),
        }
    }

    /// The header of a request with it.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The form with another name for the model. Every other byte is as it came.
    pub fn with_model(&self, model: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + model.len() + 128);
        if let Some(part) = self.parts.iter().find(|part| part.name == "model") {
            out.extend_from_slice(self.body.get(..part.content.start).unwrap_or_default());
            out.extend_from_slice(model.as_bytes());
            out.extend_from_slice(self.body.get(part.content.end..).unwrap_or_default());
        } else {
            // The path named it.
            let head = "Content-Disposition: form-data; name=\"model\"";
            let part = format!("--{}\r\n{head}\r\n\r\n{model}\r\n", self.boundary);
            out.extend_from_slice(part.as_bytes());
            out.extend_from_slice(self.body);
        }
        out
    }
}

fn boundary(content_type: &str) -> Result<&str, String> {
    let none = || "the body must be a form: `multipart/form-data` with a `boundary`".to_owned();
    let (kind, parameters) = content_type.split_once(';').ok_or_else(none)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(none());
    }
    let mut found = None;
    for parameter in parameters.split(';').map(str::trim).filter(|own| !own.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or_else(none)?;
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err("the form has two boundaries".to_owned());
        }
    }
    let value = found.ok_or_else(none)?;
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    let is_plain = |own: u8| own.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&own);
    if value.is_empty() || value.len() > MAX_BOUNDARY || !value.bytes().all(is_plain) {
        return Err("the boundary of the form is none".to_owned());
    }
    Ok(value)
}

/// A part, with its content as a range of `rest`, and how long it is.
fn part<'a>(rest: &'a [u8], between: &memchr::memmem::Finder<'_>) -> Result<(Part<'a>, usize), String> {
    let window = rest.get(..MAX_HEAD.min(rest.len())).unwrap_or_default();
    let end = memchr::memmem::find(window, b"\r\n\r\n").ok_or("a part of the form has no end of its head")?;
    let head =
        std::str::from_utf8(&window[..end]).map_err(|_| "the head of a part of the form is no text")?;
    let mut disposition = None;
    for line in head.split("\r\n") {
        let (name, value) = line
            .split_once(':')
            .ok_or("a header of a part of the form is none")?;
        let is_known = HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own));
        if !is_known || value.contains(['\r', '\n']) {
            return Err("a part of the form has a header that is not known here".to_owned());
        }
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value.trim()).is_some() {
            return Err("a part of the form has two names".to_owned());
        }
    }
    let (name, is_file) = named(disposition.ok_or("a part of the form has no name")?)?;
    let begin = end + 4;
    // The content may be empty: its end is that of the head then.
    let length = between.find(&rest[end + 2..]).ok_or("the form has no end")? + end + 2;
    if length < begin {
        // `\r\n\r\n--boundary`: the blank line is the one before the boundary.
        return Err("a part of the form has no end of its head".to_owned());
    }
    let part = Part {
        name,
        is_file,
        content: begin..length,
    };
    Ok((part, length))
}

/// `form-data; name="x"; filename="y"`: the name, and whether it is a file.
fn named(disposition: &str) -> Result<(&str, bool), String> {
    let bad = || "a part of the form has no plain name".to_owned();
    let rest = disposition.strip_prefix("form-data").ok_or_else(bad)?;
    let rest = rest.trim_start().strip_prefix(';').ok_or_else(bad)?.trim_start();
    let (name, rest) = if let Some(rest) = rest.strip_prefix("name=\"") {
        rest.split_once('"').ok_or_else(bad)?
    } else {
        // Some write names without marks.
        let rest = rest.strip_prefix("name=").ok_or_else(bad)?;
        let end = rest.find(';').unwrap_or(rest.len());
        (rest[..end].trim(), &rest[end..])
    };
    let is_plain = |own: u8| own.is_ascii_alphanumeric() || b"_-[].".contains(&own);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(bad());
    }
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok((name, false));
    }
    let rest = rest.strip_prefix(';').ok_or_else(bad)?.trim_start();
    // Whatever the file is called, nothing after it is a name of the part.
    let is_file = rest.starts_with("filename=") || rest.starts_with("filename*=");
    let mut outside = rest.split('"').step_by(2);
    if !is_file || outside.any(|own| own.contains("name=") && !own.contains("filename")) {
        return Err(bad());
    }
    Ok((name, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xYz";

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let part = |(head, content): &(&str, &str)| {
            format!("--xYz\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
        };
        let text: String = parts.iter().map(part).collect();
        (text + "--xYz--\r\n").into_bytes()
    }

    #[test]
    fn nothing_but_the_model_changes() {
        let file = (
            "name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg",
            "\u{1}\r\n--xY\r\n\r\n--",
        );
        let body = form(&[file, ("name=\"model\"", "mine"), ("name=\"empty\"", "")]);
        let read = Form::read(&body, TYPE).unwrap();
        assert_eq!(read.text("model"), Ok(Some("mine")));
        assert_eq!(read.text("empty"), Ok(Some("")));
        assert_eq!(read.text("nobody"), Ok(None));
        assert!(read.text("file").is_err());
        assert_eq!(
            read.with_model("whisper-1"),
            form(&[file, ("name=\"model\"", "whisper-1"), ("name=\"empty\"", "")])
        );
        assert_eq!(read.content_type(), TYPE);
        let body = form(&[file]);
        let read = Form::read(&body, "Multipart/Form-Data; charset=utf-8; boundary=\"xYz\"").unwrap();
        assert_eq!(read.with_model("w"), form(&[("name=\"model\"", "w"), file]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let file = "name=\"file\"; filename=\"a.mp3\"";
        for parts in [
            vec![("name=\"model\"", "a"), ("name=\"model\"", "b")],
            vec![("name=\"mo\\\"del\"", "a")],
            vec![("name=\"model%22\"", "a")],
            vec![("name*=utf-8''model", "a")],
            vec![("name=\"file\"; name=\"model\"", "a")],
            vec![("name=\"file\"; filename=\"x\"; name=\"model\"", "a")],
            vec![("filename=\"x\"; name=\"model\"", "a")],
            vec![(
                "name=\"file\"\r\nContent-Disposition: form-data; name=\"model\"",
                "a",
            )],
            vec![("name=\"file\"\r\nContent-Transfer-Encoding: base64", "a")],
            vec![("name=\"file\"\nX: y", "a")],
        ] {
            let body = form(&parts);
            assert!(Form::read(&body, TYPE).is_err(), "{parts:?}");
        }
        let good = form(&[(file, "x")]);
        assert!(Form::read(&good, TYPE).is_ok());
        for other in [
            [b"before\r\n".to_vec(), good.clone()].concat(),
            [good.clone(), b"--xYz\r\n".to_vec()].concat(),
            good[..good.len() - 6].to_vec(),
            b"--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--xYz--".to_vec(),
            Vec::new(),
        ] {
            assert!(
                Form::read(&other, TYPE).is_err(),
                "{}",
                String::from_utf8_lossy(&other)
            );
        }
        for kind in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=xYz",
            "multipart/mixed; boundary=xYz",
        ] {
            assert!(Form::read(&good, kind).is_err(), "{kind}");
        }
    }
}
