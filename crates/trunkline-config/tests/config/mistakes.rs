//! Mistakes: each is found, with its place, what is wrong, and what to do.

use crate::common::{parse, parse_with};

/// The messages of a file that must not load.
fn messages(text: &str) -> Vec<String> {
    let error = parse(text).map(|config| config.servers).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(messages(text), expected, "in\n{text}");
}

#[test]
fn an_unknown_field_names_the_nearest_known_one() {
    check(
        "mcp_servers:\n  github:\n    url: https://a/mcp\n    authentification_token: x\n",
        &[
            "config.yaml:4:5: unknown field \"authentification_token\" in mcp_servers.github; did you mean \"authentication_token\"?",
        ],
    );
    check(
        "mcp_server:\n  github: {url: 'https://a'}\n",
        &["config.yaml:1:1: unknown field \"mcp_server\" in the file; did you mean \"mcp_servers\"?"],
    );
    check(
        "general_settings: {masterkey: x}\n",
        &["config.yaml:1:20: unknown field \"masterkey\" in general_settings; did you mean \"master_key\"?"],
    );
    // Servers are not to be believed by other authorities than the operator meant.
    check(
        "litellm_settings: {ssl_verify: os.environ/NO_SUCH_BUNDLE}\n",
        &["config.yaml:1:32: litellm_settings.ssl_verify references NO_SUCH_BUNDLE, which is not set"],
    );
    check(
        "litellm_settings:\n  drop_parms: true\n",
        &["config.yaml:2:3: unknown field \"drop_parms\" in litellm_settings; did you mean \"drop_params\"?"],
    );
    check(
        "mcp_servers: {a: {url: 'https://a', zzzzzzzz: 1}}\n",
        &["config.yaml:1:37: unknown field \"zzzzzzzz\" in mcp_servers.a"],
    );
    check(
        "mcp_servers: {a: {url: 'https://a', env_vars: [{name: X, valeu: y}]}}\n",
        &["config.yaml:1:58: unknown field \"valeu\" in mcp_servers.a.env_vars[0]; did you mean \"value\"?"],
    );
}

#[test]
fn frequent_other_names_say_where_they_belong() {
    for (field, advice) in [
        ("server_name: x", "the name of a server is the key above it"),
        (
            "mcp_access_groups: [a]",
            "in the file it is called \"access_groups\"",
        ),
        ("headers: {a: b}", "did you mean \"static_headers\"?"),
        (
            "credentials: {auth_value: x}",
            "write its members directly into the entry",
        ),
        (
            "allowed_cidrs: [10.0.0.0/8]",
            "neither LiteLLM nor Trunkline restricts anything by it",
        ),
    ] {
        let found = messages(&format!("mcp_servers:\n  a:\n    url: https://a\n    {field}\n"));
        assert!(found[0].contains(advice), "{found:?}");
    }
}

