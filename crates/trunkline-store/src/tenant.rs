//! `team_table`, `user_table`, `organization_table`, `end_user_table`, `budget_table`: whom keys belong to and what they may spend, and changes of several of them and of
//! keys at once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use trunkline_auth::{ById, Directory};
use trunkline_model::{Budget, EndUser, KeyHash, Level, Organization, Team, User, VirtualKey};

use crate::audit::entry::{self, Entry};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::key::{self, KeyWriteError, values};
use crate::store::Store;
use crate::tenant_row::{Statements, TenantRow};

macro_rules! stamp_columns {
    () => {
        "created_at, created_by, updated_at, updated_by, revision"
    };
}

/// `ON CONFLICT`: a column that another version has stays as it is.
macro_rules! stamp_excluded {
    () => {
        "excluded.created_at, excluded.created_by, excluded.updated_at, excluded.updated_by, excluded.revision"
    };
}

macro_rules! team_columns {
    () => {
        concat!("team_id, team_alias, organization_id, members_with_roles, blocked, metadata, object_permission, rpm_limit, max_parallel_requests, mcp_rpm_limit, tpm_limit, model_rpm_limit, model_tpm_limit, team_member_permissions, max_budget, soft_budget, budget_duration, budget_reset_at, model_max_budget, ", stamp_columns!())
    };
}

macro_rules! user_columns {
    () => {
        concat!(
            "user_id, user_email, user_alias, user_role, metadata, object_permission, rpm_limit, max_parallel_requests, tpm_limit, \
             max_budget, soft_budget, budget_duration, budget_reset_at, model_max_budget, ",
            stamp_columns!()
        )
    };
}

macro_rules! organization_columns {
    () => {
        concat!(
            "organization_id, organization_alias, members, metadata, object_permission, budget_id, ",
            stamp_columns!()
        )
    };
}

macro_rules! end_user_columns {
    () => {
        concat!(
            "user_id, alias, blocked, object_permission, budget_id, ",
            stamp_columns!()
        )
    };
}

macro_rules! budget_columns {
    () => {
        concat!(
            "budget_id, max_budget, soft_budget, max_parallel_requests, tpm_limit, rpm_limit, tpd_limit, model_max_budget, \
             budget_duration, budget_reset_at, ",
            stamp_columns!()
        )
    };
}

macro_rules! directory_counts {
    ($is_hash:literal) => {
        concat!(
            "SELECT (SELECT count(*) FROM verification_token WHERE ",
            $is_hash,
            ") AS verification_token, (SELECT count(*) FROM team_table) AS team_table, (SELECT count(*) FROM user_table) AS user_table, \
             (SELECT count(*) FROM organization_table) AS organization_table, (SELECT count(*) FROM end_user_table) AS end_user_table, \
             (SELECT count(*) FROM budget_table) AS budget_table"
        )
    };
}

