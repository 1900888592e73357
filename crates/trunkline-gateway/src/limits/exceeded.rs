//! How one call too many is refused: the limit's name, whose it is, and when there is room again.

use std::fmt;
use std::time::Duration;

use trunkline_model::{Amount, Level};

/// A call is one too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// What it is.
    pub max: Max,
    /// What it is about, if that is not everything.
    pub about: Option<About>,
    /// When there is room again; at least a second.
    pub retry_after: Duration,
}

/// What a limit is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Calls of a server, by its prefix.
    Server(String),
    /// Requests to a model, by the name that the client asked for.
    Model(String),
}

/// What a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Max {
    /// Calls, or tokens.
    Calls(u64),
    /// Dollars, and nobody can say what the call costs.
    Dollars(Amount),
    /// Dollars that are spent.
    Spent {
        /// So many.
        spent: Amount,
        /// Of so many.
        max: Amount,
    },
    /// Tokens of a day, which are not counted, or what cannot be read.
    NotCounted,
    /// Dollars of single models, and nobody can say which of them the call is about.
    OfSomeModel,
}

impl From<u64> for Max {
    fn from(calls: u64) -> Self {
        Self::Calls(calls)
    }
}

impl fmt::Display for Max {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(calls) => calls.fmt(f),
            Self::Dollars(max) | Self::Spent { max, .. } => max.fmt(f),
            Self::NotCounted => f.write_str("not counted"),
            Self::OfSomeModel => f.write_str("of single models"),
        }
    }
}

/// The limits that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `rpm_limit`, of whom, and whether a budget says so.
    Rpm(Level, Source),
    /// `mcp_rpm_limit`, of whom: calls of one server.
    ServerRpmOf(Level),
    /// `tpm_limit`, of whom, and whether a budget says so: tokens.
    Tpm(Level, Source),
    /// `model_rpm_limit`, of whom: requests to one model.
    ModelRpm(Level),
    /// `model_tpm_limit`, of whom: tokens of one model.
    ModelTpm(Level),
    /// `max_parallel_requests`, of whom, and whether a budget says so.
    Parallel(Level, Source),
    /// A server's `rpm`.
    ServerRpm,
    /// A budget's `max_budget`, of whom. Nothing is left of it, or nobody could say what is left after this call.
    Budget(Level),
    /// `model_max_budget`, of whom: what may be spent on one model.
    ModelBudget(Level),
}

/// Who says what a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Whoever has it.
    Own,
    /// Its budget.
    Budget,
}

impl Limit {
    /// The field that sets it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rpm(..) => "rpm_limit",
            Self::ServerRpmOf(_) => "mcp_rpm_limit",
            Self::Tpm(..) => "tpm_limit",
            Self::ModelRpm(_) => "model_rpm_limit",
            Self::ModelTpm(_) => "model_tpm_limit",
            Self::Parallel(..) => "max_parallel_requests",
            Self::ServerRpm => "rpm",
            Self::Budget(_) => "max_budget",
            Self::ModelBudget(_) => "model_max_budget",
        }
    }

    /// Whose it is: `key`, `team`, `user`, `organization`, `end_user` or `server`.
    pub fn level(self) -> Level {
        match self {
            Self::Rpm(level, _)
            | Self::ServerRpmOf(level)
            | Self::Tpm(level, _)
            | Self::ModelRpm(level)
            | Self::ModelTpm(level)
            | Self::Parallel(level, _)
            | Self::Budget(level)
            | Self::ModelBudget(level) => level,
            Self::ServerRpm => Level::Server,
        }
    }

    /// Whether it is about calls of one server.
    pub(super) fn is_of_a_server(self) -> bool {
        matches!(self, Self::ServerRpmOf(_) | Self::ServerRpm)
    }

    /// Whether it counts tokens.
    pub(super) fn is_of_tokens(self) -> bool {
        matches!(self, Self::Tpm(..) | Self::ModelTpm(_))
    }

    fn is_a_budgets(self) -> bool {
        matches!(
            self,
            Self::Rpm(_, Source::Budget)
                | Self::Parallel(_, Source::Budget)
                | Self::Tpm(_, Source::Budget)
                | Self::Budget(_)
        )
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn noun(level: Level) -> &'static str {
    match level {
        Level::Team => "team",
        Level::User => "user",
        Level::Organization => "organization",
        Level::EndUser => "end user",
        Level::Key | Level::Scope | Level::Server => "key",
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit, max, about, ..
        } = self;
        if let Limit::Budget(level) | Limit::ModelBudget(level) = limit {
            let whose = noun(*level);
            return match (max, about) {
                (Max::Spent { spent, max }, Some(About::Model(model))) => write!(
                    f,
                    "Budget has been exceeded! Current cost: {spent}, Max budget: {max} ({limit} of this {whose} for the model {model:?})"
                ),
                (Max::Spent { spent, max }, _) => write!(
                    f,
                    "Budget has been exceeded! Current cost: {spent}, Max budget: {max} ({limit} of this {whose})"
                ),
                (Max::OfSomeModel, _) => write!(
                    f,
                    "Budget has been exceeded! {limit} of this {whose} says what may be spent on single models, and nobody can say which of them this request is about"
                ),
                (Max::NotCounted, _) => write!(
                    f,
                    "Budget has been exceeded! The budget of this {whose} limits tokens of a day, which are not counted, or says of a model what cannot be read"
                ),
                (_, Some(About::Server(server))) => write!(
                    f,
                    "Budget has been exceeded! max_budget of this {whose} is {max}, and nobody can say what calls of MCP server {server:?} cost: its mcp_server_cost_info cannot be read"
                ),
                (_, Some(About::Model(_)) | None) => write!(
                    f,
                    "Budget has been exceeded! {limit} of this {whose} is {max}, and nobody can say what the model costs: give it prices (litellm_params.input_cost_per_token, output_cost_per_token)"
                ),
            };
        }
        write!(f, "Rate limit exceeded: {limit} of ")?;
        match about {
            Some(About::Server(server)) => write!(f, "MCP server {server:?}")?,
            Some(About::Model(model)) => write!(f, "this {} for the model {model:?}", noun(limit.level()))?,
            None if limit.is_a_budgets() => write!(f, "the budget of this {}", noun(limit.level()))?,
            None => write!(f, "this {}", noun(limit.level()))?,
        }
        let unit = match limit {
            Limit::Parallel(..) => " at the same time",
            _ if limit.is_of_tokens() => " tokens a minute",
            _ => " a minute",
        };
        write!(
            f,
            " is {max}{unit}; try again in {} s",
            self.retry_after.as_secs()
        )
    }
}

impl std::error::Error for Exceeded {}
