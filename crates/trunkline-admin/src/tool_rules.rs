//! `tool_arguments`, `tool_conditions` and `tool_approval`: rules about calls of a server's tools.

use serde_json::Value;
use trunkline_model::{RuleProblem, Server, ToolApproval, ToolArguments, ToolCondition, tool_rule};

use crate::App;
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

/// What to know about the rules of a server as long as they stand: tools that it does not list, and what cannot be read any more.
pub(crate) fn warnings(server: &Server, app: &App) -> Vec<String> {
    let definition = &server.definition;
    let mut warnings = Vec::new();
    if !definition.has_call_rules() {
        return warnings;
    }
    let conditions = &definition.tool_conditions;
    for (index, condition) in conditions.iter().enumerate() {
        if let Some(mistake) = condition.when.mistake() {
            warnings.push(format!(
                "tool_conditions[{index}].when: cannot be read any more ({mistake}); the tools that it covers are refused"
            ));
        }
    }
    let snapshot = app.registry.snapshot();
    let Some(server) = snapshot.get(&server.id) else {
        return warnings;
    };
    let own = format!("{}-", server.prefix());
    let lists = |name: &str| app.probe.has_tool(server, name);
    let is_idle = |name: &str| {
        let bare = name.strip_prefix(&own).map(lists);
        name != "*" && lists(name) == Some(false) && bare != Some(Some(true))
    };
    let named = definition
        .allowed_params
        .keys()
        .map(|tool| ("allowed_params", tool));
    let named = named.chain(
        definition
            .tool_arguments
            .keys()
            .map(|tool| ("tool_arguments", tool)),
    );
    let named = named.chain(
        definition
            .tool_approval
            .keys()
            .map(|tool| ("tool_approval", tool)),
    );
    let of_conditions = conditions.iter().flat_map(|own| &own.tools);
    let named = named.chain(of_conditions.map(|tool| ("tool_conditions", tool)));
    for (field, tool) in named.filter(|(_, tool)| is_idle(tool)) {
        warnings.push(format!(
            "{field}: the server lists no tool {tool:?}, so that the rule holds for nothing"
        ));
    }
    warnings
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
