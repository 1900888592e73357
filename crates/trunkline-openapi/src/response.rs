//! What an operation answers, as far as it is said beforehand.

use serde_json::{Map, Value};

use crate::document::{Document, Version};
use crate::mistake::join;
use crate::schema::{Direction, Failure, Mode, Schemas};

/// Bytes of an output schema: it is a help, and models read all of it.
const MAX_OUTPUT: usize = 24 * 1024;
/// Media types in `Accept`.
const MAX_ACCEPTED: usize = 6;

/// What is known of the answers.
pub(crate) struct Answers {
    pub(crate) accept: String,
    /// Of an object, if every good answer is one.
    pub(crate) schema: Option<Value>,
}

/// Reads the good answers. What is wrong with them is no reason to leave a tool out: its answers are sent as they come.
pub(crate) fn read(document: &Document, (operation, at): (&Value, &str)) -> Answers {
    let mut media: Vec<String> = Vec::new();
    let mut schemas: Vec<Option<(&Value, String)>> = Vec::new();
    for (status, own, place) in crate::document::members(operation, "responses", at) {
        if !(status.starts_with('2') || status == "default" && schemas.is_empty()) {
            continue;
        }
        let Ok((own, place)) = document.resolve(own, &place) else {
            continue;
        };
        let schema = if document.version == Version::Swagger2 {
            let produces = operation
                .get("produces")
                .or_else(|| document.root.get("produces"));
            let produces = produces.and_then(Value::as_array).into_iter().flatten();
            media.extend(produces.filter_map(Value::as_str).map(str::to_owned));
            own.get("schema").map(|schema| (schema, join(&place, "schema")))
        } else {
            let content_at = join(&place, "content");
            let content = own.get("content").and_then(Value::as_object);
            media.extend(content.into_iter().flatten().map(|(media, _)| media.clone()));
            content.and_then(|content| {
                let (media, holder) = content.iter().find(|(media, _)| is_json(media))?;
                let schema = holder.get("schema")?;
                Some((schema, join(&join(&content_at, media), "schema")))
            })
        };
        if status.starts_with('2') {
            schemas.push(schema);
        }
    }
    let json_only = media.iter().all(|media| is_json(media));
    let schema = match &schemas[..] {
        // Two kinds of good answers have no one schema.
        [Some((schema, at))] if json_only || document.version == Version::Swagger2 => {
            output(document, schema, at)
        }
        _ => None,
    };
    Answers {
        accept: accept(media),
        schema,
    }
}

fn is_json(media: &str) -> bool {
    let bare = media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    matches!(bare.as_str(), "*/*" | "application/*") || bare.ends_with("/json") || bare.ends_with("+json")
}

/// JSON first, then what else the document has, then anything.
fn accept(media: Vec<String>) -> String {
    let mut known: Vec<String> = Vec::new();
    let legal = |media: &String| {
        media.contains('/')
            && media.len() <= 100
            && media.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b',')
    };
    for media in media.into_iter().filter(legal) {
        if !known.contains(&media) && media != "*/*" {
            known.push(media);
        }
    }
    let (json, mut others): (Vec<String>, Vec<String>) = known.into_iter().partition(|media| is_json(media));
    let mut list = json;
    if list.is_empty() && others.is_empty() {
        list.push("application/json".to_owned());
    }
    if !list.is_empty() {
        others = others.into_iter().map(|media| format!("{media};q=0.5")).collect();
    }
    list.extend(others);
    list.truncate(MAX_ACCEPTED);
    list.push("*/*;q=0.1".to_owned());
    list.join(", ")
}

/// The output schema, if it is one of an object and of bearable size.
fn output(document: &Document, schema: &Value, at: &str) -> Option<Value> {
    for mode in [Mode::Inline, Mode::Definitions] {
        let mut schemas = Schemas::new(document, Direction::Output, mode);
        let made = schemas.convert(schema, at).and_then(|schema| {
            let definitions = schemas.definitions()?;
            Ok::<_, Failure>((schema, definitions))
        });
        match made {
            Ok((schema, definitions)) => {
                let root = as_object(schema, document, at)?;
                let root = with_definitions(root, definitions);
                if root.to_string().len() <= MAX_OUTPUT {
                    return Some(root);
                }
            }
            Err(Failure::TooLarge) => {}
            Err(Failure::Mistake(_)) => return None,
        }
    }
    None
}

/// The schema of an object, said to be one.
fn as_object(schema: Value, document: &Document, at: &str) -> Option<Map<String, Value>> {
    let Value::Object(mut object) = schema else {
        return None;
    };
    // `null` was allowed everywhere; a whole answer is no such thing.
    if object.len() == 1
        && let Some(Value::Array(alternatives)) = object.get("anyOf")
        && let [Value::Object(own), null] = &alternatives[..]
        && null.get("type").is_some_and(|kind| kind == "null")
    {
        object = own.clone();
    }
    let kind = object.get("type");
    let named = |name: &str| {
        kind.is_some_and(|kind| {
            kind == name || kind.as_array().is_some_and(|kinds| kinds.contains(&name.into()))
        })
    };
    let is_object = named("object")
        || kind.is_none() && (object.contains_key("properties") || composed_of_objects(&object));
    let others = ["array", "string", "number", "integer", "boolean"];
    let by_reference = object.contains_key("$ref") && is_object_at(document, at);
    if !(is_object || by_reference) || others.into_iter().any(named) {
        return None;
    }
    object.insert("type".to_owned(), "object".into());
    Some(object)
}

fn composed_of_objects(object: &Map<String, Value>) -> bool {
    let parts = object.get("allOf").and_then(Value::as_array);
    parts.is_some_and(|parts| {
        parts.iter().any(|part| {
            let mut own = part;
            if let Some(alternatives) = part.get("anyOf").and_then(Value::as_array)
                && let [first, _] = &alternatives[..]
            {
                own = first;
            }
            let kind = own.get("type");
            kind.is_some_and(|kind| {
                kind == "object"
                    || kind
                        .as_array()
                        .is_some_and(|kinds| kinds.contains(&"object".into()))
            }) || own.get("properties").is_some()
        })
    })
}

fn is_object_at(document: &Document, at: &str) -> bool {
    let schema = document.root.pointer(at);
    let target = schema.and_then(|schema| document.resolve(schema, at).ok());
    target.is_some_and(|(target, _)| {
        target.get("type").is_some_and(|kind| kind == "object") || target.get("properties").is_some()
    })
}

fn with_definitions(mut root: Map<String, Value>, definitions: Map<String, Value>) -> Value {
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), definitions.into());
    }
    root.into()
}
