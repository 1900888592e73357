//! A registered MCP server: what an operator declares, and what the gateway keeps about it.
//!
//! Field names are LiteLLM's (`LiteLLM_MCPServerTable`), because users meet them in its `config.yaml`, its API and its
//! database. Values that may be secret are [`Secret`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    Amount, OpenApiFilter, Sandbox, Secret, ServerId, TlsSettings, ToolApproval, ToolArguments, ToolCondition,
};

/// One registered server.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Never changes, whatever is edited.
    pub id: ServerId,
    /// Where it was declared: only database servers can be edited through the API.
    pub origin: Origin,
    /// What the operator declared.
    pub definition: ServerDefinition,
    /// Whether it may serve, and who said so.
    pub approval: Approval,
    /// Who made and changed it, and when.
    pub stamps: Stamps,
    /// Why the stored row cannot be used as it is, for people: a credential that does not decrypt, for example.
    /// Such a server is listed with the outcome `misconfigured` and never contacted (B31).
    pub defect: Option<String>,
}

/// Where a server was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `mcp_servers` of the configuration file; shown, but managed by file (409 on edit, B29).
    File,
    /// The database, through the API.
    Database,
}

/// What an operator declares about a server. `Option` means "may be null on the wire".
#[derive(Clone, Debug, PartialEq)]
pub struct ServerDefinition {
    /// Display name; prefix of exposed names when there is no alias.
    pub server_name: Option<String>,
    /// Prefix of exposed names.
    pub alias: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// For models: merged into the gateway's `initialize` result.
    pub instructions: Option<String>,
    /// The MCP endpoint.
    pub url: Option<String>,
    /// Where the OpenAPI document of an HTTP API is, whose address is `url` then, or in the document.
    pub spec_path: Option<String>,
    /// Trunkline: that document itself.
    pub spec: Option<Map<String, Value>>,
    /// Trunkline: which of its operations are tools.
    pub openapi: OpenApiFilter,
    /// How to talk to it.
    pub transport: Transport,
    /// How to prove who we are to it.
    pub auth_type: Option<AuthType>,
    /// The proof.
    pub credentials: Credentials,
    /// `server_name`, `logo_url`, `mcp_server_cost_info`, `tool_allowlist_enforced`, and free keys.
    pub mcp_info: Option<Map<String, Value>>,
    /// Groups that grants may name.
    pub mcp_access_groups: Vec<String>,
    /// Tools that may be listed and called; `None` = all. Empty = all too, unless `mcp_info.tool_allowlist_enforced`.
    pub allowed_tools: Option<Vec<String>>,
    /// Tools that may not; wins over `allowed_tools`.
    pub disallowed_tools: Vec<String>,
    /// Arguments that may be given, per tool; others are refused.
    pub allowed_params: BTreeMap<String, Vec<String>>,
    /// Trunkline: arguments that the gateway fills in, per tool.
    pub tool_arguments: ToolArguments,
    /// Trunkline: what must hold of a call.
    pub tool_conditions: Vec<ToolCondition>,
    /// Trunkline: when somebody has to say yes to a call, per tool.
    pub tool_approval: ToolApproval,
    /// Trunkline: the user at the client that calls may be the one who says yes.
    pub approval_by_user: bool,
    /// Exposed name instead of the tool's, per tool.
    pub tool_name_to_display_name: BTreeMap<String, String>,
    /// Description instead of the tool's, per tool.
    pub tool_name_to_description: BTreeMap<String, String>,
    /// Accepted tool definitions: `{tool: {description, input_schema}}`.
    pub pinned_tools: Option<Value>,
    /// Names of *client* request headers to copy upstream. A trailing `*` matches any rest.
    pub extra_headers: Vec<String>,
    /// Headers that are always sent. Values are secret.
    pub static_headers: BTreeMap<String, Secret>,
    /// Variables for `${NAME}` in `static_headers` and `env`.
    pub env_vars: Vec<EnvVar>,
    /// stdio: the program.
    pub command: Option<String>,
    /// stdio: its arguments.
    pub args: Vec<String>,
    /// stdio: its environment. Values are secret.
    pub env: BTreeMap<String, Secret>,
    /// Trunkline, stdio: the folder that the program starts in; its private folder if there is none.
    pub cwd: Option<String>,
    /// Trunkline, stdio: what the program may do.
    pub sandbox: Sandbox,
    /// OAuth issuer.
    pub issuer: Option<String>,
    /// OAuth authorization endpoint.
    pub authorization_url: Option<String>,
    /// OAuth token endpoint.
    pub token_url: Option<String>,
    /// OAuth dynamic client registration endpoint.
    pub registration_url: Option<String>,
    /// `client_credentials` or `authorization_code`.
    pub oauth2_flow: Option<String>,
    /// RFC 8693 endpoint.
    pub token_exchange_endpoint: Option<String>,
    /// RFC 8693 audience.
    pub audience: Option<String>,
    /// RFC 8693 subject token type.
    pub subject_token_type: Option<String>,
    /// `rfc8693` or `entra_obo`.
    pub token_exchange_profile: Option<String>,
    /// Every key may use it.
    pub allow_all_keys: bool,
    /// Clients outside the internal networks may see it.
    pub available_on_public_internet: bool,
    /// LiteLLM's legacy delegation mode.
    pub delegate_auth_to_upstream: bool,
    /// LiteLLM's legacy pass-through mode.
    pub oauth_passthrough: bool,
    /// OAuth: bridge dynamic client registration.
    pub dcr_bridge: Option<bool>,
    /// OAuth: metadata per server.
    pub per_server_oauth_discovery: bool,
    /// Every user brings a key.
    pub is_byok: bool,
    /// How to get that key, in steps.
    pub byok_description: Vec<String>,
    /// Where to get that key.
    pub byok_api_key_help_url: Option<String>,
    /// Where the server's source is, for reviewers.
    pub source_url: Option<String>,
    /// Deadline of a `tools/call`, seconds.
    pub timeout: Option<f64>,
    /// Trunkline: the same per tool, by the tool's own name; wins over `timeout`.
    pub tool_timeouts: BTreeMap<String, f64>,
    /// Trunkline: how long a connection to it may take to come about, seconds.
    pub connect_timeout: Option<f64>,
    /// Trunkline: deadline of listing it, seconds.
    pub list_timeout: Option<f64>,
    /// Trunkline: what is special about TLS with it.
    pub tls: TlsSettings,
    /// Calls in flight at the same time.
    pub max_concurrent_requests: Option<u32>,
    /// Calls per minute over all callers.
    pub rpm: Option<u32>,
    /// Trunkline: whether a one-server endpoint prefixes names.
    pub prefix: PrefixMode,
    /// Trunkline: who shares an upstream session.
    pub session: SessionMode,
    /// Upstream protocol revision, or `None` to negotiate.
    pub protocol_version: Option<String>,
    /// Trunkline: whether alternatives at the root of an `inputSchema` are made one object, for clients that refuse them.
    pub schema_compat: bool,
}

