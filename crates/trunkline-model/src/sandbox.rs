//! What a program may do that the gateway starts, and what of that is enforced.
//!
//! The words are the same in the configuration file, in the API, in `trunkline doctor` and in the documentation, because
//! all of them read and write through [`Sandbox::parse`] and [`Sandbox::to_json`].

use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// The confinement of a program (`sandbox:` of a stdio server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// `off`: the program may do all that the gateway's user may.
    Off,
    /// Confined by rules; the default.
    On(SandboxRules),
}

/// The rules of a confined program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRules {
    /// Whether it may use the network at all.
    pub network: Network,
    /// TCP ports that it may connect to.
    pub ports: Ports,
    /// What it may read and execute, besides the system's folders and the program itself. Absolute paths.
    pub read: Vec<PathBuf>,
    /// What it may read and change, besides its own private folders. Absolute paths.
    pub write: Vec<PathBuf>,
    /// Processes of the program and all its descendants.
    pub max_processes: u32,
    /// Memory of the program and all its descendants, MiB.
    pub max_memory_mb: u32,
    /// The largest file that it may write, MiB.
    pub max_file_mb: u32,
    /// Open files of one process.
    pub max_open_files: u32,
}

/// Whether a program may use the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Yes, within [`Ports`].
    Allow,
    /// No: only UNIX sockets can be made.
    Deny,
}

/// TCP ports that a program may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// `any`: all of them, those of the metadata service and of the gateway too.
    Any,
    /// These, each with its end.
    Only(Vec<(u16, u16)>),
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::On(SandboxRules::default())
    }
}

impl Default for SandboxRules {
    fn default() -> Self {
        Self {
            network: Network::Allow,
            ports: Ports::default(),
            read: Vec::new(),
            write: Vec::new(),
            max_processes: 64,
            max_memory_mb: 2048,
            max_file_mb: 1024,
            max_open_files: 1024,
        }
    }
}

impl Default for Ports {
    /// HTTPS and DNS. Not 80, where cloud metadata services are, and not what listens on this machine.
    fn default() -> Self {
        Self::Only(vec![(53, 53), (443, 443)])
    }
}

impl Network {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Ports in one list: each is a rule in the kernel.
const MAX_PORTS: u32 = 4096;

/// The members of `sandbox`, with what they mean.
pub const SANDBOX_FIELDS: [(&str, &str); 8] = [
    (
        "network",
        "`allow` (default) or `deny`: no sockets but UNIX sockets.",
    ),
    (
        "ports",
        "TCP ports that it may connect to: a list of ports and ranges such as `8000-8010`, or `any`. Default: 53 and 443.",
    ),
    (
        "read",
        "Absolute paths that it may read, besides the system's folders and its own.",
    ),
    (
        "write",
        "Absolute paths that it may read and change, besides its private folders.",
    ),
    (
        "max_processes",
        "Processes of the program and its descendants. Default: 64.",
    ),
    ("max_memory_mb", "Memory of all of them, MiB. Default: 2048."),
    (
        "max_file_mb",
        "The largest file that it may write, MiB. Default: 1024.",
    ),
    ("max_open_files", "Open files of one process. Default: 1024."),
];

/// What is wrong with a `sandbox`: the member (empty: the whole), and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxProblem {
    /// `ports`, `read[1]`, or empty.
    pub member: String,
    /// Why, for people. Begins with a verb: `must be …`.
    pub message: String,
}

impl Sandbox {
    /// Reads what people write: `off`, null (the default), or a mapping.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, Vec<SandboxProblem>> {
        match value {
            Value::Null | Value::Bool(true) => Ok(Self::default()),
            // YAML 1.1 reads `off` so.
            Value::Bool(false) => Ok(Self::Off),
            Value::String(word) if word == "off" => Ok(Self::Off),
            Value::String(word) if word == "on" => Ok(Self::default()),
            Value::Object(members) => parse_rules(members).map(Self::On),
            _ => Err(vec![problem("", "must be `off` or a mapping")]),
        }
    }

    /// What [`Sandbox::parse`] reads, with every member.
    pub fn to_json(&self) -> Value {
        let Self::On(rules) = self else {
            return "off".into();
        };
        let SandboxRules {
            network,
            ports,
            read,
            write,
            max_processes,
            max_memory_mb,
            max_file_mb,
            max_open_files,
        } = rules;
        let paths = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        json!({
            "network": network.as_str(),
            "ports": ports.to_json(),
            "read": paths(read),
            "write": paths(write),
            "max_processes": max_processes,
            "max_memory_mb": max_memory_mb,
            "max_file_mb": max_file_mb,
            "max_open_files": max_open_files,
        })
    }
}

