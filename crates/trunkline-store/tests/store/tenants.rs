//! Whom keys belong to: nothing is lost, several rows change at once or none does, and every change is made of what is stored.

use std::sync::Arc;

use serde_json::json;
use trunkline_auth::{Directory, key_hash};
use trunkline_model::{
    Amount, Budget, CallLimits, EndUser, Member, MemberRole, ModelBudget, ObjectPermission, Organization,
    OrganizationMember, Spending, Stamps, Team, User, UserRole, VirtualKey,
};
use trunkline_store::{DirectoryWrite, KeyWriteError, Registry, Store};

use crate::fixture::{at, both, by};

async fn load(store: &Store) -> Arc<Registry> {
    Registry::load(store.clone(), vec![]).await.unwrap()
}

fn text(of: &str) -> String {
    format!("{of} é 漢 '\"\\ $1 {{}}")
}

fn permission() -> ObjectPermission {
    ObjectPermission {
        id: Some(text("permission")),
        mcp_servers: vec!["a".to_owned()],
        mcp_access_groups: vec!["g".to_owned()],
        mcp_tool_permissions: [("s".to_owned(), vec!["t".to_owned()])].into(),
        mcp_toolsets: vec!["set".to_owned()],
        models: vec!["model".to_owned()],
        toolsets: Vec::new(),
    }
}

fn stamps() -> Stamps {
    Stamps {
        created_at: Some(at(1)),
        created_by: Some(text("created_by")),
        updated_at: Some(at(2)),
        updated_by: Some(text("updated_by")),
    }
}

fn metadata() -> serde_json::Map<String, serde_json::Value> {
    json!({"z": [null, 0.5]}).as_object().cloned().unwrap()
}

/// With every field away from its default.
fn team() -> Team {
    let member = |user_id: &str, role| Member {
        user_id: user_id.to_owned(),
        role,
    };
    Team {
        team_id: "t".to_owned(),
        team_alias: Some(text("alias")),
        organization_id: Some(text("organization")),
        members: vec![member("u", MemberRole::Admin), member("v", MemberRole::User)],
        blocked: true,
        member_permissions: vec!["/key/generate".to_owned(), text("permission")],
        metadata: metadata(),
        object_permission: permission(),
        limits: CallLimits {
            mcp_rpm_limit: [(text("server"), 7)].into(),
            model_rpm_limit: [(text("model"), 7)].into(),
            model_tpm_limit: [(text("model"), 8)].into(),
            ..limits()
        },
        spending: spending(),
        stamps: stamps(),
        defect: None,
    }
}

fn limits() -> CallLimits {
    CallLimits {
        rpm_limit: Some(u32::MAX),
        max_parallel_requests: Some(0),
        tpm_limit: Some(9),
        ..CallLimits::default()
    }
}

pub(crate) fn spending() -> Spending {
    Spending {
        max_budget: Amount::parse("0.000000001"),
        soft_budget: Some(Amount::ZERO),
        budget_duration: Some(text("30d")),
        budget_reset_at: Some(at(7)),
        model_max_budget: [
            (
                text("model"),
                ModelBudget {
                    max: Amount::ZERO,
                    duration: Some("1mo".to_owned()),
                },
            ),
            (
                String::new(),
                ModelBudget {
                    max: Amount::parse("999999.999999999").unwrap(),
                    duration: None,
                },
            ),
        ]
        .into(),
    }
}

fn budget() -> Budget {
    Budget {
        budget_id: "b".to_owned(),
        max_budget: Amount::parse("0.000000001"),
        soft_budget: Amount::parse("0"),
        max_parallel_requests: Some(u32::MAX),
        rpm_limit: Some(0),
        tpm_limit: Some(u64::try_from(i64::MAX).unwrap()),
        tpd_limit: Some(0),
        model_max_budget: metadata(),
        budget_duration: Some(text("30d")),
        budget_reset_at: Some(jiff::Timestamp::from_microsecond(1).unwrap()),
        stamps: stamps(),
        defect: None,
    }
}

