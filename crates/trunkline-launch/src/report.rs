//! Collects what is enforced and what is not, while it happens.

use crate::order::Enforced;

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
            (true, false) => "partial",
            (true, true) => "full",
        };
        Enforced {
            degree: degree.to_owned(),
            done: self.done,
            missing: self.missing,
        }
    }
}
