//! Who is asking: the extractors that let a request of a proxy admin through, or of who may see its own, and reject everything else
//! (S05, S19).

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, NestedPath};
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use trunkline_auth::{Admission, AuthError, Authenticated, Directory, Surface};
use trunkline_model::key::MANAGEMENT_PATHS;
use trunkline_model::{ClientAddress, MemberRole, Principal, Team, User, UserRole, VirtualKey};
use trunkline_store::Actor;
use utoipa::ToSchema;

use crate::App;
use crate::audit;
use crate::error::ApiError;

/// An authenticated proxy admin; for a GET also one who may only look. There is no other way to make one than from a request
/// with a good key.
pub(crate) struct Admin {
    principal: Principal,
    /// What of the headers was the key, so that it never goes upstream.
    pub(crate) admission: Admission,
    path: String,
    actor: Actor,
}

impl Admin {
    /// The stable name of the caller, for logs and stamps.
    pub(crate) fn id(&self) -> &str {
        self.principal.id()
    }

    /// Who it is, for the audit log.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether it may do everything, and not only look.
    pub(crate) fn is_full(&self) -> bool {
        self.principal.is_proxy_admin()
    }

    /// The path of the request, percent-encoded as it came, for logs.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Who may change keys and teams: a proxy admin everything, and a user what is its own or its teams', within the bounds that
/// [`crate::key::delegate`] sets. Whom neither is, is refused before the body is read.
pub(crate) struct Manager {
    principal: Principal,
    path: String,
    actor: Actor,
}

impl Manager {
    /// The stable name of the caller, for logs and stamps.
    pub(crate) fn id(&self) -> &str {
        self.principal.id()
    }

    /// Who it is, for the audit log.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The path of the request, percent-encoded as it came, for logs.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it may do everything.
    pub(crate) fn is_full(&self) -> bool {
        self.principal.is_proxy_admin()
    }

    /// Its key, as it was when it was let in; the master key is none.
    pub(crate) fn key(&self) -> Option<&VirtualKey> {
        self.principal.key().map(|key| &**key)
    }
}

/// Whether a user's keys may change anything: those of a team act as a member of the team, whatever the user is elsewhere.
pub(crate) fn may_change(user: &User, key: &VirtualKey) -> bool {
    match user.user_role {
        None | Some(UserRole::InternalUser) => true,
        Some(UserRole::ProxyAdmin) => key.team_id.is_some(),
        Some(UserRole::ProxyAdminViewer | UserRole::InternalUserViewer) => false,
    }
}

/// Whether it is an admin of the team, who may see all its keys. A key of another team is nobody there.
fn manages(principal: &Principal, team: &Team) -> bool {
    let user = principal.holder().and_then(|holder| holder.user.as_ref());
    let is_for_it = principal.team_id().is_none_or(|own| own == team.team_id);
    is_for_it
        && user.is_some_and(|user| {
            matches!(
                user.user_role,
                None | Some(UserRole::InternalUser | UserRole::ProxyAdmin)
            ) && team.role_of(&user.user_id) == Some(MemberRole::Admin)
        })
}

/// Who may see all. Refused before the body is read.
pub(crate) struct Overseer;

/// Anybody with a good key, for the few routes that show a caller its own.
pub(crate) struct Caller {
    pub(crate) principal: Principal,
}

impl Caller {
    /// Whether it may see everything.
    pub(crate) fn sees_all(&self) -> bool {
        sees_all(&self.principal)
    }

    /// By which what it has submitted is its own: its user, or its key.
    pub(crate) fn name(&self) -> &str {
        self.principal.user_id().unwrap_or(self.principal.id())
    }

    /// Its user, if that is more than a label.
    pub(crate) fn user(&self) -> Option<&User> {
        self.principal.holder()?.user.as_deref()
    }

    /// Whether it may see a team: its members may, each with keys that are for it.
    pub(crate) fn sees_team(&self, team: &Team) -> bool {
        let is_member = |user: &User| team.role_of(&user.user_id).is_some();
        let is_for_it = self.principal.team_id().is_none_or(|own| own == team.team_id);
        self.sees_all() || (is_for_it && self.user().is_some_and(is_member))
    }

    /// Whether it may see all keys of a team.
    pub(crate) fn sees_keys_of(&self, team: &Team) -> bool {
        self.sees_all() || manages(&self.principal, team)
    }

    /// Whether it may see a key: its own, those of its user, and those of teams that it manages. A key of a team sees none of
    /// its user's others.
    pub(crate) fn sees_key(&self, key: &VirtualKey, directory: &Directory) -> bool {
        let is_own = self.principal.key().is_some_and(|own| own.hash == key.hash);
        let is_users = self.principal.team_id().is_none()
            && self
                .user()
                .is_some_and(|user| key.user_id.as_deref() == Some(&user.user_id));
        let team = key.team_id.as_ref().and_then(|id| directory.teams.get(id));
        self.sees_all() || is_own || is_users || team.is_some_and(|team| self.sees_keys_of(team))
    }
}

/// Who may submit a server for review: a proxy admin, or a key of a team.
pub(crate) struct Submitter {
    principal: Principal,
    path: String,
    actor: Actor,
}

impl Submitter {
    /// The stable name of the caller, for logs and stamps.
    pub(crate) fn id(&self) -> &str {
        self.principal.id()
    }

