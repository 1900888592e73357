//! Bodies of requests: which media type is sent, what of it are arguments of their own, and how it is written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::document::{Document, Version};
use crate::mistake::{Mistake, join};
use crate::parameter::{self, Parameters, Place};
use crate::request::ArgumentError;
use crate::schema::{Direction, is_hidden};
use crate::style::{Escape, Given, Style, component, pairs, plain};

/// Parts that an object is composed of.
const MAX_PARTS: usize = 8;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Form,
    Multipart,
    /// Text as it is.
    Text,
    /// Bytes, given in base64.
    Binary,
}

/// The body of an operation as the document has it.
pub(crate) struct Declared<'d> {
    pub(crate) media: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) description: Option<&'d str>,
    pub(crate) schema: Option<(std::borrow::Cow<'d, Value>, String)>,
    pub(crate) fields: BTreeMap<String, Field>,
}

/// How one member of a form is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    /// The media type of a part, or of a value that is not plain.
    pub(crate) media: Option<String>,
    /// `style` and `explode`, where the document has them.
    pub(crate) style: Option<(Style, bool)>,
    pub(crate) reserved: bool,
    /// A file, given in base64.
    pub(crate) binary: bool,
}

/// The body of an operation of any version.
pub(crate) fn declared<'d>(
    document: &'d Document,
    (operation, at): (&'d Value, &str),
    parameters: &Parameters<'d>,
) -> Result<Option<Declared<'d>>, Mistake> {
    if document.version == Version::Swagger2 {
        return swagger(document, operation, parameters);
    }
    let Some(own) = operation.get("requestBody") else {
        return Ok(None);
    };
    let (own, at) = document.resolve(own, &join(at, "requestBody"))?;
    let content_at = join(&at, "content");
    let Some(content) = own
        .get("content")
        .and_then(Value::as_object)
        .filter(|content| !content.is_empty())
    else {
        return Ok(None);
    };
    let Some((media, kind)) = preferred(content.keys().map(String::as_str)) else {
        return Err(Mistake::new(content_at, "none of its media types can be sent"));
    };
    let holder = &content[media];
    let media_at = join(&content_at, media);
    let fields = fields(document, holder, &media_at);
    let schema = holder
        .get("schema")
        .map(|schema| (std::borrow::Cow::Borrowed(schema), join(&media_at, "schema")));
    Ok(Some(Declared {
        media: concrete(media, kind),
        kind,
        required: own.get("required") == Some(&Value::Bool(true)),
        description: own.get("description").and_then(Value::as_str),
        schema,
        fields,
    }))
}

fn swagger<'d>(
    document: &'d Document,
    operation: &'d Value,
    parameters: &Parameters<'d>,
) -> Result<Option<Declared<'d>>, Mistake> {
    let consumes = operation
        .get("consumes")
        .or_else(|| document.root.get("consumes"))
        .and_then(Value::as_array);
    let consumes: Vec<&str> = consumes.into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some((body, at)) = &parameters.body {
        let (media, kind) = preferred(consumes.into_iter()).unwrap_or(("application/json", Kind::Json));
        return Ok(Some(Declared {
            media: concrete(media, kind),
            kind,
            required: body.get("required") == Some(&Value::Bool(true)),
            description: body.get("description").and_then(Value::as_str),
            schema: body
                .get("schema")
                .map(|schema| (std::borrow::Cow::Borrowed(schema), join(at, "schema"))),
            fields: BTreeMap::new(),
        }));
    }
    if parameters.form.is_empty() {
        return Ok(None);
    }
    let mut fields = BTreeMap::new();
    let mut properties = Map::new();
    let mut required: Vec<Value> = Vec::new();
    for (field, at) in &parameters.form {
        let Some(name) = field.get("name").and_then(Value::as_str) else {
            return Err(Mistake::new(at, "a parameter needs `name` and `in`"));
        };
        let own = Field {
            style: Some(parameter::collection(field, Style::Form)),
            binary: field.get("type").and_then(Value::as_str) == Some("file"),
            ..Field::default()
        };
        fields.insert(name.to_owned(), own);
        properties.insert(name.to_owned(), (*field).clone());
        if field.get("required") == Some(&Value::Bool(true)) {
            required.push(name.into());
        }
    }
    let multipart = fields.values().any(|field| field.binary)
        || (consumes.contains(&"multipart/form-data")
            && !consumes.contains(&"application/x-www-form-urlencoded"));
    let (media, kind) = if multipart {
        ("multipart/form-data", Kind::Multipart)
    } else {
        ("application/x-www-form-urlencoded", Kind::Form)
    };
    let is_required = !required.is_empty();
    let schema = serde_json::json!({"type": "object", "properties": properties, "required": required});
    Ok(Some(Declared {
        media: media.to_owned(),
        kind,
        required: is_required,
        description: None,
        schema: Some((std::borrow::Cow::Owned(schema), "/parameters".to_owned())),
        fields,
    }))
}

