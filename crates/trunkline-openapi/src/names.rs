//! Names of tools and arguments that every client and model takes.

use std::collections::{BTreeSet, HashSet};

use trunkline_mcp::name::{MAX_NAME, is_legal};

/// Characters of an argument's name: what models' interfaces take.
const MAX_ARGUMENT: usize = 64;

/// The name that LiteLLM gives an operation: its id, or else method and path, in lower case and without blanks. What no client
/// takes is changed, and nothing else, so that names in `allowed_tools` still fit.
pub(crate) fn of_operation(id: Option<&str>, method: &str, path: &str) -> String {
    let own = id.map_or_else(
        || format!("{method}_{}", path.replace('/', "_")),
        ToOwned::to_owned,
    );
    let own = own.replace(' ', "_").to_lowercase();
    if is_legal(&own) {
        return own;
    }
    let name: String = own
        .chars()
        // The braces of a path's parameters say nothing.
        .filter(|c| !matches!(c, '{' | '}'))
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name.chars().all(|c| c == '_') {
        return method.to_owned();
    }
    name
}

/// Names, each given once.
#[derive(Default)]
pub(crate) struct Given(HashSet<String>);

impl Given {
    /// The name, or with `_2` and so on behind it when it was given before; at most as long as clients take.
    pub(crate) fn unique(&mut self, name: &str) -> String {
        let cut = |room: usize| &name[..name.floor_char_boundary(room.min(name.len()))];
        let mut own = cut(MAX_NAME).to_owned();
        let mut number = 2;
        while !self.0.insert(own.clone()) {
            let suffix = format!("_{number}");
            own = format!("{}{suffix}", cut(MAX_NAME - suffix.len()));
            number += 1;
        }
        own
    }
}

/// An argument's name: that of the parameter, as far as models take it.
pub(crate) fn of_argument(wire: &str, taken: &BTreeSet<String>) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut stem: String = wire
        .chars()
        .map(|c| if legal(c) { c } else { '_' })
        .take(MAX_ARGUMENT)
        .collect();
    if stem.is_empty() {
        stem.push('_');
    }
    let mut own = stem.clone();
    let mut number = 2;
    while taken.contains(&own) {
        let suffix = format!("_{number}");
        own = format!("{}{suffix}", &stem[..stem.len().min(MAX_ARGUMENT - suffix.len())]);
        number += 1;
    }
    own
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn litellms_names_are_kept_where_clients_take_them() {
        for (id, method, path, name) in [
            (Some("listPets"), "get", "/pets", "listpets"),
            (Some("list pets"), "get", "/pets", "list_pets"),
            (Some("actions/list-jobs"), "get", "/x", "actions_list-jobs"),
            (Some("Größe"), "get", "/x", "gr__e"),
            (None, "get", "/pets", "get__pets"),
            (None, "get", "/pets/{petId}/toys", "get__pets_petid_toys"),
            (Some("{}"), "post", "/x", "post"),
        ] {
            assert_eq!(of_operation(id, method, path), name);
        }
    }

    proptest! {
        #[test]
        fn any_names_are_legal_and_different(ids in prop::collection::vec(".{0,90}", 0..12)) {
            let mut given = Given::default();
            let mut seen = HashSet::new();
            for id in ids.iter().chain(&ids) {
                let name = given.unique(&of_operation(Some(id), "get", "/a"));
                prop_assert!(is_legal(&name), "{}", name);
                prop_assert!(seen.insert(name));
            }
            let mut taken = BTreeSet::new();
            for id in ids.iter().chain(&ids) {
                let name = of_argument(id, &taken);
                prop_assert!((1..=MAX_ARGUMENT).contains(&name.len()));
                prop_assert!(taken.insert(name));
            }
        }
    }
}
