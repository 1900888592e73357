//! Names and descriptions that an operator chooses for tools, instead of the server's own.

use std::collections::BTreeSet;

use crate::ServerDefinition;

/// Longest name that every client accepts, characters.
const MAX_NAME: usize = 64;

impl ServerDefinition {
    /// The name that was chosen for a tool, by the tool's own name.
    pub fn display_name(&self, tool: &str) -> Option<&str> {
        chosen(self.tool_name_to_display_name.get(tool))
    }

    /// The description that was chosen for a tool, by the tool's own name.
    pub fn display_description(&self, tool: &str) -> Option<&str> {
        chosen(self.tool_name_to_description.get(tool))
    }

    /// Whether the names that were chosen can be shown: LiteLLM's alphabet, the length that clients take, and no name twice. Otherwise why
    /// not, for people.
    pub fn check_display_names(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (tool, name) in &self.tool_name_to_display_name {
            let legal = !name.is_empty()
                && name.len() <= MAX_NAME
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            if !legal {
                return Err(format!(
                    "the name for {tool:?} must match ^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$"
                ));
            }
            if !seen.insert(name) {
                return Err(format!(
                    "{name:?} is the name of two tools; one of them could not be called"
                ));
            }
        }
        Ok(())
    }
}

/// An empty text chooses nothing.
fn chosen(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_shown_are_said() {
        let check = |names: &[(&str, &str)]| {
            let own = |(tool, name): &(&str, &str)| ((*tool).to_owned(), (*name).to_owned());
            let definition = ServerDefinition {
                tool_name_to_display_name: names.iter().map(own).collect(),
                ..ServerDefinition::default()
            };
            definition.check_display_names()
        };
        assert_eq!(check(&[("a", "find_it"), ("b", "find-it")]), Ok(()));
        for wrong in ["", "find it", "é", "a.b", &"x".repeat(65)] {
            assert!(check(&[("a", wrong)]).is_err(), "{wrong:?}");
        }
        assert!(check(&[("a", "same"), ("b", "same")]).is_err());
    }
}
