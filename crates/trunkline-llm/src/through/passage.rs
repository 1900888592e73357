//! One request by its path: where it goes, where it names its model, and what reads its answer.
//!
//! **Invariant:** what a client writes stays below the address of the provider, and within its segment: a path is taken apart and decoded
//! before it is looked at, what could lead out of it is refused, and it is escaped anew.
//! **Invariant:** a path names a model only if the model of the name, and nothing else, does what is asked. About all others nobody can say
//! whose or which they are.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Api, Shape};
use crate::place::segment;
use crate::provider::VERTEX_ANTHROPIC;
use crate::request::MAX_NAME;
use crate::{Endpoint, Place};

/// Bytes of a path, and segments.
const LONGEST: (usize, usize) = (4096, 32);
/// Paths of OpenAI's dialect, beside the endpoints, whose body names the model.
const NAMED: [&str; 9] = [
    "audio/translations",
    "classify",
    "fim/completions",
    "images/edits",
    "images/variations",
    "ocr",
    "pooling",
    "score",
    "summarize",
];
/// The same, and they cost nothing.
const COUNTED: [&str; 2] = ["tokenize", "detokenize"];
/// Members of a query by which providers are told who asks: that is the gateway's to say.
const CREDENTIALS: [&str; 5] = ["key", "api_key", "api-key", "access_token", "oauth_token"];
/// Kinds of answers of Google's that can be read.
const ALTS: [&str; 3] = ["json", "sse", "media"];

/// Where the name of the model is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// In a segment, before this end.
    Path(usize, String),
    /// In the body's `model`.
    Body,
    /// Nobody can tell.
    Nowhere,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct What {
    name: Name,
    endpoint: Option<Endpoint>,
    shape: Option<Shape>,
    is_free: bool,
}

impl What {
    /// About no model that anybody can tell.
    fn unknown() -> Self {
        Self {
            name: Name::Nowhere,
            endpoint: None,
            shape: None,
            is_free: false,
        }
    }

    fn of(name: Name) -> Self {
        Self {
            name,
            ..Self::unknown()
        }
    }

    fn paid(self, endpoint: Endpoint, shape: Shape) -> Self {
        Self {
            endpoint: Some(endpoint),
            shape: Some(shape),
            ..self
        }
    }

    fn free(self) -> Self {
        Self {
            is_free: true,
            ..self
        }
    }
}

/// A request, by its path.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Whose it is.
    pub api: Api,
    /// Below the root, decoded.
    segments: Vec<String>,
    /// The revision of the API, where the gateway says what follows it.
    version: &'static str,
    what: What,
}

impl Passage {
    /// Reads the path behind the name of the API, as it came. `writes`: the method does more than to show or to delete. Errors say what is
    /// wrong with it.
    pub fn read(api: Api, path: &str, writes: bool) -> Result<Self, String> {
        let mut segments = taken_apart(api, path)?;
        let mut version = "";
        if api == Api::Vertex {
            (version, segments) = within_project(segments)?;
        } else if is_below_version(api) && segments.first().is_some_and(|own| own == "v1") {
            segments.remove(0);
        }
        if segments.is_empty() {
            return Err("the path names nothing of the provider's API".to_owned());
        }
        let own: Vec<&str> = segments.iter().map(String::as_str).collect();
        let what = what(api, &own)?;
        let what = if writes { what } else { What::unknown().free() };
        let own = Self {
            api,
            segments,
            version,
            what,
        };
        match own.model() {
            Some("") => Err("the path names no model".to_owned()),
            Some(model) if model.chars().count() > MAX_NAME => {
                Err("the name of the model is too long".to_owned())
            }
            _ => Ok(own),
        }
    }

    /// The model that the path names.
    pub fn model(&self) -> Option<&str> {
        match &self.what.name {
            Name::Path(index, end) => self.segments.get(*index)?.strip_suffix(end.as_str()),
            Name::Body | Name::Nowhere => None,
        }
    }

    /// Whether the body names it.
    pub fn is_named_by_body(&self) -> bool {
        self.what.name == Name::Body
    }

    /// Whether the body has to be read before anybody can say what is asked for. Google's have the model in what is counted, too.
    pub fn reads_body(&self) -> bool {
        let has_it_too = !self.is_free() || matches!(self.api, Api::Gemini | Api::Vertex);
        self.is_named_by_body() || self.model().is_some() && has_it_too
    }

