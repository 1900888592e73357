use serde_json::json;

use super::*;

/// Over arguments, and a principal of team `a`.
fn ask(text: &str, args: &str) -> Result<bool, Failure> {
    let mut facts = Facts::new();
    facts.set_args(args).unwrap();
    let metadata = Fact::json(&json!({"limits": {"amount": 100}, "paths": ["/a/", "/b/"]}));
    let principal = [
        ("team_id", Fact::text("a")),
        ("user_id", Fact::null()),
        ("metadata", metadata),
    ];
    facts.set(Variable::Principal, Fact::members(principal));
    let condition = Condition::read(text);
    assert_eq!(condition.mistake(), None, "{text}");
    condition.holds(&mut facts)
}

fn mistake(text: &str) -> String {
    let condition = Condition::read(text);
    let mistake = condition
        .mistake()
        .unwrap_or_else(|| panic!("{text} is a condition"));
    mistake.to_string()
}

#[test]
fn expressions_are_true_or_false_of_facts() {
    let args =
        r#"{"amount":50,"path":"/a/x","list":[{"n":1},{"n":2.0}],"big":18446744073709551615,"none":null}"#;
    for (text, holds) in [
        ("true", true),
        ("args.amount <= 50 && args.amount < 50.5", true),
        ("args.amount == 50.0", true),
        ("args.amount <= principal.metadata.limits.amount", true),
        ("args.big > 9223372036854775807", true),
        ("args.path.startsWith('/a/') && !args.path.contains('..')", true),
        ("args.path.matches('^/[ab]/[^/]*$')", true),
        ("matches(args.path, '^/b/') || args.path.matches('x$')", true),
        (
            "principal.metadata.paths.exists(p, args.path.startsWith(p))",
            true,
        ),
        ("args.list.all(item, item.n > 0 && item.n in [1, 2])", true),
        ("has(args.path) && !has(args.other)", true),
        ("'other' in args", false),
        ("principal.team_id in ['a', 'b']", true),
        ("principal.user_id == 'x'", false),
        ("principal.user_id == null && args.none == null", true),
        ("size(args.list) == 2 && size(args.path) == 4", true),
        ("args['path'] == '/a/x'", true),
        ("args.amount > 10 ? args.path != '' : false", true),
        ("string(args.amount) == '50' && int('7') == 7", true),
        ("args.list.filter(i, i.n > 1).size() == 1", true),
    ] {
        assert_eq!(ask(text, args), Ok(holds), "{text}");
    }
}

#[test]
fn what_cannot_be_decided_is_an_error_and_no_answer() {
    let args = r#"{"amount":50,"path":"/a/x","list":[1,"two"]}"#;
    for (text, failure) in [
        ("args.other == 1", Failure::Missing),
        ("args.list[7] == 1", Failure::Missing),
        ("args.amount < 'x'", Failure::Type),
        ("args.path.all(x, true)", Failure::Type),
        ("args.amount.startsWith('5')", Failure::Type),
        ("args.amount.matches('5')", Failure::Type),
        ("args.list.all(x, x > 0)", Failure::Type),
        ("args.amount", Failure::NotBool),
        ("args.amount / 0 == 1", Failure::Failed),
        ("args.amount * 9223372036854775807 > 0", Failure::Failed),
    ] {
        assert_eq!(ask(text, args), Err(failure), "{text}");
    }
    // Either side may be unknown where the other decides.
    assert_eq!(ask("args.other == 1 || args.amount == 50", args), Ok(true));
    assert_eq!(ask("args.other == 1 && args.amount == 51", args), Ok(false));
    let broken = Condition::read("args.");
    assert_eq!(broken.holds(&mut Facts::new()), Err(Failure::Mistaken));
    assert_eq!(
        Condition::read("args.x == 1").holds(&mut Facts::new()),
        Err(Failure::Failed)
    );
}

