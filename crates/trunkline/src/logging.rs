//! The log: standard error, one line an event. `TRUNKLINE_LOG` (else `RUST_LOG`) filters it.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::LogFormat;

/// Begins logging. Later calls change nothing.
pub(crate) fn begin(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TRUNKLINE_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let begun = match format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .finish()
            .try_init(),
    };
    drop(begun);
}
