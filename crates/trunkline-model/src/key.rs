//! Virtual keys: what an administrator hands out, and what the holder may do with it. The key itself is nowhere in here:
//! what is known of it is its digest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::ids::hex;
use crate::{Metadata, Server, Spending, Stamps, Toolset, Toolsets};
use jiff::Timestamp;

/// SHA-256 of a key (LiteLLM's `token`): names it in the database, in logs and in answers, and opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Lower-case hexadecimal, as LiteLLM writes it.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The inverse of [`KeyHash::to_hex`]; `None` if the text is not 64 hexadecimal digits in lower case: one hash has one
    /// name.
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({})", self.to_hex())
    }
}

/// A virtual key as it is stored: LiteLLM's `LiteLLM_VerificationToken`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualKey {
    /// Which key.
    pub hash: KeyHash,
    /// The same as text: what logs, records and sessions call its holder.
    pub id: Box<str>,
    /// `sk-...abcd`: for people, to tell keys apart.
    pub key_name: Option<String>,
    /// A name of the administrator's choice, unique.
    pub key_alias: Option<String>,
    /// `default`, `llm_api`, `management` or `read_only`: what `allowed_routes` was made of.
    pub key_type: Option<String>,
    /// Whose it is. A label if there is no such user.
    pub user_id: Option<String>,
    /// Of which team. It is refused if there is no such team.
    pub team_id: Option<String>,
    /// The administrator's own.
    pub metadata: Metadata,
    /// From then on it is refused.
    pub expires: Option<Timestamp>,
    /// It is refused until it is unblocked.
    pub blocked: bool,
    /// What it may call, of what keys may call at all; everything of that if there is nothing in it.
    pub allowed_routes: Vec<String>,
    /// What it may use.
    pub object_permission: ObjectPermission,
    /// Who and when.
    pub stamps: Stamps,
    /// How often it was given another secret, and when the last time.
    pub rotation_count: u32,
    /// When it was given another secret.
    pub last_rotation_at: Option<Timestamp>,
    /// How much it may call.
    pub limits: CallLimits,
    /// What else it may spend and call. It is refused if there is no such budget.
    pub budget_id: Option<String>,
    /// What it may spend, beside its budget.
    pub spending: Spending,
    /// Secrets that it had before, and that are good for a while.
    pub previous: Vec<PreviousSecret>,
    /// What of it is no administrator's.
    pub delegation: Delegation,
    /// What of its row cannot be read. Such a key is refused: what is missing may have been a restriction.
    pub defect: Option<String>,
}

impl VirtualKey {
    /// Whether a digest is that of a secret that it had before, and that is still good.
    pub fn is_previous(&self, hash: &KeyHash, now: Timestamp) -> bool {
        let own = self.previous.iter().find(|own| own.hash == *hash);
        own.is_some_and(|own| now < own.until)
    }

    /// A new key that may use nothing.
    pub fn new(hash: KeyHash) -> Self {
        Self {
            hash,
            id: hash.to_hex().into(),
            key_name: None,
            key_alias: None,
            key_type: None,
            user_id: None,
            team_id: None,
            metadata: Metadata::default(),
            expires: None,
            blocked: false,
            allowed_routes: Vec::new(),
            object_permission: ObjectPermission::default(),
            stamps: Stamps::default(),
            rotation_count: 0,
            last_rotation_at: None,
            limits: CallLimits::default(),
            budget_id: None,
            spending: Spending::default(),
            previous: Vec::new(),
            delegation: Delegation::default(),
            defect: None,
        }
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether `allowed_routes` covers a route.
    pub fn may_call(&self, route: Route<'_>) -> bool {
        self.allowed_routes.is_empty() || self.allowed_routes.iter().any(|rule| route.is_covered_by(rule))
    }
}

impl VirtualKey {
    /// Its alias, if an administrator has given it: what rules about calls go by. What its holder calls it proves nothing.
    pub fn vouched_alias(&self) -> Option<&str> {
        self.key_alias.as_deref().filter(|_| !self.delegation.alias)
    }