impl Ports {
    fn to_json(&self) -> Value {
        match self {
            Self::Any => "any".into(),
            Self::Only(ranges) => ranges
                .iter()
                .map(|(first, last)| {
                    if first == last {
                        Value::from(*first)
                    } else {
                        format!("{first}-{last}").into()
                    }
                })
                .collect(),
        }
    }

    /// Every single port, or `None` for all.
    pub fn each(&self) -> Option<impl Iterator<Item = u16>> {
        match self {
            Self::Any => None,
            Self::Only(ranges) => Some(ranges.iter().flat_map(|(first, last)| *first..=*last)),
        }
    }
}

fn problem(member: impl Into<String>, message: impl Into<String>) -> SandboxProblem {
    SandboxProblem {
        member: member.into(),
        message: message.into(),
    }
}

fn parse_rules(members: &Map<String, Value>) -> Result<SandboxRules, Vec<SandboxProblem>> {
    let mut rules = SandboxRules::default();
    let mut problems = Vec::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let read = match name.as_str() {
            "network" => parse_network(value).map(|network| rules.network = network),
            "ports" => parse_ports(value).map(|ports| rules.ports = ports),
            "read" => parse_paths(name, value).map(|paths| rules.read = paths),
            "write" => parse_paths(name, value).map(|paths| rules.write = paths),
            "max_processes" => parse_count(name, value, 1).map(|count| rules.max_processes = count),
            // Less than this, and no interpreter starts.
            "max_memory_mb" => parse_count(name, value, 16).map(|count| rules.max_memory_mb = count),
            "max_file_mb" => parse_count(name, value, 0).map(|count| rules.max_file_mb = count),
            "max_open_files" => parse_count(name, value, 16).map(|count| rules.max_open_files = count),
            _ => Err(problem(name, unknown(name))),
        };
        problems.extend(read.err());
    }
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = SANDBOX_FIELDS.iter().map(|(name, _)| *name).collect();
    let near = names.iter().find(|known| {
        let stem = |text: &str| text.trim_end_matches('s').to_ascii_lowercase();
        stem(known) == stem(name) || known.ends_with(&format!("_{name}"))
    });
    match near {
        Some(near) => format!("is no setting of a sandbox; did you mean {near:?}?"),
        None => format!("is no setting of a sandbox; there are {}", names.join(", ")),
    }
}

fn parse_network(value: &Value) -> Result<Network, SandboxProblem> {
    match value.as_str() {
        Some("allow") => Ok(Network::Allow),
        Some("deny") => Ok(Network::Deny),
        _ => Err(problem("network", "must be `allow` or `deny`")),
    }
}

fn parse_ports(value: &Value) -> Result<Ports, SandboxProblem> {
    if value.as_str() == Some("any") {
        return Ok(Ports::Any);
    }
    let Value::Array(items) = value else {
        return Err(problem("ports", "must be a list of ports, or `any`"));
    };
    let mut ranges = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let range = parse_range(item).ok_or_else(|| {
            problem(
                format!("ports[{index}]"),
                "must be a port from 1 to 65535, or a range such as `8000-8010`",
            )
        })?;
        ranges.push(range);
    }
    let total: u32 = ranges
        .iter()
        .map(|(first, last)| u32::from(last - first) + 1)
        .sum();
    if total > MAX_PORTS {
        return Err(problem(
            "ports",
            format!("must not be more than {MAX_PORTS} ports; `any` is all of them"),
        ));
    }
    Ok(Ports::Only(ranges))
}

fn parse_range(item: &Value) -> Option<(u16, u16)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match item {
        Value::Number(number) => port(&number.to_string()).map(|port| (port, port)),
        Value::String(text) => match text.split_once('-') {
            Some((first, last)) => {
                let range = (port(first)?, port(last)?);
                (range.0 <= range.1).then_some(range)
            }
            None => port(text).map(|port| (port, port)),
        },
        _ => None,
    }
}

