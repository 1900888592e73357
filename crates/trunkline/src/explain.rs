//! `trunkline explain KEY SERVER[.TOOL]`: why a key may use something or not, and what would have to change.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Map, Value};
use trunkline_client::Gateway;

use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::GatewayArguments;
use crate::terminal;

const PATH: &str = "/v1/mcp/policy/explain";
/// Characters of a sentence that are shown.
const SENTENCE: usize = 1000;

/// `trunkline explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArguments {
    /// A key: its alias or its hash; `master_key`. The key itself is better not on a command line.
    #[arg(required_unless_present = "request_id")]
    pub(crate) principal: Option<String>,
    /// Name, alias or id of a server, and a tool of it: `git` or `git.list_mirrors`.
    #[arg(required_unless_present = "request_id")]
    pub(crate) target: Option<String>,
    /// Instead of both: the denied call of this request, as `x-litellm-call-id` and the gateway's log have it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["principal", "target", "end_user", "path"])]
    pub(crate) request_id: Option<String>,
    /// For whom the request is made.
    #[arg(long, value_name = "ID")]
    pub(crate) end_user: Option<String>,
    /// The request's path, such as /git/mcp.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Asks, and says it. A no is exit code 1, and a tool that is not there 5.
pub(crate) async fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let gateway = arguments.gateway.gateway()?;
    let answer = ask(&gateway, arguments).await?;
    if arguments.json {
        output::json(&answer);
    } else {
        print(&answer);
    }
    Ok(if answer["allowed"] != true {
        Code::Failed.into()
    } else if answer["exists"] == false {
        Code::NotFound.into()
    } else {
        ExitCode::SUCCESS
    })
}

async fn ask(gateway: &Gateway, arguments: &ExplainArguments) -> Result<Value, Failure> {
    let mut body = Map::new();
    for (name, value) in [
        ("principal", &arguments.principal),
        ("end_user", &arguments.end_user),
        ("path", &arguments.path),
        ("request_id", &arguments.request_id),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    let Some(target) = &arguments.target else {
        return post(gateway, body).await;
    };
    // The whole is a server, or a server stands before the first dot that makes sense.
    let dots = target
        .match_indices('.')
        .map(|(at, _)| (&target[..at], Some(&target[at + 1..])));
    let mut first = None;
    for (server, tool) in std::iter::once((target.as_str(), None)).chain(dots) {
        if server.is_empty() || tool.is_some_and(str::is_empty) {
            continue;
        }
        let mut body = body.clone();
        body.insert("server".to_owned(), server.into());
        if let Some(tool) = tool {
            body.insert("tool".to_owned(), tool.into());
        }
        match post(gateway, body).await {
            Err(failure) if failure.code == Code::NotFound => {
                first.get_or_insert(failure);
            }
            done => return done,
        }
    }
    Err(first.unwrap_or_else(|| Failure::usage("say which server: SERVER or SERVER.TOOL")))
}

async fn post(gateway: &Gateway, body: Map<String, Value>) -> Result<Value, Failure> {
    Ok(gateway.json(Method::POST, PATH, Some(&body.into())).await?)
}

fn print(answer: &Value) {
    let text = |value: &Value| terminal::one_line(value.as_str().unwrap_or_default(), SENTENCE);
    let verdict = if answer["allowed"] != true {
        "denied"
    } else if answer["exists"] == false {
        "no such tool"
    } else {
        "allowed"
    };
    output::line(&format!("{verdict}: {}", text(&answer["sentence"])));
    let trail = answer["trail"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = trail
        .map(|level| {
            let denials = level["denials"].as_array().into_iter().flatten();
            let why: Vec<String> = denials.map(|denial| text(&denial["sentence"])).collect();
            vec![
                text(&level["level"]),
                text(&level["verdict"]).replace('_', " "),
                text(&level["id"]),
                why.join("; "),
            ]
        })
        .collect();
    if !rows.is_empty() {
        output::line("");
        terminal::table(&["LEVEL", "VERDICT", "WHOSE", "WHY"], rows);
    }
    let changes: Vec<String> = answer["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| text(&change["text"]))
        .collect();
    if !changes.is_empty() {
        output::line("");
    }
    for change in changes {
        output::line(&format!("to do: {change}"));
    }
}
