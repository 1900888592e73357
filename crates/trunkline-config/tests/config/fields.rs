//! B29: every field of a server's entry has an effect or is said to have none.

use std::collections::BTreeSet;

use crate::common::parse;

/// A field and a value that is not its default.
const SAMPLES: &[(&str, &str)] = &[
    ("url", "https://other/mcp"),
    ("transport", "sse"),
    ("alias", "short"),
    ("description", "d"),
    ("instructions", "i"),
    ("server_id", "id-1"),
    ("protocol_version", "2025-06-18"),
    ("mcp_info", "{server_name: shown, tool_allowlist_enforced: true}"),
    ("auth_type", "none"),
    ("authentication_token", "t"),
    ("auth_value", "t"),
    ("static_headers", "{X-A: b}"),
    ("extra_headers", "[x-a]"),
    ("env_vars", "[{name: A, value: b, scope: global, description: c}]"),
    ("allowed_tools", "[]"),
    ("disallowed_tools", "[a]"),
    ("allowed_params", "{a: [b]}"),
    ("tool_arguments", "{a: {b: {value: 1}}}"),
    ("tool_approval", "{a: always}"),
    ("approval_by_user", "true"),
    ("tool_conditions", "[{tools: ['*'], when: 'true'}]"),
    ("pinned_tools", "{a: {description: b}}"),
    ("tool_name_to_display_name", "{a: b}"),
    ("tool_name_to_description", "{a: b}"),
    ("access_groups", "[dev]"),
    ("allow_all_keys", "true"),
    ("available_on_public_internet", "false"),
    ("timeout", "5"),
    ("tool_timeouts", "{a: 5}"),
    ("max_concurrent_requests", "3"),
    ("rpm", "60"),
    ("prefix", "never"),
    ("session", "shared"),
    ("source_url", "https://source"),
    ("command", "npx"),
    ("args", "[-y]"),
    ("env", "{A: b}"),
    ("cwd", "/srv"),
    ("sandbox", "off"),
    ("spec_path", "api.yaml"),
    ("spec", "{openapi: 3.0.0}"),
    ("openapi", "{include: {tags: [a]}}"),
    ("oauth2_flow", "client_credentials"),
    ("issuer", "https://issuer"),
    ("authorization_url", "https://issuer/a"),
    ("token_url", "https://issuer/t"),
    ("registration_url", "https://issuer/r"),
    ("token_exchange_endpoint", "https://issuer/x"),
    ("token_exchange_profile", "entra_obo"),
    ("audience", "a"),
    ("subject_token_type", "s"),
    ("dcr_bridge", "true"),
    ("per_server_oauth_discovery", "true"),
    ("client_id", "c"),
    ("client_secret", "s"),
    ("scopes", "[a, b]"),
    ("token_endpoint_auth_method", "client_secret_post"),
    ("upstream_resource", "https://r"),
    ("upstream_token_header", "X-Token"),
    ("id_jag_resource_token_endpoint", "https://r/t"),
    ("id_jag_resource", "https://r"),
    ("id_jag_subject_source", "refresh_token"),
    ("id_jag_resource_client_id", "c"),
    ("id_jag_resource_client_secret", "s"),
    ("client_private_key", "k"),
    ("client_private_key_id", "k"),
    ("client_assertion_signing_alg", "RS256"),
    ("aws_access_key_id", "a"),
    ("aws_secret_access_key", "a"),
    ("aws_session_token", "a"),
    ("aws_region_name", "a"),
    ("aws_service_name", "a"),
    ("aws_role_name", "a"),
    ("aws_session_name", "a"),
    ("delegate_auth_to_upstream", "true"),
    ("oauth_passthrough", "true"),
    ("is_byok", "true"),
    ("byok_description", "[step]"),
    ("byok_api_key_help_url", "https://help"),
    ("token_validation", "{a: b}"),
    ("oauth_identity_binding", "{mode: audit}"),
    ("allow_sampling", "true"),
    ("allow_elicitation", "true"),
    ("spec_version", "2025-06-18"),
    ("schema_compat", "true"),
    ("connect_timeout", "5"),
    ("list_timeout", "5"),
    ("tls_ca", "missing.pem"),
    ("tls_client_cert", "missing.pem"),
    ("tls_client_key", "missing.pem"),
    ("tls_server_name", "a.test"),
    ("tls_min_version", "'1.3'"),
];

