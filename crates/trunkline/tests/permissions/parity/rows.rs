//! The table: every rule that takes something away, at every level that has it.

use std::collections::BTreeSet;
use std::iter::successors;

use serde_json::{Value, json};
use trunkline_model::Level;
use trunkline_policy::{Denial, Reason, Rule};

/// What a row takes away of its server; everything else of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hides {
    /// Nothing: the row that shows that the others could fail.
    Nothing,
    /// All of it.
    Server,
    /// The tool `write`.
    Write,
    /// Everything but the tool `read`.
    AllButRead,
    /// Nothing, but calls of the tool `write` as it is called here: the caller reads why.
    CallsOfWrite,
}

/// Something to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// The tool `read`.
    Read,
    /// The tool `write`.
    Write,
    /// A prompt, a resource, or whatever the server alone knows.
    Beyond,
}

/// Who asks for what, and who says no.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What `decide` says of the tool `write`; `None`: it may be used.
    pub(crate) denial: Option<Denial>,
    pub(crate) hides: Hides,
    /// The server that it is about.
    pub(crate) server: &'static str,
    /// The server that paths and headers select, if another.
    pub(crate) selects: &'static str,
    /// `object_permission` of each level that has any; no key: the master key asks.
    pub(crate) levels: Value,
    /// The toolset to connect to, and whether there is such a place for this caller.
    pub(crate) toolset: (&'static str, bool),
    /// Whether the client is outside of the internal networks.
    pub(crate) outside: bool,
}

impl Row {
    fn new(reason: Reason, level: Level, rule: Rule, hides: Hides) -> Self {
        // Of lists of rules, the servers here have one.
        let part = (rule == Rule::ToolConditions).then_some(0);
        Self {
            what: format!("{} by {} of {}", reason.as_str(), rule.as_str(), level.as_str()),
            denial: Some(Denial {
                reason,
                level,
                rule,
                part,
            }),
            hides,
            server: "files",
            selects: "files",
            levels: json!({"key": granted("files")}),
            toolset: ("wide", true),
            outside: false,
        }
    }

    /// A row about another server, which is granted.
    fn of(mut self, server: &'static str) -> Self {
        (self.server, self.selects) = (server, server);
        self.levels = json!({"key": granted(server)});
        self
    }

    /// With these levels in place of the key's grant, and the key's where it says nothing of it.
    fn with(mut self, levels: Value) -> Self {
        let mut levels = levels;
        if levels.get("key").is_none() {
            levels["key"] = granted(self.server);
        }
        self.levels = levels;
        self
    }

    fn at(mut self, toolset: &'static str, is_there: bool) -> Self {
        self.toolset = (toolset, is_there);
        self
    }

    fn called(mut self, more: &str) -> Self {
        self.what = format!("{}: {more}", self.what);
        self
    }

    /// Whether it is there, wherever everything is selected.
    pub(crate) fn allows(&self, thing: Thing) -> bool {
        match self.hides {
            Hides::Nothing | Hides::CallsOfWrite => true,
            Hides::Server => false,
            Hides::Write => thing != Thing::Write,
            Hides::AllButRead => thing == Thing::Read,
        }
    }
}

/// What a key has that may use everything of a server, of `other`, and of the toolset `wide`.
fn granted(server: &str) -> Value {
    json!({"mcp_servers": [server, "other"], "mcp_toolsets": ["wide"]})
}

/// The levels that grants are at.
fn grants() -> Vec<Level> {
    levels()
        .filter(|level| !matches!(level, Level::Scope | Level::Server))
        .collect()
}

/// Every level: the next one after each, so that a new one has to be put in.
fn levels() -> impl Iterator<Item = Level> {
    let next = |level: &Level| match level {
        Level::Scope => Some(Level::Server),
        Level::Server => Some(Level::Key),
        Level::Key => Some(Level::Team),
        Level::Team => Some(Level::User),
        Level::User => Some(Level::Organization),
        Level::Organization => Some(Level::EndUser),
        Level::EndUser => None,
    };
    successors(Some(Level::Scope), next)
}

