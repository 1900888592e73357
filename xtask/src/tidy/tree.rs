//! What the files of the repository must say, and what they must not.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Words that are found in no file, with the reason. Put together from two halves, so that this file has none.
const FORBIDDEN: [(&str, &str, &str); 16] = [
    ("/wor", "k/", MACHINE),
    ("/roo", "t/", MACHINE),
    ("/Use", "rs/", MACHINE),
    ("/far", "m/", MACHINE),
    ("/tmp/bash", "_jobs", MACHINE),
    ("pypi", ".org", REGISTRY),
    ("files.python", "hosted.org", REGISTRY),
    ("registry.np", "mjs.org", REGISTRY),
    ("static.crat", "es.io", REGISTRY),
    ("index.crat", "es.io", REGISTRY),
    ("proxy.gola", "ng.org", REGISTRY),
    ("<<<<", "<<< ", CONFLICT),
    (">>>>", ">>> ", CONFLICT),
    ("TO", "DO", UNFINISHED),
    ("FIX", "ME", UNFINISHED),
    ("BEGIN RSA PRIV", "ATE KEY", "a private key"),
];
const MACHINE: &str = "a path of one machine";
const REGISTRY: &str = "a registry's host: machines have registries of their own";
const CONFLICT: &str = "a conflict that was not resolved";
const UNFINISHED: &str = "what is left to do belongs in an issue";

/// Made by tools, or texts of others.
const NOT_OURS: [&str; 4] = [
    "Cargo.lock",
    "scripts/node/package-lock.json",
    "LICENSE",
    "testdata/",
];

/// What is wrong with the files.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let listed = crate::output(
        root,
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    )
    .context("list files")?;
    let mut findings = Vec::new();
    for path in listed
        .lines()
        .filter(|path| !NOT_OURS.iter().any(|other| path.contains(other)))
    {
        // A file may be deleted and not yet committed; one that is no text has no words.
        let Ok(text) = std::fs::read_to_string(root.join(path)) else {
            continue;
        };
        findings.extend(words(path, &text));
        if is_rust(path) {
            findings.extend(rust(path, &text));
        }
    }
    Ok(findings)
}

fn is_rust(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

fn words(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (head, tail, why) in FORBIDDEN {
            let word = format!("{head}{tail}");
            let at = line.find(&word);
            // In the middle of a relative path or of a longer word it is another thing.
            let stands_alone = at.is_some_and(|at| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|before| before.is_alphanumeric() || "._-}".contains(before))
            });
            if stands_alone {
                findings.push(format!("{path}:{number}: {why}: {word}"));
            }
        }
    }
    findings
}

fn rust(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let crate_root = ["src/lib.rs", "src/main.rs"]
        .iter()
        .any(|root| path.ends_with(root))
        || path.contains("src/bin/");
    if crate_root && !text.trim_start().starts_with("//!") {
        findings.push(format!("{path}: a crate says at its top what it is for"));
    }
    // Tests come last in a file.
    let product = text.split("#[cfg(test)]").next().unwrap_or(text);
    let in_product = path.contains("/src/") && path.starts_with("crates/");
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("#[allow(") || line.trim_start().starts_with("#![allow(") {
            findings.push(format!(
                "{path}:{number}: #[expect(…, reason = …)], which says when it is no longer needed"
            ));
        }
    }
    for (number, line) in (1..).zip(product.lines()).filter(|_| in_product) {
        let code = line.split("//").next().unwrap_or(line);
        if code.contains("Principal::from_") && !path.starts_with("crates/trunkline-auth/") {
            findings.push(format!(
                "{path}:{number}: principals are made in trunkline-auth, from a proof"
            ));
        }
        let client = code.contains("hyper_util::client") || code.contains("hyper::client");
        let may_call =
            ["upstream", "auth", "client", "testkit"].map(|name| format!("crates/trunkline-{name}/"));
        if client && !may_call.iter().any(|crate_path| path.starts_with(crate_path)) {
            findings.push(format!(
                "{path}:{number}: HTTP requests go out from trunkline-upstream, trunkline-auth and trunkline-client"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_stand_alone() {
        let work = concat!("/wor", "k/");
        assert_eq!(words("a.md", &format!("see\n{work}main")).len(), 1);
        assert_eq!(
            words("a.md", &format!("`{work}main` and TO{}", "DO: later")).len(),
            2
        );
        assert!(
            words("a.md", &format!("docs{work}flow")).is_empty(),
            "a relative path"
        );
        assert!(words("a.md", "an autodoc of todos").is_empty());
    }

    #[test]
    fn rules_for_rust_are_kept() {
        let principal = "//! Docs.\nlet p = Principal::from_master_key();\n";
        assert_eq!(rust("crates/trunkline-gateway/src/lib.rs", principal).len(), 1);
        assert!(rust("crates/trunkline-auth/src/lib.rs", principal).is_empty());
        assert!(rust("crates/trunkline-gateway/tests/a.rs", principal).is_empty());
        let in_tests = format!("//! Docs.\n#[cfg(test)]\nmod tests {{\n{principal}}}");
        assert!(rust("crates/trunkline-gateway/src/lib.rs", &in_tests).is_empty());
        let client = "//! Docs.\nuse hyper_util::client::legacy::Client;\n";
        assert_eq!(rust("crates/trunkline-gateway/src/lib.rs", client).len(), 1);
        assert!(rust("crates/trunkline-upstream/src/http.rs", client).is_empty());
        assert_eq!(
            rust("crates/trunkline-store/src/lib.rs", "fn a() {}\n").len(),
            1,
            "no docs"
        );
        let allow = format!("//! Docs.\n#[{}(dead_code)]\n", "allow");
        assert_eq!(rust("crates/trunkline-store/src/a.rs", &allow).len(), 1);
    }
}
