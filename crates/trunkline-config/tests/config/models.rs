//! `model_list` and `router_settings`.

use std::collections::BTreeSet;

use trunkline_model::{Deployment, FailureKind};

use crate::common::{parse, parse_with};

const BASE: &str = "model_list:\n  - model_name: m\n    litellm_params:\n      model: hosted_vllm/x\n      api_base: http://a/v1\n";

fn one(text: &str, variables: &[(&str, &str)]) -> Deployment {
    let config = parse_with(text, variables).unwrap();
    Deployment::clone(&config.models.deployments[0])
}

/// The mistakes of a file, a line each.
fn mistakes(text: &str) -> String {
    parse(text)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn b29_every_parameter_has_an_effect() {
    let samples = [
        ("model", "hosted_vllm/y"),
        ("custom_llm_provider", "xinference"),
        ("api_base", "http://b/v1"),
        ("base_url", "http://b/v1"),
        ("api_key", "k"),
        ("organization", "o"),
        ("extra_headers", "{X-A: b}"),
        ("timeout", "5"),
        ("stream_timeout", "5"),
        ("weight", "2"),
        ("rpm", "2"),
        ("tpm", "2"),
        ("max_parallel_requests", "2"),
        ("cooldown_time", "2"),
        ("num_retries", "2"),
        ("max_retries", "2"),
        ("tags", "[a]"),
        ("order", "2"),
        ("drop_params", "true"),
        ("use_in_pass_through", "true"),
        ("additional_drop_params", "[seed]"),
        ("input_cost_per_token", "2.5e-06"),
        ("output_cost_per_token", "0"),
        ("cache_read_input_token_cost", "0.000001"),
        ("cache_creation_input_token_cost", "1"),
        ("input_cost_per_audio_token", "1"),
        ("output_cost_per_audio_token", "1"),
        ("output_cost_per_reasoning_token", "1"),
        ("input_cost_per_request", "'0.01'"),
        ("input_cost_per_query", "1"),
        ("input_cost_per_image", "1"),
        ("output_cost_per_image", "1"),
        ("input_cost_per_image_token", "1"),
        ("output_cost_per_image_token", "1"),
        ("input_cost_per_second", "1"),
        ("output_cost_per_second", "1"),
        ("input_cost_per_character", "1"),
        ("aws_access_key_id", "a"),
        ("aws_secret_access_key", "b"),
        ("aws_session_token", "c"),
        ("aws_region_name", "eu-west-1"),
        ("aws_bedrock_runtime_endpoint", "http://b"),
        ("vertex_project", "p"),
        ("vertex_location", "l"),
        ("vertex_credentials", "/c.json"),
        // Of one provider alone.
        ("api_version", "2024-10-21"),
        ("azure_ad_token", "t"),
    ];
    let azure = BASE.replace("hosted_vllm/", "azure/");
    let signed = "      aws_access_key_id: x\n      aws_secret_access_key: secret\n";
    let bedrock = BASE.replace("hosted_vllm/", "bedrock/") + signed;
    let without = bedrock.replace("      api_base: http://a/v1\n", "");
    let vertex = BASE.replace("hosted_vllm/", "vertex_ai/gemini-");
    for (name, value) in samples {
        let own = if matches!(name, "api_version" | "azure_ad_token") {
            azure.as_str()
        } else if name == "aws_bedrock_runtime_endpoint" {
            without.as_str()
        } else if name.starts_with("aws_") {
            bedrock.as_str()
        } else if name.starts_with("vertex_") {
            vertex.as_str()
        } else {
            BASE
        };
        let plain = one(own, &[]);
        let kept = |line: &&str| {
            let line = line.trim();
            !(line.starts_with(&format!("{name}:")) || name == "base_url" && line.starts_with("api_base:"))
        };
        let kept: Vec<&str> = own.lines().filter(kept).collect();
        let base = kept.join("\n") + "\n";
        let changed = one(&format!("{base}      {name}: {value}\n"), &[]);
        assert_ne!(changed, plain, "{name} is ignored in silence");
    }
    let schema = trunkline_config::json_schema();
    let properties =
        &schema["properties"]["model_list"]["items"]["properties"]["litellm_params"]["properties"];
    let served = properties.as_object().unwrap().iter();
    let served: BTreeSet<_> = served
        .filter(|(_, field)| field.get("deprecated").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(served, samples.iter().map(|(name, _)| *name).collect());
}

#[test]
fn prices_are_kept_as_they_are_written() {
    let own = one(
        &format!(
            "{BASE}      input_cost_per_token_above_200k_tokens: 0.0000025\n      output_cost_per_token_batches: 5\n"
        ),
        &[],
    );
    let prices: Vec<_> = own
        .params
        .prices
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    assert_eq!(
        prices,
        [
            ("input_cost_per_token_above_200k_tokens", "0.0000025"),
            ("output_cost_per_token_batches", "5")
        ]
    );
    for wrong in ["-1", "much", "[1]", "true"] {
        let told = mistakes(&format!("{BASE}      input_cost_per_token: {wrong}\n"));
        assert!(
            told.contains("litellm_params.input_cost_per_token") && told.contains("must be dollars"),
            "{wrong}: {told}"
        );
        let told = mistakes(&format!(
            "{BASE}    model_info: {{input_cost_per_token: {wrong}}}\n"
        ));
        assert!(
            told.contains("model_info") && told.contains("input_cost_per_token must be dollars"),
            "{wrong}: {told}"
        );
    }
    let told = mistakes(&format!("{BASE}      input_cost_per_tokne: 1\n")); // spellchecker:disable-line
    assert!(told.contains("did you mean \"input_cost_per_token\"?"), "{told}");
}

#[test]
fn mistakes_have_a_place_and_a_suggestion() {
    for (text, wanted) in [
        (
            format!("{BASE}      api_kye: k\n"),
            "6:7: unknown field \"api_kye\" in model_list[0].litellm_params; did you mean \"api_key\"?",
        ),
        (
            BASE.replace("model_name", "modle_name"), // spellchecker:disable-line
            "did you mean \"model_name\"?",
        ),
        (
            BASE.replace("hosted_vllm/", "hosted_vlm/"),
            "did you mean \"hosted_vllm\"?",
        ),
        (
            BASE.replace("hosted_vllm/x", "x"),
            "names no provider that is known",
        ),
        (
            BASE.replace("http://a/v1", "ftp://a"),
            "model_list[0].litellm_params.api_base: only http",
        ),
        (
            BASE.replace("http://a/v1", "http://u:p@a"),
            "api_base: holds a user name or password",
        ),
        (
            BASE.replace("http://a/v1", "http://a/v1?x=1"),
            "neither a query nor a fragment",
        ),
        (
            format!("{BASE}      guardrails: [a]\n"),
            "is not served, and it protects something",
        ),
        (
            format!("{BASE}    model_info: {{team_id: t}}\n"),
            "team_id is not served, and it protects something",
        ),
        (
            format!("{BASE}      extra_headers: {{\"a b\": c}}\n"),
            "is not the name of a header",
        ),
        (
            format!("{BASE}      timeout: 0\n"),
            "timeout: must be a number greater than 0",
        ),
        (
            BASE.replace("model_name: m", "model_name: all-proxy-models"),
            "model_list[0].model_name: is a word",
        ),
        (
            "model_list: {a: b}\n".to_owned(),
            "model_list must be a list, not a mapping",
        ),
        (
            "model_list:\n  - model_name: m\n".to_owned(),
            "litellm_params: is missing",
        ),
        (
            "router_settings: {provider_budget_config: {openai: {budget_limit: 1}}}\n".to_owned(),
            "protects something",
        ),
        (
            "router_settings: {routing_strategy: least_busy}\n".to_owned(),
            "did you mean \"least-busy\"?",
        ),
        (
            "router_settings: {fallbacks: {a: [b]}}\n".to_owned(),
            "router_settings.fallbacks must be a list, not a mapping",
        ),
        (
            "router_settings: {fallbacks: [{a: [{model: b}]}]}\n".to_owned(),
            "router_settings.fallbacks[0].a[0] must be text, not a mapping",
        ),
        (
            "router_settings: {retry_policy: {TimeoutErrorRetry: 1}}\n".to_owned(),
            "did you mean \"TimeoutErrorRetries\"?",
        ),
        (
            "router_settings: {model_group_alias: {a: {models: b}}}\n".to_owned(),
            "did you mean \"model\"?",
        ),
        (
            BASE.replace("model_name: m", "model_name: '*a*b*c*'"),
            "has too many `*`",
        ),
        (
            "router_settings: {num_retires: 1}\n".to_owned(),
            "did you mean \"num_retries\"?",
        ),
        (
            format!(
                "{BASE}    model_info: {{id: a}}\n{}    model_info: {{id: a}}\n",
                BASE.split_once('\n').unwrap().1
            ),
            "another entry has the same id",
        ),
    ] {
        let said = mistakes(&text);
        assert!(said.contains(wanted), "{text}: {said}");
    }
}

#[test]
fn what_cannot_be_used_does_not_stop_the_start() {
    let sagemaker = BASE.replace("hosted_vllm/x", "sagemaker/claude") + "      any_parameter: 1\n";
    let unset = BASE.replace("http://a/v1", "os.environ/NOBODY");
    let keyless = "model_list:\n  - model_name: m\n    litellm_params: {model: groq/x}\n".to_owned();
    for (text, why) in [
        (sagemaker, "its provider sagemaker is not served yet"),
        (unset, "references NOBODY, which is not set"),
        (keyless, "it has no api_key, and GROQ_API_KEY is not set"),
        (
            BASE.replace("      api_base: http://a/v1\n", ""),
            "it has no api_base",
        ),
    ] {
        let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let defect = config.models.deployments[0].defect.clone().unwrap_or_default();
        assert!(defect.contains(why), "{defect}");
        let notices: Vec<_> = config.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            notices.iter().filter(|own| own.contains(why)).count(),
            1,
            "{notices:?}"
        );
    }
}

#[test]
fn keys_and_addresses_come_from_litellms_variables_and_are_never_shown() {
    let text = "model_list:\n  - model_name: m\n    litellm_params: {model: gpt-4o}\n";
    let variables = [
        ("OPENAI_API_KEY", "canary-key"),
        ("OPENAI_BASE_URL", "https://own.example/v1"),
    ];
    let own = one(text, &variables);
    assert_eq!((own.provider.as_str(), own.model.as_str()), ("openai", "gpt-4o"));
    assert_eq!(own.params.api_base, "https://own.example/v1");
    assert_eq!(
        own.params.api_key.as_ref().map(trunkline_model::Secret::expose),
        Some("canary-key")
    );
    assert!(!format!("{own:?}").contains("canary"), "{own:?}");
    let text = "model_list:\n  - model_name: m\n    litellm_params: {model: claude-sonnet-4-5}\n";
    let own = one(
        text,
        &[
            ("ANTHROPIC_API_KEY", "k"),
            ("ANTHROPIC_API_BASE", "https://a.example"),
        ],
    );
    assert_eq!(
        (own.provider.as_str(), own.params.api_base.as_str()),
        ("anthropic", "https://a.example")
    );
    // The provider's key is not for whoever has another address.
    let elsewhere = "model_list:\n  - model_name: m\n    litellm_params: {model: openai/x, api_base: 'http://vllm.example/v1'}\n";
    assert_eq!(one(elsewhere, &variables).params.api_key, None);
    let ignored = parse(&format!("{BASE}      temperature: 0.5\n      max_tokens: 5\n")).unwrap();
    let notice = ignored.notices[0].to_string();
    assert!(notice.contains("temperature, max_tokens"), "{notice}");
}

#[test]
fn ids_stay_when_keys_and_shares_change_and_copies_are_two() {
    let id = |text: &str| one(text, &[]).id;
    assert_eq!(
        id(BASE),
        id(&format!("{BASE}      api_key: k\n      weight: 3\n"))
    );
    assert_ne!(id(BASE), id(&BASE.replace("http://a", "http://b")));
    let twice = format!("{BASE}{}", BASE.split_once('\n').unwrap().1);
    let config = parse(&twice).unwrap();
    assert_ne!(config.models.deployments[0].id, config.models.deployments[1].id);
}

#[test]
fn rules_of_the_router_win_over_the_general_ones() {
    let rules = |text: &str| parse(text).unwrap().models.rules;
    let plain = rules("");
    assert_eq!(
        (plain.num_retries, plain.timeout, plain.cooldown_time),
        (2, 600.0, 5.0)
    );
    let general = rules("litellm_settings: {num_retries: 4, request_timeout: 30}\n");
    assert_eq!((general.num_retries, general.timeout), (4, 30.0));
    assert!(rules("litellm_settings: {drop_params: true}\n").drop_params && !plain.drop_params);
    let own = rules(
        "litellm_settings: {num_retries: 4}\nrouter_settings: {num_retries: 0, timeout: 9, cooldown_time: 1.5}\n",
    );
    assert_eq!((own.num_retries, own.timeout, own.cooldown_time), (0, 9.0, 1.5));
    assert!(
        rules("router_settings: {disable_cooldowns: true}\n")
            .cooldown_time
            .abs()
            < f64::EPSILON
    );
}

#[test]
fn what_is_done_after_a_failure_is_read() {
    let rules = |text: &str| parse(&format!("{BASE}{text}")).unwrap().models.rules;
    let own = rules(
        "litellm_settings: {fallbacks: [{a: [b]}], allowed_fails: 3}\nrouter_settings:\n  fallbacks: [{m: [x, w]}, {n: [m]}]\n  default_fallbacks: [z]\n  retry_policy: {TimeoutErrorRetries: 3}\n  model_group_retry_policy: {m: {RateLimitErrorRetries: 0}}\n  allowed_fails_policy: {InternalServerErrorAllowedFails: 9}\n  model_group_alias: {a: m, b: {model: m, hidden: true}}\n  num_retries: 1\n",
    );
    let targets: Vec<_> = own.fallbacks.general.iter().collect();
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        targets,
        [
            (&"*".to_owned(), &texts(&["z"])),
            (&"m".to_owned(), &texts(&["x", "w"])),
            (&"n".to_owned(), &texts(&["m"]))
        ]
    );
    assert_eq!(
        (own.fallbacks.most, own.allowed_fails, own.asks_again),
        (5, Some(3), true)
    );
    assert_eq!(own.retry_policy.of(FailureKind::Timeout), Some(3));
    assert_eq!(own.group_retry_policy["m"].of(FailureKind::RateLimit), Some(0));
    assert_eq!(own.allowed_fails_policy.of(FailureKind::InternalServer), Some(9));
    assert!(own.aliases["b"].hidden && !own.aliases["a"].hidden);
    let general = rules("litellm_settings: {fallbacks: [{m: [b]}], default_fallbacks: [m]}\n");
    assert_eq!(general.fallbacks.general.len(), 2);
    // A name that nobody has is said, unless it may come from the database.
    let notices = |text: &str| parse(&format!("{BASE}{text}")).unwrap().notices;
    let said = notices("router_settings: {fallbacks: [{m: [nobody]}], model_group_alias: {a: m}}\n");
    assert!(
        said[0]
            .to_string()
            .contains("router_settings.fallbacks: names a model"),
        "{said:?}"
    );
    assert_eq!(said.len(), 1);
    assert!(notices("router_settings: {fallbacks: [{m: [m]}]}\n").is_empty());
}

