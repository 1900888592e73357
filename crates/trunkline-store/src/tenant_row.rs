//! Between rows and whom keys belong to: teams, users, organisations, end users.
//!
//! Reading never fails for a whole row. What cannot be read, and what a newer version wrote that this one does not know, is
//! named in the row's `defect`, and whoever it would restrict is refused.

use serde_json::{Map, Value as Json};
use trunkline_model::{
    CallLimits, EndUser, Member, MemberRole, Organization, OrganizationMember, Stamps, Team, User, UserRole,
};

use crate::db::{Row, Stmt, StoreError, Value};
use crate::key_row::{
    also, decode_permission, decode_spending, decode_tokens, numbers, permission_text, refuse_nul,
    spending_cells, tokens,
};
use crate::server_row::{Cell, Reader, json, text, time};

/// The statements of one table.
pub(crate) struct Statements {
    pub(crate) table: &'static str,
    /// The audit log's name of it.
    pub(crate) audited: &'static str,
    /// All that were written after a revision.
    pub(crate) list_since: &'static Stmt,
    pub(crate) ids: &'static Stmt,
    pub(crate) put: &'static Stmt,
    pub(crate) delete: &'static Stmt,
}

/// One row of a table whose primary key is a text that people choose.
pub(crate) trait TenantRow: PartialEq + Sized {
    const STATEMENTS: Statements;

    fn id(&self) -> &str;

    /// The cells in the order of the table's columns.
    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError>;

    /// `None` if the id is no text, so that nobody can name it.
    fn decode(row: &Row) -> Option<Self>;
}

pub(crate) fn stamp_cells(stamps: &Stamps, revision: i64) -> [Cell; 5] {
    let Stamps {
        created_at,
        created_by,
        updated_at,
        updated_by,
    } = stamps;
    [
        ("created_at", time(*created_at)),
        ("created_by", text(created_by.as_ref())),
        ("updated_at", time(*updated_at)),
        ("updated_by", text(updated_by.as_ref())),
        ("revision", revision.into()),
    ]
}

pub(crate) fn decode_stamps(reader: &mut Reader<'_>) -> Stamps {
    Stamps {
        created_at: reader.time("created_at"),
        created_by: reader.text("created_by"),
        updated_at: reader.time("updated_at"),
        updated_by: reader.text("updated_by"),
    }
}

pub(crate) fn defect(reader: &Reader<'_>) -> Option<String> {
    (!reader.defects.is_empty()).then(|| reader.defects.join("; "))
}

fn count(own: Option<u32>) -> Value {
    Value::Int(own.map(i64::from))
}

/// Those that are not of single servers and models.
fn decode_limits(reader: &mut Reader<'_>) -> CallLimits {
    CallLimits {
        rpm_limit: reader.count("rpm_limit"),
        max_parallel_requests: reader.count("max_parallel_requests"),
        tpm_limit: decode_tokens(reader, "tpm_limit"),
        ..CallLimits::default()
    }
}

/// A list of objects with a user's id and one more text; `role` reads the latter. A member that cannot be read, or says more,
/// makes the whole list unreadable.
fn decode_members<T>(
    reader: &mut Reader<'_>,
    column: &str,
    role_name: &str,
    make: impl Fn(String, &str) -> Option<T>,
) -> Vec<T> {
    let items: Vec<Map<String, Json>> = reader.json(column).unwrap_or_default();
    let read = |mut item: Map<String, Json>| {
        let Some(Json::String(user_id)) = item.remove("user_id") else {
            return None;
        };
        let role = item.remove(role_name)?;
        if item.is_empty() {
            make(user_id, role.as_str()?)
        } else {
            None
        }
    };
    let members: Option<Vec<T>> = items.into_iter().map(read).collect();
    reader.checked(column, members).unwrap_or_default()
}

