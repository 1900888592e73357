//! Who may depend on whom. Arrows point down only; an edge that is not in the table is a finding, so that adding one
//! is a decision that a reviewer sees here.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The edges between our own crates, at most these. Names without `trunkline-`; the binary is `trunkline`.
const OWN: [(&str, &[&str]); 19] = [
    (
        "trunkline",
        &[
            "admin", "auth", "client", "config", "gateway", "launch", "llm", "mcp", "model", "openapi",
            "policy", "store", "tls", "upstream",
        ],
    ),
    (
        "admin",
        &[
            "auth", "config", "mcp", "model", "policy", "store", "tls", "upstream",
        ],
    ),
    (
        "gateway",
        &["auth", "llm", "mcp", "model", "policy", "store", "upstream"],
    ),
    // The gateway's client: from the command line to a running gateway, over the wire alone.
    ("client", &["mcp", "model"]),
    (
        "upstream",
        &["auth", "launch", "mcp", "model", "openapi", "store", "tls"],
    ),
    ("launch", &["model"]),
    ("openapi", &["mcp", "model"]),
    ("store", &["auth", "model"]),
    ("auth", &["model"]),
    ("config", &["llm", "model", "tls"]),
    ("llm", &["mcp"]),
    ("tls", &["model"]),
    ("policy", &["condition", "model"]),
    ("mcp", &[]),
    ("model", &["condition"]),
    ("condition", &["mcp"]),
    // These speak to the product from outside, so that what they show is true of what people run.
    ("testkit", &[]),
    ("bench", &[]),
    ("xtask", &[]),
];

/// Crates of others that only some of ours may use, and why.
const RESERVED: [Reserved; 8] = [
    Reserved {
        names: &["sqlx", "sqlx-core", "rusqlite", "tokio-postgres"],
        only: Only::In(&["store"]),
        // A test may damage a database by hand; the product never touches one but through the store.
        in_tests: true,
        why: "SQL is in trunkline-store",
    },
    Reserved {
        names: &["reqwest", "ureq", "isahc"],
        only: Only::In(&[]),
        in_tests: false,
        why: "the HTTP client is hyper",
    },
    Reserved {
        names: &["hyper-rustls", "hyper-tls"],
        only: Only::In(&["upstream", "auth", "client"]),
        in_tests: false,
        why: "requests to other machines go out through trunkline-upstream, trunkline-auth and, to the user's own gateway, trunkline-client",
    },
    Reserved {
        names: &[
            "tokio",
            "tokio-util",
            "hyper",
            "hyper-util",
            "axum",
            "tower",
            "mio",
            "socket2",
        ],
        only: Only::NotIn(PURE),
        in_tests: false,
        why: "protocol, policy and model are pure: no sockets, no runtime",
    },
    Reserved {
        names: &["axum", "tower"],
        only: Only::In(&["trunkline", "admin", "gateway"]),
        in_tests: true,
        why: "routes are in trunkline-admin and trunkline-gateway",
    },
    Reserved {
        names: &["anyhow"],
        only: Only::In(&["trunkline", "xtask", "bench"]),
        in_tests: true,
        why: "a library has errors of its own, which say what to do",
    },
    Reserved {
        names: &["clap"],
        only: Only::In(&["trunkline", "bench"]),
        in_tests: false,
        why: "the command line is in the binary",
    },
    Reserved {
        names: &["openssl", "native-tls", "ring"],
        only: Only::In(&[]),
        in_tests: false,
        why: "TLS is rustls, cryptography is aws-lc-rs",
    },
];

const PURE: &[&str] = &["llm", "mcp", "openapi", "policy", "model", "condition", "tls"];

struct Reserved {
    names: &'static [&'static str],
    only: Only,
    /// Whether every crate may use it as a development dependency.
    in_tests: bool,
    why: &'static str,
}

enum Only {
    In(&'static [&'static str]),
    NotIn(&'static [&'static str]),
}