#[test]
fn a_star_is_of_its_provider_or_of_all_that_have_a_key() {
    let text = "model_list:\n  - model_name: openai/*\n    litellm_params: {model: openai/*, api_key: k}\n";
    let own = one(text, &[]);
    assert_eq!(
        (own.provider.as_str(), own.model.as_str(), own.by_name),
        ("openai", "*", false)
    );
    let all = "model_list:\n  - model_name: '*'\n    litellm_params: {model: '*'}\n";
    let of = |variables: &[(&str, &str)]| {
        let own = parse_with(all, variables).unwrap();
        let own = own.models.deployments.iter().filter(|own| own.by_name);
        own.map(|own| own.provider.clone()).collect::<Vec<_>>()
    };
    let keyed = of(&[("GROQ_API_KEY", "k"), ("ANTHROPIC_API_KEY", "k")]);
    assert!(keyed.contains(&"groq".to_owned()) && keyed.contains(&"anthropic".to_owned()));
    assert!(!keyed.contains(&"openai".to_owned()), "{keyed:?}");
    let said = mistakes(&all.replace("'*'}", "'*', api_key: k}"));
    assert!(said.contains("say which with custom_llm_provider"), "{said}");
    let more = parse(&BASE.replace("hosted_vllm/x", "hosted_vllm/*")).unwrap();
    assert!(more.models.deployments[0].defect.is_some());
}

