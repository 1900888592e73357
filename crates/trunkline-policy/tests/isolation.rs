//! Many random steps over servers, toolsets, callers and their grants, each of which changes something or asks for something, against
//! a plain model that was written from `docs/teams.md` and `docs/keys.md`: sets, and no early answer.
//!
//! `TRUNKLINE_ISOLATION_SEED` and `TRUNKLINE_ISOLATION_STEPS` say which steps and how many; a failure says its seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_model::{
    Approval, ApprovalStatus, ClientAddress, ClientNetwork, EndUser, Holder, KeyHash, ObjectPermission,
    OnBehalfOf, Organization, Origin, Principal, Scope, Server, ServerDefinition, ServerId, Stamps, Team,
    Toolset, ToolsetTool, User, UserRole, VirtualKey,
};
use trunkline_policy::{Action, decide};

const SERVERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TOOLS: [&str; 3] = ["read", "write", "drop"];
const SETS: [&str; 3] = ["s0", "s1", "s2"];
const WORDS: [&str; 9] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "gone",
    "no-mcp-servers",
    "all-team-mcpservers",
    "all-proxy-mcpservers",
];
/// Of a caller: key, team, user, organisation, end user.
const LEVELS: usize = 5;
const CALLERS: usize = 6;

/// Chance that can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let sides = u64::try_from(sides).unwrap_or(1);
        usize::try_from((self.0 >> 11) % sides).unwrap_or(0)
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn some<T: Copy>(&mut self, all: &[T], most: usize) -> Vec<T> {
        let count = self.roll(most + 1);
        (0..count).map(|_| all[self.roll(all.len())]).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Own {
    is_inner: bool,
    is_pending: bool,
    is_for_all: bool,
    in_group: bool,
    allowed: Vec<&'static str>,
    disallowed: Vec<&'static str>,
}

#[derive(Clone, Debug, Default)]
struct Grant {
    words: Vec<&'static str>,
    group: bool,
    sets: Vec<&'static str>,
    rows: BTreeMap<&'static str, Vec<&'static str>>,
}

#[derive(Clone, Debug, Default)]
struct Caller {
    /// Not a key but the master key, for the end user if there is one.
    is_master: bool,
    is_admin: bool,
    is_outside: bool,
    levels: [Option<Grant>; LEVELS],
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Any,
    Whole,
    Tool(&'static str),
}

#[derive(Clone, Debug)]
enum Selected {
    All,
    One(&'static str),
    Set(&'static str),
}

#[derive(Clone, Debug, Default)]
struct World {
    servers: [Own; SERVERS.len()],
    sets: [Vec<(&'static str, &'static str)>; SETS.len()],
    callers: [Caller; CALLERS],
}

// === The model ===

impl Grant {
    /// As they are written: a list of what is gone is a list.
    fn is_list(&self) -> bool {
        !self.words.is_empty() || self.group || !self.sets.is_empty()
    }

    fn says(&self, word: &str) -> bool {
        self.words.contains(&word)
    }
}

impl World {
    fn set(&self, name: &str) -> &[(&'static str, &'static str)] {
        let at = SETS.iter().position(|own| *own == name);
        at.map_or(&[], |at| &self.sets[at])
    }

    fn lists(&self, grant: &Grant, server: usize, wanted: Wanted) -> bool {
        let name = SERVERS[server];
        let in_set = |set: &&str| {
            let mut own = self.set(set).iter().filter(|(of, _)| *of == name);
            match wanted {
                Wanted::Any => own.next().is_some(),
                Wanted::Whole => false,
                Wanted::Tool(tool) => own.any(|(_, own)| *own == tool),
            }
        };
        let is_whole = grant.says(name) || grant.group && self.servers[server].in_group;
        is_whole || grant.sets.iter().any(in_set)
    }

    /// "What is left of a key", step by step.
    fn is_granted(&self, caller: &Caller, server: usize, wanted: Wanted) -> bool {
        let [key, team, user, organization, end_user] = &caller.levels;
        let mine: Vec<&Grant> = caller.levels.iter().flatten().collect();
        if mine.iter().any(|grant| grant.says("no-mcp-servers")) {
            return false;
        }
        if self.servers[server].is_for_all {
            return true;
        }
        let has_list = |grant: &Option<Grant>| grant.as_ref().is_some_and(Grant::is_list);
        let is_free = caller.is_master
            || caller.is_admin && user.is_some() && team.is_none() && !has_list(key) && !has_list(user);
        let of_team = |grant: &Grant| grant.says("all-proxy-mcpservers") || self.lists(grant, server, wanted);
        let of_key = key.as_ref().is_some_and(|grant| {
            let of_the_teams = grant.says("all-team-mcpservers")
                && team.as_ref().is_some_and(|team| team.is_list() && of_team(team));
            self.lists(grant, server, wanted) || of_the_teams
        });
        let leaves = |grant: &&Grant| !grant.is_list() || self.lists(grant, server, wanted);
        let rest = [user, organization, end_user];
        (is_free || of_key)
            && team.as_ref().is_none_or(|team| !team.is_list() || of_team(team))
            && rest.into_iter().flatten().all(|grant| leaves(&grant))
    }

    fn may(&self, caller: &Caller, selected: &Selected, server: usize, wanted: Wanted) -> bool {
        let (name, own) = (SERVERS[server], &self.servers[server]);
        let in_set = |tool: Option<&str>| match selected {
            Selected::Set(set) => {
                let mut tools = self.set(set).iter().filter(|(of, _)| *of == name);
                tools.any(|(_, own)| tool.is_none_or(|tool| *own == tool))
            }
            Selected::One(one) => *one == name,
            Selected::All => true,
        };
        let is_there = in_set(None) && !own.is_pending && !(own.is_inner && caller.is_outside);
        if !is_there || !self.is_granted(caller, server, Wanted::Any) {
            return false;
        }
        match wanted {
            Wanted::Any => true,
            Wanted::Whole => {
                !matches!(selected, Selected::Set(_)) && self.is_granted(caller, server, Wanted::Whole)
            }
            Wanted::Tool(tool) => {
                let row = |grant: &Grant| {
                    grant
                        .rows
                        .get(name)
                        .is_none_or(|tools| tools.contains(&tool) || tools.contains(&"*"))
                };
                in_set(Some(tool))
                    && self.is_granted(caller, server, wanted)
                    && caller.levels.iter().flatten().all(row)
                    && !own.disallowed.contains(&tool)
                    && (own.allowed.is_empty() || own.allowed.contains(&tool))
            }
        }
    }
}

// === The same in the gateway's own types ===

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl World {
    fn toolset(&self, name: &str) -> Arc<Toolset> {
        let tools = self.set(name).iter().map(|(server, tool)| ToolsetTool {
            server_id: (*server).to_owned(),
            tool_name: (*tool).to_owned(),
        });
        Arc::new(Toolset::new(
            format!("id-{name}"),
            name.to_owned(),
            tools.collect(),
        ))
    }

    fn permission(&self, grant: &Grant) -> ObjectPermission {
        let rows = grant
            .rows
            .iter()
            .map(|(name, tools)| ((*name).to_owned(), texts(tools)));
        ObjectPermission {
            models: Vec::new(),
            id: None,
            mcp_servers: texts(&grant.words),
            mcp_access_groups: if grant.group {
                vec!["dev".to_owned()]
            } else {
                vec![]
            },
            mcp_tool_permissions: rows.collect(),
            mcp_toolsets: texts(&grant.sets),
            toolsets: grant
                .sets
                .iter()
                .filter(|name| SETS.contains(name))
                .map(|name| self.toolset(name))
                .collect(),
        }
    }

    fn principal(&self, caller: &Caller) -> Principal {
        let of = |level: usize| caller.levels[level].as_ref().map(|grant| self.permission(grant));
        let network = if caller.is_outside {
            ClientNetwork::External
        } else {
            ClientNetwork::Internal
        };
        let client = ClientAddress {
            network,
            ..ClientAddress::default()
        };
        let end_user = of(4).map(|object_permission| OnBehalfOf {
            id: "e".into(),
            end_user: Some(Arc::new(EndUser {
                object_permission,
                ..EndUser::default()
            })),
            budget: None,
        });
        if caller.is_master {
            return Principal::from_master_key().on_behalf_of(end_user).at(client);
        }
        let team = of(1).map(|object_permission| Team {
            object_permission,
            ..Team::default()
        });
        let user = of(2).map(|object_permission| User {
            object_permission,
            user_role: caller.is_admin.then_some(UserRole::ProxyAdmin),
            ..User::default()
        });
        let organization = of(3).map(|object_permission| Organization {
            object_permission,
            ..Organization::default()
        });
        let key = VirtualKey {
            object_permission: of(0).unwrap_or_default(),
            team_id: team.as_ref().map(|_| "t".to_owned()),
            ..VirtualKey::new(KeyHash([1; 32]))
        };
        let holder = Holder {
            team: team.map(Arc::new),
            organization: organization.map(Arc::new),
            user: user.map(Arc::new),
            ..Holder::of_key(Arc::new(key))
        };
        Principal::from_key(holder).on_behalf_of(end_user).at(client)
    }

    fn server(&self, at: usize) -> Server {
        let own = &self.servers[at];
        let status = if own.is_pending {
            ApprovalStatus::PendingReview
        } else {
            ApprovalStatus::Active
        };
        Server {
            id: ServerId::new(format!("id-{}", SERVERS[at])),
            origin: Origin::File,
            definition: ServerDefinition {
                server_name: Some(SERVERS[at].to_owned()),
                available_on_public_internet: !own.is_inner,
                allow_all_keys: own.is_for_all,
                mcp_access_groups: if own.in_group {
                    vec!["dev".to_owned()]
                } else {
                    vec![]
                },
                allowed_tools: Some(texts(&own.allowed)),
                disallowed_tools: texts(&own.disallowed),
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

    fn scope(&self, selected: &Selected) -> Scope {
        let id = |name: &str| ServerId::new(format!("id-{name}"));
        match selected {
            Selected::All => Scope::All,
            Selected::One(name) => Scope::Servers {
                ids: vec![id(name)],
                single: true,
            },
            Selected::Set(name) => {
                let toolset = self.toolset(name);
                let covered = (0..SERVERS.len()).filter(|at| toolset.covers(&self.server(*at)));
                Scope::Toolset {
                    ids: covered.map(|at| id(SERVERS[at])).collect(),
                    toolset,
                }
            }
        }
    }
}

// === Steps ===

fn any_grant(dice: &mut Dice) -> Option<Grant> {
    if dice.one_in(3) {
        return None;
    }
    let row = |dice: &mut Dice| {
        (
            SERVERS[dice.roll(SERVERS.len())],
            dice.some(&["read", "write", "drop", "*"], 2),
        )
    };
    // Words that take everything away are rarer, or there would be little to ask for.
    let words = if dice.one_in(8) { &WORDS[..] } else { &WORDS[..6] };
    let team = dice.one_in(4).then_some("all-team-mcpservers");
    Some(Grant {
        words: dice.some(words, 3).into_iter().chain(team).collect(),
        group: dice.one_in(5),
        sets: if dice.one_in(3) {
            dice.some(&["s0", "s1", "s2", "gone"], 2)
        } else {
            vec![]
        },
        rows: (0..dice.roll(3)).map(|_| row(dice)).collect(),
    })
}

impl World {
    fn change(&mut self, dice: &mut Dice) {
        match dice.roll(4) {
            0 => {
                self.servers[dice.roll(SERVERS.len())] = Own {
                    is_inner: dice.one_in(5),
                    is_pending: dice.one_in(8),
                    is_for_all: dice.one_in(5),
                    in_group: dice.one_in(3),
                    allowed: if dice.one_in(3) {
                        dice.some(&TOOLS, 2)
                    } else {
                        vec![]
                    },
                    disallowed: if dice.one_in(4) {
                        dice.some(&TOOLS, 2)
                    } else {
                        vec![]
                    },
                };
            }
            1 => {
                let count = dice.roll(4);
                let tool = |_| (SERVERS[dice.roll(SERVERS.len())], TOOLS[dice.roll(TOOLS.len())]);
                let tools = (0..count).map(tool).collect();
                self.sets[dice.roll(SETS.len())] = tools;
            }
            2 => {
                let caller = &mut self.callers[dice.roll(CALLERS)];
                caller.is_master = dice.one_in(6);
                caller.is_admin = dice.one_in(4);
                caller.is_outside = dice.one_in(3);
                if caller.is_master {
                    caller.levels = [None, None, None, None, any_grant(dice)];
                }
            }
            _ => {
                let caller = &mut self.callers[dice.roll(CALLERS)];
                let level = if caller.is_master {
                    LEVELS - 1
                } else {
                    dice.roll(LEVELS)
                };
                caller.levels[level] = any_grant(dice);
            }
        }
    }

    /// Asks for something, and gives whether it was allowed.
    fn ask(&self, dice: &mut Dice, what: &str) -> bool {
        let (caller, server) = (&self.callers[dice.roll(CALLERS)], dice.roll(SERVERS.len()));
        let selected = match dice.roll(4) {
            0 => Selected::One(SERVERS[dice.roll(SERVERS.len())]),
            1 => Selected::Set(SETS[dice.roll(SETS.len())]),
            _ => Selected::All,
        };
        let (wanted, action) = match dice.roll(6) {
            0 => (Wanted::Any, Action::UseServer),
            1 => (Wanted::Whole, Action::UseWhole),
            2 => (Wanted::Whole, Action::UsePrompt("read")),
            _ => {
                let tool = TOOLS[dice.roll(TOOLS.len())];
                (Wanted::Tool(tool), Action::UseTool(tool))
            }
        };
        let expected = self.may(caller, &selected, server, wanted);
        let own = self.server(server);
        let decision = decide(&self.principal(caller), &self.scope(&selected), action, &own);
        assert_eq!(
            decision.is_allow(),
            expected,
            "{what}: {decision:?}: {wanted:?} of {} at {selected:?} by {caller:#?} of {own:?}, sets {:?}",
            SERVERS[server],
            self.sets
        );
        expected
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or(otherwise))
}

#[test]
fn b40_b42_s36_no_step_shows_what_the_model_forbids() {
    let (seed, steps) = (
        setting("TRUNKLINE_ISOLATION_SEED", 0x5eed_1234_abcd_0001),
        setting("TRUNKLINE_ISOLATION_STEPS", 100_000),
    );
    let mut dice = Dice(seed.max(1));
    let mut world = World::default();
    let (mut allowed, mut denied) = (0_u64, 0_u64);
    for step in 0..steps {
        if dice.one_in(3) {
            world.change(&mut dice);
            continue;
        }
        if world.ask(
            &mut dice,
            &format!("TRUNKLINE_ISOLATION_SEED={seed}, step {step}"),
        ) {
            allowed += 1;
        } else {
            denied += 1;
        }
    }
    // A model that says the same to everything shows nothing.
    let least = steps / 50;
    assert!(
        allowed > least && denied > least,
        "{allowed} allowed, {denied} denied"
    );
}
