//! Decisions in words: why, and what would have to change.

use serde_json::{Value, json};
use trunkline_model::{ApprovalStatus, Level, Principal, Server};
use trunkline_policy::explain::Change;
use trunkline_policy::{Denial, Reason, Rule};

use super::target::What;

/// What a sentence is about.
pub(super) struct About<'a> {
    pub(super) principal: &'a Principal,
    pub(super) server: &'a Server,
    pub(super) what: &'a What,
}

impl About<'_> {
    /// As people write it in lists of servers.
    fn server(&self) -> &str {
        let definition = &self.server.definition;
        let named = definition.alias.as_deref().or(definition.server_name.as_deref());
        // A server that only claims its name is granted by its id.
        named
            .filter(|name| !name.is_empty() && self.server.defect.is_none())
            .unwrap_or_else(|| self.server.id.as_str())
    }

    fn thing(&self) -> String {
        match self.what.named() {
            Some((kind, name)) => format!("{kind} {name:?} of {:?}", self.server()),
            None => format!("server {:?}", self.server()),
        }
    }

    fn name(&self) -> &str {
        self.what.named().map_or("", |(_, name)| name)
    }

    /// The sentence of a yes.
    pub(super) fn allowed(&self) -> String {
        format!("the {} may be used", self.thing())
    }

    /// The sentence about a tool that the server does not list, beside what is decided about its name.
    pub(super) fn not_there(&self, decided: Option<&str>, is_allowed: bool, nearest: Option<&str>) -> String {
        let hint = nearest.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"));
        let (server, name) = (self.server(), self.name());
        match decided.filter(|_| !is_allowed) {
            None => format!(
                "{server:?} lists no tool {name:?}{hint}; the rules would let one of that name through"
            ),
            Some(why) => format!("{why}; and {server:?} lists no tool {name:?}{hint}"),
        }
    }

    /// The sentence of a no.
    pub(super) fn why(&self, denial: Denial) -> String {
        let (server, level) = (self.server(), level_word(denial.level));
        match denial.rule {
            Rule::Selection => format!("the request does not select the {}", self.thing()),
            Rule::AvailableOnPublicInternet => format!(
                "{server:?} is for clients of the internal networks (available_on_public_internet is false), and this one is outside"
            ),
            Rule::ApprovalStatus => format!(
                "{server:?} is not approved: its approval_status is {}",
                self.server.approval.status.as_str()
            ),
            Rule::NoMcpServers => {
                format!("no-mcp-servers in mcp_servers of the {level} takes everything away")
            }
            Rule::McpServers => {
                format!("the {level} has a list of servers, and {server:?} is not in it")
            }
            Rule::NothingListed => format!(
                "the {level} was given no servers itself, and what its team or organisation has comes to it by its own lists alone"
            ),
            Rule::McpToolsets => format!(
                "the {level} has {server:?} by toolsets alone, and none of them has {:?}",
                self.name()
            ),
            Rule::McpToolPermissions => format!(
                "mcp_tool_permissions of the {level} name {server:?}, and not the tool {:?}",
                self.name()
            ),
            Rule::AllowedTools => format!("allowed_tools of {server:?} does not have {:?}", self.name()),
            Rule::DisallowedTools => format!("disallowed_tools of {server:?} has {:?}", self.name()),
            Rule::PinnedTools => format!(
                "{server:?} serves the tools that are pinned alone, and {:?} is none of them: see GET /v1/mcp/server/{}/pin, and accept it there if it is right",
                self.name(),
                self.server.id
            ),
            // Of models, and so of nothing that is asked about here.
            Rule::Models | Rule::NoDefaultModels => {
                format!("the models of the {level} do not have what is asked for")
            }
            Rule::AllowedParams => {
                format!("allowed_params of {server:?} does not have all arguments that are given")
            }
            Rule::ToolArguments if denial.reason == Reason::ArgumentUnfilled => {
                format!(
                    "tool_arguments of {server:?} pins an argument to something about the caller that is not known"
                )
            }
            Rule::ToolArguments => format!("tool_arguments of {server:?} pins an argument that is given"),
            Rule::ToolConditions => self.condition(denial),
        }
    }

    fn condition(&self, denial: Denial) -> String {
        let conditions = &self.server.definition.tool_conditions;
        let (at, own) = match denial.part {
            Some(part) => (format!("[{part}]"), conditions.get(usize::from(part))),
            None => (String::new(), None),
        };
        let verdict = match denial.reason {
            Reason::ConditionFailed => "is false",
            _ => "cannot be decided",
        };
        let words = own.and_then(|own| own.reason.as_deref());
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        format!("tool_conditions{at} of {:?} {verdict}{words}", self.server())
    }

    /// What would have to change, for people and for programs.
    pub(super) fn change(&self, change: Change, level: Level) -> Value {
        let (server, tool) = (self.server(), self.name());
        let whose = level_word(level);
        let (text, field, edit) = match change {
            Change::Select => (
                format!("select {server:?}: name it in the path or in x-mcp-servers, or leave both out"),
                "x-mcp-servers",
                json!({"add": server}),
            ),
            Change::LetOutside => (
                format!(
                    "set available_on_public_internet of {server:?} to true, or come from a network of mcp_internal_ip_ranges"
                ),
                "available_on_public_internet",
                json!({"set": true}),
            ),
            Change::Approve => (
                match self.server.approval.status {
                    ApprovalStatus::PendingReview => {
                        format!("approve it: PUT /v1/mcp/server/{}/approve", self.server.id)
                    }
                    _ => format!("register {server:?} again, and approve it"),
                },
                "approval_status",
                json!({"set": "active"}),
            ),
            Change::TakeOutWord => (
                format!("take \"no-mcp-servers\" out of the {whose}'s object_permission.mcp_servers"),
                "object_permission.mcp_servers",
                json!({"remove": "no-mcp-servers"}),
            ),
            Change::AddServer => (
                format!("add {server:?} to the {whose}'s object_permission.mcp_servers"),
                "object_permission.mcp_servers",
                json!({"add": server}),
            ),
            Change::AddTool => (
                format!("add {tool:?} to the {whose}'s object_permission.mcp_tool_permissions of {server:?}"),
                "object_permission.mcp_tool_permissions",
                json!({"add": {server: [tool]}}),
            ),
            Change::AllowTool => (
                format!("add {tool:?} to allowed_tools of {server:?}"),
                "allowed_tools",
                json!({"add": tool}),
            ),
            Change::TakeOutTool => (
                format!("take {tool:?} out of disallowed_tools of {server:?}"),
                "disallowed_tools",
                json!({"remove": tool}),
            ),
        };
        let mut answer =
            json!({"level": level.as_str(), "id": self.id_of(level), "text": text, "field": field});
        if let (Value::Object(answer), Value::Object(edit)) = (&mut answer, edit) {
            answer.extend(edit);
        }
        answer
    }

    /// Whose a level is.
    pub(super) fn id_of(&self, level: Level) -> Option<&str> {
        let holder = self.principal.holder();
        match level {
            Level::Scope => None,
            Level::Server => Some(self.server.id.as_str()),
            // One that is supposed has none.
            Level::Key => holder
                .map(|own| &*own.key.id)
                .filter(|id| id.bytes().any(|byte| byte != b'0')),
            Level::Team => holder?.team.as_ref().map(|own| own.team_id.as_str()),
            Level::User => holder?.user.as_ref().map(|own| own.user_id.as_str()),
            Level::Organization => {
                let organization = holder?.organization.as_ref();
                organization.map(|own| own.organization_id.as_str())
            }
            Level::EndUser => self.principal.end_user().map(|own| &*own.id),
        }
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Organization => "organisation",
        Level::EndUser => "end user",
        Level::Scope => "request",
        other => other.as_str(),
    }
}
