//! Who is asking: the gateway's credential in a request, checked.
//!
//! Order of the headers is LiteLLM's (`x-litellm-api-key` before `Authorization`; more aliases on management routes).
//! The first header *present* decides: a wrong key in it is an error, never a reason to look further.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use jiff::Timestamp;
use trunkline_model::key::is_llm_path;
use trunkline_model::{
    Clock, Holder, KeyHash, Level, PreviousId, Principal, PrincipalKind, Route, Secret, VirtualKey,
};

use crate::admission::{self, Admission};
use crate::ring::{Directory, KeyRing};

/// Which set of headers may carry the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// MCP endpoints: vendor aliases are not read, they may be meant for an upstream.
    Mcp,
    /// Everything else.
    Management,
}

/// The proof succeeded.
#[derive(Debug)]
pub struct Authenticated {
    /// Who it is.
    pub principal: Principal,
    /// What of the request's headers was the proof, so that it never goes upstream (S15).
    pub admission: Admission,
}

/// Why a credential is not accepted. Nothing of the credential is in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header that could carry one.
    #[error("Authentication Error, No api key passed in.")]
    Missing,
    /// `Authorization` without `Bearer `.
    #[error("Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")]
    Malformed,
    /// Two `Authorization` headers: which one would be checked, which one would count?
    #[error("Multiple Authorization headers are not allowed")]
    Multiple,
    /// No such key.
    #[error("Authentication Error, Invalid API key provided.")]
    Unknown,
    /// Its time is over.
    #[error("Authentication Error - Expired Key. Key Expiry time {expires} and current time {now}")]
    Expired {
        /// When that was.
        expires: Timestamp,
        /// When it was found.
        now: Timestamp,
    },
    /// An administrator blocked it.
    #[error("Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.")]
    Blocked,
    /// Something of its row cannot be read, which may have been a restriction.
    #[error(
        "Authentication Error, this key is stored in a way that the gateway cannot read: it has to be made anew."
    )]
    Unreadable,
    /// It says that it is somebody's, and nobody is there: what was to restrict it is gone.
    #[error("Authentication Error, the {} of this key does not exist.", .0.as_str())]
    LevelMissing(Level),
    /// Somebody whom it belongs to cannot be read.
    #[error(
        "Authentication Error, the {} of this request is stored in a way that the gateway cannot read: it has to be made anew.",
        .0.as_str()
    )]
    LevelUnreadable(Level),
    /// Somebody whom it is about has a budget that is not there: what was to limit it is gone.
    #[error("Authentication Error, the budget of this request does not exist.")]
    BudgetMissing,
    /// Somebody whom it is about has a budget that cannot be read.
    #[error(
        "Authentication Error, the budget of this request is stored in a way that the gateway cannot read: it has to be made anew."
    )]
    BudgetUnreadable,
    /// An administrator blocked its team.
    #[error("Authentication Error, Team is blocked. Update via `/team/unblock` if you're an admin.")]
    TeamBlocked,
    /// An administrator blocked whom the request is made for.
    #[error("Authentication Error, End user is blocked. Update via `/customer/unblock` if you're an admin.")]
    EndUserBlocked,
    /// The headers name several end users, or none that could be read.
    #[error("x-litellm-end-user-id and x-litellm-customer-id must name one end user, in UTF-8")]
    EndUserUnclear,
    /// The key is good, and its `allowed_routes` do not cover what is asked for. With the hash of the key.
    #[error("Virtual key is not allowed to call this route: its allowed_routes do not cover it.")]
    RouteNotAllowed(KeyHash),
}

impl AuthError {
    /// HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Multiple | Self::EndUserUnclear => 400,
            Self::RouteNotAllowed(_) => 403,
            Self::Missing
            | Self::Malformed
            | Self::Unknown
            | Self::Expired { .. }
            | Self::Blocked
            | Self::TeamBlocked
            | Self::EndUserBlocked
            | Self::LevelMissing(_)
            | Self::LevelUnreadable(_)
            | Self::BudgetMissing
            | Self::BudgetUnreadable
            | Self::Unreadable => 401,
        }
    }

    /// LiteLLM's `error.type`.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Unknown => "token_not_found_in_db",
            Self::Expired { .. } => "expired_key",
            Self::Missing
            | Self::Malformed
            | Self::Multiple
            | Self::Blocked
            | Self::TeamBlocked
            | Self::EndUserBlocked
            | Self::EndUserUnclear
            | Self::LevelMissing(_)
            | Self::LevelUnreadable(_)
            | Self::BudgetMissing
            | Self::BudgetUnreadable
            | Self::Unreadable
            | Self::RouteNotAllowed(_) => "auth_error",
        }
    }

    /// LiteLLM's `error.param`.
    pub fn param(self) -> Option<&'static str> {
        (self == Self::Unknown).then_some("key")
    }
}

