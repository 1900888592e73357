//! The environment, passed in, and `os.environ/NAME` references to it.

use std::collections::BTreeMap;

use crate::error::join;
use crate::tree::{At, Node, Value};

/// Where variables come from.
pub trait Env {
    /// The value of `name`, or `None` if it is not set or not Unicode.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        // The standard library panics on such names; a reference in a file may hold anything.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var(name).ok()
    }
}

impl Env for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}

/// `environment_variables` of the file over the environment of the process, which is LiteLLM's order: it writes the
/// section into its own environment.
pub(crate) struct Layered<'a> {
    pub(crate) file: BTreeMap<String, String>,
    pub(crate) process: &'a dyn Env,
}

impl Env for Layered<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.file.get(name).cloned().or_else(|| self.process.get(name))
    }
}

/// How a reference begins. What follows is the name of the variable, to the end of the value.
pub(crate) const REFERENCE: &str = "os.environ/";

/// A reference that gives no value.
pub(crate) struct Unresolved {
    pub(crate) at: At,
    /// Where in the entry: `static_headers.X-Key`.
    pub(crate) path: String,
    /// What is wrong, for people: "references NAME, which is not set".
    pub(crate) message: String,
}

/// Puts the variable's value in the place of every value that is a reference. What cannot be resolved becomes
/// [`Value::Unset`], so that the literal is never used for anything (B30).
pub(crate) fn resolve(node: &mut Node, path: &str, env: &dyn Env, unresolved: &mut Vec<Unresolved>) {
    match &mut node.value {
        Value::Text(text) => {
            let Some(name) = text.strip_prefix(REFERENCE) else {
                return;
            };
            match lookup(name, env) {
                Ok(value) => *text = value,
                Err(message) => {
                    unresolved.push(Unresolved {
                        at: node.at,
                        path: path.to_owned(),
                        message,
                    });
                    node.value = Value::Unset;
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{index}]"), env, unresolved);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                resolve(&mut entry.node, &join(path, &entry.key), env, unresolved);
            }
        }
        _ => {}
    }
}

/// The value of a referenced variable, or what to say. An empty one is no value: a header with nothing in it is not what
/// anybody wants to send.
pub(crate) fn lookup(name: &str, env: &dyn Env) -> Result<String, String> {
    let name = name.trim();
    let is_name =
        !name.is_empty() && name.len() <= 128 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        // Not shown: somebody may have pasted the secret itself.
        return Err("references a variable whose name is not made of letters, digits and `_`".into());
    }
    match env.get(name) {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => Err(format!("references {name}, which is set but empty")),
        None => Err(format!("references {name}, which is not set")),
    }
}
