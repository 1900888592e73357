//! Where a client is: servers that are not available on the public internet are for the internal networks alone, on every way in,
//! and nothing that a client can write brings it inside.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall};

use crate::support::{PATIENCE, WAYS, Way, config, key, listed, set, with};

/// A gateway behind a load balancer that is this machine, with a server for everybody and one for the internal networks.
async fn behind(settings: &str) -> (TestGateway, [ScriptedUpstream; 2]) {
    let upstreams = [ScriptedUpstream::start().await, ScriptedUpstream::start().await];
    let servers = [
        ("open", &upstreams[0], "    allow_all_keys: true\n"),
        (
            "inner",
            &upstreams[1],
            "    allow_all_keys: true\n    available_on_public_internet: false\n",
        ),
    ];
    let text = format!("general_settings:\n{settings}{}", config(&servers));
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["open", "inner"]).await;
    (gateway, upstreams)
}

const BALANCED: &str = "  mcp_internal_ip_ranges: [10.0.0.0/8]\n  use_x_forwarded_for: true\n  mcp_trusted_proxy_ranges: [127.0.0.0/8]\n";

/// Checks that a client sees and reaches the inner server, or that it is for it as one that nobody has.
async fn check(what: &str, http: &HttpClient, inner: &ScriptedUpstream, is_inside: bool) {
    let expected = if is_inside {
        set(&["inner-echo", "open-echo"])
    } else {
        set(&["open-echo"])
    };
    for way in WAYS {
        assert_eq!(
            way.tools(http, None).await,
            Ok(expected.clone()),
            "{what} {way:?}"
        );
        let before = inner.requests().len();
        let params = json!({"name": "inner-echo", "arguments": {"text": "inside"}});
        let (status, answer) = way.ask(http, None, "tools/call", &params).await;
        let is_done = answer.to_string().contains("inside") && status == 200;
        assert_eq!(is_done, is_inside, "{what} {way:?}: {status} {answer}");
        if is_inside {
            continue;
        }
        assert_eq!(
            inner.requests().len(),
            before,
            "{what} {way:?}: nothing goes there"
        );
        // Its path, its prompts and its resources are those of a server that nobody has.
        for method in [
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
        ] {
            if matches!(way, Way::Rest | Way::AllTools) && method != "tools/list" {
                continue;
            }
            let (status, hidden) = way.ask(http, Some("inner"), method, &json!({})).await;
            let (like, nobody) = way.ask(http, Some("nobodys"), method, &json!({})).await;
            let hidden = hidden.to_string().replace("inner", "nobodys");
            assert_eq!(
                (status, hidden),
                (like, nobody.to_string()),
                "{what} {way:?} {method}"
            );
        }
        assert_eq!(
            inner.requests().len(),
            before,
            "{what} {way:?}: nothing goes there"
        );
    }
}

#[tokio::test]
async fn b49_a_server_for_the_internal_networks_is_hidden_from_others() {
    let (gateway, [_, inner]) = behind(BALANCED).await;
    let mine = key(&gateway, json!({})).await;
    let keys = [with(&gateway, &mine), gateway.client()];
    for (who, http) in ["a key", "the master key"].iter().zip(keys) {
        let from = |addresses: &str| http.clone().with_header("x-forwarded-for", addresses);
        check(&format!("{who} inside"), &from("10.1.2.3"), &inner, true).await;
        check(&format!("{who} outside"), &from("192.0.2.1"), &inner, false).await;
        // The balancer appends what it saw to what the client wrote.
        check(
            &format!("{who} spoofing"),
            &from("10.0.0.1, 192.0.2.1"),
            &inner,
            false,
        )
        .await;
        // This machine is not in the ranges.
        check(&format!("{who} at the balancer"), &http, &inner, false).await;
    }
}

