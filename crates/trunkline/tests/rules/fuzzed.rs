//! Whatever JSON a caller writes, a pinned argument arrives as it was pinned, once, and no other of its name with it.

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use trunkline_testkit::{HttpClient, McpClient};

use crate::world::{sent, world};

/// Spellings of keys: of the pinned one, of others, and of what is none.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(r#""repo""#.to_owned()),
        3 => Just(r#""\u0072epo""#.to_owned()),
        2 => Just(r#""r\u0065p\u006F""#.to_owned()),
        2 => Just(r#""Repo""#.to_owned()),
        1 => Just(r#""REP\u004f""#.to_owned()),
        1 => Just(r#""repo\u0000""#.to_owned()),
        1 => Just(r#""repo ""#.to_owned()),
        1 => Just(r#""\ud800""#.to_owned()),
        1 => Just(r#""""#.to_owned()),
        4 => "[a-z]{1,6}".prop_map(|name| format!("\"{name}\"")),
        1 => Just("repo".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#""mine""#.to_owned()),
        Just("null".to_owned()),
        Just("1.50e2".to_owned()),
        Just(r#"{"repo":"mine","repo":"mine"}"#.to_owned()),
        Just(r#"["mine"]"#.to_owned()),
        Just(r#""\ud83d\ude00\ud800""#.to_owned()),
        Just("{}".to_owned()),
        Just("truth".to_owned()),
    ]
}

fn arguments() -> impl Strategy<Value = String> {
    let object = proptest::collection::vec((key(), value(), "[ \n\t]{0,2}"), 0..5).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value, blank)| format!("{blank}{key}{blank}:{value}{blank}"))
            .collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![
        12 => object,
        1 => Just("null".to_owned()),
        1 => Just("[]".to_owned()),
        1 => Just(r#"[{"repo":"mine"}]"#.to_owned()),
        1 => Just(r#""{\"repo\":\"mine\"}""#.to_owned()),
        1 => Just("{".to_owned()),
    ]
}

/// `"arguments": …` however it may be written, or twice, or not at all.
fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => arguments().prop_map(|own| format!(r#","arguments":{own}"#)),
        1 => arguments().prop_map(|own| format!(r#","\u0061rguments":{own}"#)),
        1 => (arguments(), arguments()).prop_map(|(a, b)| format!(r#","arguments":{a},"arguments":{b}"#)),
        1 => (arguments(), arguments()).prop_map(|(a, b)| format!(r#","arguments":{a},"argument\u0073":{b}"#)),
        1 => arguments().prop_map(|own| format!(r#","Arguments":{own}"#)),
        1 => (arguments(), arguments()).prop_map(|(a, b)| format!(r#","arguments":{a},"Argument\u0073":{b}"#)),
        1 => arguments().prop_map(|own| format!(r#","arguments":{own},"NAME":"delete""#)),
        1 => Just(String::new()),
    ]
}

async fn rest(http: &HttpClient, body: String) {
    let request = Request::post("/mcp-rest/tools/call")
        .header("content-type", "application/json")
        .body(Bytes::from(body))
        .unwrap();
    http.try_send(request).await.unwrap();
}

/// Keys and raw values, all of them, as they stand: no reader's own idea of what a key that is there twice means.
fn members(object: &str) -> Vec<(String, String)> {
    struct All(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for All {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Members;
            impl<'de> serde::de::Visitor<'de> for Members {
                type Value = All;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<All, A::Error> {
                    let mut all = Vec::new();
                    while let Some(key) = map.next_key::<Box<serde_json::value::RawValue>>()? {
                        let value: Box<serde_json::value::RawValue> = map.next_value()?;
                        // Half of a surrogate pair is no text, and no name of ours.
                        let key = serde_json::from_str(key.get()).unwrap_or_else(|_| key.get().to_owned());
                        all.push((key, value.get().to_owned()));
                    }
                    Ok(All(all))
                }
            }
            deserializer.deserialize_map(Members)
        }
    }
    serde_json::from_str::<All>(object)
        .unwrap_or_else(|error| panic!("{error}: {object}"))
        .0
}

#[tokio::test]
async fn s35_a_pinned_argument_arrives_exactly_whatever_is_sent() {
    let (gateway, upstream) = world(&["tool_arguments: {search: {repo: {value: 'a/b'}}}"]).await;
    let http = gateway.client();
    let mut session = gateway.mcp();
    session.initialize().await;
    let bare = McpClient::over(http.clone(), "/mcp");
    let mut runner = TestRunner::new(Config::default());
    let mut arrived = 0;
    for round in 0..600 {
        let member = member().new_tree(&mut runner).unwrap().current();
        let params = format!(r#"{{"name":"s-search"{member}}}"#);
        match round % 3 {
            0 => rest(&http, params).await,
            1 => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
                let _ = session.send_message(body).await;
            }
            _ => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
                let _ = bare.send_message(body).await;
            }
        }
        for arguments in sent(&upstream) {
            let own: Vec<(String, String)> = members(&arguments)
                .into_iter()
                .filter(|(name, _)| name.to_lowercase() == "repo")
                .collect();
            assert_eq!(
                own,
                [("repo".to_owned(), r#""a/b""#.to_owned())],
                "{member} became {arguments}"
            );
            arrived += 1;
        }
        upstream.clear();
    }
    assert!(arrived > 50, "{arrived} of 600 arrived: the others show nothing");
}
