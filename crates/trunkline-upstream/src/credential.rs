//! What is sent with a request to a server: the credential phase, once, for list, call, check and probe alike (B09).
//!
//! Precedence on one request, as LiteLLM has it: `static_headers` over `x-mcp-{alias}-{header}` and `extra_headers` over
//! the `auth_type` header. The gateway's own credential is in none of them ([`Admission`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use trunkline_auth::{Admission, Vault, admission};
use trunkline_model::{AuthType, EnvVarScope, Secret, Server, Snapshot, Transport};
use url::Url;

use crate::addressing::addressees;
use crate::fault::Fault;
use crate::http::Target;
use crate::openapi::{self, Site};
use crate::program::recipe::{self, Recipe};
use crate::route::Route;

/// The headers of requests to one server with one credential.
pub struct Outgoing {
    /// Everything but what belongs to a session.
    pub headers: HeaderMap,
    /// Names the credential: equal headers, equal fingerprint. Pools, sessions and catalogues are keyed by it.
    pub fingerprint: [u8; 16],
    /// Where to.
    pub reach: Reach,
    /// The secret values in `headers`, to take them out of what upstreams say.
    secrets: Vec<Secret>,
}

/// How a server is reached. To everything above `Entry::send_with` each kind looks like a server that
/// speaks Streamable HTTP.
pub enum Reach {
    /// By HTTP.
    Http(Box<Target>),
    /// An HTTP API, after its OpenAPI document.
    OpenApi(Site),
    /// By the pipes of a program.
    Program(Arc<Recipe>),
}

impl Reach {
    /// The address, of what has one.
    pub fn url(&self) -> Option<&Url> {
        match self {
            Self::Http(target) => Some(&target.url),
            Self::OpenApi(site) => site.url(),
            Self::Program(_) => None,
        }
    }

    /// How connections are made, to what they are made to.
    pub(crate) fn route(&self) -> Option<&Route> {
        match self {
            Self::Http(target) => Some(&target.route),
            Self::OpenApi(site) => Some(site.route()),
            Self::Program(_) => None,
        }
    }

    /// Where messages go by HTTP.
    pub(crate) fn target(&self) -> Option<&Target> {
        match self {
            Self::Http(target) => Some(target),
            Self::OpenApi(_) | Self::Program(_) => None,
        }
    }

    /// The program, of what is one.
    pub(crate) fn program(&self) -> Option<&Arc<Recipe>> {
        match self {
            Self::Program(recipe) => Some(recipe),
            Self::Http(_) | Self::OpenApi(_) => None,
        }
    }
}

impl Outgoing {
    /// Messages and nothing else.
    pub(crate) fn to_program(recipe: Arc<Recipe>) -> Self {
        Self {
            headers: HeaderMap::new(),
            fingerprint: recipe.fingerprint,
            secrets: recipe.secrets.clone(),
            reach: Reach::Program(recipe),
        }
    }

    /// The secret texts that were sent, for [`Fault::without`].
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(Secret::expose)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The client's headers, as far as they may matter to upstreams.
#[derive(Clone, Copy, Default)]
pub struct ClientHeaders<'a> {
    request: Option<Request<'a>>,
}

#[derive(Clone, Copy)]
struct Request<'a> {
    headers: &'a HeaderMap,
    /// `None`: the headers were stripped before.
    admission: Option<&'a Admission>,
    snapshot: &'a Snapshot,
    /// The scope is more than one server: an `Authorization` meant for one of them is not sprayed over all (B39).
    several: bool,
}

impl Request<'_> {
    fn may_forward(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        self.admission.map_or_else(
            || !admission::is_reserved(name),
            |admission| admission.may_forward(name, value),
        )
    }
}

const X_MCP: &str = "x-mcp-";
const X_MCP_AUTH: &str = "x-mcp-auth";
const NOT_FOR_A_SERVER: [&str; 3] = ["x-mcp-servers", "x-mcp-access-groups", X_MCP_AUTH];

impl<'a> ClientHeaders<'a> {
    /// No client: the gateway's own listing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Of a request that was let in by `admission`. `several`: whether its scope is more than one server, which is asked only where a header
    /// depends on it: with thousands of servers the answer takes longer than a call.
    pub fn of(
        headers: &'a HeaderMap,
        admission: &'a Admission,
        snapshot: &'a Snapshot,
        several: impl FnOnce() -> bool,
    ) -> Self {
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let is_for_one = headers.contains_key(X_MCP_AUTH)
            || authorizations.any(|value| admission.may_forward(&AUTHORIZATION, value));
        Self {
            request: Some(Request {
                headers,
                admission: Some(admission),
                snapshot,
                several: is_for_one && several(),
            }),
        }
    }

