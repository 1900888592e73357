//! What answers show of whom keys belong to: the rows at one moment, and what they have spent by then.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Amount, Budget, Clock, Level, ModelBudget, Spending, VirtualKey, spending};
use trunkline_store::{Spent, Store};

/// The rows, and where it is known what they have spent.
pub(crate) struct Shown {
    pub(crate) directory: Arc<Directory>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// When it was looked at, once somebody wants to know.
    now: OnceLock<Timestamp>,
}

impl Deref for Shown {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl Shown {
    /// Rows, as they are now.
    pub(crate) fn new(directory: Arc<Directory>, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            store,
            clock,
            now: OnceLock::new(),
        }
    }

    /// The same of other rows.
    pub(crate) fn of(&self, directory: &Directory) -> Self {
        Self {
            directory: Arc::new(directory.clone()),
            store: self.store.clone(),
            clock: self.clock.clone(),
            now: self.now.clone(),
        }
    }

    /// One moment for all of an answer.
    pub(crate) fn now(&self) -> Timestamp {
        *self.now.get_or_init(|| self.clock.now())
    }

    /// A budget.
    pub(crate) fn budget(&self, id: Option<&String>) -> Option<&Arc<Budget>> {
        id.and_then(|id| self.directory.budgets.get(id))
    }

    /// What somebody has spent, in the period of its own duration or its budget's.
    pub(crate) fn spent(
        &self,
        level: Level,
        id: &str,
        own: Option<&Spending>,
        budget: Option<&Budget>,
    ) -> Spent {
        let period = spending::period(own, budget, self.now());
        let since = period.map_or(0, |period| period.since.as_microsecond());
        self.store.spend().spent(level, id, since)
    }

    /// What a key has spent of what it may, billionths.
    pub(crate) fn key_spent(&self, key: &VirtualKey) -> i64 {
        let budget = self.budget(key.budget_id.as_ref()).map(|own| &**own);
        self.spent(Level::Key, &key.id, Some(&key.spending), budget).now
    }

    /// LiteLLM's columns about what somebody may spend and has spent.
    pub(crate) fn columns(
        &self,
        level: Level,
        id: &str,
        own: &Spending,
        budget: Option<&Budget>,
    ) -> Map<String, Value> {
        let spent = self.spent(level, id, Some(own), budget);
        let period = spending::period(Some(own), None, self.now());
        let amount = |own: Option<Amount>| own.and_then(|own| own.to_string().parse::<f64>().ok());
        let columns = json!({
            "spend": dollars(spent.now),
            "total_spend": dollars(spent.ever),
            "max_budget": amount(own.max_budget),
            "soft_budget": amount(own.soft_budget),
            "budget_duration": own.budget_duration,
            "budget_reset_at": period.map(|period| period.until.to_string()),
            "model_max_budget": model_budgets(own),
            "model_spend": self.on_models(level, id, own, |_, spent| spent.into()),
            "model_max_budget_usage": self.on_models(level, id, own, |limit, spent| json!({
                "current_spend": spent,
                "max_budget": amount(Some(limit.max)),
                "budget_duration": limit.duration,
                "budget_reset_at": limit.period(self.now()).map(|period| period.until.to_string()),
            })),
        });
        match columns {
            Value::Object(columns) => columns,
            _ => Map::new(),
        }
    }
}

impl Shown {
    /// What somebody has spent on each model for which it has a limit of its own.
    fn on_models(
        &self,
        level: Level,
        id: &str,
        own: &Spending,
        show: impl Fn(&ModelBudget, f64) -> Value,
    ) -> Map<String, Value> {
        let each = own.model_max_budget.iter().map(|(model, limit)| {
            let since = limit.since(self.now());
            let spent = self.store.spend().spent_on(level, id, model, since);
            (model.clone(), show(limit, dollars(spent)))
        });
        each.collect()
    }
}

/// What may be spent on single models, as LiteLLM has it.
fn model_budgets(own: &Spending) -> Map<String, Value> {
    let each = own.model_max_budget.iter().map(|(model, limit)| {
        let max = limit.max.to_string().parse::<f64>().ok();
        let shown = json!({"max_budget": max, "budget_duration": limit.duration});
        (model.clone(), shown)
    });
    each.collect()
}

/// Billionths as dollars: the nearest number that JSON has.
pub(crate) fn dollars(billionths: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "sums are counted and compared as integers; this is shown"
    )]
    let amount = billionths as f64;
    amount / 1e9
}
