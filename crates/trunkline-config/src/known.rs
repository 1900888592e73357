//! What LiteLLM 1.109 knows and Trunkline does not serve: names only, with what leaving each out means.
//!
//! The question for each name: would ignoring it let somebody in, or let something through? Then it is refused and the
//! gateway does not start; everything else has no effect here and is named in one warning. To serve one of them, move its
//! name to [`crate::fields`].

/// What becomes of a known setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Read by [`crate::servers`] or [`crate::general`].
    Served,
    /// No effect here.
    Ignored(Effect),
    /// Stops the start where it is switched on; the text says what would be lost.
    Refused(&'static str),
}

/// Why a setting has no effect, as the end of "… have no effect:".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    Models,
    Logging,
    Keys,
    Limits,
    Budgets,
    Ui,
    Mcp,
    Guard,
    Python,
    Secrets,
    Database,
    Certificate,
}

impl Effect {
    /// What is not done, for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Models => "of requests to models, these are not served",
            Self::Logging => {
                "external log sinks, callbacks and alerts are not called, and health is checked in Trunkline's own way"
            }
            Self::Keys => {
                "rules about how keys, teams and users are made are not served: administrators make them, and admins of teams their keys"
            }
            Self::Limits => "these settings of budgets, spend and limits are not served",
            Self::Budgets => {
                "these budgets are not held, and nothing is refused for them: what all keys together spend has no bound, nor what a deployment costs, nor who has no budget of its own. Give keys, teams, users or budgets a `max_budget`, which is held"
            }
            Self::Ui => "there is no web interface and no single sign-on",
            Self::Mcp => "these MCP features are not served: every tool is listed, and there is no hub",
            Self::Guard => "they belong to guardrails, which are not served",
            Self::Python => "Python code is not run: these tools do not exist",
            Self::Secrets => {
                "secrets are read from the environment and not from a vault: such a reference counts as not set"
            }
            Self::Database => {
                "Trunkline keeps its database itself, and servers can always be registered through the API"
            }
            Self::Certificate => {
                "a client certificate is shown to one server and not to all: set tls_client_cert and tls_client_key of the server"
            }
        }
    }
}

const SENT_IN: &str = "callers of other networks, clients or roles would be let in.";
const KEYS: &str = "users and admins of teams make keys within Trunkline's own bounds, and within no others: keys would be made that it refuses.";
const SCOPE: &str = "keys would reach servers they should not.";
const GUARDRAILS: &str =
    "guardrails are not served: calls would pass without the check. Remove it only if that is meant.";

/// Top-level keys of the file.
pub(crate) const TOP_LEVEL: &[(&str, Fate)] = &[
    ("mcp_servers", Fate::Served),
    ("litellm_settings", Fate::Served),
    ("general_settings", Fate::Served),
    ("environment_variables", Fate::Served),
    ("model_list", Fate::Served),
    ("router_settings", Fate::Served),
    ("credential_list", Fate::Ignored(Effect::Models)),
    ("assistant_settings", Fate::Ignored(Effect::Models)),
    ("finetune_settings", Fate::Ignored(Effect::Models)),
    ("files_settings", Fate::Ignored(Effect::Models)),
    ("search_tools", Fate::Ignored(Effect::Models)),
    ("sandbox_tools", Fate::Ignored(Effect::Models)),
    ("vector_store_registry", Fate::Ignored(Effect::Models)),
    ("default_vertex_config", Fate::Ignored(Effect::Models)),
    ("worker_registry", Fate::Ignored(Effect::Models)),
    ("model_group_settings", Fate::Ignored(Effect::Models)),
    ("prompts", Fate::Ignored(Effect::Models)),
    ("agents", Fate::Ignored(Effect::Models)),
    ("agent_list", Fate::Ignored(Effect::Models)),
    ("callback_settings", Fate::Ignored(Effect::Logging)),
    ("mcp_tools", Fate::Ignored(Effect::Python)),
    ("guardrails", Fate::Refused(GUARDRAILS)),
    ("policies", Fate::Refused(GUARDRAILS)),
    ("policy_attachments", Fate::Refused(GUARDRAILS)),
    (
        "include",
        Fate::Refused("other files are not read, and what they say would be missing: put it into this file."),
    ),
];

