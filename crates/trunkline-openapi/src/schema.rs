//! Schemas of OpenAPI documents to JSON Schema 2020-12, as the `inputSchema` and `outputSchema` of a tool.
//!
//! Only keywords that are known, and whose value is of their form, are taken over: one that is not would make clients drop
//! the tool. Definitions stand where they are used; one that uses itself, and all of them where that would be too long, are
//! `$defs`.
//!
//! An input is as strict as the document. An output is a description: what says that a value must not be there, must be
//! there, or must look a certain way is left out, because servers do not keep to their documents in such things, and a client
//! that checks would lose the whole answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::document::{Document, Version, local};
use crate::mistake::{Mistake, join};

/// Schemas of one tool that stand where they are used; more, and they are definitions.
const MAX_INLINE_NODES: usize = 400;
/// Schemas of one tool.
const MAX_NODES: usize = 20_000;
/// References within references that stand where they are used.
const MAX_INLINE_DEPTH: usize = 6;
/// Nesting of schemas; clients and the gateway itself stop at 64 levels of JSON, which are two to a schema.
const MAX_DEPTH: usize = 24;

/// What the schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Arguments.
    Input,
    /// Results.
    Output,
}

/// How references are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Inline,
    Definitions,
}

/// Why there is no schema.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The document is wrong.
    Mistake(Mistake),
    /// It is too much of it.
    TooLarge,
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(mistake)
    }
}

/// Makes the schemas of one tool.
pub(crate) struct Schemas<'d> {
    document: &'d Document,
    direction: Direction,
    mode: Mode,
    nodes: usize,
    depth: usize,
    /// The references that lead to what is being converted.
    stack: Vec<String>,
    /// Definitions by pointer: their name.
    names: BTreeMap<String, String>,
    /// Those that are not made yet.
    due: Vec<String>,
}

type Names = BTreeSet<String>;

impl<'d> Schemas<'d> {
    pub(crate) fn new(document: &'d Document, direction: Direction, mode: Mode) -> Self {
        Self {
            document,
            direction,
            mode,
            nodes: 0,
            depth: 0,
            stack: Vec::new(),
            names: BTreeMap::new(),
            due: Vec::new(),
        }
    }

    /// One schema; `at` is where it stands.
    pub(crate) fn convert(&mut self, schema: &Value, at: &str) -> Result<Value, Failure> {
        self.schema(schema, at, &Names::new())
    }

    /// The definitions that the schemas made so far refer to.
    pub(crate) fn definitions(&mut self) -> Result<Map<String, Value>, Failure> {
        let mut definitions = Map::new();
        while let Some(pointer) = self.due.pop() {
            let document = self.document;
            let target = document.root.pointer(&pointer).unwrap_or(&Value::Null);
            self.stack = vec![pointer.clone()];
            let converted = self.schema(target, &pointer, &Names::new())?;
            let name = self.names.get(&pointer).cloned().unwrap_or_default();
            definitions.insert(name, converted);
        }
        self.stack.clear();
        Ok(definitions)
    }

    fn schema(&mut self, schema: &Value, at: &str, hidden: &Names) -> Result<Value, Failure> {
        self.nodes += 1;
        let most = match self.mode {
            Mode::Inline => MAX_INLINE_NODES,
            Mode::Definitions => MAX_NODES,
        };
        if self.nodes > most || self.depth >= MAX_DEPTH {
            return Err(Failure::TooLarge);
        }
        self.depth += 1;
        let converted = match schema {
            Value::Bool(flag) => Ok(Value::Bool(*flag)),
            Value::Object(object) => match object.get("$ref").and_then(Value::as_str) {
                Some(reference) => self.reference(object, reference, at, hidden),
                None => self.object(object, at, hidden),
            },
            _ => Err(Mistake::new(at, "a schema must be an object").into()),
        };
        self.depth -= 1;
        converted
    }