    /// Of a request about one server whose headers were stripped of the gateway's credential before.
    pub fn stripped(headers: &'a HeaderMap, snapshot: &'a Snapshot) -> Self {
        Self {
            request: Some(Request {
                headers,
                admission: None,
                snapshot,
                several: false,
            }),
        }
    }

    /// Whether anything in them could change what is sent to `server`.
    pub fn concerns(&self, server: &Server) -> bool {
        let Some(request) = self.request else { return false };
        if is_program(server) {
            return recipe::concerns(server);
        }
        !server.definition.extra_headers.is_empty()
            || request
                .headers
                .keys()
                .any(|name| name.as_str().starts_with(X_MCP) && name != "x-mcp-servers")
    }

    /// The headers for `server`: those its `extra_headers` name, then those the client addressed to it.
    fn for_server(&self, server: &Server) -> Vec<(HeaderName, HeaderValue)> {
        let Some(request) = self.request else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, value) in request.headers {
            // A header that is addressed to one server goes there alone, however wide another server's rules are.
            if name.as_str().starts_with(X_MCP) || !request.may_forward(name, value) {
                continue;
            }
            let withheld = request.several && *name == AUTHORIZATION;
            if !withheld
                && server
                    .definition
                    .extra_headers
                    .iter()
                    .any(|rule| matches_rule(rule, name))
            {
                out.push((name.clone(), value.clone()));
            }
        }
        for (name, value) in request.headers {
            let Some(rest) = name.as_str().strip_prefix(X_MCP) else {
                continue;
            };
            if NOT_FOR_A_SERVER.contains(&name.as_str()) || !request.may_forward(name, value) {
                continue;
            }
            let Some((addressees, header)) = addressees(request.snapshot, rest) else {
                continue;
            };
            if addressees.contains(&server.id)
                && let Ok(header) = HeaderName::try_from(header)
                && !admission::is_reserved(&header)
            {
                out.push((header, value.clone()));
            }
        }
        out
    }

    /// A header of the client's request that a program's environment names.
    pub(crate) fn header(&self, name: &str) -> Option<Secret> {
        let request = self.request?;
        let name = HeaderName::try_from(name).ok()?;
        let value = request.headers.get(&name)?;
        request.may_forward(&name, value).then_some(())?;
        value.to_str().ok().map(Secret::new)
    }

    /// The deprecated `x-mcp-auth`: one credential, only where the request is about one server.
    fn global_auth(&self) -> Option<Secret> {
        let request = self.request.filter(|request| !request.several)?;
        let value = request.headers.get(X_MCP_AUTH)?;
        let name = HeaderName::from_static(X_MCP_AUTH);
        request.may_forward(&name, value).then_some(())?;
        value.to_str().ok().map(Secret::new)
    }
}

/// Whether an `extra_headers` entry names this header: the same name, or a prefix before a trailing `*`; any case (B50).
fn matches_rule(rule: &str, name: &HeaderName) -> bool {
    let rule = rule.trim();
    match rule.strip_suffix('*') {
        Some(prefix) => name
            .as_str()
            .get(..prefix.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(prefix)),
        None => name.as_str().eq_ignore_ascii_case(rule),
    }
}

/// Whether a server is a program.
pub(crate) fn is_program(server: &Server) -> bool {
    server.definition.transport == Transport::Stdio
}

/// The way to a server, and a text that names it.
fn reach(server: &Server, vault: &Vault, route: &Arc<Route>) -> Result<(Reach, String), Fault> {
    if let Some(defect) = &server.defect {
        return Err(Fault::misconfigured(defect.clone()));
    }
    if openapi::is_one(&server.definition) {
        let (site, identity) = Site::of(server, vault, route)?;
        return Ok((Reach::OpenApi(site), identity));
    }
    let url = endpoint(server)?;
    let identity = url.as_str().to_owned();
    Ok((Reach::Http(Box::new(Target::new(url, route)?)), identity))
}

/// Checks a server's URL: http or https, no user info, no fragment.
fn endpoint(server: &Server) -> Result<Url, Fault> {
    let definition = &server.definition;
    if definition.command.is_some() {
        return Err(
            Fault::misconfigured("a command is set, and transport is not stdio")
                .hint("set transport to stdio, or take the command out"),
        );
    }
    let text = definition.url.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Err(Fault::misconfigured("no url is set").hint("set url to the server's MCP endpoint"));
    }
    web_address("url", text)
}

