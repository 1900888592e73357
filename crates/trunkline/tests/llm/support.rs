//! A gateway with models of one provider, and requests to them.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, Reply, ScriptedProvider, TestGateway};

/// A provider, the key that it wants, and a gateway with its model `gpt-x` under the name `mine`.
pub(crate) struct World {
    pub(crate) provider: ScriptedProvider,
    pub(crate) key: Canary,
    pub(crate) gateway: TestGateway,
}

/// One entry of `model_list`.
pub(crate) fn entry(name: &str, model: &str, url: &str, key: &str, more: &str) -> String {
    format!(
        "  - model_name: {name}\n    litellm_params:\n      model: {model}\n      api_base: {url}\n      api_key: {key}\n{more}"
    )
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more lines below the list.
    pub(crate) async fn with(more: &str) -> Self {
        let key = Canary::key("provider");
        let provider = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
        let own = entry("mine", "openai/gpt-x", &provider.url(), key.value(), "");
        let other = entry("other", "hosted_vllm/gpt-x", &provider.url(), key.value(), "");
        let gateway = TestGateway::start(&format!("model_list:\n{own}{other}{more}")).await;
        Self {
            provider,
            key,
            gateway,
        }
    }

    /// A key that the administrator makes.
    pub(crate) async fn key(&self, body: Value) -> HttpClient {
        let made = self
            .gateway
            .client()
            .post("/key/generate", &body)
            .await
            .expect_status(200)
            .json();
        let key = made["key"].as_str().unwrap().to_owned();
        self.gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {key}"))
    }
}

/// A chat with a model.
pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

/// Any body, byte for byte.
pub(crate) async fn raw(client: &HttpClient, path: &str, body: &str) -> Reply {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_owned()))
        .unwrap();
    client.try_send(request).await.unwrap()
}
