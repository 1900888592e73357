//! B78: no field is lost. The fields and their types are read from the document, so a new one is tested as soon as it
//! is there.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::harness::Harness;

/// The properties of a schema of the document.
fn properties(schema: &str) -> Map<String, Value> {
    let document = serde_json::to_value(trunkline_admin::openapi()).unwrap();
    let properties = &document["components"]["schemas"][schema]["properties"];
    properties
        .as_object()
        .unwrap_or_else(|| panic!("no schema {schema}"))
        .clone()
}

fn settable() -> impl Iterator<Item = (String, Value)> {
    properties("NewMCPServerRequest")
        .into_iter()
        .filter(|(name, _)| name != "server_id")
}

/// Declares what is refused, because it would be unsafe as long as it is not served.
const REFUSED: [(&str, Value); 2] = [
    ("delegate_auth_to_upstream", Value::Bool(true)),
    ("oauth_passthrough", Value::Bool(true)),
];

/// Fields that cannot be there together with another one.
const ALONE: [&str; 1] = ["spec"];

/// Fields that mean nothing without each other.
const PAIR: [&str; 2] = ["tls_client_cert", "tls_client_key"];

/// The other one of a pair.
fn partner(name: &str) -> Option<&'static str> {
    let own = PAIR.iter().position(|own| *own == name)?;
    Some(PAIR[1 - own])
}

/// Sets a field, and what it needs.
fn set(body: &mut Value, name: &str, value: Value) {
    body[name] = value;
    if let Some(partner) = partner(name) {
        body[partner] = sample(partner, &Value::Null, 1);
    }
}

/// What is shown of a value.
fn shown(name: &str, value: &Value) -> Value {
    match name {
        "tls_client_key" => json!("***"),
        _ => value.clone(),
    }
}

/// Two certificates.
static CERTIFICATES: LazyLock<[String; 2]> = LazyLock::new(|| {
    ["one.test", "two.test"].map(|name| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        made.cert.pem()
    })
});

/// A value that is not the default, by the field's schema. `variant` gives two of them.
fn sample(name: &str, schema: &Value, variant: usize) -> Value {
    if name == "tool_name_to_display_name" {
        return json!({"echo": format!("echo_{variant}")});
    }
    if name == "openapi" {
        return json!({"include": {"tags": [format!("tag-{variant}")]}});
    }
    match name {
        "allowed_params" => return json!({"search": [format!("x-{variant}")]}),
        "tool_arguments" => {
            return json!({"search": {"repo": {"value": variant}, "team": {"default_from": "team_id"}}});
        }
        "tool_approval" => return json!({"*": (if variant == 1 { "first_use" } else { "always" })}),
        "tool_conditions" => {
            return json!([{"tools": ["*"], "when": format!("args.x == {variant}"), "reason": null}]);
        }
        _ => {}
    }
    if matches!(name, "tls_ca" | "tls_client_cert") {
        return json!(CERTIFICATES[variant - 1]);
    }
    if name == "tls_client_key" {
        return json!(format!("os.environ/KEY_{variant}"));
    }
    if name.ends_with("url") || name.ends_with("endpoint") || matches!(name, "spec_path" | "issuer") {
        return json!(format!("https://{variant}.example/{name}"));
    }
    if let Some(words) = schema.get("enum") {
        let usable = |word: &&Value| {
            !word.is_null()
                && **word != schema["default"]
                && !matches!(word.as_str(), Some("stdio" | "auto" | "true_passthrough"))
        };
        let usable: Vec<&Value> = words.as_array().unwrap().iter().filter(usable).collect();
        return usable[variant % usable.len()].clone();
    }
    let schema_type = match &schema["type"] {
        Value::Array(types) => types[0].as_str().unwrap(),
        one => one.as_str().unwrap(),
    };
    match (name, schema_type) {
        ("sandbox", _) => trunkline_model::Sandbox::parse(&json!({"max_processes": variant}))
            .unwrap()
            .to_json(),
        ("credentials", _) => json!({"scopes": [format!("scope-{variant}")]}),
        ("env_vars", _) => {
            json!([{"name": format!("V{variant}"), "value": "", "scope": "user", "description": "d"}])
        }
        (_, "string") => json!(format!("{name}-{variant}")),
        (_, "boolean") => json!(schema.get("default") != Some(&json!(true))),
        (_, "number") => json!(1.5 + f64::from(u8::try_from(variant).unwrap())),
        (_, "integer") => json!(7 + variant),
        (_, "array") => json!([format!("x-{variant}")]),
        // An empty value is no secret, so that it is shown.
        (_, "object") => json!({format!("x-{variant}"): ""}),
        other => panic!("no sample for {other:?}"),
    }
}

