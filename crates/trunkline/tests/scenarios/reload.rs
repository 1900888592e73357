//! The configuration file, read again while the gateway serves; and changes through the API in the middle of calls.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{EventStream, ScriptedUpstream, Signal, TestGateway, ToolAnswer, eventually};

use crate::support::{Config, PATIENCE, listed, message, names, register, row, said, text, tool};

/// A server with a tool that takes a while, and one that does not.
async fn slow_server() -> ScriptedUpstream {
    ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            ToolAnswer::progress(call, 6, Duration::from_millis(500))
        })
        .tool(tool("echo"))
        .start()
        .await
}

fn write(gateway: &TestGateway, config: &Config) {
    std::fs::write(gateway.config_path(), config.text()).unwrap();
}

/// Waits until all tools are these.
async fn tools_are(gateway: &TestGateway, wanted: &[&str]) {
    eventually(&format!("the tools are {wanted:?}"), PATIENCE, async || {
        let mut tools = gateway.mcp().tool_names().await;
        tools.sort_unstable();
        tools == wanted
    })
    .await;
}

/// The result of a call that is under way.
async fn finishes(stream: EventStream) -> Value {
    let (events, broken) = stream.rest().await;
    assert!(broken.is_none(), "the call was cut off: {broken:?}");
    let last = events.last().expect("an answer");
    let answer = last.message.clone();
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_keeps_its_calls_sessions_and_streams() {
    let (stays, new) = (slow_server().await, ScriptedUpstream::start().await);
    let (before, after) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = Config::of(&[("stays", &stays), ("moves", &before), ("gone", &before)])
        .start()
        .await;
    for server in ["stays", "moves", "gone"] {
        listed(&gateway, server).await;
    }
    let mut client = gateway.mcp();
    client.initialize().await;
    let mut standing = client.get_stream().await;
    assert_eq!(
        said(&client.call("stays-echo", &message("one"), None).await),
        "one"
    );
    stays.clear();
    let call = client.call_stream("stays-slow", &json!({}), Some("t")).await;

    // A server that moves, one that goes, one that comes; and of the one with the call in it, what people read.
    let config = Config::default()
        .server("stays", &stays, "description: another\ntimeout: 50")
        .server("moves", &after, "")
        .server("new", &new, "");
    write(&gateway, &config);
    let told = standing.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    tools_are(&gateway, &["moves-echo", "new-echo", "stays-echo", "stays-slow"]).await;
    assert_eq!(
        said(&client.call("moves-echo", &message("there"), None).await),
        "there"
    );
    assert_eq!((before.count("tools/call"), after.count("tools/call")), (0, 1));
    assert_eq!(row(&gateway.client(), "stays").await["description"], "another");

    // The API, in the middle of the same call.
    let body = json!({"server_name": "api", "url": new.url(), "transport": "http"});
    register(&gateway.client(), &body).await;
    tools_are(
        &gateway,
        &["api-echo", "moves-echo", "new-echo", "stays-echo", "stays-slow"],
    )
    .await;

    finishes(call).await;
    assert_eq!(
        said(&client.call("stays-echo", &message("two"), None).await),
        "two"
    );
    for method in ["initialize", "tools/list", "DELETE", "notifications/cancelled"] {
        assert_eq!(stays.count(method), 0, "{method}: {}", stays.everything());
    }
    // The client's stream is the one that it opened.
    new.set_tools([]);
    new.push(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let removed = gateway.client();
    let id = text(&row(&removed, "api").await["server_id"]).to_owned();
    removed
        .delete(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(202);
    standing.expect_next(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_people_read_touches_no_call_and_no_session() {
    let upstream = slow_server().await;
    let gateway = Config::default().start().await;
    let body = json!({"server_name": "files", "url": upstream.url(), "transport": "http"});
    let id = register(&gateway.client(), &body).await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    assert_eq!(
        said(&client.call("files-echo", &message("one"), None).await),
        "one"
    );
    upstream.clear();
    let call = client.call_stream("files-slow", &json!({}), Some("t")).await;
    for (field, value) in [
        ("description", json!("for people")),
        ("timeout", json!(40)),
        ("mcp_info", json!({"free": "key"})),
    ] {
        let change = json!({"server_id": id, field: value});
        gateway
            .client()
            .put("/v1/mcp/server", &change)
            .await
            .expect_status(202);
    }
    // And another server comes and goes.
    let other = ScriptedUpstream::start().await;
    let body = json!({"server_name": "other", "url": other.url(), "transport": "http"});
    let other_id = register(&gateway.client(), &body).await;
    tools_are(&gateway, &["files-echo", "files-slow", "other-echo"]).await;
    gateway
        .client()
        .delete(&format!("/v1/mcp/server/{other_id}"))
        .await
        .expect_status(202);
    finishes(call).await;
    assert_eq!(
        said(&client.call("files-echo", &message("two"), None).await),
        "two"
    );
    for method in ["initialize", "tools/list", "DELETE", "notifications/cancelled"] {
        assert_eq!(upstream.count(method), 0, "{method}: {}", upstream.everything());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_taken_out_or_changed_finishes_its_calls_and_then_ends() {
    for (taken_out, in_session) in [(true, true), (true, false), (false, true), (false, false)] {
        let upstream = slow_server().await;
        let gateway = Config::of(&[("files", &upstream)]).start().await;
        listed(&gateway, "files").await;
        let mut client = gateway.mcp();
        if in_session {
            client.initialize().await;
        }
        let mut call = client.call_stream("files-slow", &json!({}), Some("t")).await;
        call.expect_next(PATIENCE).await;
        let config = if taken_out {
            Config::default().general("mcp_health_timeout_ms: 9000")
        } else {
            Config::default().server("files", &upstream, "static_headers: {x-new: '1'}")
        };
        write(&gateway, &config);
        eventually("the file is taken", PATIENCE, async || {
            gateway.log().contains("was read again")
        })
        .await;
        if taken_out {
            let late = gateway.mcp().call("files-echo", &message("late"), None).await;
            assert!(late.outcome().is_err(), "{}", late.everything());
        }
        let ended = || {
            upstream
                .requests()
                .iter()
                .filter(|request| request.is("DELETE"))
                .count()
        };
        assert_eq!(ended(), 0, "its session was ended under the call");
        finishes(call).await;
        assert_eq!(upstream.count("notifications/cancelled"), 0);
        eventually("its session is ended", PATIENCE, async || ended() > 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_mistakes_changes_nothing_and_says_where() {
    let upstream = ScriptedUpstream::start().await;
    let config = Config::of(&[("files", &upstream)]);
    let gateway = config.start().await;
    listed(&gateway, "files").await;
    let admin = gateway.client();
    let ready =
        async || admin.get("/health/readiness").await.expect_status(200).json()["configuration"].clone();
    let loaded = ready().await;
    assert_eq!(loaded["valid"], true, "{loaded}");
    let secret = "sk-in-the-file-0123456789";
    let broken = format!(
        "mcp_servers:\n  files:\n    url: {}\n    authentication_token: {secret}\n    descripton: x\n  other:\n    url: nonsense\n",
        upstream.url()
    );
    std::fs::write(gateway.config_path(), &broken).unwrap();
    let refused = admin.post("/config/reload", &json!({})).await.expect_status(422);
    let detail = refused.json()["detail"].clone();
    let mistake = &detail["mistakes"][0];
    assert_eq!(
        (&mistake["line"], &mistake["column"]),
        (&json!(5), &json!(5)),
        "{detail}"
    );
    assert!(
        text(&mistake["message"]).contains("description"),
        "the nearest name: {detail}"
    );
    assert_eq!(detail["mistakes"][1]["line"], 7, "{detail}");
    assert_eq!(detail["loaded_at"], loaded["loaded_at"], "{detail}");
    assert!(!refused.everything().contains(secret));
    let now = ready().await;
    assert_eq!(
        (&now["valid"], &now["loaded_at"]),
        (&json!(false), &loaded["loaded_at"])
    );
    assert_eq!(gateway.mcp().tool_names().await, ["files-echo"]);
    // The file is looked at as well, and the log says where.
    eventually("the log says where", PATIENCE, async || {
        let log = gateway.log();
        log.contains("config.yaml:5:5: ") && log.contains("the configuration file was not taken")
    })
    .await;
    assert!(!gateway.log().contains(secret));
    let page = admin.get("/metrics").await.text();
    assert!(page.contains("trunkline_config_valid 0"), "{page}");
    std::fs::write(gateway.config_path(), "mcp_servers: [").unwrap();
    let detail = admin
        .post("/config/reload", &json!({}))
        .await
        .expect_status(422)
        .json();
    assert_ne!(detail["detail"]["mistakes"][0]["line"], 0, "{detail}");

    write(&gateway, &config);
    eventually("it is mended", PATIENCE, async || ready().await["valid"] == true).await;
    // Also where the file says again what holds: the last line of the log would be a mistake otherwise.
    eventually("the log says that it is", PATIENCE, async || {
        gateway.log().contains("has no mistakes any more")
    })
    .await;
    let same = admin
        .post("/config/reload", &json!({}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(same["changed"], false, "{same}");
    assert_eq!(
        same["servers"],
        json!({"added": [], "changed": [], "removed": []})
    );
    let nobody = gateway.anonymous().post("/config/reload", &json!({})).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_hold_at_once_or_are_said_to_need_a_restart() {
    let upstream = slow_server().await;
    let config = Config::of(&[("files", &upstream)]);
    let gateway = config.start().await;
    listed(&gateway, "files").await;
    let changed = Config::of(&[("files", &upstream)])
        .general("mcp_call_timeout_ms: 700")
        .general("mcp_list_page_size: 1")
        .general("mcp_egress_allow: [public]")
        .general("mcp_session_idle_ms: 60000")
        .general("master_key: sk-another-key-0123456789abcdefghij");
    write(&gateway, &changed);
    let admin = gateway.client();
    let answer = admin
        .post("/config/reload", &json!({}))
        .await
        .expect_status(200)
        .json();
    let applied = ["mcp_egress_allow", "mcp_call_timeout_ms", "mcp_list_page_size"];
    // The watch may have been faster; then there is nothing left to apply.
    if answer["changed"] == true {
        assert_eq!(answer["applied"], json!(applied), "{answer}");
    }
    assert_eq!(
        answer["needs_restart"],
        json!(["master_key", "mcp_session_idle_ms"]),
        "{answer}"
    );
    assert!(!answer.to_string().contains("sk-another"), "{answer}");
    let page = gateway.mcp().request("tools/list", &Value::Null).await.result();
    assert_eq!(names(&page).len(), 1, "{page}");
    // Loopback is not allowed any more, whatever connections there were.
    let error = gateway
        .mcp()
        .call("files-echo", &message("x"), None)
        .await
        .error();
    assert_eq!(error.data["outcome"]["status"], "misconfigured", "{error:?}");
    write(
        &gateway,
        &Config::of(&[("files", &upstream)]).general("mcp_call_timeout_ms: 700"),
    );
    admin.post("/config/reload", &json!({})).await.expect_status(200);
    let error = gateway.mcp().call("files-slow", &json!({}), None).await.error();
    assert_eq!(error.data["outcome"]["status"], "timeout", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_followed_however_it_is_replaced() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("start", &upstream)]).start().await;
    let (path, dir) = (gateway.config_path(), gateway.data_dir());
    let config = |name: &str| Config::of(&[(name, &upstream)]).text();
    tools_are(&gateway, &["start-echo"]).await;
    // As editors do.
    let beside = path.with_extension("new");
    std::fs::write(&beside, config("renamed")).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    tools_are(&gateway, &["renamed-echo"]).await;
    // As Kubernetes does: the file is a link into a folder that is a link, which is turned.
    let version = |name: &str| {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.yaml"), config(name)).unwrap();
    };
    version("one");
    version("two");
    let data = dir.join("..data");
    let turn = |to: &str| {
        let beside = dir.join("..data_tmp");
        std::os::unix::fs::symlink(Path::new(to), &beside).unwrap();
        std::fs::rename(&beside, &data).unwrap();
    };
    turn("one");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(data.join("config.yaml"), &path).unwrap();
    tools_are(&gateway, &["one-echo"]).await;
    turn("two");
    tools_are(&gateway, &["two-echo"]).await;
    // And when it is told.
    std::fs::write(data.join("config.yaml"), config("told")).unwrap();
    gateway.signal(Signal::Hup);
    tools_are(&gateway, &["told-echo"]).await;
    // A file that is not there for a moment takes nothing away.
    std::fs::remove_file(&path).unwrap();
    eventually("it is missed", PATIENCE, async || {
        gateway.log().contains("is not there any more")
    })
    .await;
    assert_eq!(gateway.mcp().tool_names().await, ["told-echo"]);
}
