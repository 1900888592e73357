//! May this principal do this to that? One pure, total function, asked by the list filter and by the call alike, so that
//! what is listed can be called and what is hidden cannot. A decision always carries its reason.

use trunkline_model::key::Part;
use trunkline_model::{
    ApprovalMode, ApprovalStatus, ClientNetwork, Level, Principal, PrincipalKind, Scope, Server,
};

pub mod arguments;
mod conditions;
pub mod explain;
mod levels;
pub mod models;

pub use conditions::{CallFacts, Client, ToolUse};
pub use models::decide_model;

use levels::Grants;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Any use of the server, be it of some tools only.
    UseServer,
    /// What of the server is no tool, and no prompt or resource that is named: methods that it alone knows, and its lists.
    UseWhole,
    /// Listing or calling a tool, by the tool's own name.
    UseTool(&'a str),
    /// The same, with what else is known of the use. Of a call it is everything, its arguments too.
    UseToolAs(ToolUse<'a>),
    /// Listing, getting or completing a prompt, by the prompt's own name.
    UsePrompt(&'a str),
    /// Listing, reading, completing or subscribing to a resource, by the server's own URI or URI template.
    UseResource(&'a str),
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, because.
    Deny(Denial),
}

/// Why not, and who says so. No text: it is made for every tool that a list leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// Who.
    pub level: Level,
    /// By which of its rules.
    pub rule: Rule,
    /// By which item of the rule, if it is a list of rules.
    pub part: Option<u16>,
}

/// Which rule of a level takes something away: the fields' names, as people write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The path or `x-mcp-servers`.
    Selection,
    /// `available_on_public_internet`
    AvailableOnPublicInternet,
    /// The server's approval.
    ApprovalStatus,
    /// `no-mcp-servers`
    NoMcpServers,
    /// Its `mcp_servers`, `mcp_access_groups` and `mcp_toolsets`, which do not have the server.
    McpServers,
    /// Its `mcp_toolsets`, in which the tool is not, where nothing else has the server.
    McpToolsets,
    /// Neither the key nor anybody whom it belongs to has any list.
    NothingListed,
    /// `mcp_tool_permissions`
    McpToolPermissions,
    /// `allowed_tools`
    AllowedTools,
    /// `disallowed_tools`
    DisallowedTools,
    /// `allowed_params`
    AllowedParams,
    /// `tool_arguments`
    ToolArguments,
    /// `tool_conditions`
    ToolConditions,
    /// `pinned_tools`
    PinnedTools,
    /// `models`
    Models,
    /// `no-default-models`
    NoDefaultModels,
}

impl Rule {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Selection => "selection",
            Self::AvailableOnPublicInternet => "available_on_public_internet",
            Self::ApprovalStatus => "approval_status",
            Self::NoMcpServers => "no-mcp-servers",
            Self::McpServers => "mcp_servers",
            Self::McpToolsets => "mcp_toolsets",
            Self::NothingListed => "nothing_listed",
            Self::McpToolPermissions => "mcp_tool_permissions",
            Self::AllowedTools => "allowed_tools",
            Self::DisallowedTools => "disallowed_tools",
            Self::AllowedParams => "allowed_params",
            Self::ToolArguments => "tool_arguments",
            Self::ToolConditions => "tool_conditions",
            Self::PinnedTools => "pinned_tools",
            Self::Models => "models",
            Self::NoDefaultModels => "no-default-models",
        }
    }
}

impl Decision {
    /// Whether it is a yes.
    pub fn is_allow(self) -> bool {
        self == Self::Allow
    }
}

