//! Rules about calls of a server's tools: arguments that the gateway fills in, and conditions that must hold. What people write
//! is read here for the configuration file, the management API and rows alike.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use trunkline_condition::Condition;

use crate::ApprovalMode;

/// Arguments that the gateway fills in, by tool and argument.
pub type ToolArguments = BTreeMap<String, BTreeMap<String, Filled>>;

/// When somebody has to say yes, by tool; `*`: those that are not named.
pub type ToolApproval = BTreeMap<String, ApprovalMode>;

/// An argument that the gateway fills in.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Whether callers may give another.
    pub hold: Hold,
    /// With what.
    pub source: Source,
}

/// Whether callers may give an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Never: it is not in the schema either.
    Pinned,
    /// It is filled in where they do not.
    Default,
}

/// Where the value of an argument comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The same for everybody.
    Value(Value),
    /// Something about the caller.
    Claim(Claim),
}

/// Something about the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Whose key it is.
    UserId,
    /// Of which team the key is.
    TeamId,
    /// The key's name.
    KeyAlias,
    /// Whom the request says that it is for.
    EndUserId,
    /// A member of the key's `metadata`.
    Metadata(String),
}

impl Claim {
    /// The word for it.
    pub fn to_text(&self) -> String {
        match self {
            Self::UserId => "user_id".to_owned(),
            Self::TeamId => "team_id".to_owned(),
            Self::KeyAlias => "key_alias".to_owned(),
            Self::EndUserId => "end_user_id".to_owned(),
            Self::Metadata(member) => format!("metadata.{member}"),
        }
    }

    /// The inverse of [`Claim::to_text`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user_id" => Some(Self::UserId),
            "team_id" => Some(Self::TeamId),
            "key_alias" => Some(Self::KeyAlias),
            "end_user_id" => Some(Self::EndUserId),
            _ => text
                .strip_prefix("metadata.")
                .filter(|member| !member.is_empty())
                .map(|member| Self::Metadata(member.to_owned())),
        }
    }
}

/// A condition on calls of some tools.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCondition {
    /// Which, by their own names or those that they are exposed under; `*`: all.
    pub tools: Vec<String>,
    /// What must be true.
    pub when: Condition,
    /// What the caller reads when it is not.
    pub reason: Option<String>,
}

impl ToolCondition {
    /// Whether it is about every tool.
    pub fn is_about_all(&self) -> bool {
        self.tools.iter().any(|tool| tool == "*")
    }
}

/// What is wrong with a rule: the member (empty: the whole), and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The steps to it: names, and numbers of a list's items.
    pub path: Vec<String>,
    /// Why, for people. Begins with a verb: `must be …`.
    pub message: String,
}

/// Rules of a server at most.
const MAX_CONDITIONS: usize = 100;
/// Arguments that are filled in, of all tools.
const MAX_FILLED: usize = 1_000;
/// Bytes of a value.
const MAX_VALUE: usize = 16 * 1024;
/// Bytes of a reason.
const MAX_REASON: usize = 300;
/// From here on not every whole number is one that all readers know.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

const WAYS: [&str; 4] = ["value", "value_from", "default", "default_from"];
const CLAIMS: &str = "user_id, team_id, key_alias, end_user_id or metadata.NAME";

struct Problems(Vec<RuleProblem>);

impl Problems {
    fn add(&mut self, path: &[&str], message: impl Into<String>) {
        self.0.push(RuleProblem {
            path: path.iter().map(|step| (*step).to_owned()).collect(),
            message: message.into(),
        });
    }

    fn or<T>(self, value: T) -> Result<T, Vec<RuleProblem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Reads `tool_arguments`: `{tool: {argument: {"value": …}}}`.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse_arguments(value: &Value) -> Result<ToolArguments, Vec<RuleProblem>> {
    let mut problems = Problems(Vec::new());
    let mut tools = ToolArguments::new();
    let Some(object) = members(value) else {
        problems.add(&[], "must be a mapping from tool to arguments");
        return problems.or(tools);
    };
    for (tool, arguments) in object {
        if tool == "*" {
            problems.add(
                &[tool],
                "must be the name of a tool: not all tools have the same arguments",
            );
            continue;
        }
        let Some(arguments) = members(arguments) else {
            problems.add(
                &[tool],
                "must be a mapping from argument to what it is filled with",
            );
            continue;
        };
        let mut filled = BTreeMap::new();
        for (name, rule) in arguments {
            if let Some(rule) = parse_filled(&[tool, name], rule, &mut problems) {
                filled.insert(name.clone(), rule);
            }
        }
        tools.insert(tool.clone(), filled);
    }
    if tools.values().map(BTreeMap::len).sum::<usize>() > MAX_FILLED {
        problems.add(&[], format!("must not fill in more than {MAX_FILLED} arguments"));
    }
    problems.or(tools)
}

fn members(value: &Value) -> Option<&Map<String, Value>> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match value {
        Value::Null => Some(&NONE),
        value => value.as_object(),
    }
}

