//! Servers that people have, from the registries of Python and npm, at the versions of `scripts/python/servers.in` and
//! `scripts/node/package.json`: what their README says to write into a client's file, in the sandbox.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_testkit::tools;

use crate::official::{Real, check, text};

/// A program of `scripts/python/servers.in`.
fn of_pypi(name: &str, args: Vec<String>, steps: Value) -> Option<Real> {
    let python = tools::python("servers")?;
    Some(Real::new(python.with_file_name(name), args, steps))
}

/// A program of `scripts/node/package.json`, as `npx` runs it: the link in `.bin`.
fn of_npm(name: &str, args: Vec<String>, steps: Value) -> Option<Real> {
    let modules = tools::node_modules()?;
    Some(Real::new(modules.join(".bin").join(name), args, steps))
}

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = text(&folder.path().canonicalize().unwrap());
    (folder, path)
}

/// A repository with two commits, a branch, and a change that is not committed. The same bytes every time.
fn repository(folder: &Path) {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
            .args(args)
            .current_dir(folder)
            .env("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
            .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    for (number, line) in ["one\n", "two\n"].into_iter().enumerate() {
        std::fs::write(folder.join("notes.txt"), line).unwrap();
        git(&["add", "notes.txt"]);
        git(&["commit", "-q", "-m", &format!("Note {number}")]);
    }
    git(&["branch", "side", "HEAD~1"]);
    std::fs::write(folder.join("notes.txt"), "three\n").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_mcp_server_git_is_what_it_is_directly() {
    let (guard, path) = folder();
    repository(guard.path());
    let steps = json!([
        ["tools"],
        ["call", "git_status", {"repo_path": path}],
        ["call", "git_log", {"repo_path": path, "max_count": 5}],
        ["call", "git_diff_unstaged", {"repo_path": path}],
        ["call", "git_diff", {"repo_path": path, "target": "side"}],
        ["call", "git_show", {"repo_path": path, "revision": "HEAD~1"}],
        ["call", "git_branch", {"repo_path": path, "branch_type": "local"}],
        ["call", "git_add", {"repo_path": path, "files": ["notes.txt"]}],
        ["call", "git_diff_staged", {"repo_path": path}],
        ["call", "git_reset", {"repo_path": path}],
        ["call", "git_show", {"repo_path": path, "revision": "no-such-revision"}],
        ["call", "git_checkout", {"repo_path": path, "branch_name": "no-such-branch"}],
        ["call", "git_status", {"repo_path": "/no/such/repository"}],
        ["call", "git_status", {}],
    ]);
    let args = vec!["--repository".to_owned(), path.clone()];
    let real = of_pypi("mcp-server-git", args, steps);
    check(real.map(|mut real| {
        real.sandbox["write"] = json!([path]);
        real
    }))
    .await;
}

/// A page, over plain HTTP, on a port of this machine.
fn site() -> u16 {
    const PAGE: &str = "<html><head><title>Rivers</title></head><body><article><h1>Rivers</h1>\
        <p>The <b>Elbe</b> flows into the <a href=\"/sea\">North Sea</a>.</p><p>It is long.</p></article></body></html>";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or_default();
            let path = String::from_utf8_lossy(&head[..length]);
            let (status, kind, body) = match path.split(' ').nth(1) {
                Some("/page") => ("200 OK", "text/html", PAGE),
                Some("/data") => ("200 OK", "application/json", "{\"rivers\": [\"Elbe\"]}"),
                Some("/robots.txt") => ("200 OK", "text/plain", "User-agent: *\nDisallow: /private\n"),
                _ => ("404 Not Found", "text/plain", "nothing here"),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_mcp_server_fetch_is_what_it_is_directly() {
    let port = site();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let steps = json!([
        ["tools"],
        ["prompts"],
        ["call", "fetch", {"url": at("/page")}],
        ["call", "fetch", {"url": at("/page"), "raw": true, "max_length": 60, "start_index": 10}],
        ["call", "fetch", {"url": at("/data")}],
        ["prompt", "fetch", {"url": at("/page")}],
        ["call", "fetch", {"url": at("/private")}],
        ["call", "fetch", {"url": at("/missing")}],
        ["call", "fetch", {"url": "http://127.0.0.1:1/"}],
        ["call", "fetch", {"url": "no address"}],
        ["prompt", "fetch", {"url": at("/missing")}],
        ["prompt", "fetch", {}],
    ]);
    let args = vec!["--allow-private-ips".to_owned()];
    let real = of_pypi("mcp-server-fetch", args, steps);
    let answers = check(real.map(|mut real| {
        real.sandbox = json!({"ports": [port, 1]});
        // With a Node in `PATH` it fetches packages of its own, into its environment, when it is first asked.
        let own = json!({"PATH": text(real.command.parent().unwrap())});
        real.env = [own.clone(), own];
        real
    }))
    .await;
    if let Some(answers) = answers {
        let page = answers[2].to_string();
        assert!(page.contains("North Sea"), "the page was fetched: {page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_server_filesystem_is_what_it_is_directly() {
    let (guard, path) = folder();
    std::fs::create_dir(guard.path().join("deep")).unwrap();
    std::fs::write(guard.path().join("deep/one.txt"), "first\nsecond\nthird\n").unwrap();
    // What is written is there before, so that the second round finds what the first did.
    std::fs::write(guard.path().join("deep/new.txt"), "bye\n").unwrap();
    std::fs::write(guard.path().join("pixel.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let file = |name: &str| format!("{path}/{name}");
    // Not among them: a tool that is not there. Servers differ in how they say so; the gateway always says it as an error.
    let steps = json!([
        ["tools"],
        ["call", "list_allowed_directories", {}],
        ["call", "list_directory", {"path": path}],
        ["call", "directory_tree", {"path": path}],
        ["call", "read_text_file", {"path": file("deep/one.txt"), "head": 2}],
        ["call", "read_multiple_files", {"paths": [file("deep/one.txt"), file("none")]}],
        ["call", "read_media_file", {"path": file("pixel.png")}],
        ["call", "search_files", {"path": path, "pattern": "**/*.txt"}],
        ["call", "write_file", {"path": file("deep/new.txt"), "content": "h\u{e9}llo\n"}],
        ["call", "edit_file", {"path": file("deep/new.txt"), "edits": [{"oldText": "h\u{e9}llo", "newText": "bye"}]}],
        ["call", "read_text_file", {"path": file("deep/new.txt")}],
        ["call", "read_text_file", {"path": "/etc/passwd"}],
        ["call", "read_text_file", {"path": file("none")}],
        ["call", "read_text_file", {"path": 7}],
    ]);
    let real = of_npm("mcp-server-filesystem", vec![path.clone()], steps);
    check(real.map(|mut real| {
        real.sandbox["write"] = json!([path]);
        real
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_server_memory_is_what_it_is_directly() {
    let (_guard, path) = folder();
    let steps = json!([
        ["tools"],
        ["call", "create_entities", {"entities": [
            {"name": "Elbe", "entityType": "river", "observations": ["long"]},
            {"name": "Hamburg", "entityType": "city", "observations": []},
        ]}],
        ["call", "create_relations", {"relations": [{"from": "Elbe", "to": "Hamburg", "relationType": "passes"}]}],
        ["call", "add_observations", {"observations": [{"entityName": "Elbe", "contents": ["h\u{e9}llo", "long"]}]}],
        ["call", "add_observations", {"observations": [{"entityName": "Nobody", "contents": ["x"]}]}],
        ["call", "search_nodes", {"query": "riv"}],
        ["call", "open_nodes", {"names": ["Hamburg", "none"]}],
        ["call", "delete_observations", {"deletions": [{"entityName": "Elbe", "observations": ["long"]}]}],
        ["call", "delete_entities", {"entityNames": ["Hamburg"]}],
        ["call", "read_graph", {}],
        ["call", "create_entities", {"entities": "none"}],
    ]);
    let real = of_npm("mcp-server-memory", Vec::new(), steps);
    check(real.map(|mut real| {
        real.sandbox["write"] = json!([path]);
        real.env =
            ["direct", "behind"].map(|name| json!({"MEMORY_FILE_PATH": format!("{path}/{name}.jsonl")}));
        real
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_server_sequential_thinking_is_what_it_is_directly() {
    let thought = |number: i32, more: bool| json!({"thought": format!("Step {number}"), "nextThoughtNeeded": more, "thoughtNumber": number, "totalThoughts": 2});
    let steps = json!([
        ["tools"],
        ["call", "sequentialthinking", thought(1, true)],
        ["call", "sequentialthinking", thought(2, false)],
        ["call", "sequentialthinking", thought(0, false)],
        ["call", "sequentialthinking", {"thought": 1}],
    ]);
    check(of_npm("mcp-server-sequential-thinking", Vec::new(), steps)).await;
}
