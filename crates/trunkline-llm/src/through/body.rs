//! What of a body the gateway has to know before it is handed on: which model it names, for whom it is, whether it is paid by more than
//! tokens. The body itself stays as it came, but for another name of the model, and for the wish that a stream says what it took.
//!
//! **Invariant:** what is read here as JSON, or as a form, goes on as that ([`Asked::content_type`]): a provider that reads another kind
//! would read another body.

use std::borrow::Cow;

use serde_json::value::RawValue;
use trunkline_mcp::depth;
use trunkline_mcp::edit::{RawObject, is_same_key};

use super::contents::{self, Contents};
use super::{Api, Passage, Shape};
use crate::form::Form;
use crate::request::{ask_usage, bad};
use crate::{BadRequest, Dialect, Measure, Request};

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The model that it names; none if nobody can tell.
    pub model: Option<String>,
    /// The answer is to come in pieces.
    pub stream: bool,
    /// The client itself wants to be told in a stream what it took.
    pub wants_usage: bool,
    /// Whom it is made for, as the body says it.
    pub user: Option<String>,
    /// It asks for more than tokens pay for.
    pub has_extras: bool,
    /// It names what the account keeps, which is for those who may use all models of the provider.
    pub names_kept: bool,
    /// How many tokens may be written, if it says it.
    pub may_write: Option<u64>,
    /// What it asks for that is not counted in tokens.
    pub measure: Measure,
    /// By what else it is found.
    pub tags: Vec<String>,
    /// What the body is, if it was read: as that it has to be sent.
    pub content_type: Option<String>,
}

/// What changes in a body on its way.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// The provider's name for the model.
    pub model: &'a str,
    /// A stream is to say what it took.
    pub asks_usage: bool,
}

const JSON: &str = "application/json";

/// Whether a body of this kind can be read: JSON, or a form. None that is said is JSON.
pub fn can_be_read(content_type: &str) -> bool {
    let kind = kind(content_type);
    kind.is_empty() || kind.eq_ignore_ascii_case(JSON) || is_form(content_type)
}

impl Asked {
    /// Reads a body as far as its path says that something of it counts. Errors if it can be read in two ways, or not at all.
    pub fn read(passage: &Passage, content_type: &str, body: &[u8]) -> Result<Self, BadRequest> {
        let named = passage.model();
        if !passage.reads_body() {
            return Ok(Self::named(named));
        }
        let shape = passage.shape();
        let is_of_path = match shape {
            Some(Shape::Gemini | Shape::Converse | Shape::Invoke) => true,
            Some(Shape::OpenAi | Shape::Cohere | Shape::Anthropic) => false,
            None => named.is_some() && passage.api != Api::Azure,
        };
        if is_of_path {
            return Self::of_path(passage, named, body);
        }
        let dialect = if shape == Some(Shape::Anthropic) || passage.is_anthropics() {
            Dialect::Anthropic
        } else {
            Dialect::OpenAi
        };
        let (request, kind) = if is_form(content_type) {
            let form = Form::read(body, content_type).map_err(|text| bad(None, text))?;
            let request = Request::read_form(body, content_type, named)?;
            (request, form.content_type())
        } else {
            let request = Request::read_in(dialect, body, named)?;
            if named.is_some() {
                check_models(passage, &object(body)?)?;
            }
            (request, JSON.to_owned())
        };
        if request.routing.fallbacks.is_some() {
            let text = "a request that is handed on as it is goes to one model: leave `fallbacks` out";
            return Err(bad(Some("fallbacks"), text));
        }
        Ok(Self {
            stream: request.stream || passage.is_stream(),
            wants_usage: request.wants_usage,
            has_extras: request.has_extras,
            may_write: request.may_write(),
            names_kept: false,
            measure: request.measure(),
            user: request.user,
            tags: request.routing.tags,
            model: Some(request.model),
            content_type: Some(kind),
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
        let object = object(body)?;
        check_models(passage, &object)?;
        let Contents {
            has_extras,
            names_kept,
        } = contents::read(passage, &object)?;
        Ok(Self {
            stream: passage.is_stream(),
            may_write: contents::may_write(&object),
            has_extras,
            names_kept,
            content_type: Some(JSON.to_owned()),
            ..Self::named(model)
        })
    }
}

fn object(body: &[u8]) -> Result<RawObject<'_>, BadRequest> {
    let text = std::str::from_utf8(body).map_err(|_| bad(None, "the body is not UTF-8"))?;
    if !depth::within(body, depth::MAX_DEPTH) {
        return Err(bad(None, "the body is nested too deep"));
    }
    RawObject::parse(text).map_err(|error| bad(None, format!("the body is no JSON object: {error}")))
}

/// Whether what the body has as the model is the path's. At Azure it may be any: the path's deployment answers, and its name is written there.
fn check_models(passage: &Passage, object: &RawObject<'_>) -> Result<(), BadRequest> {
    let Some(path) = passage.model().filter(|_| passage.api != Api::Azure) else {
        return Ok(());
    };
    let check = |object: &RawObject<'_>, at: &str| {
        let other = || {
            let text = format!("`{at}` must be the model that the path names, or be left out");
            Err(bad(Some(at), text))
        };
        let mut keys = object.all_keys().filter(|own| is_same_key("model", own));
        match keys.next() {
            None => Ok(()),
            Some(key) if key != "model" || keys.next().is_some() => other(),
            Some(_) if object.get("model") == Some("null") => Ok(()),
            Some(_) => match object.get_string("model") {
                Some(own) if is_the_paths(&own, path) => Ok(()),
                _ => other(),
            },
        }
    };
    check(object, "model")?;
    if let Some((key, own)) = counted(passage, object)? {
        check(&own, &format!("{key}.model"))?;
    }
    for (index, own) in requests(object)?.iter().enumerate() {
        check(own, &format!("requests[{index}].model"))?;
    }
    Ok(())
}

