//! Virtual keys: one file an operation.
//!
//! - [`fields`] is what a body may say about a key, and what of LiteLLM's is not served yet.
//! - [`belonging`] is to whom a key may belong, and what it may be given there.
//! - [`delegate`] is who changes keys, and how far it may.
//! - [`limits`] is what one may say about limits of calls.
//! - [`wanted`] is which keys a list is of.
//! - [`row`] is how answers show one. The key itself is in the answer that makes it, and nowhere else.
//! - [`error`] says failures as LiteLLM's key routes do.

pub(crate) mod aliases;
pub(crate) mod belonging;
pub(crate) mod block;
pub(crate) mod bulk_update;
pub(crate) mod delegate;
pub(crate) mod delete;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod infos;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod lookup;
pub(crate) mod permission;
pub(crate) mod regenerate;
pub(crate) mod reset_spend;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod service_account;
pub(crate) mod team_bulk;
pub(crate) mod update;
pub(crate) mod wanted;
