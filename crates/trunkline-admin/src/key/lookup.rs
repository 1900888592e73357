//! Which key a request means: the key itself or its hash, or its alias.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_auth::key_hash;
use trunkline_auth::ring::KEY_PREFIX;
use trunkline_model::{KeyHash, VirtualKey};

use super::error::KeyError;
use crate::App;
use crate::body::{At, Problems};

/// The hash of a key that is given as it is or as its hash. What is neither is nobody's.
pub(crate) fn hash_of(given: &str) -> Option<KeyHash> {
    if given.starts_with(KEY_PREFIX) {
        return Some(key_hash(given));
    }
    KeyHash::from_hex(given)
}

/// The key that the member `key` of a body names.
pub(crate) fn required(body: &Map<String, Value>) -> Result<KeyHash, KeyError> {
    let mut problems = Problems::default();
    let mut at = At::field("key", &mut problems);
    let given = match body.get("key") {
        Some(value) => at.text(value),
        None => at.problem("missing", "Field required"),
    };
    let given = given.map(hash_of);
    problems.into_result()?;
    given.flatten().ok_or(KeyError::NotFound)
}

/// The key with an alias.
pub(crate) fn by_alias(app: &App, alias: &str) -> Option<Arc<VirtualKey>> {
    let keys = app.registry.keys().ring().all();
    let found = keys.values().find(|key| key.key_alias.as_deref() == Some(alias));
    found.cloned()
}
