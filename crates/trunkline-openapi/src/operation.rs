//! One operation: the tool that it is shown as, and the plan after which its requests are made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::body::{self, Declared, Field, Kind, Shape};
use crate::document::{Document, Version, quoted};
use crate::mistake::{Mistake, join};
use crate::names;
use crate::parameter::{self, Parameter, Parameters, Place, Wire};
use crate::response;
use crate::schema::{Direction, Failure, Mode, Schemas};
use crate::security::{self, KeyPlace};
use crate::style;

/// Characters of a description; models read all of it in each request.
const MAX_DESCRIPTION: usize = 4096;
/// Bytes of an input schema.
const MAX_INPUT: usize = 192 * 1024;

/// An operation that is a tool.
pub struct Operation {
    /// The tool's name.
    pub name: String,
    /// HTTP method, in capitals.
    pub method: String,
    /// Where its API key goes, if the document says so.
    pub key: Option<KeyPlace>,
    /// What `Accept` says.
    pub accept: String,
    /// The tool has an `outputSchema`.
    pub(crate) has_output: bool,
    pub(crate) path: Vec<Piece>,
    /// What the path of the document has behind a question mark.
    pub(crate) query: Option<String>,
    pub(crate) arguments: BTreeMap<String, Argument>,
    pub(crate) body: Option<Body>,
    /// The definition, JSON text.
    pub(crate) tool: String,
    /// How long its output schema is in it.
    pub(crate) output: Option<Value>,
    /// An address of its own.
    pub(crate) server: Option<String>,
}

/// A piece of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Encoded.
    Literal(String),
    /// The name of a parameter.
    Parameter(String),
}

/// What an argument is in the request.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Its name there.
    pub(crate) wire: String,
    pub(crate) required: bool,
    pub(crate) target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Parameter(Place, Wire),
    /// A member of the body.
    Member,
    /// The body.
    Body,
}

/// How the body is written.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) media: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    /// Arguments that nobody knows are members of it.
    pub(crate) open: bool,
    pub(crate) fields: BTreeMap<String, Field>,
}

/// Where an operation stands.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'d> {
    pub(crate) path: &'d str,
    pub(crate) method: &'d str,
    pub(crate) item: (&'d Value, &'d str),
    pub(crate) own: (&'d Value, &'d str),
}

/// Reads an operation that is listed as `name`.
pub(crate) fn read(
    document: &Document,
    spot: Spot<'_>,
    name: String,
    supplied: &[String],
) -> Result<Operation, Mistake> {
    let (path, query) = template(spot.path, spot.own.1)?;
    let parameters = parameter::read(document, spot.item, spot.own, supplied)?;
    let declared = body::declared(document, spot.own, &parameters)?;
    // Bodies of GET and its kin mean nothing (RFC 9110, 9.3.1), and some servers refuse them.
    let declared = declared.filter(|_| !matches!(spot.method, "get" | "head"));
    let made = [Mode::Inline, Mode::Definitions].into_iter().find_map(|mode| {
        match inputs(document, mode, &path, &parameters, declared.as_ref(), spot.own.1) {
            Err(Failure::TooLarge) => None,
            Ok(made) if made.schema.to_string().len() > MAX_INPUT => None,
            made => Some(made),
        }
    });
    let made = match made {
        Some(Ok(made)) => made,
        Some(Err(Failure::Mistake(mistake))) => return Err(mistake),
        Some(Err(Failure::TooLarge)) | None => {
            return Err(Mistake::new(
                spot.own.1,
                "its arguments are too many, too deep, or take too much room",
            ));
        }
    };
    let answers = response::read(document, spot.own);
    let (operation, _) = spot.own;
    let mut own = Operation {
        tool: String::new(),
        key: security::key_of(document, operation),
        accept: answers.accept,
        has_output: answers.schema.is_some(),
        method: spot.method.to_ascii_uppercase(),
        path,
        query,
        arguments: made.arguments,
        body: made.body,
        output: answers.schema,
        server: server_of(document, spot),
        name,
    };
    let definition = definition(&own, operation, spot, made.schema);
    own.tool = definition;
    Ok(own)
}

/// The pieces of a path, and what stands behind its question mark.
fn template(path: &str, at: &str) -> Result<(Vec<Piece>, Option<String>), Mistake> {
    if !path.starts_with('/') {
        return Err(Mistake::new(
            at,
            format!("the path {} does not begin with /", quoted(path)),
        ));
    }
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) if !query.contains('{') => (path, Some(query)),
        Some(_) => return Err(Mistake::new(at, "a parameter stands in the query of its path")),
        None => (path, None),
    };
    let mut pieces = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else {
            return Err(Mistake::new(
                at,
                format!("a brace stays open in the path {}", quoted(path)),
            ));
        };
        if !before.is_empty() {
            pieces.push(Piece::Literal(style::literal(before).into_owned()));
        }
        pieces.push(Piece::Parameter(name.to_owned()));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(style::literal(rest).into_owned()));
    }
    let dots = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.split('/').any(|segment| matches!(segment, "." | "..")));
    if pieces.iter().any(dots) {
        return Err(Mistake::new(at, "its path has a segment of dots"));
    }
    Ok((pieces, query.map(|query| style::literal(query).into_owned())))
}

