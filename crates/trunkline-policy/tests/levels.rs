//! The levels of a grant against a plain model: sets of servers and of tools, put together step by step from what the key
//! itself was given, where the function decides one server and one tool without any set.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use trunkline_model::key::{ALL_PROXY_MCP_SERVERS, ALL_TEAM_MCP_SERVERS, ALL_TOOLS, NO_MCP_SERVERS};
use trunkline_model::{
    Approval, EndUser, Holder, KeyHash, Level, ObjectPermission, OnBehalfOf, Organization, Origin, Principal,
    Scope, Server, ServerDefinition, ServerId, Stamps, Team, User, UserRole, VirtualKey,
};
use trunkline_policy::explain::{Change, explain};
use trunkline_policy::{Action, Decision, Denial, Reason, Rule, decide};

const SERVERS: [&str; 4] = ["a", "b", "c", "open"];
const TOOLS: [&str; 3] = ["read", "write", "x"];

fn server(name: &str) -> Server {
    Server {
        id: ServerId::new(format!("id-{name}")),
        origin: Origin::File,
        definition: ServerDefinition {
            server_name: Some(name.to_owned()),
            mcp_access_groups: if name == "c" {
                vec!["dev".to_owned()]
            } else {
                vec![]
            },
            allow_all_keys: name == "open",
            ..ServerDefinition::default()
        },
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    }
}

/// Everybody whom one request concerns.
#[derive(Clone, Debug)]
struct World {
    key: Option<ObjectPermission>,
    admin: bool,
    team: Option<ObjectPermission>,
    user: Option<ObjectPermission>,
    organization: Option<ObjectPermission>,
    end_user: Option<ObjectPermission>,
}

impl World {
    /// A key that nothing is said about.
    fn of_key(servers: &[&str]) -> Self {
        Self {
            key: Some(permission(servers)),
            admin: false,
            team: None,
            user: None,
            organization: None,
            end_user: None,
        }
    }

    fn principal(&self) -> Principal {
        let end_user = self.end_user.clone().map(|object_permission| OnBehalfOf {
            id: "e".into(),
            end_user: Some(Arc::new(EndUser {
                object_permission,
                ..EndUser::default()
            })),
            budget: None,
        });
        let Some(key) = self.key.clone() else {
            return Principal::from_master_key().on_behalf_of(end_user);
        };
        let holder = Holder {
            key: Arc::new(VirtualKey {
                object_permission: key,
                team_id: self.team.as_ref().map(|_| "t".to_owned()),
                ..VirtualKey::new(KeyHash([1; 32]))
            }),
            team: self.team.clone().map(|object_permission| {
                Arc::new(Team {
                    object_permission,
                    ..Team::default()
                })
            }),
            organization: self.organization.clone().map(|object_permission| {
                Arc::new(Organization {
                    object_permission,
                    ..Organization::default()
                })
            }),
            user: self.user.clone().map(|object_permission| {
                Arc::new(User {
                    object_permission,
                    user_role: self.admin.then_some(UserRole::ProxyAdmin),
                    ..User::default()
                })
            }),
            budget: None,
            organization_budget: None,
            previous: None,
        };
        Principal::from_key(holder).on_behalf_of(end_user)
    }

    fn level(&mut self, level: Level) -> &mut ObjectPermission {
        let own = match level {
            Level::Key => &mut self.key,
            Level::Team => &mut self.team,
            Level::User => &mut self.user,
            Level::Organization => &mut self.organization,
            Level::EndUser => &mut self.end_user,
            Level::Scope | Level::Server => panic!("{level:?} has no grants"),
        };
        own.as_mut().unwrap()
    }

    /// What an explanation says that would have to change, done by hand.
    fn make(&mut self, change: Change, level: Level, name: &str, tool: &str) {
        let own = self.level(level);
        match change {
            Change::TakeOutWord => own.mcp_servers.retain(|word| word != NO_MCP_SERVERS),
            Change::AddServer => own.mcp_servers.push(name.to_owned()),
            Change::AddTool => own
                .mcp_tool_permissions
                .get_mut(name)
                .unwrap()
                .push(tool.to_owned()),
            other => panic!("{other:?} is not about a level"),
        }
    }

    fn levels(&self) -> Vec<&ObjectPermission> {
        let levels = [
            &self.key,
            &self.team,
            &self.user,
            &self.organization,
            &self.end_user,
        ];
        levels.into_iter().flatten().collect()
    }

