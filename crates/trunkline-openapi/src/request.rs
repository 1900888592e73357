//! Arguments of a call to the HTTP request that they stand for.
//!
//! Values are put into components that are encoded one by one; nothing of an argument is ever read as a part of a URL, of a
//! header line or of another argument. What would lead out of the path of the document is refused.

use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;

use crate::body::{self, Kind};
use crate::document::quoted;
use crate::operation::{Argument, Body, Operation, Piece, Target};
use crate::parameter::{Place, Wire};
use crate::style::{Escape, Given, component, inline, pairs, plain};

/// Bytes of path and query.
const MAX_URL: usize = 32 * 1024;
/// Bytes of a header's value.
const MAX_HEADER: usize = 16 * 1024;

/// A request, without the address of the API and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Encoded; begins with a slash, and is to be put behind the address of the API.
    pub path: String,
    /// Encoded.
    pub query: Option<String>,
    /// Names in the document's spelling, values without control characters.
    pub headers: Vec<(String, String)>,
    /// `Cookie`, encoded.
    pub cookie: Option<String>,
    /// Media type and bytes.
    pub body: Option<(String, Vec<u8>)>,
}

/// Why the arguments make no request: a sentence for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(String);

impl ArgumentError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The arguments, each at its place.
#[derive(Default)]
struct Placed<'o> {
    path: Vec<(&'o str, String)>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    /// Names and JSON texts.
    members: Vec<(String, String)>,
    body: Option<String>,
}

impl Operation {
    /// The request for these arguments, JSON text.
    pub fn request(&self, arguments: Option<&str>) -> Result<Request, ArgumentError> {
        self.request_of(arguments, false)
    }

    /// The same, where arguments are known by the names that the tool shows alone: rules were kept that are about these.
    pub fn request_by_own_names(&self, arguments: Option<&str>) -> Result<Request, ArgumentError> {
        self.request_of(arguments, true)
    }

    fn request_of(&self, arguments: Option<&str>, own_names: bool) -> Result<Request, ArgumentError> {
        let arguments = RawObject::parse(arguments.unwrap_or("{}"))
            .map_err(|_| ArgumentError::new("the arguments are no object, or have a key twice"))?;
        let mut placed = Placed::default();
        let mut given: Vec<&str> = Vec::new();
        for (key, raw) in arguments.members() {
            match self.argument(key) {
                Some((own, _)) if own_names && own != key => return Err(self.unknown(key)),
                Some((own, _)) if given.contains(&own) => {
                    return Err(ArgumentError::new(format!(
                        "{} and {} are one argument: give one of them",
                        quoted(own),
                        quoted(key)
                    )));
                }
                Some((key, argument)) => {
                    given.push(key);
                    place(key, argument, raw, &mut placed)?;
                }
                // What an argument is in the request is said by that argument.
                None if self.arguments.values().any(|own| own.wire == key) => return Err(self.unknown(key)),
                None if self.body.as_ref().is_some_and(|body| body.open) => {
                    placed.members.push((key.to_owned(), raw.to_owned()));
                }
                None => return Err(self.unknown(key)),
            }
        }
        self.complete(&given)?;
        let request = Request {
            method: self.method.clone(),
            path: self.fill(&placed.path)?,
            query: self.joined_query(placed.query),
            headers: placed.headers,
            cookie: joined(placed.cookies, "; "),
            body: match &self.body {
                None => None,
                Some(body) => written(body, placed.members, placed.body)?,
            },
        };
        let length = request.path.len() + request.query.as_ref().map_or(0, String::len);
        if length > MAX_URL {
            return Err(ArgumentError::new(format!(
                "the arguments make an address of {length} bytes, more than {MAX_URL}"
            )));
        }
        Ok(request)
    }

    /// An argument by its name, or by that of the parameter where no other argument has it.
    fn argument(&self, key: &str) -> Option<(&str, &Argument)> {
        if let Some((key, argument)) = self.arguments.get_key_value(key) {
            return Some((key, argument));
        }
        let mut by_wire = self.arguments.iter().filter(|(_, argument)| argument.wire == key);
        match (by_wire.next(), by_wire.next()) {
            (Some((key, argument)), None) => Some((key, argument)),
            _ => None,
        }
    }