/// Why not. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request's path or `x-mcp-servers` did not select the server.
    NotInScope,
    /// The server is for clients of the internal networks, and the client is not known to be in one.
    IpFiltering,
    /// Submitted, not approved yet.
    PendingReview,
    /// A reviewer refused it.
    Rejected,
    /// No grant of the principal covers the server.
    NoGrant,
    /// The principal's `mcp_tool_permissions` name the server, and not this tool; or toolsets alone grant the server, and the tool
    /// is in none of them.
    ToolNotGranted,
    /// The server's `allowed_tools` does not name it.
    ToolNotAllowed,
    /// The server's `disallowed_tools` names it.
    ToolDisallowed,
    /// The server's `allowed_params` does not have an argument that was given.
    ArgumentNotAllowed,
    /// The server's `tool_arguments` pins an argument that was given.
    ArgumentPinned,
    /// The server's `tool_arguments` pins an argument to something about the caller that is not known.
    ArgumentUnfilled,
    /// One of the server's `tool_conditions` is false.
    ConditionFailed,
    /// One of the server's `tool_conditions` is neither true nor false.
    ConditionError,
    /// The server has `pinned_tools`, and it is none of them, or they cannot be read.
    ToolNotPinned,
    /// No list of the principal's has the model, or a list of somebody whom it belongs to has it not.
    ModelNotGranted,
}

impl Reason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInScope => "not_in_scope",
            Self::IpFiltering => "ip_filtering",
            Self::PendingReview => "pending_review",
            Self::Rejected => "rejected",
            Self::NoGrant => "no_grant",
            Self::ToolNotGranted => "tool_not_granted",
            Self::ToolNotAllowed => "tool_not_allowed",
            Self::ToolDisallowed => "tool_disallowed",
            Self::ArgumentNotAllowed => "argument_not_allowed",
            Self::ArgumentPinned => "argument_pinned",
            Self::ArgumentUnfilled => "argument_unfilled",
            Self::ConditionFailed => "condition_failed",
            Self::ConditionError => "condition_error",
            Self::ToolNotPinned => "tool_not_pinned",
            Self::ModelNotGranted => "model_not_granted",
        }
    }
}

/// Decides. Levels, each of which can only take away: scope, the client's network, approval, grants (the key's and those of whom it
/// belongs to), the server's own tool rules, its conditions. Which arguments a call may have is [`arguments::fill`].
pub fn decide(principal: &Principal, scope: &Scope, action: Action<'_>, server: &Server) -> Decision {
    decide_with(principal, &Grants::of(principal), scope, action, server)
}

/// The same with other grants than the principal's own: see [`explain`].
fn decide_with(
    principal: &Principal,
    grants: &Grants<'_>,
    scope: &Scope,
    action: Action<'_>,
    server: &Server,
) -> Decision {
    if !scope.contains(&server.id) {
        return deny(Reason::NotInScope, Level::Scope, Rule::Selection);
    }
    if !server.definition.available_on_public_internet
        && principal.client().network == ClientNetwork::External
    {
        return deny(
            Reason::IpFiltering,
            Level::Server,
            Rule::AvailableOnPublicInternet,
        );
    }
    match server.approval.status {
        ApprovalStatus::Active => {}
        ApprovalStatus::PendingReview | ApprovalStatus::Draft => {
            return deny(Reason::PendingReview, Level::Server, Rule::ApprovalStatus);
        }
        ApprovalStatus::Rejected => return deny(Reason::Rejected, Level::Server, Rule::ApprovalStatus),
    }
    if let Err((level, rule)) = grants.server(server, Part::Any) {
        return deny(Reason::NoGrant, level, rule);
    }
    match action {
        Action::UseServer => Decision::Allow,
        // A toolset is of tools: who has nothing else of a server has nothing but them.
        Action::UseWhole | Action::UsePrompt(_) | Action::UseResource(_) => {
            if scope.toolset().is_some() {
                return deny(Reason::NotInScope, Level::Scope, Rule::Selection);
            }
            match grants.server(server, Part::Whole) {
                // No rule is about single prompts or resources yet.
                Ok(()) => Decision::Allow,
                Err((level, rule)) => deny(Reason::NoGrant, level, rule),
            }
        }
        Action::UseTool(tool) => use_tool(principal, scope, grants, &ToolUse::of(tool), server),
        Action::UseToolAs(tool) => use_tool(principal, scope, grants, &tool, server),
    }
}

