//! Collects what is enforced and what is not, while it happens.

use crate::order::Enforced;

/// Adds that the family has to be killed one by one.
pub(crate) fn unfenced(enforced: &mut Enforced) {
    enforced.missing.push(
        "a program that multiplies fast enough may outrun the watcher that kills it: that needs Landlock ABI 6 (Linux 6.12)"
            .to_owned(),
    );
    if enforced.degree == FULL {
        PARTIAL.clone_into(&mut enforced.degree);
    }
}

const FULL: &str = "full";
const PARTIAL: &str = "partial";

/// What came of the steps so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: Vec<String>,
    missing: Vec<String>,
    /// Whether files or system calls are confined: without either there is no sandbox to speak of.
    walls: bool,
}

impl Tally {
    /// Something is enforced.
    pub(crate) fn done(&mut self, what: impl Into<String>) {
        self.done.push(what.into());
    }

    /// Something is enforced that holds a program in.
    pub(crate) fn wall(&mut self, what: impl Into<String>) {
        self.walls = true;
        self.done(what);
    }

    /// Something is not, and why.
    pub(crate) fn missing(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }

    pub(crate) fn finish(self) -> Enforced {
        let degree = match (self.walls, self.missing.is_empty()) {
            (false, _) => "none",
            (true, false) => PARTIAL,
            (true, true) => FULL,
        };
        Enforced {
            degree: degree.to_owned(),
            done: self.done,
            missing: self.missing,
        }
    }
}
