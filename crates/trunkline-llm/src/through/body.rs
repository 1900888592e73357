//! What of a body the gateway has to know before it is handed on: which model it names, for whom it is, whether it is paid by more than
//! tokens. The body itself stays as it came, but for another name of the model.

use serde_json::value::RawValue;
use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;

use super::{Passage, Shape};
use crate::form::Form;
use crate::request::bad;
use crate::{BadRequest, Dialect, Measure, Request};

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The model that it names; none if nobody can tell.
    pub model: Option<String>,
    /// The answer is to come in pieces.
    pub stream: bool,
    /// Whom it is made for, as the body says it.
    pub user: Option<String>,
    /// It asks for more than tokens pay for.
    pub has_extras: bool,
    /// What it asks for that is not counted in tokens.
    pub measure: Measure,
    /// By what else it is found.
    pub tags: Vec<String>,
}

impl Asked {
    /// Reads a body as far as its path says that something of it counts. Errors if it can be read in two ways, or not at all.
    pub fn read(passage: &Passage, content_type: &str, body: &[u8]) -> Result<Self, BadRequest> {
        let named = passage.model();
        let dialect = match passage.shape() {
            Some(Shape::Anthropic) => Dialect::Anthropic,
            Some(Shape::Gemini | Shape::Converse | Shape::Invoke) => {
                return Self::of_path(passage, named, body);
            }
            Some(Shape::OpenAi | Shape::Cohere) => Dialect::OpenAi,
            None if passage.is_named_by_body() => Dialect::OpenAi,
            None => return Ok(Self::named(named)),
        };
        let request = if is_form(content_type) {
            Request::read_form(body, content_type, named)?
        } else {
            Request::read_in(dialect, body, named)?
        };
        if request.routing.fallbacks.is_some() {
            let text = "a request that is handed on as it is goes to one model: leave `fallbacks` out";
            return Err(bad(Some("fallbacks"), text));
        }
        Ok(Self {
            stream: request.stream,
            has_extras: request.has_extras,
            measure: request.measure(),
            user: request.user,
            tags: request.routing.tags,
            model: Some(request.model),
        })
    }

    fn named(model: Option<&str>) -> Self {
        Self {
            model: model.map(str::to_owned),
            ..Self::default()
        }
    }

    /// The path names the model, and whether it comes in pieces.
    fn of_path(passage: &Passage, model: Option<&str>, body: &[u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| bad(None, "the body is not UTF-8"))?;
        if !depth::within(body, depth::MAX_DEPTH) {
            return Err(bad(None, "the body is nested too deep"));
        }
        let object = RawObject::parse(text)
            .map_err(|error| bad(None, format!("the body is no JSON object: {error}")))?;
        Ok(Self {
            has_extras: passage.shape() == Some(Shape::Gemini) && has_googles_tools(&object),
            ..Self::named(model)
        })
    }
}

/// Whether Google itself does something beside writing: searches, runs code.
fn has_googles_tools(object: &RawObject<'_>) -> bool {
    let tools: Vec<&RawValue> = object
        .get("tools")
        .and_then(|tools| serde_json::from_str(tools).ok())
        .unwrap_or_default();
    tools.iter().any(|tool| {
        RawObject::parse(tool.get()).is_ok_and(|tool| {
            tool.keys()
                .any(|own| !matches!(own, "functionDeclarations" | "function_declarations"))
        })
    })
}

fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// A body with another name for the model in it. Every other byte is as it came.
pub fn with_model(content_type: &str, body: &[u8], model: &str) -> Result<Vec<u8>, BadRequest> {
    if is_form(content_type) {
        let form = Form::read(body, content_type).map_err(|text| bad(None, text))?;
        return Ok(form.with_model(model));
    }
    let text = std::str::from_utf8(body).map_err(|_| bad(None, "the body is not UTF-8"))?;
    let mut object =
        RawObject::parse(text).map_err(|error| bad(None, format!("the body is no JSON object: {error}")))?;
    object.set_string("model", model);
    Ok(object.to_json().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::through::Api;

    fn asked(api: Api, path: &str, body: &str) -> Result<Asked, BadRequest> {
        let passage = Passage::read(api, path, true).unwrap();
        Asked::read(&passage, "application/json", body.as_bytes())
    }

    #[test]
    fn what_counts_of_a_body_is_read_and_nothing_else() {
        let chat = asked(
            Api::OpenAi,
            "v1/chat/completions",
            r#"{"model":"m","stream":true,"user":"u","tools":[{"type":"function"}],"nobody_knows":1}"#,
        )
        .unwrap();
        assert_eq!(
            (
                chat.model.as_deref(),
                chat.stream,
                chat.user.as_deref(),
                chat.has_extras
            ),
            (Some("m"), true, Some("u"), false)
        );
        for body in [
            r#"{"model":"m","model":"n"}"#,
            r#"{"model":"m","Model":"n"}"#,
            r#"{"model":"m","models":["n"]}"#,
            r#"{"model":"m","fallbacks":["n"]}"#,
            r#"{"messages":[]}"#,
            "no json",
        ] {
            assert!(asked(Api::Vllm, "v1/chat/completions", body).is_err(), "{body}");
        }
        let path = "v1beta/models/g:generateContent";
        let google = asked(
            Api::Gemini,
            path,
            r#"{"model":"other","tools":[{"functionDeclarations":[]}]}"#,
        );
        let google = google.unwrap();
        assert_eq!((google.model.as_deref(), google.has_extras), (Some("g"), false));
        assert!(
            asked(Api::Gemini, path, r#"{"tools":[{"googleSearch":{}}]}"#)
                .unwrap()
                .has_extras
        );
        assert!(asked(Api::Gemini, path, "[]").is_err());
        // What is about no model may be anything.
        assert_eq!(asked(Api::OpenAi, "v1/files", "{ no json").unwrap().model, None);
    }

    #[test]
    fn another_name_changes_no_other_byte() {
        let body = b"{ \"a\":1.0,\n\"model\" : \"x\" }";
        let out = with_model("application/json", body, "y\"").unwrap();
        assert_eq!(out, b"{ \"a\":1.0,\n\"model\" : \"y\\\"\" }");
    }
}
