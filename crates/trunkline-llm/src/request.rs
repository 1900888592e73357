//! A request, read as far as the gateway has to know it, and written anew for a provider with another `model` and nothing
//! else changed.

mod served;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_mcp::depth;
use trunkline_mcp::edit::{RawObject, is_same_key};

use crate::form::Form;
use crate::mcp_tool::{self, McpTool};
use crate::routing::{self, Routing};
use crate::translate::{self, Dialogue, Drops, Target, Way};
use crate::{Dialect, Measure, Spoken};

pub use served::Task;

/// LiteLLM's own members of a body, which it acts upon and no provider knows. None of them has an effect here yet, and a
/// client that sends one relies on it, so that they are refused.
const NOT_SERVED: [&str; 21] = [
    "api_base",
    "api_key",
    "api_version",
    "base_url",
    "cache",
    "caching",
    "content_policy_fallbacks",
    "context_window_fallback_dict",
    "context_window_fallbacks",
    "custom_llm_provider",
    "enable_prompt_caching",
    "extra_headers",
    "guardrails",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "mock_response",
    "policies",
    "prompt_id",
    "prompt_variables",
    "vector_store_ids",
];

/// By what services that route themselves (`OpenRouter`, Vercel, another gateway) are told to answer with a model that nobody decided about.
const ROUTES: [&str; 6] = [
    "models",
    "route",
    "preset",
    "plugins",
    "providerOptions",
    "extra_body",
];

/// Members that are read here.
const READ: [&str; 7] = [
    "model",
    "stream",
    "user",
    "metadata",
    "drop_params",
    "additional_drop_params",
    "previous_response_id",
];

/// A key that is one that something was decided about, but for the case of its letters. There are services to which it is the same, and
/// that would read it instead (S23).
pub(crate) fn check_spelling(object: &RawObject<'_>) -> Result<(), BadRequest> {
    let known = || {
        READ.iter()
            .chain(&routing::MEMBERS)
            .chain(&ROUTES)
            .chain(&NOT_SERVED)
    };
    for key in object.all_keys() {
        if known().any(|own| *own == key) {
            continue;
        }
        if let Some(own) = known().find(|own| is_same_key(own, &key)) {
            let text = format!("`{key}` is `{own}` to some services and not to others: leave it out");
            return Err(bad(Some(own), text));
        }
    }
    Ok(())
}

/// A member of [`ROUTES`] that says something.
pub(crate) fn refuse_routes(object: &RawObject<'_>) -> Result<(), BadRequest> {
    match ROUTES.iter().find(|name| says_something(object, name)) {
        None => Ok(()),
        Some(name) => {
            let text = format!(
                "`{name}` may have another model answer than the one that this key is asked about: leave it out"
            );
            Err(bad(Some(name), text))
        }
    }
}

/// Characters of a model's name.
pub(crate) const MAX_NAME: usize = 512;

/// Why a body is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// What is wrong, for people.
    pub message: String,
    /// The member that it is about.
    pub param: Option<String>,
}

pub(crate) fn bad(param: Option<&str>, message: impl Into<String>) -> BadRequest {
    BadRequest {
        message: message.into(),
        param: param.map(str::to_owned),
    }
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    object: RawObject<'a>,
    /// What it is instead of an object.
    form: Option<Form<'a>>,
    /// The name of the model that was asked for.
    pub model: String,
    /// The answer is to come in pieces.
    pub stream: bool,
    /// Whom it is made for, as the body says it.
    pub user: Option<String>,
    /// The last piece of a stream is to say what it took.
    pub wants_usage: bool,
    /// It asks for more than tokens pay for: searches.
    pub has_extras: bool,
    /// The response that it goes on from, as the client knows it.
    pub previous: Option<String>,
    /// Where it may go, and how often it is tried.
    pub routing: Routing,
    /// How it is written.
    pub dialect: Dialect,
    /// What of it may be left out.
    drops: Drops,
}

