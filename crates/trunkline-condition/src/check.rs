//! What an expression may say, which facts it reads, and what it costs at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::common::types::CelString;
use regex::{Regex, RegexBuilder};

use crate::Variable;
use crate::fact::PIECE;

/// Levels of an expression: evaluating it goes down as far.
const MAX_DEPTH: usize = 64;
/// Loops inside of each other.
const MAX_LOOPS: usize = 2;
/// Bytes of a compiled pattern.
const MAX_PATTERN: usize = 64 * 1024;

/// The facts that an expression reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Who calls.
    pub principal: bool,
    /// The metadata of the caller's key.
    pub metadata: bool,
    /// The server.
    pub server: bool,
    /// The tool, be it by name alone.
    pub tool: bool,
    /// The tool's annotations.
    pub annotations: bool,
    /// The arguments.
    pub args: bool,
    /// The program that calls.
    pub client: bool,
    /// The time.
    pub now: bool,
}

impl Needs {
    /// What either reads.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            principal: self.principal || other.principal,
            metadata: self.metadata || other.metadata,
            server: self.server || other.server,
            tool: self.tool || other.tool,
            annotations: self.annotations || other.annotations,
            args: self.args || other.args,
            client: self.client || other.client,
            now: self.now || other.now,
        }
    }

    fn note(&mut self, variable: Variable) {
        match variable {
            Variable::Principal => self.principal = true,
            Variable::Server => self.server = true,
            Variable::Tool => self.tool = true,
            Variable::Args => self.args = true,
            Variable::Client => self.client = true,
            Variable::Now => self.now = true,
        }
    }
}

/// Steps as a polynomial of the size of the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    flat: u64,
    linear: u64,
    square: u64,
    cube: u64,
}

impl Cost {
    const STEP: Self = Self::flat(1);
    /// Something that goes through a value.
    const PASS: Self = Self {
        linear: 1,
        ..Self::flat(1)
    };

    /// Something that looks at each byte of a value.
    const MATCH: Self = Self {
        linear: PIECE,
        ..Self::flat(1)
    };

    const fn flat(flat: u64) -> Self {
        Self {
            flat,
            linear: 0,
            square: 0,
            cube: 0,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            flat: self.flat.saturating_add(other.flat),
            linear: self.linear.saturating_add(other.linear),
            square: self.square.saturating_add(other.square),
            cube: self.cube.saturating_add(other.cube),
        }
    }

    /// So often for each element of the facts.
    fn each(self, times: u64) -> Self {
        Self {
            flat: 0,
            linear: self.flat.saturating_mul(times),
            square: self.linear.saturating_mul(times),
            // Two loops go through as much as there is twice; more is not let in.
            cube: self.square.saturating_add(self.cube).saturating_mul(times),
        }
    }

    /// What it costs over facts of a size.
    pub(crate) fn of(self, size: u64) -> u64 {
        let square = size.saturating_mul(size);
        self.flat
            .saturating_add(self.linear.saturating_mul(size))
            .saturating_add(self.square.saturating_mul(square))
            .saturating_add(self.cube.saturating_mul(square.saturating_mul(size)))
    }
}

/// What is wrong with which part.
pub(crate) struct Wrong {
    pub(crate) id: u64,
    pub(crate) message: String,
}

/// An expression that may be evaluated.
pub(crate) struct Checked {
    pub(crate) needs: Needs,
    pub(crate) cost: Cost,
    pub(crate) patterns: Vec<(String, Arc<Regex>)>,
    /// Arguments that it reads by name.
    pub(crate) args: Vec<String>,
}

/// Checks an expression. Calls of `matches` are put to the compiled patterns.
pub(crate) fn check(expression: &mut IdedExpr) -> Result<Checked, Wrong> {
    let mut walk = Walk::default();
    let cost = walk.visit(expression)?;
    Ok(Checked {
        needs: walk.needs,
        cost,
        patterns: walk.patterns,
        args: walk.args,
    })
}

#[derive(Default)]
struct Walk {
    needs: Needs,
    /// The variables of the loops that one is in.
    bound: Vec<String>,
    loops: usize,
    depth: usize,
    patterns: Vec<(String, Arc<Regex>)>,
    args: Vec<String>,
}

/// Each pattern is called by a name that no other has: evaluations of several conditions may share their functions.
static PATTERNS: AtomicU64 = AtomicU64::new(0);

/// What expressions may call, with how many values (the one before the dot counts), and whether it goes through them.
const FUNCTIONS: [(&str, usize, bool); 9] = [
    ("size", 1, true),
    ("contains", 2, true),
    ("startsWith", 2, true),
    ("endsWith", 2, true),
    ("matches", 2, true),
    ("int", 1, true),
    ("double", 1, true),
    ("string", 1, true),
    ("bool", 1, true),
];