    /// Its metadata, if an administrator has given it.
    pub fn vouched_metadata(&self) -> Option<&Metadata> {
        (!self.delegation.metadata).then_some(&self.metadata)
    }

    /// A limit that an administrator has set on it, by its field's name.
    pub fn administrators_limit(&self) -> Option<&'static str> {
        let set = self
            .limits
            .first()
            .or(self.budget_id.as_ref().map(|_| "budget_id"))
            .or(self.spending.max_budget.map(|_| "max_budget"))
            .or(self.spending.is_of_models().then_some("model_max_budget"));
        set.filter(|_| !self.delegation.is_whole)
    }
}

/// What of a key those have done who are no proxy admins: users with keys of their own, and admins of teams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// The user that has seen its secret, if it was no administrator that made it or gave it another. With that user's
    /// membership the key goes.
    pub by: Option<String>,
    /// Whether such a user has made it, and no administrator has written it since: nothing on it is an administrator's decision.
    pub is_whole: bool,
    /// Whether such a user has chosen `key_alias`.
    pub alias: bool,
    /// Whether such a user has written `metadata`.
    pub metadata: bool,
}

/// A secret that a key had before it was given another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Its digest.
    pub hash: KeyHash,
    /// From then on it is refused.
    pub until: Timestamp,
}

/// How much a key may call, or all keys of a team or a user together. What is `None` or not named is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls in a minute.
    pub rpm_limit: Option<u32>,
    /// Calls at the same time.
    pub max_parallel_requests: Option<u32>,
    /// Calls of one server in a minute, by its id, name or alias.
    pub mcp_rpm_limit: BTreeMap<String, u32>,
    /// Tokens of models in a minute.
    pub tpm_limit: Option<u64>,
    /// Requests to one model in a minute, by the name that clients ask for.
    pub model_rpm_limit: BTreeMap<String, u32>,
    /// Tokens of one model in a minute, by the name that clients ask for.
    pub model_tpm_limit: BTreeMap<String, u64>,
}

impl CallLimits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        self.first().is_none()
    }

    /// Whether no tokens and no single models are limited.
    pub fn is_of_calls_alone(&self) -> bool {
        self.tpm_limit.is_none() && self.model_rpm_limit.is_empty() && self.model_tpm_limit.is_empty()
    }

    /// The name of a limit that is set, if any is.
    pub fn first(&self) -> Option<&'static str> {
        // A new limit does not compile before it is here and below.
        let Self {
            rpm_limit,
            max_parallel_requests,
            mcp_rpm_limit,
            tpm_limit,
            model_rpm_limit,
            model_tpm_limit,
        } = self;
        let names = [
            (rpm_limit.is_some(), "rpm_limit"),
            (max_parallel_requests.is_some(), "max_parallel_requests"),
            (!mcp_rpm_limit.is_empty(), "mcp_rpm_limit"),
            (tpm_limit.is_some(), "tpm_limit"),
            (!model_rpm_limit.is_empty(), "model_rpm_limit"),
            (!model_tpm_limit.is_empty(), "model_tpm_limit"),
        ];
        names
            .into_iter()
            .find_map(|(is_set, name)| is_set.then_some(name))
    }

    /// Whether everything that these limits let through, `bound` lets through, too; the field that lets more through if not.
    pub fn check_within(&self, bound: &Self) -> Result<(), &'static str> {
        let Self {
            rpm_limit,
            max_parallel_requests,
            mcp_rpm_limit,
            tpm_limit,
            model_rpm_limit,
            model_tpm_limit,
        } = self;
        let all = [
            (is_within(*rpm_limit, bound.rpm_limit), "rpm_limit"),
            (
                is_within(*max_parallel_requests, bound.max_parallel_requests),
                "max_parallel_requests",
            ),
            (are_within(mcp_rpm_limit, &bound.mcp_rpm_limit), "mcp_rpm_limit"),
            (is_within(*tpm_limit, bound.tpm_limit), "tpm_limit"),
            (
                are_within(model_rpm_limit, &bound.model_rpm_limit),
                "model_rpm_limit",
            ),
            (
                are_within(model_tpm_limit, &bound.model_tpm_limit),
                "model_tpm_limit",
            ),
        ];
        let more = all
            .into_iter()
            .find_map(|(is_within, name)| (!is_within).then_some(name));
        more.map_or(Ok(()), Err)
    }

    /// Calls of a server in a minute: the least of all entries that name it.
    pub fn rpm_of(&self, server: &Server) -> Option<u32> {
        let own = self.mcp_rpm_limit.iter();
        own.filter(|(name, _)| is_named(server, name))
            .map(|(_, most)| *most)
            .min()
    }
}

