//! What a decision costs among 1,000 servers, 10,000 keys and 100 conditions, built for release: `make bench-policy`.
//!
//! A decision about a call is all that the pipeline asks of this crate for one `tools/call`: whether the tool may be used, which
//! arguments are set, whether the conditions hold of them, and whether somebody has to say yes. `--check` makes a p99 above the bound
//! an error; any other words are what the lines that are measured begin with.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a tool of the command line, whose numbers are for people"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_model::{
    Approval, ApprovalMode, Holder, KeyHash, ObjectPermission, Organization, Origin, Principal, Scope,
    Server, ServerDefinition, ServerId, Stamps, Team, User, VirtualKey, tool_rule,
};
use trunkline_policy::arguments::fill;
use trunkline_policy::{Action, CallFacts, Client, ToolUse, approval_mode, decide};

const SERVERS: usize = 1_000;
const KEYS: usize = 10_000;
const CONDITIONS: usize = 100;
const TEAMS: usize = 100;
const TOOLS: usize = 10;
const ROUNDS: usize = 200_000;
/// Of the slowest of a hundred calls.
const BOUND: Duration = Duration::from_micros(20);

const ARGUMENTS: &str = r#"{"path":"/srv/data/file.txt","n":3,"more":{"a":[1,2,3],"b":"some text"}}"#;

/// Conditions as people write them; each is true of the calls here.
const WHEN: [&str; 5] = [
    "principal.team_id.startsWith('team-') && args.path.startsWith('/srv/') && args.n <= principal.metadata.limit",
    "!(args.path.contains('..')) && args.more.a.all(x, x < 10)",
    "tool.annotations.readOnlyHint || principal.metadata.level >= 2",
    "now.hour >= 0 && client.name in ['codex', 'claude', 'cursor']",
    "server.name.startsWith('s') && size(args.more.b) < 100",
];

fn main() {
    let is_checked = std::env::args().any(|argument| argument == "--check");
    let world = World::new();
    println!(
        "{SERVERS} servers, {KEYS} keys of {TEAMS} teams, {CONDITIONS} conditions; {ROUNDS} decisions each"
    );
    let mut slowest = Duration::ZERO;
    for (what, server) in [
        ("call, no condition", 0),
        ("call, one of 100 servers with a condition", 7),
        (
            "call, 100 conditions of one server, its own and 5 of all tools",
            1,
        ),
    ] {
        let most = measure(what, ROUNDS, |round| world.call(round, server));
        slowest = slowest.max(most);
    }
    measure(
        "call, 100 conditions that all cover the tool",
        ROUNDS / 20,
        |round| world.call(round, 2),
    );
    measure("call of a server that is not granted", ROUNDS, |round| {
        !world.call(round, 3)
    });
    measure("list of one tool, a server with a condition", ROUNDS, |round| {
        world.list(round, 7)
    });
    measure(
        &format!("whole list: {SERVERS} servers of {TOOLS} tools"),
        200,
        |round| world.list_all(round) > 0,
    );
    println!("bound of the first two: p99 {} µs", BOUND.as_micros());
    if is_checked && slowest > BOUND {
        println!("missed: {slowest:?}");
        std::process::exit(1);
    }
}

/// Times something that has to be so; its p99.
fn measure(what: &str, rounds: usize, mut decide: impl FnMut(usize) -> bool) -> Duration {
    let mut wanted = std::env::args()
        .skip(1)
        .filter(|own| !own.starts_with("--"))
        .peekable();
    if wanted.peek().is_some() && !wanted.any(|own| what.starts_with(&own)) {
        return Duration::ZERO;
    }
    for round in 0..rounds / 10 {
        assert!(decide(round), "{what}");
    }
    let mut times: Vec<Duration> = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let begun = Instant::now();
        let is_so = black_box(decide(black_box(round)));
        times.push(begun.elapsed());
        assert!(is_so, "{what}");
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1_000];
    let micros = |time: Duration| time.as_nanos() as f64 / 1_000.0;
    println!(
        "{what:<64} p50 {:>8.2} µs   p99 {:>8.2} µs   p99.9 {:>8.2} µs",
        micros(at(500)),
        micros(at(990)),
        micros(at(999))
    );
    at(990)
}

