//! `trunkline tools [SERVER]`: what there is to call, and which servers have nothing to show and why.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;
use trunkline_client::Gateway;

use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::GatewayArguments;
use crate::terminal;

/// Characters of a description that a table shows.
const DESCRIPTION: usize = 160;

/// `trunkline tools`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ToolsArguments {
    /// Name, alias or id of one server; all without it.
    pub(crate) server: Option<String>,
    /// Print JSON: the whole definitions, and the outcome of every server.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Lists.
pub(crate) async fn run(arguments: &ToolsArguments) -> Result<ExitCode, Failure> {
    let gateway = arguments.gateway.gateway()?;
    let listed = list(&gateway, arguments.server.as_deref()).await?;
    if arguments.json {
        output::json(&listed);
    } else {
        print(&listed);
    }
    Ok(if broken(&listed) {
        Code::Upstream.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// The tools of one server or of all, under their own names, each with `mcp_info` about its server.
pub(crate) async fn list(gateway: &Gateway, server: Option<&str>) -> Result<Value, Failure> {
    let path = match server {
        None => "/mcp-rest/tools/list".to_owned(),
        Some(name) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("server_id", name);
            format!("/mcp-rest/tools/list?{}", query.finish())
        }
    };
    Ok(gateway.json(Method::GET, &path, None).await?)
}

/// The name of a tool's server, as it is written in front of the dot.
pub(crate) fn server_of(tool: &Value) -> &str {
    let info = &tool["mcp_info"];
    ["alias", "server_name", "server_id"]
        .into_iter()
        .find_map(|key| info[key].as_str().filter(|name| !name.is_empty()))
        .unwrap_or_default()
}

/// Whether nothing could be listed that was to be listed.
fn broken(listed: &Value) -> bool {
    listed["error"].is_string() && listed["tools"].as_array().is_none_or(Vec::is_empty)
}

fn print(listed: &Value) {
    let tools = listed["tools"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let described = text(&tool["description"]);
            let described = if described.is_empty() {
                text(&tool["title"])
            } else {
                described
            };
            vec![
                terminal::one_line(&text(&tool["name"]), 128),
                terminal::one_line(server_of(tool), 128),
                terminal::one_line(&described, DESCRIPTION),
            ]
        })
        .collect();
    if rows.is_empty() {
        output::line("no tools");
    } else {
        terminal::table(&["TOOL", "SERVER", "DESCRIPTION"], rows);
    }
    let outcomes = listed["server_outcomes"].as_object();
    let failed: Vec<(&String, &Value)> = outcomes
        .into_iter()
        .flatten()
        .filter(|(_, outcome)| outcome["status"] != "ok")
        .collect();
    if failed.is_empty() {
        if outcomes.is_none_or(serde_json::Map::is_empty) {
            match listed["message"].as_str().filter(|_| listed["error"].is_string()) {
                Some(why) => output::line(&terminal::one_line(why, 1000)),
                None => output::line("no server is registered: `trunkline add NAME URL` registers one"),
            }
        }
        return;
    }
    output::line("");
    for (server, outcome) in failed {
        // Nothing is wrong with a server that is not asked yet: its tools are above, as they were.
        let is_remembered = outcome["stale"] == true && outcome["status"] == "pending";
        let text = match outcome["message"].as_str().filter(|_| is_remembered) {
            Some(message) => terminal::one_line(message, 1000),
            None => reason(outcome),
        };
        output::line(&format!("{}: {text}", terminal::one_line(server, 128)));
        if let Some(hint) = outcome["hint"].as_str() {
            output::line(&format!("  to do: {}", terminal::one_line(hint, 1000)));
        }
    }
}

/// `auth_required at initialize: the server answered HTTP 401`.
pub(crate) fn reason(outcome: &Value) -> String {
    let text = |key: &str| outcome[key].as_str().unwrap_or_default();
    let step = match text("step") {
        "" => String::new(),
        step => format!(" at {step}"),
    };
    let text = format!("{}{step}: {}", text("status"), text("message"));
    terminal::one_line(text.trim_end_matches([':', ' ']), 1000)
}