    fn reference(
        &mut self,
        object: &Map<String, Value>,
        reference: &str,
        at: &str,
        hidden: &Names,
    ) -> Result<Value, Failure> {
        let document = self.document;
        let pointer = local(reference, at)?;
        let target = document.target(reference, at)?;
        let inline = self.mode == Mode::Inline
            && self.stack.len() < MAX_INLINE_DEPTH
            && !self.stack.contains(&pointer);
        let mut converted = if inline {
            self.stack.push(pointer.clone());
            let converted = self.schema(target, &pointer, hidden)?;
            self.stack.pop();
            converted
        } else {
            let name = self.define(&pointer);
            json!({"$ref": format!("#/$defs/{name}")})
        };
        // Words beside a reference are about this place; anything else there counts since 3.1 only.
        let mut beside = self.object(
            &object
                .iter()
                .filter(|(key, _)| {
                    matches!(
                        key.as_str(),
                        "description" | "title" | "default" | "deprecated" | "example" | "examples"
                    ) || (document.version == Version::V31 && *key != "$ref")
                })
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            at,
            hidden,
        )?;
        let Some(beside) = beside.as_object_mut().filter(|beside| !beside.is_empty()) else {
            return Ok(converted);
        };
        let only_words = beside.keys().all(|key| {
            matches!(
                key.as_str(),
                "description" | "title" | "default" | "deprecated" | "examples"
            )
        });
        match &mut converted {
            Value::Object(own) if only_words => {
                own.append(beside);
                Ok(converted)
            }
            _ => {
                let mut both = std::mem::take(beside);
                let parts = both.remove("allOf").and_then(|parts| parts.as_array().cloned());
                let mut parts = parts.unwrap_or_default();
                parts.insert(0, converted);
                both.insert("allOf".to_owned(), parts.into());
                Ok(both.into())
            }
        }
    }

    /// The name of a definition, which will be made.
    fn define(&mut self, pointer: &str) -> String {
        if let Some(name) = self.names.get(pointer) {
            return name.clone();
        }
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let mut stem: String = last
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') {
                    c
                } else {
                    '_'
                }
            })
            .take(80)
            .collect();
        if stem.is_empty() {
            "schema".clone_into(&mut stem);
        }
        let mut name = stem.clone();
        let mut number = 2;
        while self.names.values().any(|taken| *taken == name) {
            name = format!("{stem}_{number}");
            number += 1;
        }
        self.names.insert(pointer.to_owned(), name.clone());
        self.due.push(pointer.to_owned());
        name
    }

    fn object(&mut self, object: &Map<String, Value>, at: &str, hidden: &Names) -> Result<Value, Failure> {
        let mut hidden = hidden.clone();
        if object.contains_key("required") || object.contains_key("allOf") {
            hidden_names(self.document, object, self.direction, 0, &mut hidden);
        }
        let mut out = Map::new();
        let mut nullable = object.get("nullable") == Some(&Value::Bool(true))
            || object.get("x-nullable") == Some(&Value::Bool(true));
        for (keyword, value) in object {
            if self.direction == Direction::Output && !is_description(keyword) {
                continue;
            }
            let place = || join(at, keyword);
            match keyword.as_str() {
                "type" => types(value, &mut out),
                "properties" => {
                    let properties = self.properties(value, &place())?;
                    out.insert(keyword.clone(), properties.into());
                }
                "required" => required(value, &hidden, &mut out),
                "items" => {
                    if value.is_object() || value.is_boolean() {
                        out.insert(keyword.clone(), self.schema(value, &place(), &Names::new())?);
                    }
                }
                "additionalProperties"
                | "not"
                | "contains"
                | "propertyNames"
                | "unevaluatedProperties"
                | "unevaluatedItems"
                | "if"
                | "then"
                | "else"
                | "contentSchema" => {
                    self.single(keyword, value, &place(), &mut out)?;
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    self.several(keyword, value, &place(), &hidden, &mut out)?;
                }
                "patternProperties" | "dependentSchemas" => {
                    let schemas = self.properties(value, &place())?;
                    if !schemas.is_empty() {
                        out.insert(keyword.clone(), schemas.into());
                    }
                }
                "enum" => enumeration(value, self.direction, &mut out),
                "example" if !object.contains_key("examples") => {
                    out.insert("examples".to_owned(), json!([value]));
                }
                _ => plain(keyword, value, &mut out),
            }
        }
        match self.direction {
            Direction::Input => {
                bounds(object, &mut out);
                format(object, &mut out);
            }
            Direction::Output => nullable = true,
        }
        Ok(if nullable { with_null(out) } else { out.into() })
    }

    fn single(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &str,
        out: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let is_schema = value.is_object() || value.is_boolean();
        let forbids = self.direction == Direction::Output && value == &Value::Bool(false);
        if is_schema && !forbids {
            out.insert(keyword.to_owned(), self.schema(value, at, &Names::new())?);
        }
        Ok(())
    }

    fn several(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &str,
        hidden: &Names,
        out: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
            return Ok(());
        };
        let mut schemas = Vec::with_capacity(list.len());
        for (index, schema) in list.iter().enumerate() {
            schemas.push(self.schema(schema, &join(at, &index.to_string()), hidden)?);
        }
        // Without what tells alternatives apart, more than one may fit.
        let keyword = match (self.direction, keyword) {
            (Direction::Output, "oneOf") => "anyOf",
            _ => keyword,
        };
        out.insert(keyword.to_owned(), schemas.into());
        Ok(())
    }

    fn properties(&mut self, value: &Value, at: &str) -> Result<Map<String, Value>, Failure> {
        let mut properties = Map::new();
        for (name, schema) in value.as_object().into_iter().flatten() {
            if !is_hidden(self.document, schema, self.direction) {
                properties.insert(name.clone(), self.schema(schema, &join(at, name), &Names::new())?);
            }
        }
        Ok(properties)
    }
}

