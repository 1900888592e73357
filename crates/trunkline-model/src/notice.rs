//! What an operator should know about a declaration: things understood differently, not served yet, or refused.
//! The configuration check and the management API say the same, because both ask here.

use crate::{AuthType, EnvVarScope, Secret, ServerDefinition};

/// One remark about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The field, as the user wrote it (`extra_headers[0]`).
    pub field: String,
    /// What it means and what to do, a sentence. Never holds the field's value.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a [`Notice`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It works; it belongs elsewhere, or has no effect yet.
    Warning,
    /// It would be unsafe to go on without it: stops the start, 400 in the API.
    Refused,
}

impl ServerDefinition {
    /// Understands `extra_headers` entries of the form `Name: value`, which users write for a fixed header, as
    /// `static_headers`: the field wants the *names* of client headers, and dropping the value silently sends no
    /// credential at all. Returns a warning for each.
    pub fn absorb_header_values(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut names = Vec::with_capacity(self.extra_headers.len());
        for (index, entry) in std::mem::take(&mut self.extra_headers).into_iter().enumerate() {
            let Some((name, value)) = entry.split_once(':') else {
                names.push(entry);
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let field = format!("extra_headers[{index}]");
            if value.is_empty() {
                names.push(name.to_owned());
                continue;
            }
            let belongs = if name.eq_ignore_ascii_case("authorization") {
                "`auth_type: bearer_token` with the key in `credentials.auth_value` (in the file: `authentication_token`), or in `static_headers`"
            } else {
                "`static_headers`"
            };
            notices.push(Notice {
                field,
                message: format!(
                    "holds a value for {name:?}; extra_headers lists the names of client headers to forward. It was understood as a fixed header and its value is stored as a secret. It belongs in {belongs}."
                ),
                severity: Severity::Warning,
            });
            self.static_headers
                .retain(|own, _| !own.eq_ignore_ascii_case(name));
            self.static_headers.insert(name.to_owned(), Secret::new(value));
        }
        self.extra_headers = names;
        notices
    }

    /// What of this declaration the gateway does not serve yet, with its effect. Restrictions that would silently not
    /// hold are [`Severity::Refused`]; features whose absence only makes a server unusable are warnings, and the
    /// server's outcome says so.
    pub fn not_served(&self) -> Vec<Notice> {
        self.restrictions()
            .into_iter()
            .map(|row| (row, Severity::Refused))
            .chain(self.features().into_iter().map(|row| (row, Severity::Warning)))
            .filter(|((declared, ..), _)| *declared)
            .map(|((_, field, message), severity)| Notice {
                field: field.to_owned(),
                message: message.to_owned(),
                severity,
            })
            .collect()
    }

    /// Declared or not, field, effect of leaving it out: what would let somebody in or something through.
    fn restrictions(&self) -> [(bool, &'static str, &'static str); 3] {
        [
            (
                self.auth_type == Some(AuthType::TruePassthrough),
                "auth_type",
                "true_passthrough admits callers without a gateway key, which is not served; every request needs a key.",
            ),
            (
                self.allowed_params.contains_key("*"),
                "allowed_params",
                "`*` is no tool: arguments are listed for each tool by its name.",
            ),
            (
                self.delegate_auth_to_upstream || self.oauth_passthrough,
                "oauth_passthrough",
                "delegating admission to the upstream is not served; every request needs a gateway key.",
            ),
        ]
    }

    /// The same for what only makes a server, or a part of it, unusable.
    fn features(&self) -> [(bool, &'static str, &'static str); 3] {
        let unserved_auth = self
            .auth_type
            .is_some_and(|auth| !auth.is_served() && auth != AuthType::TruePassthrough);
        [
            (
                unserved_auth,
                "auth_type",
                "this kind of upstream authentication is not served yet: the server is listed as misconfigured and nothing is sent to it.",
            ),
            (
                self.is_byok,
                "is_byok",
                "per-user keys are not served yet: the server is listed as misconfigured.",
            ),
            (
                self.env_vars.iter().any(|var| var.scope == EnvVarScope::User),
                "env_vars",
                "per-user variables are not served yet: a header that uses one makes the server misconfigured.",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_extra_headers_becomes_a_static_header() {
        let mut definition = ServerDefinition {
            extra_headers: vec![
                "Authorization: Bearer canary-key".into(),
                "x-tenant".into(),
                "x-empty:".into(),
            ],
            ..ServerDefinition::default()
        };
        let notices = definition.absorb_header_values();
        assert_eq!(definition.extra_headers, ["x-tenant", "x-empty"]);
        assert_eq!(
            definition.static_headers["Authorization"].expose(),
            "Bearer canary-key"
        );
        assert_eq!(notices.len(), 1);
        assert!(
            !notices[0].message.contains("canary"),
            "a notice never holds the value"
        );
        assert!(notices[0].message.contains("auth_value"));
    }

    #[test]
    fn restrictions_that_would_not_hold_are_refused() {
        let definition = ServerDefinition {
            oauth_passthrough: true,
            ..ServerDefinition::default()
        };
        assert!(
            definition
                .not_served()
                .iter()
                .any(|n| n.severity == Severity::Refused)
        );
        assert!(ServerDefinition::default().not_served().is_empty());
    }
}
