//! Who pays for a request, and from when to when what is spent counts together.
//!
//! Amounts are whole billionths of a dollar. What is spent counts for a **period**: from one reset to the next. Nothing runs when
//! a period ends: a sum is kept with the beginning of the period that it is of, and in a later period it is nothing.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Unit};
use serde_json::Value;

use crate::{Amount, Budget, Level, Principal};

/// What somebody may spend, where it has no budget for it, or beside that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// At most.
    pub max_budget: Option<Amount>,
    /// What somebody is to hear of when it is spent. Limits nothing.
    pub soft_budget: Option<Amount>,
    /// After how long what is spent counts from nothing again: `30d`.
    pub budget_duration: Option<String>,
    /// When that is the next time, as it was said; later ones follow from it.
    pub budget_reset_at: Option<Timestamp>,
    /// At most on single models, by the name that clients ask for.
    pub model_max_budget: BTreeMap<String, ModelBudget>,
}

impl Spending {
    /// Whether it limits nothing.
    pub fn is_none(&self) -> bool {
        self.max_budget.is_none() && self.model_max_budget.is_empty()
    }

    /// Whether single models are limited.
    pub fn is_of_models(&self) -> bool {
        !self.model_max_budget.is_empty()
    }
}

/// What may be spent on one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelBudget {
    /// At most.
    pub max: Amount,
    /// After how long what is spent counts from nothing again: `30d`. For ever without.
    pub duration: Option<String>,
}

/// Where periods of single models begin: a Monday, the first of a month and of a year, so that `1d`, `1w` and `1mo` are those of the
/// calendar, in UTC. Nobody says when such a period began.
const ANCHOR: Timestamp = Timestamp::constant(1_704_067_200, 0);

impl ModelBudget {
    /// LiteLLM's two ways to say it: `max_budget` and `budget_duration`, or `budget_limit` and `time_period`. `None` if it is neither.
    pub fn parse(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let (mut max, mut duration) = (None, None);
        for (name, value) in members {
            match name.as_str() {
                "max_budget" | "budget_limit" if max.is_none() => {
                    max = Some(Amount::of_json(value)?);
                }
                "budget_duration" | "time_period" if duration.is_none() => {
                    if !value.is_null() {
                        let text = value.as_str()?;
                        Period::of(text, ANCHOR, ANCHOR)?;
                        duration = Some(text.to_owned());
                    }
                }
                _ => return None,
            }
        }
        Some(Self { max: max?, duration })
    }

    /// The period that `now` is in; none if it is for ever.
    pub fn period(&self, now: Timestamp) -> Option<Period> {
        Period::of(self.duration.as_deref()?, ANCHOR, now)
    }

    /// When that began, in microseconds; 0 if it is for ever.
    pub fn since(&self, now: Timestamp) -> i64 {
        self.period(now).map_or(0, |period| period.since.as_microsecond())
    }
}

/// What may be spent on a model by somebody with a budget: the lesser of its own and its budget's, and whose period it is. The error: what its
/// budget says cannot be read.
pub fn model_budget(
    own: Option<&Spending>,
    budget: Option<&Budget>,
    model: &str,
) -> Result<Option<ModelBudget>, Unreadable> {
    let own = own.and_then(|own| own.model_max_budget.get(model)).cloned();
    let budgets = budget.and_then(|budget| budget.model_max_budget.get(model));
    let budgets = budgets
        .map(|own| ModelBudget::parse(own).ok_or(Unreadable))
        .transpose()?;
    Ok(match (own, budgets) {
        (Some(own), Some(budgets)) => Some(ModelBudget {
            max: own.max.min(budgets.max),
            duration: own.duration.or(budgets.duration),
        }),
        (own, budgets) => own.or(budgets),
    })
}

/// What a budget says of a model is no budget of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// From one reset to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`.
pub fn span(text: &str) -> Option<Span> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<i64>().ok().filter(|number| *number > 0)?;
    let span = Span::new();
    let span = match unit {
        "s" => span.try_seconds(number),
        "m" => span.try_minutes(number),
        "h" => span.try_hours(number),
        "d" => span.try_days(number),
        "w" => span.try_weeks(number),
        "mo" => span.try_months(number),
        _ => return None,
    };
    span.ok()
}

