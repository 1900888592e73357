//! Tools of the gateway's own MCP servers in a request to a model: `{"type": "mcp", "server_url": "litellm_proxy/mcp/NAME", …}`, as
//! OpenAI's responses have them and LiteLLM understands them.

use serde::Deserialize;
use serde_json::Value;
use trunkline_mcp::edit::is_same_key;

use crate::BadRequest;
use crate::request::bad;

/// What clients write instead of the gateway's address.
const OWN: &str = "litellm_proxy";

/// A reference to servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpTool {
    /// What the client calls them.
    pub label: String,
    /// As an MCP endpoint's path selects them: `/mcp`, `/mcp/NAME`, `/NAME/mcp`, `/toolset/NAME/mcp`.
    pub path: String,
    /// Of their tools only these, by either name.
    pub allowed: Option<Vec<String>>,
    /// And of those only ones that say that they change nothing.
    pub read_only: bool,
    /// Which are called without asking.
    pub approval: Approval,
    /// For the servers: names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Whether the client wants to be asked before a call. OpenAI's word for nothing said is `always`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// No.
    Never,
    /// For every call.
    Always,
    /// But for calls of these.
    Except(Vec<String>),
}

impl Approval {
    /// Whether a call of a tool with these names is asked about.
    pub fn is_needed(&self, names: [&str; 2]) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Except(never) => !never.iter().any(|own| names.contains(&own.as_str())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "type")]
    _kind: String,
    server_url: String,
    #[serde(default)]
    server_label: Option<String>,
    #[serde(default, rename = "server_description")]
    _description: Option<Value>,
    #[serde(default)]
    allowed_tools: Option<Allowed>,
    #[serde(default)]
    require_approval: Option<Wanted>,
    #[serde(default)]
    headers: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Allowed {
    Names(Vec<String>),
    Filter(Filter),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    tool_names: Option<Vec<String>>,
    #[serde(default)]
    read_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Word(String),
    Filters(Filters),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    #[serde(default)]
    never: Option<Filter>,
    #[serde(default, rename = "always")]
    _always: Option<Filter>,
}

/// Whether an address is the gateway's: LiteLLM's word for it, or the host that the request itself came to.
pub fn path_of<'a>(server_url: &'a str, host: Option<&str>) -> Option<&'a str> {
    if let Some(rest) = server_url.strip_prefix(OWN) {
        return match rest {
            "" | "/" => Some("/mcp"),
            _ => rest.starts_with('/').then_some(rest),
        };
    }
    let (_, rest) = server_url
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_endpoint = path.starts_with("/mcp") || path.ends_with("/mcp") || path.ends_with("/mcp/");
    (is_endpoint && host.is_some_and(|own| own.eq_ignore_ascii_case(authority))).then_some(path)
}

impl McpTool {
    /// Reads one. `at` is where it stands in the request, `path` what [`path_of`] says of it.
    pub fn read(json: &str, at: &str, path: &str) -> Result<Self, BadRequest> {
        let wire: Wire = serde_json::from_str(json)
            .map_err(|error| bad(Some("tools"), format!("`{at}` cannot be read: {error}")))?;
        let (allowed, read_only) = match wire.allowed_tools {
            None => (None, false),
            Some(Allowed::Names(names)) => (Some(names), false),
            Some(Allowed::Filter(own)) => (own.tool_names, own.read_only.unwrap_or(false)),
        };
        let name = path.split('/').rfind(|own| !matches!(*own, "" | "mcp"));
        let label = wire.server_label.filter(|label| !label.is_empty());
        debug_assert!(path_of(&wire.server_url, None).is_none_or(|own| own == path));
        Ok(Self {
            label: label.unwrap_or_else(|| name.unwrap_or("mcp").to_owned()),
            path: path.to_owned(),
            allowed,
            read_only,
            approval: approval(wire.require_approval, at)?,
            headers: headers(wire.headers.unwrap_or_default(), at)?,
        })
    }

    /// Whether a tool with these names is meant.
    pub fn means(&self, names: [&str; 2], is_read_only: bool) -> bool {
        let is_allowed = match &self.allowed {
            None => true,
            Some(allowed) => allowed.iter().any(|own| names.contains(&own.as_str())),
        };
        is_allowed && (is_read_only || !self.read_only)
    }
}