/// An address that the operation or its path has for itself.
fn server_of(document: &Document, spot: Spot<'_>) -> Option<String> {
    if document.version == Version::Swagger2 {
        return None;
    }
    [spot.own.0, spot.item.0]
        .into_iter()
        .find_map(crate::server::first)
}

struct Inputs {
    schema: Value,
    arguments: BTreeMap<String, Argument>,
    body: Option<Body>,
}

fn inputs(
    document: &Document,
    mode: Mode,
    path: &[Piece],
    parameters: &Parameters<'_>,
    declared: Option<&Declared<'_>>,
    at: &str,
) -> Result<Inputs, Failure> {
    let mut making = Making {
        schemas: Schemas::new(document, Direction::Input, mode),
        arguments: BTreeMap::new(),
        properties: Map::new(),
        required: Vec::new(),
        more: Value::Bool(false),
    };
    let in_path = |name: &str| {
        path.iter()
            .any(|piece| matches!(piece, Piece::Parameter(own) if own == name))
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for parameter in &parameters.all {
        if parameter.place == Place::Path && !in_path(&parameter.name) {
            continue;
        }
        making.parameter(parameter, &mut taken)?;
    }
    for piece in path {
        let Piece::Parameter(name) = piece else { continue };
        let known = |own: &Parameter<'_>| own.place == Place::Path && own.name == *name;
        if !parameters.all.iter().any(known) {
            making.undeclared(name, &mut taken);
        }
    }
    let body = match declared {
        None => None,
        Some(declared) => Some(making.body(document, declared, &mut taken)?),
    };
    let schema = making.finish(at)?;
    Ok(Inputs {
        schema,
        arguments: making.arguments,
        body,
    })
}

struct Making<'d> {
    schemas: Schemas<'d>,
    arguments: BTreeMap<String, Argument>,
    properties: Map<String, Value>,
    required: Vec<String>,
    /// `additionalProperties`.
    more: Value,
}

impl Making<'_> {
    fn add(&mut self, key: String, argument: Argument, schema: Value) {
        if argument.required {
            self.required.push(key.clone());
        }
        self.properties.insert(key.clone(), schema);
        self.arguments.insert(key, argument);
    }

    fn parameter(&mut self, own: &Parameter<'_>, taken: &mut BTreeSet<String>) -> Result<(), Failure> {
        let schema = match &own.schema {
            Some((schema, at)) => self.schemas.convert(schema, at)?,
            None => json!({}),
        };
        let legal = names::of_argument(&own.name, &BTreeSet::new());
        // The same name in two places of the request: the first keeps it.
        let stem = if taken.contains(&legal) {
            format!("{}_{legal}", own.place.as_str())
        } else {
            own.name.clone()
        };
        let key = names::of_argument(&stem, taken);
        taken.insert(key.clone());
        let mut words = own.description.map(ToOwned::to_owned);
        if key != own.name {
            let note = format!("Sent as {} in the {}.", quoted(&own.name), own.place.as_str());
            words = Some(words.map_or_else(|| note.clone(), |words| format!("{words}\n{note}")));
        }
        let schema = described(schema, words.as_deref(), own.deprecated);
        let argument = Argument {
            wire: own.name.clone(),
            required: own.required,
            target: Target::Parameter(own.place, own.wire),
        };
        self.add(key, argument, schema);
        Ok(())
    }

    /// A parameter that stands in the path and nowhere else.
    fn undeclared(&mut self, name: &str, taken: &mut BTreeSet<String>) {
        let key = names::of_argument(name, taken);
        taken.insert(key.clone());
        let wire = Wire {
            style: style::Style::Simple,
            explode: false,
            reserved: false,
            json: false,
        };
        let argument = Argument {
            wire: name.to_owned(),
            required: true,
            target: Target::Parameter(Place::Path, wire),
        };
        self.add(key, argument, json!({"type": "string"}));
    }

    fn body(
        &mut self,
        document: &Document,
        declared: &Declared<'_>,
        taken: &mut BTreeSet<String>,
    ) -> Result<Body, Failure> {
        let mut body = Body {
            media: declared.media.clone(),
            kind: declared.kind,
            required: declared.required,
            open: false,
            fields: declared.fields.clone(),
        };
        let is_object = matches!(declared.kind, Kind::Json | Kind::Form | Kind::Multipart);
        let shape = declared
            .schema
            .as_ref()
            .filter(|_| is_object)
            .and_then(|(schema, at)| body::shape(document, schema, at))
            .filter(|shape| mergeable(shape, declared.required, taken));
        if let Some(shape) = shape {
            if let Some((more, at)) = &shape.more {
                body.open = true;
                self.more = self.schemas.convert(more, at)?;
            }
            for (name, property, at) in &shape.properties {
                let schema = self.schemas.convert(property, at)?;
                let argument = Argument {
                    wire: name.clone(),
                    required: shape.required.contains(name),
                    target: Target::Member,
                };
                self.add(name.clone(), argument, schema);
            }
            return Ok(body);
        }
        let schema = match (declared.kind, &declared.schema) {
            (Kind::Binary, _) => {
                json!({"type": "string", "contentEncoding": "base64", "contentMediaType": declared.media})
            }
            (Kind::Text, _) => json!({"type": "string", "contentMediaType": declared.media}),
            (_, Some((schema, at))) => self.schemas.convert(schema, at)?,
            (_, None) => json!({}),
        };
        let key = ["body", "request_body"]
            .into_iter()
            .find(|key| !taken.contains(*key));
        let key = names::of_argument(key.unwrap_or("body"), taken);
        taken.insert(key.clone());
        let words = declared.description.map_or_else(
            || format!("The request body ({}).", declared.media),
            ToOwned::to_owned,
        );
        let argument = Argument {
            wire: key.clone(),
            required: declared.required,
            target: Target::Body,
        };
        self.add(key, argument, described(schema, Some(&words), false));
        Ok(body)
    }

    fn finish(&mut self, at: &str) -> Result<Value, Failure> {
        let definitions = self.schemas.definitions()?;
        if self.properties.len() > 1000 {
            return Err(Mistake::new(at, "it has more than 1000 arguments").into());
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert(
            "properties".to_owned(),
            std::mem::take(&mut self.properties).into(),
        );
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), json!(self.required));
        }
        schema.insert("additionalProperties".to_owned(), std::mem::take(&mut self.more));
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        Ok(schema.into())
    }
}