fn use_tool(
    principal: &Principal,
    scope: &Scope,
    grants: &Grants<'_>,
    tool: &ToolUse<'_>,
    server: &Server,
) -> Decision {
    let name = tool.name;
    if !is_tool_in_scope(scope, server, name) {
        return deny(Reason::NotInScope, Level::Scope, Rule::Selection);
    }
    if let Err((level, _)) = grants.server(server, Part::Tool(name)) {
        return deny(Reason::ToolNotGranted, level, Rule::McpToolsets);
    }
    if let Err(level) = grants.tool(server, name) {
        return deny(Reason::ToolNotGranted, level, Rule::McpToolPermissions);
    }
    let by_name = tool_rules(server, name);
    if !by_name.is_allow() {
        return by_name;
    }
    // Last: what no condition can be about costs none.
    match conditions::check(principal, server, tool) {
        Ok(()) => Decision::Allow,
        Err(denial) => Decision::Deny(denial),
    }
}

/// When somebody has to say yes to calls of a tool, by its own name. Of several entries that name it the strictest counts; `*` is for
/// tools that none names.
pub fn approval_mode(server: &Server, tool: &str) -> ApprovalMode {
    let approval = &server.definition.tool_approval;
    if approval.is_empty() {
        return ApprovalMode::Never;
    }
    let prefix = server.prefix();
    let own = approval
        .iter()
        .filter(|(entry, _)| is_named(entry, &prefix, tool));
    let own = own.map(|(_, mode)| *mode).max();
    own.or_else(|| approval.get("*").copied())
        .unwrap_or(ApprovalMode::Never)
}

fn deny(reason: Reason, level: Level, rule: Rule) -> Decision {
    Decision::Deny(Denial {
        reason,
        level,
        rule,
        part: None,
    })
}

/// Whether everybody who may use the server at all may use the same of it: only then may an answer made for one be given to
/// another. `has_others`: whether there is any virtual key or end user. Each has grants of its own, so that nothing is the same
/// for all from the first one on.
pub fn is_same_for_all(principal: &Principal, server: &Server, has_others: bool) -> bool {
    match principal.kind() {
        // The server's own rules are about everybody, but for where they are, and for conditions, which may be about the client.
        PrincipalKind::MasterKey => {
            !has_others
                && principal.end_user().is_none()
                && server.definition.available_on_public_internet
                && server.definition.tool_conditions.is_empty()
        }
        PrincipalKind::Key(_) => false,
    }
}

/// Whether the scope selects the tool.
fn is_tool_in_scope(scope: &Scope, server: &Server, tool: &str) -> bool {
    scope
        .toolset()
        .is_none_or(|toolset| toolset.covers_tool(server, tool))
}

/// Whether an entry of a list of tools means the tool: by its own name, or by the name that it is exposed under.
fn is_named(entry: &str, prefix: &str, tool: &str) -> bool {
    let rest = entry.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    entry == tool || rest == Some(tool)
}

