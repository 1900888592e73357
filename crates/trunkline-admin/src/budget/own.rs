//! What a body says about what a key, a team or a user may spend, without a budget.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use trunkline_model::{Amount, ModelBudget, Spending};

use super::fields::{after, dollars, duration};
use crate::body::{At, Loc};
use crate::key::fields::{MAX_ITEMS, Said, optional, set};

/// The fields, with what they are.
pub(crate) const FIELDS: [(&str, &str); 4] = [
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
    (
        "model_max_budget",
        "What may be spent on single models, by the name that clients ask for: `{\"gpt-4o\": {\"max_budget\": 5, \"budget_duration\": \"1d\"}}`, or LiteLLM's `budget_limit` and `time_period`. Days, weeks and months are those of the calendar, in UTC.",
    ),
];

/// Their names.
pub(crate) const NAMES: [&str; 4] = ["max_budget", "soft_budget", "budget_duration", "model_max_budget"];

/// What a body says; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct SpendingChange {
    max_budget: Option<Said<Amount>>,
    soft_budget: Option<Said<Amount>>,
    budget_duration: Option<Said<String>>,
    reset_at: Option<Timestamp>,
    model_max_budget: Option<BTreeMap<String, ModelBudget>>,
}

impl SpendingChange {
    /// Reads a field of [`FIELDS`].
    pub(crate) fn read(&mut self, name: &str, value: &Value, now: Timestamp, at: &mut At<'_>) {
        match name {
            "max_budget" => self.max_budget = optional(value, at, dollars),
            "soft_budget" => self.soft_budget = optional(value, at, dollars),
            "model_max_budget" => {
                self.model_max_budget = optional(value, at, model_budgets).map(Said::unwrap_or_default);
            }
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
        set(&mut spending.model_max_budget, self.model_max_budget);
    }
}

/// Budgets of models by their names.
fn model_budgets(value: &Value, at: &mut At<'_>) -> Option<BTreeMap<String, ModelBudget>> {
    let object = at.object(value)?;
    if object.len() > MAX_ITEMS {
        let message = format!("Dictionary should have at most {MAX_ITEMS} items");
        return at.problem("too_long", message);
    }
    let read: BTreeMap<String, ModelBudget> = object
        .iter()
        .filter_map(|(model, own)| {
            at.within(Loc::Name(model.clone()), |at| {
                let budget = ModelBudget::parse(own).or_else(|| {
                    at.problem(
                        "value_error",
                        "Value error, it should be {\"max_budget\": dollars, \"budget_duration\": \"1d\"}; limits of tokens and requests are model_tpm_limit and model_rpm_limit",
                    )
                })?;
                Some((model.clone(), budget))
            })
        })
        .collect();
    (read.len() == object.len()).then_some(read)
}