/// Whether the members of a body can be arguments beside the parameters: their names are free and such as models take, and
/// a body that may be left out has none that must be there, which a list of arguments cannot say.
fn mergeable(shape: &Shape<'_>, required: bool, taken: &BTreeSet<String>) -> bool {
    let none = BTreeSet::new();
    let is_free = |name: &String| !taken.contains(name) && names::of_argument(name, &none) == *name;
    (required || shape.required.is_empty()) && shape.properties.iter().all(|(name, ..)| is_free(name))
}

/// A schema with the words about this use of it.
fn described(schema: Value, words: Option<&str>, deprecated: bool) -> Value {
    let mut object = match schema {
        Value::Object(object) => object,
        Value::Bool(false) => return Value::Bool(false),
        _ => Map::new(),
    };
    if let Some(words) = words.filter(|words| !words.trim().is_empty()) {
        object.insert("description".to_owned(), bounded(words).into());
    }
    if deprecated {
        object.insert("deprecated".to_owned(), true.into());
    }
    object.into()
}

fn bounded(text: &str) -> String {
    let text = text.trim();
    if text.len() <= MAX_DESCRIPTION {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_DESCRIPTION)])
}

/// The tool's definition.
fn definition(own: &Operation, operation: &Value, spot: Spot<'_>, input: Value) -> String {
    let text = |holder: &Value, key: &str| {
        let text = holder.get(key).and_then(Value::as_str).map(str::trim);
        text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    };
    let summary = text(operation, "summary").or_else(|| text(spot.item.0, "summary"));
    let title = summary.clone().filter(|title| title.len() <= 200);
    let words = match (text(operation, "description"), summary) {
        (Some(description), Some(summary)) if !description.starts_with(&summary) => {
            format!("{summary}\n\n{description}")
        }
        (Some(description), _) => description,
        (None, Some(summary)) => summary,
        (None, None) => format!("{} {}", own.method, spot.path),
    };
    let deprecated = operation.get("deprecated") == Some(&Value::Bool(true));
    let words = if deprecated {
        format!("(Deprecated.) {words}")
    } else {
        words
    };
    let mut annotations = Map::new();
    if let Some(title) = &title {
        annotations.insert("title".to_owned(), title.as_str().into());
    }
    match spot.method {
        "get" | "head" | "options" => drop(annotations.insert("readOnlyHint".to_owned(), true.into())),
        "put" => {
            annotations.insert("readOnlyHint".to_owned(), false.into());
            annotations.insert("idempotentHint".to_owned(), true.into());
        }
        "delete" => {
            annotations.insert("readOnlyHint".to_owned(), false.into());
            annotations.insert("destructiveHint".to_owned(), true.into());
            annotations.insert("idempotentHint".to_owned(), true.into());
        }
        _ => drop(annotations.insert("readOnlyHint".to_owned(), false.into())),
    }
    annotations.insert("openWorldHint".to_owned(), true.into());
    let mut tool = Map::new();
    tool.insert("name".to_owned(), own.name.as_str().into());
    if let Some(title) = title {
        tool.insert("title".to_owned(), title.into());
    }
    tool.insert("description".to_owned(), bounded(&words).into());
    tool.insert("inputSchema".to_owned(), input);
    tool.insert("annotations".to_owned(), annotations.into());
    Value::from(tool).to_string()
}

/// The path of an operation's place in the document.
pub(crate) fn place(path: &str, method: &str) -> String {
    join(&join("/paths", path), method)
}
