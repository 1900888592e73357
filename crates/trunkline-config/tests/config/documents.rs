//! What is generated and committed is what the code says. `UPDATE_DOCS=1` writes it.

use std::path::{Path, PathBuf};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

/// Compares a committed document with what it should be, or writes it.
fn check(name: &str, wanted: &str) {
    let path = document(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == wanted,
        "docs/{name} is not what the code says; run the tests of this crate with UPDATE_DOCS=1"
    );
}

#[test]
fn the_schema_is_committed() {
    let schema = trunkline_config::json_schema();
    check(
        "config.schema.json",
        &(serde_json::to_string_pretty(&schema).unwrap() + "\n"),
    );
}

#[test]
fn the_reference_is_committed() {
    let mut text = std::fs::read_to_string(document("configuration.md")).unwrap();
    for (name, table) in trunkline_config::reference_tables() {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let from = text.find(&begin).expect("the place of the table") + begin.len();
        let to = text.find(&end).expect("the end of its place");
        text.replace_range(from..to, &format!("\n{table}\n"));
    }
    check("configuration.md", &text);
}

#[test]
fn the_examples_of_the_reference_load() {
    let text = std::fs::read_to_string(document("configuration.md")).unwrap();
    let examples: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let variables = [
            "GITHUB_TOKEN",
            "LITELLM_MASTER_KEY",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
            "SEARCH_KEY",
            "TENANT_KEY",
        ]
        .map(|name| (name, "value"));
        let config = crate::common::parse_with(example, &variables).map_err(|error| error.to_string());
        assert_eq!(config.map(|config| config.notices), Ok(Vec::new()), "{example}");
    }
}