const BASE: &str = "mcp_servers:\n  a:\n";
const URL: &str = "    url: https://a/mcp\n";

#[test]
fn b29_every_field_has_an_effect_or_a_notice() {
    let plain = parse(&format!("{BASE}{URL}")).unwrap();
    for (name, value) in SAMPLES {
        let url = if *name == "url" { "" } else { URL };
        match parse(&format!("{BASE}{url}    {name}: {value}\n")) {
            Ok(config) => {
                let changed = config.servers[0] != plain.servers[0];
                assert!(
                    changed || !config.notices.is_empty(),
                    "{name} is ignored in silence"
                );
            }
            Err(error) => assert!(error.to_string().contains(name), "{name}: {error}"),
        }
    }
}

#[test]
fn b29_the_samples_are_all_fields() {
    let schema = trunkline_config::json_schema();
    let known: BTreeSet<&str> = schema["$defs"]["server"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let sampled: BTreeSet<&str> = SAMPLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, sampled);
}

#[test]
fn b29_every_general_setting_has_an_effect() {
    let plain = parse("").unwrap().general;
    for (name, value) in [
        ("master_key", "k"),
        ("database_url", "sqlite://x"),
        ("dangerously_permit_weak_or_unset_master_key", "true"),
        ("max_request_size_mb", "1.5"),
        ("allowed_hosts", "[a]"),
        ("allowed_origins", "['https://a']"),
        ("mcp_egress_allow", "[10.0.0.0/8, loopback]"),
        ("mcp_internal_ip_ranges", "[10.0.0.0/8, '::1']"),
        ("mcp_list_timeout_ms", "1"),
        ("mcp_call_timeout_ms", "1"),
        ("mcp_answer_timeout_ms", "1"),
        ("mcp_health_timeout_ms", "1"),
        ("mcp_fanout_deadline_ms", "1"),
        ("mcp_catalogue_ttl_ms", "1"),
        ("mcp_session_idle_ms", "1"),
        ("mcp_max_body_bytes", "1"),
        ("mcp_max_upstream_bytes", "1"),
        ("mcp_list_max_pages", "1"),
        ("mcp_breaker_failures", "1"),
        ("mcp_list_page_size", "1"),
        ("audit_retention_days", "1"),
        ("maximum_spend_logs_retention_period", "2d"),
        ("mcp_strip_hidden_text", "true"),
        ("mcp_stdio", "admin"),
        ("store_model_in_db", "true"),
    ] {
        let config = parse(&format!("general_settings: {{{name}: {value}}}")).unwrap();
        assert_ne!(config.general, plain, "{name} is ignored in silence");
        assert!(config.notices.is_empty(), "{name}");
    }
    assert_eq!(
        parse("general_settings: {max_request_size_mb: 1.5}")
            .unwrap()
            .general
            .max_body_bytes,
        1_572_864
    );
}