fn approval(wanted: Option<Wanted>, at: &str) -> Result<Approval, BadRequest> {
    match wanted {
        None => Ok(Approval::Always),
        Some(Wanted::Word(word)) => match word.as_str() {
            "never" => Ok(Approval::Never),
            "always" => Ok(Approval::Always),
            other => {
                let text = format!("`{at}.require_approval` is {other:?}, which is neither never nor always");
                Err(bad(Some("tools"), text))
            }
        },
        Some(Wanted::Filters(own)) => {
            let never = own.never.unwrap_or_default();
            if never.read_only.is_some() {
                let text = format!("`{at}.require_approval.never` must have `tool_names` alone");
                return Err(bad(Some("tools"), text));
            }
            Ok(Approval::Except(never.tool_names.unwrap_or_default()))
        }
    }
}

/// What is for the servers. Who asks, the request's own headers say: nothing of that can be written here.
fn headers(own: serde_json::Map<String, Value>, at: &str) -> Result<Vec<(String, String)>, BadRequest> {
    let mut headers = Vec::new();
    for (name, value) in own {
        let name = name.to_ascii_lowercase();
        let (true, Value::String(value)) = (name.starts_with("x-mcp-"), value) else {
            let text = format!(
                "`{at}.headers` has {name:?}: there may be texts whose names begin with `x-mcp-`, for the servers; who asks is what the request itself is sent with"
            );
            return Err(bad(Some("tools"), text));
        };
        headers.push((name, value));
    }
    Ok(headers)
}

/// Whether the type of a tool is that of a reference to an MCP server, or would be one to a service that does not look at the case.
pub fn is_mcp(kind: &str) -> bool {
    is_same_key("mcp", kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_known_by_litellms_word_and_by_the_host_that_was_asked() {
        let host = Some("gw.example:4000");
        for (url, wanted) in [
            ("litellm_proxy", Some("/mcp")),
            ("litellm_proxy/", Some("/mcp")),
            ("litellm_proxy/mcp/a,b", Some("/mcp/a,b")),
            ("litellm_proxy/toolset/t/mcp", Some("/toolset/t/mcp")),
            ("litellm_proxy_evil/mcp", None),
            ("http://gw.example:4000/mcp/a?x=1", Some("/mcp/a")),
            ("https://GW.example:4000/a/mcp", Some("/a/mcp")),
            ("http://gw.example/mcp/a", None),
            ("http://gw.example:4000@evil.example/mcp", None),
            ("http://evil.example/mcp/a", None),
            ("http://gw.example:4000/v1/other", None),
            ("ftp://gw.example:4000/mcp", None),
        ] {
            assert_eq!(path_of(url, host), wanted, "{url}");
        }
        assert_eq!(path_of("http://gw.example:4000/mcp", None), None);
    }

    #[test]
    fn what_is_asked_first_and_what_is_meant() {
        let read = |json: &str| McpTool::read(json, "tools[0]", "/mcp/github");
        let own = read(r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github"}"#).unwrap();
        assert_eq!((own.label.as_str(), &own.approval), ("github", &Approval::Always));
        assert!(own.means(["a", "github-a"], false));
        let own = read(
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","server_label":"gh","server_description":"x",
                "allowed_tools":{"tool_names":["a","github-b"],"read_only":true},
                "require_approval":{"never":{"tool_names":["a"]},"always":{"tool_names":["b"]}},
                "headers":{"X-MCP-github-Authorization":"Bearer t"}}"#,
        )
        .unwrap();
        assert!(own.means(["a", "github-a"], true) && !own.means(["a", "github-a"], false));
        assert!(own.means(["b", "github-b"], true) && !own.means(["c", "github-c"], true));
        assert!(!own.approval.is_needed(["a", "github-a"]) && own.approval.is_needed(["b", "github-b"]));
        let header = ("x-mcp-github-authorization".to_owned(), "Bearer t".to_owned());
        assert_eq!(own.headers, [header]);
        for json in [
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","require_approval":"sometimes"}"#,
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","authorization":"t"}"#,
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","headers":{"Authorization":"Bearer t"}}"#,
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","headers":{"x-mcp-a":1}}"#,
            r#"{"type":"mcp","server_url":"litellm_proxy/mcp/github","allowed_tools":["a",1]}"#,
        ] {
            let refused = read(json).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("tools"), "{json}");
        }
    }
}