fn members_text<'m>(role_name: &str, members: impl Iterator<Item = (&'m String, &'static str)>) -> Value {
    let member = |(user_id, role): (&String, &str)| {
        let cells = [
            ("user_id".to_owned(), user_id.clone().into()),
            (role_name.to_owned(), Json::from(role)),
        ];
        Json::Object(cells.into_iter().collect())
    };
    Json::Array(members.map(member).collect()).to_string().into()
}

impl TenantRow for Team {
    const STATEMENTS: Statements = crate::tenant::TEAMS;

    fn id(&self) -> &str {
        &self.team_id
    }

    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError> {
        let Self {
            team_id,
            team_alias,
            organization_id,
            members,
            blocked,
            member_permissions,
            metadata,
            object_permission,
            limits,
            spending,
            stamps,
            defect: _,
        } = self;
        let members = members.iter().map(|own| (&own.user_id, own.role.as_str()));
        let mut cells = vec![
            ("team_id", Value::from(&**team_id)),
            ("team_alias", text(team_alias.as_ref())),
            ("organization_id", text(organization_id.as_ref())),
            ("members_with_roles", members_text("role", members)),
            ("blocked", Value::Bool(Some(*blocked))),
            ("metadata", json(metadata).into()),
            (
                "object_permission",
                permission_text(object_permission, &also(Some(limits), None, Some(spending))).into(),
            ),
            ("rpm_limit", count(limits.rpm_limit)),
            ("max_parallel_requests", count(limits.max_parallel_requests)),
            ("mcp_rpm_limit", json(&limits.mcp_rpm_limit).into()),
            ("tpm_limit", tokens(limits.tpm_limit)),
            ("model_rpm_limit", numbers(&limits.model_rpm_limit)),
            ("model_tpm_limit", numbers(&limits.model_tpm_limit)),
            ("team_member_permissions", json(member_permissions).into()),
        ];
        cells.extend(spending_cells(spending));
        cells.extend(stamp_cells(stamps, revision));
        refuse_nul(cells)
    }

    fn decode(row: &Row) -> Option<Self> {
        let team_id = row.text("team_id").ok().flatten()?;
        let mut reader = Reader::new(row);
        let mut team = Self {
            team_id,
            team_alias: reader.text("team_alias"),
            organization_id: reader.text("organization_id"),
            members: decode_members(&mut reader, "members_with_roles", "role", |user_id, role| {
                let role = MemberRole::parse(role)?;
                Some(Member { user_id, role })
            }),
            blocked: reader.bool("blocked").unwrap_or(false),
            member_permissions: reader.json("team_member_permissions").unwrap_or_default(),
            metadata: reader.json("metadata").unwrap_or_default(),
            object_permission: decode_permission(&mut reader),
            limits: CallLimits {
                mcp_rpm_limit: reader.json("mcp_rpm_limit").unwrap_or_default(),
                model_rpm_limit: reader.json("model_rpm_limit").unwrap_or_default(),
                model_tpm_limit: reader.json("model_tpm_limit").unwrap_or_default(),
                ..decode_limits(&mut reader)
            },
            spending: decode_spending(&mut reader),
            stamps: decode_stamps(&mut reader),
            defect: None,
        };
        team.defect = defect(&reader);
        Some(team)
    }
}

impl TenantRow for User {
    const STATEMENTS: Statements = crate::tenant::USERS;

    fn id(&self) -> &str {
        &self.user_id
    }

    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError> {
        let Self {
            user_id,
            user_email,
            user_alias,
            user_role,
            metadata,
            object_permission,
            limits,
            spending,
            stamps,
            defect: _,
        } = self;
        let mut cells = vec![
            ("user_id", Value::from(&**user_id)),
            ("user_email", text(user_email.as_ref())),
            ("user_alias", text(user_alias.as_ref())),
            (
                "user_role",
                Value::Text(user_role.map(|role| role.as_str().to_owned())),
            ),
            ("metadata", json(metadata).into()),
            (
                "object_permission",
                permission_text(object_permission, &also(Some(limits), None, Some(spending))).into(),
            ),
            ("rpm_limit", count(limits.rpm_limit)),
            ("max_parallel_requests", count(limits.max_parallel_requests)),
            ("tpm_limit", tokens(limits.tpm_limit)),
        ];
        cells.extend(spending_cells(spending));
        cells.extend(stamp_cells(stamps, revision));
        refuse_nul(cells)
    }

