//! What a body says about what a key, a team or a user may spend, without a budget.

use jiff::Timestamp;
use serde_json::Value;
use trunkline_model::{Amount, Spending};

use super::fields::{after, dollars, duration};
use crate::body::At;
use crate::key::fields::{Said, optional, set};

/// The fields, with what they are.
pub(crate) const FIELDS: [(&str, &str); 3] = [
    (
        "max_budget",
        "What may be spent, in dollars; when it is, calls are refused. What a call costs counts when it ends.",
    ),
    (
        "soft_budget",
        "Of what somebody is to hear, in dollars. Limits nothing.",
    ),
    (
        "budget_duration",
        "After how long what is spent counts from nothing again, from now on: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`.",
    ),
];

/// What a body says; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct SpendingChange {
    max_budget: Option<Said<Amount>>,
    soft_budget: Option<Said<Amount>>,
    budget_duration: Option<Said<String>>,
    reset_at: Option<Timestamp>,
}

impl SpendingChange {
    /// Reads a field of [`FIELDS`].
    pub(crate) fn read(&mut self, name: &str, value: &Value, now: Timestamp, at: &mut At<'_>) {
        match name {
            "max_budget" => self.max_budget = optional(value, at, dollars),
            "soft_budget" => self.soft_budget = optional(value, at, dollars),
            _ => {
                self.budget_duration = optional(value, at, duration);
                self.reset_at = match &self.budget_duration {
                    Some(Said::Value(duration)) => after(duration, now),
                    _ => None,
                };
            }
        }
    }

    pub(crate) fn apply(self, spending: &mut Spending) {
        set(&mut spending.max_budget, self.max_budget.map(Said::value));
        set(&mut spending.soft_budget, self.soft_budget.map(Said::value));
        if let Some(duration) = self.budget_duration {
            spending.budget_duration = duration.value();
            spending.budget_reset_at = self.reset_at;
        }
    }
}