/// Keywords of an output that say what there is, not what there must be.
fn is_description(keyword: &str) -> bool {
    matches!(
        keyword,
        "type"
            | "properties"
            | "additionalProperties"
            | "items"
            | "allOf"
            | "anyOf"
            | "oneOf"
            | "title"
            | "description"
            | "enum"
            | "deprecated"
    )
}

/// Whether a property is for the other direction only.
pub(crate) fn is_hidden(document: &Document, schema: &Value, direction: Direction) -> bool {
    let keyword = match direction {
        Direction::Input => "readOnly",
        Direction::Output => "writeOnly",
    };
    let says = |schema: &Value| schema.get(keyword) == Some(&Value::Bool(true));
    says(schema) || document.resolve(schema, "").is_ok_and(|(target, _)| says(target))
}

/// The properties of an object, and of what it is composed of, that are for the other direction only: they must not be
/// required here.
fn hidden_names(
    document: &Document,
    object: &Map<String, Value>,
    direction: Direction,
    depth: usize,
    names: &mut Names,
) {
    if depth > 8 || names.len() > 1000 {
        return;
    }
    for (name, schema) in object
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if is_hidden(document, schema, direction) {
            names.insert(name.clone());
        }
    }
    for part in object
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Ok((Value::Object(part), _)) = document.resolve(part, "") {
            hidden_names(document, part, direction, depth + 1, names);
        }
    }
}

/// `type`, in any draft's form.
fn types(value: &Value, out: &mut Map<String, Value>) {
    let known = |name: &str| {
        matches!(
            name,
            "object" | "array" | "string" | "number" | "integer" | "boolean" | "null"
        )
    };
    match value {
        // Swagger 2.
        Value::String(name) if name == "file" => {
            out.insert("type".to_owned(), "string".into());
            out.insert("contentEncoding".to_owned(), "base64".into());
        }
        Value::String(name) if known(name) => {
            out.insert("type".to_owned(), value.clone());
        }
        Value::Array(names) => {
            let names: Vec<&Value> = names
                .iter()
                .filter(|name| name.as_str().is_some_and(known))
                .collect();
            match names[..] {
                [] => {}
                [one] => drop(out.insert("type".to_owned(), one.clone())),
                _ => drop(out.insert("type".to_owned(), json!(names))),
            }
        }
        _ => {}
    }
}

fn required(value: &Value, hidden: &Names, out: &mut Map<String, Value>) {
    // In the form of draft 3 it is a flag, of the property itself.
    let Some(list) = value.as_array() else { return };
    let names: Names = list
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !hidden.contains(*name))
        .map(str::to_owned)
        .collect();
    if !names.is_empty() {
        out.insert("required".to_owned(), json!(names));
    }
}

fn enumeration(value: &Value, direction: Direction, out: &mut Map<String, Value>) {
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        return;
    };
    let mut values: Vec<&Value> = Vec::with_capacity(list.len());
    for value in list {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    // Servers learn new words; what they said when the document was written is an example.
    let keyword = match direction {
        Direction::Input => "enum",
        Direction::Output => "examples",
    };
    out.insert(keyword.to_owned(), json!(values));
}

