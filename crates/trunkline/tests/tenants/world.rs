//! A gateway with three servers, and management requests of all methods.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::http::Request;
use serde_json::{Value, json};
use trunkline_testkit::{
    GatewayBuilder, HttpClient, Reply, ScratchDatabase, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall,
};

use crate::support::{WAYS, Way, config, generate, listed, with};

pub(crate) const SERVERS: [&str; 3] = ["files", "notes", "open"];

/// `files`; `notes`, which is in the group `dev`; and `open`, which is for every key.
pub(crate) struct World {
    pub(crate) gateway: TestGateway,
    upstreams: [ScriptedUpstream; 3],
}

async fn upstream() -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let echo = |_: &ToolCall| ToolAnswer::text("done");
    ScriptedUpstream::builder()
        .tool_fn(&tool("read"), echo)
        .tool_fn(&tool("write"), echo)
        .start()
        .await
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(TestGateway::builder()).await
    }

    /// `files` is for keys of which an administrator has said `tier: high`.
    pub(crate) async fn with_rules() -> Self {
        let upstreams = [upstream().await, upstream().await, upstream().await];
        let rule = "    tool_conditions:\n      - tools: [\"*\"]\n        when: \"has(principal.metadata.tier) && principal.metadata.tier == 'high' || principal.key_alias == 'trusted'\"\n";
        let [files, notes, open] = &upstreams;
        let config = config(&[("files", files, rule), ("notes", notes, ""), ("open", open, "")]);
        let gateway = TestGateway::builder().config(&config).start().await;
        listed(&gateway, &SERVERS).await;
        Self { gateway, upstreams }
    }

    /// On PostgreSQL; `None` where there is none.
    pub(crate) async fn on_postgres() -> Option<(Self, ScratchDatabase)> {
        let database = ScratchDatabase::create()?;
        let world = Self::of(TestGateway::builder().database_url(&database.url())).await;
        Some((world, database))
    }

    async fn of(builder: GatewayBuilder) -> Self {
        let upstreams = [upstream().await, upstream().await, upstream().await];
        let gateway = builder.config(&config_of(&upstreams)).start().await;
        listed(&gateway, &SERVERS).await;
        Self { gateway, upstreams }
    }

    fn calls(&self) -> usize {
        self.upstreams.iter().map(|own| own.count("tools/call")).sum()
    }

    /// Checks that who asks sees and reaches exactly the tools of these servers, or these tools, on every way in.
    pub(crate) async fn check(&self, what: &str, http: &HttpClient, expected: &[&str]) {
        let expected = tools(expected);
        for way in WAYS {
            assert_eq!(
                way.tools(http, None).await,
                Ok(expected.clone()),
                "{what} {way:?}"
            );
            for tool in tools(&SERVERS) {
                let before = self.calls();
                let params = json!({"name": tool, "arguments": {}});
                let (status, said) = way.ask(http, None, "tools/call", &params).await;
                let reached = self.calls() - before;
                let is_done = said.to_string().contains("\"done\"");
                let is_expected = expected.contains(&tool);
                assert_eq!(
                    (reached, is_done),
                    (usize::from(is_expected), is_expected),
                    "{what} {way:?} {tool}: {status} {said}"
                );
            }
        }
    }

    /// What a key sees, on one way in.
    pub(crate) async fn sees(&self, key: &str) -> Result<BTreeSet<String>, u16> {
        Way::Bare.tools(&with(&self.gateway, key), None).await
    }

    /// A key of a team that has what the team has.
    pub(crate) async fn team_key(&self, team_id: &str) -> String {
        let body = json!({"team_id": team_id, "object_permission": of_the_team()});
        secret(&generate(&self.gateway, body).await)
    }
}

pub(crate) fn config_of(upstreams: &[ScriptedUpstream; 3]) -> String {
    let [files, notes, open] = upstreams;
    config(&[
        ("files", files, ""),
        ("notes", notes, "    access_groups: [dev]\n"),
        ("open", open, "    allow_all_keys: true\n"),
    ])
}

/// All tools of servers, and single ones.
pub(crate) fn tools(names: &[&str]) -> BTreeSet<String> {
    let of = |name: &&str| {
        if SERVERS.contains(name) {
            vec![format!("{name}-read"), format!("{name}-write")]
        } else {
            vec![(*name).to_owned()]
        }
    };
    names.iter().flat_map(of).collect()
}

/// The grant of a key that has what its team has.
pub(crate) fn of_the_team() -> Value {
    json!({"mcp_servers": ["all-team-mcpservers"]})
}

pub(crate) fn secret(made: &Value) -> String {
    made["key"].as_str().unwrap().to_owned()
}

/// A management request with any method.
pub(crate) async fn send(http: &HttpClient, method: &str, path: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    http.try_send(request).await.unwrap()
}

/// One of the administrator's, which must have this status.
pub(crate) async fn ask(gateway: &TestGateway, method: &str, path: &str, body: Value, status: u16) -> Value {
    let reply = send(&gateway.client(), method, path, &body).await;
    assert_eq!(
        reply.status.as_u16(),
        status,
        "{method} {path} {body}: {}",
        reply.text()
    );
    serde_json::from_str(&reply.text()).unwrap_or_default()
}

/// A GET of the administrator's.
pub(crate) async fn get(gateway: &TestGateway, path: &str) -> Value {
    gateway.client().get(path).await.expect_status(200).json()
}