/// Settings of `general_settings` whose absence would let somebody in or something through.
pub(crate) const GENERAL_REFUSED: &[(&str, &str)] = &[
    ("custom_key_generate", KEYS),
    ("custom_key_policy", KEYS),
    ("custom_key_update", KEYS),
    (
        "custom_auth",
        "Python code is not run, so callers that it refuses would be let in.",
    ),
    (
        "custom_auth_run_common_checks",
        "Python code is not run, so callers that it refuses would be let in.",
    ),
    ("enable_jwt_auth", "JWT authentication is not served yet."),
    (
        "litellm_jwtauth",
        "JWT authentication is not served yet, nor are the restrictions in it.",
    ),
    (
        "allowed_routes",
        "restricting routes is not served yet: they would be open.",
    ),
    (
        "admin_only_routes",
        "restricting routes is not served yet: they would be open.",
    ),
    ("enforce_rbac", SENT_IN),
    ("role_permissions", SENT_IN),
    (
        "litellm_key_header_name",
        "another header for gateway keys is not served yet: it would be taken for one of the client's own and could be forwarded to a server. Use x-litellm-api-key or Authorization.",
    ),
    ("mcp_allowed_clients", SENT_IN),
    ("mcp_client_id_header", SENT_IN),
    (
        "mcp_disabled_capabilities",
        "switching capabilities off is not served yet: they would stay on.",
    ),
    (
        "mcp_require_explicit_server_scope",
        "requests without a server scope would be answered.",
    ),
    (
        "mcp_required_fields",
        "submissions without these fields would be accepted.",
    ),
    ("require_end_user_mcp_access_defined", SCOPE),
    ("mcp_allow_all_keys_respects_mcp_scope", SCOPE),
];

/// The same of `litellm_settings`.
pub(crate) const LITELLM_REFUSED: &[(&str, &str)] = &[
    ("key_generation_settings", KEYS),
    ("upperbound_key_generate_params", KEYS),
    ("guardrails", GUARDRAILS),
    ("guardrail_name_config_map", GUARDRAILS),
    ("prompt_injection_params", GUARDRAILS),
    ("banned_keywords_list", GUARDRAILS),
    ("blocked_user_list", "users on the list would be let in."),
    (
        "pre_call_rules",
        "Python code is not run, so calls that it refuses would pass.",
    ),
    (
        "post_call_rules",
        "Python code is not run, so answers that it refuses would pass.",
    ),
];

/// The same of `router_settings`.
pub(crate) const ROUTER_REFUSED: &[(&str, &str)] = &[
    (
        "guardrail_list",
        "guardrails are not served: calls would pass without the check. Remove it only if that is meant.",
    ),
    (
        "provider_budget_config",
        "budgets of providers are not kept: they would be exceeded.",
    ),
];

/// Names of `router_settings` that have no effect here, blank-separated.
pub(crate) const ROUTER_IGNORED: &[(Effect, &str)] = &[(
    Effect::Models,
    "alerting_config assistants_config cache_kwargs cache_responses \
     caching_groups client_ttl debug_level \
     default_litellm_params default_priority deployment_affinity_ttl_seconds \
     enable_pre_call_checks enable_weighted_failover ignore_invalid_deployments \
     model_group_affinity_config optional_pre_call_checks \
     polling_interval redis_db redis_host redis_password redis_port redis_ssl redis_url \
     router_general_settings routing_groups routing_strategy_args search_tools set_verbose \
     ",
)];

/// What of `litellm_params` would let something through.
pub(crate) const PARAMS_REFUSED: &[(&str, &str)] = &[(
    "guardrails",
    "guardrails are not served: calls would pass without the check. Remove it only if that is meant.",
)];

/// Names of `litellm_params` that have no effect here, blank-separated. Parameters of requests among them are LiteLLM's
/// defaults for requests that do not say them.
pub(crate) const PARAMS_IGNORED: &[(Effect, &str)] = &[
    (
        Effect::Limits,
        "default_api_key_rpm_limit default_api_key_tpm_limit \
         input_cost_per_pixel \
         output_cost_per_pixel ",
    ),
    (Effect::Budgets, "budget_duration max_budget"),
    (
        Effect::Models,
        "allowed_openai_params audio aws_bedrock_client aws_external_id aws_profile_name aws_role_name aws_session_name aws_sts_endpoint \
         aws_web_identity_token azure_password azure_scope azure_username base_model guardrailConfig model_id performanceConfig \
         vertex_ai_credentials vertex_ai_location vertex_ai_project cache_control_injection_points \
         client_id client_secret tenant_id configurable_clientside_auth_params custom_tokenizer default_headers extra_body extra_query \
         frequency_penalty function_call functions hf_model_name litellm_system_prompt logit_bias logprobs \
         max_completion_tokens max_file_size_mb max_tokens merge_reasoning_content_in_choices metadata mock_response \
         modalities model_config n parallel_tool_calls prediction presence_penalty prompt_id prompt_variables \
         reasoning_effort region_name response_format seed service_tier ssl_verify stop store stream stream_options \
         supports_system_message tag_regex temperature thinking tool_choice tools top_logprobs top_p \
         use_litellm_proxy user verbosity web_search_options",
    ),
];