/// Keywords whose value is taken over as it is, if it is of their form.
fn plain(keyword: &str, value: &Value, out: &mut Map<String, Value>) {
    let count = || value.as_u64().is_some();
    let fits = match keyword {
        "title" | "description" | "pattern" | "contentEncoding" | "contentMediaType" => value.is_string(),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
        | "minContains" | "maxContains" => count(),
        "multipleOf" => value.as_f64().is_some_and(|number| number > 0.0),
        "uniqueItems" | "deprecated" => value == &Value::Bool(true),
        "examples" => value.is_array(),
        "default" | "const" => true,
        "dependentRequired" => value.as_object().is_some_and(|map| {
            map.values().all(|names| {
                names
                    .as_array()
                    .is_some_and(|names| names.iter().all(Value::is_string))
            })
        }),
        _ => false,
    };
    if fits {
        out.insert(keyword.to_owned(), value.clone());
    }
}

/// `minimum` and its kin, whose exclusive form was a flag once.
fn bounds(object: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        let own = object.get(bound).filter(|value| value.is_number());
        match (own, object.get(exclusive)) {
            (Some(limit), Some(Value::Bool(true))) => drop(out.insert(exclusive.to_owned(), limit.clone())),
            (own, Some(limit)) if limit.is_number() => {
                out.insert(exclusive.to_owned(), limit.clone());
                if let Some(own) = own {
                    out.insert(bound.to_owned(), own.clone());
                }
            }
            (Some(own), _) => drop(out.insert(bound.to_owned(), own.clone())),
            _ => {}
        }
    }
}

/// `format`, and what of it has a keyword of its own now.
fn format(object: &Map<String, Value>, out: &mut Map<String, Value>) {
    let Some(format) = object.get("format").and_then(Value::as_str) else {
        return;
    };
    let is_text = out.get("type").is_none_or(|kind| kind == "string");
    match format {
        "binary" | "byte" | "base64" if is_text => {
            out.entry("contentEncoding").or_insert_with(|| "base64".into());
        }
        _ => drop(out.insert("format".to_owned(), format.into())),
    }
}

/// The same, or `null`.
fn with_null(mut schema: Map<String, Value>) -> Value {
    let composed = |key: &str| matches!(key, "allOf" | "anyOf" | "oneOf" | "$ref" | "const" | "not" | "if");
    if schema.keys().any(|key| composed(key)) {
        return json!({"anyOf": [schema, {"type": "null"}]});
    }
    match schema.get_mut("type") {
        Some(Value::String(kind)) if kind == "null" => {}
        Some(kind @ Value::String(_)) => *kind = json!([kind, "null"]),
        Some(Value::Array(kinds)) if !kinds.contains(&json!("null")) => kinds.push("null".into()),
        _ => {}
    }
    null_in_enum(&mut schema);
    schema.into()
}