/// What is sent to a provider.
#[derive(Debug)]
pub struct Sent {
    /// The body.
    pub body: Vec<u8>,
    /// What it is, if it is no JSON.
    pub content_type: Option<String>,
    /// Members of the client's that were left out.
    pub dropped: Vec<String>,
    /// What the provider has to be told in `anthropic-beta`.
    pub betas: Vec<String>,
    /// How the answer is translated; none where the provider speaks as the client does.
    pub way: Option<Way>,
    /// What else becomes of the answer.
    pub task: Task,
    /// Bodies of requests that belong to it, where the provider takes one text at a time.
    pub more: Vec<Vec<u8>>,
}

impl Sent {
    /// A request without a body.
    pub fn nothing() -> Self {
        Self {
            body: Vec::new(),
            content_type: None,
            dropped: Vec::new(),
            betas: Vec::new(),
            way: None,
            task: Task::Plain,
            more: Vec::new(),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a body in OpenAI's dialect. `model` is that of the path, which counts more than the body's, as in LiteLLM.
    pub fn read(body: &'a [u8], model: Option<&str>) -> Result<Self, BadRequest> {
        Self::read_in(Dialect::OpenAi, body, model)
    }

    /// Reads a body.
    pub fn read_in(dialect: Dialect, body: &'a [u8], model: Option<&str>) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| bad(None, "the body is not UTF-8"))?;
        if !depth::within(body, depth::MAX_DEPTH) {
            return Err(bad(None, "the body is nested too deep"));
        }
        let mut object = RawObject::parse(text)
            .map_err(|error| bad(None, format!("the body is no JSON object: {error}")))?;
        if let Some(name) = NOT_SERVED.iter().find(|name| says_something(&object, name)) {
            let text = format!("`{name}` is LiteLLM's own and is not served by this gateway: leave it out");
            return Err(bad(Some(name), text));
        }
        check_spelling(&object)?;
        refuse_routes(&object)?;
        if dialect != Dialect::OpenAi {
            refuse_models_of_tools(&object)?;
        }
        let mut previous = None;
        if dialect == Dialect::Responses {
            refuse_kept_things(&object)?;
            if says_something(&object, PREVIOUS) {
                previous = Some(text_of(&object, PREVIOUS)?);
            }
        }
        let named = match object.get("model") {
            None | Some("null") => None,
            Some(_) => Some(text_of(&object, "model")?),
        };
        let model = named_model(model.map(str::to_owned).or(named))?;
        let stream = match object.get("stream") {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(bad(Some("stream"), "`stream` must be true or false")),
        };
        let user = user(&object, dialect)?;
        let drops = drops(&mut object)?;
        let routing = routing::take(&mut object)?;
        let wants_usage = wants_usage(&object);
        let has_extras = has_extras(&object, dialect);
        Ok(Self {
            object,
            form: None,
            model,
            stream,
            user,
            wants_usage,
            has_extras,
            previous,
            routing,
            dialect,
            drops,
        })
    }

    /// A request about a response that a provider keeps: it has no body.
    pub fn about_kept(model: String, stream: bool) -> Self {
        Self {
            object: RawObject::default(),
            form: None,
            model,
            stream,
            user: None,
            wants_usage: true,
            has_extras: false,
            previous: None,
            routing: Routing::default(),
            dialect: Dialect::Responses,
            drops: Drops::default(),
        }
    }

    /// Reads a body that is a form. `content_type` is the header; `model` is that of the path.
    pub fn read_form(body: &'a [u8], content_type: &str, model: Option<&str>) -> Result<Self, BadRequest> {
        let form = Form::read(body, content_type).map_err(|text| bad(None, text))?;
        let refused = NOT_SERVED
            .iter()
            .chain(&ROUTES)
            .chain(&routing::MEMBERS)
            .chain(&READ[4..]);
        for name in form.names() {
            if let Some(own) = refused.clone().find(|own| is_same_key(own, name)) {
                let text = format!("`{name}` is not served by this gateway: leave it out");
                return Err(bad(Some(own), text));
            }
            if let Some(own) = ["model", "stream", "user"]
                .iter()
                .find(|own| **own != name && is_same_key(own, name))
            {
                let text = format!("`{name}` is `{own}` to some services and not to others: leave it out");
                return Err(bad(Some(own), text));
            }
        }
        let text = |name: &str| form.text(name).map_err(|text| bad(Some(name), text));
        let named = text("model")?.map(str::to_owned);
        let model = named_model(model.map(str::to_owned).or(named))?;
        // Forms of Python's have capitals.
        let stream = text("stream")?.is_some_and(|own| own.eq_ignore_ascii_case("true"));
        let user = text("user")?.filter(|own| !own.is_empty()).map(str::to_owned);
        Ok(Self {
            form: Some(form),
            user,
            ..Self::about_kept(model, stream)
        }
        .speaking(Dialect::OpenAi))
    }

    fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// Its members, as they came.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.object.members()
    }

    /// One of them.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.object.get(name)
    }