#[test]
fn all_mistakes_are_said_in_one_go_and_in_the_order_of_the_file() {
    check(
        "general_settings:
  mcp_call_timeout_ms: soon
  allowed_hosts: [\"http://a\"]
mcp_servers:
  one:
    url: file:///etc/passwd
    transport: carrier-pigeon
    timeout: 0
  two:
    url: https://a/mcp
    allowed_tools: search
    max_concurrent_requests: -1
    allow_all_keys: perhaps
  three:
",
        &[
            "config.yaml:2:24: general_settings.mcp_call_timeout_ms: must be a whole number from 1 to 86400000",
            "config.yaml:3:18: general_settings.allowed_hosts: [0] must be the name of a host, without port",
            "config.yaml:6:10: mcp_servers.one.url: only http:// and https:// are served",
            "config.yaml:7:16: mcp_servers.one.transport: must be one of http, sse, stdio",
            "config.yaml:8:14: mcp_servers.one.timeout: must be a number greater than 0",
            "config.yaml:11:20: mcp_servers.two.allowed_tools must be a list, not text",
            "config.yaml:12:30: mcp_servers.two.max_concurrent_requests: must be a whole number from 1 to 4294967295",
            "config.yaml:13:21: mcp_servers.two.allow_all_keys must be true or false, not text",
            "config.yaml:14:3: mcp_servers.three is empty: it needs at least a `url`",
        ],
    );
}

#[test]
fn shapes() {
    check(
        "mcp_servers:\n  - name: github\n    url: https://a\n",
        &[
            "config.yaml:2:3: mcp_servers must be a mapping from name to server, not a list: write `github:` in place of `- name: github` and indent the rest below it",
        ],
    );
    check(
        "- a\n- b\n",
        &["config.yaml:1:1: the file must be a mapping, not a list"],
    );
    check(
        "general_settings: 5\n",
        &["config.yaml:1:19: general_settings must be a mapping, not a number"],
    );
    check(
        "mcp_servers: {a: https://a}\n",
        &["config.yaml:1:18: mcp_servers.a must be a mapping, not text"],
    );
    check(
        "mcp_servers: {a: {url: 'https://a', static_headers: {X-Version: 2}}}\n",
        &[
            "config.yaml:1:65: mcp_servers.a.static_headers.X-Version must be text, not a number: put it in quotes",
        ],
    );
    check(
        "mcp_servers: {a: {}}\n",
        &["config.yaml:1:15: mcp_servers.a needs a `url`"],
    );
    check(
        "mcp_servers: {a: {command: npx, args: [-y, thing]}}\n",
        &[
            "config.yaml:1:15: mcp_servers.a needs a `url`; a server with a `command` needs `transport: stdio`",
        ],
    );
    check(
        "mcp_servers: {\"a/b\": {url: 'https://a'}, mcp: {url: 'https://a'}}\n",
        &[
            "config.yaml:1:15: mcp_servers: a server name may hold letters, digits, '_', '-', '.' and blanks, not '/'",
            "config.yaml:1:42: mcp_servers: this name belongs to the gateway's own routes (mcp, mcp-rest, v1, health, metrics, toolset, sse, .well-known, all-team-mcpservers, all-proxy-mcpservers)",
        ],
    );
}

#[test]
fn s11_urls_of_other_kinds_and_with_credentials_are_refused() {
    for (url, reason) in [
        ("gopher://a/", "only http:// and https:// are served"),
        (
            "https://user:pass@a/mcp",
            "holds a user name or password; use `auth_type: basic`",
        ),
        ("a.example/mcp", "must begin with http:// or https://"),
    ] {
        let found = messages(&format!("mcp_servers: {{a: {{url: '{url}'}}}}"));
        assert!(
            found[0].contains(reason) && !found[0].contains("pass@"),
            "{found:?}"
        );
    }
    let found = messages("mcp_servers: {a: {spec_path: 'file:///etc/passwd'}}");
    assert!(
        found[0].contains("mcp_servers.a.spec_path: only http:// and https:// are served"),
        "{found:?}"
    );
}

#[test]
fn s38_a_header_with_a_line_break_is_refused() {
    let found = messages("mcp_servers: {a: {url: 'https://a', static_headers: {X-A: \"1\\r\\nX-B: 2\"}}}");
    assert!(
        found[0].contains("the value of \"X-A\" holds a line break"),
        "{found:?}"
    );
    let found = messages("mcp_servers: {a: {url: 'https://a', auth_type: api_key, auth_value: \"key\\n\"}}");
    assert!(
        found[0].contains("mcp_servers.a.auth_value: holds a line break"),
        "{found:?}"
    );
}

#[test]
fn a_revision_that_a_transport_cannot_speak() {
    check(
        "mcp_servers: {a: {url: 'https://a', transport: sse, protocol_version: '2026-07-28'}}",
        &[
            "config.yaml:1:71: mcp_servers.a.protocol_version: 2026-07-28 does not exist on the sse transport; use `transport: http`",
        ],
    );
    check(
        "mcp_servers: {a: {url: 'https://a', auth_type: oauth2}}",
        &[
            "config.yaml:1:48: mcp_servers.a.auth_type: oauth2 needs `oauth2_flow`: client_credentials or authorization_code",
        ],
    );
}

#[test]
fn b35_one_name_for_two_servers_is_refused_with_both_lines() {
    check(
        "mcp_servers:\n  github: {url: 'https://a'}\n  GitHub: {url: 'https://b'}\n",
        &[
            "config.yaml:3:3: mcp_servers.GitHub: its name is the same as the name of mcp_servers.github in line 2 (upper and lower case do not count); choose another",
        ],
    );
    check(
        "mcp_servers:\n  github: {url: 'https://a'}\n  other: {url: 'https://b', alias: github}\n",
        &[
            "config.yaml:3:29: mcp_servers.other: its alias is the same as the name of mcp_servers.github in line 2 (upper and lower case do not count); choose another",
        ],
    );
    check(
        "mcp_servers:\n  my server: {url: 'https://a'}\n  my_server: {url: 'https://b'}\n",
        &[
            "config.yaml:3:3: mcp_servers.my_server: its name is the same as the name of mcp_servers.my server in line 2 (upper and lower case do not count); choose another",
        ],
    );
    check(
        "mcp_servers:\n  a: {url: 'https://a', server_id: same}\n  b: {url: 'https://b', server_id: same}\n",
        &[
            "config.yaml:3:25: mcp_servers.b: its server_id is the same as the server_id of mcp_servers.a in line 2 (upper and lower case do not count); choose another",
        ],
    );
    check(
        "mcp_servers:\n  github: {url: 'https://a'}\n  github: {url: 'https://b'}\n",
        &["config.yaml:3:3: \"github\" stands twice in mcp_servers; the first is in line 2"],
    );
    assert!(
        parse("mcp_servers: {github: {url: 'https://a', alias: GitHub}}").is_ok(),
        "its own name is nobody else's"
    );
}

#[test]
fn what_protects_something_and_is_not_served_stops_the_start() {
    for setting in [
        "guardrails: [{guardrail_name: x}]",
        "include: [other.yaml]",
        "general_settings: {admin_only_routes: [/key/generate]}",
        "general_settings: {enable_jwt_auth: true}",
        "general_settings: {custom_key_generate: a.b}",
        "litellm_settings: {key_generation_settings: {personal_key_generation: {allowed_user_roles: [proxy_admin]}}}",
        "litellm_settings: {upperbound_key_generate_params: {duration: 1d}}",
        "general_settings: {mcp_allowed_clients: [{alias: a, value: b}]}",
        "general_settings: {mcp_require_explicit_server_scope: true}",
        "general_settings: {litellm_key_header_name: X-Key}",
        "litellm_settings: {callbacks: [detect_prompt_injection]}",
        "litellm_settings: {guardrails: [{a: b}]}",
    ] {
        let found = messages(setting);
        assert!(
            found.len() == 1 && found[0].contains("is not served, and it protects something: "),
            "{found:?}"
        );
    }
    for field in [
        "auth_type: true_passthrough",
        "oauth_passthrough: true",
        "delegate_auth_to_upstream: true",
        "token_validation: {iss: x}",
        "oauth_identity_binding: {mode: enforce}",
    ] {
        let found = messages(&format!("mcp_servers: {{a: {{url: 'https://a', {field}}}}}"));
        assert!(
            found.len() == 1 && found[0].contains("not served"),
            "{field}: {found:?}"
        );
    }
}

#[test]
fn what_is_switched_off_is_not_missed() {
    let text = "guardrails: []
general_settings: {allowed_ips: null, enable_jwt_auth: false, mcp_allowed_clients: [], alerting: []}
litellm_settings: {callbacks: [], cache: false}
mcp_servers: {a: {url: 'https://a', available_on_public_internet: true, oauth_identity_binding: {mode: disabled}, pinned_tools: {}}}
";
    assert_eq!(parse(text).unwrap().notices, []);
}

#[test]
fn b30_an_unset_reference_makes_the_server_misconfigured() {
    let text = "mcp_servers:\n  a:\n    url: https://a/mcp\n    auth_type: bearer_token\n    authentication_token: os.environ/MISSING\n    static_headers: {X-A: os.environ/EMPTY, X-B: os.environ/THERE}\n    extra_headers: ['Authorization: os.environ/MISSING']\n";
    let config = parse_with(text, &[("EMPTY", ""), ("THERE", "value")]).unwrap();
    let server = &config.servers[0];
    assert_eq!(
        server.defect.as_deref(),
        Some(
            "authentication_token references MISSING, which is not set; static_headers.X-A references EMPTY, which is set but empty; extra_headers[0] references MISSING, which is not set; set it and restart"
        )
    );
    assert_eq!(server.definition.credentials.auth_value, None);
    assert_eq!(
        server.definition.static_headers.keys().collect::<Vec<_>>(),
        ["X-B"]
    );
    assert!(
        !format!("{:?}", server.definition).contains("os.environ"),
        "the literal is nowhere"
    );
    let notices: Vec<_> = config.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices[0],
        "5:27: mcp_servers.a.authentication_token: references MISSING, which is not set: the server is listed as misconfigured and never contacted."
    );
    assert_eq!(
        notices.len(),
        3,
        "and nothing about a missing credential on top: {notices:?}"
    );
}

