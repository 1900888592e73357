//! `tool_arguments`, `tool_conditions` and `tool_approval`: rules about calls of a server's tools.

use serde_json::Value;
use trunkline_model::{RuleProblem, ToolApproval, ToolArguments, ToolCondition, tool_rule};

use crate::body::{At, Loc};

/// Replaces the arguments that are filled in; null removes all.
pub(crate) fn set_arguments(arguments: &mut ToolArguments, value: &Value, at: &mut At<'_>) {
    match tool_rule::parse_arguments(value) {
        Ok(parsed) => *arguments = parsed,
        Err(problems) => note(problems, at),
    }
}

/// Replaces the conditions; null removes all.
pub(crate) fn set_conditions(conditions: &mut Vec<ToolCondition>, value: &Value, at: &mut At<'_>) {
    match tool_rule::parse_conditions(value, false) {
        Ok(parsed) => *conditions = parsed,
        Err(problems) => note(problems, at),
    }
}

/// Replaces what has to be approved; null removes all.
pub(crate) fn set_approval(approval: &mut ToolApproval, value: &Value, at: &mut At<'_>) {
    match tool_rule::parse_approval(value) {
        Ok(parsed) => *approval = parsed,
        Err(problems) => note(problems, at),
    }
}

fn note(problems: Vec<RuleProblem>, at: &mut At<'_>) {
    for RuleProblem { path, message } in problems {
        within(at, &path, &format!("Value error, {message}"));
    }
}

fn within(at: &mut At<'_>, path: &[String], message: &str) {
    match path.split_first() {
        None => drop(at.problem::<()>("value_error", message)),
        Some((first, rest)) => {
            let step = first
                .parse()
                .map_or_else(|_| Loc::Name(first.clone()), Loc::Index);
            at.within(step, |at| within(at, rest, message));
        }
    }
}