    /// Whether a body that names the model is in Anthropic's dialect: in Google's cloud no others do.
    pub(super) fn is_anthropics(&self) -> bool {
        self.api == Api::Vertex && self.is_named_by_body()
    }

    /// Whether the path says that the answer comes in pieces.
    pub fn is_stream(&self) -> bool {
        let last = self.segments.last().map_or("", String::as_str);
        let how = last.rsplit(':').next().unwrap_or_default();
        matches!(
            how,
            "streamGenerateContent" | "streamRawPredict" | "converse-stream" | "invoke-with-response-stream"
        )
    }

    /// What is asked for, where that is known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.what.endpoint
    }

    /// How the answer says what it took, where that is known.
    pub fn shape(&self) -> Option<Shape> {
        self.what.shape
    }

    /// Whether the provider asks no money for it.
    pub fn is_free(&self) -> bool {
        self.what.is_free
    }

    /// The prefixes of deployments that can do it, the one first whose credentials are taken where no deployment is named.
    pub fn providers(&self) -> &'static [&'static str] {
        let is_anthropics = self.segments.get(1).is_some_and(|own| own == "anthropic");
        match self.api {
            Api::Vertex if is_anthropics => &[VERTEX_ANTHROPIC],
            Api::Vertex => &["vertex_ai"],
            other => other.providers(),
        }
    }

    /// The address at the provider. `model`: its name there, if it is another one than the path's.
    pub fn url(&self, place: &Place<'_>, model: Option<&str>, query: Option<&str>) -> String {
        let mut url = root(self.api, place.api_base);
        if self.api == Api::Vertex {
            let (project, location) = (
                place.project.unwrap_or_default(),
                place.location.unwrap_or_default(),
            );
            for part in [self.version, "projects", project, "locations", location] {
                url.push('/');
                url.push_str(&segment(part));
            }
        }
        for (index, own) in self.segments.iter().enumerate() {
            url.push('/');
            match (&self.what.name, model) {
                (Name::Path(at, end), Some(model)) if *at == index => {
                    url.push_str(&self.escaped(&format!("{model}{end}")));
                }
                _ => url.push_str(&self.escaped(own)),
            }
        }
        if let Some(query) = query.filter(|own| !own.is_empty()) {
            url.push('?');
            url.push_str(query);
        }
        url
    }

    /// Google's methods are behind a colon, which AWS escapes.
    fn escaped(&self, text: &str) -> String {
        match self.api {
            Api::Bedrock => segment(text),
            _ => segment(text).replace("%3A", ":"),
        }
    }

    /// The query for the provider: without what says who asks, and what `is_secret`. Errors name a member that changes more than the
    /// answer.
    pub fn query(
        &self,
        raw: Option<&str>,
        is_secret: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, String> {
        let mut kept = Vec::new();
        for part in raw.unwrap_or_default().split('&').filter(|own| !own.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |own: &str| {
                let own = own.replace('+', " ");
                let decoded = percent_decode_str(&own).decode_utf8();
                decoded
                    .map(Cow::into_owned)
                    .map_err(|_| "the query is not UTF-8".to_owned())
            };
            let (name, value) = (text(name)?, text(value)?);
            let is_googles = matches!(self.api, Api::Gemini | Api::Vertex);
            if is_googles && self.changes_more(&name, &value) {
                return Err(format!(
                    "`{}` of the query is not handed on: leave it out",
                    shown(&name)
                ));
            }
            let is_ours = CREDENTIALS.iter().any(|own| name.eq_ignore_ascii_case(own));
            if !is_ours && !is_secret(&value) && !is_secret(&name) {
                kept.push(Cow::Borrowed(part));
            }
        }
        if self.api == Api::Bedrock {
            // As it is signed.
            for part in kept.iter_mut().filter(|own| !own.contains('=')) {
                part.to_mut().push('=');
            }
            kept.sort_unstable();
        }
        Ok((!kept.is_empty()).then(|| kept.join("&")))
    }
}

impl Passage {
    /// Whether a member of Google's query does more than to ask: Google takes headers, methods and who pays from there, and leaves out of an
    /// answer what it took.
    fn changes_more(&self, name: &str, value: &str) -> bool {
        let is = |own: &str| name.eq_ignore_ascii_case(own);
        name.starts_with('$')
            || ["userProject", "quotaUser", "callback"].iter().any(|own| is(own))
            || is("fields") && self.shape().is_some()
            || is("alt") && !ALTS.contains(&value)
    }
}

