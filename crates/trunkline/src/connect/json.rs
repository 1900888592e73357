//! One server in a JSON file with comments: the rest is not touched.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

/// Members of an entry that say where a server is; those that are not ours would contradict.
const OURS: [&str; 10] = [
    "type",
    "transport",
    "url",
    "serverUrl",
    "httpUrl",
    "headers",
    "command",
    "args",
    "env",
    "envFile",
];

/// A mark that some editors put at the beginning.
const BOM: char = '\u{feff}';

/// The text with the server in it. What people added to its entry stays.
pub(super) fn set(
    text: &str,
    section: &str,
    name: &str,
    entry: &Value,
    input: Option<&Value>,
) -> Result<String, String> {
    edit(text, |root| {
        let root = root.object_value_or_create().ok_or("its root is no object")?;
        if let Some(input) = input {
            add_input(&root, input)?;
        }
        let servers = root
            .object_value_or_create(section)
            .ok_or_else(|| format!("{section} is no object"))?;
        let known = servers
            .get(name)
            .and_then(|known| known.value()?.to_serde_value());
        match servers.object_value(name) {
            None => {
                if let Some(other) = servers.get(name) {
                    other.remove();
                }
                servers.append(name, input_of(entry));
            }
            Some(object) => {
                let known = known.unwrap_or_default();
                for member in OURS {
                    match (entry.get(member), object.get(member)) {
                        (Some(value), _) if known.get(member) == Some(value) => {}
                        (Some(value), Some(old)) => old.set_value(input_of(value)),
                        (Some(value), None) => {
                            object.append(member, input_of(value));
                        }
                        (None, Some(old)) => old.remove(),
                        (None, None) => {}
                    }
                }
            }
        }
        Ok(())
    })
}

/// The text without the server, and without the question for its key when nothing else asks it.
pub(super) fn remove(text: &str, section: &str, name: &str, input: &str) -> Result<String, String> {
    edit(text, |root| {
        let Some(object) = root.object_value() else {
            return Ok(());
        };
        let entry = object.object_value(section).and_then(|servers| servers.get(name));
        let Some(entry) = entry else { return Ok(()) };
        entry.remove();
        let mark = format!("${{input:{input}}}");
        if !root.to_string().contains(&mark)
            && let Some(inputs) = object.array_value("inputs")
        {
            for element in inputs.elements() {
                let value = element.to_serde_value().unwrap_or_default();
                if value["id"] == input {
                    element.remove();
                }
            }
        }
        Ok(())
    })
}

fn edit(text: &str, change: impl FnOnce(&CstRootNode) -> Result<(), String>) -> Result<String, String> {
    let (mark, text) = match text.strip_prefix(BOM) {
        Some(text) => ("\u{feff}", text),
        None => ("", text),
    };
    let root = CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| error.to_string())?;
    change(&root)?;
    let mut text = root.to_string();
    if !text.ends_with('\n') && !text.is_empty() {
        text.push('\n');
    }
    Ok(format!("{mark}{text}"))
}

fn add_input(root: &CstObject, input: &Value) -> Result<(), String> {
    let inputs = root.array_value_or_create("inputs").ok_or("inputs is no list")?;
    let known = inputs.elements().iter().any(|element| {
        element
            .to_serde_value()
            .is_some_and(|value| value["id"] == input["id"])
    });
    if !known {
        inputs.append(input_of(input));
    }
    Ok(())
}

fn input_of(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input_of).collect()),
        Value::Object(members) => CstInputValue::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), input_of(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> Value {
        json!({"url": "http://127.0.0.1:4000/mcp", "headers": {"x-litellm-api-key": "Bearer k"}})
    }

    const FILE: &str = "// mine\n{\n\t\"editor.x\": [1, 2,],  // why\n\t\"mcpServers\": {\n\t\t/* first */\n\t\t\"a\": { \"command\": \"x\" }\n\t}\n}\n";

    #[test]
    fn everything_else_stays_and_a_second_time_changes_nothing() {
        for before in [
            FILE,
            "{}\n",
            "{\"mcpServers\": {}}\n",
            "{\r\n  \"a\": 1\r\n}\r\n",
            "",
        ] {
            let after = set(before, "mcpServers", "trunkline", &entry(), None).unwrap();
            for line in before
                .lines()
                .filter(|line| line.contains("//") || line.contains("/*"))
            {
                assert!(after.contains(line), "{line} in {after}");
            }
            let parsed: Value = jsonc_parser::parse_to_serde_value(&after, &ParseOptions::default()).unwrap();
            assert_eq!(parsed["mcpServers"]["trunkline"], entry(), "{after}");
            assert_eq!(
                set(&after, "mcpServers", "trunkline", &entry(), None).unwrap(),
                after
            );
            let removed = remove(&after, "mcpServers", "trunkline", "none").unwrap();
            let left: Value = jsonc_parser::parse_to_serde_value(&removed, &ParseOptions::default()).unwrap();
            assert!(left["mcpServers"]["trunkline"].is_null(), "{removed}");
        }
        let there_and_back = remove(
            &set(FILE, "mcpServers", "trunkline", &entry(), None).unwrap(),
            "mcpServers",
            "trunkline",
            "none",
        );
        assert_eq!(there_and_back.unwrap(), FILE);
        let marked = format!("{BOM}{FILE}");
        assert!(
            set(&marked, "mcpServers", "t", &entry(), None)
                .unwrap()
                .starts_with(BOM)
        );
        for broken in ["{", "[1]", "{\"mcpServers\": 5}"] {
            assert!(
                set(broken, "mcpServers", "t", &entry(), None).is_err(),
                "{broken}"
            );
        }
    }

    #[test]
    fn what_people_added_to_the_entry_stays_and_what_contradicts_goes() {
        let before = "{\"mcpServers\": {\"trunkline\": {\"command\": \"old\", \"args\": [], \"disabledTools\": [\"x\"]}}}\n";
        let after = set(before, "mcpServers", "trunkline", &entry(), None).unwrap();
        let parsed: Value = serde_json::from_str(&after).unwrap();
        let own = &parsed["mcpServers"]["trunkline"];
        assert_eq!(own["disabledTools"], json!(["x"]));
        assert_eq!(own["url"], entry()["url"]);
        assert!(own["command"].is_null() && own["args"].is_null(), "{after}");
    }

    #[test]
    fn the_question_for_the_key_comes_once_and_goes_with_the_server() {
        let input = json!({"id": "trunkline-key", "type": "promptString"});
        let entry = json!({"headers": {"k": "Bearer ${input:trunkline-key}"}});
        let before = "{\n  // asks\n  \"inputs\": [{\"id\": \"other\"}],\n  \"servers\": {}\n}\n";
        let once = set(before, "servers", "trunkline", &entry, Some(&input)).unwrap();
        assert_eq!(
            set(&once, "servers", "trunkline", &entry, Some(&input)).unwrap(),
            once
        );
        assert_eq!(once.matches("trunkline-key\"").count(), 1, "{once}");
        let removed = remove(&once, "servers", "trunkline", "trunkline-key").unwrap();
        assert!(!removed.contains("trunkline"), "{removed}");
        assert!(
            removed.contains("other") && removed.contains("// asks"),
            "{removed}"
        );
    }
}
