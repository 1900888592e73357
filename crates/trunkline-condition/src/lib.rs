//! Conditions on calls: expressions of CEL (the Common Expression Language) that are read once, checked and bounded when they are
//! read, and evaluated over facts that somebody else gathers.
//!
//! What an expression may say is less than all of CEL, so that a mistake is found when it is written and what it costs is known
//! before it runs: the variables and functions are known ones, patterns of `matches` are literals (compiled once), loops go two
//! deep and never over what another loop made. What is evaluated costs at most [`MAX_COST`] steps, counted before the first.
//!
//! Pure: no I/O, no clock. Nothing of the facts is ever in an error: they are what callers sent.

mod check;
mod fact;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::{Context, Env, Value};
use regex::Regex;

pub use check::Needs;
pub use fact::{Fact, Unclear};
pub use trunkline_mcp::edit::is_same_key;

/// Bytes of an expression.
pub const MAX_TEXT: usize = 2_048;
/// Steps of an evaluation. A step is some tens of nanoseconds.
pub const MAX_COST: u64 = 1_000_000;
/// Levels that the parser is to go down.
const MAX_DEPTH: u16 = 32;
/// Bytes of the parser's stack. It is taken only as far as it is used.
const PARSER_STACK: usize = 64 * 1024 * 1024;

/// Made once: it is what an evaluation would take most of its time for.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// An expression that is true or false of a call. Cheap to clone.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    read: Result<Arc<Compiled>, Arc<Mistake>>,
}

struct Compiled {
    expression: IdedExpr,
    needs: Needs,
    cost: check::Cost,
    /// The patterns of `matches`, under the names that they are called by.
    patterns: Vec<(String, Arc<Regex>)>,
    /// The arguments that it reads by name.
    args: Vec<String>,
}

/// Why an expression cannot be a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at line {line}, column {column}")]
pub struct Mistake {
    /// What is wrong, for people.
    pub message: String,
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, from 1.
    pub column: usize,
}

/// Why a condition is neither true nor false of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It could not be read.
    #[error("the condition cannot be read")]
    Mistaken,
    /// An argument is one that it reads, but for the case of its letters.
    #[error("an argument differs from one that the condition reads in the case of its letters alone")]
    Doubtful,
    /// Deciding it, and what was decided before, would take more than [`MAX_COST`].
    #[error("the arguments are too large to decide the condition")]
    TooMuch,
    /// A member or element that is not there.
    #[error("the condition reads something that is not there")]
    Missing,
    /// Values that the operation is not for.
    #[error("the condition meets a value of a type that it is not for")]
    Type,
    /// It is something else than true or false.
    #[error("the condition is neither true nor false")]
    NotBool,
    /// Anything else: a number that is too large, a division by zero.
    #[error("the condition cannot be evaluated")]
    Failed,
}

