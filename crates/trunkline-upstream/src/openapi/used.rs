//! How the last calls of an HTTP API went. Such a server is judged by its document and by real use (B69): nothing is asked of
//! it only to see whether it answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use trunkline_model::{Outcome, OutcomeStatus};

use crate::fault::Fault;

/// How long a failure is held against a server that nobody has used since.
const HELD: Duration = Duration::from_mins(5);

/// The last failure, unless a call went well after it.
#[derive(Default)]
pub(super) struct Used {
    failure: Mutex<Option<Failure>>,
}

struct Failure {
    fault: Fault,
    since: Instant,
    at: Timestamp,
    took: Duration,
}

impl Used {
    /// A call went well.
    pub(super) fn well(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A call did not.
    pub(super) fn badly(&self, fault: Fault, at: Timestamp, took: Duration) {
        let since = Instant::now();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure {
            fault,
            since,
            at,
            took,
        });
    }

    /// What is known of the server, where its list alone says `listed`.
    pub(super) fn outcome(&self, listed: Outcome) -> Outcome {
        if listed.status != OutcomeStatus::Ok {
            return listed;
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.as_ref().filter(|failure| failure.since.elapsed() < HELD) {
            None => listed,
            Some(failure) => Outcome {
                rejected: listed.rejected,
                ..failure.fault.outcome(failure.at, failure.took)
            },
        }
    }
}
