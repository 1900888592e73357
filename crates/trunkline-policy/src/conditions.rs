//! The server's `tool_conditions`: each that covers a tool must be true. One that cannot be decided is not.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use trunkline_condition::{Fact, Facts, Needs, Variable};
use trunkline_model::{ClientAddress, ClientNetwork, Metadata, Principal, Server, ToolCondition};

use crate::{Denial, Reason, Rule, is_named};

/// A tool, and what is known of a use of it. What is `None` is not known yet: a condition that reads it is not decided, but for
/// calls, of which everything is known that will ever be.
#[derive(Clone, Copy, Debug)]
pub struct ToolUse<'a> {
    /// The tool's own name.
    pub name: &'a str,
    /// The tool's annotations: JSON text, `{}` if it has none.
    pub annotations: Option<&'a str>,
    /// The program that asks.
    pub client: Option<Client<'a>>,
    /// The call, if it is one.
    pub call: Option<CallFacts<'a>>,
}

impl<'a> ToolUse<'a> {
    /// Of which nothing but the name is known.
    pub fn of(name: &'a str) -> Self {
        Self {
            name,
            annotations: None,
            client: None,
            call: None,
        }
    }
}

/// The program that asks, as it says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// `clientInfo.name`, where requests say it (2026-07-28).
    pub name: Option<&'a str>,
    /// `clientInfo.version`.
    pub version: Option<&'a str>,
    /// The header `User-Agent`.
    pub user_agent: Option<&'a str>,
}

/// What only a call has.
#[derive(Clone, Copy, Debug)]
pub struct CallFacts<'a> {
    /// The arguments as the server gets them: JSON text.
    pub arguments: &'a str,
    /// When.
    pub now: Timestamp,
}

/// Whether nothing that is known says no.
pub(crate) fn check(principal: &Principal, server: &Server, tool: &ToolUse<'_>) -> Result<(), Denial> {
    let conditions = &server.definition.tool_conditions;
    if conditions.is_empty() {
        return Ok(());
    }
    let prefix = server.prefix();
    let covers = |own: &ToolCondition| {
        own.is_about_all() || own.tools.iter().any(|entry| is_named(entry, &prefix, tool.name))
    };
    // Once: a server may have many, of which few are about one tool.
    let decided: Vec<(usize, &ToolCondition)> = conditions
        .iter()
        .enumerate()
        .filter(|(_, own)| covers(own) && is_known(own.when.needs(), tool))
        .collect();
    let Some((first, _)) = decided.first() else {
        return Ok(());
    };
    let denied = |reason, index: usize| Denial {
        part: u16::try_from(index).ok(),
        ..Denial::of_server(reason, Rule::ToolConditions)
    };
    let needs = decided
        .iter()
        .fold(Needs::default(), |all, (_, own)| all.and(own.when.needs()));
    let mut facts =
        gather(needs, principal, server, tool).ok_or_else(|| denied(Reason::ConditionError, *first))?;
    for (index, condition) in decided {
        match condition.when.holds(&mut facts) {
            Ok(true) => {}
            Ok(false) => return Err(denied(Reason::ConditionFailed, index)),
            Err(_) => return Err(denied(Reason::ConditionError, index)),
        }
    }
    Ok(())
}

fn is_known(needs: Needs, tool: &ToolUse<'_>) -> bool {
    tool.call.is_some()
        || !(needs.args
            || needs.now
            || (needs.annotations && tool.annotations.is_none())
            || (needs.client && tool.client.is_none()))
}

/// What is needed; `None` if some of it cannot be read.
fn gather(needs: Needs, principal: &Principal, server: &Server, tool: &ToolUse<'_>) -> Option<Facts> {
    let mut facts = Facts::new();
    if needs.principal {
        facts.set(Variable::Principal, principal_fact(principal, needs.metadata));
    }
    if needs.server {
        let definition = &server.definition;
        let groups = definition.mcp_access_groups.iter();
        let members = [
            ("id", Fact::text(server.id.as_str())),
            ("name", Fact::optional(definition.server_name.as_deref())),
            ("alias", Fact::optional(definition.alias.as_deref())),
            (
                "access_groups",
                Fact::list(groups.map(|own| Fact::text(own)).collect()),
            ),
        ];
        facts.set(Variable::Server, Fact::members(members));
    }
    if needs.tool {
        let mut members = vec![("name", Fact::text(tool.name))];
        if needs.annotations {
            members.push(("annotations", Fact::parse(tool.annotations?).ok()?));
        }
        facts.set(Variable::Tool, Fact::members(members));
    }
    if needs.client {
        let client = tool.client?;
        let ClientAddress { address, network } = principal.client();
        let address = address.map(|address| address.to_string());
        let network = match network {
            ClientNetwork::Internal => "internal",
            ClientNetwork::External => "external",
        };
        let members = [
            ("address", Fact::optional(address.as_deref())),
            ("network", Fact::text(network)),
            ("name", Fact::optional(client.name)),
            ("version", Fact::optional(client.version)),
            ("user_agent", Fact::optional(client.user_agent)),
        ];
        facts.set(Variable::Client, Fact::members(members));
    }
    if needs.args {
        facts.set_args(tool.call?.arguments).ok()?;
    }
    if needs.now {
        facts.set(Variable::Now, now_fact(tool.call?.now));
    }
    Some(facts)
}

fn principal_fact(principal: &Principal, with_metadata: bool) -> Fact {
    let key = principal.key();
    let holder = principal.holder();
    let team = holder.and_then(|holder| holder.team.as_ref());
    let organization = holder.and_then(|holder| holder.organization.as_ref());
    let kind = if key.is_some() { "key" } else { "master_key" };
    let mut members = vec![
        ("kind", Fact::text(kind)),
        ("key_hash", Fact::optional(key.map(|key| &*key.id))),
        (
            "key_alias",
            Fact::optional(key.and_then(|key| key.vouched_alias())),
        ),
        ("user_id", Fact::optional(principal.user_id())),
        (
            "user_role",
            Fact::optional(principal.role().map(trunkline_model::UserRole::as_str)),
        ),
        ("team_id", Fact::optional(principal.team_id())),
        (
            "team_alias",
            Fact::optional(team.and_then(|team| team.team_alias.as_deref())),
        ),
        (
            "organization_id",
            Fact::optional(organization.map(|own| own.organization_id.as_str())),
        ),
        (
            "end_user_id",
            Fact::optional(principal.end_user().map(|own| &*own.id)),
        ),
    ];
    if with_metadata {
        let metadata = key.and_then(|key| key.vouched_metadata());
        let metadata = metadata.map(Metadata::to_map).unwrap_or_default();
        members.push(("metadata", Fact::object(&metadata)));
    }
    Fact::members(members)
}

fn now_fact(now: Timestamp) -> Fact {
    let utc = now.to_zoned(TimeZone::UTC);
    Fact::members([
        ("unix", Fact::int(now.as_second())),
        ("date", Fact::text(&utc.date().to_string())),
        ("time", Fact::text(&utc.strftime("%H:%M:%S").to_string())),
        ("hour", Fact::int(utc.hour().into())),
        ("minute", Fact::int(utc.minute().into())),
        ("weekday", Fact::int(utc.weekday().to_monday_one_offset().into())),
    ])
}
