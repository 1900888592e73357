//! The generated contracts, for `cargo xtask contracts`.

use std::process::ExitCode;

use crate::output;

/// The OpenAPI document.
pub(crate) fn openapi() -> anyhow::Result<ExitCode> {
    output::line(&serde_json::to_string_pretty(&trunkline_admin::openapi())?);
    Ok(ExitCode::SUCCESS)
}

/// The schema of the configuration file.
pub(crate) fn config_schema() -> anyhow::Result<ExitCode> {
    output::line(&serde_json::to_string_pretty(&trunkline_config::json_schema())?);
    Ok(ExitCode::SUCCESS)
}
