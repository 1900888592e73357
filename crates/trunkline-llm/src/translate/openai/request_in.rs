//! A chat completion that a client asks for, read.

use trunkline_mcp::edit::RawObject;

use super::messages_in;
use crate::BadRequest;
use crate::translate::anthropic::request_in::{choice as anthropics_choice, thinking};
use crate::translate::conversation::{Conversation, Extra, Format, Reasoning, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::reader::{Reader, is_text, wrong};

/// Members that say where something is kept, who pays, how it is counted: the answer is the same without them.
const HINTS: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
];

/// Members of the dialect that ask for nothing if they say this.
const NOTHING: [(&str, &[&str]); 11] = [
    ("frequency_penalty", &["0", "0.0"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("metadata", &["{}"]),
    ("modalities", &["[\"text\"]", "[ \"text\" ]"]),
    ("n", &["1"]),
    ("presence_penalty", &["0", "0.0"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("store", &["false"]),
    ("top_logprobs", &["0"]),
    ("verbosity", &["\"medium\""]),
];

/// Reads a body.
pub(in crate::translate) fn read(
    object: &RawObject<'_>,
    losses: &mut Losses,
) -> Result<Conversation, BadRequest> {
    let reader = Reader::of(object.clone());
    reader.raw("model");
    let mut own = Conversation {
        max_tokens: limit(&reader)?,
        temperature: reader.number("temperature")?,
        top_p: reader.number("top_p")?,
        top_k: reader.number("top_k")?,
        stop: stop(&reader)?,
        parallel_tools: reader.boolean("parallel_tool_calls")?,
        reasoning: reasoning(&reader)?,
        thinking: reader.json("thinking"),
        format: format(&reader)?,
        user: reader.text("user")?.filter(|user| !user.is_empty()),
        stream: reader.boolean("stream")?.unwrap_or(false),
        tools: tools(&reader)?,
        tool_choice: tool_choice(&reader)?,
        ..Conversation::default()
    };
    if let Some(options) = reader.object("stream_options")? {
        own.include_usage = options.boolean("include_usage")?.unwrap_or(false);
    }
    let messages = reader.list("messages")?;
    let messages = messages.ok_or_else(|| wrong("messages", format_args!("is missing")))?;
    messages_in::read(&messages, &mut own, losses)?;
    for (name, json) in reader.rest() {
        let asks_nothing = NOTHING
            .iter()
            .any(|(own, texts)| *own == name && texts.contains(&json));
        if asks_nothing {
            continue;
        }
        if name == "metadata" && own.user.is_none() {
            // LiteLLM's way to say it.
            own.user = Reader::open(json, name)?.text("user_id").ok().flatten();
        }
        own.extras.push(Extra {
            name: name.to_owned(),
            json: json.to_owned(),
            is_hint: HINTS.contains(&name),
        });
    }
    Ok(own)
}

fn limit(reader: &Reader<'_>) -> Result<Option<u64>, BadRequest> {
    let older = reader.count("max_tokens")?;
    Ok(reader.count("max_completion_tokens")?.or(older))
}

fn stop(reader: &Reader<'_>) -> Result<Vec<String>, BadRequest> {
    match reader.raw("stop") {
        None => Ok(Vec::new()),
        Some(json) if is_text(json) => Ok(reader.text("stop")?.into_iter().collect()),
        Some(_) => Ok(reader.texts("stop")?.unwrap_or_default()),
    }
}

/// `thinking` is Anthropic's, and says more.
fn reasoning(reader: &Reader<'_>) -> Result<Option<Reasoning>, BadRequest> {
    let effort = reader.text("reasoning_effort")?;
    if let Some(thinking) = thinking(reader)? {
        return Ok(Some(match (thinking, effort) {
            (Reasoning::Adaptive(None), effort) => Reasoning::Adaptive(effort),
            (thinking, _) => thinking,
        }));
    }
    Ok(effort.map(|effort| match effort.as_str() {
        "none" => Reasoning::Off,
        _ => Reasoning::Effort(effort),
    }))
}

fn format(reader: &Reader<'_>) -> Result<Option<Format>, BadRequest> {
    let Some(format) = reader.object("response_format")? else {
        return Ok(None);
    };
    let plain = |schema: String| Format::Schema {
        name: None,
        description: None,
        schema,
        strict: false,
    };
    match format.need_text("type")?.as_str() {
        "text" => Ok(None),
        // LiteLLM's `response_schema`.
        "json_object" => Ok(Some(format.json("response_schema").map_or(Format::Json, plain))),
        "json_schema" => {
            let Some(own) = format.object("json_schema")? else {
                return Err(wrong("response_format.json_schema", format_args!("is missing")));
            };
            let schema = own
                .json("schema")
                .unwrap_or_else(|| "{\"type\":\"object\"}".to_owned());
            Ok(Some(Format::Schema {
                name: own.text("name")?,
                description: own.text("description")?,
                schema,
                strict: own.boolean("strict")?.unwrap_or(false),
            }))
        }
        other => Err(wrong(
            "response_format.type",
            format_args!("is {other:?}, which is no form of an answer"),
        )),
    }
}

fn tools(reader: &Reader<'_>) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (index, json) in reader.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let own = Reader::open(json, &format!("tools[{index}]"))?;
        let kind = own.text("type")?.unwrap_or_else(|| "function".to_owned());
        if kind != "function" {
            tools.push(Tool::Other {
                kind,
                json: json.to_owned(),
            });
            continue;
        }
        let Some(function) = own.object("function")? else {
            return Err(wrong(&own.at("function"), format_args!("is missing")));
        };
        let mut tool = self::function(&function)?;
        if let (Tool::Function { cache, .. }, Some(mark)) = (&mut tool, own.json("cache_control")) {
            *cache = Some(mark);
        }
        tools.push(tool);
    }
    // The older way.
    for (index, json) in reader
        .list("functions")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        tools.push(self::function(&Reader::open(
            json,
            &format!("functions[{index}]"),
        )?)?);
    }
    Ok(tools)
}

fn function(own: &Reader<'_>) -> Result<Tool, BadRequest> {
    Ok(Tool::Function {
        name: own.need_text("name")?,
        description: own.text("description")?,
        schema: own.json("parameters"),
        strict: own.boolean("strict")?,
        cache: own.json("cache_control"),
        deferred: false,
    })
}

fn tool_choice(reader: &Reader<'_>) -> Result<Option<ToolChoice>, BadRequest> {
    for name in ["tool_choice", "function_call"] {
        let Some(json) = reader.raw(name) else {
            continue;
        };
        if is_text(json) {
            return match reader.text(name)?.as_deref() {
                Some("auto") => Ok(Some(ToolChoice::Auto)),
                Some("required" | "any") => Ok(Some(ToolChoice::Any)),
                Some("none") => Ok(Some(ToolChoice::None)),
                other => Err(wrong(
                    name,
                    format_args!("is {other:?}, which is none of auto, required and none"),
                )),
            };
        }
        let own = Reader::open(json, name)?;
        return match own.text("type")?.as_deref() {
            // `function_call` has the name alone.
            None => Ok(Some(ToolChoice::Tool(own.need_text("name")?))),
            Some("function") => match own.object("function")? {
                Some(function) => Ok(Some(ToolChoice::Tool(function.need_text("name")?))),
                None => Err(wrong(&own.at("function"), format_args!("is missing"))),
            },
            Some(_) => anthropics_choice(&own).map(Some),
        };
    }
    Ok(None)
}
