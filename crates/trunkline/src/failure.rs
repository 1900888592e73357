//! How a command that talks to a gateway ends: exit codes that scripts can tell apart, and errors that say what to do next.

use std::fmt;
use std::process::ExitCode;

use http::StatusCode;
use trunkline_client::ClientError;

/// Exit codes of `add`, `call`, `connect`, `explain`, `import`, `stdio` and `tools`. Documented in docs/cli.md; never given another
/// meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The tool ran and says that it failed; some of several things were refused; or the answer is no.
    Failed = 1,
    /// The command was used wrongly.
    Usage = 2,
    /// No gateway answers.
    Unreachable = 3,
    /// The gateway says that this key may not.
    NotAllowed = 4,
    /// There is no such server, tool or file.
    NotFound = 5,
    /// The gateway works, the server behind it does not.
    Upstream = 6,
    /// Nothing was changed, because nobody agreed.
    NotConfirmed = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    message: String,
    todo: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            todo: None,
        }
    }

    /// What to do next.
    #[must_use]
    pub(crate) fn todo(mut self, todo: impl Into<String>) -> Self {
        self.todo = Some(todo.into());
        self
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.todo {
            Some(todo) => write!(f, "\n  to do: {todo}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match &error {
            ClientError::Address { .. } => Self::usage(message),
            ClientError::Unreachable { .. } => Self::new(Code::Unreachable, message)
                .todo("start it with `trunkline serve`, or say where it is with --url or TRUNKLINE_URL"),
            ClientError::Slow { .. } | ClientError::Broken { .. } => Self::new(Code::Unreachable, message)
                .todo("look at the gateway's log, or ask `trunkline doctor`"),
            ClientError::Strange { .. } => Self::new(Code::Unreachable, message)
                .todo("say where the gateway is with --url or TRUNKLINE_URL"),
            ClientError::Refused { status, body, .. } => refused(*status, body, message),
        }
    }
}

fn refused(status: StatusCode, body: &serde_json::Value, message: String) -> Failure {
    let outcome = &body["detail"]["outcome"];
    if outcome.is_object() {
        return match outcome["hint"].as_str() {
            // It ends the message, too.
            Some(hint) => {
                let said = message.split(" Hint: ").next().unwrap_or(&message);
                Failure::new(Code::Upstream, said).todo(hint)
            }
            None => Failure::new(Code::Upstream, message),
        };
    }
    match status.as_u16() {
        401 => Failure::new(Code::NotAllowed, message)
            .todo("give the right key with TRUNKLINE_KEY or LITELLM_MASTER_KEY"),
        403 => Failure::new(Code::NotAllowed, message),
        404 => Failure::new(Code::NotFound, message).todo("`trunkline tools` lists what there is"),
        400..500 => Failure::usage(message),
        _ => Failure::new(Code::Upstream, message),
    }
}