    /// What it asks for that is not counted in tokens: characters to be said aloud, pictures.
    pub fn measure(&self) -> Measure {
        let letters = self.object.get_string("input");
        let pictures = self.object.get("n").and_then(|count| count.parse().ok());
        Measure {
            letters: letters.map(|text| text.chars().count() as u64),
            pictures: Some(pictures.unwrap_or(1)),
            ..Measure::default()
        }
    }

    /// Goes on from a response that the provider knows as `id`.
    pub fn go_on_from(&mut self, id: &str) {
        self.object.set_string(PREVIOUS, id);
    }

    /// Takes the tools of the gateway's own MCP servers out. `host` is where the request came to: an address there is the gateway's.
    pub fn take_mcp_tools(&mut self, host: Option<&str>) -> Result<Vec<McpTool>, BadRequest> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, default, rename = "type")]
            kind: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            server_url: Option<Cow<'a, str>>,
        }
        let Some(tools) = self.object.get("tools").map(str::to_owned) else {
            return Ok(Vec::new());
        };
        // What is no list of such objects is the provider's to judge.
        let tools: Vec<&RawValue> = serde_json::from_str(&tools).unwrap_or_default();
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (index, tool) in tools.into_iter().enumerate() {
            let head = serde_json::from_str::<Head<'_>>(tool.get()).ok();
            let head = head.filter(|head| head.kind.as_deref().is_some_and(mcp_tool::is_mcp));
            let url = head.as_ref().and_then(|head| head.server_url.as_deref());
            match url.and_then(|url| mcp_tool::path_of(url, host)) {
                Some(path) => own.push(McpTool::read(tool.get(), &format!("tools[{index}]"), path)?),
                None => others.push(tool.get()),
            }
        }
        if !own.is_empty() {
            if others.is_empty() {
                self.object.remove("tools");
            } else {
                self.object.set("tools", format!("[{}]", others.join(",")));
            }
        }
        Ok(own)
    }

    /// The conversation that it begins, for who leads it on.
    pub fn dialogue(&self) -> Result<Dialogue, BadRequest> {
        let mut object = self.object.clone();
        for name in &self.drops.names {
            object.remove(name);
        }
        Dialogue::read(&object, self.dialect)
    }

    /// What is sent to a provider of a conversation that this request began.
    pub fn send_dialogue(
        &self,
        dialogue: &Dialogue,
        target: &Target<'_>,
        drops: &Drops,
    ) -> Result<Sent, BadRequest> {
        let mut own = dialogue.clone();
        let mut dropped = own.without(&drops.names);
        let drops = Drops {
            all: self.drops.all || drops.all,
            names: Vec::new(),
        };
        let written = own.write(target, &drops)?;
        dropped.extend(written.dropped);
        Ok(Sent {
            body: written.body.into(),
            dropped,
            betas: written.betas,
            way: Some(written.way),
            ..Sent::nothing()
        })
    }

    /// What is sent to a provider: the body with another name for the model, or its translation. `renames` are members that the
    /// provider knows by another name; `drops` is what may be left out for this deployment.
    pub fn send(
        &self,
        target: &Target<'_>,
        renames: &[(&str, &str)],
        drops: &Drops,
    ) -> Result<Sent, BadRequest> {
        if let Some(form) = &self.form {
            return Ok(Sent {
                body: form.with_model(target.model),
                content_type: Some(form.content_type()),
                ..Sent::nothing()
            });
        }
        let mut object = self.object.clone();
        let mut dropped = Vec::new();
        for name in self.drops.names.iter().chain(&drops.names) {
            if object.remove(name) {
                dropped.push(name.clone());
            }
        }
        if target.dialect == Spoken::By(self.dialect) {
            // Who says unasked what a stream took takes no such member, and the client gets what it asks for.
            let is_chat = self.dialect == Dialect::OpenAi;
            if is_chat && !target.asks_usage && object.remove("stream_options") {
                dropped.push("stream_options".to_owned());
            }
            let request = Self {
                object,
                form: None,
                model: self.model.clone(),
                user: None,
                previous: None,
                routing: Routing::default(),
                drops: Drops::default(),
                ..*self
            };
            return Ok(Sent {
                // Streams of Anthropic's dialect say it anyway, and know no such member.
                body: request
                    .body(target.model, renames, target.asks_usage && is_chat)
                    .into_bytes(),
                dropped,
                ..Sent::nothing()
            });
        }
        let drops = Drops {
            all: self.drops.all || drops.all,
            names: Vec::new(),
        };
        let translated = translate::request(&object, self.dialect, target, &drops)?;
        dropped.extend(translated.dropped);
        Ok(Sent {
            body: translated.body.into_bytes(),
            dropped,
            betas: translated.betas,
            way: Some(translated.way),
            ..Sent::nothing()
        })
    }

    /// The body for a provider that knows the model as `model`. Every other byte is as it came, but for members that the
    /// provider knows by another name: `renames` has both.
    ///
    /// `asks_usage`: a stream is to say what it took, whether the client asked for it or not.
    pub fn body(&self, model: &str, renames: &[(&str, &str)], asks_usage: bool) -> String {
        let mut object = self.object.clone();
        object.set_string("model", model);
        if asks_usage && self.stream && !self.wants_usage {
            ask_usage(&mut object);
        }
        for (name, other) in renames {
            // Whoever says both is not told apart here.
            if let (Some(value), None) = (object.get(name).map(str::to_owned), object.get(other)) {
                object.remove(name);
                object.set(other, value);
            }
        }
        object.to_json()
    }
}

