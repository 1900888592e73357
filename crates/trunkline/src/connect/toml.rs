//! One server in a TOML file: the rest is not touched.

use serde_json::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

/// Members of an entry that say where a server is; those that are not ours would contradict.
const OURS: [&str; 8] = [
    "url",
    "http_headers",
    "env_http_headers",
    "bearer_token_env_var",
    "command",
    "args",
    "env",
    "cwd",
];

/// The text with the server in it. What people added to its entry stays.
pub(super) fn set(text: &str, section: &str, name: &str, entry: &Value) -> Result<String, String> {
    let mut document = parse(text)?;
    let known = to_json(document.get(section).and_then(|servers| servers.get(name)));
    if OURS.iter().all(|member| known.get(member) == entry.get(member)) && known.is_object() {
        return Ok(text.to_owned());
    }
    let servers = document.entry(section).or_insert_with(|| {
        let mut table = Table::new();
        // Not a heading of its own: `[mcp_servers.trunkline]` says it all.
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers
        .as_table_like_mut()
        .ok_or_else(|| format!("{section} is no table"))?;
    let inline = !servers.contains_key(name) && servers.iter().any(|(_, server)| server.is_inline_table());
    let own = servers.entry(name).or_insert_with(|| {
        if inline {
            toml_edit::value(InlineTable::new())
        } else {
            Item::Table(Table::new())
        }
    });
    let own: &mut dyn TableLike = own
        .as_table_like_mut()
        .ok_or_else(|| format!("{section}.{name} is no table"))?;
    for member in OURS {
        match entry.get(member) {
            Some(value) if known.get(member) == Some(value) => {}
            Some(value) => {
                own.insert(member, Item::Value(to_toml(value)?));
            }
            None => {
                own.remove(member);
            }
        }
    }
    Ok(document.to_string())
}

/// The text without the server.
pub(super) fn remove(text: &str, section: &str, name: &str) -> Result<String, String> {
    let mut document = parse(text)?;
    let removed = document
        .get_mut(section)
        .and_then(Item::as_table_like_mut)
        .and_then(|servers| servers.remove(name));
    Ok(if removed.is_some() {
        document.to_string()
    } else {
        text.to_owned()
    })
}

/// The servers of a section, as JSON.
pub(crate) fn read(text: &str, section: &str) -> Result<Value, String> {
    let document = parse(text)?;
    Ok(to_json(document.get(section)))
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    // The whole error shows the line, which may hold a secret.
    text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error.span().map_or(0, |span| {
            text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
        });
        format!("line {line}: {}", error.message())
    })
}

fn to_toml(value: &Value) -> Result<toml_edit::Value, String> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Array(items) => {
            let items: Result<Array, String> = items.iter().map(to_toml).collect();
            items?.into()
        }
        Value::Object(members) => {
            let mut table = InlineTable::new();
            for (name, value) in members {
                table.insert(name, to_toml(value)?);
            }
            table.into()
        }
        Value::Number(_) | Value::Null => return Err("cannot be written as TOML".to_owned()),
    })
}

fn to_json(item: Option<&Item>) -> Value {
    match item {
        Some(Item::Value(value)) => value_to_json(value),
        Some(Item::Table(table)) => table
            .iter()
            .map(|(name, item)| (name.to_owned(), to_json(Some(item))))
            .collect(),
        Some(Item::ArrayOfTables(tables)) => tables
            .iter()
            .map(|table| to_json(Some(&Item::Table(table.clone()))))
            .collect(),
        Some(Item::None) | None => Value::Null,
    }
}

fn value_to_json(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
        toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        toml_edit::Value::Array(items) => items.iter().map(value_to_json).collect(),
        toml_edit::Value::InlineTable(table) => table
            .iter()
            .map(|(name, value)| (name.to_owned(), value_to_json(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_else_stays_and_a_second_time_changes_nothing() {
        let entry =
            json!({"url": "http://127.0.0.1:4000/mcp", "http_headers": {"x-litellm-api-key": "Bearer k"}});
        let file = "# mine\nmodel = \"x\"   # why\n\n[mcp_servers.a]\ncommand = \"x\" # kept\nargs = [ 1,2 ]\n\n[tui]\na = 1\n";
        for before in [
            file,
            "",
            "[mcp_servers]\n",
            "mcp_servers = { a = { command = \"x\" } }\n",
        ] {
            let after = set(before, "mcp_servers", "trunkline", &entry).unwrap();
            for line in before.lines().filter(|line| line.contains('#')) {
                assert!(after.contains(line), "{line} in {after}");
            }
            assert_eq!(
                read(&after, "mcp_servers").unwrap()["trunkline"],
                entry,
                "{after}"
            );
            assert_eq!(set(&after, "mcp_servers", "trunkline", &entry).unwrap(), after);
            let removed = remove(&after, "mcp_servers", "trunkline").unwrap();
            assert!(!removed.contains("trunkline"), "{removed}");
        }
        let after = set(file, "mcp_servers", "trunkline", &entry).unwrap();
        assert_eq!(remove(&after, "mcp_servers", "trunkline").unwrap(), file);
        let error = set("a = \"secret\nb", "mcp_servers", "t", &entry).unwrap_err();
        assert!(error.starts_with("line ") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn what_people_added_to_the_entry_stays_and_what_contradicts_goes() {
        let before = "[mcp_servers.trunkline]\ncommand = \"old\"\ntool_timeout_sec = 5 # mine\n";
        let entry = json!({"url": "u", "bearer_token_env_var": "V"});
        let after = set(before, "mcp_servers", "trunkline", &entry).unwrap();
        assert!(after.contains("tool_timeout_sec = 5 # mine"), "{after}");
        assert!(
            !after.contains("old") && after.contains("bearer_token_env_var = \"V\""),
            "{after}"
        );
    }
}