#[test]
fn mistakes_are_found_when_an_expression_is_read_and_have_a_place() {
    for (text, part) in [
        ("", "it is empty, at line 1, column 1"),
        ("args.a ==", "at line 1, column 10"),
        (
            "arg.a == 1",
            "\"arg\" is not known; there are principal, server, tool, args, client, now, at line 1, column 1",
        ),
        (
            "true &&\n  principal.team == 'a'",
            "principal has no \"team\"; it has kind,",
        ),
        ("true &&\n  principal.team == 'a'", "at line 2"),
        ("has(tool.title)", "tool has no \"title\""),
        (
            "duration('1h') > args.x",
            "the function \"duration\" is not known",
        ),
        (
            "args.x.lowerAscii() == 'a'",
            "the function \"lowerAscii\" is not known",
        ),
        ("args.x.matches(args.y)", "must be a literal text"),
        ("args.x.matches('(')", "is no regular expression"),
        ("args.x.matches('(a{1000}){1000}')", "is too large"),
        ("args.x.startsWith()", "startsWith takes 2 values, and here are 1"),
        (
            "args.a.map(x, x).all(y, true)",
            "a loop goes over what another loop made",
        ),
        (
            "args.a.all(x, x.all(y, y.all(z, true)))",
            "nested more than 2 deep",
        ),
        ("some.Type{x: 1} == args", "types of one's own"),
        ("args.?x == 1", "at line 1"),
    ] {
        assert!(mistake(text).contains(part), "{text}: {}", mistake(text));
    }
    assert!(mistake(&format!("{}true", "!".repeat(3000))).contains("longer than 2048 bytes"));
}