    /// The servers that may be used, by the algorithm on sets.
    fn servers(&self) -> BTreeSet<&'static str> {
        let all: BTreeSet<_> = SERVERS.into_iter().collect();
        let none = || BTreeSet::new();
        if self
            .levels()
            .iter()
            .any(|own| own.mcp_servers.iter().any(|name| name == NO_MCP_SERVERS))
        {
            return none();
        }
        // `None`: says nothing.
        let team = self.team.as_ref().and_then(|own| {
            let proxy = own.mcp_servers.iter().any(|name| name == ALL_PROXY_MCP_SERVERS);
            if proxy { Some(all.clone()) } else { listed(own) }
        });
        let key = self.key.as_ref().and_then(|own| {
            let own_team = own.mcp_servers.iter().any(|name| name == ALL_TEAM_MCP_SERVERS);
            let more = team.clone().filter(|_| own_team).unwrap_or_default();
            listed(own).map(|list| &list | &more)
        });
        let user = self.user.as_ref().and_then(listed);
        let organization = self.organization.as_ref().and_then(listed);
        let end_user = self.end_user.as_ref().and_then(listed);
        let is_admins = self.admin && self.user.is_some() && self.team.is_none();
        let mut result = if self.key.is_none() || (is_admins && key.is_none() && user.is_none()) {
            all
        } else {
            key.unwrap_or_else(none)
        };
        for list in [team, user, organization, end_user].into_iter().flatten() {
            result = &result & &list;
        }
        result.insert("open");
        result
    }

    /// Whether all levels that name the server name the tool.
    fn tool(&self, server: &str, tool: &str) -> bool {
        let rows = |own: &ObjectPermission| {
            let row = own.mcp_tool_permissions.get(server).cloned();
            row.is_none_or(|tools| tools.iter().any(|name| name == tool || name == ALL_TOOLS))
        };
        self.levels().into_iter().all(rows)
    }
}

/// The servers of a list; `None` if there is no list.
fn listed(own: &ObjectPermission) -> Option<BTreeSet<&'static str>> {
    let is_listed = |name: &&&str| {
        own.mcp_servers.iter().any(|listed| listed == **name)
            || (**name == "c" && own.mcp_access_groups.iter().any(|group| group == "dev"))
    };
    let is_list = !(own.mcp_servers.is_empty() && own.mcp_access_groups.is_empty());
    is_list.then(|| SERVERS.iter().filter(is_listed).copied().collect())
}

fn permission(servers: &[&str]) -> ObjectPermission {
    ObjectPermission {
        mcp_servers: servers.iter().map(|name| (*name).to_owned()).collect(),
        ..ObjectPermission::default()
    }
}

fn any_permission() -> impl Strategy<Value = ObjectPermission> {
    let names = [
        "a",
        "b",
        "a",
        "b",
        "c",
        "open",
        "gone",
        NO_MCP_SERVERS,
        ALL_PROXY_MCP_SERVERS,
        ALL_TEAM_MCP_SERVERS,
    ];
    let names = prop_oneof![Just(vec![]), vec(select(names.to_vec()), 0..4)];
    let groups = prop_oneof![3 => Just(vec![]), 1 => vec(select(vec!["dev", "ops"]), 1..2)];
    let tools = vec(select(vec!["read", "write", ALL_TOOLS, "gone"]), 0..3);
    let rows = vec((select(SERVERS.to_vec()), tools), 0..3);
    (names, groups, rows).prop_map(|(names, groups, rows)| ObjectPermission {
        id: None,
        mcp_servers: names.into_iter().map(str::to_owned).collect(),
        mcp_access_groups: groups.into_iter().map(str::to_owned).collect(),
        mcp_tool_permissions: rows
            .into_iter()
            .map(|(server, tools)| (server.to_owned(), tools.into_iter().map(str::to_owned).collect()))
            .collect(),
        ..ObjectPermission::default()
    })
}

