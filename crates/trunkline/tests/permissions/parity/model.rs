//! The rows against the policy itself: that they say who says no, and by which rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_model::{
    Approval, ApprovalStatus, ClientAddress, ClientNetwork, EndUser, Holder, KeyHash, ObjectPermission,
    OnBehalfOf, Organization, Origin, Principal, Scope, Server, ServerDefinition, ServerId, Stamps, Team,
    Toolset, ToolsetTool, User, VirtualKey, tool_rule,
};
use trunkline_policy::arguments::fill;
use trunkline_policy::{Action, CallFacts, Decision, ToolUse, decide};

use super::methods::ARGUMENT;
use super::rows::{Row, Thing, all};
use super::world::{server_rules, toolset_tools};

fn toolset(name: &str) -> Option<Arc<Toolset>> {
    let tools = toolset_tools(name)?
        .into_iter()
        .map(|(server, tool)| ToolsetTool {
            server_id: server.to_owned(),
            tool_name: tool.to_owned(),
        });
    let toolset = Toolset::new(format!("id-{name}"), name.to_owned(), tools.collect());
    Some(Arc::new(toolset))
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn lists(value: &Value) -> BTreeMap<String, Vec<String>> {
    let lists = value.as_object().into_iter().flatten();
    lists.map(|(name, list)| (name.clone(), texts(list))).collect()
}

/// Rules as the product reads them.
fn read<T: Default, E: std::fmt::Debug>(value: &Value, parse: impl FnOnce(&Value) -> Result<T, E>) -> T {
    if value.is_null() {
        T::default()
    } else {
        parse(value).unwrap()
    }
}

fn permission(value: &Value) -> ObjectPermission {
    let named = texts(&value["mcp_toolsets"]);
    ObjectPermission {
        id: None,
        mcp_servers: texts(&value["mcp_servers"]),
        mcp_access_groups: texts(&value["mcp_access_groups"]),
        mcp_tool_permissions: lists(&value["mcp_tool_permissions"]),
        toolsets: named.iter().filter_map(|name| toolset(name)).collect(),
        mcp_toolsets: named,
        models: Vec::new(),
    }
}

fn principal(row: &Row) -> Principal {
    let of = |level: &str| {
        row.levels
            .get(level)
            .filter(|own| own.is_object())
            .map(permission)
    };
    let end_user = of("end_user").map(|object_permission| OnBehalfOf {
        id: "e".into(),
        end_user: Some(Arc::new(EndUser {
            object_permission,
            ..EndUser::default()
        })),
        budget: None,
    });
    let network = if row.outside {
        ClientNetwork::External
    } else {
        ClientNetwork::Internal
    };
    let client = ClientAddress {
        network,
        ..ClientAddress::default()
    };
    let Some(object_permission) = of("key") else {
        return Principal::from_master_key().on_behalf_of(end_user).at(client);
    };
    let organization = of("organization");
    let team = of("team").or(organization.as_ref().map(|_| ObjectPermission::default()));
    let key = VirtualKey {
        object_permission,
        team_id: team.as_ref().map(|_| "t".to_owned()),
        ..VirtualKey::new(KeyHash([1; 32]))
    };
    let holder = Holder {
        team: team.map(|object_permission| {
            Arc::new(Team {
                object_permission,
                ..Team::default()
            })
        }),
        organization: organization.map(|object_permission| {
            Arc::new(Organization {
                object_permission,
                ..Organization::default()
            })
        }),
        user: of("user").map(|object_permission| {
            Arc::new(User {
                object_permission,
                ..User::default()
            })
        }),
        ..Holder::of_key(Arc::new(key))
    };
    Principal::from_key(holder).on_behalf_of(end_user).at(client)
}

fn server(name: &str) -> Server {
    let rules = server_rules(name);
    let status = match name {
        "draft" => ApprovalStatus::PendingReview,
        "waste" => ApprovalStatus::Rejected,
        _ => ApprovalStatus::Active,
    };
    Server {
        id: ServerId::new(format!("id-{name}")),
        origin: Origin::File,
        definition: ServerDefinition {
            server_name: Some(name.to_owned()),
            available_on_public_internet: rules["available_on_public_internet"] != false,
            allowed_tools: rules.get("allowed_tools").map(texts),
            disallowed_tools: texts(&rules["disallowed_tools"]),
            pinned_tools: rules.get("pinned_tools").cloned(),
            allowed_params: lists(&rules["allowed_params"]),
            tool_arguments: read(&rules["tool_arguments"], tool_rule::parse_arguments),
            tool_conditions: read(&rules["tool_conditions"], |rules| {
                tool_rule::parse_conditions(rules, false)
            }),
            ..ServerDefinition::default()
        },
        approval: Approval {
            status,
            ..Approval::default()
        },
        stamps: Stamps::default(),
        defect: None,
    }
}

#[test]
fn b43_every_row_is_denied_by_whom_and_by_what_it_says() {
    for row in all() {
        let server = server(row.server);
        let scope = if row.selects == row.server {
            Scope::All
        } else {
            Scope::Servers {
                ids: vec![ServerId::new("id-other")],
                single: true,
            }
        };
        let principal = principal(&row);
        let decision = |action| decide(&principal, &scope, action, &server);
        let arguments = json!({ARGUMENT: "x"}).to_string();
        let call = CallFacts {
            arguments: &arguments,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let write = ToolUse {
            annotations: Some("{}"),
            call: Some(call),
            ..ToolUse::of("write")
        };
        // As a call is decided: whether it may be made, and with these arguments.
        let filled = || match fill(&principal, &server, "write", &[ARGUMENT]) {
            Ok(_) => Decision::Allow,
            Err(refused) => Decision::Deny(refused.denial),
        };
        let expected = row.denial.map_or(Decision::Allow, Decision::Deny);
        let said = match decision(Action::UseToolAs(write)) {
            Decision::Allow => filled(),
            denied @ Decision::Deny(_) => denied,
        };
        assert_eq!(said, expected, "{}", row.what);
        for (thing, action) in [
            (Thing::Read, Action::UseTool("read")),
            (Thing::Write, Action::UseTool("write")),
            (Thing::Beyond, Action::UsePrompt("greet")),
            (Thing::Beyond, Action::UseResource("memo://one")),
            (Thing::Beyond, Action::UseWhole),
        ] {
            assert_eq!(
                decision(action).is_allow(),
                row.allows(thing),
                "{} {action:?}",
                row.what
            );
        }
    }
}
