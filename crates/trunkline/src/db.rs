//! `trunkline db …`.

use std::process::ExitCode;

use trunkline_model::count;

use crate::cli::Sources;
use crate::output;
use crate::settings::Settings;

/// `db status`.
pub(crate) async fn status(sources: &Sources) -> anyhow::Result<ExitCode> {
    let (store, _) = Settings::resolve(sources)?.store().await?;
    let status = store.status().await?;
    store.close().await;
    output::line(&format!("{} at {}", status.backend, status.location));
    for step in &status.applied {
        output::line(&format!("  applied  {}  {}", step.label, step.applied_at));
    }
    for step in &status.unknown {
        output::line(&format!(
            "  newer    {}  {}  (by a newer version; harmless)",
            step.label, step.applied_at
        ));
    }
    for step in &status.pending {
        output::line(&format!("  pending  {step}"));
    }
    for (table, rows) in &status.rows {
        output::line(&format!("  {table}: {rows} rows"));
    }
    match &status.drift {
        // Before the first migration everything is missing; the pending steps say so.
        Some(drift) if !status.applied.is_empty() => output::line(&format!("drift: {drift}")),
        _ if status.pending.is_empty() => output::line("the schema is what this version needs"),
        _ => output::line("run `trunkline db migrate`, or start the gateway, which does the same"),
    }
    let due = status.drift.is_some() || !status.pending.is_empty();
    Ok(if due { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `db migrate`.
pub(crate) async fn migrate(sources: &Sources) -> anyhow::Result<ExitCode> {
    let (store, _) = Settings::resolve(sources)?.store().await?;
    let report = store.migrate().await?;
    for step in &report.applied {
        output::line(&format!("applied {step}"));
    }
    for notice in &report.notices {
        output::warning(notice);
    }
    if report.applied.is_empty() {
        output::line(&format!(
            "nothing to do, {} applied before",
            count(report.already_applied, "migration")
        ));
    }
    let drift = store.verify().await;
    store.close().await;
    Ok(match drift {
        Ok(()) => ExitCode::SUCCESS,
        Err(drift) => {
            output::error(&drift.to_string());
            ExitCode::FAILURE
        }
    })
}

/// `db repair`.
pub(crate) async fn repair(sources: &Sources) -> anyhow::Result<ExitCode> {
    let (store, _) = Settings::resolve(sources)?.store().await?;
    let report = store.repair().await?;
    store.close().await;
    for done in &report.done {
        output::line(done);
    }
    for warning in &report.warnings {
        output::warning(warning);
    }
    for left in &report.unresolved {
        output::error(&format!("not repaired: {left}"));
    }
    if report.done.is_empty() && report.unresolved.is_empty() {
        output::line("nothing to repair");
    }
    Ok(if report.unresolved.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
