//! Limits of calls and of tokens in a body: of a key, and of all keys of a team or a user.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_model::CallLimits;

use super::fields::{MAX_ITEMS, Said, optional, set};
use crate::body::{At, Loc};
use crate::budget::fields::tokens;

/// The fields that are limits.
pub(crate) const NAMES: [&str; 6] = [
    "rpm_limit",
    "max_parallel_requests",
    "mcp_rpm_limit",
    "tpm_limit",
    "model_rpm_limit",
    "model_tpm_limit",
];

/// Those that are numbers by name.
pub(crate) const BY_NAME: [&str; 3] = ["mcp_rpm_limit", "model_rpm_limit", "model_tpm_limit"];

/// What a body says about limits; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct LimitsChange {
    rpm_limit: Option<Said<u32>>,
    max_parallel_requests: Option<Said<u32>>,
    mcp_rpm_limit: Option<BTreeMap<String, u32>>,
    tpm_limit: Option<Said<u64>>,
    model_rpm_limit: Option<BTreeMap<String, u32>>,
    model_tpm_limit: Option<BTreeMap<String, u64>>,
}

impl LimitsChange {
    /// Reads a field. Others are the caller's.
    pub(crate) fn read(&mut self, name: &str, value: &Value, at: &mut At<'_>) {
        match name {
            "rpm_limit" => self.rpm_limit = optional(value, at, number),
            "max_parallel_requests" => self.max_parallel_requests = optional(value, at, number),
            "mcp_rpm_limit" => {
                self.mcp_rpm_limit = by_name(value, at, number);
            }
            "tpm_limit" => self.tpm_limit = optional(value, at, tokens),
            "model_rpm_limit" => self.model_rpm_limit = by_name(value, at, number),
            "model_tpm_limit" => self.model_tpm_limit = by_name(value, at, tokens),
            _ => {}
        }
    }

    pub(crate) fn apply(self, limits: &mut CallLimits) {
        set(&mut limits.rpm_limit, self.rpm_limit.map(Said::value));
        let parallel = self.max_parallel_requests.map(Said::value);
        set(&mut limits.max_parallel_requests, parallel);
        set(&mut limits.mcp_rpm_limit, self.mcp_rpm_limit);
        set(&mut limits.tpm_limit, self.tpm_limit.map(Said::value));
        set(&mut limits.model_rpm_limit, self.model_rpm_limit);
        set(&mut limits.model_tpm_limit, self.model_tpm_limit);
    }
}

pub(crate) fn number(value: &Value, at: &mut At<'_>) -> Option<u32> {
    let Some(number) = value.as_i64() else {
        return at.problem("int_type", "Input should be a valid integer");
    };
    match u32::try_from(number) {
        Ok(number) => Some(number),
        Err(_) if number < 0 => {
            at.problem("greater_than_equal", "Input should be greater than or equal to 0")
        }
        Err(_) => {
            let message = format!("Input should be less than or equal to {}", u32::MAX);
            at.problem("less_than_equal", message)
        }
    }
}

fn by_name<N>(
    value: &Value,
    at: &mut At<'_>,
    read: fn(&Value, &mut At<'_>) -> Option<N>,
) -> Option<BTreeMap<String, N>> {
    optional(value, at, |value, at| numbers(value, at, read)).map(Said::unwrap_or_default)
}

fn numbers<N>(
    value: &Value,
    at: &mut At<'_>,
    read: fn(&Value, &mut At<'_>) -> Option<N>,
) -> Option<BTreeMap<String, N>> {
    let object = at.object(value)?;
    if object.len() > MAX_ITEMS {
        let message = format!("Dictionary should have at most {MAX_ITEMS} items");
        return at.problem("too_long", message);
    }
    let all: BTreeMap<String, N> = object
        .iter()
        .filter_map(|(name, most)| {
            at.within(Loc::Name(name.clone()), |at| {
                Some((name.clone(), read(most, at)?))
            })
        })
        .collect();
    (all.len() == object.len()).then_some(all)
}
