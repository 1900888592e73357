//! Reads a JSON object member by member, and knows which were not read: nothing is passed over unseen.

use std::cell::RefCell;

use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;

use crate::BadRequest;
use crate::request::bad;

/// An object, where it stood, and what of it was read.
pub(super) struct Reader<'a> {
    object: RawObject<'a>,
    path: String,
    seen: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    /// A request, whose members have their names alone as paths.
    pub(super) fn of(object: RawObject<'a>) -> Self {
        Self {
            object,
            path: String::new(),
            seen: RefCell::default(),
        }
    }

    /// An object within one.
    pub(super) fn open(json: &'a str, path: &str) -> Result<Self, BadRequest> {
        let object = RawObject::parse(json)
            .map_err(|error| wrong(path, format_args!("must be an object ({error})")))?;
        Ok(Self {
            object,
            path: path.to_owned(),
            seen: RefCell::default(),
        })
    }

    /// The path of a member.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// JSON text of a member; none if it is null.
    pub(super) fn raw(&self, name: &'static str) -> Option<&str> {
        self.seen.borrow_mut().push(name);
        self.object.get(name).filter(|json| *json != "null")
    }

    /// The same, owned.
    pub(super) fn json(&self, name: &'static str) -> Option<String> {
        self.raw(name).map(str::to_owned)
    }

    fn parsed<'b, T: serde::Deserialize<'b>>(
        &'b self,
        name: &'static str,
        what: &str,
    ) -> Result<Option<T>, BadRequest> {
        let Some(json) = self.raw(name) else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(json);
        parsed
            .map(Some)
            .map_err(|_| wrong(&self.at(name), format_args!("must be {what}")))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, BadRequest> {
        self.parsed(name, "a string")
    }

    pub(super) fn need_text(&self, name: &'static str) -> Result<String, BadRequest> {
        self.text(name)?
            .ok_or_else(|| wrong(&self.at(name), format_args!("is missing")))
    }

    pub(super) fn boolean(&self, name: &'static str) -> Result<Option<bool>, BadRequest> {
        self.parsed(name, "true or false")
    }

    pub(super) fn count(&self, name: &'static str) -> Result<Option<u64>, BadRequest> {
        self.parsed(name, "a whole number of at least 0")
    }

    /// JSON text of a number.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<String>, BadRequest> {
        let number: Option<serde_json::Number> = self.parsed(name, "a number")?;
        Ok(number.and_then(|_| self.json(name)))
    }

    pub(super) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, BadRequest> {
        self.parsed(name, "a list of strings")
    }

    /// JSON texts of a list.
    pub(super) fn list(&self, name: &'static str) -> Result<Option<Vec<&str>>, BadRequest> {
        let items: Option<Vec<&RawValue>> = self.parsed(name, "a list")?;
        Ok(items.map(|items| items.into_iter().map(RawValue::get).collect()))
    }

    /// An object within it.
    pub(super) fn object(&self, name: &'static str) -> Result<Option<Reader<'_>>, BadRequest> {
        self.raw(name)
            .map(|json| Reader::open(json, &self.at(name)))
            .transpose()
    }

    /// What was not read and is not null: names and JSON texts.
    pub(super) fn rest(&self) -> Vec<(&str, &str)> {
        let seen = self.seen.borrow();
        let members = self.object.members();
        members
            .filter(|(name, json)| *json != "null" && !seen.contains(name))
            .collect()
    }
}

/// Whether JSON text is that of a string.
pub(super) fn is_text(json: &str) -> bool {
    json.starts_with('"')
}

/// Something about a member is wrong.
pub(super) fn wrong(path: &str, what: std::fmt::Arguments<'_>) -> BadRequest {
    bad(Some(path), format!("`{path}` {what}"))
}