#[test]
fn s38_no_text_is_too_deep_for_the_parser() {
    let started = std::time::Instant::now();
    let around = |open: &str, times: usize, close: &str| open.repeat(times) + "true" + &close.repeat(times);
    for text in [
        "(".repeat(2_048),
        "[".repeat(2_048),
        "{1:".repeat(600),
        around("(", 1_000, ")"),
        around("[", 1_000, "]"),
        around("- ", 999, ""),
        "!".repeat(2_048),
        "-".repeat(2_048),
        around("a.b(", 300, ")"),
        around("{'a':", 290, "}"),
        around("[1,", 500, "]"),
        around("true?", 250, ":true"),
        around("true?true:", 200, ""),
        format!("args{}", ".a".repeat(1_000)),
        format!("args{}", "[0]".repeat(600)),
        format!("true{}", "+1".repeat(1_000)),
        around("f(", 600, ")"),
    ] {
        let shown: String = text.chars().take(20).collect();
        let condition = Condition::read(&text);
        let held = condition.holds(&mut Facts::new());
        assert!(
            condition.mistake().is_some() || held.is_err(),
            "{shown}: {held:?}"
        );
    }
    // An even number of them is none.
    assert_eq!(ask(&around("!", 1_000, ""), "{}"), Ok(true));
    assert_eq!(ask(&around("!", 2_043, ""), "{}"), Ok(false));
    let long = format!("true{}", " && true".repeat(250));
    assert_eq!(ask(&long, "{}"), Ok(true), "a long chain is no deep one");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn needs_are_what_is_read_and_nothing_else() {
    let needs = |text: &str| Condition::read(text).needs();
    let none = Needs::default();
    assert_eq!(needs("true"), none);
    let tool = Needs { tool: true, ..none };
    assert_eq!(needs("tool.name == 'a'"), tool);
    let annotated = Needs {
        annotations: true,
        ..tool
    };
    for text in [
        "tool.annotations.readOnlyHint",
        "has(tool.annotations.x)",
        "tool['annotations'].x",
        "tool == {}",
    ] {
        assert_eq!(needs(text), annotated, "{text}");
    }
    let both = Needs {
        args: true,
        principal: true,
        metadata: true,
        ..none
    };
    assert_eq!(needs("principal.metadata.all(args, true) && args.x"), both);
    assert_eq!(
        needs("principal.metadata.all(args, args == 'x')"),
        Needs {
            principal: true,
            metadata: true,
            ..none
        }
    );
    assert_eq!(
        needs("now.hour < 18 || client.name == 'x'"),
        Needs {
            now: true,
            client: true,
            ..none
        }
    );
}

#[test]
fn s38_what_would_take_too_long_is_not_begun() {
    let list = |items: usize| format!("{{\"a\":[{}],\"t\":\"x\"}}", vec!["1"; items].join(","));
    let started = std::time::Instant::now();
    assert_eq!(ask("args.a.all(x, x == 1)", &list(10_000)), Ok(true));
    assert_eq!(
        ask("args.a.all(x, args.a.all(y, y == x))", &list(10_000)),
        Err(Failure::TooMuch)
    );
    assert_eq!(
        ask("args.a.all(x, x in args.a)", &list(10_000)),
        Err(Failure::TooMuch)
    );
    assert_eq!(ask("args.a.all(x, args.a.all(y, y == 1))", &list(100)), Ok(true));
    let text = format!(
        "{{\"a\":[{}],\"t\":\"{}\"}}",
        vec!["1"; 1000].join(","),
        "x".repeat(1_000_000)
    );
    assert_eq!(
        ask("args.a.all(x, args.t + 'y' != '')", &text),
        Err(Failure::TooMuch)
    );
    // Each byte of a text counts where a pattern looks at it.
    assert_eq!(ask("args.t.matches('(x+x+)+y')", &text), Err(Failure::TooMuch));
    let half = format!("{{\"t\":\"{}\"}}", "x".repeat(500_000));
    assert_eq!(ask("args.t.matches('(x+x+)+y')", &half), Ok(false));
    let both = "args.a + args.a + args.a + args.a";
    assert_eq!(
        ask(
            &format!("({both} + {both}).all(x, ({both}).all(y, true))"),
            &list(300)
        ),
        Err(Failure::TooMuch)
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn s23_text_that_two_readers_could_understand_differently_is_not_read() {
    for text in [
        "{",
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"a":{"b":[{"c":1,"C":2}]}}"#,
        "{\"k\":1,\"\u{212a}\":2}",
        "{\"s\":1,\"\u{17f}\":2}",
        r#"{"a":"\ud800"}"#,
        r#"{"\ud800":1}"#,
        r#"{"a":1e400}"#,
        r#"{"a":01}"#,
        r#"{"a":NaN}"#,
        "{} {}",
    ] {
        assert!(Fact::parse(text).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(Fact::parse(&deep).is_err());
    assert!(Fact::parse(r#"{"a":1,"b":{"a":2}}"#).is_ok());
}

#[test]
fn keys_are_the_same_whatever_their_case() {
    for (a, b, same) in [
        ("repo", "repo", true),
        ("repo", "Repo", true),
        ("key", "\u{212a}ey", true),
        ("s", "\u{17f}", true),
        ("repo", "repos", false),
        ("", "a", false),
    ] {
        assert_eq!(is_same_key(a, b), same, "{a} {b}");
    }
}

proptest::proptest! {
    #[test]
    fn s38_garbage_is_no_panic(text in "[a-z.\\[\\](){}'\"&|!?:<>=+*/, 0-9-]{0,60}", json in ".{0,40}") {
        let condition = Condition::read(&text);
        let mut facts = Facts::new();
        if let Ok(args) = Fact::parse(&json) {
            facts.set(Variable::Args, args);
        }
        let held = condition.holds(&mut facts);
        proptest::prop_assert!(condition.mistake().is_none() || held == Err(Failure::Mistaken));
    }
}

#[test]
fn s35_an_argument_in_another_case_is_not_passed_over() {
    let guard = Condition::read("!has(args.path) || args.path.startsWith('/tmp/')");
    for (args, expected) in [
        ("{}", Ok(true)),
        (r#"{"path":"/tmp/a"}"#, Ok(true)),
        (r#"{"path":"/etc"}"#, Ok(false)),
        (r#"{"Path":"/etc"}"#, Err(Failure::Doubtful)),
        (r#"{"PATH":"/tmp/a"}"#, Err(Failure::Doubtful)),
        (r#"{"Other":"/etc"}"#, Ok(true)),
    ] {
        let mut facts = Facts::new();
        facts.set_args(args).unwrap();
        assert_eq!(guard.holds(&mut facts), expected, "{args}");
    }
}

#[test]
fn s38_one_decision_costs_so_much_however_many_conditions_it_has() {
    let condition = Condition::read("args.q.contains('needle') || true");
    let mut facts = Facts::new();
    facts
        .set_args(&format!(r#"{{"q":"{}"}}"#, "x".repeat(1_000_000)))
        .unwrap();
    let holds = |facts: &mut Facts| condition.holds(facts);
    let decided = (0..1_000).take_while(|_| holds(&mut facts) == Ok(true)).count();
    assert!((1..100).contains(&decided), "{decided}");
    assert_eq!(holds(&mut facts), Err(Failure::TooMuch));
    // A matcher looks at each byte.
    let matcher = Condition::read("args.q.matches('^x+y$')");
    let mut facts = Facts::new();
    facts
        .set_args(&format!(r#"{{"q":"{}"}}"#, "x".repeat(2_000_000)))
        .unwrap();
    assert_eq!(matcher.holds(&mut facts), Err(Failure::TooMuch));
}
