//! Who may say which programs the gateway starts (S03, S04, B77).
//!
//! Running a program is running code, and is a right of its own: by default programs come from the configuration file
//! alone, because whoever may write there may run them anyway, and whoever has a key of this API may not. With
//! `general_settings.mcp_stdio: admin`, full administrators have the right too.
//!
//! It is asked for before anything else of a body is looked at, so that no other mistake hides the refusal.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_model::{Isolation, Sandbox, ServerDefinition, Transport};

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;

/// What the management API needs to know of programs.
#[derive(Clone)]
pub struct Programs {
    /// `general_settings.mcp_stdio: admin`.
    pub from_api: bool,
    /// What is enforced of a sandbox here.
    pub isolation: Arc<dyn Fn(&Sandbox) -> Isolation + Send + Sync>,
}

impl Programs {
    /// From the configuration file alone, and nothing known about sandboxes.
    pub fn from_file() -> Self {
        Self {
            from_api: false,
            isolation: Arc::new(|_| Isolation::none("not known")),
        }
    }
}

/// Whether a request may declare, change or try a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayRun {
    Yes,
    No,
}

impl MayRun {
    /// The right of a caller: a full administrator, where the operator has given administrators that right.
    pub(crate) fn of(admin: &Admin, app: &App) -> Self {
        if app.programs.from_api && admin.is_full() {
            Self::Yes
        } else {
            Self::No
        }
    }

    /// Refuses a program, whatever it is.
    pub(crate) fn check_program(self) -> Result<(), ApiError> {
        match self {
            Self::Yes => Ok(()),
            Self::No => Err(refusal()),
        }
    }

    /// Refuses a body that declares a program.
    pub(crate) fn check_body(self, body: &Map<String, Value>) -> Result<(), ApiError> {
        let stdio = body.get("transport").and_then(Value::as_str) == Some("stdio");
        let command = body
            .get("command")
            .is_some_and(|command| !command.is_null() && command.as_str() != Some(""));
        if stdio || command {
            self.check_program()
        } else {
            Ok(())
        }
    }

    /// Refuses a change of what is a program already: its arguments alone are enough to run anything.
    pub(crate) fn check_stored(self, stored: &ServerDefinition) -> Result<(), ApiError> {
        if stored.transport == Transport::Stdio {
            self.check_program()
        } else {
            Ok(())
        }
    }
}

fn refusal() -> ApiError {
    ApiError::Forbidden(
        "stdio servers cannot be registered, changed or tested through the API: declare them under mcp_servers in the configuration file, or set general_settings.mcp_stdio to admin there, which lets administrators run programs on the gateway's machine"
            .to_owned(),
    )
}