impl Only {
    fn allows(&self, from: &str) -> bool {
        match self {
            Self::In(crates) => crates.contains(&from),
            Self::NotIn(crates) => !crates.contains(&from),
        }
    }
}

/// One line of a Cargo.toml.
#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    development: bool,
}

/// What is wrong with the dependencies of the workspace's crates.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = crate::output(
        root,
        "cargo",
        &["metadata", "--format-version=1", "--no-deps", "--offline"],
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let edges = edges(&metadata);
    anyhow::ensure!(!edges.is_empty(), "cargo metadata names no dependencies");
    Ok(edges.iter().filter_map(finding).collect())
}

fn edges(metadata: &Value) -> Vec<Edge> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let mut edges = Vec::new();
    for package in list(&metadata["packages"]) {
        for dependency in list(&package["dependencies"]) {
            edges.push(Edge {
                from: short(&name(&package)).to_owned(),
                to: name(&dependency),
                development: dependency["kind"] == "dev",
            });
        }
    }
    edges
}

fn short(name: &str) -> &str {
    name.strip_prefix("trunkline-").unwrap_or(name)
}

fn finding(edge: &Edge) -> Option<String> {
    let Edge {
        from,
        to,
        development,
    } = edge;
    if to == "trunkline" {
        return Some(format!("{from} depends on the binary: nothing may"));
    }
    if let Some(own) = to.strip_prefix("trunkline-") {
        if own == "testkit" && !development {
            return Some(format!(
                "{from} depends on trunkline-testkit: only as a development dependency"
            ));
        }
        let Some((_, allowed)) = OWN.iter().find(|(name, _)| name == from) else {
            return Some(format!("{from} is not in the table of xtask/src/tidy/edges.rs"));
        };
        let allowed = own == "testkit" || allowed.contains(&own);
        return (!allowed)
            .then(|| format!("{from} depends on {to}: not in the table of xtask/src/tidy/edges.rs"));
    }
    let broken = RESERVED.iter().find(|rule| {
        rule.names.contains(&to.as_str()) && !(*development && rule.in_tests) && !rule.only.allows(from)
    });
    broken.map(|rule| format!("{from} depends on {to}: {}", rule.why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(from: &str, to: &str, kind: Option<&str>) -> Option<String> {
        let package = json!({"name": from, "dependencies": [{"name": to, "kind": kind}]});
        edges(&json!({"packages": [package]})).iter().find_map(finding)
    }

    #[test]
    fn forbidden_edges_are_found() {
        for (from, to, kind) in [
            ("trunkline-gateway", "sqlx", None),
            ("trunkline-gateway", "trunkline-admin", None),
            ("trunkline-admin", "sqlx", None),
            ("trunkline-mcp", "hyper", None),
            ("trunkline-policy", "axum", None),
            ("trunkline-model", "tokio", Some("dev")),
            ("trunkline-gateway", "hyper-rustls", None),
            ("trunkline-gateway", "reqwest", Some("dev")),
            ("trunkline-store", "trunkline", None),
            ("trunkline-model", "trunkline-auth", None),
            ("trunkline-gateway", "trunkline-testkit", None),
            ("trunkline-testkit", "trunkline-model", None),
            ("trunkline-newcomer", "trunkline-model", None),
        ] {
            assert!(found(from, to, kind).is_some(), "{from} -> {to}");
        }
    }

    #[test]
    fn the_edges_of_the_design_are_fine() {
        for (from, to, kind) in [
            ("trunkline", "trunkline-gateway", None),
            ("trunkline-gateway", "trunkline-upstream", None),
            ("trunkline-gateway", "trunkline-testkit", Some("dev")),
            ("trunkline-store", "sqlx", None),
            ("trunkline-admin", "sqlx", Some("dev")),
            ("trunkline-upstream", "hyper-rustls", None),
            ("trunkline-mcp", "serde_json", None),
        ] {
            assert_eq!(found(from, to, kind), None, "{from} -> {to}");
        }
    }
}
