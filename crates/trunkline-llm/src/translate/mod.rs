//! From the dialect that a client speaks to the one that a provider speaks, and back: requests, answers, streams.
//!
//! ```text
//! client's request  → conversation → provider's request       request_in, request_out
//! provider's answer → answer       → client's answer          answer_in,  answer_out
//! provider's stream → events       → client's stream          stream_in,  stream_out
//! ```
//!
//! In the middle stands one form of its own ([`conversation`], [`answer`]), so that a dialect is written once and works with every
//! other: a folder with these six files, and an arm in each `match` on [`Dialect`] here.
//!
//! **Invariant:** nothing is passed over in silence. A member that the other dialect has no word for is refused by name, or left out
//! where that is allowed, and then said ([`losses`]). Where both sides speak the same dialect, nothing here is used, unless the gateway
//! calls tools for the model itself ([`dialogue`]).

pub mod answer;
mod anthropic;
mod bedrock;
pub mod conversation;
mod deferred;
pub mod dialogue;
mod gemini;
pub mod losses;
mod openai;
mod reader;
mod responses;
mod sse;
mod stream;

use sha2::{Digest as _, Sha256};
use trunkline_mcp::edit::RawObject;

pub use anthropic::usage::Counts;
pub(crate) use bedrock::answer_in::usage as bedrocks_usage;
pub use dialogue::Dialogue;
pub(crate) use gemini::answer_in::usage as googles_usage;
pub use losses::Drops;
pub use sse::Unreadable;
pub use stream::{Incoming, Outgoing, Stream};

use crate::{BadRequest, Dialect, Spoken, Usage};
use answer::Answer;
use conversation::{Kind, Tool};

/// For whom a request is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What the provider speaks.
    pub dialect: Spoken,
    /// LiteLLM's prefix of it.
    pub provider: &'a str,
    /// Its name for the model.
    pub model: &'a str,
    /// Tokens of an answer where the request does not say it and the dialect has to.
    pub max_tokens: Option<u64>,
    /// A stream is asked what it took, whether the client asks or not. Who is not asked says it anyway, and takes no such member.
    pub asks_usage: bool,
}

/// A request in the provider's dialect.
#[derive(Debug)]
pub struct Translated {
    /// The body.
    pub body: String,
    /// What of the client's was left out.
    pub dropped: Vec<String>,
    /// What the provider has to be told in `anthropic-beta`.
    pub betas: Vec<String>,
    /// How the answer is to be read and written.
    pub way: Way,
}

/// How an answer comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What the provider speaks.
    pub provider: Spoken,
    /// What the client speaks.
    pub client: Dialect,
    /// The form of the answer was asked for as a tool.
    pub form_is_tool: bool,
    /// The client wants the tokens in the last piece.
    pub include_usage: bool,
    /// Names of tools that the provider knows by a shorter one: shorter, whole.
    pub names: Vec<(String, String)>,
    /// What of the request the answer repeats, where the client's dialect does that: names and JSON texts.
    pub repeated: Vec<(String, String)>,
}

/// Characters of a tool's name that OpenAI's dialect takes.
const MAX_TOOL_NAME: usize = 64;

impl Way {
    /// Tools of MCP servers have names that are too long for OpenAI. They get shorter ones, LiteLLM's, and answers the whole again.
    fn shorten(&mut self, tools: &[Tool]) {
        for tool in tools {
            if let Tool::Function { name, .. } = tool
                && name.chars().count() > MAX_TOOL_NAME
            {
                self.names.push((short_name(name), name.clone()));
            }
        }
    }

    fn whole_name(&self, name: String) -> String {
        let found = self.names.iter().find(|(short, _)| *short == name);
        found.map_or(name, |(_, whole)| whole.clone())
    }
}