fn user() -> User {
    User {
        user_id: "u".to_owned(),
        user_email: Some(text("email")),
        user_alias: Some(text("alias")),
        user_role: Some(UserRole::InternalUserViewer),
        metadata: metadata(),
        object_permission: permission(),
        limits: limits(),
        spending: spending(),
        stamps: stamps(),
        defect: None,
    }
}

fn organization() -> Organization {
    Organization {
        organization_id: "o".to_owned(),
        organization_alias: Some(text("alias")),
        members: vec![OrganizationMember {
            user_id: "u".to_owned(),
            user_role: UserRole::InternalUser,
        }],
        metadata: metadata(),
        object_permission: permission(),
        budget_id: Some("b".to_owned()),
        stamps: stamps(),
        defect: None,
    }
}

fn end_user() -> EndUser {
    EndUser {
        user_id: "e".to_owned(),
        alias: Some(text("alias")),
        blocked: true,
        object_permission: permission(),
        budget_id: Some("b".to_owned()),
        stamps: stamps(),
        defect: None,
    }
}

fn key() -> VirtualKey {
    VirtualKey::new(key_hash("sk-1"))
}

async fn write(registry: &Registry, writes: Vec<DirectoryWrite>) -> Result<(), KeyWriteError> {
    registry.keys().change(&by(), |_| Ok((writes, ()))).await
}

fn directory(registry: &Registry) -> Arc<Directory> {
    registry.keys().ring().directory()
}

fn everything() -> Vec<DirectoryWrite> {
    vec![
        DirectoryWrite::PutTeam(team()),
        DirectoryWrite::PutUser(user()),
        DirectoryWrite::PutOrganization(organization()),
        DirectoryWrite::PutEndUser(end_user()),
        DirectoryWrite::PutBudget(budget()),
        DirectoryWrite::NewKey(Box::new(key())),
    ]
}