/// Every rule, likewise.
fn rules() -> impl Iterator<Item = Rule> {
    let next = |rule: &Rule| match rule {
        Rule::Selection => Some(Rule::AvailableOnPublicInternet),
        Rule::AvailableOnPublicInternet => Some(Rule::ApprovalStatus),
        Rule::ApprovalStatus => Some(Rule::NoMcpServers),
        Rule::NoMcpServers => Some(Rule::McpServers),
        Rule::McpServers => Some(Rule::McpToolsets),
        Rule::McpToolsets => Some(Rule::NothingListed),
        Rule::NothingListed => Some(Rule::McpToolPermissions),
        Rule::McpToolPermissions => Some(Rule::AllowedTools),
        Rule::AllowedTools => Some(Rule::DisallowedTools),
        Rule::DisallowedTools => Some(Rule::PinnedTools),
        Rule::PinnedTools => Some(Rule::AllowedParams),
        Rule::AllowedParams => Some(Rule::ToolArguments),
        Rule::ToolArguments => Some(Rule::ToolConditions),
        // Models are on no way to a server: the suite of models has them.
        Rule::ToolConditions | Rule::Models | Rule::NoDefaultModels => None,
    };
    successors(Some(Rule::Selection), next)
}

/// Every reason, likewise.
fn reasons() -> impl Iterator<Item = Reason> {
    let next = |reason: &Reason| match reason {
        Reason::NotInScope => Some(Reason::IpFiltering),
        Reason::IpFiltering => Some(Reason::PendingReview),
        Reason::PendingReview => Some(Reason::Rejected),
        Reason::Rejected => Some(Reason::NoGrant),
        Reason::NoGrant => Some(Reason::ToolNotGranted),
        Reason::ToolNotGranted => Some(Reason::ToolNotAllowed),
        Reason::ToolNotAllowed => Some(Reason::ToolDisallowed),
        Reason::ToolDisallowed => Some(Reason::ToolNotPinned),
        Reason::ToolNotPinned => Some(Reason::ArgumentNotAllowed),
        Reason::ArgumentNotAllowed => Some(Reason::ArgumentPinned),
        Reason::ArgumentPinned => Some(Reason::ArgumentUnfilled),
        Reason::ArgumentUnfilled => Some(Reason::ConditionFailed),
        Reason::ConditionFailed => Some(Reason::ConditionError),
        Reason::ConditionError | Reason::ModelNotGranted => None,
    };
    successors(Some(Reason::NotInScope), next)
}

/// The levels that a rule is at.
fn levels_of(rule: Rule) -> Vec<Level> {
    match rule {
        Rule::Selection => vec![Level::Scope],
        Rule::AvailableOnPublicInternet
        | Rule::ApprovalStatus
        | Rule::AllowedTools
        | Rule::DisallowedTools
        | Rule::PinnedTools
        | Rule::AllowedParams
        | Rule::ToolArguments
        | Rule::ToolConditions => vec![Level::Server],
        Rule::NoMcpServers | Rule::McpServers | Rule::McpToolsets | Rule::McpToolPermissions => grants(),
        Rule::NothingListed => vec![Level::Key],
        Rule::Models | Rule::NoDefaultModels => Vec::new(),
    }
}

