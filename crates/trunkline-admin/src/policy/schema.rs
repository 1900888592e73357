//! The shapes of the policy routes, for the document.

#![expect(dead_code, reason = "bodies and answers are maps; this describes them")]

use serde_json::Value;
use utoipa::ToSchema;

/// The question why somebody may use something or not.
#[derive(ToSchema)]
#[schema(as = PolicyQuestion)]
pub(crate) struct Question {
    /// A key: its hash, its alias, or itself; `master_key`. Without it, and without `team_id` and `user_id`, the caller.
    principal: Option<String>,
    /// Instead: a key of this team that has been given the server. What is left is what the team and its organisation take away.
    team_id: Option<String>,
    /// The same of this user.
    user_id: Option<String>,
    /// For whom the request is made.
    end_user: Option<String>,
    /// Where the client is: `internal` (unless said) or `external`. For administrators and viewers; others are where they are.
    client_network: Option<String>,
    /// Id, name or alias. Not needed if the name of the tool or prompt is the one that clients see.
    server: Option<String>,
    /// A tool.
    tool: Option<String>,
    /// Instead of a tool: a prompt.
    prompt: Option<String>,
    /// Instead of a tool: the server's own URI of a resource.
    resource: Option<String>,
    /// The arguments of the tool, for the server's rules about them. Without them it is decided as for a list.
    arguments: Option<Value>,
    /// The request's path, such as `/git/mcp` or `/toolset/ci/mcp`; `/mcp` unless said.
    path: Option<String>,
    /// The request's header.
    #[schema(rename = "x-mcp-servers")]
    x_mcp_servers: Option<String>,
    /// Instead of all of these: the call that this request (`x-litellm-call-id`) made, and that was denied.
    request_id: Option<String>,
}

/// Why.
#[derive(ToSchema)]
#[schema(as = PolicyExplanation)]
pub(crate) struct Answer {
    /// Whether it may be used.
    allowed: bool,
    /// Of a no: its stable name.
    reason: Option<String>,
    /// Of a no: which level says so.
    level: Option<String>,
    /// Of a no: by which of its rules.
    rule: Option<String>,
    /// The same in words.
    sentence: String,
    /// Who.
    principal: Value,
    /// The server: `server_id`, `name`.
    server: Value,
    /// The server's own name of the tool.
    tool: Option<String>,
    /// Of a tool: whether the server's last list has it. Null if no list is known, and for a caller who may not use it and not see all.
    exists: Option<bool>,
    /// The levels in the order in which they are asked, those that there are.
    trail: Vec<LevelSays>,
    /// What would have to change, one after the other: `text` for people; `level`, `id`, `field` and `add`, `remove` or `set` for programs.
    changes: Vec<Value>,
    /// Whether these changes together are enough.
    changes_suffice: bool,
    /// Of a request: its row of the audit log, as it was decided then.
    denied: Option<Value>,
}

/// What one level says.
#[derive(ToSchema)]
#[schema(as = PolicyLevel)]
pub(crate) struct LevelSays {
    /// `scope`, `server`, `key`, `team`, `user`, `organization` or `end_user`.
    level: String,
    /// Whose.
    id: Option<String>,
    /// Its lists.
    says: Value,
    /// `passes` or `takes_away`.
    verdict: String,
    /// What it takes away: each with `reason`, `rule`, `part` (which item of the rule, from 0) and `sentence`.
    denials: Vec<Value>,
}

/// Changes to be tried.
#[derive(ToSchema)]
#[schema(as = PolicyDryRun)]
pub(crate) struct DryRun {
    /// Up to a hundred: `object_permission` of one of `key` (hash or alias), `team_id`, `user_id`, `organization_id`, `end_user`;
    /// or `allowed_tools` and `disallowed_tools` of a `server`. What is not named stays as it is.
    changes: Vec<Value>,
    /// How far back, 24 unless said, 720 at most.
    hours: Option<u32>,
    /// How many differences are listed, 100 unless said, 1000 at most.
    limit: Option<u32>,
}

/// What would be decided otherwise.
#[derive(ToSchema)]
#[schema(as = PolicyDryRunAnswer)]
pub(crate) struct DryRunAnswer {
    /// How far back.
    hours: u32,
    /// Calls that were looked at.
    calls: u64,
    /// Calls that are let through now, and would not be.
    newly_denied: u64,
    /// Calls that are denied now, and would be let through.
    newly_allowed: u64,
    /// Calls whose key or server is not there any more.
    undecided: u64,
    /// Different calls that would be decided otherwise.
    different: u64,
    /// These: `principal`, `key_alias`, `server`, `server_id`, `tool` (or `prompt`, `resource`), `calls`, `last_at`, and the decisions
    /// `now` and `then`; the most frequent first.
    differences: Vec<Value>,
    /// Whether all calls were looked at, and all differences are listed.
    complete: bool,
}