#[test]
fn b30_references_where_they_cannot_be_left_out() {
    check(
        "general_settings: {master_key: os.environ/MISSING}",
        &["config.yaml:1:32: general_settings.master_key references MISSING, which is not set"],
    );
    check(
        "general_settings: {database_url: \"\"}",
        &["config.yaml:1:34: general_settings.database_url: is empty: remove it, or set it"],
    );
    check(
        "mcp_servers: {a: {url: 'https://a', static_headers: {Authorization: Bearer os.environ/KEY}}}",
        &[
            "config.yaml:1:69: mcp_servers.a.static_headers.Authorization: `os.environ/NAME` is a reference only where it is the whole value; for a part of a header use `${NAME}` and `env_vars: [{name: NAME, value: os.environ/NAME}]`",
        ],
    );
    let pasted = parse("mcp_servers: {a: {url: 'https://a', auth_value: 'os.environ/sk-canary-1'}}").unwrap();
    let defect = pasted.servers[0].defect.as_deref().unwrap();
    assert!(
        defect.contains("letters, digits and `_`") && !defect.contains("canary"),
        "{defect}"
    );
    assert!(
        parse("mcp_servers: {a: {url: 'https://a', description: 'keys come from os.environ/NAME'}}").is_ok()
    );
}

#[test]
fn the_environment_is_checked_too() {
    let error = parse_with(
        "",
        &[
            ("LITELLM_MCP_CLIENT_TIMEOUT", "soon"),
            ("SERVER_ROOT_PATH", "/a/../b"),
        ],
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment: SERVER_ROOT_PATH must be a path such as /gateway\nenvironment: LITELLM_MCP_CLIENT_TIMEOUT must be a number of seconds, greater than 0"
    );
    let config = parse_with(
        "",
        &[
            ("MCP_TOOL_PREFIX_SEPARATOR", "__"),
            ("LITELLM_ENABLE_MCP_STDIO", "true"),
        ],
    )
    .unwrap();
    assert_eq!(config.notices.len(), 2);
    assert!(
        parse_with("", &[("MCP_TOOL_PREFIX_SEPARATOR", "-")])
            .unwrap()
            .notices
            .is_empty()
    );
}

