//! Some thousand random steps over the real binary: changes of grants, toolsets and servers, and requests by every way in, with sessions
//! and cursors that are older than the changes. Nothing that is answered, and no server that is reached, is more than a plain model,
//! written from `docs/keys.md` and `docs/teams.md`, says.
//!
//! `TRUNKLINE_ISOLATION_SEED` and `TRUNKLINE_ISOLATION_STEPS` say which steps and how many; a failure says its seed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trunkline_testkit::{
    HttpClient, McpClient, RpcReply, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall, eventually,
};

use crate::support::{PATIENCE, WAYS, Way, generate, listed, members, post, toolset, with};

const SERVERS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
const TOOLS: [&str; 2] = ["read", "write"];
const SETS: [&str; 2] = ["s0", "s1"];
const WORDS: [&str; 7] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "gone",
    "no-mcp-servers",
    "all-team-mcpservers",
];
const TEAMS: [&str; 2] = ["t0", "t1"];
const KEYS: usize = 4;

/// Chance that can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }

    fn some<T: Copy>(&mut self, all: &[T], most: usize) -> Vec<T> {
        let count = self.roll(most + 1);
        (0..count).map(|_| self.one_of(all)).collect()
    }
}

// === The model ===

#[derive(Clone, Debug, Default)]
struct Grant {
    words: Vec<&'static str>,
    sets: Vec<&'static str>,
    rows: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Grant {
    fn random(dice: &mut Dice, is_team: bool) -> Self {
        let words: Vec<&str> = dice.some(&WORDS, 3);
        let words = words.into_iter().filter(|word| {
            // Rarely nothing at all, and the word for what a team has is a key's.
            *word != "no-mcp-servers" || dice.roll(3) == 0
        });
        let words = words.collect::<Vec<_>>();
        let words = words
            .into_iter()
            .filter(|word| !is_team || *word != "all-team-mcpservers")
            .collect();
        let mut rows = BTreeMap::new();
        for server in dice.some(&SERVERS, 1) {
            rows.insert(server, dice.some(&TOOLS, 2));
        }
        Self {
            words,
            sets: dice.some(&SETS, 1),
            rows,
        }
    }

    fn body(&self) -> Value {
        json!({"mcp_servers": self.words, "mcp_toolsets": self.sets, "mcp_access_groups": [], "mcp_tool_permissions": self.rows})
    }

    fn is_list(&self) -> bool {
        !self.words.is_empty() || !self.sets.is_empty()
    }
}

#[derive(Debug, Default)]
struct Model {
    keys: Vec<Grant>,
    teams: Vec<Grant>,
    sets: Vec<Vec<(&'static str, &'static str)>>,
    for_all: BTreeSet<&'static str>,
    /// Tools that a server has taken away.
    without: BTreeMap<&'static str, &'static str>,
}

impl Model {
    fn lists(&self, grant: &Grant, server: &str, tool: &str) -> bool {
        let is_in = |name: &&str| {
            let at = SETS.iter().position(|own| own == name).unwrap();
            self.sets[at].contains(&(server_of(server), tool_of(tool)))
        };
        grant.words.contains(&server) || grant.sets.iter().any(is_in)
    }

    fn may(&self, key: usize, server: &str, tool: &str) -> bool {
        let (own, team) = (&self.keys[key], &self.teams[key % TEAMS.len()]);
        if [own, team]
            .iter()
            .any(|grant| grant.words.contains(&"no-mcp-servers"))
        {
            return false;
        }
        let takes_the_teams = own.words.contains(&"all-team-mcpservers");
        let by_key = self.lists(own, server, tool) || takes_the_teams && self.lists(team, server, tool);
        let by_team = !team.is_list() || self.lists(team, server, tool);
        let is_had = by_key && by_team || self.for_all.contains(server);
        let by_rows = |grant: &&Grant| grant.rows.get(server).is_none_or(|tools| tools.contains(&tool));
        is_had && [own, team].iter().all(by_rows) && self.without.get(server) != Some(&tool)
    }

    fn tools(&self, key: usize) -> BTreeSet<String> {
        all()
            .filter(|(server, tool)| self.may(key, server, tool))
            .map(|(server, tool)| format!("{server}-{tool}"))
            .collect()
    }
}

fn server_of(name: &str) -> &'static str {
    SERVERS.iter().find(|own| **own == name).unwrap()
}

fn tool_of(name: &str) -> &'static str {
    TOOLS.iter().find(|own| **own == name).unwrap()
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    SERVERS
        .iter()
        .flat_map(|server| TOOLS.iter().map(|tool| (*server, *tool)))
}

/// What a tool's definition and its answer say, and nothing else does.
fn mark(server: &str, tool: &str) -> String {
    format!("mark-of-{server}-{tool}-here")
}