impl Default for ServerDefinition {
    /// LiteLLM's defaults for the configuration file (`transport: http`, public).
    fn default() -> Self {
        Self {
            server_name: None,
            alias: None,
            description: None,
            instructions: None,
            url: None,
            spec_path: None,
            spec: None,
            openapi: OpenApiFilter::default(),
            transport: Transport::Http,
            auth_type: None,
            credentials: Credentials::default(),
            mcp_info: None,
            mcp_access_groups: Vec::new(),
            allowed_tools: None,
            disallowed_tools: Vec::new(),
            allowed_params: BTreeMap::new(),
            tool_arguments: ToolArguments::new(),
            tool_conditions: Vec::new(),
            tool_approval: ToolApproval::new(),
            approval_by_user: false,
            tool_name_to_display_name: BTreeMap::new(),
            tool_name_to_description: BTreeMap::new(),
            pinned_tools: None,
            extra_headers: Vec::new(),
            static_headers: BTreeMap::new(),
            env_vars: Vec::new(),
            command: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            sandbox: Sandbox::default(),
            issuer: None,
            authorization_url: None,
            token_url: None,
            registration_url: None,
            oauth2_flow: None,
            token_exchange_endpoint: None,
            audience: None,
            subject_token_type: None,
            token_exchange_profile: None,
            allow_all_keys: false,
            available_on_public_internet: true,
            delegate_auth_to_upstream: false,
            oauth_passthrough: false,
            dcr_bridge: None,
            per_server_oauth_discovery: false,
            is_byok: false,
            byok_description: Vec::new(),
            byok_api_key_help_url: None,
            source_url: None,
            timeout: None,
            tool_timeouts: BTreeMap::new(),
            connect_timeout: None,
            list_timeout: None,
            tls: TlsSettings::default(),
            max_concurrent_requests: None,
            rpm: None,
            prefix: PrefixMode::Always,
            session: SessionMode::Auto,
            protocol_version: None,
            schema_compat: false,
        }
    }
}