fn named_model(model: Option<String>) -> Result<String, BadRequest> {
    let model = model
        .filter(|model| !model.is_empty())
        .ok_or_else(|| bad(Some("model"), "you must provide a model parameter"))?;
    if model.chars().count() > MAX_NAME {
        return Err(bad(Some("model"), "the name of the model is too long"));
    }
    Ok(model)
}

/// Whom it is made for. Anthropic's is in `metadata`.
fn user(object: &RawObject<'_>, dialect: Dialect) -> Result<Option<String>, BadRequest> {
    let user = match dialect {
        Dialect::OpenAi | Dialect::Responses => match object.get("user") {
            None | Some("null") => None,
            Some(_) => Some(text_of(object, "user")?),
        },
        Dialect::Anthropic => match object.get("metadata").filter(|json| *json != "null") {
            None => None,
            Some(metadata) => {
                let metadata = RawObject::parse(metadata).map_err(|error| {
                    bad(Some("metadata"), format!("`metadata` must be an object: {error}"))
                })?;
                if let Some(key) = metadata
                    .all_keys()
                    .find(|key| *key != "user_id" && is_same_key("user_id", key))
                {
                    let text =
                        format!("`{key}` is `user_id` to some services and not to others: leave it out");
                    return Err(bad(Some("metadata"), text));
                }
                match metadata.get("user_id") {
                    None | Some("null") => None,
                    Some(_) => Some(text_of(&metadata, "user_id")?),
                }
            }
        },
    };
    Ok(user.filter(|user| !user.is_empty()))
}

/// LiteLLM's `drop_params` and `additional_drop_params`, which no provider knows: they are taken out.
fn drops(object: &mut RawObject<'_>) -> Result<Drops, BadRequest> {
    let mut drops = Drops::default();
    match object.get("drop_params") {
        None | Some("null" | "false") => {}
        Some("true") => drops.all = true,
        Some(_) => return Err(bad(Some("drop_params"), "`drop_params` must be true or false")),
    }
    if let Some(names) = object
        .get("additional_drop_params")
        .filter(|json| *json != "null")
    {
        drops.names = serde_json::from_str(names).map_err(|_| {
            let text = "`additional_drop_params` must be a list of names of members of the request";
            bad(Some("additional_drop_params"), text)
        })?;
    }
    object.remove("drop_params");
    object.remove("additional_drop_params");
    Ok(drops)
}