    fn unknown(&self, key: &str) -> ArgumentError {
        let known: Vec<&str> = self.arguments.keys().map(String::as_str).take(50).collect();
        let known = if known.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it has {}", known.join(", "))
        };
        ArgumentError::new(format!("this tool has no argument {}; {known}", quoted(key)))
    }

    fn complete(&self, given: &[&str]) -> Result<(), ArgumentError> {
        let body_given = || {
            given.iter().any(|key| {
                self.arguments
                    .get(*key)
                    .is_some_and(|own| own.target == Target::Member)
            })
        };
        let wants_members = self.body.as_ref().is_some_and(|body| body.required) || body_given();
        let missing: Vec<&str> = self
            .arguments
            .iter()
            .filter(|(key, own)| own.required && !given.contains(&key.as_str()))
            .filter(|(_, own)| own.target != Target::Member || wants_members)
            .map(|(key, _)| key.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ArgumentError::new(format!("missing: {}", missing.join(", "))))
    }

    fn fill(&self, values: &[(&str, String)]) -> Result<String, ArgumentError> {
        let mut path = String::new();
        for piece in &self.path {
            match piece {
                Piece::Literal(text) => path.push_str(text),
                Piece::Parameter(name) => {
                    let value = values.iter().find(|(own, _)| own == name);
                    path.push_str(value.map_or("", |(_, value)| value));
                }
            }
        }
        // Two dots next to each other may come of two arguments.
        let is_dots = |segment: &str| {
            let segment = segment.replace("%2E", ".").replace("%2e", ".");
            matches!(segment.as_str(), "." | "..")
        };
        if path.split('/').any(is_dots) {
            return Err(ArgumentError::new(
                "the arguments would lead out of the path of this tool",
            ));
        }
        Ok(path)
    }

    fn joined_query(&self, pairs: Vec<(String, String)>) -> Option<String> {
        match (self.query.clone(), joined(pairs, "&")) {
            (Some(own), Some(given)) => Some(format!("{own}&{given}")),
            (own, given) => own.or(given),
        }
    }
}

fn joined(pairs: Vec<(String, String)>, between: &str) -> Option<String> {
    let texts: Vec<String> = pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!texts.is_empty()).then(|| texts.join(between))
}

/// Puts one argument where it belongs.
fn place<'o>(
    key: &str,
    argument: &'o Argument,
    raw: &str,
    placed: &mut Placed<'o>,
) -> Result<(), ArgumentError> {
    match argument.target {
        Target::Member => {
            placed.members.push((argument.wire.clone(), raw.to_owned()));
            Ok(())
        }
        Target::Body => {
            placed.body = Some(raw.to_owned());
            Ok(())
        }
        Target::Parameter(place, wire) => parameter(key, argument, raw, (place, wire), placed),
    }
}

fn parameter<'o>(
    key: &str,
    argument: &'o Argument,
    raw: &str,
    (place, wire): (Place, Wire),
    placed: &mut Placed<'o>,
) -> Result<(), ArgumentError> {
    let given = if wire.json {
        Given::Scalar(raw.to_owned())
    } else {
        Given::read(raw).ok_or_else(|| ArgumentError::new(format!("{key} cannot be read")))?
    };
    let name = argument.wire.as_str();
    let how = (wire.style, wire.explode);
    match place {
        Place::Path => {
            stays(key, &given)?;
            let value = inline(name, &given, how, Escape::All);
            if value.is_empty() {
                return Err(ArgumentError::new(format!(
                    "{key} must not be empty: it is a part of the path"
                )));
            }
            placed.path.push((name, value));
        }
        Place::Query => {
            let escape = if wire.reserved {
                Escape::Reserved
            } else {
                Escape::All
            };
            pairs(name, &given, how, escape, &mut placed.query);
        }
        Place::Cookie => pairs(name, &given, how, Escape::All, &mut placed.cookies),
        Place::Header => {
            if matches!(given, Given::Nothing) {
                return Ok(());
            }
            let value = inline(name, &given, how, Escape::None);
            if value.chars().any(char::is_control) {
                return Err(ArgumentError::new(format!(
                    "{key} holds a line break or another control character, which no header can"
                )));
            }
            if value.len() > MAX_HEADER {
                return Err(ArgumentError::new(format!(
                    "{key} is longer than {MAX_HEADER} bytes, which no header is"
                )));
            }
            placed.headers.push((name.to_owned(), value));
        }
    }
    Ok(())
}

