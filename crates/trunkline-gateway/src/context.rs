//! What a request is about, once: who asks, for which servers, in which session, at one moment of the registry.

use std::sync::{Arc, OnceLock};

use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, Uri};
use trunkline_auth::{Admission, AuthError, SessionClaims, Surface};
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::{ClientCapabilities, Era, ListKind, Revision};
use trunkline_model::{Principal, RequestId, Server, SessionKey, Snapshot};
use trunkline_policy::{Action, CallFacts, Client, Decision, ToolUse, decide};
use trunkline_upstream::{ClientHeaders, Peer};

use crate::Gateway;
use crate::scope::Selection;
use crate::view::ViewItem;

/// A request that was let in.
pub struct Context {
    /// Its id.
    pub request_id: RequestId,
    /// Who asks.
    pub principal: Principal,
    /// What of the headers was the proof.
    pub admission: Admission,
    /// Whether there was anybody else who could have asked.
    pub has_others: bool,
    /// The registry, the same from start to end.
    pub snapshot: Arc<Snapshot>,
    /// Which servers.
    pub selection: Selection,
    /// The client's session, if it has one.
    pub session: Option<SessionKey>,
    /// What servers may ask the client in the middle of a request.
    pub capabilities: ClientCapabilities,
    /// The answer is one of a batch, in which nothing can be asked. The session's capabilities stay what they are: with them
    /// the upstream session would be another one (B22).
    pub mute: bool,
    /// When its session ends at the latest, if it does not end with its connection: what belongs to it is written down.
    pub lasts_until: Option<jiff::Timestamp>,
    /// The client can come back to a stream that broke off: its session is of a revision that says how.
    pub resumes: bool,
    /// The client knows tasks as 2025-11-25 has them: its session is of that revision.
    pub tasks: bool,
    /// Which kind of revision the request is of.
    pub era: Era,
    /// The least severe log message that a request of the new era wants.
    pub log_level: Option<&'static str>,
    /// What the client says that it is, where requests say it: JSON text.
    pub client_info: Option<String>,
    /// The client's headers.
    pub headers: HeaderMap,
    /// What the client asked for, as it came: for a request that is handed to another replica.
    pub target: Uri,
    /// Another replica handed this here; it is not handed on again.
    pub handed_on: bool,
    /// It is part of a request that has its place among those of its key.
    pub has_place: bool,
    /// Whether it is about more than one server, once somebody has asked.
    pub about_several: OnceLock<bool>,
}

/// Identify: the principal of a request for a path, or 401.
pub fn identify(
    gateway: &Gateway,
    headers: &HeaderMap,
    surface: Surface,
    path: &str,
) -> Result<(Principal, Admission), AuthError> {
    let authenticated = gateway.authenticator.authenticate(headers, surface, path)?;
    Ok((authenticated.principal, authenticated.admission))
}

impl Context {
    /// The request belongs to this session.
    pub fn join(&mut self, claims: Option<&SessionClaims>) {
        if let Some(claims) = claims {
            self.session = Some(claims.key);
            self.lasts_until = Some(claims.expires_at);
            self.resumes = Revision::from_index(claims.revision) == Some(Revision::V2025_11_25);
            self.tasks = self.resumes;
            self.capabilities = ClientCapabilities::from_bits(claims.capabilities).bridged();
        }
    }

