//! What a request is about, once: who asks, for which servers, in which session, at one moment of the registry.

use std::sync::Arc;

use axum::http::HeaderMap;
use trunkline_auth::{Admission, AuthError, Surface};
use trunkline_model::{Principal, RequestId, Server, SessionKey, Snapshot};
use trunkline_policy::{Action, decide};
use trunkline_upstream::ClientHeaders;

use crate::Gateway;
use crate::scope::Selection;

/// A request that was let in.
pub struct Context {
    /// Its id.
    pub request_id: RequestId,
    /// Who asks.
    pub principal: Principal,
    /// What of the headers was the proof.
    pub admission: Admission,
    /// The registry, the same from start to end.
    pub snapshot: Arc<Snapshot>,
    /// Which servers.
    pub selection: Selection,
    /// The client's session, if it has one.
    pub session: Option<SessionKey>,
    /// The client's headers.
    pub headers: HeaderMap,
}

/// Identify: the principal, or 401.
pub fn identify(
    gateway: &Gateway,
    headers: &HeaderMap,
    surface: Surface,
) -> Result<(Principal, Admission), AuthError> {
    let authenticated = gateway.authenticator.authenticate(headers, surface)?;
    Ok((authenticated.principal, authenticated.admission))
}

impl Context {
    /// The servers that this request may use, in order. The same question as for every tool.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.snapshot.servers().iter().filter(|server| {
            decide(&self.principal, &self.selection.scope, Action::UseServer, server).is_allow()
        })
    }

    /// Whether this request may list or call a tool, by the tool's own name.
    pub fn may_use(&self, server: &Server, tool: &str) -> trunkline_policy::Decision {
        decide(
            &self.principal,
            &self.selection.scope,
            Action::UseTool(tool),
            server,
        )
    }

    /// The client's headers as the credential phase reads them.
    pub fn client_headers(&self) -> ClientHeaders<'_> {
        ClientHeaders::of(&self.headers, &self.admission, &self.snapshot, self.several())
    }

    /// Whether the request is about more than one server.
    fn several(&self) -> bool {
        self.servers().nth(1).is_some()
    }

    /// Whether names are listed and called without prefix: the path names one server, and the server wants it so.
    pub fn bare_names(&self, server: &Server) -> bool {
        self.selection.scope.single() == Some(&server.id)
            && server.definition.prefix == trunkline_model::PrefixMode::Never
    }
}
