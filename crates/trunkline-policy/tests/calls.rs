//! Arguments and conditions: total, pure, and of one mind for lists and calls.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_model::{
    Approval, Holder, KeyHash, Level, ObjectPermission, OnBehalfOf, Origin, Principal, Scope, Server,
    ServerDefinition, ServerId, Stamps, VirtualKey, tool_rule,
};
use trunkline_policy::arguments::{Shape, fill};
use trunkline_policy::{Action, CallFacts, Client, Decision, Denial, Reason, Rule, ToolUse, decide};

fn server(name: &str, edit: impl FnOnce(&mut ServerDefinition)) -> Server {
    let mut definition = ServerDefinition {
        server_name: Some(name.into()),
        ..ServerDefinition::default()
    };
    edit(&mut definition);
    Server {
        id: ServerId::new(format!("id-{name}")),
        origin: Origin::File,
        definition,
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    }
}

fn key(number: u32, metadata: &Value) -> Principal {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    let mut key = VirtualKey::new(KeyHash(hash));
    key.team_id = Some("red".into());
    key.metadata = metadata.as_object().cloned().unwrap_or_default().into();
    key.object_permission = ObjectPermission {
        mcp_servers: vec!["s".into(), "s7".into()],
        ..ObjectPermission::default()
    };
    Principal::from_key(Holder::of_key(Arc::new(key)))
}

fn with_conditions(conditions: &Value) -> Server {
    server("s", |own| {
        own.tool_conditions = tool_rule::parse_conditions(conditions, true).unwrap();
    })
}

fn call(arguments: &str) -> CallFacts<'_> {
    CallFacts {
        arguments,
        now: "2026-11-29T19:38:14Z".parse::<Timestamp>().unwrap(),
    }
}

fn reason(decision: Decision) -> Result<(), (Reason, Option<u16>)> {
    match decision {
        Decision::Allow => Ok(()),
        Decision::Deny(Denial {
            reason,
            level,
            rule,
            part,
        }) => {
            assert_eq!((level, rule), (Level::Server, Rule::ToolConditions));
            Err((reason, part))
        }
    }
}

