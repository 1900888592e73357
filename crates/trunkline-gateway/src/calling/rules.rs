//! The server's rules about the arguments of a call: which may be given, which are filled in, what must be true of them. The one
//! place where arguments are set on their way to a server: REST, either era, tasks, programs and HTTP APIs come by.

use std::borrow::Cow;
use std::fmt::Write as _;

use trunkline_mcp::ListKind;
use trunkline_mcp::edit::RawObject;
use trunkline_model::Server;
use trunkline_policy::arguments::{self, Refused};
use trunkline_policy::{CallFacts, Decision, Denial, Reason};
use trunkline_upstream::fault::printable;

use super::{CallError, Denied};
use crate::Gateway;
use crate::context::Context;
use crate::route::Target;

/// A call that is not made because of its arguments, or of what it is made under.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct RuledOut {
    /// Which tool, why, and by which rule.
    pub denied: Denied,
    /// For the caller, who knows the tool: what to do otherwise.
    text: String,
}

/// Checks the arguments in `params`, sets those that the gateway fills in, and decides the conditions.
pub(super) fn apply(
    gateway: &Gateway,
    context: &Context,
    target: &Target,
    params: &mut RawObject<'_>,
) -> Result<(), CallError> {
    let definition = &target.server.definition;
    if !definition.has_call_rules() {
        return Ok(());
    }
    if !definition.allowed_params.is_empty() || !definition.tool_arguments.is_empty() {
        fill(context, target, params)?;
    }
    if definition.tool_conditions.is_empty() {
        return Ok(());
    }
    let call = CallFacts {
        arguments: params.get("arguments").unwrap_or("{}"),
        now: gateway.clock.now(),
    };
    match context.may_call(&target.server, &target.name, target.annotations.as_deref(), call) {
        Decision::Allow => Ok(()),
        Decision::Deny(denial) => Err(ruled_out(target, denial, &unmet(&target.server, denial))),
    }
}

fn fill(context: &Context, target: &Target, params: &mut RawObject<'_>) -> Result<(), CallError> {
    let given = params.get("arguments").unwrap_or("{}").to_owned();
    let unreadable = |error: serde_json::Error| CallError::Params(format!("`arguments`: {error}"));
    let mut own = RawObject::parse(&given).map_err(unreadable)?;
    let names: Vec<Cow<'_, str>> = own.all_keys().collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let set = arguments::fill(&context.principal, &target.server, &target.name, &names)
        .map_err(|refused| ruled_out(target, refused.denial, &wrong_arguments(&refused)))?;
    if set.is_empty() {
        return Ok(());
    }
    let set: Vec<(&str, String)> = set
        .into_iter()
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    for (name, json) in set {
        own.set(name, json);
    }
    let own = own.to_json();
    params.set("arguments", own);
    Ok(())
}

fn ruled_out(target: &Target, denial: Denial, why: &str) -> CallError {
    CallError::RuledOut(Box::new(RuledOut {
        denied: Denied {
            kind: ListKind::Tools,
            name: printable(&target.name),
            server: target.server.id.clone(),
            own: target.name.clone(),
            denial,
        },
        text: format!("{}: {why}", denial.reason.as_str()),
    }))
}

/// Names that are shown.
const MAX_NAMES: usize = 20;

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| printable(name)).collect();
    let mut text = shown.join(", ");
    if names.len() > MAX_NAMES {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {} more", names.len() - MAX_NAMES);
    }
    text
}

/// Values are in none of these texts.
fn wrong_arguments(refused: &Refused) -> String {
    let names = listed(&refused.arguments);
    match (refused.denial.reason, &refused.permitted) {
        (Reason::ArgumentPinned, _) => {
            format!("the gateway itself sets {names} for this tool; call it without")
        }
        (Reason::ArgumentUnfilled, _) => format!(
            "the gateway sets {names} for this tool from what it knows of the caller, and knows nothing of the kind; ask its administrator"
        ),
        (_, Some(permitted)) if permitted.is_empty() => {
            format!(
                "Parameters {names} are not allowed for this tool. It takes none; ask the administrator of the gateway to allow them"
            )
        }
        (_, permitted) => {
            let permitted = listed(permitted.as_deref().unwrap_or_default());
            format!(
                "Parameters {names} are not allowed for this tool. Allowed parameters: {permitted}. Ask the administrator of the gateway to allow them"
            )
        }
    }
}

/// The condition's own words, where it has some.
fn unmet(server: &Server, denial: Denial) -> String {
    let condition = denial.part.and_then(|part| {
        let conditions = &server.definition.tool_conditions;
        conditions.get(usize::from(part))
    });
    let reason = condition.and_then(|own| own.reason.as_deref()).map(printable);
    match (denial.reason, reason) {
        (Reason::ConditionFailed, Some(reason)) => reason,
        (Reason::ConditionFailed, None) => "a condition of this tool is not met".to_owned(),
        (Reason::ConditionError, Some(reason)) => {
            format!("a condition of this tool cannot be decided for these arguments: {reason}")
        }
        (Reason::ConditionError, None) => {
            "a condition of this tool cannot be decided for these arguments".to_owned()
        }
        _ => "it is not allowed".to_owned(),
    }
}