fn parse_filled(path: &[&str; 2], rule: &Value, problems: &mut Problems) -> Option<Filled> {
    let ways = WAYS.join(", ");
    let only = rule.as_object().filter(|rule| rule.len() == 1);
    let Some((way, value)) = only.and_then(|rule| rule.iter().next()) else {
        problems.add(path, format!("must be a mapping with one of {ways}"));
        return None;
    };
    let at = [path[0], path[1], way.as_str()];
    let hold = match way.as_str() {
        "value" | "value_from" => Hold::Pinned,
        "default" | "default_from" => Hold::Default,
        _ => {
            problems.add(&at, format!("must be one of {ways}"));
            return None;
        }
    };
    let source = if way.ends_with("_from") {
        let claim = value.as_str().and_then(Claim::parse);
        if claim.is_none() {
            problems.add(&at, format!("must be {CLAIMS}"));
        }
        Source::Claim(claim?)
    } else {
        if let Some(why) = unfit(value) {
            problems.add(&at, why);
            return None;
        }
        Source::Value(value.clone())
    };
    Some(Filled { hold, source })
}

/// Why a value cannot be sent as it was written.
fn unfit(value: &Value) -> Option<String> {
    if value.is_null() {
        return Some("must not be null".to_owned());
    }
    if !is_exact(value) {
        return Some("must not have numbers that lose digits: write them as text".to_owned());
    }
    let long = value.to_string().len() > MAX_VALUE;
    long.then(|| format!("must not be longer than {MAX_VALUE} bytes"))
}

fn is_exact(value: &Value) -> bool {
    match value {
        // What was too long for a whole number has been rounded by now.
        Value::Number(number) if number.is_f64() => {
            number.as_f64().is_some_and(|number| number.abs() < MAX_EXACT)
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(object) => object.values().all(is_exact),
        _ => true,
    }
}

/// What [`parse_arguments`] reads.
pub fn arguments_to_json(tools: &ToolArguments) -> Value {
    let filled = |filled: &Filled| match (filled.hold, &filled.source) {
        (Hold::Pinned, Source::Value(value)) => json!({"value": value}),
        (Hold::Default, Source::Value(value)) => json!({"default": value}),
        (Hold::Pinned, Source::Claim(claim)) => json!({"value_from": claim.to_text()}),
        (Hold::Default, Source::Claim(claim)) => json!({"default_from": claim.to_text()}),
    };
    let arguments = |own: &BTreeMap<String, Filled>| -> Value {
        own.iter()
            .map(|(name, rule)| (name.clone(), filled(rule)))
            .collect()
    };
    tools
        .iter()
        .map(|(tool, own)| (tool.clone(), arguments(own)))
        .collect()
}

/// Reads `tool_conditions`: `[{"tools": ["*"], "when": "…", "reason": "…"}]`. An expression that cannot be read is a problem;
/// `lenient` keeps it as one that holds of nothing.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse_conditions(value: &Value, lenient: bool) -> Result<Vec<ToolCondition>, Vec<RuleProblem>> {
    let mut problems = Problems(Vec::new());
    let mut conditions = Vec::new();
    let items = match value {
        Value::Null => &[][..],
        Value::Array(items) => items,
        _ => {
            problems.add(&[], "must be a list of conditions");
            return problems.or(conditions);
        }
    };
    if items.len() > MAX_CONDITIONS {
        problems.add(&[], format!("must not be more than {MAX_CONDITIONS} conditions"));
        return problems.or(conditions);
    }
    for (index, item) in items.iter().enumerate() {
        let index = index.to_string();
        let Some(item) = item.as_object() else {
            problems.add(&[&index], "must be a mapping with `tools`, `when` and `reason`");
            continue;
        };
        for name in item.keys() {
            if !["tools", "when", "reason"].contains(&name.as_str()) {
                problems.add(&[&index, name], "must be one of tools, when, reason");
            }
        }
        let tools = tools_of(item.get("tools"));
        if tools.is_none() {
            problems.add(&[&index, "tools"], "must be a list of names of tools, or [\"*\"]");
        }
        let when = item.get("when").and_then(Value::as_str).map(Condition::read);
        match when.as_ref().map(Condition::mistake) {
            None => problems.add(&[&index, "when"], "must be an expression, as text"),
            Some(Some(mistake)) if !lenient => {
                problems.add(&[&index, "when"], format!("cannot be read: {mistake}"));
            }
            Some(_) => {}
        }
        let reason = match item.get("reason") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() <= MAX_REASON => Some(text.clone()),
            Some(_) => {
                problems.add(
                    &[&index, "reason"],
                    format!("must be text of at most {MAX_REASON} bytes"),
                );
                None
            }
        };
        if let (Some(tools), Some(when)) = (tools, when) {
            conditions.push(ToolCondition { tools, when, reason });
        }
    }
    problems.or(conditions)
}