fn any_world() -> impl Strategy<Value = World> {
    let level = || prop_oneof![1 => Just(None), 2 => any_permission().prop_map(Some)];
    let key = prop_oneof![1 => Just(None), 9 => any_permission().prop_map(Some)];
    (key, any::<bool>(), level(), level(), level(), level()).prop_map(
        |(key, admin, team, user, organization, end_user)| {
            let is_key = key.is_some();
            World {
                key,
                admin,
                // Only a team has an organisation, and the master key belongs to nobody.
                organization: organization.filter(|_| is_key && team.is_some()),
                team: team.filter(|_| is_key),
                user: user.filter(|_| is_key),
                end_user,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn b40_b43_s18_every_level_narrows_as_the_plain_model_says(world in any_world()) {
        let (principal, servers) = (world.principal(), world.servers());
        for name in SERVERS {
            let server = server(name);
            let ask = |action| decide(&principal, &Scope::All, action, &server);
            let granted = servers.contains(name);
            prop_assert_eq!(ask(Action::UseServer).is_allow(), granted, "{}: {:?}", name, servers);
            for tool in TOOLS {
                let expected = granted && world.tool(name, tool);
                prop_assert_eq!(ask(Action::UseTool(tool)).is_allow(), expected, "{}-{}", name, tool);
            }
        }
    }

    /// A trail is the decision's own: it is empty where that is a yes, and begins with its denial; who is not in it lets pass; and
    /// what it says that would have to change, made by hand one after the other, turns each denial into the next and the last into
    /// a yes.
    #[test]
    fn a_trail_agrees_with_the_decision_and_its_changes_are_enough(world in any_world()) {
        for name in SERVERS {
            let server = server(name);
            for tool in TOOLS {
                let action = Action::UseTool(tool);
                let ask = |world: &World| decide(&world.principal(), &Scope::All, action, &server);
                let trail = explain(&world.principal(), &Scope::All, action, &server);
                prop_assert_eq!(trail.decision, ask(&world));
                prop_assert!(trail.suffices);
                let mut changed = world.clone();
                for step in &trail.steps {
                    prop_assert_eq!(ask(&changed), Decision::Deny(step.denial));
                    changed.make(step.change.unwrap(), step.denial.level, name, tool);
                }
                prop_assert!(ask(&changed).is_allow(), "{}-{} {:?}", name, tool, trail);
            }
        }
    }

    /// Whomever a key belongs to can only take away, but for a team whose list the key asks for.
    #[test]
    fn b43_nobody_adds_to_a_key_but_the_team_that_it_names(world in any_world()) {
        let asks = |own: &ObjectPermission| own.mcp_servers.iter().any(|name| name == ALL_TEAM_MCP_SERVERS);
        let without = World {
            admin: false,
            team: world.team.clone().filter(|_| world.key.as_ref().is_some_and(asks)),
            user: None,
            organization: None,
            end_user: None,
            key: world.key.clone(),
        };
        let with = World { admin: false, ..world };
        prop_assert!(with.servers().is_subset(&without.servers()));
        for name in SERVERS {
            let (server, tool) = (server(name), Action::UseTool("read"));
            let of = |world: &World| decide(&world.principal(), &Scope::All, tool, &server).is_allow();
            prop_assert!(of(&without) || !of(&with), "{}", name);
        }
    }
}

fn denial(world: &World, name: &str, action: Action<'_>) -> Option<(Reason, Level, Rule)> {
    match decide(&world.principal(), &Scope::All, action, &server(name)) {
        Decision::Allow => None,
        Decision::Deny(Denial {
            reason, level, rule, ..
        }) => Some((reason, level, rule)),
    }
}

#[test]
fn a_denial_names_its_level_and_its_rule() {
    let of = |edit: &dyn Fn(&mut World)| {
        let mut world = World::of_key(&["a"]);
        edit(&mut world);
        denial(&world, "a", Action::UseServer)
    };
    let no_grant = |level, rule| Some((Reason::NoGrant, level, rule));
    let other = || Some(permission(&["b"]));
    assert_eq!(of(&|_| {}), None);
    let listed = |level| no_grant(level, Rule::McpServers);
    assert_eq!(of(&|w| w.key = other()), listed(Level::Key));
    assert_eq!(
        of(&|w| w.key = Some(permission(&[]))),
        no_grant(Level::Key, Rule::NothingListed)
    );
    assert_eq!(of(&|w| w.team = other()), listed(Level::Team));
    assert_eq!(of(&|w| w.user = other()), listed(Level::User));
    assert_eq!(of(&|w| w.organization = other()), listed(Level::Organization));
    assert_eq!(of(&|w| w.end_user = other()), listed(Level::EndUser));
    let out = no_grant(Level::Team, Rule::NoMcpServers);
    assert_eq!(of(&|w| w.team = Some(permission(&["a", NO_MCP_SERVERS]))), out);
    for (level, set) in [
        (
            Level::Key,
            (|w, p| w.key = p) as fn(&mut World, Option<ObjectPermission>),
        ),
        (Level::Team, |w, p| w.team = p),
        (Level::User, |w, p| w.user = p),
        (Level::Organization, |w, p| w.organization = p),
        (Level::EndUser, |w, p| w.end_user = p),
    ] {
        let mut world = World::of_key(&["a"]);
        let mut rows = permission(&["a"]);
        rows.mcp_tool_permissions = [("A".to_owned(), vec!["read".to_owned()])].into();
        set(&mut world, Some(rows));
        assert_eq!(denial(&world, "a", Action::UseTool("read")), None);
        assert_eq!(
            denial(&world, "a", Action::UseTool("write")),
            Some((Reason::ToolNotGranted, level, Rule::McpToolPermissions))
        );
    }
}

/// What is left of a key in a team of an organisation, with these lists.
fn left(key: &[&str], team: &[&str], organization: &[&str]) -> Vec<&'static str> {
    let world = World {
        team: Some(permission(team)),
        organization: Some(permission(organization)),
        ..World::of_key(key)
    };
    let allowed = |name: &&&str| denial(&world, name, Action::UseServer).is_none();
    SERVERS.iter().filter(allowed).copied().collect()
}

#[test]
fn b44_a_key_in_a_team_gets_nothing_without_a_grant() {
    let nothing = ["open"];
    assert_eq!(left(&[], &["a"], &[]), nothing);
    assert_eq!(left(&[], &[ALL_PROXY_MCP_SERVERS], &[]), nothing);
    assert_eq!(left(&[], &[], &["a"]), nothing);
    assert_eq!(left(&[], &["a"], &["a"]), nothing);
    let world = World {
        team: Some(permission(&["a"])),
        organization: Some(permission(&["a"])),
        ..World::of_key(&[])
    };
    let nothing_listed = (Reason::NoGrant, Level::Key, Rule::NothingListed);
    assert_eq!(denial(&world, "a", Action::UseServer), Some(nothing_listed));
    assert_eq!(denial(&world, "a", Action::UseTool("read")), Some(nothing_listed));
    // Rows of tools are no list; the word for the team's is.
    let mut rows = world.clone();
    rows.key.as_mut().unwrap().mcp_tool_permissions = [("a".to_owned(), vec!["read".to_owned()])].into();
    assert_eq!(denial(&rows, "a", Action::UseTool("read")), Some(nothing_listed));
    assert_eq!(left(&[ALL_TEAM_MCP_SERVERS], &["a"], &[]), ["a", "open"]);
}

#[test]
fn a_key_takes_its_teams_list_by_the_word_and_the_organisation_only_narrows() {
    let of = left;
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS], &["a"], &["a", "c"]), ["a", "open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS], &["a", "b"], &["b"]), ["b", "open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS, "c"], &["a"], &[]), ["a", "open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS, "c"], &[], &[]), ["c", "open"]);
    assert_eq!(of(&["a", "b"], &[], &[]), ["a", "b", "open"]);
    assert_eq!(of(&["a", "b"], &["b", "c"], &[]), ["b", "open"]);
    assert_eq!(of(&["a", "b"], &[], &["b"]), ["b", "open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS], &["b"], &[]), ["b", "open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS], &[], &[]), ["open"]);
    assert_eq!(of(&[ALL_TEAM_MCP_SERVERS], &[], &["a"]), ["open"]);
    assert_eq!(
        of(&[ALL_TEAM_MCP_SERVERS], &[ALL_PROXY_MCP_SERVERS], &[]),
        SERVERS
    );
    assert_eq!(of(&["c"], &[ALL_PROXY_MCP_SERVERS], &["a", "c"]), ["c", "open"]);
    // A list of what is gone is a list.
    assert_eq!(of(&["gone"], &["a"], &["a"]), ["open"]);
    // On the wrong level a word is a name that nobody has.
    assert_eq!(of(&[ALL_PROXY_MCP_SERVERS], &[], &[]), ["open"]);
    assert_eq!(
        of(&[ALL_TEAM_MCP_SERVERS], &[ALL_TEAM_MCP_SERVERS], &["a"]),
        ["open"]
    );
}

#[test]
fn an_end_user_narrows_also_the_administrator() {
    let world = World {
        key: None,
        end_user: Some(permission(&["b"])),
        ..World::of_key(&[])
    };
    assert_eq!(denial(&world, "b", Action::UseServer), None);
    let (_, level, _) = denial(&world, "a", Action::UseServer).unwrap();
    assert_eq!(level, Level::EndUser);
}