/// The time plus so many spans, in UTC, where every day has 24 hours.
fn plus(at: Timestamp, span: Span, times: i64) -> Option<Timestamp> {
    let span = span.checked_mul(times).ok()?;
    let at: DateTime = TimeZone::UTC.to_datetime(at);
    let sum = at.checked_add(span).ok()?;
    sum.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

impl Period {
    /// The period that `now` is in, of those that end every `duration`, once at `reset_at`. Before that one there is only one. `None` if
    /// the duration is none.
    pub fn of(duration: &str, reset_at: Timestamp, now: Timestamp) -> Option<Self> {
        let span = span(duration)?;
        let one = plus(reset_at, span, 1)?.duration_since(reset_at).as_secs();
        let past = now.duration_since(reset_at).as_secs();
        // Months are of different lengths: what this is off by is made good below.
        let mut count = if now < reset_at { -1 } else { past / one.max(1) };
        while count >= 0 && plus(reset_at, span, count)? > now {
            count -= 1;
        }
        while count >= 0 && plus(reset_at, span, count + 1)? <= now {
            count += 1;
        }
        let until = if count < 0 {
            reset_at
        } else {
            plus(reset_at, span, count + 1)?
        };
        Some(Self {
            since: plus(reset_at, span, count)?,
            until,
        })
    }

    /// The day that `now` is in.
    pub fn day(now: Timestamp) -> Option<Self> {
        let begin = TimeZone::UTC.to_datetime(now).round(
            jiff::civil::DateTimeRound::new()
                .smallest(Unit::Day)
                .mode(jiff::RoundMode::Trunc),
        );
        let since = begin.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Self {
            since,
            until: plus(since, Span::new().days(1), 1)?,
        })
    }
}

/// One of those who pay for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Which: a key's hash, a team's id …
    pub id: Box<str>,
    /// Since when its period is, microseconds; 0 if it is for ever.
    pub since: i64,
    /// Whether what it has spent is kept. Of who is only a label, as any client can make up, there are sums of days alone.
    pub has_account: bool,
    /// What it may spend on the model is limited: what it spends there is counted beside the rest.
    pub on_model: Option<OnModel>,
}

/// What is spent on one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnModel {
    /// By the name that it was asked by.
    pub model: Box<str>,
    /// Since when its period is, microseconds; 0 if it is for ever.
    pub since: i64,
}

/// All that pay for a request, each all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payers {
    /// The key.
    pub key: Option<Payer>,
    /// Its team.
    pub team: Option<Payer>,
    /// Its user.
    pub user: Option<Payer>,
    /// The team's organisation.
    pub organization: Option<Payer>,
    /// Whom it is for.
    pub end_user: Option<Payer>,
}

impl Payers {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Level, &Payer)> {
        [
            (Level::Key, &self.key),
            (Level::Team, &self.team),
            (Level::User, &self.user),
            (Level::Organization, &self.organization),
            (Level::EndUser, &self.end_user),
        ]
        .into_iter()
        .filter_map(|(level, payer)| Some((level, payer.as_ref()?)))
    }

    /// Who pays for what a caller asks now, of a model if it is about one.
    pub fn of(principal: &Principal, now: Timestamp, model: Option<&str>) -> Self {
        let on_model = |own: Option<&Spending>, budget: Option<&Budget>| {
            let model = model?;
            let limit = model_budget(own, budget, model).ok().flatten()?;
            Some(OnModel {
                model: model.into(),
                since: limit.since(now),
            })
        };
        let payer = |id: &str, own: Option<&Spending>, budget: Option<&Budget>| Payer {
            id: id.into(),
            since: period(own, budget, now).map_or(0, |period| period.since.as_microsecond()),
            has_account: true,
            on_model: on_model(own, budget),
        };
        let end_user = principal.end_user();
        let end_user = end_user.map(|own| Payer {
            has_account: own.end_user.is_some(),
            ..payer(&own.id, None, own.budget.as_deref())
        });
        let Some(holder) = principal.holder() else {
            return Self {
                end_user,
                ..Self::default()
            };
        };
        let key = &holder.key;
        let user = holder.user.as_deref().map(|own| &own.spending);
        let team = holder.team.as_deref();
        let organization = holder.organization.as_deref();
        Self {
            key: Some(payer(&key.id, Some(&key.spending), holder.budget.as_deref())),
            team: team.map(|own| payer(&own.team_id, Some(&own.spending), None)),
            // One that is a label pays, too.
            user: key.user_id.as_deref().map(|id| payer(id, user, None)),
            organization: organization
                .map(|own| payer(&own.organization_id, None, holder.organization_budget.as_deref())),
            end_user,
        }
    }
}