#[test]
fn yaml_itself() {
    check(
        "a: [1\n",
        &["config.yaml:1:4: not valid YAML: unclosed bracket '['"],
    );
    check(
        "a: {b: 1}\n---\nc: 1\n",
        &["config.yaml:3:1: a second YAML document begins here; there must be one"],
    );
    for (text, reason) in [
        (
            "mcp_servers: {a: {url: 'https://a', auth_value: !S3cret-canary}}",
            "is a YAML tag",
        ),
        (
            "mcp_servers: {a: {url: 'https://a', auth_value: *canary}}",
            "is a YAML alias",
        ),
    ] {
        let found = messages(text);
        assert!(
            found[0].contains(reason)
                && found[0].contains("put it in quotes")
                && !found[0].contains("canary"),
            "{found:?}"
        );
    }
    // An anchor that is used as people use it.
    let config = parse("mcp_servers:\n  a: &base\n    url: https://a\n    transport: http\n  b:\n    <<: *base\n    url: https://b\n").unwrap();
    assert_eq!(config.servers[1].definition.url.as_deref(), Some("https://b"));
}

#[test]
fn alias_bombs_and_deep_files_are_bounded() {
    use std::fmt::Write as _;
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        writeln!(bomb, "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]").unwrap();
    }
    let deep = format!("{}x{}", "[".repeat(5000), "]".repeat(5000));
    for text in [bomb, deep, "a: b\n".repeat(900_000)] {
        let started = std::time::Instant::now();
        assert_eq!(messages(&text).len(), 1);
        // Unbounded, it would be hours; a busy machine may take some seconds.
        assert!(started.elapsed() < std::time::Duration::from_secs(30));
    }
}