stmts! {
    TEAM_LIST_SINCE = concat!("SELECT ", team_columns!(), " FROM team_table WHERE revision > $1");
    TEAM_IDS = "SELECT team_id AS id FROM team_table";
    TEAM_PUT = concat!(
        "INSERT INTO team_table (", team_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) \
         ON CONFLICT (team_id) DO UPDATE SET (", team_columns!(), ") = (excluded.team_id, excluded.team_alias, \
         excluded.organization_id, excluded.members_with_roles, excluded.blocked, excluded.metadata, excluded.object_permission, excluded.rpm_limit, \
         excluded.max_parallel_requests, excluded.mcp_rpm_limit, excluded.tpm_limit, excluded.model_rpm_limit, \
         excluded.model_tpm_limit, excluded.team_member_permissions, excluded.max_budget, excluded.soft_budget, \
         excluded.budget_duration, excluded.budget_reset_at, excluded.model_max_budget, ",
        stamp_excluded!(), ")"
    );
    TEAM_DELETE = "DELETE FROM team_table WHERE team_id = $1";

    USER_LIST_SINCE = concat!("SELECT ", user_columns!(), " FROM user_table WHERE revision > $1");
    USER_IDS = "SELECT user_id AS id FROM user_table";
    USER_PUT = concat!(
        "INSERT INTO user_table (", user_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
         ON CONFLICT (user_id) DO UPDATE SET (", user_columns!(), ") = (excluded.user_id, excluded.user_email, \
         excluded.user_alias, excluded.user_role, excluded.metadata, excluded.object_permission, excluded.rpm_limit, \
         excluded.max_parallel_requests, excluded.tpm_limit, excluded.max_budget, excluded.soft_budget, excluded.budget_duration, \
         excluded.budget_reset_at, excluded.model_max_budget, ", stamp_excluded!(), ")"
    );
    USER_DELETE = "DELETE FROM user_table WHERE user_id = $1";

    ORGANIZATION_LIST_SINCE = concat!("SELECT ", organization_columns!(), " FROM organization_table WHERE revision > $1");
    ORGANIZATION_IDS = "SELECT organization_id AS id FROM organization_table";
    ORGANIZATION_PUT = concat!(
        "INSERT INTO organization_table (", organization_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (organization_id) DO UPDATE SET (", organization_columns!(), ") = (excluded.organization_id, \
         excluded.organization_alias, excluded.members, excluded.metadata, excluded.object_permission, \
         excluded.budget_id, ", stamp_excluded!(), ")"
    );
    ORGANIZATION_DELETE = "DELETE FROM organization_table WHERE organization_id = $1";

    END_USER_LIST_SINCE = concat!("SELECT ", end_user_columns!(), " FROM end_user_table WHERE revision > $1");
    END_USER_IDS = "SELECT user_id AS id FROM end_user_table";
    END_USER_PUT = concat!(
        "INSERT INTO end_user_table (", end_user_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (user_id) DO UPDATE SET (", end_user_columns!(), ") = (excluded.user_id, excluded.alias, excluded.blocked, \
         excluded.object_permission, excluded.budget_id, ", stamp_excluded!(), ")"
    );
    END_USER_DELETE = "DELETE FROM end_user_table WHERE user_id = $1";

    BUDGET_LIST_SINCE = concat!("SELECT ", budget_columns!(), " FROM budget_table WHERE revision > $1");
    BUDGET_IDS = "SELECT budget_id AS id FROM budget_table";
    BUDGET_PUT = concat!(
        "INSERT INTO budget_table (", budget_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (budget_id) DO UPDATE SET (", budget_columns!(), ") = (excluded.budget_id, excluded.max_budget, \
         excluded.soft_budget, excluded.max_parallel_requests, excluded.tpm_limit, excluded.rpm_limit, excluded.tpd_limit, \
         excluded.model_max_budget, excluded.budget_duration, excluded.budget_reset_at, ", stamp_excluded!(), ")"
    );
    BUDGET_DELETE = "DELETE FROM budget_table WHERE budget_id = $1";

    /// How many rows there are, also of those that cannot be read. Of keys those that can be anybody's: others are not in memory, and
    /// would hide that one is gone (B42). One pattern for the whole text would take `PostgreSQL` seven times as long.
    DIRECTORY_COUNTS = directory_counts!("length(token) = 64 AND token NOT GLOB '*[^0-9a-f]*'"),
        postgres: directory_counts!("length(token) = 64 AND token !~ '[^0-9a-f]'");
}

pub(crate) const TEAMS: Statements = Statements {
    table: "team_table",
    audited: entry::TEAMS,
    list_since: &TEAM_LIST_SINCE,
    ids: &TEAM_IDS,
    put: &TEAM_PUT,
    delete: &TEAM_DELETE,
};

pub(crate) const USERS: Statements = Statements {
    table: "user_table",
    audited: entry::USERS,
    list_since: &USER_LIST_SINCE,
    ids: &USER_IDS,
    put: &USER_PUT,
    delete: &USER_DELETE,
};

pub(crate) const ORGANIZATIONS: Statements = Statements {
    table: "organization_table",
    audited: entry::ORGANIZATIONS,
    list_since: &ORGANIZATION_LIST_SINCE,
    ids: &ORGANIZATION_IDS,
    put: &ORGANIZATION_PUT,
    delete: &ORGANIZATION_DELETE,
};

pub(crate) const END_USERS: Statements = Statements {
    table: "end_user_table",
    audited: entry::END_USERS,
    list_since: &END_USER_LIST_SINCE,
    ids: &END_USER_IDS,
    put: &END_USER_PUT,
    delete: &END_USER_DELETE,
};

pub(crate) const BUDGETS: Statements = Statements {
    table: "budget_table",
    audited: entry::BUDGETS,
    list_since: &BUDGET_LIST_SINCE,
    ids: &BUDGET_IDS,
    put: &BUDGET_PUT,
    delete: &BUDGET_DELETE,
};