/// Of `stream_options`.
const INCLUDE_USAGE: &str = "include_usage";

pub(crate) fn wants_usage(object: &RawObject<'_>) -> bool {
    let options = object.get("stream_options");
    let options = options.and_then(|options| RawObject::parse(options).ok());
    options.is_some_and(|options| options.get(INCLUDE_USAGE) == Some("true"))
}

/// What is no object of options is the provider's to refuse.
pub(crate) fn ask_usage(object: &mut RawObject<'_>) {
    let options = object.get("stream_options").map(str::to_owned);
    let asked = match options.as_deref() {
        None | Some("null") => format!("{{\"{INCLUDE_USAGE}\":true}}"),
        Some(options) => match RawObject::parse(options) {
            Ok(mut options) => {
                options.set(INCLUDE_USAGE, "true".to_owned());
                options.to_json()
            }
            Err(_) => return,
        },
    };
    object.set("stream_options", asked);
}

/// Tools of responses that tokens pay for: what the client runs itself, and what is the client's elsewhere.
const PAID_BY_TOKENS: [&str; 8] = [
    "function",
    "namespace",
    "custom",
    "mcp",
    "local_shell",
    "apply_patch",
    "computer_use_preview",
    "tool_search",
];

/// Whether it asks for more than tokens pay for. An answer in the background is more than its own answer says.
pub(crate) fn has_extras(object: &RawObject<'_>, dialect: Dialect) -> bool {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<Cow<'a, str>>,
    }
    // What is no list of such objects is the provider's to refuse.
    let tools: Vec<Tool<'_>> = object
        .get("tools")
        .and_then(|tools| serde_json::from_str(tools).ok())
        .unwrap_or_default();
    let is_paid_apart = |kind: &str| match dialect {
        // Tools that the client runs have types of Anthropic's, too.
        Dialect::Anthropic => kind.starts_with("web_search_"),
        // For an Anthropic model they are Anthropic's, and for all others a wish that most refuse.
        Dialect::OpenAi => !PAID_BY_TOKENS.contains(&kind) && !is_run_by_clients(kind),
        Dialect::Responses => !PAID_BY_TOKENS.contains(&kind),
    };
    let kinds = tools.iter().filter_map(|tool| tool.kind.as_deref());
    let in_background = dialect == Dialect::Responses && says_something(object, "background");
    in_background
        || kinds.into_iter().any(is_paid_apart)
        // An empty object is a search as well.
        || SEARCHES.iter().any(|name| object.get(name).is_some_and(|own| own != "null"))
}

/// Members by which searches are asked for: OpenAI's and xAI's.
const SEARCHES: [&str; 2] = ["web_search_options", "search_parameters"];

/// Tools of Anthropic's that the client runs, by how their types begin: tokens pay for them.
fn is_run_by_clients(kind: &str) -> bool {
    ["bash_", "text_editor_", "computer_", "memory_"]
        .iter()
        .any(|own| kind.starts_with(own))
}

/// Whether a member is there and switches anything on.
fn says_something(object: &RawObject<'_>, name: &str) -> bool {
    let value = object.get(name);
    value.is_some_and(|value| !matches!(value, "null" | "false" | "[]" | "{}"))
}

fn text_of(object: &RawObject<'_>, name: &str) -> Result<String, BadRequest> {
    object
        .get_string(name)
        .ok_or_else(|| bad(Some(name), format!("`{name}` must be a string")))
}

/// By what a response goes on from another.
const PREVIOUS: &str = "previous_response_id";

