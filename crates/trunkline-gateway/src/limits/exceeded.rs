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
    /// The prefix of the server, if it is about one.
    pub server: Option<String>,
    /// When there is room again; at least a second.
    pub retry_after: Duration,
}

/// What a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Max {
    /// Calls.
    Calls(u32),
    /// Dollars, and nobody can say what the call costs.
    Dollars(Amount),
    /// Dollars that are spent.
    Spent {
        /// So many.
        spent: Amount,
        /// Of so many.
        max: Amount,
    },
    /// Tokens, or dollars of single models, which are not counted.
    NotCounted,
}

impl From<u32> for Max {
    fn from(calls: u32) -> Self {
        Self::Calls(calls)
    }
}

impl fmt::Display for Max {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(calls) => calls.fmt(f),
            Self::Dollars(max) | Self::Spent { max, .. } => max.fmt(f),
            Self::NotCounted => f.write_str("not counted"),
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
    /// `max_parallel_requests`, of whom, and whether a budget says so.
    Parallel(Level, Source),
    /// A server's `rpm`.
    ServerRpm,
    /// A budget's `max_budget`, of whom. Nothing is left of it, or nobody could say what is left after this call.
    Budget(Level),
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
            Self::Parallel(..) => "max_parallel_requests",
            Self::ServerRpm => "rpm",
            Self::Budget(_) => "max_budget",
        }
    }

    /// Whose it is: `key`, `team`, `user`, `organization`, `end_user` or `server`.
    pub fn level(self) -> Level {
        match self {
            Self::Rpm(level, _)
            | Self::ServerRpmOf(level)
            | Self::Parallel(level, _)
            | Self::Budget(level) => level,
            Self::ServerRpm => Level::Server,
        }
    }

    /// Whether it is about calls of one server.
    pub(super) fn is_of_a_server(self) -> bool {
        matches!(self, Self::ServerRpmOf(_) | Self::ServerRpm)
    }

    fn is_a_budgets(self) -> bool {
        matches!(
            self,
            Self::Rpm(_, Source::Budget) | Self::Parallel(_, Source::Budget) | Self::Budget(_)
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
            limit, max, server, ..
        } = self;
        if let Limit::Budget(level) = limit {
            let whose = noun(*level);
            return match (max, server) {
                (Max::Spent { spent, max }, _) => write!(
                    f,
                    "Budget has been exceeded! Current cost: {spent}, Max budget: {max} (max_budget of this {whose})"
                ),
                (Max::NotCounted, _) => write!(
                    f,
                    "Budget has been exceeded! The budget of this {whose} limits tokens or single models, which are not counted"
                ),
                (_, Some(server)) => write!(
                    f,
                    "Budget has been exceeded! max_budget of this {whose} is {max}, and nobody can say what calls of MCP server {server:?} cost: its mcp_server_cost_info cannot be read"
                ),
                (_, None) => write!(
                    f,
                    "Budget has been exceeded! max_budget of this {whose} is {max}, and nobody can say what the model costs: give it prices (litellm_params.input_cost_per_token, output_cost_per_token)"
                ),
            };
        }
        write!(f, "Rate limit exceeded: {limit} of ")?;
        match server {
            Some(server) => write!(f, "MCP server {server:?}")?,
            None if limit.is_a_budgets() => write!(f, "the budget of this {}", noun(limit.level()))?,
            None => write!(f, "this {}", noun(limit.level()))?,
        }
        let unit = match limit {
            Limit::Parallel(..) => " at the same time",
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
