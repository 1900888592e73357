//! Why a server's tools are or are not there: one value, shown in `_meta`, REST, health, log, metric and `doctor`.

use jiff::Timestamp;

/// What came of the last attempt to use a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The kind.
    pub status: OutcomeStatus,
    /// The step that failed, or the last one done.
    pub step: Step,
    /// HTTP status of the upstream's answer at that step.
    pub http_status: Option<u16>,
    /// What happened, in a sentence, with the upstream's words (bounded, without secrets).
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When it was found.
    pub at: Timestamp,
    /// How long the attempt took.
    pub duration_ms: u64,
    /// `Retry-After` of the upstream, seconds.
    pub retry_after_s: Option<u64>,
    /// What of its list cannot be shown, while the rest is.
    pub rejected: Rejected,
}

/// Definitions that are left out of a server's list, each with a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// The first of them.
    pub items: Vec<RejectedItem>,
    /// How many there are.
    pub count: usize,
}

/// One of [`Rejected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedItem {
    /// Its name, for people; none if it has none that can be read.
    pub name: Option<String>,
    /// Why, for people.
    pub reason: String,
}

impl Rejected {
    /// How many are named.
    pub const MAX_NAMED: usize = 20;

    /// One more.
    pub fn push(&mut self, item: impl FnOnce() -> RejectedItem) {
        self.count += 1;
        if self.items.len() < Self::MAX_NAMED {
            self.items.push(item());
        }
    }

    /// Those of another list as well.
    pub fn extend(&mut self, others: &Self) {
        for item in &others.items {
            self.push(|| item.clone());
        }
        self.count += others.count - others.items.len();
    }
}

impl Outcome {
    /// All is well.
    pub fn ok(at: Timestamp, duration_ms: u64) -> Self {
        Self {
            status: OutcomeStatus::Ok,
            step: Step::List,
            http_status: None,
            message: String::new(),
            hint: None,
            at,
            duration_ms,
            retry_after_s: None,
            rejected: Rejected::default(),
        }
    }

    /// Whether the server is usable.
    pub fn is_ok(&self) -> bool {
        self.status == OutcomeStatus::Ok
    }

    /// One line for logs, errors and terminals: `auth_required at initialize (HTTP 401): …`.
    pub fn summary(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{} at {}", self.status.as_str(), self.step.as_str());
        if let Some(status) = self.http_status {
            let _ = write!(text, " (HTTP {status})");
        }
        if !self.message.is_empty() {
            let _ = write!(text, ": {}", self.message);
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, " Hint: {hint}");
        }
        text
    }
}

/// The kinds of [`Outcome`]. The names are stable: dashboards and clients read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeStatus {
    /// Works.
    Ok,
    /// Registered, not tried yet.
    Pending,
    /// The upstream wants a credential, or another one (401).
    AuthRequired,
    /// The upstream refuses this credential (403).
    Forbidden,
    /// The upstream is limiting us (429).
    RateLimited,
    /// A deadline passed.
    Timeout,
    /// No connection: DNS, TCP, TLS, or closed before an answer.
    Unreachable,
    /// The upstream failed (5xx, or a JSON-RPC error).
    UpstreamError,
    /// It answered something that is not MCP.
    ProtocolError,
    /// The registration cannot work: nothing was sent, or the address is wrong (404, 405).
    Misconfigured,
    /// Held back by a rule.
    Quarantined,
    /// The principal has no grant for it.
    NoGrant,
    /// Submitted, not approved.
    PendingReview,
    /// A defect of the gateway itself.
    Internal,
}

impl OutcomeStatus {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::AuthRequired => "auth_required",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::UpstreamError => "upstream_error",
            Self::ProtocolError => "protocol_error",
            Self::Misconfigured => "misconfigured",
            Self::Quarantined => "quarantined",
            Self::NoGrant => "no_grant",
            Self::PendingReview => "pending_review",
            Self::Internal => "internal",
        }
    }

    /// All, for parsing and documentation.
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Pending,
        Self::AuthRequired,
        Self::Forbidden,
        Self::RateLimited,
        Self::Timeout,
        Self::Unreachable,
        Self::UpstreamError,
        Self::ProtocolError,
        Self::Misconfigured,
        Self::Quarantined,
        Self::NoGrant,
        Self::PendingReview,
        Self::Internal,
    ];

    /// The inverse of [`OutcomeStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.as_str() == text)
    }

    /// HTTP status for a REST answer about one server (LiteLLM relays 401/403/404/502/504).
    pub fn http_status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::AuthRequired => 401,
            Self::Forbidden | Self::NoGrant | Self::Quarantined | Self::PendingReview => 403,
            Self::RateLimited => 429,
            Self::Timeout => 504,
            Self::Pending => 503,
            Self::Unreachable | Self::UpstreamError | Self::ProtocolError | Self::Misconfigured => 502,
            Self::Internal => 500,
        }
    }

    /// LiteLLM's `status` column: four states that a dashboard shows (B70).
    pub fn health(self) -> &'static str {
        match self {
            Self::Ok => "healthy",
            Self::Pending | Self::NoGrant | Self::PendingReview => "unknown",
            _ => "unhealthy",
        }
    }
}

/// Where in the hand-shake something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reading the registration: URL, credential, headers.
    Configuration,
    /// Name resolution.
    Dns,
    /// The TCP connection.
    Tcp,
    /// The way through a proxy.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// Fetching or reading the OpenAPI document of a server that is an HTTP API.
    Document,
    /// Making tools of it.
    Parse,
    /// The start of a program.
    Start,
    /// `initialize`.
    Initialize,
    /// `notifications/initialized`.
    Initialized,
    /// `tools/list`.
    List,
    /// `tools/call`.
    Call,
}

impl Step {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Document => "document",
            Self::Parse => "parse",
            Self::Start => "start",
            Self::Initialize => "initialize",
            Self::Initialized => "initialized",
            Self::List => "list",
            Self::Call => "call",
        }
    }

    /// The inverse of [`Step::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Configuration,
            Self::Dns,
            Self::Tcp,
            Self::Proxy,
            Self::Tls,
            Self::Document,
            Self::Parse,
            Self::Start,
            Self::Initialize,
            Self::Initialized,
            Self::List,
            Self::Call,
        ]
        .into_iter()
        .find(|value| value.as_str() == text)
    }
}
