//! What is written down of sessions, of replicas and of calls that wait for a yes is away: nobody is taken for somebody else, and
//! nothing goes to a server that would not go there otherwise.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, Replicas, RpcReply, ScriptedUpstream, TestGateway};

use crate::support::{Way, config, key, listed, with};

/// Every table of which a request may wait.
const TABLES: [&str; 5] = [
    "session_ended",
    "session_upstream",
    "session_state",
    "replica",
    "call_approval",
];

fn text(reply: &RpcReply) -> String {
    String::from_utf8_lossy(&reply.raw).into_owned()
}

fn call(name: &str) -> Value {
    json!({"name": name, "arguments": {"message": "x"}})
}

/// Checks that a session's id opens nothing for somebody.
async fn opens_nothing(what: &str, http: HttpClient, session: &str, upstreams: [&ScriptedUpstream; 2]) {
    let before = upstreams.map(|own| own.count("tools/call"));
    let http = http.with_header("mcp-session-id", session);
    for (method, params) in [("tools/list", json!({})), ("tools/call", call("files-echo"))] {
        let reply = McpClient::over(http.clone(), "/mcp")
            .request(method, &params)
            .await;
        let status = reply.status.as_u16();
        assert!(
            matches!(status, 400 | 401 | 403 | 404 | 503),
            "{what} {method}: {status} {}",
            text(&reply)
        );
        assert!(
            !text(&reply).contains("files-echo"),
            "{what} {method}: {}",
            text(&reply)
        );
    }
    let deleted = McpClient::over(http, "/mcp").delete().await.status.as_u16();
    assert!(
        matches!(deleted, 400 | 401 | 403 | 404 | 405 | 503),
        "{what}: DELETE {deleted}"
    );
    assert_eq!(upstreams.map(|own| own.count("tools/call")), before, "{what}");
}

#[tokio::test]
async fn s05_s21_b42_a_session_is_nobody_elses_while_what_is_written_down_of_it_is_away() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let text_of = config(&[("files", &files, ""), ("notes", &notes, "")]);
    let Some(replicas) = Replicas::start(TestGateway::builder().config(&text_of), 2).await else {
        return;
    };
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    for gateway in [here, there] {
        listed(gateway, &["files", "notes"]).await;
    }
    let mine = key(here, json!({"mcp_servers": ["files"]})).await;
    let other = key(here, json!({"mcp_servers": ["notes"]})).await;
    for known in [&mine, &other] {
        trunkline_testkit::eventually(
            "the other replica knows it",
            crate::support::PATIENCE,
            async || Way::Bare.tools(&with(there, known), None).await.is_ok(),
        )
        .await;
    }
    for table in TABLES {
        // The other replica has not seen it.
        let mut client = McpClient::over(with(here, &mine), "/mcp");
        client.initialize().await;
        let session = client.session().unwrap().to_owned();
        replicas
            .database
            .sql(&format!("ALTER TABLE {table} RENAME TO away"));
        for (what, http) in [
            ("another key", with(there, &other)),
            ("nobody", there.anonymous()),
            ("a wrong key", with(there, "sk-nobodys-key-0123456789")),
        ] {
            opens_nothing(&format!("{table}: {what}"), http, &session, [&files, &notes]).await;
        }
        // Its owner has what it had, or is told that it cannot be served now; and never what it has not.
        let own = with(there, &mine).with_header("mcp-session-id", &session);
        let mut own = McpClient::over(own, "/mcp");
        let reply = own.request("tools/list", &json!({})).await;
        let status = reply.status.as_u16();
        assert!(
            matches!(status, 200 | 401 | 403 | 404 | 503),
            "{table}: {status} {}",
            text(&reply)
        );
        assert!(!text(&reply).contains("notes-echo"), "{table}: {}", text(&reply));
        let before = notes.count("tools/call");
        own.request("tools/call", &call("notes-echo")).await;
        assert_eq!(notes.count("tools/call"), before, "{table}");
        replicas
            .database
            .sql(&format!("ALTER TABLE away RENAME TO {table}"));
    }
}

/// A call that somebody has to say yes to is not made while nobody can find out whether somebody did.
#[tokio::test]
async fn s05_b42_a_call_that_waits_for_a_yes_is_not_made_without_the_table() {
    let files = ScriptedUpstream::start().await;
    let rules = "    allow_all_keys: true\n    tool_approval: {\"*\": always}\n";
    let text_of = config(&[("files", &files, rules)]);
    let Some(replicas) = Replicas::start(TestGateway::builder().config(&text_of), 1).await else {
        return;
    };
    let gateway = &replicas.gateways[0];
    listed(gateway, &["files"]).await;
    let mine = with(gateway, &key(gateway, json!({})).await);
    replicas.database.sql("ALTER TABLE call_approval RENAME TO away");
    for way in [Way::Session, Way::Bare, Way::Modern, Way::Rest] {
        let (status, said) = way.ask(&mine, None, "tools/call", &call("files-echo")).await;
        assert!(
            status == 503 || said["error"].is_object(),
            "{way:?}: {status} {said}"
        );
        assert!(!said.to_string().contains("\"x\""), "{way:?}: {said}");
    }
    assert_eq!(files.count("tools/call"), 0);
    replicas.database.sql("ALTER TABLE away RENAME TO call_approval");
}