/// Checks credentials.
pub struct Authenticator {
    /// SHA-256 of the master key: the key itself is not needed to compare.
    master_key: [u8; 32],
    keys: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

static X_LITELLM_API_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// Aliases of the management surface, in LiteLLM's order, after `x-litellm-api-key` and `Authorization`.
static ALIASES: [HeaderName; 4] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
];

/// LiteLLM's headers that name an end user.
static END_USER: [HeaderName; 2] = [
    HeaderName::from_static("x-litellm-end-user-id"),
    HeaderName::from_static("x-litellm-customer-id"),
];

impl Authenticator {
    /// An authenticator that knows the master key, and the keys that are in `keys` at the time.
    pub fn new(master_key: &Secret, keys: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self {
            master_key: admission::digest(master_key.expose().as_bytes()),
            keys,
            clock,
        }
    }

    /// The principal of a request for `path` (without the gateway's root path), or why there is none.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        surface: Surface,
        path: &str,
    ) -> Result<Authenticated, AuthError> {
        let (header, credential) = find(headers, surface)?;
        let digest = admission::digest(credential);
        let directory = self.keys.look();
        // Both are looked for in any case, by digest: how long it takes says nothing about a key.
        let key = directory.by_secret(&KeyHash(digest), || self.clock.now());
        let route = Route {
            is_mcp: surface == Surface::Mcp || is_mcp_over_rest(path),
            is_llm: surface != Surface::Mcp && is_llm_path(path),
            path,
        };
        let principal = if self.is_master_key(&digest) {
            Principal::from_master_key()
        } else {
            let (key, previous) = key.ok_or(AuthError::Unknown)?;
            let principal = self.principal(&directory, key, previous)?;
            if !key.may_call(route) {
                return Err(AuthError::RouteNotAllowed(key.hash));
            }
            principal
        };
        // For whom something is administered is no question.
        let end_user = if route.is_mcp || route.is_llm {
            end_user(headers)?
        } else {
            None
        };
        let end_user = end_user.map(|id| directory.on_behalf_of(id.into()));
        Ok(Authenticated {
            principal: principal.on_behalf_of(end_user.transpose()?),
            admission: Admission::new(header, digest),
        })
    }

    /// The same principal as it is now, or why there is none any more: for what outlives a request.
    pub fn renew(&self, principal: &Principal) -> Result<Principal, AuthError> {
        let directory = self.keys.look();
        let now = match principal.kind() {
            PrincipalKind::MasterKey => Principal::from_master_key(),
            PrincipalKind::Key(holder) => {
                let shown = holder.previous.as_ref().map_or(holder.key.hash, |own| own.hash);
                let key = directory.by_secret(&shown, || self.clock.now());
                let (key, previous) = key.ok_or(AuthError::Unknown)?;
                self.principal(&directory, key, previous)?
            }
        };
        let end_user = principal
            .end_user()
            .map(|own| directory.on_behalf_of(own.id.clone()));
        Ok(now.on_behalf_of(end_user.transpose()?).at(principal.client()))
    }

    /// The same principal for whom a body says that the request is made, unless its headers have said it.
    pub fn on_behalf_of(&self, principal: Principal, user: Option<&str>) -> Result<Principal, AuthError> {
        match user.filter(|user| !user.is_empty()) {
            Some(user) if principal.end_user().is_none() => {
                let end_user = self.keys.look().on_behalf_of(user.into())?;
                Ok(principal.on_behalf_of(Some(end_user)))
            }
            _ => Ok(principal),
        }
    }

    /// The principal of a key, unless it is to be refused. `previous`: which secret was shown, if it is not its present one.
    fn principal(
        &self,
        directory: &Directory,
        key: &Arc<VirtualKey>,
        previous: Option<PreviousId>,
    ) -> Result<Principal, AuthError> {
        self.good(key)?;
        let holder = directory.holder(key.clone())?;
        Ok(Principal::from_key(Holder { previous, ..holder }))
    }

    /// Who somebody with this key would be; without one, with the master key. For the question what that principal may do: nothing
    /// was proved, and nothing may be done with it.
    pub fn supposed(
        &self,
        directory: &Directory,
        key: Option<&Arc<VirtualKey>>,
        end_user: Option<&str>,
    ) -> Result<Principal, AuthError> {
        let principal = match key {
            None => Principal::from_master_key(),
            Some(key) => self.principal(directory, key, None)?,
        };
        let end_user = end_user.map(|id| directory.on_behalf_of(id.into()));
        Ok(principal.on_behalf_of(end_user.transpose()?))
    }

    /// Whether the credential is the master key.
    pub fn is_master_key(&self, digest: &[u8; 32]) -> bool {
        subtle::ConstantTimeEq::ct_eq(&digest[..], &self.master_key[..]).into()
    }

    /// Whether anybody but the administrator could ask: there is a virtual key, or an end user.
    pub fn has_others(&self) -> bool {
        let directory = self.keys.look();
        !(directory.keys.is_empty() && directory.end_users.is_empty())
    }

    /// Whether the key itself is not to be refused.
    fn good(&self, key: &VirtualKey) -> Result<(), AuthError> {
        if key.defect.is_some() {
            return Err(AuthError::Unreadable);
        }
        if key.blocked {
            return Err(AuthError::Blocked);
        }
        if let Some(expires) = key.expires {
            let now = self.clock.now();
            if key.is_expired(now) {
                return Err(AuthError::Expired { expires, now });
            }
        }
        Ok(())
    }
}