/// Names in `litellm_settings.callbacks` that refuse or change calls, as against those that only look on.
pub(crate) const GUARDING_CALLBACKS: &[&str] = &[
    "aporia_prompt_injection",
    "azure_content_safety",
    "banned_keywords",
    "blocked_user_check",
    "detect_prompt_injection",
    "google_text_moderation",
    "hide_secrets",
    "lakera_prompt_injection",
    "llamaguard_moderations",
    "llmguard_moderations",
    "openai_moderations",
    "presidio",
];

/// The names of `litellm_settings` that are served.
const LITELLM_SERVED: [&str; 2] = ["mcp_aliases", "ssl_verify"];

fn is_litellm_served(name: &str) -> bool {
    LITELLM_SERVED.contains(&name) || crate::router::GENERAL.contains(&name)
}

/// What becomes of `name` in `general_settings`; `None` if LiteLLM does not know it either.
pub(crate) fn general(name: &str) -> Option<Fate> {
    if crate::fields::find(crate::fields::GENERAL, name).is_some() {
        return Some(Fate::Served);
    }
    fate(name, GENERAL_REFUSED, GENERAL_IGNORED)
}

/// The same for `litellm_settings`.
pub(crate) fn litellm(name: &str) -> Option<Fate> {
    if is_litellm_served(name) {
        return Some(Fate::Served);
    }
    fate(name, LITELLM_REFUSED, LITELLM_IGNORED)
}

/// The same for `router_settings`.
pub(crate) fn router(name: &str) -> Option<Fate> {
    if crate::fields::find(crate::fields::ROUTER, name).is_some() {
        return Some(Fate::Served);
    }
    fate(name, ROUTER_REFUSED, ROUTER_IGNORED)
}

/// All names of `router_settings`.
pub(crate) fn router_names() -> impl Iterator<Item = &'static str> {
    let served = crate::fields::ROUTER.iter().map(|field| field.name);
    served.chain(names(ROUTER_REFUSED, ROUTER_IGNORED))
}

/// What becomes of `name` in `litellm_params` of a deployment that is served.
pub(crate) fn litellm_params(name: &str) -> Option<Fate> {
    if crate::fields::find(crate::fields::LITELLM_PARAMS, name).is_some()
        || trunkline_llm::price::Priced::parse(name).is_some()
    {
        return Some(Fate::Served);
    }
    fate(name, PARAMS_REFUSED, PARAMS_IGNORED)
}

/// All names of `litellm_params`.
pub(crate) fn litellm_params_names() -> impl Iterator<Item = &'static str> {
    let served = crate::fields::LITELLM_PARAMS.iter().map(|field| field.name);
    served.chain(names(PARAMS_REFUSED, PARAMS_IGNORED))
}

/// All names of `general_settings`.
pub(crate) fn general_names() -> impl Iterator<Item = &'static str> {
    let served = crate::fields::GENERAL.iter().map(|field| field.name);
    served.chain(names(GENERAL_REFUSED, GENERAL_IGNORED))
}

/// All names of `litellm_settings`.
pub(crate) fn litellm_names() -> impl Iterator<Item = &'static str> {
    LITELLM_SERVED
        .into_iter()
        .chain(crate::router::GENERAL)
        .chain(names(LITELLM_REFUSED, LITELLM_IGNORED))
}

type Refused = &'static [(&'static str, &'static str)];
type Ignored = &'static [(Effect, &'static str)];

fn fate(name: &str, refused: Refused, ignored: Ignored) -> Option<Fate> {
    if let Some((_, reason)) = refused.iter().find(|(own, _)| *own == name) {
        return Some(Fate::Refused(reason));
    }
    ignored
        .iter()
        .find(|(_, names)| names.split_whitespace().any(|own| own == name))
        .map(|(effect, _)| Fate::Ignored(*effect))
}

fn names(refused: Refused, ignored: Ignored) -> impl Iterator<Item = &'static str> {
    let refused = refused.iter().map(|(name, _)| *name);
    refused.chain(ignored.iter().flat_map(|(_, names)| names.split_whitespace()))
}