impl ServerDefinition {
    /// Whether anything is said about the arguments of tools, or of calls.
    pub fn has_call_rules(&self) -> bool {
        !self.allowed_params.is_empty()
            || !self.tool_arguments.is_empty()
            || !self.tool_conditions.is_empty()
            || !self.tool_approval.is_empty()
    }
}

impl Server {
    /// What people call it and what prefixes its tools: alias, else name, else id; blanks become `_` (LiteLLM).
    pub fn prefix(&self) -> String {
        self.definition
            .alias
            .as_deref()
            .filter(|name| !name.is_empty())
            .or(self
                .definition
                .server_name
                .as_deref()
                .filter(|name| !name.is_empty()))
            .unwrap_or(self.id.as_str())
            .replace(char::is_whitespace, "_")
    }

    /// Whether it serves anybody: a submission serves nobody until it is approved.
    pub fn is_active(&self) -> bool {
        self.approval.status == ApprovalStatus::Active
    }

    /// What a call of a tool costs, billionths of a dollar: LiteLLM's `mcp_info.mcp_server_cost_info`. Nothing if it says nothing; `None` if
    /// what it says cannot be read.
    pub fn price_of(&self, tool: &str) -> Option<i64> {
        let costs = self
            .definition
            .mcp_info
            .as_ref()
            .and_then(|info| info.get("mcp_server_cost_info"));
        let costs = match costs {
            None | Some(Value::Null) => return Some(0),
            Some(Value::Object(costs)) => costs,
            Some(_) => return None,
        };
        let of_tools = match costs.get("tool_name_to_cost_per_query") {
            None | Some(Value::Null) => None,
            Some(Value::Object(of_tools)) => of_tools.get(tool),
            Some(_) => return None,
        };
        let price = of_tools
            .filter(|own| !own.is_null())
            .or_else(|| costs.get("default_cost_per_query"));
        match price {
            None | Some(Value::Null) => Some(0),
            Some(Value::Number(number)) => {
                // As people write it: JSON's may have an exponent.
                let text = number.as_f64()?.to_string();
                Amount::parse(&text).map(Amount::billionths)
            }
            Some(_) => None,
        }
    }

    /// Whether it is known what calls of every tool cost.
    pub fn has_known_prices(&self) -> bool {
        let costs = self
            .definition
            .mcp_info
            .as_ref()
            .and_then(|info| info.get("mcp_server_cost_info"));
        let of_tools = costs.and_then(|costs| costs.get("tool_name_to_cost_per_query"));
        let mut tools = of_tools
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys);
        self.price_of("").is_some() && tools.all(|tool| self.price_of(tool).is_some())
    }

    /// Whether `name` is this server's id, alias or name, ignoring case (B35).
    pub fn answers_to(&self, name: &str) -> bool {
        let same = |own: &str| own.eq_ignore_ascii_case(name);
        same(self.id.as_str())
            || self.definition.alias.as_deref().is_some_and(same)
            || self.definition.server_name.as_deref().is_some_and(same)
            || same(&self.prefix())
    }
}

/// How to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// Legacy HTTP+SSE. LiteLLM's API default, so Streamable HTTP is tried first.
    Sse,
    /// A child process.
    Stdio,
}

impl Transport {
    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Stdio => "stdio",
        }
    }

    /// The inverse of [`Transport::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Sse, Self::Stdio]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

/// How to prove who we are to a server (LiteLLM `auth_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// Nothing is sent.
    None,
    /// `X-API-Key: <value>`.
    ApiKey,
    /// `Authorization: Bearer <value>`; a pasted leading `Bearer ` is dropped.
    BearerToken,
    /// `Authorization: Basic base64(<value>)`; an encoded value is recognised.
    Basic,
    /// `Authorization: token <value>`.
    Token,
    /// `Authorization: <value>` as it is.
    Authorization,
    /// OAuth 2, either flow.
    Oauth2,
    /// RFC 8693.
    Oauth2TokenExchange,
    /// Identity assertion grant.
    Oauth2IdJag,
    /// AWS `SigV4`.
    AwsSigv4,
    /// The caller's `Authorization`, no gateway admission.
    TruePassthrough,
    /// The caller's `Authorization`, gateway key elsewhere.
    OauthDelegate,
}