/// The request of which the tokens are to be counted, as Google has it in either of its spellings: its key, and what it is.
fn counted<'a>(
    passage: &Passage,
    object: &'a RawObject<'_>,
) -> Result<Option<(String, RawObject<'a>)>, BadRequest> {
    if !matches!(passage.api, Api::Gemini | Api::Vertex) {
        return Ok(None);
    }
    let is_it = |own: &Cow<'_, str>| contents::plain(own) == "generatecontentrequest";
    let mut keys = object.all_keys().filter(is_it);
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let wrong = |text: &str| bad(Some(&key), format!("`{key}` {text}"));
    if keys.next().is_some() {
        return Err(wrong("is there twice"));
    }
    match object.get(&key) {
        None | Some("null") => Ok(None),
        Some(json) => match RawObject::parse(json) {
            Ok(own) => Ok(Some((key.into_owned(), own))),
            Err(_) => Err(wrong("must be an object")),
        },
    }
}

/// Requests within a request, as Google's vectors have them, each with its model.
fn requests<'a>(object: &'a RawObject<'_>) -> Result<Vec<RawObject<'a>>, BadRequest> {
    let wrong = || bad(Some("requests"), "`requests` must be a list of objects");
    let Some(list) = object.get("requests").filter(|json| *json != "null") else {
        return Ok(Vec::new());
    };
    let list: Vec<&RawValue> = serde_json::from_str(list).map_err(|_| wrong())?;
    list.into_iter()
        .map(|own| RawObject::parse(own.get()).map_err(|_| wrong()))
        .collect()
}

/// What a name of Google's begins with where it is that of a resource, and the name.
fn without_resource(name: &str) -> (&str, &str) {
    let is_resource = ["models/", "publishers/", "projects/"]
        .iter()
        .any(|own| name.starts_with(own));
    match name.rfind("models/").filter(|_| is_resource) {
        Some(at) => name.split_at(at + "models/".len()),
        None => ("", name),
    }
}

/// Without its version, which bodies leave out.
fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn is_the_paths(own: &str, path: &str) -> bool {
    let (_, own) = without_resource(own);
    own == path || own == without_version(path)
}

/// The body's name for the model, which is the path's, for one that the provider knows as `model`.
fn renamed(own: &str, path: &str, model: &str) -> String {
    let (resource, own) = without_resource(own);
    let model = if own == path {
        model
    } else {
        without_version(model)
    };
    format!("{resource}{model}")
}

