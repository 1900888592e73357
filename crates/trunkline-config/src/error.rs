//! What is wrong with a configuration, with the place of each mistake.
//!
//! Messages are built from fixed words, the names of fields, and the names that the operator gave to servers. They never
//! hold a value, and there is no snippet of the file: the line next to a misspelt field is often a secret (S13).

use std::fmt;
use std::path::PathBuf;

use trunkline_model::{Notice, Severity};

use crate::tree::At;

/// How many mistakes are shown; a file of another kind would fill the screen.
const MAX_SHOWN: usize = 40;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{file}: cannot be read")]
    Read {
        /// As it was given.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not text, or too large to be a configuration.
    #[error("{file}: {reason}")]
    NotText {
        /// As it was given.
        file: String,
        /// What it is instead.
        reason: &'static str,
    },
    /// It was read, and these mistakes were found in it.
    #[error("{}", render(.file, .problems))]
    Invalid {
        /// As it was given; `environment` where there was no file.
        file: String,
        /// All that were found, in the order of the file. Never empty.
        problems: Vec<Problem>,
        /// The files that it names, whether they are there or not: what is wrong may be mended in one of them.
        files: NamedFiles,
    },
}

impl ConfigError {
    /// The mistakes, if the file could be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            Self::Read { .. } | Self::NotText { .. } => &[],
        }
    }

    /// The files that the configuration names, as far as it could be read.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::Invalid { files, .. } => &files.0,
            Self::Read { .. } | Self::NotText { .. } => &[],
        }
    }

    pub(crate) fn naming(mut self, named: Vec<PathBuf>) -> Self {
        if let Self::Invalid { files, .. } = &mut self {
            *files = NamedFiles(named);
        }
        self
    }
}

/// Files that a configuration names. What stands there for a path may be a secret that was pasted: it is not shown (S13).
#[derive(Clone, Default)]
pub struct NamedFiles(Vec<PathBuf>);

impl fmt::Debug for NamedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.0.len())
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file from 1; 0 if it is in the environment.
    pub line: u32,
    /// Column in characters from 1; 0 if it is in the environment.
    pub column: u32,
    /// What is wrong and what to do. Never holds a value of the file.
    pub message: String,
}

fn render(file: &str, problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(MAX_SHOWN)
        .map(|problem| match problem.line {
            0 => format!("environment: {}", problem.message),
            line => format!("{file}:{line}:{}: {}", problem.column, problem.message),
        })
        .collect();
    if problems.len() > MAX_SHOWN {
        lines.push(format!("… and {} more", problems.len() - MAX_SHOWN));
    }
    lines.join("\n")
}

/// A remark about one field, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedNotice {
    /// Line in the file from 1; 0 if it is about the environment.
    pub line: u32,
    /// Column in characters from 1; 0 if it is about the environment.
    pub column: u32,
    /// The remark; its field is the whole path (`mcp_servers.github.rpm`).
    pub notice: Notice,
}

impl fmt::Display for LocatedNotice {
    /// `12:5: mcp_servers.github.rpm: rate limits per server …`; put the file's name and a colon before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        write!(f, "{}: {}", self.notice.field, self.notice.message)
    }
}

/// A key as it may stand in a message: in quotes, or not at all where it does not look like a name. Somebody who indents a
/// line too little, or forgets the key, can make a secret a key.
pub(crate) fn shown(key: &str) -> String {
    if is_showable(key) {
        format!("\"{key}\"")
    } else {
        "(a key that is not shown)".into()
    }
}

/// The path of `key` in the mapping at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = if is_showable(key) { key } else { "…" };
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn is_showable(key: &str) -> bool {
    key.len() <= 64
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        // The way LiteLLM's own keys, and those of several providers, begin.
        && !key.starts_with("sk-")
}

/// Collects what is found while a file is read.
#[derive(Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    notices: Vec<LocatedNotice>,
}

impl Report {
    /// How many mistakes there are.
    pub(crate) fn error_count(&self) -> usize {
        self.problems.len()
    }

    /// What is wrong, the first of it.
    pub(crate) fn first_error(&self) -> Option<&str> {
        self.problems.first().map(|own| own.message.as_str())
    }

    /// Adds a mistake.
    pub(crate) fn error(&mut self, at: At, message: impl Into<String>) {
        self.problems.push(Problem {
            line: at.line,
            column: at.column,
            message: message.into(),
        });
    }

    /// Adds a warning about the field with this path.
    pub(crate) fn warn(&mut self, at: At, field: impl Into<String>, message: impl Into<String>) {
        let notice = Notice {
            field: field.into(),
            message: message.into(),
            severity: Severity::Warning,
        };
        self.notices.push(LocatedNotice {
            line: at.line,
            column: at.column,
            notice,
        });
    }

    /// Adds a notice; one that is refused is a mistake.
    pub(crate) fn notice(&mut self, at: At, notice: Notice) {
        match notice.severity {
            Severity::Warning => {
                self.notices.push(LocatedNotice {
                    line: at.line,
                    column: at.column,
                    notice,
                });
            }
            Severity::Refused => self.error(at, format!("{}: {}", notice.field, notice.message)),
        }
    }

    /// The notices if there was no mistake.
    pub(crate) fn finish(mut self, file: &str) -> Result<Vec<LocatedNotice>, ConfigError> {
        if !self.problems.is_empty() {
            return Err(self.into_error(file));
        }
        self.notices.sort_by_key(|notice| (notice.line, notice.column));
        Ok(self.notices)
    }

    /// The mistakes, of which there is at least one.
    pub(crate) fn into_error(mut self, file: &str) -> ConfigError {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems.dedup();
        ConfigError::Invalid {
            file: file.to_owned(),
            problems: self.problems,
            files: NamedFiles::default(),
        }
    }
}
