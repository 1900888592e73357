//! Whom a key belongs to, and whom a request is for: there and good, or the request is refused (S05).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use trunkline_auth::{AuthError, Authenticator, ById, Directory, KeyRing, Surface, key_hash};
use trunkline_model::{
    EndUser, Level, Organization, Principal, Secret, SystemClock, Team, User, UserRole, VirtualKey,
};

const MASTER: &str = "sk-master-0123456789";
const KEY: &str = "sk-virtual-0123456789";

/// A key of a team `t` and of a user `u`, if it is of any.
fn directory(team: bool, user: bool) -> Directory {
    let key = VirtualKey {
        team_id: team.then(|| "t".to_owned()),
        user_id: user.then(|| "u".to_owned()),
        ..VirtualKey::new(key_hash(KEY))
    };
    Directory {
        keys: Arc::new([(key.hash, Arc::new(key))].into_iter().collect()),
        ..Directory::default()
    }
}

fn by_id<T>(id: &str, row: T) -> Arc<ById<T>> {
    Arc::new([(id.to_owned(), Arc::new(row))].into())
}

fn broken() -> String {
    "x".to_owned()
}

fn ask_with(
    directory: &Directory,
    key: &str,
    more: &[(&'static str, &[u8])],
) -> Result<Principal, AuthError> {
    let ring = KeyRing::default();
    ring.replace(directory.clone());
    let authenticator = Authenticator::new(&Secret::new(MASTER), Arc::new(ring), Arc::new(SystemClock));
    let mut headers = HeaderMap::new();
    headers.insert("x-litellm-api-key", HeaderValue::from_str(key).unwrap());
    for (name, value) in more {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let found = authenticator.authenticate(&headers, Surface::Mcp, "/mcp")?;
    let renewed = authenticator.renew(&found.principal)?;
    assert!(renewed.is_unchanged(&found.principal) && renewed == found.principal);
    Ok(found.principal)
}

fn ask(directory: &Directory) -> Result<Principal, AuthError> {
    ask_with(directory, KEY, &[])
}

#[test]
fn s05_a_team_and_its_organisation_are_there_and_good_or_the_key_is_refused() {
    let mut own = directory(true, false);
    assert_eq!(ask(&own), Err(AuthError::LevelMissing(Level::Team)));
    own.teams = by_id(
        "t",
        Team {
            blocked: true,
            ..Team::default()
        },
    );
    assert_eq!(ask(&own), Err(AuthError::TeamBlocked));
    own.teams = by_id(
        "t",
        Team {
            defect: Some(broken()),
            ..Team::default()
        },
    );
    assert_eq!(ask(&own), Err(AuthError::LevelUnreadable(Level::Team)));
    own.teams = by_id("t", Team::default());
    assert!(ask(&own).unwrap().holder().is_some_and(|own| own.team.is_some()));
    own.teams = by_id(
        "t",
        Team {
            organization_id: Some("o".into()),
            ..Team::default()
        },
    );
    assert_eq!(ask(&own), Err(AuthError::LevelMissing(Level::Organization)));
    own.organizations = by_id(
        "o",
        Organization {
            defect: Some(broken()),
            ..Organization::default()
        },
    );
    assert_eq!(ask(&own), Err(AuthError::LevelUnreadable(Level::Organization)));
    own.organizations = by_id("o", Organization::default());
    let found = ask(&own).unwrap();
    assert!(found.holder().is_some_and(|own| own.organization.is_some()));
}

#[test]
fn s05_a_user_may_be_a_label_and_counts_if_it_is_there() {
    let mut own = directory(false, true);
    assert!(ask(&own).unwrap().holder().is_some_and(|own| own.user.is_none()));
    own.users = by_id(
        "u",
        User {
            defect: Some(broken()),
            ..User::default()
        },
    );
    assert_eq!(ask(&own), Err(AuthError::LevelUnreadable(Level::User)));
    let with_role = |user_role| {
        by_id(
            "u",
            User {
                user_role,
                ..User::default()
            },
        )
    };
    for role in UserRole::ALL {
        own.users = with_role(Some(role));
        let found = ask(&own).unwrap();
        assert_eq!(found.role(), Some(role));
        assert_eq!(found.is_proxy_admin(), role == UserRole::ProxyAdmin);
    }
    // Whoever manages a team may hold its keys: they administer nothing.
    let mut own = directory(true, true);
    own.teams = by_id("t", Team::default());
    own.users = with_role(Some(UserRole::ProxyAdmin));
    let found = ask(&own).unwrap();
    assert!(!found.is_proxy_admin() && found.role().is_none());
    assert!(
        found.holder().is_some_and(|own| own.user.is_some()),
        "its grants count"
    );
}

#[test]
fn s05_whom_a_request_is_for_is_good_or_a_label_or_the_request_is_refused() {
    let mut own = directory(false, false);
    let named: [(&str, &[u8]); 2] = [("x-litellm-end-user-id", b"e"), ("x-litellm-customer-id", b"e")];
    for key in [KEY, MASTER] {
        for header in named {
            let ask = |own: &Directory| ask_with(own, key, &[header]);
            own.end_users = Arc::default();
            let found = ask(&own).unwrap();
            assert!(
                found
                    .end_user()
                    .is_some_and(|own| &*own.id == "e" && own.end_user.is_none())
            );
            own.end_users = by_id("e", EndUser::default());
            assert!(ask(&own).unwrap().known_end_user().is_some());
            own.end_users = by_id(
                "e",
                EndUser {
                    blocked: true,
                    ..EndUser::default()
                },
            );
            assert_eq!(ask(&own), Err(AuthError::EndUserBlocked));
            own.end_users = by_id(
                "e",
                EndUser {
                    defect: Some(broken()),
                    ..EndUser::default()
                },
            );
            assert_eq!(ask(&own), Err(AuthError::LevelUnreadable(Level::EndUser)));
        }
        assert!(
            ask_with(&own, key, &[("x-litellm-end-user-id", b"")])
                .unwrap()
                .end_user()
                .is_none()
        );
        for unclear in [
            &[named[0], ("x-litellm-customer-id", b"f" as &[u8])][..],
            &[("x-litellm-end-user-id", b"\xff")],
        ] {
            assert_eq!(ask_with(&own, key, unclear), Err(AuthError::EndUserUnclear));
        }
    }
}
