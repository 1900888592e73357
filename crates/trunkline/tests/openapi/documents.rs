//! Public documents of realistic size: every tool is called with arguments made from its schema, and every request is looked
//! at by a program that reads the document in its own way.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};
use trunkline_testkit::{Said, TestGateway, eventually, tools};

use crate::support::{Api, row};

/// A document: its file, the path of its API, how many operations it has, and how many of those no request can be made of.
struct Public {
    file: &'static str,
    base: &'static str,
    operations: usize,
    left_out: usize,
}

const KUBERNETES: Public = Public {
    file: "kubernetes-2.0.json.gz",
    base: "",
    operations: 1014,
    left_out: 0,
};
const GITHUB: Public = Public {
    file: "github-3.0.json.gz",
    base: "",
    operations: 419,
    left_out: 0,
};
const OPENAI: Public = Public {
    file: "openai-3.1.yaml.gz",
    base: "/v1",
    operations: 271,
    left_out: 0,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi")
}

/// The document without its compression, in `folder`.
fn unpacked(public: &Public, folder: &Path) -> PathBuf {
    let packed = self::folder().join("documents").join(public.file);
    let output = Command::new("gzip").arg("-dc").arg(packed).output().unwrap();
    assert!(output.status.success());
    let path = folder.join(public.file.trim_end_matches(".gz"));
    std::fs::write(&path, output.stdout).unwrap();
    path
}

/// Runs the program that reads documents in its own way.
fn python(python: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(python)
        .arg(folder().join("requests.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Base64, for the other program.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut number = 0_u32;
        for index in 0..3 {
            number = number << 8 | u32::from(chunk.get(index).copied().unwrap_or_default());
        }
        for index in 0..4 {
            let digit = number >> (18 - 6 * index) & 63;
            let shown = index <= chunk.len();
            out.push(if shown {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    out
}

async fn every_operation(public: Public) {
    let Some(interpreter) = tools::python("sdk2") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let document = unpacked(&public, folder.path());
    let api = Api::start(|_| Said::json(200, r#"{"ok":true}"#)).await;
    let text = format!(
        "mcp_servers:\n  api:\n    spec_path: {}\n    url: {}{}\n",
        document.display(),
        api.origin(),
        public.base
    );
    let gateway = TestGateway::start(&text).await;
    // A debug build on a busy machine takes its time for megabytes.
    eventually("the document is read", Duration::from_mins(2), async || {
        row(&gateway.client(), "api").await["outcome"]["status"] == "ok"
    })
    .await;
    let outcome = row(&gateway.client(), "api").await["outcome"].clone();
    assert_eq!(
        outcome["rejected_count"].as_u64().unwrap_or_default(),
        public.left_out as u64,
        "{outcome}"
    );
    let mut client = gateway.mcp().with_limit(Duration::from_mins(1));
    client.initialize().await;
    let listed = client.list_tools().await;
    assert_eq!(listed.len() + public.left_out, public.operations);

    let definitions = Value::from(listed).to_string();
    let path = document.to_str().unwrap();
    let made: Map<String, Value> =
        serde_json::from_str(&python(&interpreter, &["arguments", path], &definitions)).unwrap();
    let without: Vec<&String> = made
        .iter()
        .filter(|(_, made)| made.as_array().unwrap().is_empty())
        .map(|(name, _)| name)
        .collect();
    assert!(
        without.len() * 50 <= made.len(),
        "no arguments could be made for {without:?}"
    );
    let lines = Mutex::new(String::new());
    for (tool, made) in &made {
        for arguments in made.as_array().unwrap() {
            api.clear();
            let result = client.call(tool, arguments, None).await.result();
            assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
            let seen = api.seen().remove(0);
            let line = json!({"tool": tool, "method": seen.method, "target": seen.target, "headers": seen.headers, "body": base64(&seen.body)});
            let mut lines = lines.lock().unwrap();
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    let lines = lines.into_inner().unwrap();
    let wrong = python(&interpreter, &["check", path, public.base], &lines);
    assert!(
        wrong.is_empty(),
        "{} of {} requests are wrong:\n{wrong}",
        wrong.lines().count(),
        lines.lines().count()
    );
}

#[tokio::test]
async fn b63_every_operation_of_kubernetes_is_called_as_swagger_2_says() {
    every_operation(KUBERNETES).await;
}

#[tokio::test]
async fn b63_every_operation_of_github_is_called_as_openapi_3_0_says() {
    every_operation(GITHUB).await;
}

#[tokio::test]
async fn b63_every_operation_of_openai_is_called_as_openapi_3_1_says() {
    every_operation(OPENAI).await;
}