/// What a provider keeps and everybody with its credential could use, while nothing says whose it is: nobody shall read in somebody else's
/// answer what that one said. Ids of responses are sealed for whom they were made; these are not.
fn refuse_kept_things(object: &RawObject<'_>) -> Result<(), BadRequest> {
    for name in ["conversation", "prompt"] {
        if let Some(key) = object.all_keys().find(|key| is_same_key(name, key))
            && says_something(object, &key)
        {
            let text = format!(
                "`{name}` names something that the provider keeps, and the gateway cannot tell whose it is: send the items themselves, or go on with `previous_response_id`"
            );
            return Err(bad(Some(name), text));
        }
    }
    // What is no list of objects is a text, or the provider's to judge.
    let items: Vec<&RawValue> = serde_json::from_str(object.get("input").unwrap_or("[]")).unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        let Ok(item) = RawObject::parse(item.get()) else {
            continue;
        };
        let kind = item.get_string("type");
        let is_bare = kind.is_none() && item.get("role").is_none() && item.get("id").is_some();
        if is_bare || kind.as_deref() == Some("item_reference") {
            let path = format!("input[{index}]");
            let text = format!(
                "`{path}` is a reference to an item that the provider keeps, and the gateway cannot tell whose it is: send the item itself (with `store: false`), or go on with `previous_response_id`"
            );
            return Err(bad(Some(&path), text));
        }
    }
    Ok(())
}

