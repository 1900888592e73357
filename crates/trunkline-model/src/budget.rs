//! Budgets: what whoever has one may spend and call. LiteLLM's `LiteLLM_BudgetTable`.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::Stamps;

/// A budget, which keys, organisations and end users may have. Each that has it has all of it: it is no purse that they share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Which budget.
    pub budget_id: String,
    /// What may be spent.
    pub max_budget: Option<Amount>,
    /// What somebody is to hear of when it is spent. Limits nothing.
    pub soft_budget: Option<Amount>,
    /// Calls at the same time.
    pub max_parallel_requests: Option<u32>,
    /// Calls in a minute.
    pub rpm_limit: Option<u32>,
    /// Tokens of models in a minute.
    pub tpm_limit: Option<u64>,
    /// Tokens of models in a day.
    pub tpd_limit: Option<u64>,
    /// What may be spent on single models.
    pub model_max_budget: Map<String, Value>,
    /// After how long what is spent counts from nothing again: `30d`.
    pub budget_duration: Option<String>,
    /// When that is the next time.
    pub budget_reset_at: Option<Timestamp>,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. Whoever has it is refused: what is missing may have been a limit.
    pub defect: Option<String>,
}

/// Dollars, exactly: they are counted in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

/// Billionths of a dollar.
const UNIT: u64 = 1_000_000_000;
/// Digits after the point.
const DECIMALS: usize = 9;
/// Digits that a number keeps on its way through JSON, whichever program reads it.
const DIGITS: usize = 15;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a number as people write it: `12`, `0.05`. `None` if it is negative, has more than nine digits after the point, or
    /// more in all than survive as a JSON number.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = part.trim_end_matches('0');
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) || part.len() > DECIMALS {
            return None;
        }
        let digits = format!("{whole}{part:0<DECIMALS$}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.len() > DIGITS {
            return None;
        }
        // Signed numbers are what both databases have.
        let billionths = digits.parse::<i64>().ok()?;
        u64::try_from(billionths).ok().map(Self)
    }

    /// Reads a number of JSON, or a text that is one, as LiteLLM takes it. `None` if it is neither, or no amount.
    pub fn of_json(value: &Value) -> Option<Self> {
        match value {
            // The shortest text that is the same number: what was written, if it has no more digits than a number keeps.
            Value::Number(number) if number.is_u64() => Self::parse(&number.to_string()),
            Value::Number(number) => Self::parse(&number.as_f64()?.to_string()),
            Value::String(text) => Self::parse(text),
            _ => None,
        }
    }

    /// From what is stored.
    pub fn from_billionths(billionths: i64) -> Option<Self> {
        u64::try_from(billionths).ok().map(Self)
    }

    /// As it is stored.
    pub fn billionths(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / UNIT, self.0 % UNIT);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let mut digits = [b'0'; DECIMALS];
        let mut rest = part;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        let shown = std::str::from_utf8(&digits).unwrap_or_default();
        write!(f, "{whole}.{}", shown.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, billionths) in [
            ("0", 0),
            ("0.0", 0),
            ("12", 12_000_000_000),
            ("0.1", 100_000_000),
            ("0.000000001", 1),
            ("999999.999999999", 999_999_999_999_999),
            ("100000000", 100_000_000_000_000_000),
            ("007.50", 7_500_000_000),
        ] {
            let amount = Amount::parse(text).unwrap();
            assert_eq!(amount.billionths(), billionths, "{text}");
            assert_eq!(Amount::from_billionths(billionths), Some(amount));
            // As a JSON number and back it is the same.
            let number: f64 = amount.to_string().parse().unwrap();
            assert_eq!(Amount::parse(&number.to_string()), Some(amount), "{text}");
        }
        for text in [
            "",
            ".5",
            "-1",
            "+1",
            "1e3",
            "0.0000000001",
            "1000000.123456789",
            "NaN",
            "inf",
            "10000000000",
            "1.2.3",
            "１",
        ] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
        assert_eq!(Amount::from_billionths(-1), None);
        let shown = [1, 1_000_000_000, 1_050_000_000].map(|own| Amount(own).to_string());
        assert_eq!(shown, ["0.000000001", "1", "1.05"]);
    }
}
