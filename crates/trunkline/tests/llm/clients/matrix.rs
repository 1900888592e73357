//! OpenAI's SDK and Anthropic's, for Python and for TypeScript, in each dialect with a model of each provider: whole and in pieces, with
//! tools and without, and what goes wrong as the SDK's own errors.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{eventually, tools};

use super::world::{MODELS, World};

/// Of which language the SDKs are: their errors differ in the middle of a stream.
#[derive(Clone, Copy, Debug)]
enum Sdk {
    Python,
    TypeScript,
}

/// What a user asks for ([`super::world`]).
const ASKS: [&str; 9] = [
    "say", "call", "calls", "fail 400", "fail 401", "fail 404", "fail 429", "fail 500", "break",
];
const DIALECTS: [&str; 3] = ["chat", "messages", "responses"];

/// Every dialect with every model, and what the gateway itself refuses.
fn plan(master: &str) -> Vec<Value> {
    let mut steps = Vec::new();
    for (model, _) in MODELS {
        for dialect in DIALECTS {
            let step = |ask: &str, stream: bool| json!({"dialect": dialect, "model": model, "ask": ask, "stream": stream});
            steps.extend(ASKS.iter().flat_map(|ask| [step(ask, false), step(ask, true)]));
            steps.push(step("babble", true));
        }
        steps.push(json!({"dialect": "embeddings", "model": model, "ask": "text", "stream": false}));
    }
    for dialect in DIALECTS {
        for stream in [false, true] {
            let step =
                |model: &str| json!({"dialect": dialect, "model": model, "ask": "say", "stream": stream});
            steps.push(step("hidden"));
            for (model, key) in [("openai", "sk-nobody"), ("nothing", master)] {
                let mut step = step(model);
                step["key"] = key.into();
                steps.push(step);
            }
        }
    }
    steps
}

/// What an SDK has to make of a step.
fn expected(sdk: Sdk, step: &Value) -> Value {
    let text = |name: &str| step[name].as_str().unwrap();
    let (dialect, model, ask) = (text("dialect"), text("model"), text("ask"));
    let found = MODELS.iter().find(|(name, _)| *name == model);
    if dialect == "embeddings" {
        return match model {
            "openai" | "azure" | "mistral" | "cohere" => json!({"vector": [0.25, -0.5], "model": model}),
            // As long as the text, says the mock: a number that the two languages write differently.
            "gemini" | "vertex-gemini" if matches!(sdk, Sdk::TypeScript) => {
                json!({"vector": [4, 0.5], "model": model})
            }
            "gemini" | "vertex-gemini" => json!({"vector": [4.0, 0.5], "model": model}),
            _ => json!({"error": "BadRequestError", "status": 400, "type": "invalid_request_error"}),
        };
    }
    let Some((_, tokens)) = found else {
        return refused(dialect, model);
    };
    if step["key"].is_string() {
        return refused(dialect, "nobody");
    }
    if let Some(status) = ask.strip_prefix("fail ") {
        return failed(dialect, model, status.parse().unwrap());
    }
    let [all, cached, out] = *tokens;
    let (said, called) = match dialect {
        "chat" => ("stop", "tool_calls"),
        "messages" => ("end_turn", "tool_use"),
        _ => ("completed", "completed"),
    };
    let input = if dialect == "messages" { all - cached } else { all };
    let usage = json!([input, out]);
    match ask {
        "babble" => json!({"left": true}),
        "break" => broken(sdk, dialect, step["stream"] == true),
        "say" => json!({"text": "Gr\u{fc}\u{df}e", "model": model, "end": said, "usage": usage}),
        ask => {
            let mut cities = vec!["Oslo"];
            cities.extend((ask == "calls").then_some("K\u{f8}ln"));
            let calls: Vec<Value> = cities
                .iter()
                .map(|city| json!(["weather", {"city": city}]))
                .collect();
            let rain: Vec<String> = cities.iter().map(|city| format!("rain in {city}")).collect();
            json!({
                "text": "", "model": model, "end": called, "usage": usage, "calls": calls, "then": [rain.join(", "), said],
            })
        }
    }
}

/// What the gateway does not let pass.
fn refused(dialect: &str, what: &str) -> Value {
    let (error, status, kind) = match what {
        "nobody" => ("AuthenticationError", 401, "authentication_error"),
        "hidden" => ("PermissionDeniedError", 403, "permission_error"),
        _ => ("BadRequestError", 400, "invalid_request_error"),
    };
    // To Anthropic's clients in its types; to others in LiteLLM's.
    let kind = match what {
        "nobody" if dialect != "messages" => "token_not_found_in_db",
        "hidden" if dialect != "messages" => "key_model_access_denied",
        _ => kind,
    };
    json!({"error": error, "status": status, "type": kind})
}

