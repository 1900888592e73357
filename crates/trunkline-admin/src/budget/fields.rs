//! What a body may say about a budget, and how answers show one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use trunkline_model::{Amount, Budget};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::body::{At, Problems};
use crate::key::error::KeyError;
use crate::key::fields::{Said, metadata, optional, set, short_text, span, unknown};
use crate::key::limits::number;
use crate::key::schema::{closed, nullable, object, text};

/// A field of a budget.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Integer,
    Dollars,
    Text,
    Time,
    Object,
}

impl Kind {
    /// LiteLLM's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Integer => "Integer",
            Self::Dollars => "Float",
            Self::Text | Self::Time => "String",
            Self::Object => "Object",
        }
    }
}

impl Field {
    /// Whether LiteLLM has it among the settings of a budget.
    pub(crate) fn is_setting(&self) -> bool {
        self.kind != Kind::Time
    }
}

macro_rules! fields {
    ($( $kind:ident $name:literal $doc:literal; )+) => {
        /// Every field but the id.
        pub(crate) const FIELDS: &[Field] = &[$( Field { name: $name, kind: Kind::$kind, doc: $doc }, )+];
    };
}

fields! {
    Integer "max_parallel_requests" "Calls at the same time; on all replicas together.";
    Integer "rpm_limit" "Calls in a minute; on all replicas together.";
    Integer "tpm_limit" "Tokens of models in a minute; on all replicas together.";
    Integer "tpd_limit" "Tokens of models in a day.";
    Dollars "max_budget" "What may be spent, in dollars; when it is, calls are refused.";
    Dollars "soft_budget" "Of what somebody is to hear, in dollars. Limits nothing.";
    Text "budget_duration" "After how long what is spent counts from nothing again: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`.";
    Object "model_max_budget" "What may be spent on single models.";
    Time "budget_reset_at" "When `budget_duration` is over the next time, RFC 3339.";
}

/// What a body says; what it does not name stays as it is.
#[derive(Default)]
pub(crate) struct Change {
    max_budget: Option<Said<Amount>>,
    soft_budget: Option<Said<Amount>>,
    max_parallel_requests: Option<Said<u32>>,
    rpm_limit: Option<Said<u32>>,
    tpm_limit: Option<Said<u64>>,
    tpd_limit: Option<Said<u64>>,
    model_max_budget: Option<Map<String, Value>>,
    budget_duration: Option<Said<String>>,
    budget_reset_at: Option<Said<Timestamp>>,
}

impl Change {
    /// Reads a body.
    pub(crate) fn read(body: &Map<String, Value>, now: Timestamp) -> Result<Self, KeyError> {
        let mut problems = Problems::default();
        let mut change = Self::default();
        for (name, value) in super::without_id(body) {
            change.read_field(name, value, &mut At::field(name, &mut problems));
        }
        problems.into_result()?;
        change.set_reset(now);
        Ok(change)
    }

    fn read_field(&mut self, name: &str, value: &Value, at: &mut At<'_>) {
        match name {
            "max_budget" => self.max_budget = optional(value, at, dollars),
            "soft_budget" => self.soft_budget = optional(value, at, dollars),
            "max_parallel_requests" => self.max_parallel_requests = optional(value, at, number),
            "rpm_limit" => self.rpm_limit = optional(value, at, number),
            "tpm_limit" => self.tpm_limit = optional(value, at, tokens),
            "tpd_limit" => self.tpd_limit = optional(value, at, tokens),
            "model_max_budget" => {
                self.model_max_budget = optional(value, at, metadata).map(Said::unwrap_or_default);
            }
            "budget_duration" => self.budget_duration = optional(value, at, duration),
            "budget_reset_at" => self.budget_reset_at = optional(value, at, time),
            _ => {
                let names = FIELDS.iter().map(|field| field.name).chain(["budget_id"]);
                unknown(name, names, at);
            }
        }
    }

    /// A new duration begins now, unless the body says when it ends.
    fn set_reset(&mut self, now: Timestamp) {
        if self.budget_reset_at.is_some() {
            return;
        }
        self.budget_reset_at = match &self.budget_duration {
            None => None,
            Some(Said::Null) => Some(Said::Null),
            Some(Said::Value(duration)) => after(duration, now).map(Said::Value),
        };
    }

