//! A gateway with a model of each provider, which all follow one script.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Canary, Heard, Move, ScriptedProvider, ScriptedUpstream, TestGateway, ToolAnswer, eventually,
};

use crate::support::entry;

const BEDROCK: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const VERTEX: &str = "claude-sonnet-4-5@20250929";

/// Models of the list, and the tokens that their providers say: in all, of them from a cache, of the answer.
pub(crate) const MODELS: [(&str, [u64; 3]); 9] = [
    ("openai", [5, 0, 3]),
    ("anthropic", [17, 12, 3]),
    ("gemini", [15, 10, 3]),
    ("bedrock", [5, 0, 3]),
    ("vertex-gemini", [15, 10, 3]),
    ("vertex-claude", [17, 12, 3]),
    ("azure", [5, 0, 3]),
    ("mistral", [5, 0, 3]),
    ("cohere", [5, 0, 3]),
];

/// What only a tool knows how to answer.
pub(crate) const TASK: &str = "What is the secret word?";

pub(crate) struct World {
    pub(crate) providers: Vec<ScriptedProvider>,
    pub(crate) gateway: TestGateway,
    /// What the tool `secret` of the server `vault` says.
    pub(crate) secret: Canary,
    /// Dropping it closes it.
    _vault: ScriptedUpstream,
    /// Of somebody who may use all models, and the server.
    pub(crate) key: String,
}

/// What every model does: what the user asks for.
fn script(heard: &Heard) -> Move {
    let weather = |city: &str| ("weather".to_owned(), json!({"city": city}));
    if heard.asked.contains(TASK) {
        return task(heard);
    }
    match heard.asked.as_str() {
        "form" if heard.tools.is_empty() => Move::Say("{\"city\":\"Oslo\"}".to_owned()),
        "form" => Move::Call(vec![(heard.tools[0].clone(), json!({"city": "Oslo"}))]),
        "call" | "calls" if heard.answered => Move::Say(heard.results.join(", ")),
        "call" => Move::Call(vec![weather("Oslo")]),
        "calls" => Move::Call(vec![weather("Oslo"), weather("K\u{f8}ln")]),
        "break" => Move::Break,
        "babble" => Move::Babble,
        asked => match asked.strip_prefix("fail ").map(str::parse) {
            Some(Ok(status)) => Move::Fail(status),
            _ => Move::Say("Gr\u{fc}\u{df}e".to_owned()),
        },
    }
}

/// A task that needs a tool: the model finds it if it has to, calls it, and says what it heard.
fn task(heard: &Heard) -> Move {
    let word = heard.results.iter().find(|own| own.contains("the word is"));
    if let Some(word) = word {
        return Move::Say(format!("I asked: {word}"));
    }
    let is_it = |name: &&String| name.ends_with("vault-secret") || name.ends_with("vault_secret");
    if let Some(name) = heard.tools.iter().find(is_it) {
        return Move::Call(vec![(name.clone(), json!({"of": "the house"}))]);
    }
    // Claude Code tells its model of the tools of servers when they were asked for.
    if heard.tools.iter().any(|name| name == "ToolSearch") {
        let query = json!({"query": "select:mcp__gateway__vault-secret"});
        return Move::Call(vec![("ToolSearch".to_owned(), query)]);
    }
    Move::Say("I do not know.".to_owned())
}

async fn vault(secret: &Canary) -> ScriptedUpstream {
    let word = secret.value().to_owned();
    let tool = json!({
        "name": "secret", "description": "Says the secret word.", "annotations": {"readOnlyHint": true},
        "inputSchema": {"type": "object", "properties": {"of": {"type": "string"}}, "required": ["of"]},
    });
    let vault = ScriptedUpstream::builder();
    let vault = vault.tool_fn(&tool, move |_| ToolAnswer::text(&format!("the word is {word}")));
    vault.start().await
}