/// Names of `general_settings` that have no effect here, blank-separated.
pub(crate) const GENERAL_IGNORED: &[(Effect, &str)] = &[
    (
        Effect::Mcp,
        "enable_mcp_registry mcp_advertised_versions mcp_client_side_auth_header_name \
         mcp_prefer_client_id_metadata_document mcp_session_token_signing user_mcp_management_mode",
    ),
    (
        Effect::Ui,
        "allow_cli_sso_verification_uri_complete auto_redirect_ui_login_to_sso \
         claude_code_gateway_managed_settings claude_code_marketplace_auth_required control_plane_url \
         custom_sso custom_ui_sso_sign_in_handler disable_env_credential_login \
         disable_password_login_when_sso_enabled enable_claude_code_gateway enable_public_model_hub \
         failed_login_block_seconds failed_login_window_seconds hide_default_credentials_hint litellm_license \
         max_failed_login_attempts_per_source max_failed_login_attempts_per_source_overrides \
         password_policy_check_breached_passwords password_policy_min_length \
         password_policy_require_lowercase password_policy_require_numbers \
         password_policy_require_special_characters password_policy_require_uppercase plugins ui_access_mode",
    ),
    (
        Effect::Limits,
        "accounting_capture accounting_sync_ack accounting_sync_ack_failure_policy \
         accounting_sync_ack_timeout_seconds admission_queue_timeout_seconds apply_user_budget_to_team_keys \
         disable_batch_input_file_rate_limiting disable_budget_reservation \
         disable_fallbacks_on_per_model_rate_limits disable_reset_budget \
         disable_retry_on_max_parallel_request_limit_error disable_spend_logs disable_spend_updates \
         fail_closed_budget_enforcement fail_closed_rate_limit_enforcement global_max_parallel_requests \
         max_batch_file_records max_batch_file_size_mb max_batch_file_uploads_per_day \
         max_file_downloads_per_minute max_in_flight_requests_per_worker max_parallel_requests \
         max_queued_requests_per_worker maximum_daily_tag_spend_retention_period \
         maximum_spend_logs_cleanup_batch_size maximum_spend_logs_cleanup_batch_timeout \
         maximum_spend_logs_cleanup_cron maximum_spend_logs_cleanup_max_batches \
         maximum_spend_logs_cleanup_run_budget maximum_spend_logs_cleanup_target_size \
         maximum_spend_logs_retention_interval maximum_spend_logs_size \
         maximum_spend_logs_size_check_interval proxy_batch_write_at proxy_budget_rescheduler_max_time \
         proxy_budget_rescheduler_min_time request_tag_mappings self_serve_budget_policy \
         skip_batch_input_file_rate_limiting_for_models skip_batch_input_file_rate_limiting_for_providers \
         spend_capture_rate_check spend_logs_metadata_fields spend_report_frequency \
         store_prompts_in_spend_logs token_rate_limit_type track_unmanaged_batch_cost \
         use_spend_logs_partitioning",
    ),
    (
        Effect::Database,
        "allow_requests_on_db_unavailable coordination_redis database_args \
         database_connect_timeout database_connection_pool_limit database_connection_pool_timeout \
         database_connection_timeout database_disable_prepared_statements database_extra_connection_params \
         database_max_idle_connection_lifetime database_socket_timeout database_type \
         disable_prisma_schema_update maximum_autorouter_session_retention_period \
         maximum_health_check_retention_period proxy_batch_polling_interval \
         proxy_config_reload_interval_seconds scheduled_job_stagger supported_db_objects \
         use_redis_transaction_buffer",
    ),
    (
        Effect::Logging,
        "alert_to_webhook_url alert_type_config alert_types alerting alerting_args alerting_threshold \
         allow_public_health_readiness_details background_health_check_model_groups background_health_checks \
         disable_error_logs disable_requester_ip_address_logging drain_endpoint_token enable_drain_endpoint \
         enable_health_check_routing expose_fallback_errors_to_caller health_check_concurrency \
         health_check_details health_check_ignore_transient_errors health_check_interval \
         health_check_skip_disabled_background_models health_check_staleness_threshold \
         include_call_id_in_error_body missing_session_id model_list_healthy_only otel \
         team_metadata_validation_error_message tracing use_shared_health_check",
    ),
    (
        Effect::Secrets,
        "key_management_settings key_management_system use_azure_key_vault use_google_kms",
    ),
    (
        Effect::Keys,
        "allow_user_auth custom_team_metadata_validate default_team_disabled disable_auto_add_proxy_admin_to_teams \
         disable_custom_api_keys disable_key_generate_for_org_admin disable_master_key_return \
         enforce_user_param enforced_params public_routes reject_clientside_metadata_tags \
         scope_user_search_to_org service_account_settings team_metadata_schema \
         team_metadata_validation_timeout user_api_key_cache_max_size user_api_key_cache_ttl \
         user_header_mappings user_header_name",
    ),
    (
        Effect::Models,
        "agent_access_default_deny allow_client_side_credentials allow_unmanaged_response_ids \
         allowed_file_extensions always_include_stream_usage blocked_file_extensions cancel_on_disconnect \
         completion_model disable_bedrock_agent_runtime_passthrough disable_model_info_refresh \
         disable_responses_id_security enable_openai_websocket_passthrough enforce_fallback_model_access \
         forward_client_headers_to_llm_api forward_llm_provider_auth_headers forward_openai_org_id \
         infer_model_from_keys max_file_size_mb max_response_size_mb pass_through_endpoints \
         pass_through_request_timeout passthrough_managed_object_ids provider_url_destination_allowed_hosts \
         responses_websocket_session_limit_seconds return_wildcard_routes search_tool_deny_by_default \
         search_tools transcribe_media_buckets use_team_public_model_name user_url_allowed_hosts \
         user_url_validation vector_store_deny_by_default vertex_ai_pass_through_drop_anthropic_betas",
    ),
];

