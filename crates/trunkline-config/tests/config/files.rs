//! Whole files: what they become.

use crate::common::{parse, parse_with, vars};
use trunkline_config::{Config, ConfigError};
use trunkline_model::{AuthType, Origin, PrefixMode, Secret, Server, SessionMode, Transport};

const LITELLM: &str = include_str!("data/litellm.yaml");
const ENVIRONMENT: [(&str, &str); 4] = [
    ("LITELLM_MASTER_KEY", "sk-master-canary"),
    ("GITHUB_TOKEN", "github-canary"),
    ("ZAPIER_URL", "https://actions.zapier.com/mcp"),
    ("LITELLM_SALT_KEY", "salt-canary"),
];

fn server<'a>(config: &'a Config, name: &str) -> &'a Server {
    config
        .servers
        .iter()
        .find(|server| server.definition.server_name.as_deref() == Some(name))
        .unwrap()
}

#[test]
fn a_file_of_litellm_works_unchanged() {
    let config = parse_with(LITELLM, &ENVIRONMENT).unwrap();
    let names: Vec<_> = config
        .servers
        .iter()
        .map(|server| server.definition.server_name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["github", "deepwiki", "zapier"], "the order of the file");

    let github = server(&config, "github");
    assert_eq!(github.origin, Origin::File);
    assert!(github.is_active() && github.defect.is_none());
    let definition = &github.definition;
    assert_eq!(definition.alias.as_deref(), Some("gh"));
    assert_eq!(definition.transport, Transport::Http);
    assert_eq!(definition.auth_type, Some(AuthType::BearerToken));
    assert_eq!(
        definition.credentials.auth_value,
        Some(Secret::new("github-canary"))
    );
    assert_eq!(definition.mcp_access_groups, ["dev"]);
    assert_eq!(
        definition.allowed_tools.as_deref().unwrap(),
        ["search_issues", "get_issue"]
    );
    let info = serde_json::Value::Object(definition.mcp_info.clone().unwrap());
    assert_eq!(info["mcp_server_cost_info"]["default_cost_per_query"], 0.01);

    assert_eq!(
        server(&config, "deepwiki").definition.alias.as_deref(),
        Some("wiki")
    );
    let zapier = &server(&config, "zapier").definition;
    assert_eq!(zapier.url.as_deref(), Some("https://actions.zapier.com/mcp"));
    assert_eq!(
        zapier.static_headers["X-API-Key"],
        Secret::new("zapier-canary-1"),
        "from environment_variables"
    );
    assert_eq!(zapier.extra_headers, ["x-request-id", "x-trace-*"]);
    assert_eq!(
        (zapier.prefix, zapier.session),
        (PrefixMode::Never, SessionMode::PerClient)
    );
    assert_eq!(zapier.timeout, Some(12.5));

    assert_eq!(config.general.master_key, Some(Secret::new("sk-master-canary")));
    assert!(
        config
            .general
            .database_url
            .as_ref()
            .unwrap()
            .expose()
            .starts_with("postgresql://")
    );
    assert_eq!(config.general.salt_key, Some(Secret::new("salt-canary")));
    assert!(config.models.rules.drop_params);
    assert_eq!(config.general.fanout_deadline_ms, 1500);
    assert_eq!(
        config.general.allowed_hosts,
        ["gateway.example", "gateway.internal"]
    );
}

#[test]
fn what_is_not_served_is_one_warning_that_names_it() {
    let config = parse_with(LITELLM, &ENVIRONMENT).unwrap();
    let not_served: Vec<_> = config
        .notices
        .iter()
        .filter(|notice| notice.notice.field == "not served")
        .collect();
    assert_eq!(not_served.len(), 1);
    let message = &not_served[0].notice.message;
    for name in [
        "router_settings.redis_host",
        "litellm_settings.cache",
        "litellm_settings.cache_params",
        "litellm_settings.callbacks",
        "general_settings.alerting",
        "general_settings.database_connection_pool_limit",
    ] {
        assert!(message.contains(name), "{name} in {message}");
    }
    for name in [
        "drop_params",
        "set_verbose",
        "store_model_in_db",
        "mcp_aliases",
        "master_key",
    ] {
        assert!(
            !message.contains(name),
            "{name} is off, holds anyway, or is served: {message}"
        );
    }
    assert_eq!(not_served[0].line, 18, "it points at the first");
    let others: Vec<_> = config
        .notices
        .iter()
        .filter(|n| n.notice.field != "not served")
        .map(ToString::to_string)
        .collect();
    for (index, start) in [
        "4:5: model_list[0].litellm_params: litellm_params.api_key ",
        "27:5: litellm_settings.mcp_aliases.unused: has no effect",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(others[index].starts_with(start), "{start} in {others:?}");
    }
    assert_eq!(others.len(), 2, "{others:?}");
}

#[test]
fn ids_depend_on_the_name_alone() {
    let one = parse("mcp_servers: {github: {url: 'https://a/mcp'}}").unwrap();
    let two = parse("mcp_servers: {github: {url: 'https://b/mcp', alias: gh, auth_type: none}}").unwrap();
    assert_eq!(one.servers[0].id, two.servers[0].id);
    // sha256("mcp_server|github"), the first 32 hexadecimal digits: must stay for ever.
    assert_eq!(one.servers[0].id.as_str(), "43fb7d6b7b4fa0c4da437ed778917171");
    let explicit = parse("mcp_servers: {github: {url: 'https://b/mcp', server_id: my-id}}").unwrap();
    assert_eq!(explicit.servers[0].id.as_str(), "my-id");
}