fn is_within<N: PartialOrd>(own: Option<N>, most: Option<N>) -> bool {
    most.is_none_or(|most| own.is_some_and(|own| own <= most))
}

/// Whether every entry of `bound` has one in `own` that lets no more through.
fn are_within<N: PartialOrd + Copy>(own: &BTreeMap<String, N>, bound: &BTreeMap<String, N>) -> bool {
    bound
        .iter()
        .all(|(name, most)| is_within(own.get(name).copied(), Some(*most)))
}

/// What a key may use, or a team, a user … at most (LiteLLM's `object_permission`).
#[derive(Clone, Debug, Default)]
pub struct ObjectPermission {
    /// LiteLLM's `object_permission_id`.
    pub id: Option<String>,
    /// Servers, each by id, name or alias, and words.
    pub mcp_servers: Vec<String>,
    /// Every server that is in one of these groups.
    pub mcp_access_groups: Vec<String>,
    /// The only tools of a server, by id, name or alias. Narrows; it grants no server.
    pub mcp_tool_permissions: BTreeMap<String, Vec<String>>,
    /// Toolsets, each by id or name: their servers, and of these the tools that are in them.
    pub mcp_toolsets: Vec<String>,
    /// Models, each by the name that clients ask for, the beginning of names with `*`, or words. LiteLLM has them beside its
    /// `object_permission`; here they are one thing, which one version understands as a whole or not at all.
    pub models: Vec<String>,
    /// Those of [`ObjectPermission::mcp_toolsets`] that there are. Not stored: [`ObjectPermission::bind`] puts them here.
    pub toolsets: Vec<Arc<Toolset>>,
}

/// In `mcp_servers`: nothing at all, whatever else is granted.
pub const NO_MCP_SERVERS: &str = "no-mcp-servers";
/// In a team's `mcp_servers`: every server.
pub const ALL_PROXY_MCP_SERVERS: &str = "all-proxy-mcpservers";
/// In a key's `mcp_servers`: what its team has.
pub const ALL_TEAM_MCP_SERVERS: &str = "all-team-mcpservers";
/// The words of `mcp_servers`. A server that is called like one is granted by its id.
pub const SERVER_WORDS: [&str; 3] = [NO_MCP_SERVERS, ALL_PROXY_MCP_SERVERS, ALL_TEAM_MCP_SERVERS];
/// In `models`: every model.
pub const ALL_PROXY_MODELS: &str = "all-proxy-models";
/// In a key's `models`: what its team has.
pub const ALL_TEAM_MODELS: &str = "all-team-models";
/// In `models`: none. Of a user: its own keys have none, and those of its teams what the teams have.
pub const NO_DEFAULT_MODELS: &str = "no-default-models";
/// The words of `models`, which are names of no model.
pub const MODEL_WORDS: [&str; 3] = [ALL_PROXY_MODELS, ALL_TEAM_MODELS, NO_DEFAULT_MODELS];
/// In a list of tools: all of them.
pub const ALL_TOOLS: &str = "*";

/// How much of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Something of it.
    Any,
    /// All of it, and not only tools that are in a toolset.
    Whole,
    /// A tool, by the server's own name for it.
    Tool(&'a str),
}

