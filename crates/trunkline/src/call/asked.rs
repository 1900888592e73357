//! What a server asks in the middle of a call. Questions go to the terminal; without one they are declined, and said to be.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::terminal;

/// What this client can be asked.
pub(super) fn capabilities() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}})
}

/// The answer to a request of a server: a result, or an error object.
pub(super) async fn answer(method: &str, params: Value) -> Result<Value, Value> {
    match method {
        "ping" => Ok(json!({})),
        "elicitation/create" => {
            // Typing blocks; the connection lives on meanwhile.
            let asked = tokio::task::spawn_blocking(move || elicit(&params)).await;
            Ok(asked.unwrap_or_else(|_| json!({"action": "cancel"})))
        }
        _ => {
            terminal::say(&format!(
                "the server asked for {}: declined, the command line cannot do it",
                terminal::one_line(method, 100)
            ));
            Err(json!({"code": -32601, "message": "Method not found"}))
        }
    }
}

fn elicit(params: &Value) -> Value {
    let message = terminal::printable(params["message"].as_str().unwrap_or_default());
    if !terminal::can_ask() {
        terminal::say(&format!(
            "the server asked: {message}\n  declined: there is no terminal to ask on"
        ));
        return json!({"action": "decline"});
    }
    terminal::say(&format!("the server asks: {message}"));
    if params["mode"] == "url" {
        let url = terminal::one_line(params["url"].as_str().unwrap_or_default(), 2000);
        terminal::say(&format!("  {url}"));
        let went = terminal::ask("Open this page yourself, if you trust it, then go on? [y/N]");
        return json!({"action": if is_yes(went.as_deref()) { "accept" } else { "decline" }});
    }
    let schema = &params["requestedSchema"];
    let Some(properties) = schema["properties"]
        .as_object()
        .filter(|fields| !fields.is_empty())
    else {
        let action = if is_yes(terminal::ask("Agree? [y/N]").as_deref()) {
            "accept"
        } else {
            "decline"
        };
        return json!({"action": action, "content": {}});
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    terminal::say("  (an empty line takes the default or leaves a field out; Ctrl-D declines)");
    let mut content = Map::new();
    for (name, field) in properties {
        match fill(name, field, required.contains(&name.as_str())) {
            Filled::Value(value) => {
                content.insert(name.clone(), value);
            }
            Filled::LeftOut => {}
            Filled::Declined => return json!({"action": "decline"}),
        }
    }
    json!({"action": "accept", "content": content})
}

fn is_yes(typed: Option<&str>) -> bool {
    matches!(typed, Some("y" | "Y" | "yes" | "Yes"))
}

/// What somebody typed for a field.
enum Filled {
    Value(Value),
    LeftOut,
    Declined,
}

/// Asks for one field until it is answered.
fn fill(name: &str, field: &Value, required: bool) -> Filled {
    let title = field["title"].as_str().unwrap_or(name);
    let mut question = format!("  {}", terminal::one_line(title, 100));
    if let Some(description) = field["description"].as_str() {
        let _ = write!(question, " ({})", terminal::one_line(description, 300));
    }
    let choices = choices(field);
    if !choices.is_empty() {
        let _ = write!(question, " [{}]", terminal::one_line(&choices.join(", "), 500));
    } else if field["type"] == "boolean" {
        question.push_str(" [y/n]");
    }
    let default = field.get("default").filter(|value| !value.is_null());
    if let Some(default) = default {
        let _ = write!(question, " = {}", terminal::one_line(&default.to_string(), 100));
    }
    question.push(':');
    loop {
        let Some(typed) = terminal::ask(&question) else {
            return Filled::Declined;
        };
        if typed.is_empty() {
            match default {
                Some(default) => return Filled::Value(default.clone()),
                None if !required => return Filled::LeftOut,
                None => terminal::say("  it is required"),
            }
            continue;
        }
        match value_of(&typed, field, &choices) {
            Some(value) => return Filled::Value(value),
            None => terminal::say("  that is not one of what is asked for"),
        }
    }
}

/// The values of a field with a choice: `enum`, or `oneOf` with `const`; of a list, those of its items.
fn choices(field: &Value) -> Vec<String> {
    let items = &field["items"];
    let listed = [&field["enum"], &items["enum"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten();
    let titled = [&field["oneOf"], &items["anyOf"], &items["oneOf"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .map(|choice| &choice["const"]);
    listed
        .chain(titled)
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn value_of(typed: &str, field: &Value, choices: &[String]) -> Option<Value> {
    let known = |text: &str| choices.is_empty() || choices.iter().any(|choice| choice == text);
    match field["type"].as_str() {
        Some("boolean") => match typed.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" => Some(true.into()),
            "n" | "no" | "false" => Some(false.into()),
            _ => None,
        },
        Some("integer") => typed.parse::<i64>().ok().map(Value::from),
        Some("number") => serde_json::from_str::<Value>(typed).ok().filter(Value::is_number),
        Some("array") => {
            let items: Vec<&str> = typed.split(',').map(str::trim).collect();
            items.iter().all(|item| known(item)).then(|| items.into())
        }
        _ => known(typed).then(|| typed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_answers_become_values() {
        let choice = json!({"type": "string", "enum": ["a", "b"]});
        let titled = json!({"type": "string", "oneOf": [{"const": "x", "title": "X"}]});
        let list = json!({"type": "array", "items": {"enum": ["a", "b"]}});
        for (typed, field, value) in [
            ("yes", json!({"type": "boolean"}), Some(json!(true))),
            ("maybe", json!({"type": "boolean"}), None),
            ("7", json!({"type": "integer"}), Some(json!(7))),
            ("7.5", json!({"type": "integer"}), None),
            ("7.5", json!({"type": "number"}), Some(json!(7.5))),
            ("a", choice.clone(), Some(json!("a"))),
            ("c", choice, None),
            ("x", titled, Some(json!("x"))),
            ("a, b", list.clone(), Some(json!(["a", "b"]))),
            ("a, c", list, None),
            ("text", json!({"type": "string"}), Some(json!("text"))),
        ] {
            assert_eq!(
                value_of(typed, &field, &choices(&field)),
                value,
                "{typed} for {field}"
            );
        }
    }
}