fn null_in_enum(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: &str, schemas: &Value) -> Document {
        Document::new(json!({"openapi": version, "components": {"schemas": schemas}})).unwrap()
    }

    fn converted(document: &Document, direction: Direction, mode: Mode, schema: &Value) -> (Value, Value) {
        let mut schemas = Schemas::new(document, direction, mode);
        let own = schemas
            .convert(schema, "/x")
            .unwrap_or_else(|_| panic!("{schema}"));
        (
            own,
            schemas
                .definitions()
                .unwrap_or_else(|_| panic!("{schema}"))
                .into(),
        )
    }

    #[test]
    fn b63_keywords_of_every_version_become_2020_12() {
        let document = document("3.0.3", &json!({}));
        for (own, expected) in [
            (
                json!({"type": "string", "nullable": true, "enum": ["a", "b", "a"], "x-y": 1, "example": "a"}),
                json!({"type": ["string", "null"], "enum": ["a", "b", null], "examples": ["a"]}),
            ),
            (
                json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false, "format": "int64"}),
                json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 9, "format": "int64"}),
            ),
            (
                json!({"type": ["string", "null"], "const": "a", "exclusiveMaximum": 3}),
                json!({"type": ["string", "null"], "const": "a", "exclusiveMaximum": 3}),
            ),
            (
                json!({"type": "file"}),
                json!({"type": "string", "contentEncoding": "base64"}),
            ),
            (
                json!({"type": "string", "format": "binary"}),
                json!({"type": "string", "contentEncoding": "base64"}),
            ),
            // What is no schema of any draft is left out, and the rest is kept.
            (
                json!({"type": "any", "required": true, "enum": [], "maxLength": -1, "properties": {"a": {"type": "string", "required": true}}}),
                json!({"properties": {"a": {"type": "string"}}}),
            ),
            (
                json!({"oneOf": [{"type": "string"}, {"type": "integer"}], "nullable": true, "discriminator": {"propertyName": "x"}}),
                json!({"anyOf": [{"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "null"}]}),
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "array", "items": {}}, "minProperties": 1}),
                json!({"type": "object", "additionalProperties": {"type": "array", "items": {}}, "minProperties": 1}),
            ),
        ] {
            assert_eq!(
                converted(&document, Direction::Input, Mode::Inline, &own).0,
                expected,
                "{own}"
            );
        }
    }

    #[test]
    fn what_is_of_the_other_direction_is_left_out() {
        let document = document("3.0.3", &json!({"Id": {"type": "integer", "readOnly": true}}));
        let own = json!({"type": "object", "required": ["id", "name", "secret"], "properties": {
            "id": {"$ref": "#/components/schemas/Id"}, "name": {"type": "string"},
            "secret": {"type": "string", "writeOnly": true}}});
        assert_eq!(
            converted(&document, Direction::Input, Mode::Inline, &own).0,
            json!({"type": "object", "required": ["name", "secret"], "properties": {"name": {"type": "string"}, "secret": {"type": "string"}}})
        );
        assert_eq!(
            converted(&document, Direction::Output, Mode::Inline, &own).0,
            json!({"type": ["object", "null"], "properties": {"id": {"type": ["integer", "null"]}, "name": {"type": ["string", "null"]}}})
        );
        let composed = json!({"allOf": [{"required": ["id"]}, {"properties": {"id": {"readOnly": true}}}]});
        assert_eq!(
            converted(&document, Direction::Input, Mode::Inline, &composed).0,
            json!({"allOf": [{}, {"properties": {}}]})
        );
    }

    #[test]
    fn b63_what_uses_itself_is_a_definition() {
        let document = document(
            "3.1.0",
            &json!({"Node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}}}},
                   "Name": {"type": "string"}}),
        );
        let own = json!({"$ref": "#/components/schemas/Node", "description": "here"});
        let (schema, definitions) = converted(&document, Direction::Input, Mode::Inline, &own);
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}, "description": "here"})
        );
        assert_eq!(
            definitions["Node"]["properties"]["children"]["items"],
            json!({"$ref": "#/$defs/Node"})
        );
        let name = json!({"$ref": "#/components/schemas/Name", "maxLength": 3});
        assert_eq!(
            converted(&document, Direction::Input, Mode::Definitions, &name),
            (
                json!({"allOf": [{"$ref": "#/$defs/Name"}], "maxLength": 3}),
                json!({"Name": {"type": "string"}})
            )
        );
    }

    #[test]
    fn s38_schemas_that_multiply_are_bounded() {
        let mut all = Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/components/schemas/L{}", level + 1)});
            all.insert(format!("L{level}"), json!({"allOf": [next, next, next]}));
        }
        all.insert("L30".to_owned(), json!({"type": "string"}));
        let document = document("3.0.0", &all.into());
        let start = json!({"$ref": "#/components/schemas/L0"});
        let mut inline = Schemas::new(&document, Direction::Input, Mode::Inline);
        assert!(matches!(inline.convert(&start, ""), Err(Failure::TooLarge)));
        let (_, definitions) = converted(&document, Direction::Input, Mode::Definitions, &start);
        assert_eq!(definitions.as_object().unwrap().len(), 31);
    }

    #[test]
    fn an_output_takes_what_servers_send() {
        let document = document("3.0.0", &json!({}));
        let own = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
            "a": {"type": "string", "enum": ["x"], "maxLength": 1},
            "b": {"oneOf": [{"type": "string"}, {"type": "string", "format": "uri"}]}}});
        assert_eq!(
            converted(&document, Direction::Output, Mode::Inline, &own).0,
            json!({"type": ["object", "null"], "properties": {
                "a": {"type": ["string", "null"], "examples": ["x"]},
                "b": {"anyOf": [{"anyOf": [{"type": ["string", "null"]}, {"type": ["string", "null"]}]}, {"type": "null"}]}}})
        );
    }
}
