//! Whom keys belong to: teams, users, organisations, and the end users (customers) that requests are made for. One file a group of
//! operations.
//!
//! - [`fields`] is what bodies may say, [`query`] what queries may, and what of LiteLLM's is not served yet.
//! - [`row`] is how answers show them.
//! - Everything that is read is in memory; everything that is written is planned on what is stored, and written at once.

pub(crate) mod customer;
pub(crate) mod fields;
pub(crate) mod organization;
pub(crate) mod organization_members;
pub(crate) mod query;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod team;
pub(crate) mod team_bulk;
pub(crate) mod team_list;
pub(crate) mod team_members;
pub(crate) mod team_models;
pub(crate) mod team_permissions;
pub(crate) mod user;
pub(crate) mod user_bulk;
pub(crate) mod user_list;

use trunkline_model::Stamps;

use crate::key::error::KeyError;

/// The stamps of what is made now.
pub(crate) fn new_stamps(now: jiff::Timestamp, by: &str) -> Stamps {
    Stamps {
        created_at: Some(now),
        created_by: Some(by.to_owned()),
        updated_at: Some(now),
        updated_by: Some(by.to_owned()),
    }
}

/// Stamps a change.
pub(crate) fn touch(stamps: &mut Stamps, now: jiff::Timestamp, by: &str) {
    stamps.updated_at = Some(now);
    stamps.updated_by = Some(by.to_owned());
}

/// Refuses to write back what could not be read as a whole: it would be lost.
pub(crate) fn readable(field: &'static str, defect: Option<&String>) -> Result<(), KeyError> {
    match defect {
        None => Ok(()),
        Some(defect) => Err(KeyError::Bad(
            field,
            format!("it cannot be changed: {defect}. Delete it and make another"),
        )),
    }
}