/// What a key has spent of its budget is said anew.
#[derive(Clone, Copy, Debug)]
pub struct SpendReset {
    /// Which key.
    pub hash: KeyHash,
    /// Billionths of a dollar that it had spent in its period, for the audit log.
    pub before: i64,
    /// Billionths of a dollar that it has spent from now on.
    pub spend: i64,
    /// When: calls that ended earlier count no more.
    pub at: Timestamp,
}

/// One row of a change. A row that is put is new, or replaces the one with its id; a key that is put has to be new.
#[derive(Clone, Debug)]
pub enum DirectoryWrite {
    /// A team.
    PutTeam(Team),
    /// A user.
    PutUser(User),
    /// An organisation.
    PutOrganization(Organization),
    /// An end user.
    PutEndUser(EndUser),
    /// A budget.
    PutBudget(Budget),
    /// A new key.
    NewKey(Box<VirtualKey>),
    /// Another state of the key with this hash, and it may be another hash.
    PutKey(KeyHash, Box<VirtualKey>),
    /// Whether a key is blocked, and its stamps: also of one that cannot be read.
    BlockKey(Box<VirtualKey>),
    /// What a key has spent.
    ResetSpend(SpendReset),
    /// No team any more.
    DeleteTeam(String),
    /// No user any more.
    DeleteUser(String),
    /// No organisation any more.
    DeleteOrganization(String),
    /// No end user any more.
    DeleteEndUser(String),
    /// No budget any more.
    DeleteBudget(String),
    /// No key any more.
    DeleteKey(KeyHash),
}

/// How many rows the tables have.
pub(crate) struct Counts(Row);