fn is_refused(name: &str) -> bool {
    REFUSED.iter().any(|(refused, _)| *refused == name) || name == "command"
}

#[tokio::test]
async fn b78_every_field_survives_create_read_update_read() {
    let gateway = Harness::new().await;
    let mut fields = 0;
    for (name, schema) in settable().filter(|(name, _)| !is_refused(name)) {
        fields += 1;
        let id = format!("id-{}", name.to_lowercase());
        let first = sample(&name, &schema, 1);
        let mut body = json!({"server_id": id, "url": "https://u.example/mcp"});
        set(&mut body, &name, first.clone());
        let created = gateway.registered(body).await;
        assert_eq!(created[&name], shown(&name, &first), "{name} is created");
        let path = format!("/v1/mcp/server/{id}");
        assert_eq!(gateway.get(&path).await.json(), created, "{name} is read");

        let second = sample(&name, &schema, 2);
        let answer = gateway.put(json!({"server_id": id, &name: second})).await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text);
        let mut expected = created.clone();
        let changed = answer.json();
        expected[&name] = shown(&name, &second);
        for moving in ["updated_at", "warnings"] {
            expected[moving] = changed[moving].clone();
        }
        assert_eq!(changed, expected, "{name} is changed, and nothing else");
        assert_eq!(gateway.get(&path).await.json(), changed, "{name} is read again");
    }
    assert!(fields > 40, "only {fields} fields in the document");
}

#[tokio::test]
async fn b78_all_fields_at_once_survive_an_edit_of_one() {
    let gateway = Harness::new().await;
    let mut body = json!({"server_id": "id-all"});
    let all = settable().filter(|(name, _)| !is_refused(name) && !ALONE.contains(&name.as_str()));
    for (name, schema) in all {
        body[&name] = sample(&name, &schema, 1);
    }
    let created = gateway.registered(body.clone()).await;
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(created[name], shown(name, value), "{name}");
    }
    let edited = gateway
        .put(json!({"server_id": "id-all", "description": "edited"}))
        .await
        .json();
    let mut expected = created;
    expected["description"] = json!("edited");
    expected["updated_at"] = edited["updated_at"].clone();
    assert_eq!(edited, expected);
    // What a form does: everything that was read goes back.
    let mut whole = json!({"server_id": "id-all"});
    for (name, _) in settable() {
        whole[&name] = edited[&name].clone();
    }
    let saved = gateway.put(whole).await;
    assert_eq!(saved.status, 202, "{}", saved.text);
    let mut expected = edited;
    let saved = saved.json();
    expected["updated_at"] = saved["updated_at"].clone();
    assert_eq!(saved, expected);
}

#[tokio::test]
async fn null_sets_the_default_of_every_field() {
    let gateway = Harness::new().await;
    let fresh = gateway
        .registered(json!({"server_id": "fresh", "url": "https://u.example/mcp"}))
        .await;
    for (name, schema) in settable().filter(|(name, _)| !is_refused(name) && name != "url") {
        let id = format!("id-{}", name.to_lowercase());
        let mut body = json!({"server_id": id, "url": "https://u.example/mcp"});
        set(&mut body, &name, sample(&name, &schema, 1));
        gateway.registered(body).await;
        let mut change = json!({"server_id": id, &name: null});
        if let Some(partner) = partner(&name) {
            change[partner] = Value::Null;
        }
        let answer = gateway.put(change).await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text);
        assert_eq!(answer.json()[&name], fresh[&name], "{name}");
    }
}

#[tokio::test]
async fn rows_are_what_the_document_says() {
    let gateway = Harness::new().await;
    let row = gateway.registered(json!({"url": "https://u.example/mcp"})).await;
    let mut columns: Vec<&String> = row.as_object().unwrap().keys().collect();
    let documented = properties("LiteLLM_MCPServerTable");
    let mut expected: Vec<&String> = documented.keys().collect();
    columns.sort();
    expected.sort();
    assert_eq!(columns, expected);
    for (name, value) in &REFUSED {
        let mut body = json!({"url": "https://u.example/mcp"});
        body[*name] = value.clone();
        let answer = gateway.post(body).await;
        assert_eq!(
            answer.status, 400,
            "{name} is served now: take it out of the list"
        );
    }
}