#[test]
fn conditions_are_decided_as_far_as_they_are_known() {
    let server = with_conditions(&json!([
        {"tools": ["b"], "when": "false"},
        {"tools": ["a"], "when": "args.n < 5"},
        {"tools": ["s-a"], "when": "principal.metadata.level >= 2"},
        {"tools": ["a"], "when": "tool.annotations.readOnlyHint"},
        {"tools": ["a"], "when": "client.name == 'c'"},
        {"tools": ["a"], "when": "now.hour == 19 && now.weekday == 7 && now.date == '2026-11-29' && now.time == '19:38:14'"},
    ]));
    let good = key(1, &json!({"level": 2}));
    let ask = |principal: &Principal, tool: ToolUse<'_>| {
        reason(decide(principal, &Scope::All, Action::UseToolAs(tool), &server))
    };
    let listed = ToolUse::of("a");
    assert_eq!(ask(&good, listed), Ok(()));
    assert_eq!(
        reason(decide(&good, &Scope::All, Action::UseTool("a"), &server)),
        Ok(())
    );
    assert_eq!(
        ask(&good, ToolUse::of("b")),
        Err((Reason::ConditionFailed, Some(0)))
    );
    assert_eq!(
        ask(&key(1, &json!({"level": 1})), listed),
        Err((Reason::ConditionFailed, Some(2)))
    );
    assert_eq!(
        ask(&key(1, &json!({})), listed),
        Err((Reason::ConditionError, Some(2)))
    );
    assert_eq!(
        ask(&key(1, &json!({"level": "2"})), listed),
        Err((Reason::ConditionError, Some(2)))
    );
    let with = |annotations, client| ToolUse {
        annotations,
        client,
        ..listed
    };
    assert_eq!(
        ask(&good, with(Some("{}"), None)),
        Err((Reason::ConditionError, Some(3)))
    );
    assert_eq!(
        ask(&good, with(Some("not JSON"), None)),
        Err((Reason::ConditionError, Some(2)))
    );
    let reads = Some(r#"{"readOnlyHint":true}"#);
    assert_eq!(ask(&good, with(reads, None)), Ok(()));
    assert_eq!(
        ask(&good, with(reads, Some(Client::default()))),
        Err((Reason::ConditionFailed, Some(4)))
    );
    let client = Client {
        name: Some("c"),
        ..Client::default()
    };
    let full = |arguments| ToolUse {
        call: Some(call(arguments)),
        ..with(reads, Some(client))
    };
    assert_eq!(ask(&good, full(r#"{"n":4}"#)), Ok(()));
    assert_eq!(
        ask(&good, full(r#"{"n":5}"#)),
        Err((Reason::ConditionFailed, Some(1)))
    );
    assert_eq!(ask(&good, full("{}")), Err((Reason::ConditionError, Some(1))));
    // A call of which something is not known is not made.
    let unknown = ToolUse {
        call: Some(call(r#"{"n":4}"#)),
        ..listed
    };
    assert!(ask(&good, unknown).is_err());
    // Other rules come first, and what needs no grant is under conditions, too.
    assert_eq!(
        ask(&Principal::from_master_key(), listed),
        Err((Reason::ConditionError, Some(2)))
    );
}

#[test]
fn a_condition_that_cannot_be_read_any_more_lets_nothing_through() {
    let server = with_conditions(&json!([{"tools": ["a"], "when": "gone(args.x)"}]));
    let principal = key(1, &json!({}));
    let ask = |tool: ToolUse<'_>| reason(decide(&principal, &Scope::All, Action::UseToolAs(tool), &server));
    assert_eq!(ask(ToolUse::of("a")), Err((Reason::ConditionError, Some(0))));
    let called = ToolUse {
        call: Some(call("{}")),
        ..ToolUse::of("a")
    };
    assert_eq!(ask(called), Err((Reason::ConditionError, Some(0))));
    assert_eq!(ask(ToolUse::of("b")), Ok(()));
}

#[test]
fn what_two_names_say_of_a_tool_both_holds() {
    let server = server("s", |own| {
        own.allowed_params = [
            ("a".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
            ("s-a".to_owned(), vec!["y".to_owned(), "z".to_owned()]),
        ]
        .into();
        let arguments = json!({"a": {"p": {"value": 1}}, "s-a": {"q": {"value": 2}, "y": {"default": 3}}});
        own.tool_arguments = tool_rule::parse_arguments(&arguments).unwrap();
    });
    let shape = Shape::of(&server, "a").unwrap();
    assert_eq!(shape.permitted, Some(vec!["y"]));
    assert_eq!((shape.pinned, shape.defaulted), (vec!["p", "q"], vec!["y"]));
    assert_eq!(Shape::of(&server, "b"), None);
    let principal = Principal::from_master_key();
    let set = fill(&principal, &server, "a", &[]).unwrap();
    let set: Vec<(&str, Value)> = set
        .into_iter()
        .map(|(name, value)| (name, value.into_owned()))
        .collect();
    assert_eq!(set, [("p", json!(1)), ("q", json!(2)), ("y", json!(3))]);
    for (given, reason) in [
        ("P", Reason::ArgumentPinned),
        ("x", Reason::ArgumentNotAllowed),
        ("Y", Reason::ArgumentNotAllowed),
    ] {
        let refused = fill(&principal, &server, "a", &["y", given]).unwrap_err();
        assert_eq!(
            (refused.denial.reason, refused.arguments),
            (reason, vec![given.to_owned()])
        );
    }
}

#[test]
fn what_is_not_known_of_a_caller_is_never_filled_with_nothing() {
    let rules = json!({"a": {"x": {"value_from": "end_user_id"}, "m": {"default_from": "metadata.m"}}});
    let server = server("s", |own| {
        own.tool_arguments = tool_rule::parse_arguments(&rules).unwrap();
    });
    for metadata in [json!({}), json!({"m": null}), json!({"m": ""})] {
        let principal = key(1, &metadata);
        let refused = fill(&principal, &server, "a", &["m"]).unwrap_err();
        assert_eq!(refused.denial.reason, Reason::ArgumentUnfilled);
        let nobody = principal.clone().on_behalf_of(Some(OnBehalfOf {
            budget: None,
            id: "".into(),
            end_user: None,
        }));
        assert!(fill(&nobody, &server, "a", &[]).is_err());
        let somebody = principal.on_behalf_of(Some(OnBehalfOf {
            budget: None,
            id: "c".into(),
            end_user: None,
        }));
        let set = fill(&somebody, &server, "a", &[]).unwrap();
        assert_eq!(set.len(), 1, "a default that is not known is left out");
    }
}

proptest! {
    /// A tool that a list shows under some facts may be called with some arguments; one that it hides, with none.
    #[test]
    fn what_a_list_hides_no_call_reaches(
        conditions in proptest::collection::vec((prop_oneof![
            Just("true"), Just("false"), Just("args.x"), Just("args.x == 1 || principal.kind == 'key'"),
            Just("principal.team_id == 'red'"), Just("principal.metadata.n > 1"), Just("tool.annotations.a"),
            Just("client.name == 'c'"), Just("now.hour < 12"), Just("broken("), Just("1"),
        ], any::<bool>()), 0..5),
        arguments in prop_oneof![Just("{}"), Just(r#"{"x":true}"#), Just(r#"{"x":1,"X":1}"#), Just("[]"), Just("{")],
        annotations in prop_oneof![Just("{}"), Just(r#"{"a":true}"#), Just(r#"{"a":false}"#)],
        n in 0..4,
        has_name in any::<bool>(),
    ) {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(when, all)| json!({"tools": [if *all { "*" } else { "a" }], "when": when}))
            .collect();
        let server = with_conditions(&Value::from(conditions));
        let principal = key(1, &json!({"n": n}));
        let client = Client { name: has_name.then_some("c"), ..Client::default() };
        let listed = ToolUse { annotations: Some(annotations), client: Some(client), ..ToolUse::of("a") };
        let called = ToolUse { call: Some(call(arguments)), ..listed };
        let ask = |tool| decide(&principal, &Scope::All, Action::UseToolAs(tool), &server).is_allow();
        prop_assert!(!ask(called) || ask(listed));
        prop_assert!(!ask(listed) || ask(ToolUse::of("a")), "what is known can only take away");
        prop_assert_eq!(ask(called), ask(called));
    }
}

/// 1,000 servers, 10,000 keys, 100 conditions. Built for release, the slowest of a hundred takes 20 µs at most; without, it is
/// ten times as slow. `cargo nextest run --release -p trunkline-policy -E 'test(timed_)'` says the numbers.
#[test]
fn timed_a_decision_among_many_takes_microseconds() {
    let condition = json!([{"tools": ["*"], "when":
        "principal.team_id == 'red' && args.path.startsWith('/srv/') && args.n <= principal.metadata.limit"}]);
    let servers: Vec<Server> = (0..1_000)
        .map(|number| {
            server(&format!("s{number}"), |own| {
                own.allow_all_keys = true;
                if number % 10 == 7 {
                    own.tool_conditions = tool_rule::parse_conditions(&condition, false).unwrap();
                }
            })
        })
        .collect();
    assert_eq!(
        servers
            .iter()
            .filter(|own| own.definition.has_call_rules())
            .count(),
        100
    );
    let keys: Vec<Principal> = (0..10_000)
        .map(|number| key(number, &json!({"limit": 10})))
        .collect();
    let arguments = r#"{"path":"/srv/data/file.txt","n":3,"more":{"a":[1,2,3],"b":"some text"}}"#;
    let mut times: Vec<Duration> = Vec::new();
    for round in 0..20_000_usize {
        let server = &servers[(round * 10 + 7) % 1_000];
        let principal = &keys[round * 7_919 % 10_000];
        let tool = ToolUse {
            annotations: Some("{}"),
            client: Some(Client::default()),
            call: Some(call(arguments)),
            ..ToolUse::of("tool")
        };
        let begun = Instant::now();
        let decision = decide(principal, &Scope::All, Action::UseToolAs(tool), server);
        times.push(begun.elapsed());
        assert!(decision.is_allow());
    }
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1_000];
    let (half, most) = (at(500), at(990));
    let bound = Duration::from_micros(if cfg!(debug_assertions) { 1_000 } else { 20 });
    assert!(most <= bound, "p50 {half:?}, p99 {most:?}");
    eprintln!(
        "decision with a condition: p50 {half:?}, p99 {most:?}, p99.9 {:?}",
        at(999)
    );
}