#[test]
fn s33_what_says_where_clients_are_belongs_together() {
    let ranges = "mcp_trusted_proxy_ranges: [192.0.2.7, 'fd00::/8']";
    let config = parse(&format!(
        "general_settings: {{use_x_forwarded_for: true, {ranges}, mcp_xff_num_trusted_hops: 2}}"
    ))
    .unwrap();
    assert!(config.notices.is_empty());
    assert!(config.general.use_x_forwarded_for);
    assert_eq!(config.general.trusted_proxy_ranges, ["192.0.2.7", "fd00::/8"]);
    assert_eq!(config.general.xff_num_trusted_hops, Some(2));
    assert_eq!(config.general.allowed_ips, None);
    let both =
        "use_x_forwarded_for: true, mcp_trusted_proxy_ranges: [192.0.2.7], trusted_proxy_ranges: [192.0.2.8]";
    let both = parse(&format!(
        "general_settings: {{{both}, allowed_ips: [10.0.0.1, 'fd00::/8']}}"
    ))
    .unwrap();
    assert!(both.notices.is_empty(), "{:?}", both.notices);
    assert_eq!(both.general.trusted_proxy_ranges, ["192.0.2.7", "192.0.2.8"]);
    let allowed = ["10.0.0.1".to_owned(), "fd00::/8".to_owned()];
    assert_eq!(both.general.allowed_ips.as_deref(), Some(&allowed[..]));
    for (alone, says) in [
        ("use_x_forwarded_for: true", "without mcp_trusted_proxy_ranges"),
        (ranges, "without `use_x_forwarded_for: true`"),
        (
            "trusted_proxy_ranges: [192.0.2.7]",
            "without `use_x_forwarded_for: true`",
        ),
        (
            "mcp_xff_num_trusted_hops: 2",
            "without `use_x_forwarded_for: true`",
        ),
    ] {
        let notices = parse(&format!("general_settings: {{{alone}}}")).unwrap().notices;
        assert!(
            notices.len() == 1 && notices[0].notice.message.contains(says),
            "{alone}: {notices:?}"
        );
    }
    let nobody = parse("general_settings: {mcp_internal_ip_ranges: []}").unwrap();
    assert!(
        nobody.general.internal_ip_ranges.is_empty(),
        "an empty list is one"
    );
    let unset = parse("general_settings: {mcp_internal_ip_ranges: null}").unwrap();
    assert!(!unset.general.internal_ip_ranges.is_empty());
    for wrong in [
        "mcp_internal_ip_ranges: [10.0.0.0/33]",
        "mcp_internal_ip_ranges: [private]",
        "use_x_forwarded_for: true, mcp_trusted_proxy_ranges: [lb.internal]",
        "mcp_xff_num_trusted_hops: 0",
        "use_x_forwarded_for: true, trusted_proxy_ranges: [lb.internal]",
        "allowed_ips: [office]",
        "allowed_ips: 10.0.0.1",
        "allowed_ips: []",
    ] {
        assert!(
            parse(&format!("general_settings: {{{wrong}}}")).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn auth_types_without_a_credential_and_credentials_without_a_type_are_said() {
    for kind in ["api_key", "bearer_token", "basic", "token", "authorization"] {
        let config = parse(&format!("{BASE}{URL}    auth_type: {kind}\n")).unwrap();
        assert_eq!(config.notices.len(), 1);
        let message = &config.notices[0].notice.message;
        assert!(
            message.starts_with(&format!("{kind} needs a credential"))
                && message.contains("authentication_token: os.environ/"),
            "{message}"
        );
        let other = parse(&format!(
            "{BASE}{URL}    auth_type: {kind}\n    extra_headers: [x-key]\n"
        ))
        .unwrap();
        assert!(other.notices.is_empty(), "a header may carry it");
    }
    let config = parse(&format!("{BASE}{URL}    auth_value: v\n")).unwrap();
    assert!(
        config.notices[0]
            .notice
            .message
            .contains("is not sent: auth_type is none")
    );
    let both = parse(&format!(
        "{BASE}{URL}    auth_type: token\n    auth_value: v\n    authentication_token: w\n"
    ))
    .unwrap();
    assert_eq!(
        both.servers[0].definition.credentials.auth_value,
        Some("w".into())
    );
}

#[test]
fn other_credentials_are_kept_as_json_text() {
    let config = parse(&format!("{BASE}{URL}    client_id: c\n    scopes: [a, b]\n    token_endpoint_auth_method: client_secret_post\n")).unwrap();
    let other = &config.servers[0].definition.credentials.other;
    assert_eq!(other["client_id"].expose(), "\"c\"");
    assert_eq!(other["scopes"].expose(), r#"["a","b"]"#);
    assert_eq!(
        other["token_endpoint_auth_method"].expose(),
        "\"client_secret_post\""
    );
}
