//! Which arguments a caller may give, and which the gateway fills in: the server's `allowed_params` and `tool_arguments`.

use std::borrow::Cow;

use serde_json::Value;
use trunkline_condition::is_same_key;
use trunkline_model::{Claim, Filled, Hold, Level, Principal, Server, Source};

use crate::{Denial, Reason, Rule, is_named};

/// What is said about the arguments of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Those that may be given; `None` if any may.
    pub permitted: Option<Vec<&'a str>>,
    /// Those that are filled in and may not be given.
    pub pinned: Vec<&'a str>,
    /// Those that are filled in where they are not given, whoever asks.
    pub defaulted: Vec<&'a str>,
}

impl<'a> Shape<'a> {
    /// Of a tool, by its own name. `None` if nothing is said.
    pub fn of(server: &'a Server, tool: &str) -> Option<Self> {
        let definition = &server.definition;
        if definition.allowed_params.is_empty() && definition.tool_arguments.is_empty() {
            return None;
        }
        let shape = Self {
            permitted: permitted(server, tool),
            pinned: names(server, tool, |own| own.hold == Hold::Pinned),
            defaulted: names(server, tool, |own| {
                own.hold == Hold::Default && matches!(own.source, Source::Value(_))
            }),
        };
        (shape != Self::default()).then_some(shape)
    }

    /// Whether a caller may give the argument.
    pub fn permits(&self, argument: &str) -> bool {
        let listed = |permitted: &Vec<&str>| permitted.contains(&argument);
        self.permitted.as_ref().is_none_or(listed) && !self.pins(argument)
    }

    /// Whether the argument is one that is pinned. The case of its letters does not matter: there are servers to which it does
    /// not, and the pinned one would not be the one that they take.
    pub fn pins(&self, argument: &str) -> bool {
        self.pinned.iter().any(|own| is_same_key(own, argument))
    }

    /// Whether the argument is filled in, whoever asks, if it is not given.
    pub fn fills(&self, argument: &str) -> bool {
        self.pinned.contains(&argument) || self.defaulted.contains(&argument)
    }
}

/// Why a call with these arguments is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, and by which rule.
    pub denial: Denial,
    /// The arguments that it is about.
    pub arguments: Vec<String>,
    /// Those that may be given, if that is a list.
    pub permitted: Option<Vec<String>>,
}

/// An argument to be set: its name and its value.
pub type Set<'a> = (&'a str, Cow<'a, Value>);

/// Which arguments are set beside those that a caller gives, or why the call is not made. `given`: their names. Total and pure.
pub fn fill<'a>(
    principal: &'a Principal,
    server: &'a Server,
    tool: &str,
    given: &[&str],
) -> Result<Vec<Set<'a>>, Refused> {
    let Some(shape) = Shape::of(server, tool) else {
        // Defaults of callers may be all there is.
        return filled(principal, server, tool, given);
    };
    let refused = |reason, rule, which: &dyn Fn(&str) -> bool| {
        let arguments: Vec<String> = given
            .iter()
            .filter(|name| which(name))
            .map(|name| (*name).to_owned())
            .collect();
        let permitted = shape.permitted.as_ref();
        (!arguments.is_empty()).then(|| Refused {
            denial: Denial::of_server(reason, rule),
            arguments,
            permitted: permitted.map(|own| own.iter().map(|name| (*name).to_owned()).collect()),
        })
    };
    // Also if it names the same value: what it is pinned to could be found out otherwise.
    if let Some(refused) = refused(Reason::ArgumentPinned, Rule::ToolArguments, &|name| {
        shape.pins(name)
    }) {
        return Err(refused);
    }
    if let Some(refused) = refused(Reason::ArgumentNotAllowed, Rule::AllowedParams, &|name| {
        !shape.permits(name)
    }) {
        return Err(refused);
    }
    filled(principal, server, tool, given)
}

fn filled<'a>(
    principal: &'a Principal,
    server: &'a Server,
    tool: &str,
    given: &[&str],
) -> Result<Vec<Set<'a>>, Refused> {
    let mut set = Vec::new();
    for (name, own) in of_tool(server, tool) {
        if own.hold == Hold::Default && given.contains(&name) {
            continue;
        }
        let value = match &own.source {
            Source::Value(value) => Some(Cow::Borrowed(value)),
            Source::Claim(claim) => claimed(principal, claim).map(Cow::Owned),
        };
        match value {
            Some(value) => set.push((name, value)),
            None if own.hold == Hold::Default => {}
            None => {
                return Err(Refused {
                    denial: Denial::of_server(Reason::ArgumentUnfilled, Rule::ToolArguments),
                    arguments: vec![name.to_owned()],
                    permitted: None,
                });
            }
        }
    }
    Ok(set)
}

/// What is known of a caller; nothing for what is empty.
fn claimed(principal: &Principal, claim: &Claim) -> Option<Value> {
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Value::from);
    match claim {
        Claim::UserId => text(principal.user_id()),
        Claim::TeamId => text(principal.team_id()),
        Claim::KeyAlias => text(principal.key().and_then(|key| key.vouched_alias())),
        Claim::EndUserId => text(principal.end_user().map(|own| &*own.id)),
        Claim::Metadata(member) => {
            let value = principal.key()?.vouched_metadata()?.get(member)?;
            let empty = value.is_null() || value.as_str() == Some("");
            (!empty).then_some(value)
        }
    }
}

fn of_tool<'a>(server: &'a Server, tool: &str) -> impl Iterator<Item = (&'a str, &'a Filled)> {
    let entries = entries(server, &server.definition.tool_arguments, tool);
    entries
        .into_iter()
        .flatten()
        .map(|(name, own)| (name.as_str(), own))
}

fn names<'a>(server: &'a Server, tool: &str, which: impl Fn(&Filled) -> bool) -> Vec<&'a str> {
    let own = of_tool(server, tool).filter(|(_, own)| which(own));
    own.map(|(name, _)| name).collect()
}

/// A tool may be named in two ways: what both permit is permitted.
fn permitted<'a>(server: &'a Server, tool: &str) -> Option<Vec<&'a str>> {
    let mut lists = entries(server, &server.definition.allowed_params, tool).into_iter();
    let first = lists.next()?;
    let mut permitted: Vec<&str> = first.iter().map(String::as_str).collect();
    for list in lists {
        permitted.retain(|name| list.iter().any(|own| own == name));
    }
    Some(permitted)
}

/// What a map says about a tool, under either of its names.
fn entries<'a, T>(server: &Server, map: &'a std::collections::BTreeMap<String, T>, tool: &str) -> Vec<&'a T> {
    if map.is_empty() {
        return Vec::new();
    }
    let prefix = server.prefix();
    let own = map.iter().filter(|(entry, _)| is_named(entry, &prefix, tool));
    own.map(|(_, value)| value).collect()
}

impl Denial {
    pub(crate) fn of_server(reason: Reason, rule: Rule) -> Self {
        Self {
            reason,
            level: Level::Server,
            rule,
            part: None,
        }
    }
}