fn parse_paths(name: &str, value: &Value) -> Result<Vec<PathBuf>, SandboxProblem> {
    let Value::Array(items) = value else {
        return Err(problem(name, "must be a list of absolute paths"));
    };
    let path = |(index, item): (usize, &Value)| {
        item.as_str()
            .filter(|text| text.starts_with('/') && !text.contains('\0'))
            .map(PathBuf::from)
            .ok_or_else(|| problem(format!("{name}[{index}]"), "must be an absolute path"))
    };
    items.iter().enumerate().map(path).collect()
}

fn parse_count(name: &str, value: &Value, least: u32) -> Result<u32, SandboxProblem> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number >= least && *number <= MAX_COUNT)
        .ok_or_else(|| {
            problem(
                name,
                format!("must be a whole number from {least} to {MAX_COUNT}"),
            )
        })
}

/// A million processes, a terabyte: more is a mistake of unit.
const MAX_COUNT: u32 = 1_048_576;

/// What of a [`Sandbox`] the kernel enforces: what is shown in rows, in `trunkline doctor`, and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// How much of what was asked for.
    pub degree: Degree,
    /// What is enforced, a few words each: `landlock abi 7`, `seccomp`, `no_new_privs`.
    pub enforced: Vec<String>,
    /// What was asked for and is not enforced, with the reason, a sentence each.
    pub missing: Vec<String>,
}

/// How much of a sandbox is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degree {
    /// All that was asked for.
    Full,
    /// A part.
    Partial,
    /// Nothing.
    None,
}

impl Degree {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }

    /// The inverse of [`Degree::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Full, Self::Partial, Self::None]
            .into_iter()
            .find(|degree| degree.as_str() == text)
    }
}

impl Isolation {
    /// Nothing is enforced, and why.
    pub fn none(reason: impl Into<String>) -> Self {
        Self {
            degree: Degree::None,
            enforced: Vec::new(),
            missing: vec![reason.into()],
        }
    }

    /// As answers show it.
    pub fn to_json(&self) -> Value {
        json!({
            "degree": self.degree.as_str(),
            "enforced": self.enforced,
            "missing": self.missing,
        })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mut text = self.degree.as_str().to_owned();
        if !self.enforced.is_empty() {
            text = format!("{text}: {}", self.enforced.join(", "));
        }
        for missing in &self.missing {
            text = format!("{text}; {missing}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let rules = json!({
            "network": "deny", "ports": [443, "8000-8010"], "read": ["/srv"], "write": ["/data"],
            "max_processes": 3, "max_memory_mb": 100, "max_file_mb": 0, "max_open_files": 20,
        });
        for value in [
            json!("off"),
            json!(null),
            json!({}),
            json!({"ports": "any"}),
            rules.clone(),
        ] {
            let sandbox = Sandbox::parse(&value).expect("fine");
            assert_eq!(Sandbox::parse(&sandbox.to_json()), Ok(sandbox));
        }
        assert_eq!(Sandbox::parse(&rules).map(|sandbox| sandbox.to_json()), Ok(rules));
        assert_eq!(Sandbox::parse(&json!(false)), Ok(Sandbox::Off));
    }

    #[test]
    fn mistakes_are_named() {
        for (value, member) in [
            (json!("none"), ""),
            (json!([]), ""),
            (json!({"network": "none"}), "network"),
            (json!({"ports": [0]}), "ports[0]"),
            (json!({"ports": ["9-8"]}), "ports[0]"),
            (json!({"ports": ["1-65535"]}), "ports"),
            (json!({"read": ["relative"]}), "read[0]"),
            (json!({"write": "/data"}), "write"),
            (json!({"max_memory_mb": 1}), "max_memory_mb"),
            (json!({"max_open_files": -1}), "max_open_files"),
            (json!({"port": [1]}), "port"),
        ] {
            let problems = Sandbox::parse(&value).expect_err("a mistake");
            assert_eq!(problems[0].member, member, "{value}: {problems:?}");
        }
        let problems = Sandbox::parse(&json!({"port": [1], "network": 1})).expect_err("two");
        assert_eq!(problems.len(), 2);
        assert!(
            problems
                .iter()
                .any(|p| p.message.contains("did you mean \"ports\""))
        );
    }
}
