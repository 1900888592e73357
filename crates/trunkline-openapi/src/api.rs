//! A document as a whole: its operations, those that are left out, and what is said about all of them.

use std::collections::HashMap;

use serde_json::Value;
use trunkline_model::OpenApiFilter;

use crate::document::{self, Document, Version, members};
use crate::filter::{self, Candidate};
use crate::mistake::Mistake;
use crate::names::{self, Given};
use crate::operation::{self, Operation, Spot};
use crate::{security, server};

/// Operations of a document.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes of all definitions; the gateway takes 16 MiB in one list.
const MAX_TOOLS: usize = 14 * 1024 * 1024;
/// What output schemas may take of it.
const MAX_OUTPUTS: usize = 4 * 1024 * 1024;
/// Bytes of the texts about the API.
const MAX_TEXT: usize = 4096;

/// A document that was read.
pub struct Api {
    /// Its specification.
    pub version: Version,
    /// `info.title`.
    pub title: String,
    /// `info.version`.
    pub release: String,
    /// `info.summary` or `info.description`, bounded.
    pub about: Option<String>,
    /// The address of the API; perhaps relative to that of the document.
    pub server: Option<String>,
    /// Which credentials it asks for, for people.
    pub wants: Option<String>,
    /// How many operations the document has.
    pub total: usize,
    /// How many of them the filter leaves out.
    pub filtered: usize,
    /// What cannot be served, with reasons.
    pub left_out: Vec<LeftOut>,
    operations: Vec<Operation>,
    by_name: HashMap<String, usize>,
}

/// An operation that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What its tool would be called.
    pub name: String,
    /// Why, and where in the document.
    pub reason: String,
}

/// Reads a document, JSON or YAML. `supplied` are names of headers, in lower case, that every request has anyway: parameters
/// of these names are nobody's to give.
pub fn read(bytes: &[u8], filter: &OpenApiFilter, supplied: &[String]) -> Result<Api, Mistake> {
    read_value(document::tree(bytes)?, filter, supplied)
}

/// The same for a tree.
pub fn read_value(root: Value, filter: &OpenApiFilter, supplied: &[String]) -> Result<Api, Mistake> {
    let document = Document::new(root)?;
    match document.root.get("paths") {
        Some(Value::Object(_)) => {}
        // 3.1 allows a document without.
        None | Some(Value::Null) if document.version == Version::V31 => {}
        _ => return Err(Mistake::new("/paths", "`paths` must be an object")),
    }
    let text = |key: &str| document.root.pointer(key).and_then(Value::as_str).map(bounded);
    let mut api = Api {
        version: document.version,
        title: text("/info/title").unwrap_or_default(),
        release: text("/info/version").unwrap_or_default(),
        about: text("/info/summary").or_else(|| text("/info/description")),
        server: server::of(&document),
        wants: security::describe(&document),
        total: 0,
        filtered: 0,
        left_out: Vec::new(),
        operations: Vec::new(),
        by_name: HashMap::new(),
    };
    api.collect(&document, filter, supplied)?;
    api.bound();
    for (index, operation) in api.operations.iter().enumerate() {
        api.by_name.insert(operation.name.clone(), index);
    }
    Ok(api)
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT.min(text.len()))].to_owned()
}

impl Api {
    fn collect(
        &mut self,
        document: &Document,
        filter: &OpenApiFilter,
        supplied: &[String],
    ) -> Result<(), Mistake> {
        let mut given = Given::default();
        for (path, item, item_at) in members(&document.root, "paths", "") {
            if path.starts_with("x-") {
                continue;
            }
            let (item, item_at) = match document.resolve(item, &item_at) {
                Ok(found) => found,
                Err(mistake) => {
                    self.total += 1;
                    self.leave_out(path.clone(), &mistake);
                    continue;
                }
            };
            for method in trunkline_model::openapi::METHODS {
                let Some(own) = item.get(*method).filter(|own| own.is_object()) else {
                    continue;
                };
                self.total += 1;
                if self.total > MAX_OPERATIONS {
                    return Err(Mistake::new(
                        "/paths",
                        format!("the document has more than {MAX_OPERATIONS} operations"),
                    ));
                }
                let at = if item_at.starts_with("/paths/") {
                    operation::place(path, method)
                } else {
                    crate::mistake::join(&item_at, method)
                };
                let spot = Spot {
                    path,
                    method,
                    item: (item, &item_at),
                    own: (own, &at),
                };
                self.add(document, spot, &mut given, filter, supplied);
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        document: &Document,
        spot: Spot<'_>,
        given: &mut Given,
        filter: &OpenApiFilter,
        supplied: &[String],
    ) {
        let (own, _) = spot.own;
        let id = own
            .get("operationId")
            .and_then(Value::as_str)
            .filter(|id| !id.trim().is_empty());
        // Named before it is filtered, so that a filter renames nothing.
        let name = given.unique(&names::of_operation(id, spot.method, spot.path));
        let tags = own.get("tags").and_then(Value::as_array).into_iter().flatten();
        let candidate = Candidate {
            tags: tags.filter_map(Value::as_str).collect(),
            path: spot.path,
            method: spot.method,
            id,
            tool: &name,
        };
        if !filter::lets(filter, &candidate) {
            self.filtered += 1;
            return;
        }
        match operation::read(document, spot, name.clone(), supplied) {
            Ok(operation) => self.operations.push(operation),
            Err(mistake) => self.leave_out(name, &mistake),
        }
    }

    /// Notes an operation that is not served.
    fn leave_out(&mut self, name: String, mistake: &Mistake) {
        self.left_out.push(LeftOut {
            name,
            reason: mistake.to_string(),
        });
    }

    /// Keeps the list within what is taken: first without output schemas, then without the last tools.
    fn bound(&mut self) {
        let outputs: usize = self
            .operations
            .iter()
            .filter_map(|operation| operation.output.as_ref())
            .map(|output| output.to_string().len())
            .sum();
        for operation in &mut self.operations {
            match operation.output.take() {
                Some(output) if outputs <= MAX_OUTPUTS => {
                    operation.tool.pop();
                    operation.tool.push_str(r#","outputSchema":"#);
                    operation.tool.push_str(&output.to_string());
                    operation.tool.push('}');
                }
                _ => operation.has_output = false,
            }
        }
        let mut size = 0;
        let fits = |operation: &Operation, size: &mut usize| {
            *size += operation.tool.len() + 1;
            *size <= MAX_TOOLS
        };
        let keep = self
            .operations
            .iter()
            .take_while(|operation| fits(operation, &mut size))
            .count();
        for operation in self.operations.split_off(keep) {
            self.left_out.push(LeftOut {
                name: operation.name,
                reason: format!(
                    "the definitions before it take {} MiB already: leave others out with `openapi`",
                    MAX_TOOLS / 1024 / 1024
                ),
            });
        }
    }

    /// An operation by the name of its tool.
    pub fn operation(&self, tool: &str) -> Option<&Operation> {
        self.operations.get(*self.by_name.get(tool)?)
    }

    /// All that are served, in the order of the document.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The definitions, a JSON array.
    pub fn tools(&self) -> String {
        let size: usize = self
            .operations
            .iter()
            .map(|operation| operation.tool.len() + 1)
            .sum();
        let mut text = String::with_capacity(size + 2);
        text.push('[');
        for (index, operation) in self.operations.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&operation.tool);
        }
        text.push(']');
        text
    }
}

impl Operation {
    /// An address of its own, which the document gives it in place of the API's.
    pub fn own_server(&self) -> Option<&str> {
        self.server.as_deref()
    }
}