fn kind(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_form(content_type: &str) -> bool {
    kind(content_type).eq_ignore_ascii_case("multipart/form-data")
}

/// The body for the provider, if it is another one than the client's. Every byte that does not change is as it came.
pub fn written(
    passage: &Passage,
    content_type: &str,
    body: &[u8],
    edit: Edit<'_>,
) -> Result<Option<Vec<u8>>, BadRequest> {
    if !passage.reads_body() {
        return Ok(None);
    }
    if is_form(content_type) {
        let form = Form::read(body, content_type).map_err(|text| bad(None, text))?;
        let named = form.text("model").map_err(|text| bad(Some("model"), text))?;
        let is_other = named.is_some_and(|own| own != edit.model);
        return Ok(is_other.then(|| form.with_model(edit.model)));
    }
    let mut object = object(body)?;
    let mut changes = false;
    if let Some(own) = object.get_string("model") {
        let model = match passage.model() {
            Some(path) if passage.api != Api::Azure => renamed(&own, path, edit.model),
            _ => edit.model.to_owned(),
        };
        if own != model {
            object.set_string("model", &model);
            changes = true;
        }
    }
    if let Some((key, own)) = renamed_counted(passage, &object, edit.model)? {
        object.set(&key, own);
        changes = true;
    }
    if let Some(list) = renamed_requests(passage, &object, edit.model)? {
        object.set("requests", list);
        changes = true;
    }
    if edit.asks_usage {
        ask_usage(&mut object);
        changes = true;
    }
    Ok(changes.then(|| object.to_json().into_bytes()))
}

/// The same of one that is counted: its key, and JSON text, if it changes.
fn renamed_counted(
    passage: &Passage,
    object: &RawObject<'_>,
    model: &str,
) -> Result<Option<(String, String)>, BadRequest> {
    let path = passage.model().filter(|own| *own != model);
    let (Some(path), Some((key, mut own))) = (path, counted(passage, object)?) else {
        return Ok(None);
    };
    let Some(name) = own.get_string("model") else {
        return Ok(None);
    };
    own.set_string("model", &renamed(&name, path, model));
    Ok(Some((key, own.to_json())))
}

/// The same of requests within it: JSON text, if one changes.
fn renamed_requests(
    passage: &Passage,
    object: &RawObject<'_>,
    model: &str,
) -> Result<Option<String>, BadRequest> {
    let Some(path) = passage.model().filter(|own| *own != model) else {
        return Ok(None);
    };
    if passage.api == Api::Azure {
        return Ok(None);
    }
    let mut list = requests(object)?;
    let mut changes = false;
    for own in &mut list {
        if let Some(name) = own.get_string("model") {
            own.set_string("model", &renamed(&name, path, model));
            changes = true;
        }
    }
    let texts: Vec<String> = list.iter().map(RawObject::to_json).collect();
    Ok(changes.then(|| format!("[{}]", texts.join(","))))
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
            r#"{"model":"models/g","tools":[{"functionDeclarations":[]}]}"#,
        );
        let google = google.unwrap();
        assert_eq!((google.model.as_deref(), google.has_extras), (Some("g"), false));
        assert!(
            asked(Api::Gemini, path, r#"{"tools":[{"googleSearch":{}}]}"#)
                .unwrap()
                .has_extras
        );
        assert!(asked(Api::Gemini, path, "[]").is_err());
        let streams = "v1beta/models/g:streamGenerateContent";
        assert!(asked(Api::Gemini, streams, "{}").unwrap().stream);
        // What is about no model may be anything.
        assert_eq!(asked(Api::OpenAi, "v1/files", "{ no json").unwrap().model, None);
    }

    #[test]
    fn a_model_in_the_body_is_the_one_of_the_path() {
        let gemini = "v1beta/models/g:generateContent";
        let vectors = "v1beta/models/g:batchEmbedContents";
        let mistral = "publishers/mistralai/models/m@2411:rawPredict";
        let claude = "publishers/anthropic/models/c@1:rawPredict";
        for (api, path, body, is_taken) in [
            (Api::Gemini, gemini, r#"{"model":"g"}"#, true),
            (Api::Gemini, gemini, r#"{"model":"models/g"}"#, true),
            (Api::Gemini, gemini, r#"{"model":null}"#, true),
            (Api::Gemini, gemini, r#"{"model":"other"}"#, false),
            (Api::Gemini, gemini, r#"{"model":"tunedModels/g"}"#, false),
            (Api::Gemini, gemini, r#"{"Model":"g"}"#, false),
            (Api::Gemini, gemini, r#"{"model":["g"]}"#, false),
            (
                Api::Gemini,
                vectors,
                r#"{"requests":[{"model":"models/g"}]}"#,
                true,
            ),
            (
                Api::Gemini,
                vectors,
                r#"{"requests":[{"model":"models/g"},{"model":"models/x"}]}"#,
                false,
            ),
            (
                Api::Gemini,
                vectors,
                r#"{"requests":{"model":"models/x"}}"#,
                false,
            ),
            (Api::Vertex, mistral, r#"{"model":"m"}"#, true),
            (Api::Vertex, mistral, r#"{"model":"m@2411"}"#, true),
            (Api::Vertex, mistral, r#"{"model":"large"}"#, false),
            (Api::Vertex, claude, r#"{"messages":[]}"#, true),
            (Api::Vertex, claude, r#"{"model":"d"}"#, false),
            (
                Api::Vertex,
                "publishers/google/models/i:predict",
                r#"{"instances":[]}"#,
                true,
            ),
            (
                Api::Vertex,
                "publishers/google/models/i:predict",
                r#"{"model":"x"}"#,
                false,
            ),
            (Api::Bedrock, "model/a.b/invoke", r#"{"inputText":"a"}"#, true),
            (Api::Bedrock, "model/a.b/invoke", r#"{"model":"x"}"#, false),
            // The deployment of the path answers there.
            (
                Api::Azure,
                "openai/deployments/d/chat/completions",
                r#"{"model":"x"}"#,
                true,
            ),
        ] {
            assert_eq!(asked(api, path, body).is_ok(), is_taken, "{path} {body}");
        }
        let counting = asked(
            Api::Vertex,
            "publishers/anthropic/models/count-tokens:rawPredict",
            r#"{"model":"claude-x@1","messages":[]}"#,
        );
        assert_eq!(counting.unwrap().model.as_deref(), Some("claude-x@1"));
    }

    fn sent(api: Api, path: &str, body: &str, model: &str) -> String {
        let passage = Passage::read(api, path, true).unwrap();
        let edit = Edit {
            model,
            asks_usage: false,
        };
        let out = written(&passage, "application/json; charset=x", body.as_bytes(), edit).unwrap();
        out.map_or_else(|| "the same".to_owned(), |own| String::from_utf8(own).unwrap())
    }

    #[test]
    fn another_name_changes_no_other_byte() {
        for (api, path, body, model, wanted) in [
            (
                Api::OpenAi,
                "chat/completions",
                "{ \"a\":1.0,\n\"model\" : \"x\" }",
                "y\"",
                "{ \"a\":1.0,\n\"model\" : \"y\\\"\" }",
            ),
            (
                Api::OpenAi,
                "chat/completions",
                "{ \"model\" : \"x\" }",
                "x",
                "the same",
            ),
            (
                Api::Azure,
                "openai/deployments/d/chat/completions",
                r#"{"model":"x"}"#,
                "e",
                r#"{"model":"e"}"#,
            ),
            (
                Api::Gemini,
                "v1beta/models/g:embedContent",
                r#"{ "model":"models/g","content":{}}"#,
                "h",
                r#"{ "model":"models/h","content":{}}"#,
            ),
            (
                Api::Gemini,
                "v1beta/models/g:batchEmbedContents",
                r#"{"requests":[{"model":"models/g" ,"content":{}},{}]}"#,
                "h",
                r#"{"requests":[{"model":"models/h" ,"content":{}},{}]}"#,
            ),
            (
                Api::Vertex,
                "publishers/mistralai/models/m@1:rawPredict",
                r#"{"model":"m"}"#,
                "n@2",
                r#"{"model":"n"}"#,
            ),
            (
                Api::Gemini,
                "v1beta/models/g:generateContent",
                r#"{"contents":[]}"#,
                "h",
                "the same",
            ),
        ] {
            assert_eq!(sent(api, path, body, model), wanted, "{path} {body}");
        }
    }

    #[test]
    fn what_was_read_is_sent_as_what_it_was_read_as() {
        for kind in ["", "application/json", "Application/JSON; charset=utf-7"] {
            assert!(can_be_read(kind), "{kind}");
            let passage = Passage::read(Api::OpenAi, "chat/completions", true).unwrap();
            let asked = Asked::read(&passage, kind, br#"{"model":"m"}"#).unwrap();
            assert_eq!(asked.content_type.as_deref(), Some(JSON));
        }
        for kind in [
            "application/x-www-form-urlencoded",
            "text/json",
            "text/plain; a=application/json",
        ] {
            assert!(!can_be_read(kind), "{kind}");
        }
        let passage = Passage::read(Api::OpenAi, "audio/transcriptions", true).unwrap();
        let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n";
        let kind = "multipart/form-data; boundary=b; boundary*0=c";
        assert!(can_be_read(kind));
        let asked = Asked::read(&passage, kind, form).unwrap();
        assert_eq!(
            asked.content_type.as_deref(),
            Some("multipart/form-data; boundary=b")
        );
        let files = Passage::read(Api::OpenAi, "files", true).unwrap();
        assert_eq!(Asked::read(&files, "x/y", b"").unwrap().content_type, None);
    }
}
