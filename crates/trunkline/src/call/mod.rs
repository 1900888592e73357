//! `trunkline call SERVER.TOOL`: one tool call, as an MCP client: progress is shown, and what the server asks in the middle
//! of it is asked on the terminal.

mod arguments;
mod asked;
mod shown;

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use trunkline_client::{Event, Gateway, RpcError, Session};

use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::GatewayArguments;
use crate::tools;

/// `trunkline call`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CallArguments {
    /// `SERVER.TOOL`, or the name that `/mcp` lists it by, such as `git-echo`.
    pub(crate) tool: String,
    /// An argument: `name=text` (a number, a boolean, … where the tool's schema says so) or `name:=JSON`. Repeated for more;
    /// repeating one that is a list adds to it.
    #[arg(long = "arg", short = 'a', value_name = "NAME=VALUE")]
    pub(crate) args: Vec<String>,
    /// Arguments as one JSON object: the text, `@FILE`, or `-` for standard input. `--arg` adds to it.
    #[arg(long, value_name = "JSON")]
    pub(crate) json_args: Option<String>,
    /// Print the whole result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// A tool that was found.
struct Tool {
    /// The path of its server alone, or of all.
    path: String,
    /// The name to call it by there.
    name: String,
    definition: Value,
}

/// Calls.
pub(crate) async fn run(arguments: &CallArguments) -> Result<ExitCode, Failure> {
    let gateway = arguments.gateway.gateway()?;
    let tool = find(&gateway, &arguments.tool).await?;
    let given = arguments::read(
        arguments.json_args.as_deref(),
        &arguments.args,
        &tool.definition["inputSchema"],
    )?;
    let result = call(&gateway, &tool, &given).await?;
    if arguments.json {
        output::json(&result);
    } else {
        shown::print(&result);
    }
    Ok(if result["isError"] == true {
        Code::Failed.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Finds a tool: before the first dot that makes sense stands the server. Without one it is a name of `/mcp`.
async fn find(gateway: &Gateway, written: &str) -> Result<Tool, Failure> {
    let mut no_server = None;
    for (at, _) in written.match_indices('.') {
        let (server, name) = (&written[..at], &written[at + 1..]);
        if server.is_empty() || name.is_empty() {
            continue;
        }
        let listed = match tools::list(gateway, Some(server)).await {
            Ok(listed) => listed,
            Err(failure) if failure.code == Code::NotFound => {
                no_server.get_or_insert(server.to_owned());
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let found = of_list(&listed, |tool| tool["name"] == name);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_key_only(server);
        return match found {
            Some(definition) => Ok(Tool {
                path: format!("/mcp/{}", query.finish().replace('+', "%20")),
                name: name.to_owned(),
                definition,
            }),
            None => Err(unknown(name, &listed, &format!("{server}."))),
        };
    }
    if let Some(server) = no_server {
        return Err(
            Failure::new(Code::NotFound, format!("there is no server {server:?}"))
                .todo("`trunkline tools` lists what there is"),
        );
    }
    let listed = gateway.json(http::Method::GET, "/v1/mcp/tools", None).await?;
    let definition =
        of_list(&listed, |tool| tool["name"] == written).ok_or_else(|| unknown(written, &listed, ""))?;
    Ok(Tool {
        path: "/mcp".to_owned(),
        name: written.to_owned(),
        definition,
    })
}

fn of_list(listed: &Value, is: impl Fn(&&Value) -> bool) -> Option<Value> {
    listed["tools"].as_array()?.iter().find(is).cloned()
}

/// No such tool: the nearest one is named.
fn unknown(name: &str, listed: &Value, prefix: &str) -> Failure {
    let names = listed["tools"].as_array().into_iter().flatten();
    let nearest = names
        .filter_map(|tool| tool["name"].as_str())
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let todo = match nearest {
        Some((_, near)) => format!("did you mean {prefix}{near}? `trunkline tools` lists what there is"),
        None => "`trunkline tools` lists what there is".to_owned(),
    };
    Failure::new(Code::NotFound, format!("there is no tool {prefix}{name}")).todo(todo)
}

async fn call(gateway: &Gateway, tool: &Tool, arguments: &Value) -> Result<Value, Failure> {
    let mut session = Session::open(gateway, &tool.path, &asked::capabilities()).await?;
    let params = json!({
        "name": tool.name,
        "arguments": arguments,
        "_meta": {"progressToken": "call"},
    });
    // Ctrl-C ends the session, so that the call does not go on without anybody.
    let called = tokio::select! {
        called = converse(&mut session, &params) => called,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Code::NotConfirmed, "interrupted")),
    };
    session.close().await;
    called
}

async fn converse(session: &mut Session, params: &Value) -> Result<Value, Failure> {
    let mut asking = session.ask("tools/call", params).await?;
    let mut progress = shown::Progress::default();
    loop {
        match asking.next().await? {
            Event::Notification { method, params } => match method.as_str() {
                "notifications/progress" => progress.show(&params),
                "notifications/message" => progress.log(&params),
                _ => {}
            },
            Event::Request { id, method, params } => {
                progress.clear();
                let answer = asked::answer(&method, params).await;
                session.answer(&id, answer).await?;
            }
            Event::Answer(answer) => {
                progress.clear();
                return answer.map_err(|error| failed(&error));
            }
        }
    }
}

/// An error of JSON-RPC: the tool did not run, or not to its end.
fn failed(error: &RpcError) -> Failure {
    let message = crate::terminal::printable(&error.message);
    match error.code {
        -32602 if message.starts_with("Unknown tool") => Failure::new(Code::NotFound, message),
        -32602 => Failure::usage(message).todo("`trunkline tools SERVER --json` shows what the tool takes"),
        _ => {
            let failure = Failure::new(Code::Upstream, message);
            match error.data["outcome"]["hint"]
                .as_str()
                .or(error.data["hint"].as_str())
            {
                Some(hint) => failure.todo(hint),
                None => failure.todo("`trunkline doctor` says what is wrong with a server"),
            }
        }
    }
}