/// The REST routes that list and use what MCP servers have.
fn is_mcp_over_rest(path: &str) -> bool {
    path.starts_with("/mcp-rest/tools/") || path == "/v1/mcp/tools"
}

/// Whom the request says that it is made for. Both headers may be there and say the same; what is unclear is refused, because
/// somebody may rely on it.
fn end_user(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut named = None;
    for value in END_USER.iter().flat_map(|name| headers.get_all(name)) {
        let id = std::str::from_utf8(value.as_bytes()).map_err(|_| AuthError::EndUserUnclear)?;
        if *named.get_or_insert(id) != id {
            return Err(AuthError::EndUserUnclear);
        }
    }
    Ok(named.filter(|id| !id.is_empty()))
}

/// The header that carries the credential, and the credential's bytes.
fn find(headers: &HeaderMap, surface: Surface) -> Result<(HeaderName, &[u8]), AuthError> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let first = authorization.next();
    if authorization.next().is_some() {
        return Err(AuthError::Multiple);
    }
    if let Some(value) = headers.get(&X_LITELLM_API_KEY) {
        let bytes = value.as_bytes();
        return Ok((
            X_LITELLM_API_KEY.clone(),
            admission::strip_bearer(bytes).unwrap_or(bytes),
        ));
    }
    if let Some(value) = first {
        let credential = admission::strip_bearer(value.as_bytes()).ok_or(AuthError::Malformed)?;
        return Ok((AUTHORIZATION, credential));
    }
    if surface == Surface::Management {
        for name in &ALIASES {
            if let Some(value) = headers.get(name) {
                return Ok((name.clone(), value.as_bytes()));
            }
        }
    }
    Err(AuthError::Missing)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "sk-0123456789abcdef0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0).unwrap()
        }
    }

    fn authenticator(keys: Vec<VirtualKey>, now: i64) -> Authenticator {
        let ring = KeyRing::default();
        let keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
        ring.replace(Directory {
            keys: Arc::new(keys),
            ..Directory::default()
        });
        Authenticator::new(&Secret::new(KEY), Arc::new(ring), Arc::new(At(now)))
    }

    fn check(pairs: &[(&'static str, &str)], surface: Surface) -> Result<(), AuthError> {
        authenticator(Vec::new(), 0)
            .authenticate(&headers(pairs), surface, "/mcp")
            .map(|_| ())
    }

    const VIRTUAL: &str = "sk-virtual-0123456789";

    fn key(edit: impl FnOnce(&mut VirtualKey)) -> VirtualKey {
        let mut key = VirtualKey::new(crate::ring::key_hash(VIRTUAL));
        edit(&mut key);
        key
    }

    #[test]
    fn s05_a_key_is_a_principal_while_it_is_good_and_never_an_administrator() {
        let bearer = format!("Bearer {VIRTUAL}");
        let ask = |key: VirtualKey, now: i64, path: &str| {
            let authenticator = authenticator(vec![key], now);
            authenticator
                .authenticate(&headers(&[("authorization", &bearer)]), Surface::Mcp, path)
                .map(|found| {
                    assert_eq!(
                        authenticator.renew(&found.principal).as_ref(),
                        Ok(&found.principal)
                    );
                    found.principal
                })
        };
        let found = ask(key(|_| {}), 100, "/mcp").unwrap();
        assert!(!found.is_proxy_admin());
        assert_eq!(found.id(), crate::ring::key_hash(VIRTUAL).to_hex());
        let expires = Timestamp::from_second(100).unwrap();
        assert!(ask(key(|key| key.expires = Some(expires)), 99, "/mcp").is_ok());
        assert!(matches!(
            ask(key(|key| key.expires = Some(expires)), 100, "/mcp"),
            Err(AuthError::Expired { .. })
        ));
        assert_eq!(
            ask(key(|key| key.blocked = true), 0, "/mcp"),
            Err(AuthError::Blocked)
        );
        assert_eq!(
            ask(key(|key| key.defect = Some("x".into())), 0, "/mcp"),
            Err(AuthError::Unreadable)
        );
        let elsewhere = key(|key| key.allowed_routes = vec!["/a/mcp".into()]);
        let hash = elsewhere.hash;
        assert_eq!(ask(elsewhere, 0, "/b/mcp"), Err(AuthError::RouteNotAllowed(hash)));
        assert_eq!(
            authenticator(Vec::new(), 0).renew(&found),
            Err(AuthError::Unknown)
        );
        // The digest itself opens nothing.
        let digest = format!("Bearer {}", found.id());
        let by_digest = authenticator(vec![key(|_| {})], 0)
            .authenticate(&headers(&[("authorization", &digest)]), Surface::Mcp, "/mcp")
            .map(|found| found.principal);
        assert_eq!(by_digest, Err(AuthError::Unknown));
    }

    #[test]
    fn litellm_order_and_forms() {
        let bearer = format!("Bearer {KEY}");
        let lower = format!("bearer {KEY}");
        for surface in [Surface::Mcp, Surface::Management] {
            assert_eq!(check(&[("authorization", &bearer)], surface), Ok(()));
            assert_eq!(check(&[("authorization", &lower)], surface), Ok(()));
            assert_eq!(check(&[("x-litellm-api-key", KEY)], surface), Ok(()));
            assert_eq!(check(&[("x-litellm-api-key", &bearer)], surface), Ok(()));
            assert_eq!(
                check(&[("authorization", KEY)], surface),
                Err(AuthError::Malformed)
            );
            assert_eq!(check(&[], surface), Err(AuthError::Missing));
            // The first header decides: a good key behind a bad one does not help.
            assert_eq!(
                check(
                    &[("x-litellm-api-key", "sk-wrong"), ("authorization", &bearer)],
                    surface
                ),
                Err(AuthError::Unknown)
            );
            assert_eq!(
                check(&[("authorization", &bearer), ("authorization", &bearer)], surface),
                Err(AuthError::Multiple)
            );
        }
        assert_eq!(check(&[("x-api-key", KEY)], Surface::Management), Ok(()));
        assert_eq!(
            check(&[("x-api-key", KEY)], Surface::Mcp),
            Err(AuthError::Missing)
        );
    }

    #[test]
    fn s05_s02_nothing_else_is_a_principal() {
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer sk-",
            "Bearer ' OR 1=1 --",
            "Basic c2s6",
            "Bearer null",
        ] {
            assert!(
                check(&[("authorization", wrong)], Surface::Management).is_err(),
                "{wrong:?}"
            );
        }
        let prefix = format!("Bearer {}", &KEY[..KEY.len() - 1]);
        let longer = format!("Bearer {KEY}x");
        assert_eq!(
            check(&[("authorization", &prefix)], Surface::Mcp),
            Err(AuthError::Unknown)
        );
        assert_eq!(
            check(&[("authorization", &longer)], Surface::Mcp),
            Err(AuthError::Unknown)
        );
    }
}