// === The world ===

struct World {
    gateway: TestGateway,
    upstreams: Vec<ScriptedUpstream>,
    ids: Vec<String>,
    keys: Vec<(String, HttpClient)>,
    sessions: Vec<McpClient>,
    cursors: Vec<Value>,
    sets: Vec<String>,
    model: Model,
    seed: u64,
    step: usize,
}

async fn upstream(server: &'static str) -> ScriptedUpstream {
    let mut builder = ScriptedUpstream::builder();
    for tool in TOOLS {
        let definition =
            json!({"name": tool, "description": mark(server, tool), "inputSchema": {"type": "object"}});
        builder = builder.tool_fn(&definition, move |call: &ToolCall| {
            ToolAnswer::text(&mark(server, &call.name))
        });
    }
    builder.start().await
}

impl World {
    async fn new(seed: u64) -> Self {
        let gateway = TestGateway::start("general_settings:\n  mcp_list_page_size: 3\n").await;
        let (mut upstreams, mut ids) = (Vec::new(), Vec::new());
        for server in SERVERS {
            let own = upstream(server).await;
            let body = json!({"server_name": server, "url": own.url(), "transport": "http"});
            let made = gateway
                .client()
                .post("/v1/mcp/server", &body)
                .await
                .expect_status(201)
                .json();
            ids.push(made["server_id"].as_str().unwrap().to_owned());
            upstreams.push(own);
        }
        listed(&gateway, &SERVERS).await;
        let mut model = Model::default();
        for team in TEAMS {
            post(&gateway, "/team/new", json!({"team_id": team})).await;
            model.teams.push(Grant::default());
        }
        let mut sets = Vec::new();
        for name in SETS {
            let made = toolset(&gateway, name, &[]).await;
            sets.push(made["toolset_id"].as_str().unwrap().to_owned());
            model.sets.push(Vec::new());
        }
        let (mut keys, mut sessions) = (Vec::new(), Vec::new());
        for number in 0..KEYS {
            let made = generate(&gateway, json!({"team_id": TEAMS[number % TEAMS.len()]})).await;
            let http = with(&gateway, made["key"].as_str().unwrap());
            let mut session = McpClient::over(http.clone(), "/mcp");
            session.initialize().await;
            sessions.push(session);
            keys.push((made["token"].as_str().unwrap().to_owned(), http));
            model.keys.push(Grant::default());
        }
        Self {
            gateway,
            upstreams,
            ids,
            keys,
            sessions,
            cursors: Vec::new(),
            sets,
            model,
            seed,
            step: 0,
        }
    }

    async fn change(&mut self, dice: &mut Dice) {
        match dice.roll(6) {
            0 | 1 => {
                let key = dice.roll(KEYS);
                // What a team has not is refused to its keys: without a list of its own the team has nothing to give.
                let grant = Grant::random(dice, false);
                let body = json!({"key": self.keys[key].0, "object_permission": grant.body()});
                let reply = self.gateway.client().post("/key/update", &body).await;
                match reply.status.as_u16() {
                    200 => self.model.keys[key] = grant,
                    status => assert_eq!(status, 403, "seed {}: {}", self.seed, reply.text()),
                }
            }
            2 | 3 => {
                let team = dice.roll(TEAMS.len());
                let grant = Grant::random(dice, true);
                let body = json!({"team_id": TEAMS[team], "object_permission": grant.body()});
                post(&self.gateway, "/team/update", body).await;
                self.model.teams[team] = grant;
            }
            4 => {
                let set = dice.roll(SETS.len());
                let tools: Vec<_> = dice.some(&all().collect::<Vec<_>>(), 4);
                let unique: BTreeSet<_> = tools.into_iter().collect();
                let tools: Vec<_> = unique.into_iter().collect();
                let body = json!({"toolset_id": self.sets[set], "tools": members(&tools)});
                let reply = self.gateway.client().put("/v1/mcp/toolset", &body).await;
                assert!(reply.status.is_success(), "seed {}: {}", self.seed, reply.text());
                self.model.sets[set] = tools;
            }
            _ => {
                let at = dice.roll(SERVERS.len());
                let (server, for_all) = (SERVERS[at], dice.roll(4) == 0);
                let without: Option<&'static str> = (dice.roll(3) == 0).then(|| dice.one_of(&TOOLS));
                let body = json!({
                    "server_id": self.ids[at], "allow_all_keys": for_all,
                    "disallowed_tools": without.into_iter().collect::<Vec<_>>(),
                });
                self.gateway
                    .client()
                    .put("/v1/mcp/server", &body)
                    .await
                    .expect_status(202);
                if for_all {
                    self.model.for_all.insert(server);
                } else {
                    self.model.for_all.remove(server);
                }
                match without {
                    Some(tool) => self.model.without.insert(server, tool),
                    None => self.model.without.remove(server),
                };
            }
        }
    }