/// What is written. What it was bound to follows from that and from the toolsets of the moment.
impl PartialEq for ObjectPermission {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            id,
            mcp_servers,
            mcp_access_groups,
            mcp_tool_permissions,
            mcp_toolsets,
            models,
            toolsets: _,
        } = self;
        *id == other.id
            && *mcp_servers == other.mcp_servers
            && *mcp_access_groups == other.mcp_access_groups
            && *mcp_tool_permissions == other.mcp_tool_permissions
            && *mcp_toolsets == other.mcp_toolsets
            && *models == other.models
    }
}

impl Eq for ObjectPermission {}

impl ObjectPermission {
    /// Whether it says anything about servers. As it is written: a list of what is not there any more is a list.
    pub fn has_servers(&self) -> bool {
        !self.mcp_servers.is_empty() || !self.mcp_access_groups.is_empty() || !self.mcp_toolsets.is_empty()
    }

    /// Whether one of these words, which are no names of servers, is in the list.
    pub fn says(&self, word: &str) -> bool {
        self.mcp_servers.iter().any(|name| name == word)
    }

    /// Whether its lists have the server, or so much of it.
    pub fn lists(&self, server: &Server, part: Part<'_>) -> bool {
        self.lists_whole(server)
            || match part {
                Part::Any => self.toolsets.iter().any(|toolset| toolset.covers(server)),
                Part::Tool(tool) => self
                    .toolsets
                    .iter()
                    .any(|toolset| toolset.covers_tool(server, tool)),
                Part::Whole => false,
            }
    }

    fn lists_whole(&self, server: &Server) -> bool {
        self.mcp_servers
            .iter()
            .any(|name| is_granted_as(server, name) && !SERVER_WORDS.contains(&name.as_str()))
            || self
                .mcp_access_groups
                .iter()
                .any(|group| server.definition.mcp_access_groups.contains(group))
    }

    /// Whether the tool may be used of a server that may be. Every entry that names the server has to name the tool:
    /// `named` says whether an entry means it.
    pub fn covers_tool(&self, server: &Server, named: impl Fn(&String) -> bool) -> bool {
        self.mcp_tool_permissions
            .iter()
            .filter(|(name, _)| is_named(server, name))
            .all(|(_, tools)| tools.iter().any(|tool| tool == ALL_TOOLS || named(tool)))
    }

    /// Whether this toolset was granted.
    pub fn has_toolset(&self, toolset: &Toolset) -> bool {
        !self.says(NO_MCP_SERVERS) && self.toolsets.iter().any(|own| own.id == toolset.id)
    }

    /// Whether a key with these servers, groups, toolsets and tools may use no more than one with those of `bound`, beside which it
    /// stands: by what is written, so that it holds whatever servers and toolsets become. Models are not looked at. The
    /// member that has more if not.
    pub fn check_within(&self, bound: &Self) -> Result<(), &'static str> {
        let all_in = |own: &[String], most: &[String]| own.iter().all(|name| most.contains(name));
        let is_nothing = self.says(NO_MCP_SERVERS);
        if is_nothing {
            return Ok(());
        }
        // What is for every key is taken away, too, by that word and by lists of tools.
        if bound.says(NO_MCP_SERVERS) || !all_in(&self.mcp_servers, &bound.mcp_servers) {
            return Err("mcp_servers");
        }
        if !all_in(&self.mcp_access_groups, &bound.mcp_access_groups) {
            return Err("mcp_access_groups");
        }
        if !all_in(&self.mcp_toolsets, &bound.mcp_toolsets) {
            return Err("mcp_toolsets");
        }
        let narrows = |(server, most): (&String, &Vec<String>)| {
            let own = self.mcp_tool_permissions.get(server);
            own.is_some_and(|own| most.iter().any(|tool| tool == ALL_TOOLS) || all_in(own, most))
        };
        let is_within = bound.mcp_tool_permissions.iter().all(narrows);
        is_within.then_some(()).ok_or("mcp_tool_permissions")
    }

    /// Takes over what of `bound` only takes away, where this says nothing of the same name.
    pub fn inherit(&mut self, bound: &Self) {
        if bound.says(NO_MCP_SERVERS) && !self.says(NO_MCP_SERVERS) {
            self.mcp_servers.push(NO_MCP_SERVERS.to_owned());
        }
        for (server, tools) in &bound.mcp_tool_permissions {
            let own = self.mcp_tool_permissions.entry(server.clone());
            own.or_insert_with(|| tools.clone());
        }
    }

    /// Looks up which toolsets are granted. What is written and not there grants nothing.
    pub fn bind(&mut self, all: &Toolsets) {
        self.toolsets = self.bound_to(all);
    }

    /// Whether [`ObjectPermission::bind`] would change nothing.
    pub fn is_bound_to(&self, all: &Toolsets) -> bool {
        self.mcp_toolsets.is_empty() && self.toolsets.is_empty() || self.toolsets == self.bound_to(all)
    }

    fn bound_to(&self, all: &Toolsets) -> Vec<Arc<Toolset>> {
        let named = self.mcp_toolsets.iter();
        named.filter_map(|name| all.find(name).cloned()).collect()
    }
}