#[tokio::test]
async fn s33_a_header_brings_nobody_inside() {
    // No proxy is known: this machine is inside, and who says that it was forwarded is not.
    let (gateway, [_, inner]) = behind("  mcp_internal_ip_ranges: [127.0.0.0/8]\n").await;
    let http = with(&gateway, &key(&gateway, json!({})).await);
    check("direct", &http, &inner, true).await;
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        check(name, &http.clone().with_header(name, value), &inner, false).await;
    }
    // A proxy that is not this machine is trusted.
    let settings = BALANCED.replace("[127.0.0.0/8]", "[192.0.2.0/24]");
    let (gateway, [_, inner]) = behind(&settings).await;
    let http = with(&gateway, &key(&gateway, json!({})).await);
    let spoofing = http.with_header("x-forwarded-for", "10.0.0.1");
    check("an untrusted peer", &spoofing, &inner, false).await;
}

/// What a balancer may have seen of who is not inside, however it is written.
const OUTSIDE: [&str; 25] = [
    "192.0.2.1",
    "192.0.2.1:443",
    "2001:db8::1",
    "[2001:db8::1]",
    "[2001:db8::1]:443",
    "::ffff:192.0.2.1",
    "unknown",
    "_hidden",
    "",
    "\"10.0.0.1\"",
    "10.0.0.1;192.0.2.1",
    "10.0.0.1 192.0.2.1",
    "10.0.0.1%eth0",
    "10.0.0.1/8",
    "010.0.0.1",
    "10.1",
    "0x0a000001",
    "167772161",
    "for=10.0.0.1",
    "10.0.0.1.",
    "10.0.0.256",
    "::10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "localhost",
];

/// Headers in which somebody, somewhere, says who the client is.
const OTHER_HEADERS: [&str; 17] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "fly-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-remote-addr",
    "remote-addr",
    "via",
    "x_forwarded_for",
];

/// Every form in which an address was ever smuggled in, behind a balancer that appends what it saw, or beside it.
#[tokio::test]
async fn s33_no_form_of_an_address_and_no_other_header_brings_anybody_inside() {
    let (gateway, [_, inner]) = behind(BALANCED).await;
    let mine = key(&gateway, json!({})).await;
    let listing = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "inner-echo", "arguments": {}}});
    let sees = async |headers: &[(&str, &str)]| {
        let mut said = String::new();
        for message in [&listing, &call] {
            let mut request = Request::post("/mcp")
                .header("authorization", format!("Bearer {mine}"))
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::from(message.to_string())).unwrap();
            said += &gateway.anonymous().try_send(request).await.unwrap().text();
        }
        assert!(said.contains("open-echo"), "{headers:?}: {said}");
        said.contains("inner-echo\"") && !said.contains("Unknown tool")
    };
    let xff = "x-forwarded-for";
    // That it can be otherwise; with a port, in both families, and over several lines, too.
    for inside in [
        &[(xff, "10.1.2.3")][..],
        &[(xff, "192.0.2.1, 10.1.2.3")],
        &[(xff, "192.0.2.1"), (xff, "10.1.2.3")],
        &[(xff, "::ffff:10.1.2.3")],
    ] {
        assert!(sees(inside).await, "{inside:?}");
    }
    let before = inner.requests().len();
    // What the balancer saw is on the right; left of it is what the client wrote.
    for seen in OUTSIDE {
        for headers in [
            vec![(xff, seen.to_owned())],
            vec![(xff, format!("10.0.0.1, {seen}"))],
            vec![(xff, format!("10.0.0.1,10.0.0.2,{seen}"))],
            vec![(xff, "10.0.0.1".to_owned()), (xff, seen.to_owned())],
            vec![
                ("X-Forwarded-For", "10.0.0.1".to_owned()),
                (xff, format!("10.0.0.1, {seen}")),
            ],
        ] {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            assert!(!sees(&headers).await, "{headers:?}");
        }
    }
    for name in OTHER_HEADERS {
        for value in [
            "10.0.0.1",
            "for=10.0.0.1",
            "for=10.0.0.1;host=127.0.0.1;proto=https",
        ] {
            for headers in [
                &[(xff, "192.0.2.1"), (name, value)][..],
                &[(name, value), (xff, "192.0.2.1")],
                &[(name, value)],
            ] {
                assert!(!sees(headers).await, "{headers:?}");
            }
        }
    }
    assert_eq!(inner.requests().len(), before, "nothing goes there");
}