/// A name as OpenAI's dialect takes it.
fn short_name(name: &str) -> String {
    if name.chars().count() <= MAX_TOOL_NAME {
        return name.to_owned();
    }
    let begin: String = name.chars().take(MAX_TOOL_NAME - 9).collect();
    let digest = Sha256::digest(name);
    let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
    format!("{begin}_{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// The tool by which the form of an answer is asked for, where a model knows no other way: LiteLLM's name.
const FORM_TOOL: &str = "json_tool_call";

/// Translates a request of a client that speaks `client`.
pub fn request(
    object: &RawObject<'_>,
    client: Dialect,
    target: &Target<'_>,
    drops: &Drops,
) -> Result<Translated, BadRequest> {
    Dialogue::read(object, client)?.write(target, drops)
}

/// Translates a whole answer. `model` is the name that the client asked for, `created` the time in seconds.
pub fn answer(json: &str, way: &Way, head: (&str, i64)) -> Result<(String, Option<Usage>), String> {
    let answer = read_answer(json, way)?;
    Ok((write_answer(&answer, way, head)?, answer.usage))
}

/// Reads a whole answer of a provider's.
pub fn read_answer(json: &str, way: &Way) -> Result<Answer, String> {
    match way.provider {
        Spoken::By(Dialect::OpenAi) => openai::answer_in::read(json, way),
        Spoken::By(Dialect::Responses) => Err("responses are not translated".to_owned()),
        Spoken::By(Dialect::Anthropic) => anthropic::answer_in::read(json, way),
        Spoken::Gemini => gemini::answer_in::read(json),
        Spoken::Bedrock => bedrock::answer_in::read(json, way),
    }
}

/// Writes a whole answer for the client: `model` is the name that it asked for, `created` the time in seconds.
pub fn write_answer(answer: &Answer, way: &Way, (model, created): (&str, i64)) -> Result<String, String> {
    if way.client == Dialect::Anthropic {
        no_word(answer.parts.iter().map(|part| &part.kind))?;
    }
    Ok(match way.client {
        Dialect::OpenAi => openai::answer_out::write(answer, (model, created)),
        Dialect::Responses => responses::write_answer(answer, way, (model, created)),
        Dialect::Anthropic => anthropic::answer_out::write(answer, model),
    })
}

/// Whether a message has a word for all of these.
fn no_word<'a>(kinds: impl Iterator<Item = &'a Kind>) -> Result<(), String> {
    for kind in kinds {
        if let Kind::Other { kind, .. } = kind {
            return Err(format!("it has a part {kind}, which messages have no word for"));
        }
    }
    Ok(())
}

/// A JSON object under construction.
#[derive(Default)]
struct Writer(RawObject<'static>);

impl Writer {
    fn json(&mut self, name: &str, json: impl Into<String>) -> &mut Self {
        self.0.set(name, json.into());
        self
    }

    fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.0.set_string(name, text);
        self
    }

    /// Where there is one.
    fn maybe(&mut self, name: &str, json: Option<&str>) -> &mut Self {
        if let Some(json) = json {
            self.json(name, json);
        }
        self
    }

    /// Where there is one.
    fn maybe_text(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.text(name, text);
        }
        self
    }

    fn list(&mut self, name: &str, items: &[String]) -> &mut Self {
        self.json(name, list(items))
    }

    fn done(&self) -> String {
        self.0.to_json()
    }
}

/// JSON text of a list.
fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// JSON text of an object whose first member is `type`.
fn typed(kind: &str) -> Writer {
    let mut writer = Writer::default();
    writer.text("type", kind);
    writer
}

/// Arguments of a call as the JSON text of an object. What is none is wrapped, in the way that Anthropic documents for it: the
/// model shall see what it wrote.
fn as_object(input: &str) -> String {
    if input.trim().is_empty() {
        return "{}".to_owned();
    }
    if RawObject::parse(input).is_ok() {
        return input.trim().to_owned();
    }
    let mut wrapped = Writer::default();
    wrapped.text("INVALID_JSON", input);
    wrapped.done()
}