/// A grant by name is a grant of whoever has the name: a server that only claims it (it has a defect that says so) is
/// granted by its id.
pub(crate) fn is_granted_as(server: &Server, name: &str) -> bool {
    server.id.as_str() == name || (server.defect.is_none() && is_named(server, name))
}

/// Whether it is the server's id, name or alias. Without regard to case, as registration compares them (B35).
fn is_named(server: &Server, name: &str) -> bool {
    let same = |own: &str| own.eq_ignore_ascii_case(name);
    same(server.id.as_str())
        || server.definition.alias.as_deref().is_some_and(same)
        || server.definition.server_name.as_deref().is_some_and(same)
}

/// What a request asks for, as `allowed_routes` sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Whether it lists or uses what MCP servers have, in whichever protocol.
    pub is_mcp: bool,
    /// Whether it lists or uses models.
    pub is_llm: bool,
    /// The path, without the gateway's root path.
    pub path: &'a str,
}

/// The words for many routes that `allowed_routes` may hold.
pub const ROUTE_WORDS: [&str; 6] = [
    "llm_api_routes",
    "mapped_pass_through_routes",
    "mcp_routes",
    "mcp_inference_routes",
    "info_routes",
    "management_routes",
];

/// What shows a caller its own.
const INFO_ROUTES: [&str; 4] = ["/key/info", "/team/info", "/user/info", "/v2/user/info"];
/// How the paths begin that manage keys and whom they belong to.
pub const MANAGEMENT_PATHS: [&str; 9] = [
    "/budget/",
    "/key/",
    "/team/",
    "/v2/team/",
    "/user/",
    "/v2/user/",
    "/organization/",
    "/customer/",
    "/end_user/",
];

impl Route<'_> {
    /// Whether one entry of `allowed_routes` covers it: a word, a path, or a path that ends in `*`.
    fn is_covered_by(self, rule: &str) -> bool {
        match rule {
            "llm_api_routes" => self.is_mcp || self.is_llm,
            // A server may have the name of a provider.
            "mapped_pass_through_routes" => !self.is_mcp && is_pass_through(self.path),
            "mcp_routes" | "mcp_inference_routes" => self.is_mcp,
            "info_routes" => INFO_ROUTES.contains(&self.path) || is_toolset(self.path),
            "management_routes" => MANAGEMENT_PATHS.iter().any(|begin| self.path.starts_with(begin)),
            path => match path.strip_suffix('*') {
                Some(begin) => self.path.starts_with(begin),
                None => self.path.trim_end_matches('/') == path.trim_end_matches('/'),
            },
        }
    }
}