both! {
    async fn every_field_of_whom_keys_belong_to_comes_back(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let mut changes = registry.keys().subscribe();
        write(&registry, everything()).await.unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        // As it was written, and as another process reads it.
        for own in [directory(&registry), directory(&*load(&store).await)] {
            assert_eq!(*own.teams["t"], team());
            assert_eq!(*own.users["u"], user());
            assert_eq!(*own.organizations["o"], organization());
            assert_eq!(*own.end_users["e"], end_user());
            assert_eq!(*own.budgets["b"], budget());
            assert_eq!(own.keys.len(), 1);
        }
        let before = directory(&registry);
        registry.refresh().await.unwrap();
        assert!(Arc::ptr_eq(&before.teams["t"], &directory(&registry).teams["t"]), "what did not change is the same");
        assert!(!changes.has_changed().unwrap(), "nothing new");
        write(&registry, vec![
            DirectoryWrite::DeleteTeam("t".into()),
            DirectoryWrite::DeleteUser("u".into()),
            DirectoryWrite::DeleteOrganization("o".into()),
            DirectoryWrite::DeleteEndUser("e".into()),
            DirectoryWrite::DeleteKey(key_hash("sk-1")),
        ]).await.unwrap();
        for own in [directory(&registry), directory(&*load(&store).await)] {
            assert!(own.teams.is_empty() && own.users.is_empty() && own.organizations.is_empty());
            assert!(own.end_users.is_empty() && own.keys.is_empty());
        }
    }

    async fn all_of_a_change_is_written_or_nothing(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        registry.keys().insert(&by(), key()).await.unwrap();
        assert!(matches!(write(&registry, everything()).await, Err(KeyWriteError::Duplicate)));
        let nul = Team { team_alias: Some("a\0b".into()), ..team() };
        let half = vec![DirectoryWrite::PutUser(user()), DirectoryWrite::PutTeam(nul)];
        assert!(matches!(write(&registry, half).await, Err(KeyWriteError::Store(_))));
        let refused: Result<(), _> = registry.keys().change(&by(), |_| Err(KeyWriteError::NotFound)).await;
        assert!(matches!(refused, Err(KeyWriteError::NotFound)));
        for own in [directory(&registry), directory(&*load(&store).await)] {
            assert!(own.teams.is_empty() && own.users.is_empty() && own.keys.len() == 1);
        }
    }

    async fn a_change_is_made_of_what_others_have_written(db) {
        let (here, there) = (load(&db.store().await).await, load(&db.connect().await).await);
        // Nobody is told: each has to see for itself.
        for round in 0..6 {
            let registry = if round % 2 == 0 { &here } else { &there };
            let add = |own: &Directory| {
                let mut team = own.teams.get("t").map(|team| Team::clone(team)).unwrap_or_default();
                "t".clone_into(&mut team.team_id);
                team.members.push(Member { user_id: format!("u{round}"), role: MemberRole::User });
                Ok::<_, KeyWriteError>((vec![DirectoryWrite::PutTeam(team)], ()))
            };
            registry.keys().change(&by(), add).await.unwrap();
            assert_eq!(directory(registry).teams["t"].members.len(), round + 1);
        }
        there.refresh().await.unwrap();
        here.refresh().await.unwrap();
        assert_eq!(directory(&here).teams["t"], directory(&there).teams["t"]);
        write(&here, vec![DirectoryWrite::DeleteTeam("t".into()), DirectoryWrite::PutEndUser(end_user())]).await.unwrap();
        there.refresh().await.unwrap();
        assert!(directory(&there).teams.is_empty() && directory(&there).end_users.len() == 1);
    }

    async fn s05_whom_a_key_belongs_to_and_cannot_be_read_says_so(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let broken = [
            ("team_table", "team_id", "members_with_roles", r#"'[{"user_id":"u","role":"owner"}]'"#),
            ("team_table", "team_id", "members_with_roles", r#"'[{"user_id":"u","role":"user","until":1}]'"#),
            ("team_table", "team_id", "object_permission", r#"'{"blocked_tools":["x"]}'"#),
            // What a later version restricts with, this one refuses.
            ("team_table", "team_id", "object_permission", r#"'{"restricted_by":["limits","hours"]}'"#),
            ("team_table", "team_id", "rpm_limit", "-1"),
            ("team_table", "team_id", "tpm_limit", "-1"),
            ("team_table", "team_id", "model_tpm_limit", "'7'"),
            ("user_table", "user_id", "tpm_limit", "-2"),
            ("user_table", "user_id", "model_max_budget", r#"'{"m":{"max_budget":-1}}'"#),
            ("user_table", "user_id", "max_parallel_requests", "4294967296"),
            ("budget_table", "budget_id", "max_budget", "-1"),
            ("budget_table", "budget_id", "tpm_limit", "-1"),
            ("budget_table", "budget_id", "model_max_budget", "'[]'"),
            ("user_table", "user_id", "user_role", "'owner'"),
            ("user_table", "user_id", "object_permission", "'['"),
            ("organization_table", "organization_id", "members", "'{}'"),
            ("organization_table", "organization_id", "metadata", "'[]'"),
            ("end_user_table", "user_id", "object_permission", r#"'{"mcp_servers":"a"}'"#),
        ];
        for (table, id, column, value) in broken {
            write(&registry, everything()[..5].to_vec()).await.unwrap();
            db.by_hand(&format!("UPDATE {table} SET {column} = {value} WHERE {id} IS NOT NULL")).await;
            registry.refresh().await.unwrap();
            let own = directory(&registry);
            let defects = [
                ("team_table", own.teams["t"].defect.clone()),
                ("user_table", own.users["u"].defect.clone()),
                ("organization_table", own.organizations["o"].defect.clone()),
                ("end_user_table", own.end_users["e"].defect.clone()),
                ("budget_table", own.budgets["b"].defect.clone()),
            ];
            for (other, defect) in defects {
                let expected = other == table;
                assert_eq!(defect.is_some_and(|defect| defect.contains(column)), expected, "{table} {column} {value}: {other}");
            }
        }
    }
}