struct World {
    servers: Vec<Arc<Server>>,
    keys: Vec<Holder>,
    tools: Vec<String>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self {
            servers: (0..SERVERS).map(|number| Arc::new(server(number))).collect(),
            keys: keys(),
            tools: (0..TOOLS).map(|number| format!("tool{number}")).collect(),
            now: Timestamp::from_second(1_790_000_000).unwrap(),
        }
    }

    /// Another key and another tool every time; as a request makes the principal.
    fn asked(&self, round: usize) -> (Principal, &str) {
        let key = &self.keys[round * 7_919 % KEYS];
        (Principal::from_key(key.clone()), &self.tools[round % TOOLS])
    }

    /// `kind`: the last digit of a server's number.
    fn call(&self, round: usize, kind: usize) -> bool {
        let server = &self.servers[(round * 10 + kind) % SERVERS];
        let (principal, tool) = self.asked(round);
        let known = ToolUse {
            annotations: Some(r#"{"readOnlyHint":true,"title":"A tool"}"#),
            client: Some(Client {
                name: Some("claude"),
                version: Some("1.0"),
                user_agent: Some("claude/1.0"),
            }),
            ..ToolUse::of(tool)
        };
        if !decide(&principal, &Scope::All, Action::UseToolAs(known), server).is_allow() {
            return false;
        }
        if fill(&principal, server, tool, &["path", "n", "more"]).is_err() {
            return false;
        }
        let call = ToolUse {
            call: Some(CallFacts {
                arguments: ARGUMENTS,
                now: self.now,
            }),
            ..known
        };
        decide(&principal, &Scope::All, Action::UseToolAs(call), server).is_allow()
            && approval_mode(server, tool) == ApprovalMode::Never
    }

    fn list(&self, round: usize, kind: usize) -> bool {
        let server = &self.servers[(round * 10 + kind) % SERVERS];
        let (principal, tool) = self.asked(round);
        lists(&principal, server, tool)
    }

    fn list_all(&self, round: usize) -> usize {
        let (principal, _) = self.asked(round);
        let usable = self
            .servers
            .iter()
            .filter(|server| decide(&principal, &Scope::All, Action::UseServer, server).is_allow());
        usable
            .map(|server| {
                let tools = self.tools.iter();
                tools.filter(|tool| lists(&principal, server, tool)).count()
            })
            .sum()
    }
}

fn lists(principal: &Principal, server: &Server, tool: &str) -> bool {
    let known = ToolUse {
        annotations: Some(r#"{"readOnlyHint":true,"title":"A tool"}"#),
        client: Some(Client::default()),
        ..ToolUse::of(tool)
    };
    decide(principal, &Scope::All, Action::UseToolAs(known), server).is_allow()
}

/// By the last digit: 1 has all 100 conditions, of which few are about one tool; 2 all of them about every tool; 3 is granted to nobody;
/// 7 has one, as have ninety-nine others.
fn server(number: usize) -> Server {
    let of_tool = |number: usize| match number {
        0..5 => "*".to_owned(),
        _ => format!("tool{number}"),
    };
    let conditions: Vec<Value> = match number % 10 {
        1 => (0..CONDITIONS)
            .map(|number| json!({"tools": [of_tool(number)], "when": WHEN[number % WHEN.len()]}))
            .collect(),
        2 => (0..CONDITIONS)
            .map(|number| json!({"tools": ["*"], "when": WHEN[number % WHEN.len()]}))
            .collect(),
        7 => vec![json!({"tools": ["*"], "when": WHEN[number / 10 % WHEN.len()]})],
        _ => Vec::new(),
    };
    let definition = ServerDefinition {
        server_name: Some(format!("s{number}")),
        mcp_access_groups: vec![if number % 10 == 3 { "nobodys" } else { "everybodys" }.to_owned()],
        tool_conditions: tool_rule::parse_conditions(&Value::from(conditions), false).unwrap(),
        ..ServerDefinition::default()
    };
    Server {
        id: ServerId::new(format!("0198a7b2-{number:04}-7000-8000-000000000000")),
        origin: Origin::File,
        definition,
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    }
}

/// Keys of teams, users and an organisation, each with grants of its own.
fn keys() -> Vec<Holder> {
    let grants = |more: &[usize]| ObjectPermission {
        mcp_servers: more.iter().map(|number| format!("s{number}")).collect(),
        mcp_access_groups: vec!["everybodys".to_owned()],
        ..ObjectPermission::default()
    };
    let teams: Vec<Arc<Team>> = (0..TEAMS)
        .map(|number| {
            Arc::new(Team {
                team_id: format!("team-{number}"),
                object_permission: grants(&[number, number + 100, number + 200]),
                ..Team::default()
            })
        })
        .collect();
    let organization = Arc::new(Organization {
        organization_id: "organization".to_owned(),
        object_permission: grants(&[]),
        ..Organization::default()
    });
    let holder = |number: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let mut key = VirtualKey::new(KeyHash(hash));
        let team = &teams[number % TEAMS];
        key.team_id = Some(team.team_id.clone());
        let metadata = [("limit", 10), ("level", 2), ("of", number)];
        key.metadata = metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        key.object_permission = grants(&[number % 50, number % 50 + 500]);
        let mut holder = Holder::of_key(Arc::new(key));
        holder.team = Some(team.clone());
        holder.user = Some(Arc::new(User {
            user_id: format!("user-{number}"),
            ..User::default()
        }));
        holder.organization = Some(organization.clone());
        holder
    };
    (0..KEYS).map(holder).collect()
}