/// The media type that is sent, of those that a server takes.
fn preferred<'m>(media: impl Iterator<Item = &'m str>) -> Option<(&'m str, Kind)> {
    media
        .filter(|media| media.contains('/') && media.bytes().all(|b| (0x20..0x7f).contains(&b)))
        .map(|media| (media, kind_of(media)))
        .min_by_key(|(media, kind)| match kind {
            // JSON as it is before its dialects (patches, for example, which are told apart by their media type).
            Kind::Json if bare(media) == "application/json" => 0,
            Kind::Json => 1,
            Kind::Form => 2,
            Kind::Multipart => 3,
            Kind::Text => 4,
            Kind::Binary => 5,
        })
}

fn bare(media: &str) -> String {
    let bare = media.split(';').next().unwrap_or_default();
    bare.trim().to_ascii_lowercase()
}

/// How a media type is written.
fn kind_of(media: &str) -> Kind {
    let media = bare(media);
    match media.as_str() {
        "application/x-www-form-urlencoded" => Kind::Form,
        "*/*" | "application/*" => Kind::Json,
        _ if media.starts_with("multipart/") => Kind::Multipart,
        _ if media.ends_with("/json") || media.ends_with("+json") => Kind::Json,
        _ if is_text(&media) => Kind::Text,
        _ => Kind::Binary,
    }
}

/// Whether a media type is text that people read.
pub(crate) fn is_text(media: &str) -> bool {
    const TEXTS: [&str; 11] = [
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/javascript",
        "application/graphql",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/problem+xml",
    ];
    media.starts_with("text/")
        || media.ends_with("+xml")
        || media.ends_with("+yaml")
        || TEXTS.contains(&media)
}

/// A range stands for one of what is in it.
fn concrete(media: &str, kind: Kind) -> String {
    if !media.contains('*') {
        return media.to_owned();
    }
    match kind {
        Kind::Json => "application/json",
        Kind::Text => "text/plain",
        Kind::Multipart => "multipart/form-data",
        Kind::Form | Kind::Binary => "application/octet-stream",
    }
    .to_owned()
}

/// What is said about single members of a form.
fn fields(document: &Document, holder: &Value, at: &str) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let schema = holder
        .get("schema")
        .and_then(|schema| document.resolve(schema, at).ok());
    let properties = schema.and_then(|(schema, _)| schema.get("properties")?.as_object());
    for (name, property) in properties.into_iter().flatten() {
        let Ok((property, _)) = document.resolve(property, at) else {
            continue;
        };
        let items = property
            .get("items")
            .and_then(|items| document.resolve(items, at).ok());
        let binary = is_binary(property) || items.is_some_and(|(items, _)| is_binary(items));
        let object = property.get("type").and_then(Value::as_str) == Some("object");
        fields.insert(
            name.clone(),
            Field {
                media: object.then(|| "application/json".to_owned()),
                binary,
                ..Field::default()
            },
        );
    }
    for (name, encoding) in holder
        .get("encoding")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let field = fields.entry(name.clone()).or_default();
        let text = |key: &str| encoding.get(key).and_then(Value::as_str);
        let flag = |key: &str| encoding.get(key).and_then(Value::as_bool);
        if let Some(style) = text("style").and_then(|word| parameter::style_of(word, Place::Query)) {
            field.style = Some((style, flag("explode").unwrap_or(style == Style::Form)));
        } else if let Some(explode) = flag("explode") {
            field.style = Some((Style::Form, explode));
        }
        field.reserved = flag("allowReserved").unwrap_or(false);
        let media = text("contentType")
            .and_then(|list| list.split(',').next())
            .map(str::trim);
        let legal = |media: &&str| {
            media.contains('/') && !media.contains('*') && media.bytes().all(|b| (0x20..0x7f).contains(&b))
        };
        if let Some(media) = media.filter(legal) {
            field.media = Some(media.to_owned());
        }
    }
    fields
}

