//! The table of every field that is served: one row gives its reader's name check, its line in the editor schema and its
//! row in `docs/configuration.md`.
//!
//! To add a field: a row here, a line in [`crate::servers`] or [`crate::general`] that reads it, a sample in the test
//! `b29_every_field_has_an_effect_or_a_notice`, and regenerate the documents (see [`crate::schema`]).

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// Seconds, with decimals.
    Seconds,
    /// Dollars, with decimals.
    Dollars,
    /// A list of text.
    Texts,
    /// A list of text, or one text.
    TextOrTexts,
    /// Name to text.
    TextMap,
    /// Name to text that is never shown.
    SecretMap,
    /// Name to a list of text.
    TextsMap,
    /// Name to seconds, with decimals.
    SecondsMap,
    /// A mapping with free content.
    Object,
    /// `[{name, value, scope, description}]`.
    EnvVars,
    /// `{tool: {argument: {value: …}}}`.
    ToolArguments,
    /// `[{tools, when, reason}]`.
    ToolConditions,
    /// `{tool: always}`.
    ToolApproval,
    /// `[{name: [targets]}]`
    Fallbacks,
    /// Name to text, or to `{model, hidden}`.
    Aliases,
    /// Name to a whole number.
    Counts,
    /// Name to such.
    CountsMap,
    /// `off`, or the members of [`trunkline_model::SANDBOX_FIELDS`].
    Sandbox,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it is shown to people; empty for none.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
}