/// Operators, the same.
const OPERATORS: [(&str, bool); 18] = [
    (operators::CONDITIONAL, false),
    (operators::LOGICAL_AND, false),
    (operators::LOGICAL_OR, false),
    (operators::LOGICAL_NOT, false),
    (operators::NEGATE, false),
    (operators::SUBSTRACT, false),
    (operators::MULTIPLY, false),
    (operators::DIVIDE, false),
    (operators::MODULO, false),
    (operators::ADD, true),
    (operators::EQUALS, true),
    (operators::NOT_EQUALS, true),
    (operators::GREATER_EQUALS, true),
    (operators::LESS_EQUALS, true),
    (operators::GREATER, true),
    (operators::LESS, true),
    (operators::INDEX, false),
    (operators::IN, true),
];

fn wrong<T>(id: u64, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        id,
        message: message.into(),
    })
}

fn variable(name: &str) -> Option<Variable> {
    Variable::ALL.into_iter().find(|own| own.as_str() == name)
}

impl Walk {
    fn visit(&mut self, part: &mut IdedExpr) -> Result<Cost, Wrong> {
        let id = part.id;
        if self.depth == MAX_DEPTH {
            return wrong(id, format!("it is nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let cost = self.part(part);
        self.depth -= 1;
        cost
    }

    fn part(&mut self, part: &mut IdedExpr) -> Result<Cost, Wrong> {
        let id = part.id;
        match &mut part.expr {
            Expr::Literal(_) => Ok(Cost::STEP),
            Expr::Ident(name) => self.ident(id, name),
            Expr::Select(select) => {
                if let Expr::Ident(name) = &select.operand.expr
                    && !self.bound.contains(name)
                    && let Some(variable) = variable(name)
                {
                    let cost = self.member(id, variable, &select.field)?;
                    if !select.test {
                        part.expr = member_of(id, select);
                    }
                    return Ok(cost);
                }
                Ok(self.visit(&mut select.operand)?.and(Cost::STEP))
            }
            Expr::List(list) => {
                let mut cost = Cost::STEP;
                for element in &mut list.elements {
                    cost = cost.and(self.visit(element)?);
                }
                // A list is made of copies.
                Ok(if is_small(part) {
                    cost
                } else {
                    cost.and(Cost::PASS)
                })
            }
            Expr::Map(map) => {
                let mut cost = Cost::PASS;
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        cost = cost.and(self.visit(&mut entry.key)?);
                        cost = cost.and(self.visit(&mut entry.value)?);
                    }
                }
                Ok(cost)
            }
            Expr::Call(call) => self.call(id, call),
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::Struct(_) | Expr::Unspecified => wrong(id, "types of one's own are not known here"),
        }
    }

    fn ident(&mut self, id: u64, name: &str) -> Result<Cost, Wrong> {
        if self.bound.iter().any(|own| own == name) {
            return Ok(Cost::STEP);
        }
        let Some(variable) = variable(name) else {
            let names = Variable::ALL.map(Variable::as_str).join(", ");
            return wrong(id, format!("{name:?} is not known; there are {names}"));
        };
        self.needs.note(variable);
        self.needs.annotations |= variable == Variable::Tool;
        self.needs.metadata |= variable == Variable::Principal;
        Ok(Cost::STEP)
    }

    fn member(&mut self, id: u64, variable: Variable, field: &str) -> Result<Cost, Wrong> {
        let members = variable.members();
        if !members.is_empty() && !members.contains(&field) {
            let (name, members) = (variable.as_str(), members.join(", "));
            return wrong(id, format!("{name} has no {field:?}; it has {members}"));
        }
        if variable == Variable::Args && !self.args.iter().any(|own| own == field) {
            self.args.push(field.to_owned());
        }
        self.needs.note(variable);
        self.needs.annotations |= variable == Variable::Tool && field == "annotations";
        self.needs.metadata |= variable == Variable::Principal && field == "metadata";
        Ok(Cost::flat(2))
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<Cost, Wrong> {
        let name = call.func_name.clone();
        let operator = OPERATORS.iter().find(|(own, _)| *own == name);
        let function = FUNCTIONS.iter().find(|(own, ..)| *own == name);
        let count = call.args.len() + usize::from(call.target.is_some());
        let passes = match (operator, function) {
            (Some((_, passes)), _) => *passes,
            (None, Some((_, values, passes))) if *values == count => *passes,
            (None, Some((_, values, _))) => {
                return wrong(id, format!("{name} takes {values} values, and here are {count}"));
            }
            // What loops are made of.
            (None, None) if name == operators::NOT_STRICTLY_FALSE => false,
            (None, None) => {
                let names: Vec<&str> = FUNCTIONS.iter().map(|(own, ..)| *own).collect();
                let names = names.join(", ");
                return wrong(
                    id,
                    format!("the function {name:?} is not known; there are {names}"),
                );
            }
        };
        let mut cost = Cost::STEP;
        for value in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            cost = cost.and(self.visit(value)?);
        }
        if name == "matches" {
            self.pattern(id, call)?;
            // A matcher may look at a byte as often as its pattern is long: a text costs by the byte.
            return Ok(cost.and(Cost::MATCH));
        }
        // Against something small, no more of the other is looked at.
        let small = matches!(
            &*name,
            operators::EQUALS
                | operators::NOT_EQUALS
                | operators::GREATER_EQUALS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::LESS
                | operators::IN
                | "startsWith"
                | "endsWith"
        ) && call.args.iter().any(is_small);
        Ok(if passes && !small {
            cost.and(Cost::PASS)
        } else {
            cost
        })
    }

    /// Compiles a pattern, and puts its name in the call.
    fn pattern(&mut self, id: u64, call: &mut CallExpr) -> Result<(), Wrong> {
        let pattern = match call.args.pop().map(|last| last.expr) {
            Some(Expr::Literal(LiteralValue::String(pattern))) => text_of(&pattern),
            _ => return wrong(id, "the pattern of matches must be a literal text"),
        };
        let compiled = RegexBuilder::new(&pattern).size_limit(MAX_PATTERN).build();
        let compiled = compiled.map_err(|_| Wrong {
            id,
            message: "the pattern of matches is no regular expression, or is too large".to_owned(),
        })?;
        let name = format!("trunkline_matches_{}", PATTERNS.fetch_add(1, Ordering::Relaxed));
        if let Some(target) = call.target.take() {
            call.args.insert(0, *target);
        }
        call.func_name.clone_from(&name);
        self.patterns.push((name, Arc::new(compiled)));
        Ok(())
    }

    fn comprehension(&mut self, id: u64, own: &mut ComprehensionExpr) -> Result<Cost, Wrong> {
        if has_loop(&own.iter_range) {
            return wrong(
                id,
                "a loop goes over what another loop made: put both conditions into one",
            );
        }
        if self.loops == MAX_LOOPS {
            return wrong(id, format!("loops are nested more than {MAX_LOOPS} deep"));
        }
        let range = self.visit(&mut own.iter_range)?;
        // What is gone through is put together of the parts of the range, each of which may be all there is.
        let times = parts(&own.iter_range);
        let outside = range.and(self.visit(&mut own.accu_init)?).and(Cost::PASS);
        let before = self.bound.len();
        self.bound.push(own.iter_var.clone());
        self.bound.extend(own.iter_var2.clone());
        self.bound.push(own.accu_var.clone());
        self.loops += 1;
        let inside = self
            .visit(&mut own.loop_cond)
            .and_then(|cost| Ok(cost.and(self.visit(&mut own.loop_step)?)));
        self.loops -= 1;
        let inside = inside?;
        let result = self.visit(&mut own.result)?;
        self.bound.truncate(before);
        Ok(outside.and(inside.each(times)).and(result))
    }
}

/// `args.path` as `args["path"]`, which is the same and half the work: nobody has to find out whether a variable, a type or a function has
/// the whole name.
fn member_of(id: u64, select: &mut SelectExpr) -> Expr {
    let field = std::mem::take(&mut select.field);
    let name = IdedExpr {
        id,
        expr: Expr::Literal(LiteralValue::String(CelString::from(field))),
    };
    Expr::Call(CallExpr {
        func_name: operators::INDEX.to_owned(),
        target: None,
        args: vec![std::mem::take(&mut *select.operand), name],
    })
}

fn text_of(text: &CelString<'static>) -> String {
    text.inner().to_owned()
}

/// Whether a part is a literal, or a list of them.
fn is_small(part: &IdedExpr) -> bool {
    match &part.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => list
            .elements
            .iter()
            .all(|element| matches!(element.expr, Expr::Literal(_))),
        _ => false,
    }
}

/// Parts of a part, itself included.
fn parts(part: &IdedExpr) -> u64 {
    1 + children(part).into_iter().map(parts).sum::<u64>()
}

fn has_loop(part: &IdedExpr) -> bool {
    matches!(part.expr, Expr::Comprehension(_)) || children(part).into_iter().any(has_loop)
}

/// What a part is made of, loops aside.
fn children(part: &IdedExpr) -> Vec<&IdedExpr> {
    match &part.expr {
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                EntryExpr::StructField(_) => None,
            })
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}