fn is_binary(schema: &Value) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let is_text = text("type").is_none_or(|kind| kind == "string");
    // 3.1 says it with a media type, or with nothing at all.
    let raw = text("contentMediaType").is_some_and(|media| !is_text_media(media))
        && text("contentEncoding").is_none();
    is_text && (text("format") == Some("binary") || raw)
}

fn is_text_media(media: &str) -> bool {
    is_text(media) || media.contains("json")
}

/// An object whose members become arguments.
pub(crate) struct Shape<'d> {
    pub(crate) properties: Vec<(String, &'d Value, String)>,
    pub(crate) required: Vec<String>,
    /// Others may be given too: their schema.
    pub(crate) more: Option<(&'d Value, String)>,
}

/// The shape of a schema, if it is no more than an object with named members, perhaps composed of several.
pub(crate) fn shape<'d>(document: &'d Document, schema: &'d Value, at: &str) -> Option<Shape<'d>> {
    let mut shape = Shape {
        properties: Vec::new(),
        required: Vec::new(),
        more: None,
    };
    let mut closed = false;
    add(document, schema, at, 0, &mut shape, &mut closed)?;
    if closed {
        shape.more = None;
    }
    let given = |name: &String| shape.properties.iter().any(|(own, ..)| own == name);
    // What must be there and is not described cannot be an argument of its own.
    if shape.properties.is_empty() || !shape.required.iter().all(given) {
        return None;
    }
    let is_shown =
        |(_, property, _): &(String, &Value, String)| !is_hidden(document, property, Direction::Input);
    shape.properties.retain(is_shown);
    let Shape {
        properties, required, ..
    } = &mut shape;
    required.retain(|name| properties.iter().any(|(own, ..)| own == name));
    (!properties.is_empty()).then_some(shape)
}

fn add<'d>(
    document: &'d Document,
    schema: &'d Value,
    at: &str,
    depth: usize,
    shape: &mut Shape<'d>,
    closed: &mut bool,
) -> Option<()> {
    let (schema, at) = document.resolve(schema, at).ok()?;
    let object = schema.as_object()?;
    let is_plain = |key: &String| {
        key.starts_with("x-")
            || matches!(
                key.as_str(),
                "type"
                    | "properties"
                    | "required"
                    | "additionalProperties"
                    | "allOf"
                    | "description"
                    | "title"
                    | "example"
                    | "examples"
                    | "externalDocs"
                    | "xml"
                    | "deprecated"
                    | "$schema"
                    | "discriminator"
            )
            || (matches!(key.as_str(), "nullable" | "readOnly" | "writeOnly")
                && object[key] == Value::Bool(false))
    };
    let is_object = object.get("type").is_none_or(|kind| kind == "object");
    if depth > MAX_PARTS || !is_object || !object.keys().all(is_plain) {
        return None;
    }
    for (name, property, place) in crate::document::members(schema, "properties", &at) {
        match shape.properties.iter().find(|(own, ..)| own == name) {
            Some((_, other, _)) if *other == property => {}
            // Which of the two counts is the schema's own business.
            Some(_) => return None,
            None => shape.properties.push((name.clone(), property, place)),
        }
    }
    let names = object.get("required").and_then(Value::as_array);
    for name in names.into_iter().flatten().filter_map(Value::as_str) {
        if !shape.required.iter().any(|own| own == name) {
            shape.required.push(name.to_owned());
        }
    }
    match object.get("additionalProperties") {
        Some(Value::Bool(false)) => *closed = true,
        Some(more @ (Value::Bool(true) | Value::Object(_))) => {
            shape.more = Some((more, join(&at, "additionalProperties")));
        }
        _ => {}
    }
    let parts = object.get("allOf").and_then(Value::as_array);
    for (index, part) in parts.into_iter().flatten().enumerate() {
        let place = join(&join(&at, "allOf"), &index.to_string());
        add(document, part, &place, depth + 1, shape, closed)?;
    }
    // A part that allows nothing beside its own members would refuse those of the others.
    (!*closed || depth == 0 && parts.is_none()).then_some(())
}

