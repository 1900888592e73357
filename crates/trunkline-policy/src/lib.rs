//! May this principal do this to that? One pure, total function, asked by the list filter and by the call alike, so that
//! what is listed can be called and what is hidden cannot. A decision always carries its reason.

use trunkline_model::principal::PrincipalKind;
use trunkline_model::{ApprovalStatus, Principal, Scope, Server};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Any use of the server.
    UseServer,
    /// Listing or calling a tool, by the tool's own name.
    UseTool(&'a str),
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
    Deny(Reason),
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
    /// Submitted, not approved yet.
    PendingReview,
    /// A reviewer refused it.
    Rejected,
    /// No grant of the principal covers it.
    NoGrant,
    /// The server's `allowed_tools` does not name it.
    ToolNotAllowed,
    /// The server's `disallowed_tools` names it.
    ToolDisallowed,
}

impl Reason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInScope => "not_in_scope",
            Self::PendingReview => "pending_review",
            Self::Rejected => "rejected",
            Self::NoGrant => "no_grant",
            Self::ToolNotAllowed => "tool_not_allowed",
            Self::ToolDisallowed => "tool_disallowed",
        }
    }
}

/// Decides. Levels, each of which can only take away: scope, approval, grants, the server's own tool rules.
pub fn decide(principal: &Principal, scope: &Scope, action: Action<'_>, server: &Server) -> Decision {
    if !scope.contains(&server.id) {
        return Decision::Deny(Reason::NotInScope);
    }
    match server.approval.status {
        ApprovalStatus::Active => {}
        ApprovalStatus::PendingReview | ApprovalStatus::Draft => {
            return Decision::Deny(Reason::PendingReview);
        }
        ApprovalStatus::Rejected => return Decision::Deny(Reason::Rejected),
    }
    if !is_granted(principal) {
        return Decision::Deny(Reason::NoGrant);
    }
    match action {
        // No rule is about single prompts or resources yet.
        Action::UseServer | Action::UsePrompt(_) | Action::UseResource(_) => Decision::Allow,
        Action::UseTool(tool) => tool_rules(server, tool),
    }
}

/// Whether everybody who may use the server at all may use the same of it: only then may an answer made for one be given to
/// another. A rule about single principals has to say no here.
pub fn is_same_for_all(principal: &Principal, _server: &Server) -> bool {
    match principal.kind() {
        // Nobody else has grants, and the server's own rules are about everybody.
        PrincipalKind::MasterKey => true,
    }
}

/// Grants of the principal. The administrator has all; nobody else exists until keys do.
fn is_granted(principal: &Principal) -> bool {
    principal.is_proxy_admin()
}

/// `disallowed_tools` wins over `allowed_tools` (as LiteLLM's code does, not its documentation: the safer of the two).
/// An empty allow-list means "no restriction" unless `mcp_info.tool_allowlist_enforced`.
fn tool_rules(server: &Server, tool: &str) -> Decision {
    let definition = &server.definition;
    let prefix = server.prefix();
    let names = |entry: &String| {
        entry == tool
            || entry
                .strip_prefix(&*prefix)
                .and_then(|rest| rest.strip_prefix('-'))
                == Some(tool)
    };
    if definition.disallowed_tools.iter().any(names) {
        return Decision::Deny(Reason::ToolDisallowed);
    }
    let enforced = definition
        .mcp_info
        .as_ref()
        .and_then(|info| info.get("tool_allowlist_enforced"))
        .is_some_and(|value| value.as_bool() == Some(true));
    match &definition.allowed_tools {
        Some(allowed) if allowed.iter().any(names) => Decision::Allow,
        Some(allowed) if !allowed.is_empty() || enforced => Decision::Deny(Reason::ToolNotAllowed),
        None if enforced => Decision::Deny(Reason::ToolNotAllowed),
        _ => Decision::Allow,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::{Approval, Origin, ServerDefinition, ServerId, Stamps};

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

    fn ask(server: &Server, tool: &str) -> Decision {
        decide(
            &Principal::from_master_key(),
            &Scope::All,
            Action::UseTool(tool),
            server,
        )
    }

    #[test]
    fn tool_rules_take_away() {
        let plain = server(|_| {});
        assert_eq!(ask(&plain, "a"), Decision::Allow);
        let allow = server(|d| d.allowed_tools = Some(vec!["a".into(), "gh-b".into()]));
        assert_eq!(ask(&allow, "a"), Decision::Allow);
        assert_eq!(ask(&allow, "b"), Decision::Allow);
        assert_eq!(ask(&allow, "c"), Decision::Deny(Reason::ToolNotAllowed));
        let both = server(|d| {
            d.allowed_tools = Some(vec!["a".into()]);
            d.disallowed_tools = vec!["gh-a".into()];
        });
        assert_eq!(ask(&both, "a"), Decision::Deny(Reason::ToolDisallowed));
        let empty = server(|d| d.allowed_tools = Some(vec![]));
        assert_eq!(ask(&empty, "a"), Decision::Allow);
        let enforced = server(|d| {
            d.allowed_tools = Some(vec![]);
            let mut info = serde_json::Map::new();
            info.insert("tool_allowlist_enforced".into(), true.into());
            d.mcp_info = Some(info);
        });
        assert_eq!(ask(&enforced, "a"), Decision::Deny(Reason::ToolNotAllowed));
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
            assert_eq!(ask(&server, "a"), Decision::Deny(reason));
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
        assert_eq!(decision, Decision::Deny(Reason::NotInScope));
    }
}
