//! How a server is, in one word: finer than LiteLLM's `status`, coarser than an [`Outcome`].

use crate::{AuthType, Outcome, OutcomeStatus, Server};

/// How a server is (B70). The names are stable: dashboards and alarms read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It was listed, and can be called; it may have no tools.
    Healthy,
    /// What was listed before is still shown, but the last attempt to list it failed.
    Degraded,
    /// It is of no use, and not for want of a credential.
    Down,
    /// It does not accept the credential that is configured, or wants one where none is.
    NeedsAuth,
    /// It wants a credential, which each client brings: whether that is good is found out client by client.
    UnknownPerUser,
    /// It was not tried yet.
    Pending,
    /// It serves nobody: submitted, not approved.
    Inactive,
}

/// Whether calls to a server are let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Circuit {
    /// They are.
    #[default]
    Closed,
    /// They fail at once: the server could not be reached several times in a row.
    Open,
    /// The next one finds out whether the server is back.
    HalfOpen,
}

impl Circuit {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Healthy,
        Self::Degraded,
        Self::Down,
        Self::NeedsAuth,
        Self::UnknownPerUser,
        Self::Pending,
        Self::Inactive,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::NeedsAuth => "needs_auth",
            Self::UnknownPerUser => "unknown_per_user",
            Self::Pending => "pending",
            Self::Inactive => "inactive",
        }
    }

    /// From what came of the last attempt with the server's own credential. `listed`: an earlier one went well, and its list
    /// is there.
    pub fn of(server: &Server, outcome: &Outcome, listed: bool, circuit: Circuit) -> Self {
        match outcome.status {
            OutcomeStatus::PendingReview => Self::Inactive,
            OutcomeStatus::Pending => Self::Pending,
            OutcomeStatus::Ok if circuit == Circuit::Closed => Self::Healthy,
            OutcomeStatus::Ok => Self::Degraded,
            OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden if clients_bring_it(server) => {
                Self::UnknownPerUser
            }
            OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden => Self::NeedsAuth,
            // What was listed of these could not be called.
            status
                if listed
                    && circuit != Circuit::Open
                    && !matches!(status, OutcomeStatus::Misconfigured | OutcomeStatus::Unreachable) =>
            {
                Self::Degraded
            }
            _ => Self::Down,
        }
    }
}

/// Whether a server has no credential of its own, and clients' headers are copied to it.
fn clients_bring_it(server: &Server) -> bool {
    let definition = &server.definition;
    let forwards = definition.is_byok || !definition.extra_headers.is_empty();
    let has_none = definition.auth_type.is_none_or(|kind| kind == AuthType::None)
        && definition
            .credentials
            .auth_value
            .as_ref()
            .is_none_or(crate::Secret::is_empty);
    let sends = |name: &String| {
        // What is the same for all is a credential only if it is called one.
        ["authorization", "x-api-key", "api-key", "cookie"]
            .iter()
            .any(|credential| name.eq_ignore_ascii_case(credential))
    };
    forwards && has_none && !definition.static_headers.keys().any(sends)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Approval, Origin, Secret, ServerDefinition, ServerId, Stamps};

    fn server(definition: ServerDefinition) -> Server {
        Server {
            id: ServerId::new("s"),
            origin: Origin::File,
            definition,
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        }
    }

    fn health(definition: ServerDefinition, status: OutcomeStatus, listed: bool, circuit: Circuit) -> Health {
        let outcome = Outcome {
            status,
            ..Outcome::ok(Timestamp::UNIX_EPOCH, 0)
        };
        Health::of(&server(definition), &outcome, listed, circuit)
    }

    #[test]
    fn b70_each_state_has_a_word_of_its_own() {
        use OutcomeStatus::{AuthRequired, Forbidden, Ok, Pending, PendingReview, Timeout, Unreachable};
        let plain = ServerDefinition::default;
        let forwards = || ServerDefinition {
            extra_headers: vec!["authorization".to_owned()],
            ..plain()
        };
        let has_own = || ServerDefinition {
            auth_type: Some(AuthType::BearerToken),
            ..forwards()
        };
        let fixed = || ServerDefinition {
            static_headers: [("Authorization".to_owned(), Secret::new("x"))].into(),
            ..forwards()
        };
        for (definition, status, listed, circuit, health_is) in vec![
            (plain(), Ok, true, Circuit::Closed, Health::Healthy),
            (plain(), Ok, true, Circuit::Open, Health::Degraded),
            (plain(), Timeout, true, Circuit::Closed, Health::Degraded),
            (plain(), Timeout, true, Circuit::Open, Health::Down),
            (plain(), Timeout, false, Circuit::Closed, Health::Down),
            (plain(), Unreachable, true, Circuit::Closed, Health::Down),
            (plain(), AuthRequired, true, Circuit::Closed, Health::NeedsAuth),
            (
                forwards(),
                AuthRequired,
                false,
                Circuit::Closed,
                Health::UnknownPerUser,
            ),
            (
                forwards(),
                Forbidden,
                false,
                Circuit::Closed,
                Health::UnknownPerUser,
            ),
            (forwards(), Unreachable, false, Circuit::Closed, Health::Down),
            (forwards(), Ok, true, Circuit::Closed, Health::Healthy),
            (has_own(), AuthRequired, false, Circuit::Closed, Health::NeedsAuth),
            (fixed(), AuthRequired, false, Circuit::Closed, Health::NeedsAuth),
            (plain(), Pending, false, Circuit::Closed, Health::Pending),
            (plain(), PendingReview, false, Circuit::Closed, Health::Inactive),
        ] {
            assert_eq!(
                health(definition, status, listed, circuit),
                health_is,
                "{status:?} {listed} {circuit:?}"
            );
        }
    }
}