/// Whether a path lists or uses models.
pub fn is_llm_path(path: &str) -> bool {
    const LISTS: [&str; 5] = [
        "/models",
        "/v1/models",
        "/model/info",
        "/v1/model/info",
        "/model_group/info",
    ];
    const USES: [&str; 8] = [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/rerank",
        "/moderations",
        "/images/generations",
        "/audio/speech",
        "/audio/transcriptions",
    ];
    const MESSAGES: [&str; 2] = ["/v1/messages", "/v1/messages/count_tokens"];
    let begins = ["/engines/", "/openai/deployments/", "/v1/models/", "/models/"];
    let rest = path.strip_prefix("/v1").unwrap_or(path);
    let responses = path
        .strip_prefix("/openai/v1")
        .unwrap_or(rest)
        .strip_prefix("/responses");
    LISTS.contains(&path)
        || USES.contains(&rest)
        || path == "/v2/rerank"
        || MESSAGES.contains(&path.strip_prefix("/anthropic").unwrap_or(path))
        || begins.iter().any(|begin| path.starts_with(begin))
        || responses.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        || is_pass_through(path)
}

/// Whether a path is one of a provider's own API, behind the provider's name.
pub fn is_pass_through(path: &str) -> bool {
    const APIS: [&str; 10] = [
        "openai",
        "anthropic",
        "gemini",
        "vertex_ai",
        "vertex-ai",
        "bedrock",
        "azure",
        "cohere",
        "mistral",
        "vllm",
    ];
    let named = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    named.is_some_and(|(api, rest)| APIS.contains(&api) && !rest.is_empty())
}