#[test]
fn the_file_wins_over_the_environment() {
    let environment = [
        ("LITELLM_MASTER_KEY", "from-env"),
        ("DATABASE_URL", "sqlite://env.db"),
        ("LITELLM_MCP_CLIENT_TIMEOUT", "5"),
        ("LITELLM_MCP_TOOL_LISTING_TIMEOUT", "2.5"),
        ("SERVER_ROOT_PATH", "/gateway/"),
        ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "True"),
    ];
    let alone = trunkline_config::from_env(&vars(&environment)).unwrap().general;
    assert_eq!(alone.master_key, Some(Secret::new("from-env")));
    assert_eq!(alone.database_url, Some(Secret::new("sqlite://env.db")));
    assert_eq!((alone.call_timeout_ms, alone.list_timeout_ms), (5_000, 2_500));
    assert_eq!(alone.server_root_path.as_deref(), Some("/gateway"));
    assert!(alone.permit_weak_master_key);

    let file = "general_settings:\n  master_key: from-file\n  mcp_call_timeout_ms: 7000\n  dangerously_permit_weak_or_unset_master_key: false\n";
    let both = parse_with(file, &environment).unwrap().general;
    assert_eq!(both.master_key, Some(Secret::new("from-file")));
    assert_eq!(both.database_url, Some(Secret::new("sqlite://env.db")));
    assert_eq!((both.call_timeout_ms, both.list_timeout_ms), (7_000, 2_500));
    assert!(!both.permit_weak_master_key);

    let file = "environment_variables: {LITELLM_MASTER_KEY: from-section}";
    assert_eq!(
        parse_with(file, &environment).unwrap().general.master_key,
        Some(Secret::new("from-section"))
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in [
        "",
        "# only a comment\n",
        "{}",
        "mcp_servers:\n",
        "general_settings:\nlitellm_settings:\n",
    ] {
        let config = parse(text).unwrap();
        assert!(config.servers.is_empty() && config.notices.is_empty(), "{text:?}");
        assert_eq!(config.general, trunkline_config::General::default());
    }
}

#[test]
fn b38_two_aliases_of_one_url_keep_their_own_credentials() {
    let text = "mcp_servers:
  one: {url: 'https://a/mcp', alias: a1, auth_type: api_key, auth_value: key-1}
  two: {url: 'https://a/mcp', alias: a2, auth_type: api_key, auth_value: key-2}
";
    let config = parse(text).unwrap();
    let (one, two) = (server(&config, "one"), server(&config, "two"));
    assert_ne!(one.id, two.id);
    assert_eq!(one.definition.credentials.auth_value, Some(Secret::new("key-1")));
    assert_eq!(two.definition.credentials.auth_value, Some(Secret::new("key-2")));
}

#[test]
fn a_value_in_extra_headers_works_and_is_said_to_belong_elsewhere() {
    let text = "mcp_servers:\n  backend:\n    url: http://127.0.0.1:9000/mcp\n    auth_type: bearer_token\n    extra_headers: [\"Authorization: Bearer backend-canary\"]\n";
    let config = parse(text).unwrap();
    let definition = &config.servers[0].definition;
    assert!(definition.extra_headers.is_empty());
    assert_eq!(
        definition.static_headers["Authorization"],
        Secret::new("Bearer backend-canary")
    );
    assert_eq!(config.notices.len(), 1);
    let shown = config.notices[0].to_string();
    assert!(
        shown.starts_with("5:5: mcp_servers.backend.extra_headers[0]: holds a value"),
        "{shown}"
    );
    assert!(!shown.contains("canary"));
}

#[test]
fn b51_a_rule_that_forwards_the_gateways_key_is_refused() {
    let error = parse("mcp_servers:\n  a: {url: 'http://a/', extra_headers: [X-LiteLLM-API-Key]}")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("carries the gateway's own key, which is never sent"),
        "{error}"
    );
    let config = parse("mcp_servers:\n  a: {url: 'http://a/', extra_headers: [Authorization]}").unwrap();
    assert!(
        config.notices[0]
            .notice
            .message
            .contains("the gateway's own key is never sent to a server")
    );
}

#[test]
fn files_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let missing = trunkline_config::load(&path, &vars(&[])).unwrap_err();
    assert!(
        matches!(missing, ConfigError::Read { .. })
            && missing.to_string().contains("config.yaml: cannot be read")
    );
    std::fs::write(&path, "mcp_servers: {a: {url: 'http://a/'}}").unwrap();
    assert_eq!(
        trunkline_config::load(&path, &vars(&[])).unwrap().servers.len(),
        1
    );
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(
        trunkline_config::load(&path, &vars(&[]))
            .unwrap_err()
            .to_string()
            .contains("is not UTF-8 text")
    );
    std::fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(
        trunkline_config::load(&path, &vars(&[]))
            .unwrap_err()
            .to_string()
            .contains("larger than 4 MiB")
    );
}
