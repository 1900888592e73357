//! Which operations of an OpenAPI document become tools of a server.

use serde_json::{Map, Value, json};

/// `openapi` of a server's declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenApiFilter {
    /// Only these: an operation has to fit every list that is not empty.
    pub include: OperationMatch,
    /// Not these: an operation that fits one of the lists is left out, whatever `include` says.
    pub exclude: OperationMatch,
}

/// Lists that an operation fits or does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationMatch {
    /// Its tags, in any case.
    pub tags: Vec<String>,
    /// Its path in the document; `*` stands for any part of a segment, `**` for any number of them.
    pub paths: Vec<String>,
    /// Its HTTP method, in any case.
    pub methods: Vec<String>,
    /// Its `operationId` or the name of its tool, in any case; `*` stands for any text.
    pub operations: Vec<String>,
}

/// A mistake in the declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterMistake {
    /// Where: `include.tags`.
    pub at: String,
    /// What.
    pub message: String,
    /// The name that stands where another is expected, and those that are known.
    pub unknown: Option<(String, &'static [&'static str])>,
}

const SIDES: &[&str] = &["include", "exclude"];
const LISTS: &[&str] = &["tags", "paths", "methods", "operations"];
/// Methods that an operation can have.
pub const METHODS: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];
/// Entries of one list.
const MAX_ENTRIES: usize = 1000;

impl OpenApiFilter {
    /// Reads the declaration: `{include: {tags, paths, methods, operations}, exclude: {…}}`.
    pub fn parse(object: &Map<String, Value>) -> Result<Self, FilterMistake> {
        let mut filter = Self::default();
        for (side, value) in object {
            let own = match side.as_str() {
                "include" => &mut filter.include,
                "exclude" => &mut filter.exclude,
                _ => return Err(FilterMistake::unknown(String::new(), side, SIDES)),
            };
            match value {
                Value::Null => {}
                Value::Object(lists) => *own = OperationMatch::parse(side, lists)?,
                _ => return Err(FilterMistake::new(side, "must be a mapping")),
            }
        }
        Ok(filter)
    }

    /// Whether it lets every operation through.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The inverse of [`OpenApiFilter::parse`]; `None` for one that says nothing.
    pub fn to_json(&self) -> Option<Value> {
        let mut object = Map::new();
        for (side, lists) in [("include", &self.include), ("exclude", &self.exclude)] {
            let lists = lists.to_json();
            if !lists.is_empty() {
                object.insert(side.to_owned(), lists.into());
            }
        }
        (!object.is_empty()).then(|| object.into())
    }
}

impl OperationMatch {
    fn parse(side: &str, lists: &Map<String, Value>) -> Result<Self, FilterMistake> {
        let mut own = Self::default();
        for (name, value) in lists {
            let list = match name.as_str() {
                "tags" => &mut own.tags,
                "paths" => &mut own.paths,
                "methods" => &mut own.methods,
                "operations" => &mut own.operations,
                _ => return Err(FilterMistake::unknown(side.to_owned(), name, LISTS)),
            };
            let at = format!("{side}.{name}");
            *list = texts(&at, value)?;
            let odd = list
                .iter()
                .find(|method| !METHODS.contains(&method.to_ascii_lowercase().as_str()));
            if let Some(odd) = odd.filter(|_| name == "methods") {
                return Err(FilterMistake::unknown(at, odd, METHODS));
            }
        }
        Ok(own)
    }

    fn to_json(&self) -> Map<String, Value> {
        let lists = [
            ("tags", &self.tags),
            ("paths", &self.paths),
            ("methods", &self.methods),
            ("operations", &self.operations),
        ];
        lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| (name.to_owned(), json!(list)))
            .collect()
    }
}

fn texts(at: &str, value: &Value) -> Result<Vec<String>, FilterMistake> {
    const WANTED: &str = "must be a list of text";
    if value.is_null() {
        return Ok(Vec::new());
    }
    let items = value
        .as_array()
        .filter(|items| items.len() <= MAX_ENTRIES)
        .ok_or_else(|| FilterMistake::new(at, WANTED))?;
    items
        .iter()
        .map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| FilterMistake::new(at, WANTED))
}

impl FilterMistake {
    fn new(at: &str, message: &str) -> Self {
        Self {
            at: at.to_owned(),
            message: message.to_owned(),
            unknown: None,
        }
    }

    fn unknown(at: String, name: &str, known: &'static [&'static str]) -> Self {
        Self {
            at,
            message: format!("is not known here; known are {}", known.join(", ")),
            unknown: Some((name.to_owned(), known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &Value) -> Result<OpenApiFilter, FilterMistake> {
        OpenApiFilter::parse(value.as_object().unwrap())
    }

    #[test]
    fn there_and_back() {
        for value in [
            json!({"include": {"tags": ["pets"], "paths": ["/pets/**"]}, "exclude": {"methods": ["DELETE"], "operations": ["admin*"]}}),
            json!({"exclude": {"tags": ["x"]}}),
        ] {
            assert_eq!(parse(&value).unwrap().to_json(), Some(value));
        }
        assert_eq!(
            parse(&json!({"include": null, "exclude": {"tags": []}}))
                .unwrap()
                .to_json(),
            None
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        for (value, at) in [
            (json!({"includes": {}}), ""),
            (json!({"include": []}), "include"),
            (json!({"include": {"tag": []}}), "include"),
            (json!({"exclude": {"tags": "x"}}), "exclude.tags"),
            (json!({"exclude": {"methods": ["fetch"]}}), "exclude.methods"),
            (json!({"exclude": {"tags": [7]}}), "exclude.tags"),
        ] {
            assert_eq!(parse(&value).unwrap_err().at, at, "{value}");
        }
    }
}
