//! The repository's own rules. Each module has one kind of them, and tests that show that it finds what it is for.

mod edges;
mod tree;

use std::path::Path;

use anyhow::{Result, bail};

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = edges::check(root)?;
    findings.extend(tree::check(root)?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} finding(s)", findings.len());
    }
    Ok(())
}