#[tokio::test]
async fn b49_the_count_of_hops_says_who_is_the_client() {
    let settings = format!("{BALANCED}  mcp_xff_num_trusted_hops: 2\n");
    let (gateway, [_, inner]) = behind(&settings).await;
    let http = with(&gateway, &key(&gateway, json!({})).await);
    let from = |addresses: &str| http.clone().with_header("x-forwarded-for", addresses);
    check("two hops inside", &from("10.1.1.1, 203.0.113.9"), &inner, true).await;
    check(
        "two hops outside",
        &from("10.1.1.1, 192.0.2.1, 203.0.113.9"),
        &inner,
        false,
    )
    .await;
    check("too few hops", &from("10.1.1.1"), &inner, false).await;
}

/// Whoever trusts no proxy and reads the header is told at the start; nobody is shut out of what is for all.
#[tokio::test]
async fn b49_proxies_that_nobody_named_are_said_at_the_start() {
    let (gateway, [_, inner]) = behind("  use_x_forwarded_for: true\n").await;
    assert!(
        gateway.log().contains("mcp_trusted_proxy_ranges"),
        "{}",
        gateway.log()
    );
    let http = with(&gateway, &key(&gateway, json!({})).await);
    check("direct", &http, &inner, true).await;
    let forwarded = http.with_header("x-forwarded-for", "10.0.0.1");
    check("forwarded", &forwarded, &inner, false).await;
}

/// An event stream keeps the network that it was opened from.
#[tokio::test]
async fn b49_a_change_is_told_only_to_those_who_see_the_server() {
    let (gateway, _upstreams) = behind(BALANCED).await;
    let mine = key(&gateway, json!({})).await;
    let client = |address: &str| {
        let http = with(&gateway, &mine).with_header("x-forwarded-for", address);
        trunkline_testkit::McpClient::over(http, "/mcp")
    };
    let (mut inside, mut outside) = (client("10.1.1.1"), client("192.0.2.1"));
    inside.initialize().await;
    outside.initialize().await;
    let (mut heard, mut silent) = (inside.get_stream().await, outside.get_stream().await);
    let servers = json!({"alias": "more", "url": "http://127.0.0.1:9/mcp", "transport": "http", "allow_all_keys": true,
        "available_on_public_internet": false});
    // Another row than the file's, so that it can be changed.
    let _: Value = gateway
        .client()
        .post("/v1/mcp/server", &servers)
        .await
        .expect_status(201)
        .json();
    let upstream = ScriptedUpstream::start().await;
    let found = gateway
        .client()
        .get("/v1/mcp/server")
        .await
        .expect_status(200)
        .json();
    let id = found
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["alias"] == "more")
        .unwrap()["server_id"]
        .clone();
    let update = json!({"server_id": id, "url": upstream.url()});
    gateway
        .client()
        .put("/v1/mcp/server", &update)
        .await
        .expect_status(202);
    let told = heard.expect_next(crate::support::PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    let quiet = tokio::time::timeout(std::time::Duration::from_secs(2), silent.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(
        inside.tool_names().await,
        ["inner-echo", "more-echo", "open-echo"]
    );
    assert_eq!(outside.tool_names().await, ["open-echo"]);
}

/// With `allowed_ips`, who comes from elsewhere reaches nothing with the best of keys, on any route.
#[tokio::test]
async fn b49_s33_who_is_not_allowed_by_address_gets_in_nowhere() {
    let (gateway, upstreams) = behind(&BALANCED.replace("mcp_trusted", "trusted")).await;
    let mine = with(&gateway, &key(&gateway, json!({})).await);
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let listed = "general_settings:\n  allowed_ips: [192.0.2.1, 10.0.0.0/8]\n";
    std::fs::write(gateway.config_path(), text.replace("general_settings:\n", listed)).unwrap();
    let boss = gateway.client().with_header("x-forwarded-for", "10.1.1.1");
    boss.post("/config/reload", &json!({})).await.expect_status(200);
    let before: Vec<usize> = upstreams.iter().map(|own| own.requests().len()).collect();
    for http in [gateway.client(), mine.clone(), gateway.anonymous()] {
        for (name, from) in [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "192.0.2.1, 198.51.100.1"),
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-for", ""),
            ("x-forwarded-proto", "https"),
        ] {
            let http = http.clone().with_header(name, from);
            for way in WAYS {
                let params = json!({"name": "open-echo", "arguments": {"text": "inside"}});
                assert_eq!(
                    way.ask(&http, None, "tools/call", &params).await.0,
                    403,
                    "{from} {way:?}"
                );
            }
            for path in [
                "/key/info",
                "/v1/mcp/server",
                "/v1/models",
                "/metrics",
                "/nowhere",
                "/mcp",
            ] {
                let reply = http.get(path).await.expect_status(403);
                assert!(reply.text().contains("allowed_ips"), "{path}: {}", reply.text());
            }
            for path in ["/health/liveliness", "/health/readiness"] {
                http.get(path).await.expect_status(200);
            }
        }
    }
    let after: Vec<usize> = upstreams.iter().map(|own| own.requests().len()).collect();
    assert_eq!(before, after, "nothing goes anywhere");
    let from = |addresses: &str| mine.clone().with_header("x-forwarded-for", addresses);
    check("allowed and inside", &from("10.1.2.3"), &upstreams[1], true).await;
    check("allowed and outside", &from("192.0.2.1"), &upstreams[1], false).await;
}