/// A body that is put together: its media type and its bytes.
pub(crate) type Written = (String, Vec<u8>);

/// Writes a form of either kind. `members` are names and JSON texts.
pub(crate) fn form(
    members: &[(String, String)],
    fields: &BTreeMap<String, Field>,
    media: &str,
) -> Result<Written, ArgumentError> {
    let usual = Field::default();
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, raw) in members {
        let field = fields.get(name).unwrap_or(&usual);
        let given = Given::read(raw).ok_or_else(|| ArgumentError::new(format!("{name} cannot be read")))?;
        let escape = if field.reserved {
            Escape::Reserved
        } else {
            Escape::All
        };
        match (&given, field.style) {
            // An object without a style is one value, of its own media type.
            (Given::Object(_), None) => out.push((component(name).into_owned(), component(raw).into_owned())),
            (_, style) => pairs(
                name,
                &given,
                style.unwrap_or((Style::Form, true)),
                escape,
                &mut out,
            ),
        }
    }
    let text: Vec<String> = out.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok((media.to_owned(), text.join("&").into_bytes()))
}

struct Part {
    name: String,
    file: bool,
    media: Option<String>,
    bytes: Vec<u8>,
}

/// Writes `multipart/form-data`. `members` are names and JSON texts.
pub(crate) fn multipart(
    members: &[(String, String)],
    fields: &BTreeMap<String, Field>,
) -> Result<Written, ArgumentError> {
    let usual = Field::default();
    let mut parts = Vec::new();
    for (name, raw) in members {
        let field = fields.get(name).unwrap_or(&usual);
        match Given::read(raw).ok_or_else(|| ArgumentError::new(format!("{name} cannot be read")))? {
            Given::Nothing => {}
            Given::List(items) if field.media.as_deref() != Some("application/json") => {
                for item in items {
                    parts.push(part(name, item, field)?);
                }
            }
            _ => parts.push(part(name, raw, field)?),
        }
    }
    let mut boundary = String::from("trunkline-boundary");
    let holds = |parts: &[Part], boundary: &str| {
        parts.iter().any(|part| {
            part.bytes
                .windows(boundary.len())
                .any(|window| window == boundary.as_bytes())
        })
    };
    for number in 0_u32.. {
        if !holds(&parts, &boundary) {
            break;
        }
        boundary = format!("trunkline-boundary-{number}");
    }
    let mut body = Vec::new();
    for part in &parts {
        let mut head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
            disposition(&part.name)
        );
        if part.file {
            head.push_str("; filename=\"");
            head.push_str(&disposition(&part.name));
            head.push('"');
        }
        if let Some(media) = &part.media {
            head.push_str("\r\nContent-Type: ");
            head.push_str(media);
        }
        head.push_str("\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((format!("multipart/form-data; boundary={boundary}"), body))
}

fn part(name: &str, raw: &str, field: &Field) -> Result<Part, ArgumentError> {
    let structured = raw.starts_with(['{', '[']);
    let text = if structured {
        Some(raw.to_owned())
    } else {
        plain(raw)
    };
    let text = text.unwrap_or_default();
    let bytes = if field.binary {
        bytes(name, &text)?
    } else {
        text.into_bytes()
    };
    let media = match (&field.media, field.binary, structured) {
        (Some(media), false, false) if media == "application/json" => None,
        (Some(media), ..) => Some(media.clone()),
        (None, true, _) => Some("application/octet-stream".to_owned()),
        (None, false, true) => Some("application/json".to_owned()),
        (None, false, false) => None,
    };
    Ok(Part {
        name: name.to_owned(),
        file: field.binary,
        media,
        bytes,
    })
}

/// Names in `Content-Disposition`, as browsers write them: nothing in them ends the name or the line.
fn disposition(name: &str) -> String {
    let name: String = name
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\r' | '\n'))
        .collect();
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The bytes that base64 text stands for.
pub(crate) fn bytes(name: &str, text: &str) -> Result<Vec<u8>, ArgumentError> {
    let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD
        .decode(&bare)
        .map_err(|_| ArgumentError::new(format!("{name} must be base64 text")))
}