/// The period of one's own duration, or else of one's budget's.
pub fn period(own: Option<&Spending>, budget: Option<&Budget>, now: Timestamp) -> Option<Period> {
    let own = own.and_then(|own| Some((own.budget_duration.as_deref()?, own.budget_reset_at?)));
    let budgets =
        || budget.and_then(|budget| Some((budget.budget_duration.as_deref()?, budget.budget_reset_at?)));
    let (duration, reset_at) = own.or_else(budgets)?;
    Period::of(duration, reset_at, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_follow_each_other() {
        let reset = at("2026-01-31T00:00:00Z");
        for (duration, now, since, until) in [
            (
                "1d",
                "2026-01-30T23:59:59Z",
                "2026-01-30T00:00:00Z",
                "2026-01-31T00:00:00Z",
            ),
            (
                "1d",
                "2026-01-31T00:00:00Z",
                "2026-01-31T00:00:00Z",
                "2026-02-01T00:00:00Z",
            ),
            (
                "1d",
                "2026-03-05T12:00:00Z",
                "2026-03-05T00:00:00Z",
                "2026-03-06T00:00:00Z",
            ),
            // Nothing ends before what was said.
            (
                "1d",
                "2025-06-01T00:00:00Z",
                "2026-01-30T00:00:00Z",
                "2026-01-31T00:00:00Z",
            ),
            (
                "1mo",
                "2026-02-27T23:00:00Z",
                "2026-01-31T00:00:00Z",
                "2026-02-28T00:00:00Z",
            ),
            (
                "1mo",
                "2026-02-28T00:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-03-31T00:00:00Z",
            ),
            (
                "1mo",
                "2036-03-30T00:00:00Z",
                "2036-02-29T00:00:00Z",
                "2036-03-31T00:00:00Z",
            ),
            (
                "30s",
                "2026-01-31T00:01:10Z",
                "2026-01-31T00:01:00Z",
                "2026-01-31T00:01:30Z",
            ),
            (
                "2w",
                "2026-02-20T00:00:00Z",
                "2026-02-14T00:00:00Z",
                "2026-02-28T00:00:00Z",
            ),
        ] {
            let period = Period::of(duration, reset, at(now)).unwrap();
            assert_eq!(
                (period.since, period.until),
                (at(since), at(until)),
                "{duration} {now}"
            );
        }
        assert_eq!(Period::of("soon", reset, reset), None);
        let day = Period::day(at("2026-02-03T04:05:06Z")).unwrap();
        assert_eq!(
            (day.since, day.until),
            (at("2026-02-03T00:00:00Z"), at("2026-02-04T00:00:00Z"))
        );
    }

    #[test]
    fn periods_of_models_are_those_of_the_calendar() {
        for (duration, now, since) in [
            ("1d", "2026-11-30T13:00:00Z", "2026-11-30T00:00:00Z"),
            // A Wednesday, and the Monday before it.
            ("1w", "2026-12-02T13:00:00Z", "2026-11-30T00:00:00Z"),
            ("1mo", "2026-12-02T13:00:00Z", "2026-12-01T00:00:00Z"),
            ("1h", "2026-12-02T13:59:59Z", "2026-12-02T13:00:00Z"),
        ] {
            let own = ModelBudget {
                max: Amount::ZERO,
                duration: Some(duration.to_owned()),
            };
            assert_eq!(own.period(at(now)).unwrap().since, at(since), "{duration}");
            assert_eq!(own.since(at(now)), at(since).as_microsecond());
        }
        let ever = ModelBudget {
            max: Amount::ZERO,
            duration: None,
        };
        assert_eq!(
            (ever.period(at("2026-12-02T13:59:59Z")), ever.since(ANCHOR)),
            (None, 0)
        );
    }

    #[test]
    fn budgets_of_models_are_said_in_two_ways_and_no_other() {
        let parse = |text: &str| ModelBudget::parse(&serde_json::from_str(text).unwrap());
        let own = |max: &str, duration: Option<&str>| {
            Some(ModelBudget {
                max: Amount::parse(max).unwrap(),
                duration: duration.map(str::to_owned),
            })
        };
        for (text, expected) in [
            (
                r#"{"max_budget": 0.1, "budget_duration": "1d"}"#,
                own("0.1", Some("1d")),
            ),
            (
                r#"{"budget_limit": "0.0000001", "time_period": "30d"}"#,
                own("0.0000001", Some("30d")),
            ),
            (r#"{"max_budget": 1}"#, own("1", None)),
            (r#"{"max_budget": 1, "time_period": null}"#, own("1", None)),
            (r#"{"max_budget": 1, "budget_limit": 2}"#, None),
            (r#"{"max_budget": 1, "budget_duration": "soon"}"#, None),
            (r#"{"max_budget": -1}"#, None),
            (r#"{"max_budget": 1, "tpm_limit": 5}"#, None),
            (r#"{"budget_duration": "1d"}"#, None),
            ("{}", None),
            ("5", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
