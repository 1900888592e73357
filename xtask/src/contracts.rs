//! Documents that are made from the code, committed, and compared: whoever changes a contract sees it in the diff.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Each document and the hidden command of the binary that prints it.
const DOCUMENTS: [(&str, &str); 2] = [
    ("docs/openapi.json", "print-openapi"),
    ("docs/config.schema.json", "print-config-schema"),
];

/// What to do with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write those that differ.
    Write,
    /// Fail when one differs.
    Check,
}

pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for (path, command) in DOCUMENTS {
        let printed = crate::output(root, "cargo", &["run", "-q", "-p", "trunkline", "--", command])?;
        let fresh = normal(&printed).with_context(|| format!("what `trunkline {command}` prints"))?;
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if committed == fresh {
            continue;
        }
        match mode {
            Mode::Check => stale.push(path),
            Mode::Write => {
                std::fs::write(root.join(path), fresh).with_context(|| format!("write {path}"))?;
                println!("xtask: wrote {path}");
            }
        }
    }
    if !stale.is_empty() {
        bail!(
            "not what the code says: {}; run `make contracts` and commit",
            stale.join(", ")
        );
    }
    Ok(())
}

/// Indented, members in the order of the code, a line break at the end.
fn normal(printed: &str) -> Result<String> {
    let document: Value = serde_json::from_str(printed)?;
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn documents_keep_their_order_and_get_one_form() {
        assert_eq!(
            normal("{\"z\":1,\"a\":[]}").unwrap(),
            "{\n  \"z\": 1,\n  \"a\": []\n}\n"
        );
        assert!(normal("warning: not JSON").is_err());
    }
}