impl Counts {
    pub(crate) fn of(&self, table: &str) -> Result<usize, StoreError> {
        let count = self.0.required_int(table);
        let count = count.map_err(StoreError::database(DIRECTORY_COUNTS.name))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

impl Store {
    pub(crate) async fn directory_counts(&self) -> Result<Counts, StoreError> {
        let row = self.db().fetch_first(&DIRECTORY_COUNTS, vec![]).await?;
        let none = || StoreError::database(DIRECTORY_COUNTS.name)(sqlx::Error::RowNotFound);
        row.map(Counts).ok_or_else(none)
    }

    /// The rows of a table as they are now: what was written after `since` (`None`: all), and what is gone. The same object for
    /// the same row, and the same map for the same rows.
    pub(crate) async fn follow<T: TenantRow>(
        &self,
        before: &Arc<ById<T>>,
        since: Option<i64>,
        counts: &Counts,
    ) -> Result<Arc<ById<T>>, StoreError> {
        let Statements {
            table,
            list_since,
            ids,
            ..
        } = T::STATEMENTS;
        let parameters = vec![since.unwrap_or(-1).into()];
        let read = self.db().fetch_all(list_since, parameters).await?;
        let count = counts.of(table)?;
        if since.is_some() && read.is_empty() && count == before.len() {
            return Ok(before.clone());
        }
        let mut after = match since {
            Some(_) => ById::clone(before),
            None => ById::default(),
        };
        for row in &read {
            let Some(row) = T::decode(row) else {
                tracing::warn!(table, "a row has an id that is not a text");
                continue;
            };
            let id = row.id().to_owned();
            let own = before.get(&id).filter(|own| ***own == row).cloned();
            after.insert(id, own.unwrap_or_else(|| Arc::new(row)));
        }
        if since.is_some() && after.len() != count {
            let rows = self.db().fetch_all(ids, vec![]).await?;
            let live: HashSet<String> = rows
                .iter()
                .filter_map(|row| row.text("id").ok().flatten())
                .collect();
            after.retain(|id, _| live.contains(id));
        }
        let is_same = before.len() == after.len()
            && after
                .iter()
                .all(|(id, row)| before.get(id).is_some_and(|own| Arc::ptr_eq(own, row)));
        Ok(if is_same { before.clone() } else { Arc::new(after) })
    }
}

impl DirectoryWrite {
    /// Writes it in the transaction of change number `revision`.
    pub(crate) async fn write(&self, tx: &mut Tx, revision: i64) -> Result<(), KeyWriteError> {
        match self {
            Self::PutTeam(row) => put(tx, row, revision).await,
            Self::PutUser(row) => put(tx, row, revision).await,
            Self::PutOrganization(row) => put(tx, row, revision).await,
            Self::PutEndUser(row) => put(tx, row, revision).await,
            Self::PutBudget(row) => put(tx, row, revision).await,
            Self::NewKey(own) => key::insert(tx, own, revision).await,
            Self::PutKey(hash, own) => key::replace(tx, *hash, own, revision).await,
            Self::BlockKey(own) => key::block(tx, own, revision).await,
            // No column of the key: `Keys::change` writes it beside the other sums.
            Self::ResetSpend(_) => Ok(()),
            Self::DeleteTeam(id) => delete::<Team>(tx, id).await,
            Self::DeleteUser(id) => delete::<User>(tx, id).await,
            Self::DeleteOrganization(id) => delete::<Organization>(tx, id).await,
            Self::DeleteEndUser(id) => delete::<EndUser>(tx, id).await,
            Self::DeleteBudget(id) => delete::<Budget>(tx, id).await,
            Self::DeleteKey(hash) => key::delete(tx, *hash).await,
        }
    }

    /// The hash that a key had, and the one that it has, if that is another one.
    pub(crate) fn renames(&self) -> Option<(String, String)> {
        match self {
            Self::PutKey(hash, key) if *hash != key.hash => Some((hash.to_hex(), key.hash.to_hex())),
            _ => None,
        }
    }

    /// The key that was not there before it.
    pub(crate) fn makes(&self) -> Option<(Level, Cow<'_, str>)> {
        match self {
            Self::NewKey(key) => Some((Level::Key, key.hash.to_hex().into())),
            _ => None,
        }
    }

    /// Who is gone with it, of those that spend.
    pub(crate) fn deletes(&self) -> Option<(Level, Cow<'_, str>)> {
        match self {
            Self::DeleteTeam(id) => Some((Level::Team, id.into())),
            Self::DeleteUser(id) => Some((Level::User, id.into())),
            Self::DeleteOrganization(id) => Some((Level::Organization, id.into())),
            Self::DeleteEndUser(id) => Some((Level::EndUser, id.into())),
            Self::DeleteKey(hash) => Some((Level::Key, hash.to_hex().into())),
            Self::PutTeam(_)
            | Self::PutUser(_)
            | Self::PutOrganization(_)
            | Self::PutEndUser(_)
            | Self::PutBudget(_)
            | Self::NewKey(_)
            | Self::PutKey(..)
            | Self::BlockKey(_)
            | Self::ResetSpend(_)
            | Self::DeleteBudget(_) => None,
        }
    }

    /// The row of the audit log about it; `None` if there is nothing to delete.
    pub(crate) fn entry(&self, before: &Directory) -> Result<Option<Entry>, StoreError> {
        match self {
            Self::PutTeam(row) => put_entry(row, &before.teams),
            Self::PutUser(row) => put_entry(row, &before.users),
            Self::PutOrganization(row) => put_entry(row, &before.organizations),
            Self::PutEndUser(row) => put_entry(row, &before.end_users),
            Self::PutBudget(row) => put_entry(row, &before.budgets),
            Self::NewKey(own) => key::entry_of(own.hash, None, Some(own)).map(Some),
            Self::PutKey(hash, own) => {
                let before = before.keys.get(hash).map(|own| &**own);
                key::entry_of(*hash, before, Some(own)).map(Some)
            }
            Self::BlockKey(own) => {
                let before = before.keys.get(&own.hash).map(|own| &**own);
                key::entry_of(own.hash, before, Some(own)).map(Some)
            }
            Self::ResetSpend(own) => {
                let cells = |spend: i64| [("spend", Value::from(spend))];
                let (before, after) = (cells(own.before), cells(own.spend));
                let id = own.hash.to_hex();
                Ok(Some(Entry::of(entry::KEYS, &id, Some(&before), Some(&after))))
            }
            Self::DeleteTeam(id) => delete_entry(id, &before.teams),
            Self::DeleteUser(id) => delete_entry(id, &before.users),
            Self::DeleteOrganization(id) => delete_entry(id, &before.organizations),
            Self::DeleteEndUser(id) => delete_entry(id, &before.end_users),
            Self::DeleteBudget(id) => delete_entry(id, &before.budgets),
            Self::DeleteKey(hash) => {
                let own = before.keys.get(hash);
                own.map(|own| key::entry_of(*hash, Some(own), None)).transpose()
            }
        }
    }

    /// Does the same to what is in memory.
    pub(crate) fn apply(self, directory: &mut Directory) {
        match self {
            Self::PutTeam(row) => insert(&mut directory.teams, row),
            Self::PutUser(row) => insert(&mut directory.users, row),
            Self::PutOrganization(row) => insert(&mut directory.organizations, row),
            Self::PutEndUser(row) => insert(&mut directory.end_users, row),
            Self::PutBudget(row) => insert(&mut directory.budgets, row),
            Self::NewKey(own) | Self::BlockKey(own) => {
                Arc::make_mut(&mut directory.keys).insert(own.hash, Arc::new(*own));
            }
            Self::PutKey(hash, own) => {
                let keys = Arc::make_mut(&mut directory.keys);
                keys.remove(&hash);
                keys.insert(own.hash, Arc::new(*own));
            }
            Self::ResetSpend(_) => {}
            Self::DeleteTeam(id) => remove(&mut directory.teams, &id),
            Self::DeleteUser(id) => remove(&mut directory.users, &id),
            Self::DeleteOrganization(id) => remove(&mut directory.organizations, &id),
            Self::DeleteEndUser(id) => remove(&mut directory.end_users, &id),
            Self::DeleteBudget(id) => remove(&mut directory.budgets, &id),
            Self::DeleteKey(hash) => {
                Arc::make_mut(&mut directory.keys).remove(&hash);
            }
        }
    }
}

fn put_entry<T: TenantRow>(row: &T, rows: &ById<T>) -> Result<Option<Entry>, StoreError> {
    let before = rows.get(row.id()).map(|own| own.encode(0)).transpose()?;
    let after = row.encode(0)?;
    let table = T::STATEMENTS.audited;
    Ok(Some(Entry::of(table, row.id(), before.as_deref(), Some(&after))))
}

fn delete_entry<T: TenantRow>(id: &str, rows: &ById<T>) -> Result<Option<Entry>, StoreError> {
    let Some(before) = rows.get(id).map(|own| own.encode(0)).transpose()? else {
        return Ok(None);
    };
    Ok(Some(Entry::of(T::STATEMENTS.audited, id, Some(&before), None)))
}

async fn put<T: TenantRow>(tx: &mut Tx, row: &T, revision: i64) -> Result<(), KeyWriteError> {
    let cells = row.encode(revision)?;
    tx.execute(T::STATEMENTS.put, values(cells)).await?;
    Ok(())
}

async fn delete<T: TenantRow>(tx: &mut Tx, id: &str) -> Result<(), KeyWriteError> {
    tx.execute(T::STATEMENTS.delete, vec![id.into()]).await?;
    Ok(())
}

fn insert<T: TenantRow>(rows: &mut Arc<ById<T>>, row: T) {
    Arc::make_mut(rows).insert(row.id().to_owned(), Arc::new(row));
}

fn remove<T>(rows: &mut Arc<ById<T>>, id: &str) {
    Arc::make_mut(rows).remove(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: TenantRow>(row: &T, columns: &str) {
        let cells = row.encode(1).unwrap();
        let written: Vec<_> = cells.iter().map(|(column, _)| *column).collect();
        let listed: Vec<_> = columns.split(", ").collect();
        assert_eq!(listed, written);
        let name = T::STATEMENTS.table;
        let table = crate::schema::TABLES.iter().find(|table| table.name == name);
        let table: Vec<_> = table.unwrap().columns.iter().map(|column| column.name).collect();
        assert_eq!(table, listed);
        let put = T::STATEMENTS.put.postgres;
        let parameters: Vec<_> = (1..=listed.len()).map(|n| format!("${n}")).collect();
        let excluded: Vec<_> = listed.iter().map(|column| format!("excluded.{column}")).collect();
        assert_eq!(
            put,
            format!(
                "INSERT INTO {name} ({columns}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET ({columns}) = ({})",
                parameters.join(", "),
                listed[0],
                excluded.join(", ")
            )
        );
    }

    #[test]
    fn columns_parameters_and_cells_are_the_same_list() {
        check(&Team::default(), team_columns!());
        check(&User::default(), user_columns!());
        check(&Organization::default(), organization_columns!());
        check(&EndUser::default(), end_user_columns!());
        check(&Budget::default(), budget_columns!());
    }
}
