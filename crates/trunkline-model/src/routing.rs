//! Routing: how one of several deployments is chosen, and what is done when it fails. LiteLLM's `router_settings`.

use std::collections::BTreeMap;

/// How one of several deployments is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// By chance, by their shares.
    #[default]
    Shuffle,
    /// The one with the fewest requests under way.
    LeastBusy,
    /// The one that answered fastest of late.
    Latency,
    /// The one that took the fewest tokens in this minute.
    Usage,
    /// The one whose tokens are cheapest.
    Cost,
}

impl Strategy {
    /// LiteLLM's names.
    pub const NAMES: [&str; 6] = [
        "simple-shuffle",
        "least-busy",
        "latency-based-routing",
        "usage-based-routing",
        "usage-based-routing-v2",
        "cost-based-routing",
    ];

    /// By one of its names.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "simple-shuffle" => Self::Shuffle,
            "least-busy" => Self::LeastBusy,
            "latency-based-routing" => Self::Latency,
            "usage-based-routing" | "usage-based-routing-v2" => Self::Usage,
            "cost-based-routing" => Self::Cost,
            _ => return None,
        })
    }
}

/// Kinds of failures that LiteLLM's policies tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// 400, 404, 413, 422: the request.
    BadRequest,
    /// 401, 403.
    Authentication,
    /// 408, or no answer in time.
    Timeout,
    /// 429
    RateLimit,
    /// The provider will not talk about that.
    ContentPolicy,
    /// 5xx, no connection, and whatever else.
    InternalServer,
}

impl FailureKind {
    /// All of them, with the words that LiteLLM's names begin with: `…Retries`, `…AllowedFails`.
    pub const NAMES: [(Self, &str); 6] = [
        (Self::BadRequest, "BadRequestError"),
        (Self::Authentication, "AuthenticationError"),
        (Self::Timeout, "TimeoutError"),
        (Self::RateLimit, "RateLimitError"),
        (Self::ContentPolicy, "ContentPolicyViolationError"),
        (Self::InternalServer, "InternalServerError"),
    ];
}

/// A number for some kinds of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind([Option<u32>; 6]);

impl ByKind {
    /// Of a kind, if it has one.
    pub fn of(&self, kind: FailureKind) -> Option<u32> {
        self.0[kind as usize]
    }

    /// Sets it for a kind.
    pub fn set(&mut self, kind: FailureKind, number: u32) {
        self.0[kind as usize] = Some(number);
    }
}

/// The names that are asked when one fails, by that name; `*`: of any.
pub type Targets = BTreeMap<String, Vec<String>>;

/// What is asked when all of a name fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallbacks {
    /// After any failure; `default_fallbacks` are those of `*`.
    pub general: Targets,
    /// If the request is longer than the model can read.
    pub context_window: Targets,
    /// If the provider will not talk about that.
    pub content_policy: Targets,
    /// How many names are asked at most for one request, beside its own.
    pub most: u32,
}

impl Default for Fallbacks {
    fn default() -> Self {
        Self {
            general: Targets::new(),
            context_window: Targets::new(),
            content_policy: Targets::new(),
            most: 5,
        }
    }
}

/// Another name of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAlias {
    /// Of `model_list`.
    pub model: String,
    /// Lists do not show it.
    pub hidden: bool,
}

/// `router_settings`, and what of `litellm_settings` stands in for it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterRules {
    /// How one is chosen.
    pub strategy: Strategy,
    /// How often a request is tried again.
    pub num_retries: u32,
    /// It was said how often: then one that failed is asked again after a while, too, and not only others at once.
    pub asks_again: bool,
    /// The least number of seconds before one that failed is asked again.
    pub retry_after: f64,
    /// How often after which failure.
    pub retry_policy: ByKind,
    /// The same for single names.
    pub group_retry_policy: BTreeMap<String, ByKind>,
    /// Seconds for deployments without a time of their own.
    pub timeout: f64,
    /// The same for answers in pieces.
    pub stream_timeout: Option<f64>,
    /// Seconds that a deployment is left alone after it failed; 0: it is not.
    pub cooldown_time: f64,
    /// No deployment is left alone, whatever it says itself.
    pub disable_cooldowns: bool,
    /// Failures in a minute after which it is not yet.
    pub allowed_fails: Option<u32>,
    /// The same for kinds of failures.
    pub allowed_fails_policy: ByKind,
    /// What is asked when all of a name fails.
    pub fallbacks: Fallbacks,
    /// Other names of models.
    pub aliases: BTreeMap<String, ModelAlias>,
    /// Requests reach deployments by tags.
    pub filters_tags: bool,
    /// One tag in common is enough; otherwise a deployment has to have all of the request's.
    pub matches_any_tag: bool,
    /// `max_parallel_requests` for deployments that do not say it.
    pub max_parallel_requests: Option<u32>,
    /// `drop_params` for deployments that do not say it.
    pub drop_params: bool,
}

impl RouterRules {
    /// Failures of a kind in a minute after which a deployment is not yet left alone.
    pub fn allowed_of(&self, kind: FailureKind) -> u32 {
        let own = self.allowed_fails_policy.of(kind);
        own.or(self.allowed_fails).unwrap_or(0)
    }
}

impl Default for RouterRules {
    fn default() -> Self {
        Self {
            strategy: Strategy::Shuffle,
            num_retries: 2,
            asks_again: false,
            retry_after: 0.0,
            retry_policy: ByKind::default(),
            group_retry_policy: BTreeMap::new(),
            timeout: 600.0,
            stream_timeout: None,
            cooldown_time: 5.0,
            disable_cooldowns: false,
            allowed_fails: None,
            allowed_fails_policy: ByKind::default(),
            fallbacks: Fallbacks::default(),
            aliases: BTreeMap::new(),
            filters_tags: false,
            matches_any_tag: true,
            max_parallel_requests: None,
            drop_params: false,
        }
    }
}