fn tools_of(value: Option<&Value>) -> Option<Vec<String>> {
    let names = value?
        .as_array()?
        .iter()
        .map(|name| name.as_str().map(str::to_owned));
    names
        .collect::<Option<Vec<_>>>()
        .filter(|names| !names.is_empty())
}

/// Reads `tool_approval`: `{tool: "always"}`.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse_approval(value: &Value) -> Result<ToolApproval, Vec<RuleProblem>> {
    let mut problems = Problems(Vec::new());
    let mut approval = ToolApproval::new();
    let Some(object) = members(value) else {
        problems.add(&[], "must be a mapping from tool to never, first_use or always");
        return problems.or(approval);
    };
    for (tool, word) in object {
        match word.as_str().and_then(ApprovalMode::parse) {
            Some(mode) => {
                approval.insert(tool.clone(), mode);
            }
            None => problems.add(&[tool], "must be never, first_use or always"),
        }
    }
    problems.or(approval)
}

/// What [`parse_approval`] reads.
pub fn approval_to_json(approval: &ToolApproval) -> Value {
    let words = approval
        .iter()
        .map(|(tool, mode)| (tool.clone(), Value::from(mode.as_str())));
    words.collect()
}

/// What [`parse_conditions`] reads.
pub fn conditions_to_json(conditions: &[ToolCondition]) -> Value {
    let one =
        |own: &ToolCondition| json!({"tools": own.tools, "when": own.when.text(), "reason": own.reason});
    conditions.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_can_be_written() {
        let arguments = json!({
            "search": {
                "repo": {"value": "a/b"},
                "limit": {"default": 10},
                "team": {"value_from": "team_id"},
                "tenant": {"default_from": "metadata.tenant.id"},
            },
            "none": {},
        });
        let read = parse_arguments(&arguments).unwrap();
        assert_eq!(read["search"]["repo"].hold, Hold::Pinned);
        assert_eq!(arguments_to_json(&read), arguments);
        let conditions = json!([{"tools": ["*"], "when": "args.a == 1", "reason": null}]);
        let read = parse_conditions(&conditions, false).unwrap();
        assert!(read[0].is_about_all());
        assert_eq!(conditions_to_json(&read), conditions);
        assert!(parse_arguments(&Value::Null).unwrap().is_empty());
        assert!(parse_conditions(&Value::Null, false).unwrap().is_empty());
    }

    #[test]
    fn words_of_approval() {
        let approval = json!({"*": "always", "a": "never", "b": "first_use"});
        assert_eq!(approval_to_json(&parse_approval(&approval).unwrap()), approval);
        let problems = parse_approval(&json!({"a": "yes", "b": null})).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].path, ["a"]);
    }

    #[test]
    fn every_mistake_has_a_place() {
        let arguments = json!({
            "a": {"x": {"value": 1, "default": 2}, "y": {"values": 1}, "z": {"value_from": "metadata."}, "n": {"value": null}},
            "b": {"x": {"value": 1e300}, "y": 7},
            "*": {"x": {"value": 1}},
            "c": 1,
        });
        let problems = parse_arguments(&arguments).unwrap_err();
        let places: Vec<String> = problems.iter().map(|own| own.path.join(".")).collect();
        assert_eq!(
            places,
            [
                "a.x",
                "a.y.values",
                "a.z.value_from",
                "a.n.value",
                "b.x.value",
                "b.y",
                "*",
                "c"
            ]
        );
        let conditions = json!([
            {"tools": "a", "when": "true"},
            {"tools": [], "when": "arg.x", "why": 1},
            {"tools": ["a"], "reason": 7},
            7,
        ]);
        let problems = parse_conditions(&conditions, false).unwrap_err();
        let places: Vec<String> = problems.iter().map(|own| own.path.join(".")).collect();
        assert_eq!(
            places,
            ["0.tools", "1.why", "1.tools", "1.when", "2.when", "2.reason", "3"]
        );
        assert!(problems[3].message.contains("\"arg\" is not known"));
    }

    #[test]
    fn what_is_stored_and_cannot_be_read_any_more_holds_of_nothing() {
        let stored = json!([{"tools": ["a"], "when": "gone(args)"}]);
        let read = parse_conditions(&stored, true).unwrap();
        assert!(read[0].when.mistake().is_some());
    }
}
