//! Tags: by what else a request is found and summed up, and which deployments it is for. Those of the request (`x-litellm-tags`, separated
//! by commas, `tags` and `metadata.tags` of its body), and those that its key and its team always have (`metadata.tags`).

use axum::http::HeaderMap;
use trunkline_model::Principal;

const HEADER: &str = "x-litellm-tags";
/// Of one request; what is more is left out.
const MOST: usize = 20;
/// Characters of one; what is longer is none.
const LONGEST: usize = 128;

/// Each once, in the order in which they are said.
pub(super) fn of(headers: &HeaderMap, body: &[String], principal: &Principal) -> Vec<String> {
    let mut tags = Vec::new();
    let mut add = |tag: &str| {
        let tag = tag.trim();
        let is_one = !tag.is_empty() && tag.chars().count() <= LONGEST && !tag.chars().any(char::is_control);
        if is_one && tags.len() < MOST && !tags.iter().any(|own| own == tag) {
            tags.push(tag.to_owned());
        }
    };
    for value in headers.get_all(HEADER) {
        value.to_str().unwrap_or_default().split(',').for_each(&mut add);
    }
    for tag in body {
        add(tag);
    }
    let Some(holder) = principal.holder() else {
        return tags;
    };
    let own = holder.key.metadata.get("tags");
    let teams = holder.team.as_ref().and_then(|team| team.metadata.get("tags"));
    for always in own.as_ref().into_iter().chain(teams) {
        for tag in always.as_array().into_iter().flatten() {
            tag.as_str().into_iter().for_each(&mut add);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use trunkline_model::{Holder, KeyHash, VirtualKey};

    use super::*;

    #[test]
    fn tags_are_of_the_request_and_of_the_key() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "a, b ,,a".parse().unwrap());
        headers.append(HEADER, "c".parse().unwrap());
        assert_eq!(of(&headers, &[], &Principal::from_master_key()), ["a", "b", "c"]);
        let mut key = VirtualKey::new(KeyHash([1; 32]));
        key.metadata = json!({"tags": ["b", "d", 7, "x".repeat(129)]})
            .as_object()
            .cloned()
            .unwrap()
            .into();
        let principal = Principal::from_key(Holder::of_key(Arc::new(key)));
        assert_eq!(of(&headers, &[], &principal), ["a", "b", "c", "d"]);
        let many = (0..50).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        headers.insert(HEADER, many.parse().unwrap());
        assert_eq!(of(&headers, &[], &principal).len(), MOST);
    }
}