/// Names of `litellm_settings` that have no effect here, blank-separated.
pub(crate) const LITELLM_IGNORED: &[(Effect, &str)] = &[
    (Effect::Certificate, "ssl_certificate"),
    (
        Effect::Mcp,
        "agent_search_embedding_model default_mcp_sampling_model mcp_semantic_tool_filter mcp_tool_search \
         public_mcp_hub_strict_whitelist public_mcp_servers public_skills_index skill_search_embedding_model",
    ),
    (
        Effect::Guard,
        "azure_content_safety_params google_moderation_confidence_threshold llamaguard_model_name \
         llamaguard_unsafe_content_categories llm_guard_mode openai_moderations_model_name output_parse_pii \
         presidio_ad_hoc_recognizers presidio_logging_only skip_system_message_in_guardrail \
         skip_tool_message_in_guardrail",
    ),
    (
        Effect::Logging,
        "allow_dynamic_callback_disabling argilla_batch_size argilla_transformation_object \
         audit_log_callbacks aws_sqs_callback_params batch_line_item_callbacks blog_posts_url \
         callback_settings callbacks cold_storage_custom_logger custom_prometheus_metadata_labels \
         custom_prometheus_tags datadog_llm_observability_params datadog_params datadog_use_v1 detailed_debug \
         disable_end_user_cost_tracking_prometheus_only disable_streaming_logging \
         enable_end_user_cost_tracking_prometheus_only error_logs expose_router_debug_in_errors \
         extra_spend_tag_headers failure_callback forward_traceparent_to_llm_provider gcs_pub_sub_use_v1 \
         generic_api_use_v1 generic_logger_headers global_disable_no_log_param input_callback json_logs \
         langfuse_default_tags langfuse_enable_update_trace_keys langsmith_batch_size \
         log_auth_failure_key_identity log_client_error_tracebacks log_raw_request_response \
         logged_real_time_event_types logging newrelic_params otel_tenant_destination_mode pointfive_params \
         prometheus_deployment_and_latency_caller_identity prometheus_emit_input_sequence_length_label \
         prometheus_emit_rate_limit_labels prometheus_emit_stream_label \
         prometheus_end_user_metrics_cleanup_interval_seconds \
         prometheus_end_user_metrics_max_series_per_metric prometheus_end_user_metrics_ttl_seconds \
         prometheus_exclude_labels prometheus_exclude_metrics prometheus_initialize_budget_metrics \
         prometheus_latency_buckets prometheus_metrics_cleanup_interval_seconds prometheus_metrics_config \
         prometheus_metrics_max_series_per_metric prometheus_metrics_ttl_seconds \
         prometheus_user_budget_label_include_email_alias redact_messages_in_exceptions \
         redact_user_api_key_info request_correlation_in_logs require_auth_for_metrics_endpoint \
         s3_audit_callback_params s3_callback_params s3_path service_callback set_verbose \
         standard_logging_payload_excluded_fields store_audit_logs success_callback suppress_debug_info \
         telemetry turn_off_message_logging zerobus_params",
    ),
    (
        Effect::Limits,
        "budget_exceeded_status_code budget_exceeded_throttle_percentage budget_reset_time \
         budget_rollover cost_discount_config cost_margin_config default_key_max_budget_alert_emails \
         default_soft_budget disable_end_user_cost_tracking \
         include_cost_in_streaming_usage max_ui_session_budget model_cost \
         model_cost_map_url priority_reservation priority_reservation_settings",
    ),
    (
        Effect::Budgets,
        "budget_duration default_max_internal_user_budget internal_user_budget_duration max_budget \
         max_end_user_budget max_end_user_budget_id max_internal_user_budget max_user_budget \
         tag_budget_config",
    ),
    (
        Effect::Keys,
        "default_internal_user_params default_key_generate_params default_team_id default_team_params \
         default_team_settings disable_add_user_agent_to_request_tags enable_key_alias_format_validation \
         key_alias_pattern overwrite_user_with_key_hash \
         personal_key_model_access_from_teams public_agent_groups require_managed_files scim_admin_group \
         scim_upsert_user team_settings validate_end_user_id_in_db",
    ),
    (
        Effect::Models,
        "add_function_to_prompt add_user_information_to_llm_headers ai21_key aiohttp_trust_env \
         aleph_alpha_key amazon_nova_api_key anthropic_beta_headers_url anthropic_key \
         anthropic_messages_estimate_initial_input_tokens anthropic_prompt_caching_ttl \
         anthropic_sse_ping_interval_seconds api_base api_key api_version apply_search_free_tier \
         autorouter_presets_url azure_key baseten_key bedrock_neutralize_orphaned_tool_blocks \
         bedrock_request_metadata_fields block_requests_for_models_without_pricing bytez_key cache \
         cache_params cache_responses caching check_provider_endpoint clarifai_key cloudflare_api_key \
         code_interpreter_interception_params cohere_key cometapi_key common_cloud_provider_auth_params \
         compression_interception_params config_path \
         credential_list custom_prompt_dict custom_provider_map databricks_key datarobot_key \
         default_in_memory_ttl default_redis_batch_cache_expiry default_redis_ttl \
         disable_add_prefix_to_prompt disable_add_transform_inline_image_block disable_aiohttp_transport \
         disable_aiohttp_trust_env disable_anthropic_gemini_context_caching_transform \
         disable_copilot_system_to_assistant disable_hf_tokenizer_download disable_stop_sequence_limit \
         disable_token_counter disable_vertex_batch_output_transformation dynamodb_table_name \
         email enable_anthropic_prompt_caching enable_azure_ad_token_refresh \
         enable_caching_on_provider_specific_optional_params enable_gemini_default_thinking_level_low \
         enable_json_schema_validation enable_loadbalancing_on_batch_endpoints \
         enable_model_config_credential_overrides enable_preview_features enable_redis_auth_cache \
         filter_invalid_headers force_ipv4 force_redis_hash_tag_grouping gdc_api_base gdc_key \
         gemini_include_thoughts_default gemini_live_defer_setup gigachat_key global_bitbucket_config \
         global_gitlab_config global_prompt_directory gradient_ai_api_key groq_key headers heroku_key http2 \
         huggingface_key inception_key infinity_key lemonade_key litellm_mode llama_api_key maritalk_key \
         max_tokens model_alias_map model_fallbacks model_group_settings modify_params \
         nebius_key network_mock nlp_cloud_key novita_api_key num_retries_per_request num_workers \
         ollama_key openai_key openai_like_key openai_system_messages_first openrouter_key organization \
         ovhcloud_key predibase_key predibase_tenant_id project prompt_name_config_map \
         provider_url_destination_allowed_hosts proxy_auth public_model_groups public_model_groups_links \
         reasoning_auto_summary reasoning_effort_rounding replicate_key responses \
         return_response_headers route_all_chat_openai_to_responses safe_memory_mode sap_service_key \
         snowflake_key sse_keepalive_ping_interval_seconds ssl_ecdh_curve ssl_security_level \
         strip_anthropic_total_tokens suppress_startup_output togetherai_api_key token \
         use_aiohttp_transport use_chat_completions_url_for_anthropic_messages use_litellm_proxy \
         user_url_allowed_hosts user_url_validation vector_store_index_registry vector_store_registry \
         vector_store_search_failure_mode vercel_ai_gateway_key vertex_ai_safety_settings vertex_location \
         vertex_project wandb_key websearch_interception_params xai_key",
    ),
];