    fn decode(row: &Row) -> Option<Self> {
        let user_id = row.text("user_id").ok().flatten()?;
        let mut reader = Reader::new(row);
        let mut user = Self {
            user_id,
            user_email: reader.text("user_email"),
            user_alias: reader.text("user_alias"),
            user_role: reader.word_or_null("user_role", UserRole::parse),
            metadata: reader.json("metadata").unwrap_or_default(),
            object_permission: decode_permission(&mut reader),
            limits: decode_limits(&mut reader),
            spending: decode_spending(&mut reader),
            stamps: decode_stamps(&mut reader),
            defect: None,
        };
        user.defect = defect(&reader);
        Some(user)
    }
}

impl TenantRow for Organization {
    const STATEMENTS: Statements = crate::tenant::ORGANIZATIONS;

    fn id(&self) -> &str {
        &self.organization_id
    }

    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError> {
        let Self {
            organization_id,
            organization_alias,
            members,
            metadata,
            object_permission,
            budget_id,
            stamps,
            defect: _,
        } = self;
        let members = members.iter().map(|own| (&own.user_id, own.user_role.as_str()));
        let mut cells = vec![
            ("organization_id", Value::from(&**organization_id)),
            ("organization_alias", text(organization_alias.as_ref())),
            ("members", members_text("user_role", members)),
            ("metadata", json(metadata).into()),
            (
                "object_permission",
                permission_text(object_permission, &also(None, budget_id.as_ref(), None)).into(),
            ),
            ("budget_id", text(budget_id.as_ref())),
        ];
        cells.extend(stamp_cells(stamps, revision));
        refuse_nul(cells)
    }

    fn decode(row: &Row) -> Option<Self> {
        let organization_id = row.text("organization_id").ok().flatten()?;
        let mut reader = Reader::new(row);
        let mut organization = Self {
            organization_id,
            organization_alias: reader.text("organization_alias"),
            members: decode_members(&mut reader, "members", "user_role", |user_id, role| {
                let user_role = UserRole::parse(role)?;
                Some(OrganizationMember { user_id, user_role })
            }),
            metadata: reader.json("metadata").unwrap_or_default(),
            object_permission: decode_permission(&mut reader),
            budget_id: reader.text("budget_id"),
            stamps: decode_stamps(&mut reader),
            defect: None,
        };
        organization.defect = defect(&reader);
        Some(organization)
    }
}

impl TenantRow for EndUser {
    const STATEMENTS: Statements = crate::tenant::END_USERS;

    fn id(&self) -> &str {
        &self.user_id
    }

    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError> {
        let Self {
            user_id,
            alias,
            blocked,
            object_permission,
            budget_id,
            stamps,
            defect: _,
        } = self;
        let mut cells = vec![
            ("user_id", Value::from(&**user_id)),
            ("alias", text(alias.as_ref())),
            ("blocked", Value::Bool(Some(*blocked))),
            (
                "object_permission",
                permission_text(object_permission, &also(None, budget_id.as_ref(), None)).into(),
            ),
            ("budget_id", text(budget_id.as_ref())),
        ];
        cells.extend(stamp_cells(stamps, revision));
        refuse_nul(cells)
    }

    fn decode(row: &Row) -> Option<Self> {
        let user_id = row.text("user_id").ok().flatten()?;
        let mut reader = Reader::new(row);
        let mut end_user = Self {
            user_id,
            alias: reader.text("alias"),
            blocked: reader.bool("blocked").unwrap_or(false),
            object_permission: decode_permission(&mut reader),
            budget_id: reader.text("budget_id"),
            stamps: decode_stamps(&mut reader),
            defect: None,
        };
        end_user.defect = defect(&reader);
        Some(end_user)
    }
}