/// A value of a path that stays where it is put: no control characters, and no segments of dots, whichever way a server
/// takes it apart.
fn stays(key: &str, given: &Given<'_>) -> Result<(), ArgumentError> {
    let check = |text: &str| {
        if text.chars().any(char::is_control) {
            return Err(ArgumentError::new(format!(
                "{key} holds a control character, which no path can"
            )));
        }
        let mut form = text.to_owned();
        for _ in 0..3 {
            if form
                .split(['/', '\\', ';'])
                .any(|segment| matches!(segment.trim(), "." | ".."))
            {
                return Err(ArgumentError::new(format!(
                    "{key} would lead out of the path of this tool"
                )));
            }
            let decoded = percent_encoding::percent_decode_str(&form)
                .decode_utf8_lossy()
                .into_owned();
            if decoded == form {
                break;
            }
            form = decoded;
        }
        if form.chars().any(char::is_control) {
            return Err(ArgumentError::new(format!(
                "{key} holds an escaped control character, which no path can"
            )));
        }
        Ok(())
    };
    match given {
        Given::Nothing => Ok(()),
        Given::Scalar(text) => check(text),
        Given::List(items) => items
            .iter()
            .filter_map(|item| plain(item))
            .try_for_each(|item| check(&item)),
        Given::Object(members) => members
            .iter()
            .flat_map(|(name, value)| [Some(name.clone()), plain(value)])
            .flatten()
            .try_for_each(|text| check(&text)),
    }
}

/// The body, if there is one to send.
fn written(
    own: &Body,
    members: Vec<(String, String)>,
    whole: Option<String>,
) -> Result<Option<body::Written>, ArgumentError> {
    let members = match &whole {
        // A form that is one argument.
        Some(raw) if matches!(own.kind, Kind::Form | Kind::Multipart) => object(raw)?,
        _ => members,
    };
    if members.is_empty() && whole.is_none() {
        let empty = own.required.then(|| match own.kind {
            Kind::Json => b"{}".to_vec(),
            _ => Vec::new(),
        });
        return match (own.kind, empty) {
            (Kind::Multipart, Some(_)) => body::multipart(&[], &own.fields).map(Some),
            (_, empty) => Ok(empty.map(|bytes| (own.media.clone(), bytes))),
        };
    }
    let media = own.media.clone();
    Ok(Some(match own.kind {
        Kind::Json => (media, whole.unwrap_or_else(|| json(&members)).into_bytes()),
        Kind::Form => body::form(&members, &own.fields, &media)?,
        Kind::Multipart => body::multipart(&members, &own.fields)?,
        Kind::Text => (media, text_of(whole.as_deref())?.into_bytes()),
        Kind::Binary => (media, body::bytes("body", &text_of(whole.as_deref())?)?),
    }))
}

fn json(members: &[(String, String)]) -> String {
    let mut object = RawObject::default();
    for (name, raw) in members {
        object.set(name, raw.clone());
    }
    object.to_json()
}

fn object(raw: &str) -> Result<Vec<(String, String)>, ArgumentError> {
    let object = RawObject::parse(raw).map_err(|_| ArgumentError::new("the body must be an object"))?;
    Ok(object
        .members()
        .map(|(name, raw)| (name.to_owned(), raw.to_owned()))
        .collect())
}

/// The text of a body that is one; a structured value is sent as JSON text.
fn text_of(whole: Option<&str>) -> Result<String, ArgumentError> {
    let raw = whole.unwrap_or_default();
    if raw.starts_with('"') {
        return plain(raw).ok_or_else(|| ArgumentError::new("the body is no text"));
    }
    serde_json::from_str::<&RawValue>(raw)
        .map(|raw| raw.get().to_owned())
        .map_err(|_| ArgumentError::new("the body cannot be read"))
}

/// A pair of a query or a cookie, for a credential: encoded.
pub fn pair(name: &str, value: &str) -> String {
    format!("{}={}", component(name), component(value))
}
