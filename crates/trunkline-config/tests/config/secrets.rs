//! S13: what an operator wrote as a value never comes back in a message; and no text at all makes the reader panic.

use std::error::Error as _;

use proptest::prelude::*;

use crate::common::{parse, parse_with};

const CANARY: &str = "k4n4ry";

/// Everything that a configuration or an error can be made to say.
fn said(text: &str) -> String {
    match parse_with(text, &[("SET", CANARY)]) {
        Ok(config) => {
            let notices: Vec<_> = config
                .notices
                .iter()
                .map(|notice| format!("{notice} {notice:?}"))
                .collect();
            let defects: Vec<_> = config
                .servers
                .iter()
                .filter_map(|server| server.defect.clone())
                .collect();
            format!("{notices:?} {defects:?} {:?}", config.general)
        }
        Err(error) => format!("{error} {error:?} {:?}", error.source().map(ToString::to_string)),
    }
}

#[test]
fn s13_no_value_of_any_field_is_in_a_message() {
    let schema = trunkline_config::json_schema();
    let fields = schema["$defs"]["server"]["properties"].as_object().unwrap();
    assert!(fields.len() > 60);
    let shapes = [
        CANARY.to_owned(),
        format!("'{CANARY}\\nX: y'"),
        format!("\"{CANARY}\\nX: y\""),
        format!("[{CANARY}]"),
        format!("['X-A: {CANARY}']"),
        format!("{{a: {CANARY}, b: [{CANARY}], c: {{d: {CANARY}}}}}"),
        format!("{{X-A: \"{CANARY}\\r\\n\"}}"),
        format!("[{{name: {CANARY}, value: {CANARY}, scope: {CANARY}}}]"),
        format!("'https://user:{CANARY}@host/'"),
        format!("'file:///{CANARY}'"),
        format!("os.environ/{CANARY}-x"),
        "os.environ/SET".to_owned(),
        format!("!{CANARY}"),
        format!("*{CANARY}"),
        format!("!!int {CANARY}"),
        format!("!!binary {CANARY}!"),
        format!("\"{CANARY}"),
        format!("{CANARY}: {CANARY}"),
    ];
    for name in fields.keys() {
        for shape in &shapes {
            let text = format!("mcp_servers:\n  a:\n    url: https://a/\n    {name}: {shape}\n");
            let said = said(&text);
            // Names of variables and of mapping keys are names, not values.
            assert!(!said.contains(CANARY), "{text}\n{said}");
        }
    }
}

#[test]
fn s13_no_general_setting_is_in_a_message() {
    let schema = trunkline_config::json_schema();
    for section in ["general_settings", "litellm_settings"] {
        let fields = schema["properties"][section]["properties"].as_object().unwrap();
        assert!(fields.len() > 100);
        for name in fields.keys() {
            for shape in [
                CANARY.to_owned(),
                format!("[{CANARY}]"),
                format!("{{a: {CANARY}}}"),
                format!("'{CANARY} \n x'"),
            ] {
                // These three lists hold no secrets and are shown by `Debug`.
                if name.starts_with("allowed_hosts")
                    || name.starts_with("allowed_origins")
                    || name == "mcp_aliases"
                {
                    continue;
                }
                let text = format!("{section}:\n  {name}: {shape}\n");
                let said = said(&text);
                assert!(!said.contains(CANARY), "{text}\n{said}");
            }
        }
    }
}

#[test]
fn s13_secrets_have_no_debug() {
    let text = "general_settings: {master_key: k4n4ry-1, database_url: 'postgresql://u:k4n4ry-2@h/d'}
mcp_servers: {a: {url: 'https://a', auth_type: api_key, auth_value: k4n4ry-3, static_headers: {X-A: k4n4ry-4}, client_secret: k4n4ry-5, env: {A: k4n4ry-6}, env_vars: [{name: B, value: k4n4ry-7}]}}";
    let config = parse(text).unwrap();
    assert!(!format!("{config:?}").contains(CANARY));
}

#[test]
fn s13_a_misplaced_secret_is_not_shown_as_a_key() {
    let said = said(
        "mcp_servers:\n  a:\n    url: https://a/\n    sk-k4n4ry: x\n    Bearer k4n4ry: y\n    \"k4n4ry/+=\": z\n",
    );
    assert!(
        said.contains("unknown field (a key that is not shown) in mcp_servers.a") && !said.contains(CANARY),
        "{said}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = said(&text);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = said(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_yaml_like_text_is_answered_without_its_values(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("mcp_servers:".to_owned()),
                Just("  a:".to_owned()),
                Just("    url: https://a/".to_owned()),
                Just("    auth_value: \"zq9canary".to_owned()),
                Just("    static_headers: {X-A: zq9canary".to_owned()),
                Just("general_settings: &x".to_owned()),
                Just("  master_key: !zq9canary zq9canary".to_owned()),
                Just("    <<: *x".to_owned()),
                // As a value: a key can become the name of a server, which is shown.
                Just("- b: &zq9canary zq9canary".to_owned()),
                "[ \\t\\-:{}\\[\\]&*!|>'\"%@`,?#~a-c0-9]{0,24}",
            ],
            0..24,
        )
    ) {
        let text = lines.join("\n");
        prop_assert!(!said(&text).contains("zq9canary"), "{}", said(&text));
    }
}