/// Checks the address in a field: http or https, a host, no user info.
pub(crate) fn web_address(field: &str, text: &str) -> Result<Url, Fault> {
    let url = Url::parse(text)
        .map_err(|error| Fault::misconfigured(format!("the {field} is not valid: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Fault::misconfigured(format!(
            "the {field} must begin with http:// or https://"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            Fault::misconfigured(format!("the {field} holds a user name or password"))
                .hint("use auth_type basic and credentials.auth_value"),
        );
    }
    Ok(url)
}

/// Looks up an environment variable for `os.environ/NAME` in a secret that came through the API; those of the file were
/// resolved when it was read. The gateway's own secrets are not to be found (the binary sees to it).
pub type Variables = dyn Fn(&str) -> Option<Secret> + Send + Sync;

/// What to send to `server`, which is reached by `route`, for a client with these headers.
pub fn outgoing(
    server: &Server,
    client: &ClientHeaders<'_>,
    vault: &Vault,
    variables: &Variables,
    route: &Arc<Route>,
) -> Result<Outgoing, Fault> {
    if is_program(server) {
        if let Some(defect) = &server.defect {
            return Err(Fault::misconfigured(defect.clone()));
        }
        let recipe = recipe::recipe(server, client, vault, variables)?;
        return Ok(Outgoing::to_program(Arc::new(recipe)));
    }
    let (mut reach, identity) = reach(server, vault, route)?;
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION"))),
    );
    // A variable may be in the middle of a header, and is repeated by servers without what is around it.
    let mut secrets: Vec<Secret> = server
        .definition
        .env_vars
        .iter()
        .filter_map(|variable| resolve(&variable.value, "env_vars", variables).ok())
        .collect();
    if let Some((name, value)) = auth_header(server, client.global_auth(), variables)? {
        remember(&mut secrets, &value);
        if let Reach::OpenApi(site) = &mut reach {
            site.has_credential(&name, &value, &mut secrets);
        }
        headers.insert(name, value);
    }
    for (name, mut value) in client.for_server(server) {
        remember(&mut secrets, &value);
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, value) in static_headers(server, variables)? {
        remember(&mut secrets, &value);
        headers.insert(name, value);
    }
    let fingerprint = fingerprint(&[&identity, route.key()], &headers, vault);
    Ok(Outgoing {
        headers,
        fingerprint,
        reach,
        secrets,
    })
}

fn remember(secrets: &mut Vec<Secret>, value: &HeaderValue) {
    let Ok(text) = value.to_str() else { return };
    secrets.push(Secret::new(text));
    if let Some((_, bare)) = text.split_once(' ') {
        secrets.push(Secret::new(bare.trim()));
        // Of a Basic credential servers repeat what they decoded.
        if let Some(pair) = STANDARD
            .decode(bare.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            && let Some((_, password)) = pair.split_once(':')
        {
            secrets.push(Secret::new(password));
            secrets.push(Secret::new(pair));
        }
    }
}

/// Of where a server is, by which certificate the gateway proves itself, and the headers.
fn fingerprint([place, tls]: &[&str; 2], headers: &HeaderMap, vault: &Vault) -> [u8; 16] {
    let sorted: BTreeMap<&str, &[u8]> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let mut parts: Vec<&[u8]> = vec![place.as_bytes()];
    if !tls.is_empty() {
        parts.push(b"tls");
        parts.push(tls.as_bytes());
    }
    for (name, value) in &sorted {
        parts.push(name.as_bytes());
        parts.push(value);
    }
    vault.fingerprint(&parts)
}

/// The header of `auth_type` (LiteLLM reference §2.3), if it has a value.
fn auth_header(
    server: &Server,
    from_client: Option<Secret>,
    variables: &Variables,
) -> Result<Option<(HeaderName, HeaderValue)>, Fault> {
    let definition = &server.definition;
    let kind = definition.auth_type.unwrap_or(AuthType::None);
    if !kind.is_served() || definition.is_byok {
        return Err(Fault::misconfigured(format!(
            "auth_type {} is not served by this version",
            if definition.is_byok { "BYOK" } else { kind.as_str() }
        ))
        .hint("use auth_type bearer_token, api_key, basic, token, authorization or none"));
    }
    let stored = definition
        .credentials
        .auth_value
        .clone()
        .filter(|_| kind != AuthType::None);
    let from_client = from_client.filter(|value| !value.is_empty());
    let stored = stored.filter(|value| !value.is_empty());
    // Only what an administrator stored is looked up: a client must not have the gateway's environment sent anywhere.
    let value = match (from_client, stored) {
        (Some(value), _) if is_reference(&value) => {
            return Err(Fault::misconfigured(
                "x-mcp-auth holds a reference (os.environ/NAME), which is not looked up for clients",
            )
            .hint("let the client send the value itself"));
        }
        (Some(value), _) => value,
        (None, Some(value)) => resolve(&value, "credentials.auth_value", variables)?,
        (None, None) => return Ok(None),
    };
    let value = value.expose().trim();
    let (name, text) = match kind {
        AuthType::ApiKey => (HeaderName::from_static("x-api-key"), value.to_owned()),
        AuthType::BearerToken => (
            AUTHORIZATION,
            format!("Bearer {}", without_scheme(value, "bearer")),
        ),
        AuthType::Basic => (AUTHORIZATION, format!("Basic {}", basic(value))),
        AuthType::Token => (AUTHORIZATION, format!("token {}", without_scheme(value, "token"))),
        _ => (AUTHORIZATION, value.to_owned()),
    };
    Ok(Some((name, sensitive(&text, "credentials.auth_value")?)))
}

/// A pasted scheme in front of a token is dropped.
fn without_scheme<'a>(value: &'a str, scheme: &str) -> &'a str {
    match value.split_once(' ') {
        Some((first, rest)) if first.eq_ignore_ascii_case(scheme) => rest.trim_start(),
        _ => value,
    }
}