    /// Makes the budget as the body says.
    pub(crate) fn apply(self, budget: &mut Budget) {
        set(&mut budget.max_budget, self.max_budget.map(Said::value));
        set(&mut budget.soft_budget, self.soft_budget.map(Said::value));
        let parallel = self.max_parallel_requests.map(Said::value);
        set(&mut budget.max_parallel_requests, parallel);
        set(&mut budget.rpm_limit, self.rpm_limit.map(Said::value));
        set(&mut budget.tpm_limit, self.tpm_limit.map(Said::value));
        set(&mut budget.tpd_limit, self.tpd_limit.map(Said::value));
        set(&mut budget.model_max_budget, self.model_max_budget);
        set(&mut budget.budget_duration, self.budget_duration.map(Said::value));
        set(&mut budget.budget_reset_at, self.budget_reset_at.map(Said::value));
    }
}

/// A number, or a text that is one, as LiteLLM takes it.
pub(crate) fn dollars(value: &Value, at: &mut At<'_>) -> Option<Amount> {
    if !value.is_number() && !value.is_string() {
        return at.problem("float_type", "Input should be a valid number");
    }
    Amount::of_json(value).or_else(|| {
        at.problem(
            "value_error",
            "Value error, it should be a number of dollars, not negative, with 9 digits after the point and 15 in all at most",
        )
    })
}

pub(crate) fn tokens(value: &Value, at: &mut At<'_>) -> Option<u64> {
    // What both databases can store.
    let number = value.as_u64().filter(|number| i64::try_from(*number).is_ok());
    number.or_else(|| {
        at.problem(
            "int_type",
            "Input should be a valid integer, greater than or equal to 0",
        )
    })
}

pub(crate) fn duration(value: &Value, at: &mut At<'_>) -> Option<String> {
    let text = short_text(value, at)?;
    if after(&text, Timestamp::UNIX_EPOCH).is_none() {
        return at.problem(
            "value_error",
            "Value error, it should be a number above 0 with a unit: 30s, 30m, 30h, 30d, 2w, 1mo",
        );
    }
    Some(text)
}

pub(crate) fn after(duration: &str, now: Timestamp) -> Option<Timestamp> {
    let zoned = now.to_zoned(TimeZone::UTC).checked_add(span(duration)?).ok()?;
    Some(zoned.timestamp())
}

fn time(value: &Value, at: &mut At<'_>) -> Option<Timestamp> {
    let text = at.text(value)?;
    // In the database's precision, so that what is answered is what is stored.
    let time = text.parse::<Timestamp>().ok();
    let time = time.and_then(|time| Timestamp::from_microsecond(time.as_microsecond()).ok());
    time.or_else(|| {
        at.problem(
            "datetime_parsing",
            "Input should be a valid datetime with its zone: 2026-01-31T00:00:00Z",
        )
    })
}

/// A budget as answers show it.
pub(crate) fn row(budget: &Budget) -> Value {
    // Amounts have no more digits than a number keeps.
    let amount = |own: Option<Amount>| own.and_then(|own| own.to_string().parse::<f64>().ok());
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "budget_id": budget.budget_id,
        "max_budget": amount(budget.max_budget),
        "soft_budget": amount(budget.soft_budget),
        "max_parallel_requests": budget.max_parallel_requests,
        "rpm_limit": budget.rpm_limit,
        "tpm_limit": budget.tpm_limit,
        "tpd_limit": budget.tpd_limit,
        "model_max_budget": budget.model_max_budget,
        "budget_duration": budget.budget_duration,
        "budget_reset_at": time(budget.budget_reset_at),
        "created_at": time(budget.stamps.created_at),
        "created_by": budget.stamps.created_by,
        "updated_at": time(budget.stamps.updated_at),
        "updated_by": budget.stamps.updated_by,
        "defect": budget.defect,
    })
}

/// What a body may have.
pub(crate) fn schema() -> ObjectBuilder {
    closed(with_fields(object().property(
        "budget_id",
        text("Chosen by the caller, or made up at random. Never changes."),
    )))
}

/// What an answer has.
pub(crate) fn row_schema() -> ObjectBuilder {
    with_fields(object().property("budget_id", text("Which.")))
        .required("budget_id")
        .property("created_at", text("RFC 3339."))
        .property("created_by", text("By whom."))
        .property("updated_at", text("RFC 3339."))
        .property("updated_by", text("By whom."))
        .property(
            "defect",
            text("What of its row cannot be read; whoever has it is refused."),
        )
}

fn with_fields(object: ObjectBuilder) -> ObjectBuilder {
    FIELDS.iter().fold(object, |object, field| {
        let schema = match field.kind {
            Kind::Integer => nullable(Type::Integer).minimum(Some(0)),
            Kind::Dollars => nullable(Type::Number).minimum(Some(0)),
            Kind::Text | Kind::Time => nullable(Type::String),
            Kind::Object => nullable(Type::Object),
        };
        object.property(field.name, schema.description(Some(field.doc)))
    })
}