const fn field(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Field {
    Field {
        name,
        kind,
        default,
        doc,
    }
}

/// The field called `name`.
pub(crate) fn find(table: &'static [Field], name: &str) -> Option<&'static Field> {
    table.iter().find(|field| field.name == name)
}

pub(crate) const TRANSPORTS: &[&str] = &["http", "sse", "stdio"];
pub(crate) const AUTH_TYPES: &[&str] = &[
    "none",
    "api_key",
    "bearer_token",
    "basic",
    "token",
    "authorization",
    "oauth2",
    "oauth2_token_exchange",
    "oauth2_id_jag",
    "aws_sigv4",
    "true_passthrough",
    "oauth_delegate",
];
pub(crate) const TLS_VERSIONS: &[&str] = &["1.2", "1.3"];
pub(crate) const REVISIONS: &[&str] = &[
    "auto",
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
];
const FLOWS: &[&str] = &["client_credentials", "authorization_code"];
const PROFILES: &[&str] = &["rfc8693", "entra_obo"];
const CLIENT_AUTH: &[&str] = &["client_secret_basic", "client_secret_post"];
const SUBJECTS: &[&str] = &["login_assertion", "refresh_token"];
const NOT_SERVED_AUTH: &str = "Kept for an `auth_type` that is not served yet.";

/// The fields of one entry of `mcp_servers`, in the order of the documentation.
pub(crate) const SERVER: &[Field] = {
    use Kind::{
        Bool, EnvVars, Integer, Object, Sandbox, Seconds, SecondsMap, Secret, SecretMap, Text, TextMap,
        TextOrTexts, Texts, TextsMap, ToolApproval, ToolArguments, ToolConditions, Word,
    };
    &[
        field(
            "url",
            Text,
            "",
            "The MCP endpoint, `http://` or `https://`, without user name or password.",
        ),
        field(
            "transport",
            Word(TRANSPORTS),
            "http",
            "How to talk to it. `http` and `sse` both find out which of the two the server speaks; `stdio` is a program.",
        ),
        field(
            "alias",
            Text,
            "`litellm_settings.mcp_aliases`",
            "Prefix of its tools' names, in place of the entry's name.",
        ),
        field("description", Text, "", "For people."),
        field(
            "instructions",
            Text,
            "",
            "For models; merged into the gateway's own instructions.",
        ),
        field(
            "server_id",
            Text,
            "derived from the name",
            "Its stable id. Derived from the entry's name alone, so that editing a URL keeps grants.",
        ),
        field(
            "protocol_version",
            Word(REVISIONS),
            "auto",
            "The MCP revision to speak with it; `auto` negotiates.",
        ),
        field(
            "mcp_info",
            Object,
            "",
            "`server_name`, `description`, `logo_url`, `mcp_server_cost_info`, `tool_allowlist_enforced`, and free keys that are returned in tool listings.",
        ),
        field(
            "auth_type",
            Word(AUTH_TYPES),
            "none",
            "How to prove who we are to it.",
        ),
        field(
            "authentication_token",
            Secret,
            "",
            "The credential of `api_key`, `bearer_token`, `basic`, `token` and `authorization`. Wins over `auth_value`.",
        ),
        field(
            "auth_value",
            Secret,
            "",
            "Another name of `authentication_token`.",
        ),
        field(
            "static_headers",
            SecretMap,
            "",
            "Headers that are always sent. `${NAME}` is filled from `env_vars`.",
        ),
        field(
            "extra_headers",
            Texts,
            "",
            "Names of client request headers to copy; a trailing `*` matches any rest.",
        ),
        field(
            "env_vars",
            EnvVars,
            "",
            "Variables for `${NAME}` in `static_headers` and `env`.",
        ),
        field(
            "allowed_tools",
            Texts,
            "all",
            "Tools that may be listed and called. Empty means all, unless `mcp_info.tool_allowlist_enforced` is true.",
        ),
        field(
            "disallowed_tools",
            Texts,
            "",
            "Tools that may not; wins over `allowed_tools`.",
        ),
        field(
            "allowed_params",
            TextsMap,
            "",
            "Arguments that may be given, per tool: calls with others are refused, and the tool's schema does not have them.",
        ),
        field(
            "tool_arguments",
            ToolArguments,
            "",
            "Trunkline: arguments that the gateway fills in, per tool: `value` and `value_from` pin one, `default` and `default_from` are for calls without it. See [rules](rules.md#arguments-that-are-filled-in).",
        ),
        field(
            "tool_conditions",
            ToolConditions,
            "",
            "Trunkline: what must be true of a call, as expressions of CEL. See [rules](rules.md#conditions).",
        ),
        field(
            "tool_approval",
            ToolApproval,
            "never",
            "Trunkline: when somebody has to say yes to a call, per tool (`*`: the others): `never`, `first_use` or `always`. See [rules](rules.md#approvals).",
        ),
        field(
            "approval_by_user",
            Bool,
            "false",
            "Trunkline: whether that may be the user at the client that calls, where the client can ask.",
        ),
        field(
            "pinned_tools",
            Object,
            "",
            "Accepted tool definitions, by the tools' own names: `description`, `input_schema`, `title`, `output_schema`, `annotations`, `ui`, or `digests`. If there is any, exactly these tools are served.",
        ),
        field(
            "tool_name_to_display_name",
            TextMap,
            "",
            "Names that clients see instead of the tools' own, without a prefix, per tool: `^[A-Za-z0-9_-]{1,64}$`, each once.",
        ),
        field(
            "tool_name_to_description",
            TextMap,
            "",
            "Descriptions instead of the tools' own, per tool.",
        ),
        field(
            "access_groups",
            Texts,
            "",
            "Groups that grants and `x-mcp-servers` may name.",
        ),
        field("allow_all_keys", Bool, "false", "Every key may use it."),
        field(
            "available_on_public_internet",
            Bool,
            "true",
            "`false` hides it from clients outside `mcp_internal_ip_ranges`, whatever their key may use.",
        ),
        field(
            "timeout",
            Seconds,
            "`general_settings.mcp_call_timeout_ms`",
            "Deadline of a `tools/call`, seconds.",
        ),
        field(
            "tool_timeouts",
            SecondsMap,
            "`timeout`",
            "Trunkline: deadlines of single tools, seconds, by the tool's own name.",
        ),
        field(
            "connect_timeout",
            Seconds,
            "`mcp_connect_timeout_ms`",
            "Trunkline: how long a connection to it may take, seconds.",
        ),
        field(
            "list_timeout",
            Seconds,
            "`mcp_list_timeout_ms`",
            "Trunkline: deadline of listing it, seconds.",
        ),
        field(
            "max_concurrent_requests",
            Integer,
            "unlimited",
            "Calls in flight at the same time.",
        ),
        field(
            "rpm",
            Integer,
            "unlimited",
            "Calls per minute over all callers and replicas; what is more is refused with 429 ([limits](keys.md#limits)).",
        ),
        field(
            "prefix",
            Word(&["always", "never"]),
            "always",
            "Trunkline: `never` keeps tools' own names on `/{server}/mcp`.",
        ),
        field(
            "session",
            Word(&["auto", "shared", "per_client"]),
            "auto",
            "Trunkline: who shares an upstream session.",
        ),
        field(
            "schema_compat",
            Bool,
            "false",
            "Trunkline: `true` makes `oneOf`, `anyOf` and `allOf` at the root of a tool's `inputSchema` one object, for clients that refuse them.",
        ),
        field(
            "tls_ca",
            Text,
            "the machine's authorities",
            "Trunkline: the authorities that its certificate may come from, in place of all others: the path of a PEM file relative to this one, or PEM text.",
        ),
        field(
            "tls_client_cert",
            Text,
            "",
            "Trunkline: the certificate by which the gateway proves itself to it, and those between it and its authority: a path, or PEM text.",
        ),
        field(
            "tls_client_key",
            Secret,
            "",
            "Trunkline: the key of that certificate, without a passphrase: a path, or PEM text.",
        ),
        field(
            "tls_server_name",
            Text,
            "the host in `url`",
            "Trunkline: the name that is asked for (SNI) and that its certificate must have.",
        ),
        field(
            "tls_min_version",
            Word(TLS_VERSIONS),
            "1.2",
            "Trunkline: the oldest TLS that is spoken with it.",
        ),
        field("source_url", Text, "", "Where its source is, for reviewers."),
        field(
            "command",
            Text,
            "",
            "stdio: the program, a name in `PATH` or a path.",
        ),
        field(
            "args",
            Texts,
            "",
            "stdio: its arguments, one each; there is no shell.",
        ),
        field(
            "env",
            SecretMap,
            "",
            "stdio: its environment, over a clean one: nothing of the gateway's own is in it.",
        ),
        field(
            "cwd",
            Text,
            "a private folder",
            "Trunkline, stdio: the folder that it starts in, an absolute path. It may read there; `sandbox.write` lets it write.",
        ),
        field(
            "sandbox",
            Sandbox,
            "on",
            "Trunkline, stdio: what the program may do, see [programs](programs.md#the-sandbox). `off` lets it do all that the gateway may.",
        ),
        field(
            "spec_path",
            Text,
            "",
            "The OpenAPI document of an HTTP API, whose operations become tools: a URL, or a path relative to this file. `url` is the API's address then; without one, the document says it.",
        ),
        field(
            "spec",
            Object,
            "",
            "Trunkline: that document itself, in place of `spec_path`.",
        ),
        field(
            "openapi",
            Object,
            "",
            "Trunkline: which operations become tools: `include` and `exclude`, each with lists `tags`, `paths`, `methods`, `operations`. See [OpenAPI documents](openapi.md#which-operations).",
        ),
        field(
            "oauth2_flow",
            Word(FLOWS),
            "",
            "Required with `auth_type: oauth2`. Not served yet.",
        ),
        field("issuer", Text, "", NOT_SERVED_AUTH),
        field("authorization_url", Text, "", NOT_SERVED_AUTH),
        field("token_url", Text, "", NOT_SERVED_AUTH),
        field("registration_url", Text, "", NOT_SERVED_AUTH),
        field("token_exchange_endpoint", Text, "", NOT_SERVED_AUTH),
        field("token_exchange_profile", Word(PROFILES), "", NOT_SERVED_AUTH),
        field("audience", Text, "", NOT_SERVED_AUTH),
        field("subject_token_type", Text, "", NOT_SERVED_AUTH),
        field("dcr_bridge", Bool, "", NOT_SERVED_AUTH),
        field("per_server_oauth_discovery", Bool, "false", NOT_SERVED_AUTH),
        field("client_id", Secret, "", NOT_SERVED_AUTH),
        field("client_secret", Secret, "", NOT_SERVED_AUTH),
        field("scopes", TextOrTexts, "", NOT_SERVED_AUTH),
        field(
            "token_endpoint_auth_method",
            Word(CLIENT_AUTH),
            "",
            NOT_SERVED_AUTH,
        ),
        field("upstream_resource", Text, "", NOT_SERVED_AUTH),
        field(
            "upstream_token_header",
            Text,
            "",
            "Another header for the credential. Not served yet.",
        ),
        field("id_jag_resource_token_endpoint", Text, "", NOT_SERVED_AUTH),
        field("id_jag_resource", Text, "", NOT_SERVED_AUTH),
        field("id_jag_subject_source", Word(SUBJECTS), "", NOT_SERVED_AUTH),
        field("id_jag_resource_client_id", Secret, "", NOT_SERVED_AUTH),
        field("id_jag_resource_client_secret", Secret, "", NOT_SERVED_AUTH),
        field("client_private_key", Secret, "", NOT_SERVED_AUTH),
        field("client_private_key_id", Secret, "", NOT_SERVED_AUTH),
        field("client_assertion_signing_alg", Text, "", NOT_SERVED_AUTH),
        field("aws_access_key_id", Secret, "", NOT_SERVED_AUTH),
        field("aws_secret_access_key", Secret, "", NOT_SERVED_AUTH),
        field("aws_session_token", Secret, "", NOT_SERVED_AUTH),
        field("aws_region_name", Text, "", NOT_SERVED_AUTH),
        field("aws_service_name", Text, "", NOT_SERVED_AUTH),
        field("aws_role_name", Text, "", NOT_SERVED_AUTH),
        field("aws_session_name", Text, "", NOT_SERVED_AUTH),
        field(
            "delegate_auth_to_upstream",
            Bool,
            "false",
            "Not served: `true` is refused.",
        ),
        field(
            "oauth_passthrough",
            Bool,
            "false",
            "Not served: `true` is refused.",
        ),
        field(
            "is_byok",
            Bool,
            "false",
            "Every user brings a key. Not served yet.",
        ),
        field(
            "byok_description",
            Texts,
            "",
            "How a user gets that key, in steps.",
        ),
        field("byok_api_key_help_url", Text, "", "Where a user gets that key."),
        field(
            "token_validation",
            Object,
            "",
            "Claims of stored OAuth tokens. Not served yet: refused.",
        ),
        field(
            "oauth_identity_binding",
            Object,
            "",
            "Binds an OAuth token to the caller. Not served yet: refused unless `mode: disabled`.",
        ),
        field(
            "allow_sampling",
            Bool,
            "false",
            "In LiteLLM: the gateway answers the server's requests for sampling. Here they go to the client of the call, if it says that it answers them, whatever is set.",
        ),
        field(
            "allow_elicitation",
            Bool,
            "false",
            "In LiteLLM: the server may ask the user. Here it may ask the client of the call, if that says that it answers, whatever is set.",
        ),
        field(
            "spec_version",
            Text,
            "",
            "In LiteLLM's documentation, and ignored by LiteLLM: use `protocol_version`.",
        ),
    ]
};

/// Members of an entry that are kept in `Credentials::other`, as the API's `credentials` object has them.
pub(crate) const OTHER_CREDENTIALS: &[&str] = &[
    "client_id",
    "client_secret",
    "scopes",
    "token_endpoint_auth_method",
    "upstream_resource",
    "upstream_token_header",
    "id_jag_resource_token_endpoint",
    "id_jag_resource",
    "id_jag_subject_source",
    "id_jag_resource_client_id",
    "id_jag_resource_client_secret",
    "client_private_key",
    "client_private_key_id",
    "client_assertion_signing_alg",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region_name",
    "aws_service_name",
    "aws_role_name",
    "aws_session_name",
];

/// The fields of an `env_vars` item.
pub(crate) const ENV_VAR: &[Field] = &[
    field("name", Kind::Text, "", "The variable."),
    field("value", Kind::Secret, "empty", "Its value, for `scope: global`."),
    field(
        "scope",
        Kind::Word(&["global", "user"]),
        "global",
        "Whose value. `user` is not served yet.",
    ),
    field("description", Kind::Text, "", "For people."),
];

/// The fields of one entry of `model_list`.
pub(crate) const DEPLOYMENT: &[Field] = &[
    field(
        "model_name",
        Kind::Text,
        "",
        "The name that clients ask for. Several entries may have it.",
    ),
    field(
        "litellm_params",
        Kind::Object,
        "",
        "Which model of which provider, and how it is reached: see the next table.",
    ),
    field(
        "model_info",
        Kind::Object,
        "",
        "`id` names the deployment; everything else is free, and shown by `/model/info`.",
    ),
];

/// The fields of `litellm_params` that are served.
pub(crate) const LITELLM_PARAMS: &[Field] = {
    use Kind::{Bool, Dollars, Integer, Seconds, Secret, SecretMap, Text, Texts};
    &[
        field(
            "model",
            Text,
            "",
            "`provider/name`, as `openai/gpt-4o` or `groq/llama-3.3-70b-versatile`. Without a provider, names of OpenAI's are known.",
        ),
        field(
            "custom_llm_provider",
            Text,
            "",
            "The provider, where `model` does not say it.",
        ),
        field(
            "api_base",
            Text,
            "the provider's",
            "Its address, to which `/chat/completions` and the others are added.",
        ),
        field("base_url", Text, "", "Another name of `api_base`."),
        field(
            "api_key",
            Secret,
            "the provider's variable",
            "The credential for it. Without one, the variable that LiteLLM takes for the provider, as `OPENAI_API_KEY`.",
        ),
        field(
            "azure_ad_token",
            Secret,
            "`AZURE_AD_TOKEN`",
            "For Azure: a token of the directory instead of an `api_key`.",
        ),
        field(
            "api_version",
            Text,
            "the provider's variable, as `AZURE_API_VERSION`",
            "The revision of the provider's API, where it has one in its addresses: Azure. There `v1`, `preview` and `latest` mean `/openai/v1`.",
        ),
        field(
            "aws_access_key_id",
            Secret,
            "`AWS_ACCESS_KEY_ID`",
            "For Bedrock: the name of the key by which requests are signed. An `api_key` (`AWS_BEARER_TOKEN_BEDROCK`) does without.",
        ),
        field(
            "aws_secret_access_key",
            Secret,
            "`AWS_SECRET_ACCESS_KEY`",
            "The key.",
        ),
        field(
            "aws_session_token",
            Secret,
            "`AWS_SESSION_TOKEN`, with the key from there",
            "What a key for some time has beside it.",
        ),
        field(
            "aws_region_name",
            Text,
            "of the model's name, `AWS_REGION_NAME`, `AWS_REGION`, else us-west-2",
            "Where the models are.",
        ),
        field(
            "aws_bedrock_runtime_endpoint",
            Text,
            "`AWS_BEDROCK_RUNTIME_ENDPOINT`, else the region's",
            "Another name of `api_base`.",
        ),
        field(
            "vertex_project",
            Text,
            "`VERTEXAI_PROJECT`, else that of the credentials if they are written here",
            "For Vertex: the project of Google's cloud.",
        ),
        field(
            "vertex_location",
            Text,
            "`VERTEXAI_LOCATION`, else us-central1",
            "Where in it the models are, or `global`.",
        ),
        field(
            "vertex_credentials",
            Secret,
            "`VERTEXAI_CREDENTIALS`, `GOOGLE_APPLICATION_CREDENTIALS`",
            "A service account: the path of its file, or the JSON in it.",
        ),
        field("organization", Text, "", "Sent as `OpenAI-Organization`."),
        field("extra_headers", SecretMap, "", "Headers that are always sent."),
        field(
            "timeout",
            Seconds,
            "`router_settings.timeout`",
            "For a whole answer; of one in pieces, for its beginning and between two pieces.",
        ),
        field(
            "stream_timeout",
            Seconds,
            "`timeout`",
            "The same, of answers in pieces alone.",
        ),
        field(
            "weight",
            Seconds,
            "",
            "Its share of the requests, among those of the same name.",
        ),
        field(
            "rpm",
            Seconds,
            "",
            "Requests that it gets in a minute at most, and its share where no `weight` is given.",
        ),
        field(
            "tpm",
            Seconds,
            "",
            "Tokens after which it gets no more in a minute, and its share where neither `weight` nor `rpm` is given.",
        ),
        field(
            "max_parallel_requests",
            Integer,
            "`router_settings.default_max_parallel_requests`",
            "Requests that it gets at the same time at most.",
        ),
        field(
            "cooldown_time",
            Seconds,
            "`router_settings.cooldown_time`",
            "Seconds that it is left alone after it failed.",
        ),
        field(
            "num_retries",
            Integer,
            "`router_settings.num_retries`",
            "How often a request that it failed is tried again.",
        ),
        field("max_retries", Integer, "", "Another name of `num_retries`."),
        field(
            "tags",
            Texts,
            "",
            "Which requests it is for, with `router_settings.enable_tag_filtering`; `default`: those of no other.",
        ),
        field(
            "order",
            Integer,
            "",
            "Those of the lowest order are taken, as long as one of them can be.",
        ),
        field(
            "drop_params",
            Bool,
            "`litellm_settings.drop_params`, else false",
            "What the provider's dialect has no word for is left out of a request, and not refused.",
        ),
        field(
            "additional_drop_params",
            Texts,
            "",
            "Members that are left out of every request.",
        ),
        field(
            "use_in_pass_through",
            Bool,
            "false",
            "Its credential and address are those of its provider's [own API](models.md#the-providers-own-apis) where a request is about no deployment; else the provider's variables are.",
        ),
        field(
            "input_cost_per_token",
            Dollars,
            "the table's",
            "What a token of the request costs. A price may also hold above a length or for a kind of service: `…_above_200k_tokens`, `…_priority`, `…_flex`, `…_batches`.",
        ),
        field(
            "output_cost_per_token",
            Dollars,
            "the table's",
            "What a token of the answer costs.",
        ),
        field(
            "cache_read_input_token_cost",
            Dollars,
            "the table's, else `input_cost_per_token`",
            "A token of the request that the provider had in a cache.",
        ),
        field(
            "cache_creation_input_token_cost",
            Dollars,
            "the table's",
            "One that it puts into a cache; `cache_creation_input_token_cost_above_1hr`: for an hour.",
        ),
        field(
            "input_cost_per_audio_token",
            Dollars,
            "the table's",
            "Sound in the request.",
        ),
        field(
            "output_cost_per_audio_token",
            Dollars,
            "the table's",
            "Sound in the answer.",
        ),
        field(
            "output_cost_per_reasoning_token",
            Dollars,
            "the table's, else `output_cost_per_token`",
            "What is thought and not shown.",
        ),
        field(
            "input_cost_per_request",
            Dollars,
            "",
            "The request, besides its tokens.",
        ),
        field(
            "input_cost_per_query",
            Dollars,
            "the table's",
            "A search, of `rerank`.",
        ),
        field(
            "output_cost_per_image",
            Dollars,
            "the table's",
            "A picture that is made.",
        ),
        field(
            "input_cost_per_image",
            Dollars,
            "the table's",
            "The same, as some rows of the table call it.",
        ),
        field(
            "input_cost_per_image_token",
            Dollars,
            "`input_cost_per_token`",
            "A token of a picture that is read.",
        ),
        field(
            "output_cost_per_image_token",
            Dollars,
            "`output_cost_per_token`",
            "A token of a picture that is made.",
        ),
        field(
            "input_cost_per_second",
            Dollars,
            "the table's",
            "A second of sound that is transcribed.",
        ),
        field(
            "output_cost_per_second",
            Dollars,
            "the table's",
            "The same, as some rows of the table call it; the one that is not 0 counts.",
        ),
        field(
            "input_cost_per_character",
            Dollars,
            "the table's",
            "A character that is said aloud.",
        ),
    ]
};

/// The fields of `router_settings` that are served.
pub(crate) const ROUTER: &[Field] = {
    use Kind::{Aliases, Bool, Counts, CountsMap, Fallbacks, Integer, Seconds, Texts, Word};
    &[
        field(
            "routing_strategy",
            Word(&trunkline_model::Strategy::NAMES),
            "simple-shuffle",
            "How one of several deployments is chosen: by chance and shares, the least busy, the fastest, the one that took the fewest tokens, the cheapest.",
        ),
        field(
            "model_group_alias",
            Aliases,
            "",
            "Other names of models: the model, or `{model, hidden}`; a hidden one is in no list.",
        ),
        field(
            "num_retries",
            Integer,
            "`litellm_settings.num_retries`, else 2",
            "How often a request is tried again. If it is said, the same deployment is asked again after a wait, too; else only another one at once.",
        ),
        field(
            "retry_after",
            Seconds,
            "0",
            "The least wait before a deployment that failed is asked again.",
        ),
        field(
            "retry_policy",
            Counts,
            "",
            "`num_retries` by what went wrong: `TimeoutErrorRetries`, `RateLimitErrorRetries`, `InternalServerErrorRetries`, `AuthenticationErrorRetries`, `BadRequestErrorRetries`, `ContentPolicyViolationErrorRetries`.",
        ),
        field(
            "model_group_retry_policy",
            CountsMap,
            "",
            "The same for single names.",
        ),
        field(
            "timeout",
            Seconds,
            "`litellm_settings.request_timeout`, else 600",
            "For deployments without a time of their own, and at most for what a request asks for.",
        ),
        field(
            "stream_timeout",
            Seconds,
            "`timeout`",
            "The same, of answers in pieces.",
        ),
        field(
            "cooldown_time",
            Seconds,
            "5",
            "Seconds that a deployment is left alone after it failed, where there is another one.",
        ),
        field("disable_cooldowns", Bool, "false", "None is left alone."),
        field(
            "allowed_fails",
            Integer,
            "`litellm_settings.allowed_fails`, else 0",
            "Failures in a minute after which a deployment is not left alone yet.",
        ),
        field(
            "allowed_fails_policy",
            Counts,
            "",
            "The same by what went wrong: `TimeoutErrorAllowedFails`, and so on.",
        ),
        field(
            "fallbacks",
            Fallbacks,
            "`litellm_settings.fallbacks`",
            "Which names are asked, in their order, when all of a name fails; `*`: of any name.",
        ),
        field("default_fallbacks", Texts, "", "Those of `*`."),
        field(
            "context_window_fallbacks",
            Fallbacks,
            "`fallbacks`",
            "The same, when the request is longer than the model can read.",
        ),
        field(
            "content_policy_fallbacks",
            Fallbacks,
            "`fallbacks`",
            "The same, when the provider will not talk about that.",
        ),
        field(
            "max_fallbacks",
            Integer,
            "5",
            "How many names are asked at most for one request, beside its own.",
        ),
        field(
            "enable_tag_filtering",
            Bool,
            "false",
            "Requests reach deployments by their `tags`.",
        ),
        field(
            "tag_filtering_match_any",
            Bool,
            "true",
            "One tag in common is enough; otherwise a deployment has to have all of the request's.",
        ),
        field(
            "default_max_parallel_requests",
            Integer,
            "",
            "`max_parallel_requests` for deployments that do not say it.",
        ),
    ]
};

/// The fields of `general_settings` that are served.
pub(crate) const GENERAL: &[Field] = {
    use Kind::{Bool, Integer, Secret, Texts};
    &[
        field(
            "master_key",
            Secret,
            "env `LITELLM_MASTER_KEY`",
            "The administrator's key.",
        ),
        field(
            "database_url",
            Secret,
            "env `DATABASE_URL`",
            "`postgresql://…` or `sqlite://…`; without one, SQLite in the data directory.",
        ),
        field(
            "dangerously_permit_weak_or_unset_master_key",
            Bool,
            "env `LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY`, else false",
            "Start with a weak key although it listens on other addresses than loopback. Never outside local development.",
        ),
        field(
            "max_request_size_mb",
            Kind::Seconds,
            "",
            "LiteLLM's name of `mcp_max_body_bytes`, in MiB; decimals are allowed.",
        ),
        field(
            "allowed_hosts",
            Texts,
            "",
            "Trunkline: names that may stand in `Host`, without port, besides `localhost`, `127.0.0.1` and `[::1]`. Without a list, a gateway that listens on other addresses than loopback accepts any.",
        ),
        field(
            "allowed_origins",
            Texts,
            "",
            "Trunkline: values of `Origin` that browsers may send besides the gateway's own, as `scheme://host[:port]`.",
        ),
        field(
            "mcp_egress_allow",
            Texts,
            "`[public, private, loopback]`",
            "Trunkline: where connections to servers may go: networks (`10.0.0.0/8`), addresses, and the words `public`, `private`, `loopback`. A list replaces the default; link-local, metadata and reserved addresses are allowed only where a network in it names them.",
        ),
        field(
            "mcp_internal_ip_ranges",
            Texts,
            "`[10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 127.0.0.0/8, ::1/128, fc00::/7]`",
            "Networks in which clients are internal: they see servers with `available_on_public_internet: false`. A list replaces the default; with an empty one nobody is.",
        ),
        field(
            "allowed_ips",
            Texts,
            "",
            "The only clients that get in, by address or network (`10.0.0.0/8`): others are 403 everywhere but at `/health/liveliness` and `/health/readiness`, and so are those whose address is not known. Without it: everybody.",
        ),
        field(
            "trusted_proxy_ranges",
            Texts,
            "",
            "The same as `mcp_trusted_proxy_ranges`; what is in either counts.",
        ),
        field(
            "use_x_forwarded_for",
            Bool,
            "`false`",
            "`X-Forwarded-For` says where clients are, if it comes from one of `mcp_trusted_proxy_ranges`. A request with such a header from anybody else is taken for external.",
        ),
        field(
            "mcp_trusted_proxy_ranges",
            Texts,
            "",
            "Networks of the proxies and load balancers in front of the gateway, whose `X-Forwarded-For` is believed.",
        ),
        field(
            "mcp_xff_num_trusted_hops",
            Integer,
            "",
            "Which entry of `X-Forwarded-For` from the right is the client, 1 to 32. Without it: the first one from the right that is not in `mcp_trusted_proxy_ranges`.",
        ),
        field(
            "mcp_stdio",
            Kind::Word(&["file", "admin"]),
            "file",
            "Trunkline: who may say which programs are started. `file`: this file alone. `admin`: administrators too, through the API.",
        ),
        field(
            "mcp_proxy_loopback",
            Bool,
            "false",
            "Trunkline: `true` reaches servers on `localhost` and loopback addresses by way of the proxy of the environment too.",
        ),
        field(
            "mcp_connect_timeout_ms",
            Integer,
            "5000",
            "Trunkline: how long a connection to a server may take (name, proxy, TCP and TLS together) where it has no `connect_timeout`.",
        ),
        field(
            "mcp_list_timeout_ms",
            Integer,
            "env `LITELLM_MCP_TOOL_LISTING_TIMEOUT`, else 30000",
            "Trunkline: deadline of listing one server that has no `list_timeout`.",
        ),
        field(
            "mcp_call_timeout_ms",
            Integer,
            "env `LITELLM_MCP_CLIENT_TIMEOUT`, else 60000",
            "Trunkline: deadline of a `tools/call` where the server has no `timeout`.",
        ),
        field(
            "mcp_max_call_timeout_ms",
            Integer,
            "600000",
            "Trunkline: the longest deadline that a request may ask for with `x-litellm-timeout`, where neither the tool nor its server has one.",
        ),
        field(
            "mcp_answer_timeout_ms",
            Integer,
            "600000",
            "Trunkline: how long a client may take to answer what a server asks in the middle of a call.",
        ),
        field(
            "mcp_health_timeout_ms",
            Integer,
            "env `LITELLM_MCP_HEALTH_CHECK_TIMEOUT`, else 10000",
            "Trunkline: deadline of a health check of one server.",
        ),
        field(
            "mcp_fanout_deadline_ms",
            Integer,
            "2000",
            "Trunkline: how long a list of several servers waits for late ones before it answers from their last good list.",
        ),
        field(
            "mcp_catalogue_ttl_ms",
            Integer,
            "300000",
            "Trunkline: how long a server's list is used before it is fetched again.",
        ),
        field(
            "mcp_session_idle_ms",
            Integer,
            "1800000",
            "Trunkline: how long an upstream session is kept that nobody uses.",
        ),
        field(
            "mcp_max_body_bytes",
            Integer,
            "16777216",
            "Trunkline: largest request body.",
        ),
        field(
            "mcp_max_upstream_bytes",
            Integer,
            "env `LITELLM_MCP_MAX_SSE_EVENT_SIZE_BYTES`, else 67108864",
            "Trunkline: largest answer or event of a server.",
        ),
        field(
            "mcp_list_max_pages",
            Integer,
            "env `MCP_TOOL_LISTING_MAX_PAGES`, else 1000",
            "Trunkline: pages of one server's list.",
        ),
        field(
            "mcp_breaker_failures",
            Integer,
            "5",
            "Trunkline: failures to reach a server, in a row, after which calls to it fail at once until it is back; 0: never.",
        ),
        field(
            "mcp_max_sessions_per_principal",
            Integer,
            "10000",
            "Trunkline: sessions of one key at the same time, in each replica. One that ended or was unused for 30 minutes does not count. More are answered 503.",
        ),
        field(
            "mcp_max_streams_per_principal",
            Integer,
            "1000",
            "Trunkline: streams that one key may hold open in each replica: `GET`, `subscriptions/listen`, HTTP+SSE. More are answered 503.",
        ),
        field(
            "mcp_list_page_size",
            Integer,
            "0",
            "Trunkline: tools, prompts, resources or templates on one page of a list that clients get. 0 is one page: several clients, Claude Code and Codex among them, never ask for a second.",
        ),
        field(
            "audit_retention_days",
            Integer,
            "0",
            "Trunkline: days that rows of the audit log are kept. 0 is for ever.",
        ),
        field(
            "maximum_spend_logs_retention_period",
            Kind::Text,
            "30d",
            "How long records of calls are kept: `12h`, `30d`, `6mo`. Sums of days, and what keys, teams and others have spent, are kept.",
        ),
        field(
            "require_key_mcp_access_defined",
            Bool,
            "",
            "LiteLLM's: a key without grants of its own has nothing of its team's. So it is always, whatever this says: a key that is to have what its team has says so.",
        ),
        field(
            "store_model_in_db",
            Bool,
            "env `STORE_MODEL_IN_DB`, else false",
            "Models are made through the API, too (`/model/new`), and kept in the database. MCP servers always are.",
        ),
        field(
            "mcp_strip_hidden_text",
            Bool,
            "false",
            "Trunkline: `true` takes tag characters, bidirectional controls, characters without width and terminal escapes out of everything that servers say.",
        ),
    ]
};

/// Environment variables that are read, with their meaning.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LITELLM_MASTER_KEY",
        "The administrator's key, where the file has none.",
    ),
    ("DATABASE_URL", "The database, where the file has none."),
    ("LITELLM_SALT_KEY", "Encrypts stored credentials."),
    (
        "SERVER_ROOT_PATH",
        "Path before every route, for a gateway behind a path of a reverse proxy.",
    ),
    (
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
        "`true` starts with a weak key.",
    ),
    (
        "LITELLM_MCP_TOOL_LISTING_TIMEOUT",
        "Seconds; `mcp_list_timeout_ms`.",
    ),
    ("LITELLM_MCP_CLIENT_TIMEOUT", "Seconds; `mcp_call_timeout_ms`."),
    (
        "LITELLM_MCP_HEALTH_CHECK_TIMEOUT",
        "Seconds; `mcp_health_timeout_ms`.",
    ),
    (
        "LITELLM_MCP_MAX_SSE_EVENT_SIZE_BYTES",
        "Bytes; `mcp_max_upstream_bytes`.",
    ),
    ("MCP_TOOL_LISTING_MAX_PAGES", "`mcp_list_max_pages`."),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY",
        "The proxy by way of which servers with such URLs are reached, `http://[USER:PASSWORD@]HOST[:PORT]`. Lower case wins.",
    ),
    (
        "NO_PROXY",
        "Hosts, domains and networks that are reached without it.",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "The machine's authorities, in place of those at the usual places.",
    ),
    ("STORE_MODEL_IN_DB", "`store_model_in_db`."),
    (
        "SSL_VERIFY",
        "`litellm_settings.ssl_verify`, over what the file says.",
    ),
];

/// Environment variables of LiteLLM that change what clients see and are not served: each gives a warning where it is set
/// to something else than the value here.
pub(crate) const ENVIRONMENT_NOT_SERVED: &[(&str, &str, &str)] = &[
    (
        "MCP_TOOL_PREFIX_SEPARATOR",
        "-",
        "the separator between prefix and tool name is always `-`.",
    ),
    (
        "LITELLM_USE_SHORT_MCP_TOOL_PREFIX",
        "false",
        "short prefixes are not served: the prefix is the alias or the name of the server.",
    ),
    (
        "LITELLM_ENABLE_MCP_STDIO",
        "false",
        "programs of the configuration file are always served; who else may declare some is said by `general_settings.mcp_stdio`.",
    ),
    (
        "DATABASE_HOST",
        "",
        "the database is not put together from parts: set DATABASE_URL.",
    ),
];
