//! Request bodies: a JSON object, and what is wrong with it in `FastAPI`'s words.
//!
//! Values are never repeated in an error (`FastAPI`'s `input` is left out): they may be secrets.

use std::fmt;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::ApiError;

/// A request body that is a JSON object. An empty body is an empty object.
pub(crate) struct JsonObject(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| match rejection {
                BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                    ApiError::TooLarge
                }
                _ => ApiError::BadRequest("the request body ended early".to_owned()),
            })?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        // The parser bounds the depth (128 levels), and its syntax errors hold positions, never text of the input.
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => {
                let mut problems = Problems::default();
                refuse_nul(&mut vec![Loc::from("body")], &object, &mut problems);
                problems.into_result().map(|()| Self(object))
            }
            Ok(_) => Err(ApiError::Invalid(vec![Problem {
                kind: "model_attributes_type",
                loc: vec![Loc::from("body")],
                msg: "Input should be a valid dictionary or object to extract fields from".to_owned(),
            }])),
            Err(error) => Err(ApiError::Invalid(vec![Problem {
                kind: "json_invalid",
                loc: vec![Loc::from("body"), Loc::Index(error.column())],
                msg: format!("JSON decode error: {error}"),
            }])),
        }
    }
}

/// PostgreSQL cannot store the NUL character, and no field of ours has a use for it.
fn refuse_nul(at: &mut Vec<Loc>, object: &Map<String, Value>, problems: &mut Problems) {
    for (key, value) in object {
        // A key with NUL is not repeated: its parent is named.
        if key.contains('\0') {
            problems.add("string_type", at, "Input should not contain the NUL character");
            continue;
        }
        at.push(Loc::Name(key.clone()));
        refuse_nul_in(at, value, problems);
        at.pop();
    }
}

fn refuse_nul_in(at: &mut Vec<Loc>, value: &Value, problems: &mut Problems) {
    match value {
        Value::String(text) if text.contains('\0') => {
            problems.add("string_type", at, "Input should not contain the NUL character");
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(Loc::Index(index));
                refuse_nul_in(at, item, problems);
                at.pop();
            }
        }
        Value::Object(object) => refuse_nul(at, object, problems),
        _ => {}
    }
}

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `FastAPI`'s name of the kind: `extra_forbidden`, `string_type`, `missing`, …
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where: `["body", "extra_headers", 0]`.
    #[schema(value_type = Vec<serde_json::Value>)]
    loc: Vec<Loc>,
    /// What, for people.
    msg: String,
}

impl fmt::Display for Problem {
    /// `credentials.auth_value: Input should be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.loc.iter().skip(1).enumerate() {
            match step {
                Loc::Name(name) if index == 0 => f.write_str(name)?,
                Loc::Name(name) => write!(f, ".{name}")?,
                Loc::Index(at) => write!(f, "[{at}]")?,
            }
        }
        let separator = if self.loc.len() > 1 { ": " } else { "" };
        write!(f, "{separator}{}", self.msg)
    }
}

/// A step of the way to a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Loc {
    Name(String),
    Index(usize),
}

impl From<&str> for Loc {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl Serialize for Loc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Index(index) => serializer.serialize_u64(*index as u64),
        }
    }
}

/// Everything that is wrong with a body, so that a user mends it in one go.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

/// More would not be read.
const MAX_PROBLEMS: usize = 50;

impl Problems {
    /// Notes a problem. `at` begins with `body`.
    pub(crate) fn add(&mut self, kind: &'static str, at: &[Loc], msg: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem {
                kind,
                loc: at.to_vec(),
                msg: msg.into(),
            });
        }
    }

    /// The error, if there is any problem.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }
}

/// Where a value stands, and where to complain about it.
pub(crate) struct At<'a> {
    path: Vec<Loc>,
    problems: &'a mut Problems,
}

impl<'a> At<'a> {
    /// A field of the body.
    pub(crate) fn field(name: &str, problems: &'a mut Problems) -> Self {
        Self {
            path: vec![Loc::from("body"), Loc::from(name)],
            problems,
        }
    }

    /// Runs `f` one step deeper.
    pub(crate) fn within<T>(&mut self, step: Loc, f: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let result = f(self);
        self.path.pop();
        result
    }

    /// Notes a problem here. Returns `None`, so that a parser can end with it.
    pub(crate) fn problem<T>(&mut self, kind: &'static str, msg: impl Into<String>) -> Option<T> {
        self.problems.add(kind, &self.path, msg);
        None
    }

    /// A string, or a problem.
    pub(crate) fn text<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
        match value {
            Value::String(text) => Some(text),
            _ => self.problem("string_type", "Input should be a valid string"),
        }
    }

    /// A boolean, or a problem.
    pub(crate) fn flag(&mut self, value: &Value) -> Option<bool> {
        match value {
            Value::Bool(flag) => Some(*flag),
            _ => self.problem("bool_type", "Input should be a valid boolean"),
        }
    }

    /// An object, or a problem.
    pub(crate) fn object<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        match value {
            Value::Object(object) => Some(object),
            _ => self.problem("dict_type", "Input should be a valid dictionary"),
        }
    }

    /// A list, or a problem.
    pub(crate) fn list<'v>(&mut self, value: &'v Value) -> Option<&'v [Value]> {
        match value {
            Value::Array(items) => Some(items),
            _ => self.problem("list_type", "Input should be a valid list"),
        }
    }

    /// A list of strings, or a problem for each item that is none.
    pub(crate) fn texts(&mut self, value: &Value) -> Option<Vec<String>> {
        let items = self.list(value)?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(text) = self.within(Loc::Index(index), |at| at.text(item)) {
                texts.push(text.to_owned());
            }
        }
        (texts.len() == items.len()).then_some(texts)
    }
}