/// Tools of Anthropic's that ask a model of their own (an advisor), and OpenAI's that paint with one: it would be one that nobody decided about.
pub(crate) fn refuse_models_of_tools(object: &RawObject<'_>) -> Result<(), BadRequest> {
    let tools = object.get("tools").unwrap_or("[]");
    // What is no list is the provider's to judge.
    let tools: Vec<&RawValue> = serde_json::from_str(tools).unwrap_or_default();
    for (index, tool) in tools.iter().enumerate() {
        let path = format!("tools[{index}]");
        let tool = RawObject::parse(tool.get())
            .map_err(|error| bad(Some(&path), format!("`{path}` must be an object: {error}")))?;
        if tool.all_keys().any(|key| is_same_key("model", &key)) {
            let text = format!("`{path}` names a model that this key is not asked about: leave it out");
            return Err(bad(Some(&path), text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_but_the_model_is_kept() {
        let body = "{\n  \"messages\" : [ {\"role\":\"user\",\"content\":\"\\u00e9 \u{1f600}\"} ],\"model\":\"mine\",  \"temperature\":1.0,\"x\":1e-7 }";
        let request = Request::read(body.as_bytes(), None).unwrap();
        assert_eq!(request.model, "mine");
        assert_eq!(
            request.body("gpt-4o", &[], false),
            body.replace("\"mine\"", "\"gpt-4o\"")
        );
    }

    #[test]
    fn the_path_names_the_model_first() {
        let request = Request::read(br#"{"model":"body","stream":true,"user":"u"}"#, Some("path")).unwrap();
        assert_eq!((request.model.as_str(), request.stream), ("path", true));
        assert_eq!(request.user.as_deref(), Some("u"));
        let request = Request::read(br#"{"messages":[]}"#, Some("path")).unwrap();
        assert_eq!(request.body("x", &[], false), r#"{"messages":[],"model":"x"}"#);
        let request = Request::read(br#"{"model":"m","max_completion_tokens":5}"#, None).unwrap();
        let renames = [("max_completion_tokens", "max_tokens"), ("seed", "random_seed")];
        assert_eq!(
            request.body("m", &renames, false),
            r#"{"model":"m","max_tokens":5}"#
        );
    }

    #[test]
    fn a_stream_says_what_it_took_whoever_asked() {
        for (body, wanted) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options": null ,"model":"m","stream":true}"#,
                r#"{"stream_options": {"include_usage":true} ,"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":7}"#,
                r#"{"model":"m","stream":true,"stream_options":7}"#,
            ),
            (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        ] {
            let request = Request::read(body.as_bytes(), None).unwrap();
            assert_eq!(request.body("m", &[], true), wanted);
            assert_eq!(request.body("m", &[], false), body);
            assert_eq!(request.wants_usage, body.contains("usage\":true"), "{body}");
        }
        let extras = |body: &str| Request::read(body.as_bytes(), None).unwrap().has_extras;
        assert!(extras(r#"{"model":"m","web_search_options":{}}"#));
        assert!(!extras(r#"{"model":"m","web_search_options":null}"#));
        assert!(extras(r#"{"model":"m","search_parameters":{"mode":"on"}}"#));
        assert!(extras(
            r#"{"model":"m","tools":[{"type":"web_search_20250305","name":"web_search"}]}"#
        ));
        assert!(!extras(
            r#"{"model":"m","tools":[{"type":"function","function":{"name":"web_search_x"}},{"type":"bash_20250124"}]}"#
        ));
        for (kind, wanted) in [
            (r"web_search_20250305", true),
            (r"\u0077eb_search_20250305", true),
            (r"custom", false),
            (r"bash_20250124", false),
        ] {
            let body = format!(r#"{{"model":"m","tools":[{{"name":"web_search_x"}},{{"type":"{kind}"}}]}}"#);
            let request = Request::read_in(Dialect::Anthropic, body.as_bytes(), None).unwrap();
            assert_eq!(request.has_extras, wanted, "{body}");
        }
        for (body, wanted) in [
            (
                r#"{"model":"m","tools":[{"type":"function","name":"web_search_x"},{"type":"namespace"}],"background":false}"#,
                false,
            ),
            (
                r#"{"model":"m","tools":[{"type":"function"},{"type":"web_search"}]}"#,
                true,
            ),
            (r#"{"model":"m","tools":[{"type":"code_interpreter"}]}"#, true),
            (r#"{"model":"m","background":true}"#, true),
            (r#"{"model":"m","tools":null}"#, false),
        ] {
            let request = Request::read_in(Dialect::Responses, body.as_bytes(), None).unwrap();
            assert_eq!(request.has_extras, wanted, "{body}");
        }
    }

    #[test]
    fn what_may_be_left_out_is_litellms_to_say_and_goes_nowhere() {
        let body = br#"{"model":"m", "drop_params":true,"seed":1,"additional_drop_params":["seed"],"x":2}"#;
        let request = Request::read(body, None).unwrap();
        let target = Target {
            dialect: Spoken::By(Dialect::OpenAi),
            provider: "openai",
            model: "gpt",
            max_tokens: None,
            asks_usage: false,
        };
        let drops = Drops {
            all: false,
            names: vec!["x".to_owned(), "y".to_owned()],
        };
        let sent = request.send(&target, &[], &drops).unwrap();
        assert_eq!(sent.body, br#"{"model":"gpt"}"#);
        assert_eq!(
            (sent.dropped, sent.way),
            (vec!["seed".to_owned(), "x".to_owned()], None)
        );
    }

    #[test]
    fn who_says_unasked_what_a_stream_took_is_not_asked() {
        let target = Target {
            dialect: Spoken::By(Dialect::OpenAi),
            provider: "cohere",
            model: "command",
            max_tokens: None,
            asks_usage: false,
        };
        let sent = |client, body: &str| {
            let request = Request::read_in(client, body.as_bytes(), None).unwrap();
            let sent = request.send(&target, &[], &Drops::default()).unwrap();
            (String::from_utf8(sent.body).unwrap(), sent.dropped)
        };
        let chat = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
        let (body, dropped) = sent(Dialect::OpenAi, chat);
        assert_eq!(body, r#"{"model":"command","stream":true,"messages":[]}"#);
        assert_eq!(dropped, ["stream_options"]);
        let message =
            r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
        let (body, dropped) = sent(Dialect::Anthropic, message);
        assert!(body.contains("\"stream\":true"), "{body}");
        assert!(!body.contains("stream_options") && dropped.is_empty(), "{body}");
    }

    #[test]
    fn tools_of_the_gateways_servers_are_taken_out_and_others_stay() {
        let body = br#"{"model":"m","tools":[{"type":"function","function":{"name":"litellm_proxy"}}, {"type":"mcp","server_url":"litellm_proxy/mcp/a"},{"type":"mcp","server_url":"https://other.example/mcp"},{"type":"\u006dcp","server_url":"http://gw/mcp/b"}]}"#;
        let mut request = Request::read(body, None).unwrap();
        let own = request.take_mcp_tools(Some("gw")).unwrap();
        assert_eq!(
            own.iter().map(|own| own.path.as_str()).collect::<Vec<_>>(),
            ["/mcp/a", "/mcp/b"]
        );
        assert_eq!(
            request.body("m", &[], false),
            r#"{"model":"m","tools":[{"type":"function","function":{"name":"litellm_proxy"}},{"type":"mcp","server_url":"https://other.example/mcp"}]}"#
        );
        let body = br#"{"model":"m","tools":[{"type":"mcp","server_url":"litellm_proxy"}]}"#;
        let mut request = Request::read(body, None).unwrap();
        assert_eq!(request.take_mcp_tools(None).unwrap().len(), 1);
        assert_eq!(request.body("m", &[], false), r#"{"model":"m"}"#);
        let none = br#"{"model":"m","tools":[1, {"type":"function"}]}"#;
        let mut request = Request::read(none, None).unwrap();
        assert!(request.take_mcp_tools(None).unwrap().is_empty());
        assert_eq!(request.body("m", &[], false).as_bytes(), none);
    }

    #[test]
    fn of_a_message_it_is_read_whom_it_is_for_and_that_no_other_model_is_asked() {
        let read = |body: &'static str| Request::read_in(Dialect::Anthropic, body.as_bytes(), None);
        let of = |body| read(body).unwrap().user;
        assert_eq!(
            of(r#"{"model":"m","user":"u","metadata":{"user_id":"v"}}"#).as_deref(),
            Some("v")
        );
        assert_eq!(of(r#"{"model":"m","metadata":{"user_id":null}}"#), None);
        for body in [
            r#"{"model":"m","tools":[{"name":"a"},{"type":"advisor_20260301","model":"claude-opus-4-6"}]}"#,
            r#"{"model":"m","tools":[{"type":"advisor_20260301","\u004dodel":"claude-opus-4-6"}]}"#,
            r#"{"model":"m","tools":[{"type":"x","type":"y"}]}"#,
            r#"{"model":"m","metadata":{"user_id":7}}"#,
            r#"{"model":"m","metadata":{"User_Id":"u"}}"#,
            r#"{"model":"m","metadata":[]}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (body, param) in [
            (r"{}", Some("model")),
            (r#"{"model":""}"#, Some("model")),
            (r#"{"model":7}"#, Some("model")),
            (r#"{"model":"m","stream":"yes"}"#, Some("stream")),
            (r#"{"model":"m","user":7}"#, Some("user")),
            (r#"{"model":"m","drop_params":1}"#, Some("drop_params")),
            (
                r#"{"model":"m","additional_drop_params":"seed"}"#,
                Some("additional_drop_params"),
            ),
            (r#"{"model":"m","guardrails":["a"]}"#, Some("guardrails")),
            (r#"{"model":"m","api_base":"http://x"}"#, Some("api_base")),
            (r#"{"model":"m","mock_response":"x"}"#, Some("mock_response")),
            (r#"{"model":"m","models":["n"]}"#, Some("models")),
            (r#"{"model":"m","MODEL":"n"}"#, Some("model")),
            (r#"{"model":"m","\u004dodel":"n"}"#, Some("model")),
            (r#"{"model":"m","Api_Base":"http://x"}"#, Some("api_base")),
            (
                r#"{"model":"m","provideroptions":{"gateway":{"models":["n"]}}}"#,
                Some("providerOptions"),
            ),
            (
                r#"{"model":"m","providerOptions":{"gateway":{"models":["n"]}}}"#,
                Some("providerOptions"),
            ),
            (r#"{"model":"m","route":"fallback"}"#, Some("route")),
            (
                r#"{"model":"m","extra_body":{"models":["n"]}}"#,
                Some("extra_body"),
            ),
            (r#"{"model":"m","model":"n"}"#, None),
            (r"[]", None),
        ] {
            let error = Request::read(body.as_bytes(), None).unwrap_err();
            assert_eq!(error.param.as_deref(), param, "{body}: {error}");
        }
        for body in [
            r#"{"model":"m","guardrails":[],"fallbacks":null}"#,
            r#"{"model":"m","tools":[{"type":"function","function":{"name":"litellm_proxy"}}]}"#,
        ] {
            assert!(Request::read(body.as_bytes(), None).is_ok(), "{body}");
        }
        let deep = format!(
            "{{\"model\":\"m\",\"x\":{}1{}}}",
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(Request::read(deep.as_bytes(), None).is_err());
        assert!(Request::read(b"\xff", None).is_err());
    }
}
