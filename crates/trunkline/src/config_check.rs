//! `trunkline config check FILE`: what `serve` would say about the file, without starting.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use trunkline_config::ProcessEnv;
use trunkline_model::{Deployment, count};

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
        "{}: can be served, {}, {}",
        file.display(),
        count(config.servers.len(), "MCP server"),
        models_of(&config.models.deployments)
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
    models(&config.models.deployments);
    ExitCode::SUCCESS
}

/// `2 models (3 deployments)`.
fn models_of(deployments: &[Arc<Deployment>]) -> String {
    let names: BTreeSet<&str> = deployments.iter().map(|own| own.model_name.as_str()).collect();
    format!(
        "{} ({})",
        count(names.len(), "model"),
        count(deployments.len(), "deployment")
    )
}

/// Each deployment, and what of it is missing: an unset variable is named in it.
fn models(deployments: &[Arc<Deployment>]) {
    for own in deployments {
        let defect = own.defect.as_deref();
        let state = defect.map_or_else(String::new, |defect| format!("  MISCONFIGURED: {defect}"));
        let model = match own.provider.as_str() {
            "" => own.model.clone(),
            provider => format!("{provider}/{}", own.model),
        };
        output::line(&format!("  {:<24} model  {model}{state}", own.model_name));
    }
}
