//! What commands print. A reader that went away is no error.

use std::io::Write as _;

/// A line on standard output.
pub(crate) fn line(text: &str) {
    // A closed pipe (`trunkline doctor | head`) ends the reading, not the command.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// An error on standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// A warning on standard error.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// What is good to know, on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// JSON on standard output, for programs.
pub(crate) fn json(value: &serde_json::Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}