/// What a provider fails with.
fn failed(dialect: &str, model: &str, status: u16) -> Value {
    let error = match status {
        400 => "BadRequestError",
        401 => "AuthenticationError",
        404 => "NotFoundError",
        429 => "RateLimitError",
        _ => "InternalServerError",
    };
    // To Anthropic's clients by the status; to others what the provider says, if it says it.
    let (anthropics, usual, openais) = match status {
        400 => (
            "invalid_request_error",
            "invalid_request_error",
            "invalid_request_error",
        ),
        401 => (
            "authentication_error",
            "authentication_error",
            "authentication_error",
        ),
        404 => ("not_found_error", "not_found_error", "invalid_request_error"),
        429 => ("rate_limit_error", "throttling_error", "throttling_error"),
        _ => ("api_error", "internal_server_error", "server_error"),
    };
    let kind = match (dialect, model) {
        ("messages", _) => anthropics,
        (_, "anthropic" | "vertex-claude") if status != 429 => anthropics,
        (_, "openai" | "azure" | "mistral" | "cohere") => openais,
        _ => usual,
    };
    let mut said = json!({"error": error, "status": status, "type": kind});
    if status == 429 {
        said["retry_after"] = "7".into();
    }
    said
}

/// A connection that breaks before a whole answer, or in the middle of a stream.
fn broken(sdk: Sdk, dialect: &str, streams: bool) -> Value {
    match (dialect, streams, sdk) {
        ("messages", false, _) => json!({"error": "InternalServerError", "status": 500, "type": "api_error"}),
        (_, false, _) => {
            json!({"error": "InternalServerError", "status": 500, "type": "internal_server_error"})
        }
        ("messages", true, Sdk::Python) => {
            json!({"error": "APIStatusError", "status": 200, "type": "api_error", "text": "He"})
        }
        ("messages", true, Sdk::TypeScript) => {
            json!({"error": "APIError", "status": null, "type": "api_error", "text": "He"})
        }
        ("chat", true, _) => {
            json!({"error": "APIError", "status": null, "type": "internal_server_error", "text": "He"})
        }
        // One hands the event on, the other makes an error of it.
        (_, _, Sdk::Python) => {
            json!({"error": "event", "status": null, "type": "internal_server_error", "text": "He"})
        }
        (_, _, Sdk::TypeScript) => {
            json!({"error": "APIError", "status": null, "type": "error", "text": "He"})
        }
    }
}

/// Lets a program play the plan.
async fn play(mut program: Command, world: &World, steps: &[Value]) -> Vec<Value> {
    let plan = json!({"url": world.gateway.url(), "key": world.key, "steps": steps});
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let written = tokio::task::spawn_blocking(move || {
        std::io::Write::write_all(&mut stdin, plan.to_string().as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    });
    let output = written.await.unwrap();
    assert!(output.status.success(), "the client failed: its words are above");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

async fn check(sdk: Sdk, program: Command) {
    let world = World::start().await;
    let steps = plan(world.gateway.master_key());
    let outcomes = play(program, &world, &steps).await;
    assert_eq!(outcomes.len(), steps.len());
    let different: Vec<String> = steps
        .iter()
        .zip(&outcomes)
        .filter_map(|(step, seen)| {
            let expected = expected(sdk, step);
            (*seen != expected).then(|| format!("{step}\n  expected {expected}\n  seen     {seen}"))
        })
        .collect();
    assert!(
        different.is_empty(),
        "{} of {}:\n{}",
        different.len(),
        steps.len(),
        different.join("\n")
    );
    // Whoever leaves a stream leaves the provider's, too.
    let babbled = MODELS.len() * DIALECTS.len();
    eventually("no stream is left open", Duration::from_secs(10), async || {
        world.left() == babbled
    })
    .await;
    for word in ["panicked", "ERROR"] {
        assert!(!world.gateway.log().contains(word), "{}", world.gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_sdks_in_each_dialect_with_each_provider() {
    let Some(python) = tools::python("anthropic") else {
        return;
    };
    let mut program = Command::new(python);
    program.arg(script("python/client_models.py"));
    check(Sdk::Python, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_sdks_in_each_dialect_with_each_provider() {
    let (Some(conformance), Some(modules)) = (tools::conformance(), tools::node_modules()) else {
        return;
    };
    // They need a newer Node than the machine may have.
    let mut program = Command::new(conformance.node);
    program
        .arg(script("node/client_models.mjs"))
        .env("MODULES", modules);
    check(Sdk::TypeScript, program).await;
}
