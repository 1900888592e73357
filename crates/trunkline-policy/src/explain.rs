//! What [`decide`] would say if what takes away did not, one after the other: the trail of a decision, and what would have to change.
//!
//! Nothing is decided here. The same function is asked again, with copies of what the levels say in which the last denial's rule
//! was mended, until it allows. So a change that is named is one that was tried.

use trunkline_model::key::NO_MCP_SERVERS;
use trunkline_model::{ApprovalStatus, Level, ObjectPermission, Principal, Scope, Server};

use crate::levels::Supposed;
use crate::{Action, Decision, Denial, Rule, decide, decide_with, is_named};

/// More than there are levels and rules.
const MOST: usize = 32;

/// A decision, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What [`decide`] says.
    pub decision: Decision,
    /// Who takes away, in the order in which they are asked: the first is the decision's own denial, the next what would be said
    /// after the change that the one before needs, and so on. Empty if it is allowed. Each level that is not here lets it pass.
    pub steps: Vec<Step>,
    /// Whether the changes of all steps together let it pass. Otherwise nobody knows what the last step would need.
    pub suffices: bool,
}

/// Somebody who takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was said.
    pub denial: Denial,
    /// What would make it say otherwise, if that is known.
    pub change: Option<Change>,
}

/// What would have to be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The request selects the server.
    Select,
    /// The server is for clients outside of the internal networks, too; or the client is inside.
    LetOutside,
    /// The server is approved.
    Approve,
    /// `no-mcp-servers` is taken out of a level's `mcp_servers`.
    TakeOutWord,
    /// The server is added to a level's `mcp_servers`.
    AddServer,
    /// The tool is added to a level's `mcp_tool_permissions` of the server.
    AddTool,
    /// The tool is added to the server's `allowed_tools`.
    AllowTool,
    /// The tool is taken out of the server's `disallowed_tools`.
    TakeOutTool,
}

/// What is decided with, to be changed.
struct Attempt<'a> {
    levels: Supposed<'a>,
    scope: Scope,
    server: Server,
}

/// Asks [`decide`], and goes on asking.
pub fn explain(principal: &Principal, scope: &Scope, action: Action<'_>, server: &Server) -> Explanation {
    let decision = decide(principal, scope, action, server);
    let mut attempt = Attempt {
        levels: Supposed::of(principal),
        scope: scope.clone(),
        server: server.clone(),
    };
    let mut steps = Vec::new();
    let mut said = decision;
    while let Decision::Deny(denial) = said {
        let is_new = steps.iter().all(|step: &Step| step.denial != denial);
        // What says the same after its change was not mended by it.
        let change = change_for(denial).filter(|_| is_new && steps.len() < MOST);
        if is_new {
            steps.push(Step { denial, change });
        }
        let Some(change) = change else {
            return Explanation {
                decision,
                steps,
                suffices: false,
            };
        };
        attempt.make(change, denial.level, action);
        said = decide_with(
            principal,
            &attempt.levels.grants(),
            &attempt.scope,
            action,
            &attempt.server,
        );
    }
    Explanation {
        decision,
        steps,
        suffices: true,
    }
}

fn change_for(denial: Denial) -> Option<Change> {
    match denial.rule {
        Rule::Selection => Some(Change::Select),
        Rule::AvailableOnPublicInternet => Some(Change::LetOutside),
        Rule::ApprovalStatus => Some(Change::Approve),
        Rule::NoMcpServers => Some(Change::TakeOutWord),
        Rule::McpServers | Rule::NothingListed | Rule::McpToolsets => Some(Change::AddServer),
        Rule::McpToolPermissions => Some(Change::AddTool),
        Rule::AllowedTools => Some(Change::AllowTool),
        Rule::DisallowedTools => Some(Change::TakeOutTool),
        // A definition is accepted after somebody has read it; another call may be what is needed, and not another rule; and models are
        // no server's.
        Rule::PinnedTools
        | Rule::AllowedParams
        | Rule::ToolArguments
        | Rule::ToolConditions
        | Rule::Models
        | Rule::NoDefaultModels => None,
    }
}

impl Attempt<'_> {
    fn make(&mut self, change: Change, level: Level, action: Action<'_>) {
        let tool = tool_of(action);
        let definition = &mut self.server.definition;
        match change {
            Change::Select => self.scope = Scope::All,
            Change::LetOutside => definition.available_on_public_internet = true,
            Change::Approve => self.server.approval.status = ApprovalStatus::Active,
            Change::AllowTool => {
                let allowed = definition.allowed_tools.get_or_insert_default();
                allowed.extend(tool.map(str::to_owned));
            }
            Change::TakeOutTool => {
                let prefix = self.server.prefix();
                let is_it = |entry: &String| tool.is_some_and(|tool| is_named(entry, &prefix, tool));
                self.server
                    .definition
                    .disallowed_tools
                    .retain(|entry| !is_it(entry));
            }
            Change::TakeOutWord | Change::AddServer | Change::AddTool => {
                if let Some(permission) = self.levels.of_level(level) {
                    give(permission, change, &self.server, tool);
                }
            }
        }
    }
}

fn give(permission: &mut ObjectPermission, change: Change, server: &Server, tool: Option<&str>) {
    match change {
        Change::TakeOutWord => permission.mcp_servers.retain(|name| name != NO_MCP_SERVERS),
        Change::AddServer => permission.mcp_servers.push(server.id.as_str().to_owned()),
        _ => {
            let named = permission.mcp_tool_permissions.iter_mut();
            for (_, tools) in named.filter(|(name, _)| server.answers_to(name)) {
                tools.extend(tool.map(str::to_owned));
            }
        }
    }
}

/// The tool that is asked for, if it is one.
fn tool_of(action: Action<'_>) -> Option<&str> {
    match action {
        Action::UseTool(tool) => Some(tool),
        Action::UseToolAs(tool) => Some(tool.name),
        Action::UseServer | Action::UseWhole | Action::UsePrompt(_) | Action::UseResource(_) => None,
    }
}