    /// The servers that this request may use, in order. The same question as for every tool.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        let servers = self.snapshot.servers().iter();
        servers.filter(|server| self.may_use_server(server))
    }

    /// Those of which the request may use more than some tools.
    pub fn whole_servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers().filter(|server| self.may_use_whole(server))
    }

    /// Those that may have something to list of a kind.
    pub fn servers_with(&self, kind: ListKind) -> impl Iterator<Item = &Arc<Server>> {
        let servers = self.snapshot.servers().iter();
        servers.filter(move |server| self.may_list_of(kind, server))
    }

    /// Of those the ones that a name could be the listed one of something of.
    pub fn servers_named(&self, kind: ListKind, name: &str) -> impl Iterator<Item = &Arc<Server>> {
        let servers = self.snapshot.may_expose(name);
        servers.filter(move |server| self.may_list_of(kind, server))
    }

    fn may_list_of(&self, kind: ListKind, server: &Server) -> bool {
        self.may_use_server(server) && (kind == ListKind::Tools || self.may_use_whole(server))
    }

    fn may_use_server(&self, server: &Server) -> bool {
        decide(&self.principal, &self.selection.scope, Action::UseServer, server).is_allow()
    }

    /// Whether this request may use what of a server is no tool.
    pub fn may_use_whole(&self, server: &Server) -> bool {
        decide(&self.principal, &self.selection.scope, Action::UseWhole, server).is_allow()
    }

    /// The same once more, for what outlives the request.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            request_id: self.request_id.clone(),
            principal: self.principal.clone(),
            admission: self.admission.clone(),
            snapshot: self.snapshot.clone(),
            selection: self.selection.clone(),
            client_info: self.client_info.clone(),
            headers: self.headers.clone(),
            target: self.target.clone(),
            about_several: self.about_several.clone(),
            ..*self
        }
    }

    /// Whether this request may list or use something of a server, by the server's own name for it. Of a tool: whether there may
    /// be calls of it that are allowed.
    pub fn may_use(&self, server: &Server, kind: ListKind, name: &str) -> Decision {
        let action = match kind {
            ListKind::Tools => return self.tool(server, ToolUse::of(name)),
            ListKind::Prompts => Action::UsePrompt(name),
            ListKind::Resources | ListKind::ResourceTemplates => Action::UseResource(name),
        };
        decide(&self.principal, &self.selection.scope, action, server)
    }

    /// The same of an item of a list.
    pub fn may_list(&self, server: &Server, kind: ListKind, item: &ViewItem) -> Decision {
        self.may_use_as(server, kind, &item.own, item.annotations.as_deref())
    }

    /// The same, of a tool with its annotations: JSON text.
    pub fn may_use_as(
        &self,
        server: &Server,
        kind: ListKind,
        name: &str,
        annotations: Option<&str>,
    ) -> Decision {
        match kind {
            ListKind::Tools => {
                let tool = ToolUse {
                    annotations,
                    ..ToolUse::of(name)
                };
                self.tool(server, tool)
            }
            _ => self.may_use(server, kind, name),
        }
    }

    /// Whether this request may make a call. `annotations`: the tool's, JSON text.
    pub fn may_call(
        &self,
        server: &Server,
        name: &str,
        annotations: Option<&str>,
        call: CallFacts<'_>,
    ) -> Decision {
        let tool = ToolUse {
            annotations,
            call: Some(call),
            ..ToolUse::of(name)
        };
        self.tool(server, tool)
    }

    fn tool(&self, server: &Server, tool: ToolUse<'_>) -> Decision {
        let scope = &self.selection.scope;
        if server.definition.tool_conditions.is_empty() {
            return decide(&self.principal, scope, Action::UseToolAs(tool), server);
        }
        let info = self
            .client_info
            .as_deref()
            .and_then(|info| RawObject::parse(info).ok());
        let said = |key: &str| info.as_ref().and_then(|info| info.get_string(key));
        let (name, version) = (said("name"), said("version"));
        let user_agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let client = Client {
            name: name.as_deref(),
            version: version.as_deref(),
            user_agent,
        };
        let tool = ToolUse {
            client: Some(client),
            ..tool
        };
        decide(&self.principal, scope, Action::UseToolAs(tool), server)
    }

    /// What the client can be asked in the middle of this request.
    pub fn asks(&self) -> ClientCapabilities {
        if self.mute {
            ClientCapabilities::NONE
        } else {
            self.capabilities
        }
    }

    /// The client as upstream sessions see it.
    pub fn peer(&self, gateway: &Gateway) -> Peer {
        Peer {
            caller: gateway.upstreams.caller(self.principal.id()),
            client: self.session,
            capabilities: self.capabilities,
            mute: self.mute,
            log_level: self
                .session
                .and_then(|session| gateway.upstreams.log_level(session))
                .or(self.log_level),
            kept: self.lasts_until.is_some(),
        }
    }

    /// The client's headers as the credential phase reads them.
    pub fn client_headers(&self) -> ClientHeaders<'_> {
        ClientHeaders::of(&self.headers, &self.admission, &self.snapshot, || self.several())
    }

    /// Whether what this request sees of a server is what everybody sees who asks the same at the same place: with the
    /// server's own credential, of servers that no header chose, under rules that are the same for all.
    pub fn is_public(&self, server: &Server) -> bool {
        !self.client_headers().concerns(server)
            && !self.headers.contains_key("x-mcp-servers")
            && trunkline_policy::is_same_for_all(&self.principal, server, self.has_others)
    }

    /// Whether the request is about more than one server.
    pub fn several(&self) -> bool {
        *self.about_several.get_or_init(|| self.servers().nth(1).is_some())
    }

    /// Whether names are listed and called without prefix: the path names one server, and the server wants it so.
    pub fn bare_names(&self, server: &Server) -> bool {
        self.selection.scope.single() == Some(&server.id)
            && server.definition.prefix == trunkline_model::PrefixMode::Never
    }
}