/// The rows of a rule.
fn rows_of(rule: Rule) -> Vec<Row> {
    match rule {
        Rule::Selection => {
            let mut row = Row::new(Reason::NotInScope, Level::Scope, rule, Hides::Server);
            row.selects = "other";
            vec![row.at("slim", true).with(json!({
                "key": {"mcp_servers": ["files", "other"], "mcp_toolsets": ["wide", "slim"]},
            }))]
        }
        Rule::AvailableOnPublicInternet => {
            let row = Row::new(Reason::IpFiltering, Level::Server, rule, Hides::Server).of("inner");
            let outside = |row: Row| Row { outside: true, ..row };
            let master = row.clone().called("the master key").with(json!({"key": null}));
            vec![outside(row), outside(master)]
        }
        Rule::ApprovalStatus => [(Reason::PendingReview, "draft"), (Reason::Rejected, "waste")]
            .into_iter()
            .flat_map(|(reason, server)| {
                let row = Row::new(reason, Level::Server, rule, Hides::Server).of(server);
                [
                    row.clone(),
                    row.called("the master key").with(json!({"key": null})),
                ]
            })
            .collect(),
        Rule::NoMcpServers => grants().into_iter().map(opted_out).collect(),
        Rule::McpServers => grants().into_iter().flat_map(not_listed).collect(),
        Rule::McpToolsets => grants().into_iter().map(in_no_toolset).collect(),
        Rule::NothingListed => {
            let row = || Row::new(Reason::NoGrant, Level::Key, rule, Hides::Server).at("wide", false);
            let all = json!({"mcp_servers": ["files"], "mcp_toolsets": ["wide"]});
            vec![
                row().with(json!({"key": {}})),
                row()
                    .called("in a team that has it")
                    .with(json!({"key": {}, "team": all, "user": all})),
                row().called("with rows of tools").with(json!({
                    "key": {"mcp_tool_permissions": {"files": ["*"]}},
                })),
            ]
        }
        Rule::McpToolPermissions => grants().into_iter().flat_map(not_named).collect(),
        Rule::AllowedTools => {
            let row = Row::new(Reason::ToolNotAllowed, Level::Server, rule, Hides::Write).of("picks");
            vec![
                row.clone(),
                row.called("the master key").with(json!({"key": null})),
            ]
        }
        Rule::DisallowedTools => {
            let row = Row::new(Reason::ToolDisallowed, Level::Server, rule, Hides::Write).of("drops");
            vec![
                row.clone(),
                row.called("the master key").with(json!({"key": null})),
            ]
        }
        Rule::PinnedTools => {
            let row = Row::new(Reason::ToolNotPinned, Level::Server, rule, Hides::Write).of("fixed");
            vec![
                row.clone(),
                row.called("the master key").with(json!({"key": null})),
            ]
        }
        Rule::Models | Rule::NoDefaultModels => Vec::new(),
        Rule::AllowedParams => of_calls(rule, &[(Reason::ArgumentNotAllowed, "argue")]),
        Rule::ToolArguments => of_calls(
            rule,
            &[
                (Reason::ArgumentPinned, "nails"),
                (Reason::ArgumentUnfilled, "needy"),
            ],
        ),
        Rule::ToolConditions => {
            let mut rows = of_calls(
                rule,
                &[
                    (Reason::ConditionFailed, "falls"),
                    (Reason::ConditionError, "shaky"),
                ],
            );
            // What is not about the call hides the tool.
            let row = Row::new(Reason::ConditionFailed, Level::Server, rule, Hides::Write).of("never");
            rows.push(row.called("whoever calls"));
            rows
        }
    }
}