    /// Nothing of what is said is of a tool that the key may not use.
    fn check(&self, key: usize, what: &str, said: &str) {
        for (server, tool) in all() {
            let is_shown = said.contains(&mark(server, tool));
            assert!(
                !is_shown || self.model.may(key, server, tool),
                "seed {} step {}: key {key} sees {server}-{tool} by {what}: {said}\n{:?}",
                self.seed,
                self.step,
                self.model
            );
        }
    }

    fn calls(&self) -> Vec<usize> {
        self.upstreams.iter().map(|own| own.count("tools/call")).collect()
    }

    async fn ask(&mut self, dice: &mut Dice) -> bool {
        let key = dice.roll(KEYS);
        let http = self.keys[key].1.clone();
        match dice.roll(5) {
            0 => {
                let way = dice.one_of(&WAYS);
                let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
                self.check(key, &format!("{way:?}"), &said.to_string());
                self.cursors.extend(said["result"].get("nextCursor").cloned());
                false
            }
            1 => {
                // A session that is older than what changed, and somebody's cursor.
                let cursor =
                    (!self.cursors.is_empty()).then(|| self.cursors[dice.roll(self.cursors.len())].clone());
                let params = cursor.map_or(json!({}), |cursor| json!({"cursor": cursor}));
                let said = text(&self.sessions[key].request("tools/list", &params).await);
                self.check(key, "a session", &said);
                false
            }
            2 => {
                let set = dice.one_of(&SETS);
                let place = format!("toolset/{set}");
                let server = dice
                    .one_of(&[place.as_str(), "alpha", "beta", "gamma", "delta"])
                    .to_owned();
                let way = dice.one_of(&WAYS);
                let (_, said) = way.ask(&http, Some(&server), "tools/list", &json!({})).await;
                self.check(key, &format!("{way:?} of {server}"), &said.to_string());
                false
            }
            _ => {
                let (server, tool) = dice.one_of(&all().collect::<Vec<_>>());
                let way = dice.one_of(&WAYS);
                let before = self.calls();
                let call = json!({"name": format!("{server}-{tool}"), "arguments": {}});
                let said = match dice.roll(3) {
                    0 => text(&self.sessions[key].request("tools/call", &call).await),
                    _ => way.ask(&http, None, "tools/call", &call).await.1.to_string(),
                };
                self.check(key, &format!("a call by {way:?}"), &said);
                let reached: Vec<usize> = self
                    .calls()
                    .iter()
                    .zip(&before)
                    .map(|(now, then)| now - then)
                    .collect();
                let at = SERVERS.iter().position(|own| *own == server).unwrap();
                let may = self.model.may(key, server, tool);
                for (index, count) in reached.iter().enumerate() {
                    // What may be called and is being listed anew is not called now.
                    assert!(
                        *count <= usize::from(may && index == at),
                        "seed {} step {}: key {key} calls {server}-{tool} by {way:?}: {said}\n{:?}",
                        self.seed,
                        self.step,
                        self.model
                    );
                }
                reached[at] == 1
            }
        }
    }
}

fn text(reply: &RpcReply) -> String {
    String::from_utf8_lossy(&reply.raw).into_owned()
}

#[tokio::test]
async fn s36_s19_no_random_steps_show_a_key_what_is_not_its_own() {
    let number = |name: &str, usual: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let seed = number("TRUNKLINE_ISOLATION_SEED", 0x9e37_79b9_7f4a_7c15);
    let steps = number("TRUNKLINE_ISOLATION_STEPS", 3_000);
    let mut dice = Dice(seed.max(1));
    let mut world = World::new(seed).await;
    let mut permitted = 0;
    for step in 0..usize::try_from(steps).unwrap() {
        world.step = step;
        if dice.roll(5) == 0 {
            world.change(&mut dice).await;
        } else if world.ask(&mut dice).await {
            permitted += 1;
        }
        // And it is not less, either: every now and then the lists are looked at as a whole.
        if step % 200 == 199 {
            for key in 0..KEYS {
                let expected = world.model.tools(key);
                let http = world.keys[key].1.clone();
                eventually(
                    &format!("seed {seed} step {step}: key {key} has {expected:?}"),
                    PATIENCE,
                    async || Way::Rest.tools(&http, None).await == Ok(expected.clone()),
                )
                .await;
            }
        }
    }
    assert!(
        permitted > 50,
        "seed {seed}: only {permitted} calls were permitted"
    );
}