/// `disallowed_tools` wins over `allowed_tools` (as LiteLLM's code does, not its documentation: the safer of the two).
/// An empty allow-list means "no restriction" unless `mcp_info.tool_allowlist_enforced`.
fn tool_rules(server: &Server, tool: &str) -> Decision {
    let definition = &server.definition;
    let prefix = server.prefix();
    let names = |entry: &String| is_named(entry, &prefix, tool);
    if definition.disallowed_tools.iter().any(names) {
        return deny(Reason::ToolDisallowed, Level::Server, Rule::DisallowedTools);
    }
    if !definition.pins().covers(tool) {
        return deny(Reason::ToolNotPinned, Level::Server, Rule::PinnedTools);
    }
    let enforced = definition
        .mcp_info
        .as_ref()
        .and_then(|info| info.get("tool_allowlist_enforced"))
        .is_some_and(|value| value.as_bool() == Some(true));
    match &definition.allowed_tools {
        Some(allowed) if allowed.iter().any(names) => Decision::Allow,
        Some(allowed) if !allowed.is_empty() || enforced => {
            deny(Reason::ToolNotAllowed, Level::Server, Rule::AllowedTools)
        }
        None if enforced => deny(Reason::ToolNotAllowed, Level::Server, Rule::AllowedTools),
        _ => Decision::Allow,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_model::key::{ALL_TEAM_MCP_SERVERS, NO_MCP_SERVERS};
    use trunkline_model::{
        Approval, Holder, KeyHash, ObjectPermission, Organization, Origin, ServerDefinition, ServerId,
        Stamps, Team, Toolset, ToolsetTool, VirtualKey,
    };

    use super::*;

    fn server(edit: impl FnOnce(&mut ServerDefinition)) -> Server {
        let mut definition = ServerDefinition {
            server_name: Some("gh".into()),
            ..ServerDefinition::default()
        };
        edit(&mut definition);
        Server {
            id: ServerId::new("id-1"),
            origin: Origin::File,
            definition,
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        }
    }

    fn said(decision: Decision) -> Result<(), Reason> {
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(denial.reason),
        }
    }

    fn ask(server: &Server, tool: &str) -> Result<(), Reason> {
        asks(&Principal::from_master_key(), server, Action::UseTool(tool))
    }

    #[test]
    fn tool_rules_take_away() {
        let plain = server(|_| {});
        assert_eq!(ask(&plain, "a"), Ok(()));
        let allow = server(|d| d.allowed_tools = Some(vec!["a".into(), "gh-b".into()]));
        assert_eq!(ask(&allow, "a"), Ok(()));
        assert_eq!(ask(&allow, "b"), Ok(()));
        assert_eq!(ask(&allow, "c"), Err(Reason::ToolNotAllowed));
        let both = server(|d| {
            d.allowed_tools = Some(vec!["a".into()]);
            d.disallowed_tools = vec!["gh-a".into()];
        });
        assert_eq!(ask(&both, "a"), Err(Reason::ToolDisallowed));
        let empty = server(|d| d.allowed_tools = Some(vec![]));
        assert_eq!(ask(&empty, "a"), Ok(()));
        let enforced = server(|d| {
            d.allowed_tools = Some(vec![]);
            let mut info = serde_json::Map::new();
            info.insert("tool_allowlist_enforced".into(), true.into());
            d.mcp_info = Some(info);
        });
        assert_eq!(ask(&enforced, "a"), Err(Reason::ToolNotAllowed));
    }

    #[test]
    fn s29_a_server_with_pins_has_no_other_tools() {
        let pinned = |pins: serde_json::Value| server(|d| d.pinned_tools = Some(pins));
        let one = pinned(serde_json::json!({"a": {"description": "d"}}));
        assert_eq!(ask(&one, "a"), Ok(()));
        for other in ["b", "gh-a", "A", "", "a "] {
            assert_eq!(ask(&one, other), Err(Reason::ToolNotPinned), "{other}");
        }
        assert_eq!(
            asks(&Principal::from_master_key(), &one, Action::UsePrompt("p")),
            Ok(())
        );
        let unreadable = pinned(serde_json::json!("{"));
        assert_eq!(ask(&unreadable, "a"), Err(Reason::ToolNotPinned));
        assert_eq!(ask(&pinned(serde_json::json!({})), "a"), Ok(()));
        let both = server(|d| {
            d.pinned_tools = Some(serde_json::json!({"a": {"description": "d"}}));
            d.allowed_tools = Some(vec!["b".into()]);
        });
        assert_eq!(ask(&both, "a"), Err(Reason::ToolNotAllowed));
        assert_eq!(ask(&both, "b"), Err(Reason::ToolNotPinned));
    }

    #[test]
    fn a_submission_serves_nobody() {
        for (status, reason) in [
            (ApprovalStatus::PendingReview, Reason::PendingReview),
            (ApprovalStatus::Draft, Reason::PendingReview),
            (ApprovalStatus::Rejected, Reason::Rejected),
        ] {
            let mut server = server(|_| {});
            server.approval.status = status;
            assert_eq!(ask(&server, "a"), Err(reason));
        }
    }

    #[test]
    fn a_scope_only_narrows() {
        let server = server(|_| {});
        let elsewhere = Scope::Servers {
            ids: vec![ServerId::new("other")],
            single: true,
        };
        let decision = decide(
            &Principal::from_master_key(),
            &elsewhere,
            Action::UseServer,
            &server,
        );
        assert_eq!(said(decision), Err(Reason::NotInScope));
    }

    fn key(edit: impl FnOnce(&mut ObjectPermission)) -> Principal {
        let mut key = VirtualKey::new(KeyHash([1; 32]));
        edit(&mut key.object_permission);
        Principal::from_key(Holder::of_key(Arc::new(key)))
    }

    fn asks(principal: &Principal, server: &Server, action: Action<'_>) -> Result<(), Reason> {
        said(decide(principal, &Scope::All, action, server))
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    const ACTIONS: [Action<'_>; 5] = [
        Action::UseServer,
        Action::UseWhole,
        Action::UseTool("a"),
        Action::UsePrompt("a"),
        Action::UseResource("x://a"),
    ];

    #[test]
    fn b44_a_key_without_a_grant_gets_nothing() {
        let server = server(|d| d.mcp_access_groups = texts(&["dev"]));
        for principal in [
            key(|_| {}),
            key(|p| p.mcp_servers = texts(&["other", "ghx", "g", ""])),
            key(|p| p.mcp_access_groups = texts(&["DEV", "prod", ""])),
            // B41: a row of tools grants no server.
            key(|p| {
                p.mcp_tool_permissions = [("gh".to_owned(), texts(&["a", "*"]))].into();
            }),
        ] {
            for action in ACTIONS {
                assert_eq!(asks(&principal, &server, action), Err(Reason::NoGrant));
            }
        }
    }

    #[test]
    fn a_server_is_granted_by_id_name_alias_or_group() {
        let server = server(|d| {
            d.alias = Some("Hub".into());
            d.mcp_access_groups = texts(&["dev"]);
        });
        for name in ["id-1", "gh", "hub", "HUB"] {
            let principal = key(|p| p.mcp_servers = texts(&["other", name]));
            for action in ACTIONS {
                assert_eq!(asks(&principal, &server, action), Ok(()), "{name}");
            }
        }
        let by_group = key(|p| p.mcp_access_groups = texts(&["dev"]));
        assert_eq!(asks(&by_group, &server, Action::UseServer), Ok(()));
        // One that lost its name to another server is not meant by it.
        let clash = Server {
            defect: Some("another server has its name".into()),
            ..server
        };
        let by = |name: &str| {
            let principal = key(|p| p.mcp_servers = texts(&[name]));
            asks(&principal, &clash, Action::UseServer).is_ok()
        };
        assert!(by("id-1") && !by("gh") && !by("hub"));
    }

    #[test]
    fn what_is_for_every_key_is_so_but_for_those_that_opt_out() {
        let open = server(|d| d.allow_all_keys = true);
        assert_eq!(asks(&key(|_| {}), &open, Action::UseTool("a")), Ok(()));
        let out = key(|p| p.mcp_servers = texts(&["gh", NO_MCP_SERVERS]));
        for action in ACTIONS {
            assert_eq!(asks(&out, &open, action), Err(Reason::NoGrant));
        }
    }

    #[test]
    fn tool_permissions_narrow_and_every_row_of_a_server_counts() {
        let server = server(|d| {
            d.allow_all_keys = true;
            d.disallowed_tools = texts(&["bad"]);
        });
        let with = |rows: &[(&str, &[&str])]| {
            key(|p| {
                p.mcp_tool_permissions = rows
                    .iter()
                    .map(|(server, tools)| ((*server).to_owned(), texts(tools)))
                    .collect();
            })
        };
        let check = |rows: &[(&str, &[&str])], tool| asks(&with(rows), &server, Action::UseTool(tool));
        let denied = Err(Reason::ToolNotGranted);
        assert_eq!(check(&[("gh", &["a", "gh-b"])], "a"), Ok(()));
        assert_eq!(check(&[("gh", &["a", "gh-b"])], "b"), Ok(()));
        assert_eq!(check(&[("gh", &["a"])], "c"), denied);
        assert_eq!(check(&[("gh", &[])], "a"), denied, "an empty list is no tool");
        assert_eq!(check(&[("other", &["a"])], "c"), Ok(()));
        assert_eq!(check(&[("gh", &["*"])], "c"), Ok(()));
        assert_eq!(check(&[("gh", &["*"]), ("id-1", &["a"])], "c"), denied);
        // The server's own rules hold for everybody.
        assert_eq!(check(&[("gh", &["bad"])], "bad"), Err(Reason::ToolDisallowed));
        assert_eq!(asks(&with(&[("gh", &[])]), &server, Action::UseServer), Ok(()));
    }

    fn toolset(tools: &[(&str, &str)]) -> Arc<Toolset> {
        let tools = tools.iter().map(|(server, tool)| ToolsetTool {
            server_id: (*server).to_owned(),
            tool_name: (*tool).to_owned(),
        });
        Arc::new(Toolset::new("t-1".into(), "Set".into(), tools.collect()))
    }

    fn granted(toolsets: &[&Arc<Toolset>], edit: impl FnOnce(&mut ObjectPermission)) -> Principal {
        key(|p| {
            p.mcp_toolsets = texts(&["set"]);
            p.toolsets = toolsets.iter().map(|own| Arc::clone(own)).collect();
            edit(p);
        })
    }

    /// Of the tools a, b and c those that may be used.
    fn tools_of(principal: &Principal, scope: &Scope, server: &Server) -> String {
        let may = |tool: &&str| decide(principal, scope, Action::UseTool(tool), server).is_allow();
        ["a", "b", "c"].into_iter().filter(may).collect()
    }

    #[test]
    fn a_toolset_grants_its_tools_and_nothing_else_of_their_servers() {
        let server = server(|d| d.disallowed_tools = texts(&["c"]));
        let beyond = [
            Action::UseWhole,
            Action::UsePrompt("a"),
            Action::UseResource("x://a"),
        ];
        for set in [
            toolset(&[("gh", "a"), ("other", "b"), ("gh", "c")]),
            toolset(&[("GH", "gh-a")]),
            toolset(&[("id-1", "a")]),
        ] {
            let mine = granted(&[&set], |_| {});
            assert_eq!(tools_of(&mine, &Scope::All, &server), "a", "c is not for anybody");
            assert_eq!(
                asks(&mine, &server, Action::UseTool("b")),
                Err(Reason::ToolNotGranted)
            );
            assert_eq!(asks(&mine, &server, Action::UseServer), Ok(()));
            for action in beyond {
                assert_eq!(asks(&mine, &server, action), Err(Reason::NoGrant));
            }
        }
        // B42: empty, of something else, or gone.
        let (empty, other) = (toolset(&[]), toolset(&[("ghx", "a"), ("g", "a"), ("", "a")]));
        for set in [vec![], vec![&empty], vec![&other]] {
            for action in ACTIONS {
                let decision = asks(&granted(&set, |_| {}), &server, action);
                assert_eq!(decision, Err(Reason::NoGrant), "{set:?}");
            }
        }
        let opted_out = granted(&[&toolset(&[("gh", "a")])], |p| {
            p.mcp_servers = texts(&[NO_MCP_SERVERS]);
        });
        for action in ACTIONS {
            assert_eq!(asks(&opted_out, &server, action), Err(Reason::NoGrant));
        }
    }

    #[test]
    fn grants_unite_and_tool_permissions_narrow_them_all() {
        let server = server(|_| {});
        let (a, b) = (toolset(&[("gh", "a")]), toolset(&[("gh", "b")]));
        let all = |principal: &Principal| tools_of(principal, &Scope::All, &server);
        assert_eq!(all(&granted(&[&a, &b], |_| {})), "ab");
        let whole = granted(&[&a], |p| p.mcp_servers = texts(&["gh"]));
        assert_eq!(all(&whole), "abc", "a server that is granted whole stays whole");
        assert_eq!(asks(&whole, &server, Action::UsePrompt("x")), Ok(()));
        let narrow = |tools: &[&str], edit: fn(&mut ObjectPermission)| {
            granted(&[&a, &b], |p| {
                p.mcp_tool_permissions = [("gh".to_owned(), texts(tools))].into();
                edit(p);
            })
        };
        assert_eq!(all(&narrow(&["b", "c"], |_| {})), "b");
        assert_eq!(all(&narrow(&[], |_| {})), "");
        assert_eq!(all(&narrow(&["*"], |_| {})), "ab");
        assert_eq!(all(&narrow(&["c"], |p| p.mcp_servers = texts(&["gh"]))), "c");
        // A name that another server has, too, is not that of this one.
        let clash = Server {
            defect: Some("another server has its name".into()),
            ..server.clone()
        };
        assert_eq!(tools_of(&granted(&[&a], |_| {}), &Scope::All, &clash), "");
    }

    #[test]
    fn a_toolset_as_a_scope_narrows_and_never_grants() {
        let server = server(|_| {});
        let set = toolset(&[("gh", "a"), ("gh", "b")]);
        let scope = |ids: &[&str]| Scope::Toolset {
            ids: ids.iter().map(|id| ServerId::new(*id)).collect(),
            toolset: set.clone(),
        };
        let at = scope(&["id-1"]);
        let master = Principal::from_master_key();
        assert_eq!(tools_of(&master, &at, &server), "ab");
        let other = toolset(&[("gh", "b"), ("gh", "c")]);
        assert_eq!(tools_of(&granted(&[&other], |_| {}), &at, &server), "b");
        assert_eq!(tools_of(&key(|_| {}), &at, &server), "");
        assert_eq!(tools_of(&master, &scope(&["other"]), &server), "");
        let decisions = |action| said(decide(&master, &at, action, &server));
        assert_eq!(decisions(Action::UseServer), Ok(()));
        for action in [
            Action::UseTool("c"),
            Action::UseWhole,
            Action::UsePrompt("a"),
            Action::UseResource("x://a"),
        ] {
            assert_eq!(decisions(action), Err(Reason::NotInScope));
        }
    }

    #[test]
    fn nothing_is_the_same_for_all_once_there_are_keys() {
        let server = server(|d| d.allow_all_keys = true);
        let master = Principal::from_master_key();
        assert!(is_same_for_all(&master, &server, false));
        assert!(!is_same_for_all(&master, &server, true));
        assert!(!is_same_for_all(&key(|_| {}), &server, true));
    }

    /// A key, its team and the team's organisation, each with these grants.
    fn of_levels(levels: [ObjectPermission; 3]) -> Principal {
        let [own, team, organization] = levels;
        let mut key = VirtualKey::new(KeyHash([1; 32]));
        key.team_id = Some("t".into());
        key.object_permission = own;
        let mut holder = Holder::of_key(Arc::new(key));
        holder.team = Some(Arc::new(Team {
            object_permission: team,
            ..Team::default()
        }));
        holder.organization = Some(Arc::new(Organization {
            object_permission: organization,
            ..Organization::default()
        }));
        Principal::from_key(holder)
    }

    #[test]
    fn toolsets_count_at_every_level() {
        let server = server(|_| {});
        let none = ObjectPermission::default;
        let whole = |name: &str| ObjectPermission {
            mcp_servers: texts(&[name]),
            ..ObjectPermission::default()
        };
        let set = |tools: &[&str]| ObjectPermission {
            mcp_toolsets: texts(&["set"]),
            toolsets: vec![toolset(
                &tools.iter().map(|tool| ("gh", *tool)).collect::<Vec<_>>(),
            )],
            ..ObjectPermission::default()
        };
        let gone = ObjectPermission {
            mcp_toolsets: texts(&["gone"]),
            ..ObjectPermission::default()
        };
        let team = ALL_TEAM_MCP_SERVERS;
        for (levels, tools) in [
            ([whole(team), set(&["a", "b"]), none()], "ab"),
            ([whole("gh"), set(&["a", "b"]), none()], "ab"),
            ([set(&["b", "c"]), set(&["a", "b"]), none()], "b"),
            ([set(&["b", "c"]), whole("gh"), none()], "bc"),
            ([whole("gh"), whole("gh"), set(&["c"])], "c"),
            ([whole("gh"), set(&["a"]), set(&["b"])], ""),
            // A list of what is gone is a list: nothing comes in its place.
            ([gone.clone(), whole("gh"), none()], ""),
            ([whole("gh"), gone.clone(), none()], ""),
            ([whole("gh"), whole("gh"), gone], ""),
        ] {
            let principal = of_levels(levels.clone());
            assert_eq!(tools_of(&principal, &Scope::All, &server), tools, "{levels:?}");
            let beyond = asks(&principal, &server, Action::UsePrompt("a"));
            assert_eq!(beyond, Err(Reason::NoGrant), "{levels:?}");
        }
        let principal = of_levels([whole("gh"), set(&["a"]), none()]);
        let Decision::Deny(denial) = decide(&principal, &Scope::All, Action::UseTool("b"), &server) else {
            panic!("the team's toolset does not have it");
        };
        assert_eq!(
            (denial.reason, denial.level, denial.rule),
            (Reason::ToolNotGranted, Level::Team, Rule::McpToolsets)
        );
    }
}