    /// By which its submissions are its own.
    pub(crate) fn name(&self) -> &str {
        &self.actor.changed_by
    }

    /// Who it is, for the audit log.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The path of the request, percent-encoded as it came, for logs.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it may do everything.
    pub(crate) fn is_full(&self) -> bool {
        self.principal.is_proxy_admin()
    }
}

impl FromRequestParts<Arc<App>> for Submitter {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        if !principal.is_proxy_admin() && principal.team_id().is_none() {
            return Err(Rejected::NotAdmin(path_of(parts)));
        }
        Ok(Self {
            actor: audit::actor(parts, &principal),
            principal,
            path: path_of(parts),
        })
    }
}

/// Who may see all, or is a user, who may see its own.
pub(crate) struct Viewer(pub(crate) Caller);

fn sees_all(principal: &Principal) -> bool {
    matches!(
        principal.role(),
        Some(UserRole::ProxyAdmin | UserRole::ProxyAdminViewer)
    )
}

/// Why a request is not let in.
pub(crate) enum Rejected {
    NoPrincipal(AuthError),
    /// A good key that is not an administrator's. With the path.
    NotAdmin(String),
}

fn authenticate(parts: &Parts, app: &App) -> Result<Authenticated, Rejected> {
    let authenticated = app
        .authenticator
        .authenticate(&parts.headers, Surface::Management, &path_of(parts))
        .map_err(|error| {
            audit::note_route(parts, error);
            Rejected::NoPrincipal(error)
        })?;
    audit::note(parts, &authenticated.principal);
    Ok(authenticated)
}

/// The whole path: routes that are mounted under a beginning see what follows it alone.
fn path_of(parts: &Parts) -> String {
    let nested = parts.extensions.get::<NestedPath>();
    let begin = nested.map_or("", NestedPath::as_str).trim_end_matches('/');
    format!("{begin}{}", parts.uri.path())
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        // Without the front door, nobody knows where it came from.
        let client = parts.extensions.get::<ClientAddress>().copied();
        Ok(Self {
            principal: principal.at(client.unwrap_or_default()),
        })
    }
}

impl FromRequestParts<Arc<App>> for Overseer {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        if sees_all(&principal) {
            return Ok(Self);
        }
        Err(Rejected::NotAdmin(path_of(parts)))
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        let caller = Caller { principal };
        if caller.sees_all() || caller.user().is_some() {
            return Ok(Self(caller));
        }
        Err(Rejected::NotAdmin(path_of(parts)))
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let authenticated = authenticate(parts, app)?;
        let may_look = parts.method == Method::GET && sees_all(&authenticated.principal);
        if !authenticated.principal.is_proxy_admin() && !may_look {
            return Err(Rejected::NotAdmin(path_of(parts)));
        }
        Ok(Self {
            actor: audit::actor(parts, &authenticated.principal),
            principal: authenticated.principal,
            admission: authenticated.admission,
            path: path_of(parts),
        })
    }
}

impl FromRequestParts<Arc<App>> for Manager {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        let is_delegate = principal.holder().is_some_and(|holder| {
            let user = holder.user.as_ref();
            user.is_some_and(|user| may_change(user, &holder.key))
        });
        if !principal.is_proxy_admin() && !is_delegate {
            return Err(Rejected::NotAdmin(path_of(parts)));
        }
        Ok(Self {
            actor: audit::actor(parts, &principal),
            principal,
            path: path_of(parts),
        })
    }
}

/// LiteLLM's envelope of authentication errors, and of errors of the key routes.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuthErrorBody {
    error: AuthErrorDetail,
}

/// What is wrong. Nothing of a credential is in here.
#[derive(Serialize, ToSchema)]
struct AuthErrorDetail {
    /// For people.
    message: String,
    /// `auth_error`, `token_not_found_in_db`, `expired_key`; of a key route also `bad_request_error`, `not_found_error`,
    /// `no_db_connection`.
    r#type: &'static str,
    /// The field that is wrong, if it is one.
    param: Option<&'static str>,
    /// The HTTP status as text.
    code: String,
}

impl AuthErrorBody {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        param: Option<&'static str>,
        message: String,
    ) -> Self {
        Self {
            error: AuthErrorDetail {
                message,
                r#type: kind,
                param,
                code: status.as_u16().to_string(),
            },
        }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::NoPrincipal(error) => (
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED),
                error.error_type(),
                error.to_string(),
            ),
            // As LiteLLM answers there.
            Self::NotAdmin(path) if MANAGEMENT_PATHS.iter().any(|begin| path.starts_with(begin)) => (
                StatusCode::UNAUTHORIZED,
                "auth_error",
                "Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams."
                    .to_owned(),
            ),
            Self::NotAdmin(_) => {
                return ApiError::Forbidden("this route needs a proxy admin".to_owned()).into_response();
            }
        };
        let body = AuthErrorBody::new(status, kind, None, message);
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
