//! What the test files share.

use std::collections::BTreeMap;

use trunkline_config::{Config, ConfigError, Env};

/// An environment of a test.
pub(crate) struct Vars(BTreeMap<String, String>);

impl Env for Vars {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// These variables and no others.
pub(crate) fn vars(pairs: &[(&str, &str)]) -> Vars {
    Vars(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// Parses with these variables.
pub(crate) fn parse_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    trunkline_config::parse(text, "config.yaml", &vars(pairs))
}

/// Parses without any variable.
pub(crate) fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}