impl Condition {
    /// Reads an expression. One that cannot be read is kept with its mistake, and holds of nothing.
    pub fn read(text: &str) -> Self {
        Self {
            text: text.into(),
            read: compile(text).map(Arc::new).map_err(Arc::new),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why it cannot be read, if so.
    pub fn mistake(&self) -> Option<&Mistake> {
        self.read.as_ref().err().map(|mistake| &**mistake)
    }

    /// Which facts it reads; none if it cannot be read.
    pub fn needs(&self) -> Needs {
        self.read
            .as_ref()
            .map(|compiled| compiled.needs)
            .unwrap_or_default()
    }

    /// Whether it is true of the facts.
    pub fn holds(&self, facts: &mut Facts) -> Result<bool, Failure> {
        let compiled = self.read.as_ref().map_err(|_| Failure::Mistaken)?;
        // One decision has so much, however many conditions it has.
        facts.spent = facts.spent.saturating_add(compiled.cost.of(facts.size));
        if facts.spent > MAX_COST {
            return Err(Failure::TooMuch);
        }
        let is_doubtful = |key: &String| {
            let mut read = compiled.args.iter();
            read.any(|own| own != key && is_same_key(own, key))
        };
        if facts.keys.iter().any(is_doubtful) {
            return Err(Failure::Doubtful);
        }
        for (name, pattern) in &compiled.patterns {
            let pattern = pattern.clone();
            let matches = move |text: Arc<String>| pattern.is_match(&text);
            facts
                .context
                .add_function(name, matches)
                .map_err(|_| Failure::Failed)?;
        }
        match Value::resolve(&compiled.expression, &facts.context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(Failure::NotBool),
            Err(error) => Err(failure(&error)),
        }
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

/// The kind alone: an error of the evaluation repeats values.
fn failure(error: &cel::ExecutionError) -> Failure {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(_) | E::IndexOutOfBounds(_) => Failure::Missing,
        E::NoSuchOverload(_)
        | E::UnexpectedType { .. }
        | E::UnsupportedTargetType { .. }
        | E::UnsupportedKeyType(_)
        | E::ValuesNotComparable(..)
        | E::UnsupportedBinaryOperator(..)
        | E::UnsupportedIndex(..)
        | E::NotSupportedAsMethod { .. } => Failure::Type,
        _ => Failure::Failed,
    }
}

fn compile(text: &str) -> Result<Compiled, Mistake> {
    let at_start = |message: String| Mistake {
        message,
        line: 1,
        column: 1,
    };
    if text.len() > MAX_TEXT {
        return Err(at_start(format!("it is longer than {MAX_TEXT} bytes")));
    }
    if text.trim().is_empty() {
        return Err(at_start("it is empty".to_owned()));
    }
    // The parser is somebody else's, descends as deep as what people write, and takes its whole process with it when the stack is
    // at its end: it has one of its own that is deep enough for any text that was let in. What comes back is shallow.
    let text: Arc<str> = text.into();
    let worker = std::thread::Builder::new()
        .name("condition".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(move || parse(&text));
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(compiled)) => compiled,
        Ok(Err(_)) | Err(_) => Err(at_start("it cannot be read".to_owned())),
    }
}

fn parse(text: &str) -> Result<Compiled, Mistake> {
    let parser = ENV.parser().max_recursion_depth(MAX_DEPTH);
    let (mut expression, source) = parser
        .parse_with_source_info(text)
        .map_err(|errors| of_parser(&errors))?;
    let checked = check::check(&mut expression).map_err(|wrong| {
        let offset = source.offset_for(wrong.id).map_or(0, |(start, _)| start);
        let (line, column) = place(text, offset as usize);
        Mistake {
            message: wrong.message,
            line,
            column,
        }
    })?;
    Ok(Compiled {
        expression,
        needs: checked.needs,
        cost: checked.cost,
        patterns: checked.patterns,
        args: checked.args,
    })
}

fn of_parser(errors: &cel::ParseErrors) -> Mistake {
    let count = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let (message, (line, column)) = errors.errors.first().map_or_else(
        || ("it cannot be read".to_owned(), (1, 1)),
        |error| (one_line(&error.msg), error.pos),
    );
    Mistake {
        message,
        line: count(line),
        column: count(column),
    }
}

fn one_line(text: &str) -> String {
    let plain = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300);
    plain.collect()
}

/// Line and column of a place, from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before: Vec<&str> = text.get(..offset).unwrap_or_default().split('\n').collect();
    let column = before.last().map_or(0, |line| line.chars().count());
    (before.len().max(1), column + 1)
}

/// What conditions are evaluated over. Made for one decision, and used for all conditions of it.
pub struct Facts {
    context: Context<'static, 'static>,
    size: u64,
    /// What the conditions that were decided already have cost.
    spent: u64,
    /// The arguments' keys.
    keys: Vec<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            context: Context::with_env(ENV.clone()),
            size: 0,
            spent: 0,
            keys: Vec::new(),
        }
    }
}

impl Facts {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the arguments are: JSON text. A condition that reads one of them holds of nothing if a key is the same but for the case of
    /// its letters: there are servers that take it for the one that the condition has not seen.
    pub fn set_args(&mut self, json: &str) -> Result<(), Unclear> {
        let fact = Fact::parse(json)?;
        self.keys = fact::keys(json);
        self.set(Variable::Args, fact);
        Ok(())
    }

    /// Says what a variable is.
    pub fn set(&mut self, variable: Variable, fact: Fact) {
        self.size = self.size.saturating_add(fact.size);
        self.context.add_variable_as_val(variable.as_str(), fact.value);
    }
}

/// What an expression may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// Who calls.
    Principal,
    /// The server.
    Server,
    /// The tool.
    Tool,
    /// The arguments.
    Args,
    /// The program that calls.
    Client,
    /// The time.
    Now,
}

impl Variable {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Principal,
        Self::Server,
        Self::Tool,
        Self::Args,
        Self::Client,
        Self::Now,
    ];

    /// The name in expressions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Tool => "tool",
            Self::Args => "args",
            Self::Client => "client",
            Self::Now => "now",
        }
    }

    /// Its members; none if anything may be in it.
    pub fn members(self) -> &'static [&'static str] {
        match self {
            Self::Principal => &[
                "kind",
                "key_hash",
                "key_alias",
                "user_id",
                "user_role",
                "team_id",
                "team_alias",
                "organization_id",
                "end_user_id",
                "metadata",
            ],
            Self::Server => &["id", "name", "alias", "access_groups"],
            Self::Tool => &["name", "annotations"],
            Self::Args => &[],
            Self::Client => &["name", "version", "user_agent", "address", "network"],
            Self::Now => &["unix", "date", "time", "hour", "minute", "weekday"],
        }
    }
}

#[cfg(test)]
mod tests;
