//! Every credential of a model is a marker, of the file and of the database; providers repeat what they were sent, wherever an error can be
//! said; and everything that comes out is searched: S13.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, ScriptedProvider, TestGateway, Turn};

use crate::support::chat;

const CHAT: &str = "/v1/chat/completions";

/// Providers, and models with a marker in every member of `litellm_params` that holds a secret.
struct World {
    markers: Vec<Canary>,
    /// What each model sends its provider, and may be told of by it.
    sent: Vec<(&'static str, usize, Vec<String>)>,
    providers: Vec<ScriptedProvider>,
    models: Vec<Value>,
    /// Holds the account of Google's cloud.
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let mut markers = Vec::new();
        let mut marker = |name: &str| {
            let canary = Canary::new(name);
            let value = canary.value().to_owned();
            markers.push(canary);
            value
        };
        let (key, header, token) = (
            marker("api-key"),
            marker("extra-header"),
            marker("azure-ad-token"),
        );
        let (id, secret, session) = (
            marker("aws-access-key-id"),
            marker("aws-secret"),
            marker("aws-session"),
        );
        let openai = ScriptedProvider::start(&key, &["gpt-x"]).await;
        let azure = ScriptedProvider::start_azure(&token, &["gpt-x"]).await;
        let bedrock =
            ScriptedProvider::start_bedrock(&format!("{id}:{secret}"), &["amazon.nova-lite-v1:0"]).await;
        let vertex = ScriptedProvider::start_vertex(&["gemini-2.5-pro"]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("account.json");
        std::fs::write(&file, vertex.account()).unwrap();
        // What has no effect here is a secret all the same.
        let others = json!({
            "azure_password": marker("azure-password"), "azure_username": marker("azure-username"),
            "client_secret": marker("client-secret"), "extra_body": {"x": marker("extra-body")},
        });
        let models = vec![
            json!({"model": "openai/gpt-x", "api_base": openai.url(), "api_key": key, "extra_headers": {"x-own": header}}),
            json!({"model": "azure/gpt-x", "api_base": azure.root(), "azure_ad_token": token, "api_version": "2024-10-21"}),
            json!({
                "model": "bedrock/amazon.nova-lite-v1:0", "aws_bedrock_runtime_endpoint": bedrock.root(),
                "aws_access_key_id": id, "aws_secret_access_key": secret, "aws_session_token": session,
            }),
            json!({
                "model": "vertex_ai/gemini-2.5-pro", "api_base": vertex.root(), "vertex_project": "my-project",
                "vertex_location": "europe-west1", "vertex_credentials": file.to_str().unwrap(),
            }),
            others,
        ];
        let sent = vec![
            ("openai", 0, vec![key, header]),
            ("azure", 1, vec![token]),
            ("bedrock", 2, vec![id, session]),
            ("vertex", 3, Vec::new()),
        ];
        Self {
            markers,
            sent,
            providers: vec![openai, azure, bedrock, vertex],
            models,
            _folder: folder,
        }
    }

    /// Those that can be asked, as the file has them.
    fn file(&self) -> String {
        let entries = self.sent.iter().map(|(name, number, _)| {
            // JSON is YAML.
            format!(
                "  - model_name: file-{name}\n    litellm_params: {}\n",
                self.models[*number]
            )
        });
        format!(
            "model_list:\n{}general_settings:\n  store_model_in_db: true\nrouter_settings:\n  disable_cooldowns: true\n  num_retries: 0\n",
            entries.collect::<String>()
        )
    }

    fn assert_clean(&self, place: &str, text: impl AsRef<[u8]>) {
        for marker in &self.markers {
            marker.assert_absent(&[(place, text.as_ref())]);
        }
    }

    /// What providers say that repeat what they were sent, in every place that ends up in somebody's sight.
    async fn repeats(&self, client: &HttpClient, kind: &str) {
        for (name, number, sent) in &self.sent {
            let model = format!("{kind}-{name}");
            let provider = &self.providers[*number];
            // A token that was fetched is a secret, too, and is found by how it was sent.
            let mut sent = sent.clone();
            if *name == "vertex" {
                client.post(CHAT, &chat(&model)).await.expect_status(200);
                let last = provider.requests().pop().unwrap();
                let token = last.header("authorization").unwrap()["Bearer ".len()..].to_owned();
                sent.push(token);
            }
            for (secret, body) in sent
                .iter()
                .flat_map(|own| [(own, chat(&model)), (own, streamed(&model))])
            {
                for turn in echoes(secret) {
                    let shown = format!("{turn:?}");
                    provider.next(turn);
                    let before = provider.requests().len();
                    let said = client.post(CHAT, &body).await.everything();
                    self.assert_clean(&format!("{model}: an answer after {shown}"), &said);
                    assert!(!said.contains(secret.as_str()), "{model}: after {shown}: {said}");
                    assert_eq!(
                        provider.requests().len(),
                        before + 1,
                        "{model} was asked: {shown}: {said}"
                    );
                }
            }
        }
    }
}

fn streamed(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = true.into();
    body
}

/// Errors with a secret in them. The ends of what is cut, too.
fn echoes(secret: &str) -> Vec<Turn> {
    let error = json!({"error": {"message": format!("wrong: Bearer {secret}"), "type": secret, "code": secret, "param": secret}});
    let mut turns: Vec<Turn> = [400, 404, 422, 500]
        .into_iter()
        .map(|status| Turn::Answer(status, error.to_string()))
        .collect();
    turns.extend([
        Turn::Answer(
            400,
            json!({"message": format!("no {secret}"), "__type": secret}).to_string(),
        ),
        Turn::Answer(400, format!("<html>{secret}</html>")),
        Turn::Answer(400, format!("{} {secret}", "x".repeat(280))),
        Turn::AnswerWith(400, error.to_string(), ("x-echo", secret.to_owned())),
        // What is no answer of a model.
        Turn::Answer(200, format!("\"{secret}\"")),
        Turn::Answer(200, format!("{{\"{secret}\"")),
        Turn::Stream(vec![format!("data: {error}\n\n"), "data: [DONE]\n\n".to_owned()]),
    ]);
    turns
}

async fn shown(client: &HttpClient) -> String {
    let mut all = String::new();
    for path in [
        "/v1/model/info",
        "/model_group/info",
        "/v1/models",
        "/audit?page_size=100",
        "/spend/logs",
        "/spend/logs/v2?page_size=1000",
        "/metrics",
    ] {
        all += &client.get(path).await.everything();
    }
    all
}

fn files(gateway: &TestGateway) -> Vec<u8> {
    let entries = std::fs::read_dir(gateway.data_dir()).unwrap();
    let files = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files.flat_map(|path| std::fs::read(path).unwrap()).collect()
}

#[tokio::test]
async fn s13_a_provider_that_repeats_its_credential_is_not_repeated() {
    let world = World::start().await;
    let gateway = TestGateway::builder()
        .config(&world.file())
        .env("TRUNKLINE_LOG", "trace")
        .start()
        .await;
    let client = gateway.client();
    for (name, number, _) in &world.sent {
        let model = json!({
            "model_name": format!("db-{name}"), "litellm_params": world.models[*number], "model_info": {"id": format!("db-{name}")},
        });
        let made = client.post("/model/new", &model).await;
        world.assert_clean("the answer to /model/new", made.everything());
        made.expect_status(200);
    }
    // What has no effect is kept out of sight, whether or not it is taken.
    let model = json!({"model_name": "others", "litellm_params": world.models[4]});
    let mut others = model.clone();
    others["litellm_params"]["model"] = "openai/gpt-x".into();
    for body in [&model, &others] {
        let said = client.post("/model/new", body).await.everything();
        world.assert_clean("the answer to what is no model", said);
    }
    // Mistakes around the secrets.
    for (member, value) in [
        ("api_key", json!([world.models[0]["api_key"]])),
        (
            "extra_headers",
            json!({"bad name": world.models[0]["extra_headers"]["x-own"]}),
        ),
        (
            "extra_headers",
            json!({"x": format!("{}\n", world.markers[1].value())}),
        ),
        (
            "aws_secret_access_key",
            json!({"a": world.models[2]["aws_secret_access_key"]}),
        ),
        (
            "vertex_credentials",
            json!({"private_key": world.markers[0].value()}),
        ),
        ("api_keys", world.models[0]["api_key"].clone()),
    ] {
        let body = json!({"litellm_params": {member: value}, "model_info": {"id": "db-openai"}});
        let reply = client.post("/model/update", &body).await;
        world.assert_clean(&format!("the answer to a wrong {member}"), reply.everything());
    }
    for kind in ["file", "db"] {
        world.repeats(&client, kind).await;
    }
    world.assert_clean("what is shown", shown(&client).await);
    world.assert_clean("the log", gateway.log());
    world.assert_clean("stdout", gateway.stdout());
    world.assert_clean("the data directory", files(&gateway));
}

#[tokio::test]
async fn s13_the_files_models_are_checked_without_their_secrets() {
    let world = World::start().await;
    let good = world.file();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    for text in [
        good.clone(),
        good.replace("api_key", "api_kee"),
        good.replace("azure_ad_token", "azure_ad_tokn"),
        good.replace("aws_session_token", "aws_session_tokens"),
        good.replace("x-own", "x own"),
        good.replace("\"api_key\":\"", "\"api_key\":\"\\u0001"),
        good.replace("\"aws_secret_access_key\":", "\"aws_secret_access_key\":7,\"x\":"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let output = TestGateway::builder()
            .run(&["config", "check", &file.display().to_string()])
            .await;
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("panicked"));
        world.assert_clean("config check", said);
    }
}
