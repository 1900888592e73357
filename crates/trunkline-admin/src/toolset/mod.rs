//! `/v1/mcp/toolset…`: one operation a file. Writing is for the administrator; a key sees the toolsets that it was granted.
//!
//! - [`body`] is what a request may say about one.
//! - [`row`] is how answers show one, and what to know about it.
//! - [`error`] says failures as LiteLLM does there.

mod body;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod error;
pub(crate) mod get;
pub(crate) mod list;
mod row;
pub(crate) mod schema;
pub(crate) mod update;