/// The routes that show a key the toolsets that it was granted.
fn is_toolset(path: &str) -> bool {
    let rest = path.strip_prefix("/v1/mcp/toolset");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hash_has_one_name() {
        let hash = KeyHash([0xab; 32]);
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        for other in [
            "",
            "ab",
            &"AB".repeat(32),
            &"zz".repeat(32),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert_eq!(KeyHash::from_hex(other), None, "{other}");
        }
    }

    #[test]
    fn s18_grants_are_within_others_by_what_is_written() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let grant = |servers: &[&str], tools: &[(&str, &[&str])]| ObjectPermission {
            mcp_servers: list(servers),
            mcp_tool_permissions: tools
                .iter()
                .map(|(server, tools)| ((*server).to_owned(), list(tools)))
                .collect(),
            ..ObjectPermission::default()
        };
        let (more, servers, tools) = (Ok(()), Err("mcp_servers"), Err("mcp_tool_permissions"));
        let two = grant(&["a", "b"], &[]);
        let read = grant(&["a"], &[("a", &["read"])]);
        for (own, bound, expected) in [
            (grant(&[], &[]), &two, more),
            (grant(&["b"], &[("b", &["x"])]), &two, more),
            (grant(&["c"], &[]), &two, servers),
            (grant(&["a", ALL_TEAM_MCP_SERVERS], &[]), &two, servers),
            // What only takes away has to be taken over.
            (grant(&["a"], &[]), &read, tools),
            (grant(&[], &[]), &read, tools),
            (grant(&["a"], &[("a", &["read", "write"])]), &read, tools),
            (grant(&["a"], &[("a", &["*"])]), &read, tools),
            (grant(&["a"], &[("a", &[])]), &read, more),
            (grant(&["a"], &[]), &grant(&["a", NO_MCP_SERVERS], &[]), servers),
            (grant(&["c", NO_MCP_SERVERS], &[]), &read, more),
            (grant(&["a"], &[]), &grant(&["a"], &[("a", &["*"])]), tools),
        ] {
            assert_eq!(own.check_within(bound), expected, "{own:?} in {bound:?}");
            let mut heir = own.clone();
            heir.inherit(bound);
            // Unless it says more itself.
            let is_silent = own.mcp_tool_permissions.is_empty() && expected == tools;
            let expected = if is_silent { more } else { expected };
            if !bound.says(NO_MCP_SERVERS) {
                assert_eq!(heir.check_within(bound), expected, "{heir:?} in {bound:?}");
            }
        }
        let groups = |groups: &[&str], toolsets: &[&str]| ObjectPermission {
            mcp_access_groups: list(groups),
            mcp_toolsets: list(toolsets),
            ..ObjectPermission::default()
        };
        let bound = groups(&["g"], &["t"]);
        assert_eq!(groups(&["g"], &["t"]).check_within(&bound), Ok(()));
        assert_eq!(groups(&["h"], &[]).check_within(&bound), Err("mcp_access_groups"));
        assert_eq!(groups(&[], &["u"]).check_within(&bound), Err("mcp_toolsets"));
        // What a group has, and by another name, may be something else tomorrow.
        assert_eq!(grant(&["a"], &[]).check_within(&bound), Err("mcp_servers"));
        let limits = |rpm_limit, server: Option<u32>| CallLimits {
            rpm_limit,
            mcp_rpm_limit: server.map(|most| ("s".to_owned(), most)).into_iter().collect(),
            ..CallLimits::default()
        };
        let bound = limits(Some(10), Some(5));
        assert_eq!(limits(Some(10), Some(5)).check_within(&bound), Ok(()));
        assert_eq!(limits(Some(11), Some(5)).check_within(&bound), Err("rpm_limit"));
        assert_eq!(limits(None, Some(5)).check_within(&bound), Err("rpm_limit"));
        assert_eq!(limits(Some(1), None).check_within(&bound), Err("mcp_rpm_limit"));
        assert_eq!(limits(Some(1), None).check_within(&CallLimits::default()), Ok(()));
    }

    #[test]
    fn allowed_routes_narrow() {
        let mcp = |path| Route {
            is_mcp: true,
            is_llm: false,
            path,
        };
        let other = |path| Route {
            is_mcp: false,
            is_llm: is_llm_path(path),
            path,
        };
        let with = |rules: &[&str]| VirtualKey {
            allowed_routes: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            ..VirtualKey::new(KeyHash([0; 32]))
        };
        let all = with(&[]);
        assert!(all.may_call(mcp("/mcp")) && all.may_call(other("/key/info")));
        let api = with(&["llm_api_routes"]);
        assert!(api.may_call(mcp("/github/mcp")) && !api.may_call(other("/key/info")));
        for path in [
            "/v1/chat/completions",
            "/v1/responses",
            "/responses/resp_x/input_items",
            "/openai/v1/responses/resp_x",
            "/chat/completions",
            "/embeddings",
            "/engines/m/completions",
            "/openai/deployments/m/embeddings",
            "/v1/messages",
            "/anthropic/v1/messages/count_tokens",
            "/v1/models",
            "/models/m",
            "/model/info",
            "/v1/rerank",
            "/v2/rerank",
            "/moderations",
            "/v1/images/generations",
            "/audio/speech",
            "/v1/audio/transcriptions",
        ] {
            assert!(api.may_call(other(path)), "{path}");
            assert!(!with(&["mcp_routes"]).may_call(other(path)), "{path}");
        }
        assert!(!api.may_call(other("/model/new")) && !api.may_call(other("/v1/chat/completions/x")));
        let passed = with(&["mapped_pass_through_routes"]);
        for path in [
            "/gemini/v1beta/models/x:generateContent",
            "/vertex-ai/v1/x",
            "/openai/v1/files",
        ] {
            assert!(
                api.may_call(other(path)) && passed.may_call(other(path)),
                "{path}"
            );
        }
        assert!(!passed.may_call(other("/v1/chat/completions")) && !passed.may_call(mcp("/mcp")));
        assert!(!passed.may_call(mcp("/openai/mcp")) && api.may_call(mcp("/openai/mcp")));
        assert!(!api.may_call(other("/gemini")) && !api.may_call(other("/geminis/x")));
        let info = with(&["info_routes"]);
        assert!(!info.may_call(mcp("/mcp")) && info.may_call(other("/key/info")));
        assert!(info.may_call(other("/v1/mcp/toolset")) && info.may_call(other("/v1/mcp/toolset/x")));
        assert!(!info.may_call(other("/v1/mcp/toolsets")));
        let paths = with(&["/github/mcp", "/mcp-rest/*"]);
        assert!(paths.may_call(mcp("/github/mcp/")) && paths.may_call(mcp("/mcp-rest/tools/list")));
        assert!(!paths.may_call(mcp("/mcp")) && !paths.may_call(mcp("/github/mcp/x")));
        let unknown = with(&["some_later_routes"]);
        assert!(!unknown.may_call(mcp("/mcp")), "what is not known covers nothing");
    }
}