/// `user:password` encoded; an already encoded pair is recognised.
fn basic(value: &str) -> String {
    let bare = without_scheme(value, "basic");
    let is_encoded = STANDARD
        .decode(bare)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|text| text.contains(':'));
    if is_encoded {
        bare.to_owned()
    } else {
        STANDARD.encode(bare)
    }
}

fn static_headers(server: &Server, variables: &Variables) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let mut out = Vec::with_capacity(server.definition.static_headers.len());
    for (name, value) in &server.definition.static_headers {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| Fault::misconfigured(format!("static_headers: {name:?} is not a header name")))?;
        if admission::is_reserved(&header) {
            return Err(Fault::misconfigured(format!(
                "static_headers: {name} is set by the gateway itself"
            )));
        }
        let value = resolve(value, &format!("static_headers.{name}"), variables)?;
        let text = interpolate(server, name, value.expose(), variables)?;
        out.push((header, sensitive(&text, name)?));
    }
    Ok(out)
}

const REFERENCE: &str = "os.environ/";

fn is_reference(value: &Secret) -> bool {
    value.expose().trim().starts_with(REFERENCE)
}

/// A value, or what `os.environ/NAME` stands for. What is not set makes the server misconfigured: the literal is never
/// sent (B30).
pub(crate) fn resolve(value: &Secret, field: &str, variables: &Variables) -> Result<Secret, Fault> {
    let Some(name) = value.expose().trim().strip_prefix(REFERENCE) else {
        return Ok(value.clone());
    };
    variables(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let name = crate::fault::printable(name);
        Fault::misconfigured(format!("{field} references {name}, which is not set"))
            .hint("set the variable in the gateway's environment and restart it, or store the value itself")
    })
}