impl AuthType {
    /// All, in the order of LiteLLM's documentation.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::ApiKey,
        Self::BearerToken,
        Self::Basic,
        Self::Token,
        Self::Authorization,
        Self::Oauth2,
        Self::Oauth2TokenExchange,
        Self::Oauth2IdJag,
        Self::AwsSigv4,
        Self::TruePassthrough,
        Self::OauthDelegate,
    ];

    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey => "api_key",
            Self::BearerToken => "bearer_token",
            Self::Basic => "basic",
            Self::Token => "token",
            Self::Authorization => "authorization",
            Self::Oauth2 => "oauth2",
            Self::Oauth2TokenExchange => "oauth2_token_exchange",
            Self::Oauth2IdJag => "oauth2_id_jag",
            Self::AwsSigv4 => "aws_sigv4",
            Self::TruePassthrough => "true_passthrough",
            Self::OauthDelegate => "oauth_delegate",
        }
    }

    /// The inverse of [`AuthType::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.as_str() == text)
    }

    /// Whether this version can send it. The others are stored and shown, and their servers are `misconfigured`.
    pub fn is_served(self) -> bool {
        matches!(
            self,
            Self::None | Self::ApiKey | Self::BearerToken | Self::Basic | Self::Token | Self::Authorization
        )
    }
}

/// The proof that belongs to an [`AuthType`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credentials {
    /// `credentials.auth_value` of the API, `authentication_token` or `auth_value` of the file.
    pub auth_value: Option<Secret>,
    /// LiteLLM's other members (`client_id`, `scopes`, `aws_*`, …), each as JSON text, kept for the features that use them.
    pub other: BTreeMap<String, Secret>,
}

/// A variable for `${NAME}` interpolation.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvVar {
    /// `NAME`.
    pub name: String,
    /// Its value, for [`EnvVarScope::Global`].
    pub value: Secret,
    /// Whose value.
    pub scope: EnvVarScope,
    /// For people.
    pub description: Option<String>,
}

/// Whose value an [`EnvVar`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvVarScope {
    /// One for all.
    Global,
    /// One per user.
    User,
}

impl EnvVarScope {
    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::User => "user",
        }
    }

    /// The inverse of [`EnvVarScope::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Global, Self::User]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

/// Whether a one-server endpoint (`/{server}/mcp`) prefixes names (design §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixMode {
    /// As LiteLLM does.
    Always,
    /// Never on a one-server endpoint, so that a gateway in front of one server is invisible.
    Never,
}

impl PrefixMode {
    /// The word in configuration and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    /// The inverse of [`PrefixMode::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Always, Self::Never]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

/// Who shares an upstream session (design §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// A client with a gateway session gets its own upstream session where the upstream has sessions.
    Auto,
    /// One per credential.
    Shared,
    /// As `Auto`, and a client's is opened for it alone: no list runs on it, before or after.
    PerClient,
}

impl SessionMode {
    /// The word in configuration and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Shared => "shared",
            Self::PerClient => "per_client",
        }
    }

    /// The inverse of [`SessionMode::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Shared, Self::PerClient]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

/// Whether a server may serve, and who said so.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// The state.
    pub status: ApprovalStatus,
    /// Who submitted it.
    pub submitted_by: Option<String>,
    /// When.
    pub submitted_at: Option<Timestamp>,
    /// Who approved or rejected it.
    pub reviewed_by: Option<String>,
    /// When.
    pub reviewed_at: Option<Timestamp>,
    /// Why.
    pub review_notes: Option<String>,
}

impl Default for Approval {
    fn default() -> Self {
        Self {
            status: ApprovalStatus::Active,
            submitted_by: None,
            submitted_at: None,
            reviewed_by: None,
            reviewed_at: None,
            review_notes: None,
        }
    }
}

/// LiteLLM's `approval_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    /// Serves.
    Active,
    /// Submitted, serves nobody.
    PendingReview,
    /// Refused, serves nobody.
    Rejected,
    /// A draft of the administrator's OAuth set-up, serves nobody.
    Draft,
}

impl ApprovalStatus {
    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PendingReview => "pending_review",
            Self::Rejected => "rejected",
            Self::Draft => "draft",
        }
    }

    /// The inverse of [`ApprovalStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::PendingReview, Self::Rejected, Self::Draft]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

/// Who made and changed a row, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// By whom.
    pub created_by: Option<String>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
    /// By whom.
    pub updated_by: Option<String>,
}