#[test]
fn azure_is_told_who_asks_by_a_key_or_a_token() {
    let text = "model_list:\n  - model_name: m\n    litellm_params:\n      model: azure/d\n";
    let variables = [
        ("AZURE_API_BASE", "https://a.openai.azure.com"),
        ("AZURE_API_KEY", "k"),
        ("AZURE_API_VERSION", "2024-10-21"),
        ("AZURE_AD_TOKEN", "t"),
    ];
    let own = one(text, &variables);
    assert_eq!(own.defect, None);
    assert_eq!(own.params.api_base, "https://a.openai.azure.com");
    assert_eq!(own.params.api_key.as_ref().unwrap().expose(), "k");
    assert_eq!(own.params.api_version.as_deref(), Some("2024-10-21"));
    // One of the two is enough, and the key counts more.
    assert!(own.params.azure_ad_token.is_none());
    let own = one(text, &[variables[0], variables[3]]);
    assert_eq!(own.defect, None);
    assert_eq!(own.params.azure_ad_token.as_ref().unwrap().expose(), "t");
    let own = one(text, &variables[..1]);
    assert!(own.defect.unwrap().contains("AZURE_OPENAI_API_KEY"));
    let own = one(text, &variables[1..]);
    assert!(own.defect.unwrap().contains("api_base"));
}