/// Rules about calls, by servers that have them, for a key and for the administrator.
fn of_calls(rule: Rule, servers: &[(Reason, &'static str)]) -> Vec<Row> {
    let both = |(reason, server): &(Reason, &'static str)| {
        let row = Row::new(*reason, Level::Server, rule, Hides::CallsOfWrite).of(server);
        [
            row.clone(),
            row.called("the master key").with(json!({"key": null})),
        ]
    };
    servers.iter().flat_map(both).collect()
}

/// `no-mcp-servers` at one level, beside everything.
fn opted_out(level: Level) -> Row {
    let row = Row::new(Reason::NoGrant, level, Rule::NoMcpServers, Hides::Server);
    let out = json!({"mcp_servers": ["no-mcp-servers", "files", "other"], "mcp_toolsets": ["wide"]});
    let mut levels = json!({});
    levels[level.as_str()] = out;
    // Whom a request is for takes tools away, and not the place.
    row.at("wide", level == Level::EndUser).with(levels)
}

/// Lists of one level that have `other` and not `files`.
fn not_listed(level: Level) -> Vec<Row> {
    let row = || Row::new(Reason::NoGrant, level, Rule::McpServers, Hides::Server);
    let has_other = json!({"mcp_servers": ["other"]});
    let gone = json!({"mcp_toolsets": ["gone"], "mcp_access_groups": ["gone"]});
    if level == Level::Key {
        let slim = json!({"mcp_servers": ["other"], "mcp_toolsets": ["slim"]});
        let taken = json!({"key": {"mcp_servers": ["all-team-mcpservers"]}, "team": {}});
        return vec![
            row().at("slim", true).with(json!({"key": slim})),
            row()
                .called("what is gone")
                .at("wide", false)
                .with(json!({"key": gone})),
            row()
                .called("a team without a list")
                .at("wide", false)
                .with(taken),
        ];
    }
    let of = |permission: &Value| {
        let mut levels = json!({});
        levels[level.as_str()] = permission.clone();
        levels
    };
    let slim = json!({"mcp_toolsets": ["slim"]});
    let mut rows = vec![
        row().with(of(&has_other)),
        row().called("what is gone").with(of(&gone)),
        row().called("a toolset").with(of(&slim)),
    ];
    if level == Level::EndUser {
        let mut master = of(&has_other);
        master["key"] = Value::Null;
        rows.push(row().called("the master key").with(master));
    }
    rows
}

/// Lists of one level that have `files` by a toolset alone, in which `write` is not.
fn in_no_toolset(level: Level) -> Row {
    let row = Row::new(
        Reason::ToolNotGranted,
        level,
        Rule::McpToolsets,
        Hides::AllButRead,
    );
    let readers = json!({"mcp_servers": ["other"], "mcp_toolsets": ["readers"]});
    let mut levels = json!({});
    levels[level.as_str()] = readers;
    let toolset = if level == Level::Key { "readers" } else { "wide" };
    row.at(toolset, true).with(levels)
}

/// Rows of tools of one level that name `files`, and not `write`.
fn not_named(level: Level) -> Vec<Row> {
    let row = || {
        Row::new(
            Reason::ToolNotGranted,
            level,
            Rule::McpToolPermissions,
            Hides::Write,
        )
    };
    let rows = |tools: Value| {
        let mut permission = if level == Level::Key {
            granted("files")
        } else {
            json!({})
        };
        permission["mcp_tool_permissions"] = json!({"files": tools});
        let mut levels = json!({});
        levels[level.as_str()] = permission;
        levels
    };
    let mut found = vec![
        row().with(rows(json!(["read"]))),
        row()
            .called("by exposed names")
            .with(rows(json!(["files-read", "other-write"]))),
    ];
    if level == Level::EndUser {
        let mut master = rows(json!(["read"]));
        master["key"] = Value::Null;
        found.push(row().called("the master key").with(master));
    }
    found
}

/// All rows, and those that nothing is taken away in.
pub(crate) fn all() -> Vec<Row> {
    let allowed = |what: &str, levels: Value| Row {
        what: what.to_owned(),
        denial: None,
        ..Row::new(Reason::NoGrant, Level::Key, Rule::McpServers, Hides::Nothing).with(levels)
    };
    let all = json!({"mcp_servers": ["files", "other"], "mcp_toolsets": ["wide"]});
    let mut rows: Vec<Row> = rules().flat_map(rows_of).collect();
    rows.push(allowed(
        "the master key, and nobody takes away",
        json!({"key": null}),
    ));
    rows.push(allowed("a key, and nobody takes away", json!({})));
    rows.push(allowed(
        "everybody, and nobody takes away",
        json!({"key": all, "team": all, "user": all, "organization": all, "end_user": all}),
    ));
    rows
}

#[test]
fn every_reason_and_every_level_of_a_rule_has_a_row() {
    let rows = all();
    let denials: Vec<Denial> = rows.iter().filter_map(|row| row.denial).collect();
    for reason in reasons() {
        assert!(denials.iter().any(|denial| denial.reason == reason), "{reason:?}");
    }
    for rule in rules() {
        let of_rule = denials.iter().filter(|denial| denial.rule == rule);
        let found: BTreeSet<Level> = of_rule.map(|denial| denial.level).collect();
        assert_eq!(found, levels_of(rule).into_iter().collect(), "{rule:?}");
    }
    for level in levels() {
        assert!(denials.iter().any(|denial| denial.level == level), "{level:?}");
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "each is called something else");
}
