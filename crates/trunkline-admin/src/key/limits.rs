//! Limits of calls in a body: of a key, and of all keys of a team or a user.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_model::CallLimits;

use super::fields::{MAX_ITEMS, Said, optional, set};
use crate::body::{At, Loc};

/// What a body says about limits; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct LimitsChange {
    rpm_limit: Option<Said<u32>>,
    max_parallel_requests: Option<Said<u32>>,
    mcp_rpm_limit: Option<BTreeMap<String, u32>>,
}

impl LimitsChange {
    /// Reads a field. Others are the caller's.
    pub(crate) fn read(&mut self, name: &str, value: &Value, at: &mut At<'_>) {
        match name {
            "rpm_limit" => self.rpm_limit = optional(value, at, number),
            "max_parallel_requests" => self.max_parallel_requests = optional(value, at, number),
            "mcp_rpm_limit" => {
                self.mcp_rpm_limit = optional(value, at, numbers).map(Said::unwrap_or_default);
            }
            _ => {}
        }
    }

    pub(crate) fn apply(self, limits: &mut CallLimits) {
        set(&mut limits.rpm_limit, self.rpm_limit.map(Said::value));
        let parallel = self.max_parallel_requests.map(Said::value);
        set(&mut limits.max_parallel_requests, parallel);
        set(&mut limits.mcp_rpm_limit, self.mcp_rpm_limit);
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

fn numbers(value: &Value, at: &mut At<'_>) -> Option<BTreeMap<String, u32>> {
    let object = at.object(value)?;
    if object.len() > MAX_ITEMS {
        let message = format!("Dictionary should have at most {MAX_ITEMS} items");
        return at.problem("too_long", message);
    }
    let read: BTreeMap<String, u32> = object
        .iter()
        .filter_map(|(name, most)| {
            at.within(Loc::Name(name.clone()), |at| {
                Some((name.clone(), number(most, at)?))
            })
        })
        .collect();
    (read.len() == object.len()).then_some(read)
}