/// What of a name can be shown.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Whether everything of an API is below one version, which its address has.
fn is_below_version(api: Api) -> bool {
    matches!(api, Api::OpenAi | Api::Anthropic | Api::Mistral)
}

/// The address that paths are below.
fn root(api: Api, base: &str) -> String {
    let base = base.trim_end_matches('/');
    let without = |ends: &[&str]| {
        let own = ends
            .iter()
            .fold(base, |own, end| own.strip_suffix(end).unwrap_or(own));
        own.to_owned()
    };
    match api {
        Api::OpenAi | Api::Mistral | Api::Bedrock | Api::Vertex => base.to_owned(),
        Api::Anthropic => format!("{}/v1", without(&["/messages", "/v1"])),
        Api::Gemini => without(&["/v1beta"]),
        Api::Vllm => without(&["/v1"]),
        Api::Cohere => without(&["/rerank", "/chat", "/embed", "/v1", "/v2", "/compatibility"]),
        Api::Azure => {
            let base = base.split("/openai/deployments/").next().unwrap_or(base);
            let base = base.strip_suffix("/v1").unwrap_or(base);
            base.strip_suffix("/openai").unwrap_or(base).to_owned()
        }
    }
}

/// The segments of a path, decoded.
fn taken_apart(api: Api, path: &str) -> Result<Vec<String>, String> {
    let (bytes, most) = LONGEST;
    if path.len() > bytes {
        return Err(format!("the path is longer than {bytes} bytes"));
    }
    let mut segments = Vec::new();
    for (index, raw) in path.split('/').enumerate() {
        let text = percent_decode_str(raw).decode_utf8();
        let text = text.map_err(|_| "the path is not UTF-8".to_owned())?.into_owned();
        // Names of AWS's have slashes in them, and stay one segment.
        let first = segments.first().map_or("", String::as_str);
        let has_slashes =
            api == Api::Bedrock && index == 1 && matches!(first, "model" | "async-invoke" | "guardrail");
        let is_step = |own: &str| matches!(own, "" | "." | "..");
        let leads_out = if has_slashes {
            text.split('/').any(is_step)
        } else {
            is_step(&text) || text.contains('/')
        };
        if leads_out || text.contains(['\\', '%', '?', '#']) || text.chars().any(char::is_control) {
            return Err("the path has an empty segment, or one that could lead elsewhere".to_owned());
        }
        segments.push(text);
        if segments.len() > most {
            return Err(format!("the path has more than {most} segments"));
        }
    }
    Ok(segments)
}

/// Of Google's cloud: the revision, and what is below the project and the place, which are the credential's.
fn within_project(mut segments: Vec<String>) -> Result<(&'static str, Vec<String>), String> {
    let version = match segments.first().map(String::as_str) {
        Some("v1beta1") => "v1beta1",
        _ => "v1",
    };
    if segments.first().is_some_and(|own| own == version) {
        segments.remove(0);
    }
    let has = |index: usize, name: &str| segments.get(index).is_some_and(|own| own == name);
    if has(0, "projects") && has(2, "locations") && segments.len() > 4 {
        segments.drain(..4);
    } else if !has(0, "publishers") {
        return Err(
            "the path must go on with `projects/…/locations/…/` or `publishers/`: nothing else is within the project of the gateway's credential"
                .to_owned(),
        );
    }
    Ok((version, segments))
}

fn what(api: Api, own: &[&str]) -> Result<What, String> {
    // Responses belong to keys, however the provider reads the path.
    let is_openais = matches!(api, Api::OpenAi | Api::Azure | Api::Vllm);
    if is_openais
        && own
            .iter()
            .take(4)
            .any(|own| own.eq_ignore_ascii_case("responses"))
    {
        return Err(
            "responses are at /openai/v1/responses, where each is the key's that asked for it".to_owned(),
        );
    }
    if let Some(tail) = openais_tail(api, own) {
        return Ok(openais(tail));
    }
    Ok(match (api, own) {
        (Api::Anthropic, ["messages"] | ["messages", "count_tokens"]) => {
            return Err("messages are at /anthropic/v1/messages".to_owned());
        }
        (Api::Anthropic, ["complete"]) => What::of(Name::Body),
        (Api::Azure, ["openai", "deployments", _, tail @ ..]) if !tail.is_empty() => What {
            name: Name::Path(2, String::new()),
            ..openais(tail)
        },
        (Api::Gemini, ["v1" | "v1beta" | "v1alpha", "models", model]) => googles(model, 2, "google"),
        (Api::Vertex, ["publishers", publisher, "models", model]) => googles(model, 3, publisher),
        (Api::Bedrock, ["model", _, how]) => awss(how),
        (Api::Cohere, ["v1" | "v2", tail @ ..]) => coheres(tail),
        _ => What::unknown(),
    })
}