#[test]
fn an_address_has_a_revision_only_where_it_is_azures() {
    let text = format!("{BASE}      api_version: v1\n");
    let config = parse_with(&text, &[]).unwrap();
    let told: String = config.notices.iter().map(ToString::to_string).collect();
    assert!(
        told.contains("api_version") && told.contains("no effect"),
        "{told}"
    );
    assert_eq!(config.models.deployments[0].params.api_version, None);
}

#[test]
fn clouds_say_who_asks_and_where() {
    let bedrock = |more: &str| {
        format!("model_list:\n  - model_name: m\n    litellm_params:\n      model: bedrock/{more}")
    };
    let signed = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
    ];
    let own = one(&bedrock("converse/eu-west-1/a.b-v1:0\n"), &signed);
    assert_eq!((own.defect.as_deref(), own.model.as_str()), (None, "a.b-v1:0"));
    assert_eq!(
        own.params.api_base,
        "https://bedrock-runtime.eu-west-1.amazonaws.com"
    );
    let aws = own.params.aws.unwrap();
    assert_eq!(
        (aws.region.as_str(), aws.session_token.unwrap().expose()),
        ("eu-west-1", "t")
    );
    // A token of the environment is that of the key from there.
    let written = bedrock("a.b\n      aws_access_key_id: x\n      aws_secret_access_key: secret\n");
    let own = one(&written, &[signed[2], ("AWS_REGION", "us-east-1")]);
    let aws = own.params.aws.unwrap();
    assert_eq!(
        (aws.region.as_str(), aws.session_token.is_none()),
        ("us-east-1", true)
    );
    let own = one(&bedrock("a.b\n"), &[("AWS_BEARER_TOKEN_BEDROCK", "b")]);
    assert_eq!((own.defect, own.params.aws), (None, None));
    assert!(
        one(&bedrock("a.b\n"), &signed[..1])
            .defect
            .unwrap()
            .contains("aws_secret_access_key")
    );
    assert!(
        mistakes(&bedrock("a.b\n      aws_region_name: evil.example/\n"))
            .contains("letters, digits and dashes")
    );
    // Who is meant to be asked as somebody else is not asked with the keys that happen to be there.
    for field in [
        "aws_role_name: arn:aws:iam::1:role/r",
        "aws_profile_name: p",
        "aws_web_identity_token: /t",
    ] {
        let text = bedrock(&format!("a.b\n      {field}\n"));
        let config = parse_with(&text, &signed).unwrap();
        let defect = config.models.deployments[0].defect.clone().unwrap();
        let name = field.split(':').next().unwrap();
        assert!(defect.starts_with(&format!("{name} is not served: ")), "{defect}");
        assert!(defect.contains("aws_access_key_id"), "{defect}");
        let said = config.notices.iter().any(|own| {
            own.to_string()
                .contains(&format!("5:7: model_list[0].litellm_params.{name}"))
        });
        assert!(said, "{:?}", config.notices);
    }
    let vertex = |more: &str| {
        format!(
            "model_list:\n  - model_name: m\n    litellm_params:\n      model: vertex_ai/gemini-x\n{more}"
        )
    };
    let inline = "      vertex_credentials: '{\"project_id\": \"p\"}'\n";
    let own = one(&vertex(&format!("{inline}      vertex_location: global\n")), &[]);
    assert_eq!(own.defect, None);
    assert_eq!(
        (own.params.api_base.as_str(), own.params.vertex_project.as_deref()),
        ("https://aiplatform.googleapis.com", Some("p"))
    );
    let own = one(
        &vertex("      vertex_project: p\n"),
        &[("GOOGLE_APPLICATION_CREDENTIALS", "/c.json")],
    );
    assert_eq!(
        own.params.api_base,
        "https://us-central1-aiplatform.googleapis.com"
    );
    assert!(
        one(&vertex("      vertex_credentials: /c.json\n"), &[])
            .defect
            .unwrap()
            .contains("vertex_project")
    );
    let persons = "      vertex_project: p\n      vertex_credentials: '{\"type\": \"authorized_user\"}'\n";
    let defect = one(&vertex(persons), &[]).defect.unwrap();
    assert!(
        defect.contains("a service account") && defect.contains("a person's"),
        "{defect}"
    );
}