/// An answer that broke off is read on by whoever may make the call still, and from where it may be made.
#[tokio::test]
async fn b49_an_answer_is_read_on_only_by_who_may_make_the_call_and_from_there() {
    let tool = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let slow = |call: &ToolCall| ToolAnswer::progress(call, 30, Duration::from_millis(200));
    let inner = ScriptedUpstream::builder().tool_fn(&tool, slow).start().await;
    let servers = [("inner", &inner, "    available_on_public_internet: false\n")];
    let gateway = TestGateway::start(&format!("general_settings:\n{BALANCED}{}", config(&servers))).await;
    listed(&gateway, &["inner"]).await;
    let made =
        crate::support::generate(&gateway, json!({"object_permission": {"mcp_servers": ["inner"]}})).await;
    let token = made["token"].as_str().unwrap();
    let from = |address: &str| {
        let http = with(&gateway, made["key"].as_str().unwrap());
        http.with_header("x-forwarded-for", address)
    };
    let mut client = McpClient::over(from("10.1.1.1"), "/mcp").with_protocol("2025-11-25");
    client.initialize().await;
    let mut stream = client.call_stream("inner-slow", &json!({}), Some("t")).await;
    stream.expect_next(PATIENCE).await;
    let id = stream.last_event_id().unwrap().to_owned();
    drop(stream);
    let session = client.session().unwrap().to_owned();
    let again = async |address: &str| {
        let request = Request::get("/mcp")
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", "2025-11-25")
            .header("last-event-id", &id);
        let request = request.body(Bytes::new()).unwrap();
        from(address).open(request).await.unwrap().status.as_u16()
    };
    assert_eq!(
        again("192.0.2.1").await,
        400,
        "from outside there is no such server"
    );
    assert_eq!(again("10.0.0.1, 192.0.2.1").await, 400);
    assert_eq!(again("10.1.1.1").await, 200);
    let grant = |servers: Value| json!({"key": token, "object_permission": {"mcp_servers": servers}});
    crate::support::post(&gateway, "/key/update", grant(json!([]))).await;
    assert_eq!(again("10.1.1.1").await, 400, "the grant is gone");
    crate::support::post(&gateway, "/key/update", grant(json!(["inner"]))).await;
    assert_eq!(again("10.1.1.1").await, 200);
}
