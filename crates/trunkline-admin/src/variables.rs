//! `env_vars`: variables for `${NAME}` in fixed headers. Values are secrets.

use serde_json::{Map, Value};
use trunkline_model::{EnvVar, EnvVarScope, Secret};

use crate::body::{At, Loc};
use crate::fields::{MASK, mask, not_stored, one_of};

/// The words of `scope`.
pub(crate) const SCOPES: [EnvVarScope; 2] = [EnvVarScope::Global, EnvVarScope::User];

/// Replaces the list. A masked value is kept from the stored variable of the same name.
pub(crate) fn set(variables: &mut Vec<EnvVar>, value: &Value, at: &mut At<'_>) {
    if value.is_null() {
        variables.clear();
        return;
    }
    let Some(items) = at.list(value) else { return };
    let mut parsed: Vec<EnvVar> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        at.within(Loc::Index(index), |at| {
            let Some(variable) = at.object(item).and_then(|object| one(object, variables, at)) else {
                return;
            };
            if parsed.iter().any(|other| other.name == variable.name) {
                at.problem::<()>(
                    "value_error",
                    "Value error, a variable of this name stands before",
                );
                return;
            }
            parsed.push(variable);
        });
    }
    if parsed.len() == items.len() {
        *variables = parsed;
    }
}

fn one(object: &Map<String, Value>, stored: &[EnvVar], at: &mut At<'_>) -> Option<EnvVar> {
    let mut variable = EnvVar {
        name: String::new(),
        value: Secret::new(""),
        scope: EnvVarScope::Global,
        description: None,
    };
    let mut good = true;
    for (key, value) in object {
        good &= at
            .within(Loc::Name(key.clone()), |at| member(&mut variable, key, value, at))
            .is_some();
    }
    if !object.contains_key("name") {
        return at.within(Loc::from("name"), |at| at.problem("missing", "Field required"));
    }
    if variable.value.expose() == MASK {
        let Some(kept) = stored.iter().find(|other| other.name == variable.name) else {
            at.within(Loc::from("value"), |at| not_stored(at));
            return None;
        };
        variable.value = kept.value.clone();
    }
    good.then_some(variable)
}

/// `None` after a problem.
fn member(variable: &mut EnvVar, key: &str, value: &Value, at: &mut At<'_>) -> Option<()> {
    match key {
        "name" => {
            let name = at.text(value)?;
            let mut characters = name.chars();
            let legal = characters
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !legal {
                return at.problem(
                    "string_pattern_mismatch",
                    "String should match pattern '^[A-Za-z_][A-Za-z0-9_]*$'",
                );
            }
            name.clone_into(&mut variable.name);
        }
        "value" | "description" if value.is_null() => {}
        "value" => variable.value = Secret::new(at.text(value)?),
        "scope" => {
            let Some(scope) = EnvVarScope::parse(at.text(value)?) else {
                let words = SCOPES.map(EnvVarScope::as_str);
                return at.problem("literal_error", format!("Input should be {}", one_of(&words)));
            };
            variable.scope = scope;
        }
        "description" => variable.description = Some(at.text(value)?.to_owned()),
        _ => return at.problem("extra_forbidden", "Extra inputs are not permitted"),
    }
    Some(())
}

/// The list with masked values.
pub(crate) fn show(variables: &[EnvVar]) -> Value {
    variables
        .iter()
        .map(|variable| {
            serde_json::json!({
                "name": variable.name,
                "value": mask(&variable.value),
                "scope": variable.scope.as_str(),
                "description": variable.description,
            })
        })
        .collect()
}
