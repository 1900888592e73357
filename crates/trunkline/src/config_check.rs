//! `trunkline config check FILE`: what `serve` would say about the file, without starting.

use std::path::Path;
use std::process::ExitCode;

use trunkline_config::ProcessEnv;

use crate::output;
use crate::settings::key_problem;

/// Checks a file.
pub(crate) fn run(file: &Path) -> ExitCode {
    let config = match trunkline_config::load(file, &ProcessEnv) {
        Ok(config) => config,
        Err(error) => {
            output::error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    for notice in &config.notices {
        output::warning(&format!("{}:{notice}", file.display()));
    }
    if let Some(problem) = config.general.master_key.as_ref().and_then(key_problem) {
        output::warning(&format!("master_key: {problem}"));
    }
    output::line(&format!(
        "{}: can be served, {} MCP servers",
        file.display(),
        config.servers.len()
    ));
    for server in &config.servers {
        let definition = &server.definition;
        let place = definition
            .url
            .as_deref()
            .or(definition.command.as_deref())
            .unwrap_or("(no url)");
        let state = server
            .defect
            .as_deref()
            .map_or_else(String::new, |defect| format!("  MISCONFIGURED: {defect}"));
        output::line(&format!(
            "  {:<24} {:<6} {place}{state}",
            server.prefix(),
            definition.transport.as_str()
        ));
    }
    ExitCode::SUCCESS
}