/// What is below OpenAI's `/v1`, where a provider has the same.
fn openais_tail<'a, 'b>(api: Api, own: &'a [&'b str]) -> Option<&'a [&'b str]> {
    match (api, own) {
        (Api::Azure, ["openai", "v1", tail @ ..])
        | (Api::Cohere, ["compatibility", "v1", tail @ ..])
        | (Api::Vllm, ["v1", tail @ ..])
        | (Api::Gemini, ["v1" | "v1beta" | "v1alpha", "openai", tail @ ..]) => Some(tail),
        (Api::OpenAi | Api::Mistral | Api::Vllm, _) => Some(own),
        _ => None,
    }
}

fn openais(tail: &[&str]) -> What {
    let path = tail.join("/");
    let mut known = Endpoint::OPENAI.iter().chain(&Endpoint::OTHERS);
    let endpoint = known.find(|own| own.path() == path);
    let path = path.as_str();
    match endpoint {
        Some(endpoint) => What::of(Name::Body).paid(*endpoint, Shape::OpenAi),
        None if path == "fim/completions" => What::of(Name::Body).paid(Endpoint::Completions, Shape::OpenAi),
        None if NAMED.contains(&path) => What::of(Name::Body),
        None if COUNTED.contains(&path) => What::of(Name::Body).free(),
        None => What::unknown(),
    }
}

/// `MODEL:method`
fn googles(segment: &str, index: usize, publisher: &str) -> What {
    let Some((model, method)) = segment.rsplit_once(':') else {
        return What::unknown();
    };
    // There it is a method.
    if (publisher, model) == ("anthropic", "count-tokens") {
        return match method {
            "rawPredict" => What::of(Name::Body).free(),
            _ => What::unknown(),
        };
    }
    let named = What::of(Name::Path(index, format!(":{method}")));
    match (method, publisher) {
        ("countTokens" | "computeTokens", _) => named.free(),
        ("generateContent" | "streamGenerateContent", _) => {
            named.paid(Endpoint::ChatCompletions, Shape::Gemini)
        }
        ("embedContent" | "batchEmbedContents", _) => named.paid(Endpoint::Embeddings, Shape::Gemini),
        ("rawPredict" | "streamRawPredict", "anthropic") => named.paid(Endpoint::Messages, Shape::Anthropic),
        ("rawPredict" | "streamRawPredict", _) => named.paid(Endpoint::ChatCompletions, Shape::OpenAi),
        ("predict" | "predictLongRunning", _) => named,
        // What it does is not known: to whom it belongs neither. Batches are of files that the account keeps.
        _ => What::unknown(),
    }
}

fn awss(how: &str) -> What {
    let named = What::of(Name::Path(1, String::new()));
    match how {
        "converse" | "converse-stream" => named.paid(Endpoint::ChatCompletions, Shape::Converse),
        "invoke" | "invoke-with-response-stream" => named.paid(Endpoint::ChatCompletions, Shape::Invoke),
        "count-tokens" => named.free(),
        _ => What::unknown(),
    }
}

fn coheres(tail: &[&str]) -> What {
    match tail {
        ["chat"] => What::of(Name::Body).paid(Endpoint::ChatCompletions, Shape::Cohere),
        ["embed"] => What::of(Name::Body).paid(Endpoint::Embeddings, Shape::Cohere),
        ["rerank"] => What::of(Name::Body).paid(Endpoint::Rerank, Shape::OpenAi),
        ["tokenize" | "detokenize"] => What::of(Name::Body).free(),
        ["classify" | "generate" | "summarize"] => What::of(Name::Body),
        _ => What::unknown(),
    }
}

#[cfg(test)]
mod tests;