impl World {
    pub(crate) async fn start() -> Self {
        let key = Canary::key("provider");
        let key = key.value();
        let openai = ScriptedProvider::start(key, &["gpt-x"]).await;
        let anthropic = ScriptedProvider::start_anthropic(key, &["claude-x"]).await;
        let gemini = ScriptedProvider::start_gemini(key, &["gemini-x"]).await;
        let bedrock = ScriptedProvider::start_bedrock(&format!("AKIDTEST:{key}"), &[BEDROCK]).await;
        let vertex = ScriptedProvider::start_vertex(&["gemini-2.5-pro", VERTEX]).await;
        let azure = ScriptedProvider::start_azure(key, &["my-dep"]).await;
        let mistral = ScriptedProvider::start_mistral(key, &["mistral-x"]).await;
        let cohere = ScriptedProvider::start_cohere(key, &["command-x"]).await;
        let account = serde_json::to_string(&vertex.account()).unwrap();
        let on_vertex = |name: &str, model: &str| {
            format!(
                "  - model_name: {name}\n    litellm_params:\n      model: vertex_ai/{model}\n      api_base: {}\n      vertex_location: europe-west1\n      vertex_credentials: {account}\n",
                vertex.root()
            )
        };
        let list = [
            entry("openai", "openai/gpt-x", &openai.url(), key, ""),
            entry("anthropic", "anthropic/claude-x", &anthropic.url(), key, ""),
            entry("gemini", "gemini/gemini-x", &gemini.url(), key, ""),
            format!(
                "  - model_name: bedrock\n    litellm_params:\n      model: bedrock/{BEDROCK}\n      aws_bedrock_runtime_endpoint: {}\n      aws_access_key_id: AKIDTEST\n      aws_secret_access_key: {key}\n      aws_region_name: eu-north-1\n",
                bedrock.root()
            ),
            on_vertex("vertex-gemini", "gemini-2.5-pro"),
            on_vertex("vertex-claude", VERTEX),
            entry(
                "azure",
                "azure/my-dep",
                &azure.root(),
                key,
                "      api_version: 2024-10-21\n",
            ),
            entry("mistral", "mistral/mistral-x", &mistral.url(), key, ""),
            entry("cohere", "cohere/command-x", &cohere.root(), key, ""),
            entry("hidden", "openai/gpt-x", &openai.url(), key, ""),
            entry(
                "dropping",
                "anthropic/claude-x",
                &anthropic.url(),
                key,
                "      drop_params: true\n",
            ),
        ];
        let secret = Canary::new("word");
        let vault = vault(&secret).await;
        // What fails on purpose is asked again and again.
        let gateway = TestGateway::start(&format!(
            "model_list:\n{}router_settings:\n  disable_cooldowns: true\nmcp_servers:\n  vault:\n    url: {}\n",
            list.concat(),
            vault.url()
        ))
        .await;
        let providers = vec![openai, anthropic, gemini, bedrock, vertex, azure, mistral, cohere];
        for provider in &providers {
            provider.plays(script);
        }
        let mut models: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
        models.push("dropping");
        let made = gateway
            .client()
            .post(
                "/key/generate",
                &json!({"models": models, "object_permission": {"mcp_servers": ["vault"]}}),
            )
            .await;
        let made = made.expect_status(200).json();
        let key = made["key"].as_str().unwrap().to_owned();
        Self {
            providers,
            gateway,
            secret,
            _vault: vault,
            key,
        }
    }

    /// The records of what was asked of models and tools, when there are as many: what each was, the model, how it ended.
    pub(crate) async fn records(&self, how_many: usize) -> Vec<[String; 3]> {
        let admin = self.gateway.client();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<[String; 3]> = Vec::new();
        eventually("all is written down", Duration::from_secs(10), async || {
            let logs = admin.get("/spend/logs").await.expect_status(200).json();
            let logs = logs.as_array().cloned().unwrap_or_default().into_iter();
            let asked = logs.filter(|row| row["call_type"] != "list_mcp_tools");
            rows = asked
                .map(|row| ["call_type", "model_group", "status"].map(|name| text(&row[name])))
                .collect();
            rows.len() >= how_many
        })
        .await;
        rows.sort();
        rows
    }

    /// How many went away from a model that babbled.
    pub(crate) fn left(&self) -> usize {
        self.providers.iter().map(ScriptedProvider::left).sum()
    }
}
