//! Libraries that applications are written with: LiteLLM's own, which many have who had its proxy, and `LangChain`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use trunkline_testkit::tools;

use super::world::{MODELS, World};

/// One model of each way to translate.
const SOME: [&str; 4] = ["openai", "anthropic", "gemini", "bedrock"];

/// Runs a program of `tests/python`; what it reports.
async fn report(environment: &str, script: &str, world: &World) -> Option<Value> {
    let mut program = Command::new(tools::python(environment)?);
    program
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/python")
                .join(script),
        )
        .env("GATEWAY_URL", world.gateway.url())
        .env("GATEWAY_KEY", &world.key)
        // Otherwise it asks elsewhere for prices and for news.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LANGSMITH_TRACING", "false")
        // Thousands of modules are compiled once, not every time.
        .env_remove("PYTHONDONTWRITEBYTECODE");
    // Not on the runtime: the providers run on it.
    let output = tokio::task::spawn_blocking(move || program.output()).await;
    let output = output.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", world.gateway.log());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The same of each model.
fn each(of: impl Fn(&str, u64) -> Value) -> Value {
    let rows = SOME.iter().map(|name| {
        let (_, [all, _, out]) = MODELS.iter().find(|(own, _)| own == name).unwrap();
        ((*name).to_owned(), of(name, all + out))
    });
    Value::Object(rows.collect())
}

fn calls(cities: &[&str]) -> Value {
    let calls: Vec<Value> = cities
        .iter()
        .map(|city| json!(["weather", {"city": city}]))
        .collect();
    let rain: Vec<String> = cities.iter().map(|city| format!("rain in {city}")).collect();
    json!([calls, rain.join(", ")])
}

const BOTH: [&str; 2] = ["Oslo", "K\u{f8}ln"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn litellm_as_a_library_has_the_gateway_for_its_proxy() {
    let world = World::start().await;
    let Some(report) = report("litellm-sdk", "client_litellm.py", &world).await else {
        return;
    };
    let wanted = json!({
        "completion": each(|_, tokens| json!(["Gr\u{fc}\u{df}e", "stop", tokens])),
        "stream": each(|_, tokens| json!(["Gr\u{fc}\u{df}e", tokens])),
        "call": each(|_, _| calls(&["Oslo"])),
        "calls": each(|_, _| calls(&BOTH)),
        "at_once": ["Gr\u{fc}\u{df}e", "Gr\u{fc}\u{df}e", "Gr\u{fc}\u{df}e", "Gr\u{fc}\u{df}e"],
        "embedding": [0.25, -0.5],
        "responses": "Gr\u{fc}\u{df}e",
        "failures": {
            "bad": ["BadRequestError", 400],
            "busy": ["RateLimitError", 429],
            "down": ["InternalServerError", 500],
            "refused": ["AuthenticationError", 401],
            "no_key": ["AuthenticationError", 401],
            // It has no name for it.
            "hidden": ["APIError", 403],
            "nothing": ["APIError", 403],
        },
    });
    assert_eq!(report, wanted, "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn langchain_has_its_models_and_its_tools_from_the_gateway() {
    let world = World::start().await;
    let Some(report) = report("langchain", "client_langchain.py", &world).await else {
        return;
    };
    let said = format!("I asked: the word is {}", world.secret.value());
    let of = || {
        each(|model, tokens| {
            json!({
                "invoke": ["Gr\u{fc}\u{df}e", model, tokens],
                "stream": ["Gr\u{fc}\u{df}e", tokens],
                "call": calls(&["Oslo"]),
                "calls": calls(&BOTH),
                "form": ["Oslo", "Oslo"],
                "agent": [["vault-secret"], said],
            })
        })
    };
    let wanted = json!({
        "chats": of(),
        "responses": of(),
        "failures": [
            ["OpenAIRateLimitError", 429], ["OpenAIInvalidRequestError", 400], ["OpenAIPermissionDeniedError", 403],
        ],
        "vector": [0.25, -0.5],
    });
    assert_eq!(report, wanted, "{}", world.gateway.log());
    // Two ways to ask, four models: ten requests to each, of which an agent makes two, and its call of a tool.
    let rows = world.records(2 * 4 * 11).await;
    let of = |kind: &str| rows.iter().filter(|[own, ..]| own == kind).count();
    assert_eq!(of("call_mcp_tool"), 8, "{rows:?}");
}
