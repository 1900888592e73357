//! Why somebody may use something or not, and what a change would do: questions to the one function that decides, for people.
//!
//! - [`subject`] is who is meant, [`target`] what.
//! - [`proposal`] is what a dry run tries.
//! - [`words`] is the only place that says it.

pub(crate) mod dry_run;
pub(crate) mod explain;
mod proposal;
mod schema;
mod subject;
mod target;
mod words;

use std::sync::Arc;

use trunkline_model::{Principal, Scope, Snapshot};

/// How a request's path and `x-mcp-servers` select servers. The data plane's own function; `None` if it refuses them, or if the path
/// is no endpoint's.
pub type Selecting =
    Arc<dyn Fn(&Snapshot, &Principal, Option<&str>, Option<&str>) -> Option<Scope> + Send + Sync>;