/// `${NAME}` from the server's global `env_vars`. A literal `${NAME}` is never sent.
fn interpolate(server: &Server, header: &str, text: &str, variables: &Variables) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        let variable = server
            .definition
            .env_vars
            .iter()
            .find(|variable| variable.name == name && variable.scope == EnvVarScope::Global);
        let Some(variable) = variable else {
            return Err(Fault::misconfigured(format!(
                "static_headers.{header} uses ${{{name}}}, which is not set"
            ))
            .hint("add it to the server's env_vars with scope global"));
        };
        out.push_str(before);
        out.push_str(resolve(&variable.value, &format!("env_vars.{name}"), variables)?.expose());
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn sensitive(text: &str, field: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::misconfigured(format!("the value of {field} cannot stand in an HTTP header")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use trunkline_auth::{Authenticator, KeyRing, Surface};
    use trunkline_model::{Approval, Credentials, Origin, ServerDefinition, ServerId, Stamps, SystemClock};

    use super::*;

    const KEY: &str = "sk-0123456789abcdef0123456789abcdef";

    fn outgoing(
        server: &Server,
        client: &ClientHeaders<'_>,
        vault: &Vault,
        variables: &Variables,
    ) -> Result<Outgoing, Fault> {
        super::outgoing(server, client, vault, variables, &Arc::default())
    }

    fn server(alias: &str, edit: impl FnOnce(&mut ServerDefinition)) -> Arc<Server> {
        let mut definition = ServerDefinition {
            alias: Some(alias.into()),
            url: Some("http://127.0.0.1:9/mcp".into()),
            ..ServerDefinition::default()
        };
        edit(&mut definition);
        Arc::new(Server {
            id: ServerId::new(format!("id-{alias}")),
            origin: Origin::File,
            definition,
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        })
    }

    fn with_auth(kind: AuthType, value: &str) -> Arc<Server> {
        server("s", |d| {
            d.auth_type = Some(kind);
            d.credentials = Credentials {
                auth_value: Some(value.into()),
                ..Credentials::default()
            };
        })
    }

    fn unset(_: &str) -> Option<Secret> {
        None
    }

    fn vault() -> Vault {
        Vault::derive(&Secret::new("root"))
    }

    fn sent(
        server: &Server,
        pairs: &[(&'static str, &str)],
        all: &[Arc<Server>],
        several: bool,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-litellm-api-key", HeaderValue::from_static(KEY));
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let keys = Arc::new(KeyRing::default());
        let authenticated = Authenticator::new(&Secret::new(KEY), keys, Arc::new(SystemClock))
            .authenticate(&headers, Surface::Mcp, "/mcp")
            .unwrap();
        let snapshot = Snapshot::new(1, all.to_vec());
        let client = ClientHeaders::of(&headers, &authenticated.admission, &snapshot, || several);
        outgoing(server, &client, &vault(), &unset).unwrap().headers
    }

    #[test]
    fn auth_types_of_litellm() {
        for (kind, value, name, expected) in [
            (AuthType::ApiKey, "v", "x-api-key", "v"),
            (AuthType::BearerToken, "v", "authorization", "Bearer v"),
            (AuthType::BearerToken, "Bearer v", "authorization", "Bearer v"),
            (AuthType::Basic, "u:p", "authorization", "Basic dTpw"),
            (AuthType::Basic, "dTpw", "authorization", "Basic dTpw"),
            (AuthType::Basic, "Basic dTpw", "authorization", "Basic dTpw"),
            (AuthType::Token, "v", "authorization", "token v"),
            (AuthType::Authorization, "Custom v", "authorization", "Custom v"),
        ] {
            let server = with_auth(kind, value);
            let out = outgoing(&server, &ClientHeaders::none(), &vault(), &unset).unwrap();
            assert_eq!(out.headers[name], expected, "{kind:?}");
            assert!(out.headers[name].is_sensitive());
        }
        let none = with_auth(AuthType::None, "v");
        assert!(
            !outgoing(&none, &ClientHeaders::none(), &vault(), &unset)
                .unwrap()
                .headers
                .contains_key("authorization")
        );
        assert!(
            outgoing(
                &with_auth(AuthType::Oauth2, "v"),
                &ClientHeaders::none(),
                &vault(),
                &unset
            )
            .is_err()
        );
    }

    #[test]
    fn b50_rules_are_case_insensitive_and_may_end_in_a_star() {
        let server = server("s", |d| {
            d.extra_headers = vec!["X-Tenant-*".into(), "X-One".into(), "*".into()];
        });
        let out = sent(
            &server,
            &[
                ("x-tenant-id", "1"),
                ("x-one", "2"),
                ("connection", "close"),
                ("cookie", "c"),
                ("x-any", "3"),
            ],
            std::slice::from_ref(&server),
            false,
        );
        assert_eq!(
            (&out["x-tenant-id"], &out["x-one"], &out["x-any"]),
            (
                &"1".parse().unwrap(),
                &"2".parse().unwrap(),
                &"3".parse().unwrap()
            )
        );
        assert!(!out.contains_key("connection") && !out.contains_key("cookie"));
    }

    #[test]
    fn b51_s15_the_gateways_key_is_never_sent() {
        let server = server("s", |d| {
            d.extra_headers = vec!["authorization".into(), "*".into()];
        });
        let bearer = format!("Bearer {KEY}");
        let out = sent(
            &server,
            &[
                ("authorization", &bearer),
                ("x-mcp-s-authorization", &bearer),
                ("x-mcp-auth", KEY),
            ],
            std::slice::from_ref(&server),
            false,
        );
        assert!(
            out.iter()
                .all(|(_, value)| !value.to_str().unwrap().contains(KEY)),
            "{:?}",
            out.keys()
        );
    }

    #[test]
    fn b39_authorization_is_not_sprayed() {
        let a = server("a", |d| d.extra_headers = vec!["Authorization".into()]);
        let all = [a.clone(), server("b", |_| {})];
        assert!(!sent(&a, &[("authorization", "Bearer mine")], &all, true).contains_key("authorization"));
        assert_eq!(
            sent(&a, &[("authorization", "Bearer mine")], &all, false)["authorization"],
            "Bearer mine"
        );
        assert_eq!(
            sent(&a, &[("x-mcp-a-authorization", "Bearer x")], &all, true)["authorization"],
            "Bearer x"
        );
        assert!(
            !sent(&all[1], &[("x-mcp-a-authorization", "Bearer x")], &all, true)
                .contains_key("authorization")
        );
    }

    #[test]
    fn the_longest_alias_is_addressed() {
        let all = [server("x", |_| {}), server("x-y", |_| {})];
        let pairs = [("x-mcp-x-y-authorization", "Bearer xy"), ("x-mcp-x-y_z", "1")];
        assert_eq!(sent(&all[1], &pairs, &all, true)["authorization"], "Bearer xy");
        let first = sent(&all[0], &pairs, &all, true);
        assert!(!first.contains_key("authorization"));
        assert_eq!(first["y_z"], "1");
    }

    #[test]
    fn precedence_and_fingerprints() {
        let both = server("s", |d| {
            d.auth_type = Some(AuthType::BearerToken);
            d.credentials.auth_value = Some("from-auth".into());
            d.static_headers
                .insert("Authorization".into(), "Bearer from-static".into());
        });
        let all = [both.clone()];
        assert_eq!(
            sent(&both, &[("x-mcp-s-authorization", "Bearer c")], &all, false)["authorization"],
            "Bearer from-static"
        );
        let (one, two) = (
            with_auth(AuthType::BearerToken, "1"),
            with_auth(AuthType::BearerToken, "2"),
        );
        let print = |s: &Server| {
            outgoing(s, &ClientHeaders::none(), &vault(), &unset)
                .unwrap()
                .fingerprint
        };
        assert_ne!(print(&one), print(&two));
        assert_eq!(print(&one), print(&one));
    }

    #[test]
    fn b30_references_are_resolved() {
        let set = |name: &str| (name == "KEY").then(|| Secret::new("from-env"));
        let server = server("s", |d| {
            d.static_headers.insert("X-Key".into(), "os.environ/KEY".into());
        });
        assert_eq!(
            outgoing(&server, &ClientHeaders::none(), &vault(), &set)
                .unwrap()
                .headers["x-key"],
            "from-env"
        );
        let bearer = with_auth(AuthType::BearerToken, "os.environ/KEY");
        let out = outgoing(&bearer, &ClientHeaders::none(), &vault(), &set).unwrap();
        assert_eq!(out.headers["authorization"], "Bearer from-env");
    }

    #[test]
    fn s15_a_client_cannot_have_the_environment_sent() {
        let set = |_: &str| Some(Secret::new("from-env"));
        let server = with_auth(AuthType::BearerToken, "stored");
        let mut headers = HeaderMap::new();
        headers.insert("x-mcp-auth", HeaderValue::from_static("os.environ/KEY"));
        headers.insert(
            "x-mcp-s-authorization",
            HeaderValue::from_static("os.environ/KEY"),
        );
        let snapshot = Snapshot::new(1, vec![server.clone()]);
        let client = ClientHeaders::stripped(&headers, &snapshot);
        assert!(outgoing(&server, &client, &vault(), &set).is_err());
        headers.remove("x-mcp-auth");
        let client = ClientHeaders::stripped(&headers, &snapshot);
        let out = outgoing(&server, &client, &vault(), &set).unwrap();
        assert_eq!(out.headers["authorization"], "os.environ/KEY");
    }

    #[test]
    fn b30_references_are_never_sent_as_text() {
        let value = "os.environ/NOT_SET";
        assert!(
            outgoing(
                &with_auth(AuthType::BearerToken, value),
                &ClientHeaders::none(),
                &vault(),
                &unset
            )
            .is_err()
        );
        let server = server("s", |d| {
            d.static_headers.insert("X-Key".into(), "${MISSING}".into());
        });
        let fault = outgoing(&server, &ClientHeaders::none(), &vault(), &unset).unwrap_err();
        assert!(fault.message.contains("MISSING"));
    }
}
