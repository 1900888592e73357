//! Arguments of a tool from the command line: `name=text` becomes what the tool's schema says, `name:=JSON` is taken as it is.

use std::io::Read as _;

use serde_json::{Map, Value};

use crate::failure::{Code, Failure};

/// Largest arguments that are read, bytes.
const MAX_JSON: u64 = 64 * 1024 * 1024;

/// The arguments of a call.
pub(super) fn read(json: Option<&str>, args: &[String], schema: &Value) -> Result<Value, Failure> {
    let mut given = match json {
        None => Map::new(),
        Some(text) => object(text)?,
    };
    let mut begun: Vec<&str> = Vec::new();
    for arg in args {
        let (name, value, raw) = split(arg)?;
        let property = &schema["properties"][name];
        let value = if raw {
            serde_json::from_str(value)
                .map_err(|error| Failure::usage(format!("--arg {name}:=… is no JSON: {error}")))?
        } else {
            typed(name, value, property)?
        };
        // A list that the command line began goes on; one from --json-args is replaced.
        match (given.get_mut(name), value) {
            (Some(Value::Array(list)), Value::Array(more)) if begun.contains(&name) => list.extend(more),
            (Some(_), _) if begun.contains(&name) => {
                return Err(Failure::usage(format!(
                    "--arg {name} is there twice, and is no list"
                )));
            }
            (_, value) => {
                given.insert(name.to_owned(), value);
            }
        }
        begun.push(name);
    }
    Ok(Value::Object(given))
}

/// Name, value, and whether the value is JSON.
fn split(arg: &str) -> Result<(&str, &str, bool), Failure> {
    let wrong = || Failure::usage(format!("--arg {arg:?}: must be name=value or name:=JSON"));
    let (name, value) = arg.split_once('=').ok_or_else(wrong)?;
    let (name, raw) = match name.strip_suffix(':') {
        Some(name) => (name, true),
        None => (name, false),
    };
    if name.is_empty() {
        Err(wrong())
    } else {
        Ok((name, value, raw))
    }
}

fn object(text: &str) -> Result<Map<String, Value>, Failure> {
    let text = match (text, text.strip_prefix('@')) {
        ("-", _) => {
            let mut read = String::new();
            let taken = std::io::stdin().lock().take(MAX_JSON).read_to_string(&mut read);
            taken.map_err(|error| Failure::usage(format!("--json-args -: {error}")))?;
            read
        }
        (_, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| Failure::new(Code::NotFound, format!("--json-args @{file}: {error}")))?,
        (text, None) => text.to_owned(),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::usage("--json-args: must be a JSON object")),
        Err(error) => Err(Failure::usage(format!("--json-args: {error}"))),
    }
}

/// A text as what the schema says. Where it allows several types, the first that the text can be, and a text last.
fn typed(name: &str, text: &str, schema: &Value) -> Result<Value, Failure> {
    let mut types = types_of(schema);
    types.sort_by_key(|kind| kind == "string");
    if types.is_empty() {
        return Ok(text.into());
    }
    types
        .iter()
        .find_map(|kind| read_as(kind, text, schema))
        .ok_or_else(|| {
            Failure::usage(format!("--arg {name}: must be of type {}", types.join(" or ")))
                .todo(format!("--arg '{name}:=JSON' takes any JSON"))
        })
}

fn types_of(schema: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(text).collect(),
        _ => ["anyOf", "oneOf"]
            .iter()
            .filter_map(|key| schema[key].as_array())
            .flatten()
            .flat_map(types_of)
            .collect(),
    }
}

fn read_as(kind: &str, text: &str, schema: &Value) -> Option<Value> {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    match kind {
        "string" => Some(text.into()),
        "integer" => parsed().filter(|value| value.is_i64() || value.is_u64()),
        "number" => parsed().filter(Value::is_number),
        "boolean" => parsed().filter(Value::is_boolean),
        "null" => (text == "null" || text.is_empty()).then_some(Value::Null),
        "object" => parsed().filter(Value::is_object),
        "array" => match parsed().filter(Value::is_array) {
            Some(list) => Some(list),
            // One element of it.
            None => typed("", text, &schema["items"])
                .ok()
                .map(|item| vec![item].into()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "ratio": {"type": "number"},
            "on": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "either": {"type": ["string", "boolean"]},
            "deep": {"type": "object"},
        }})
    }

    fn read_all(args: &[&str]) -> Result<Value, Failure> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        read(None, &args, &schema())
    }

    #[test]
    fn texts_become_what_the_schema_says() {
        let given = read_all(&[
            "text=5",
            "count=5",
            "ratio=0.5",
            "on=true",
            "tags=a",
            "tags=b=c",
            "numbers=1",
            "numbers=[2, 3]",
            "maybe=7",
            "either=yes",
            r#"deep={"a": 1}"#,
            "unknown=1",
            "raw:=[1, null]",
        ]);
        assert_eq!(
            given.unwrap(),
            json!({
                "text": "5", "count": 5, "ratio": 0.5, "on": true, "tags": ["a", "b=c"], "numbers": [1, 2, 3],
                "maybe": 7, "either": "yes", "deep": {"a": 1}, "unknown": "1", "raw": [1, null],
            })
        );
        assert_eq!(read_all(&["maybe=x"]).unwrap(), json!({"maybe": "x"}));
    }

    #[test]
    fn what_is_not_of_the_type_is_refused() {
        for (args, word) in [
            (&["count=five"][..], "integer"),
            (&["count=1.5"], "integer"),
            (&["on=yes"], "boolean"),
            (&["deep=x"], "object"),
            (&["numbers=x"], "array"),
            (&["raw:=nope"], "JSON"),
            (&["nothing"], "name=value"),
            (&["=x"], "name=value"),
            (&["text=a", "text=b"], "twice"),
        ] {
            let failure = read_all(args).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.to_string().contains(word), "{args:?}: {failure}");
        }
    }

    #[test]
    fn arguments_add_to_the_object() {
        let args = ["count=2".to_owned(), "tags=z".to_owned()];
        let given = read(
            Some(r#"{"count": 1, "text": "t", "tags": ["a"]}"#),
            &args,
            &schema(),
        );
        assert_eq!(given.unwrap(), json!({"count": 2, "text": "t", "tags": ["z"]}));
        assert!(read(Some("[]"), &[], &schema()).is_err());
    }
}
