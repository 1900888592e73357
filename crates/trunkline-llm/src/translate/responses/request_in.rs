//! A response that a client asks for, read.

use trunkline_mcp::edit::RawObject;

use super::items_in;
use super::namespaces::flat;
use crate::BadRequest;
use crate::translate::conversation::{
    Block, Conversation, Extra, Format, Kind, Reasoning, Role, Tool, ToolChoice,
};
use crate::translate::losses::Losses;
use crate::translate::reader::{Reader, is_text, wrong};

/// Members that say where something is kept, who pays, how it is counted: the answer is the same without them.
const HINTS: [&str; 9] = [
    "client_metadata",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
];

/// Members of the dialect that ask for nothing if they say this.
const NOTHING: [(&str, &[&str]); 9] = [
    ("background", &["false"]),
    ("include", &["[]"]),
    ("metadata", &["{}"]),
    ("prompt", &["{}"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("store", &["false"]),
    ("stream_options", &["{}"]),
    ("top_logprobs", &["0"]),
    ("truncation", &["\"disabled\""]),
];

/// What may be asked to be in the answer, and is there anyway or is only more words on it.
const INCLUDED: [&str; 2] = ["reasoning.encrypted_content", "message.output_text.logprobs"];

/// Members of a request that an answer repeats.
const REPEATED: [&str; 14] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
];

/// What of a request its answer repeats: names and JSON texts.
pub(in crate::translate) fn repeated(object: &RawObject<'_>) -> Vec<(String, String)> {
    let own = REPEATED.iter().filter_map(|name| {
        let json = object.get(name)?;
        Some(((*name).to_owned(), json.to_owned()))
    });
    own.collect()
}

/// Reads a body.
pub(in crate::translate) fn read(
    object: &RawObject<'_>,
    losses: &mut Losses,
) -> Result<Conversation, BadRequest> {
    let reader = Reader::of(object.clone());
    reader.raw("model");
    let mut own = Conversation {
        max_tokens: reader.count("max_output_tokens")?,
        temperature: reader.number("temperature")?,
        top_p: reader.number("top_p")?,
        parallel_tools: reader.boolean("parallel_tool_calls")?,
        reasoning: reasoning(&reader, losses)?,
        user: reader.text("user")?.filter(|user| !user.is_empty()),
        stream: reader.boolean("stream")?.unwrap_or(false),
        include_usage: true,
        tools: tools(&reader)?,
        tool_choice: tool_choice(&reader, losses)?,
        ..Conversation::default()
    };
    if let Some(text) = reader.object("text")? {
        own.format = format(&text)?;
        if let Some(json) = text.json("verbosity").filter(|json| json != "\"medium\"") {
            own.extras.push(Extra {
                name: "verbosity".to_owned(),
                json,
                is_hint: false,
            });
        }
        others(&text, losses);
    }
    if let Some(text) = reader.text("instructions")? {
        own.say(Role::System, vec![Block::new(Kind::Text(text), "instructions")]);
    }
    items_in::read(&reader, &mut own, losses)?;
    if reader.raw("previous_response_id").is_some() {
        losses.content(
            "previous_response_id",
            "an answer that its provider would have to have kept",
        );
    }
    include(&reader, losses)?;
    for (name, json) in reader.rest() {
        let asks_nothing = NOTHING
            .iter()
            .any(|(own, texts)| *own == name && texts.contains(&json));
        if asks_nothing {
            continue;
        }
        if HINTS.contains(&name) {
            // Also where the provider has a member of the name: it would be about a chat, or is not known to all of them.
            losses.hint(name);
        } else {
            own.extras.push(Extra {
                name: name.to_owned(),
                json: json.to_owned(),
                is_hint: false,
            });
        }
    }
    Ok(own)
}

/// What nobody took of an object within.
pub(super) fn others(reader: &Reader<'_>, losses: &mut Losses) {
    for (name, json) in reader.rest() {
        if json != "[]" && json != "{}" {
            losses.wish(reader.at(name));
        }
    }
}

fn include(reader: &Reader<'_>, losses: &mut Losses) -> Result<(), BadRequest> {
    for name in reader.texts("include")?.unwrap_or_default() {
        if INCLUDED.contains(&name.as_str()) {
            losses.hint(format!("include.{name}"));
        } else {
            losses.wish(format!("include.{name}"));
        }
    }
    Ok(())
}

fn reasoning(reader: &Reader<'_>, losses: &mut Losses) -> Result<Option<Reasoning>, BadRequest> {
    let Some(own) = reader.object("reasoning")? else {
        return Ok(None);
    };
    // Thoughts come whole or not at all, and in one place: how they are to be put is the provider's.
    for name in ["summary", "generate_summary", "context"] {
        if own.raw(name).is_some() {
            losses.hint(own.at(name));
        }
    }
    let effort = own.text("effort")?;
    others(&own, losses);
    Ok(effort.map(|effort| match effort.as_str() {
        "none" => Reasoning::Off,
        _ => Reasoning::Effort(effort),
    }))
}

fn format(text: &Reader<'_>) -> Result<Option<Format>, BadRequest> {
    let Some(own) = text.object("format")? else {
        return Ok(None);
    };
    match own.need_text("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => Ok(Some(Format::Schema {
            name: own.text("name")?,
            description: own.text("description")?,
            schema: own
                .json("schema")
                .ok_or_else(|| wrong(&own.at("schema"), format_args!("is missing")))?,
            strict: own.boolean("strict")?.unwrap_or(false),
        })),
        other => Err(wrong(
            &own.at("type"),
            format_args!("is {other:?}, which is no form of an answer"),
        )),
    }
}

/// Functions; what a provider would do itself has no word elsewhere.
fn tools(reader: &Reader<'_>) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (index, json) in reader.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let own = Reader::open(json, &format!("tools[{index}]"))?;
        let kind = own.need_text("type")?;
        if kind == "function" {
            tools.push(function(&own, None)?);
        } else if kind == "namespace" {
            let namespace = own.need_text("name")?;
            for (at, json) in own.list("tools")?.unwrap_or_default().into_iter().enumerate() {
                let inner = Reader::open(json, &format!("tools[{index}].tools[{at}]"))?;
                let kind = inner.need_text("type")?;
                if kind == "function" {
                    tools.push(function(&inner, Some(&namespace))?);
                } else {
                    let json = json.to_owned();
                    tools.push(Tool::Other { kind, json });
                }
            }
        } else {
            let json = json.to_owned();
            tools.push(Tool::Other { kind, json });
        }
    }
    Ok(tools)
}

fn function(own: &Reader<'_>, namespace: Option<&str>) -> Result<Tool, BadRequest> {
    let name = own.need_text("name")?;
    Ok(Tool::Function {
        name: namespace.map_or_else(|| name.clone(), |namespace| flat(namespace, &name)),
        description: own.text("description")?,
        schema: own.json("parameters"),
        strict: own.boolean("strict")?,
        cache: None,
        deferred: false,
    })
}

fn tool_choice(reader: &Reader<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>, BadRequest> {
    let Some(json) = reader.raw("tool_choice") else {
        return Ok(None);
    };
    if is_text(json) {
        return match reader.text("tool_choice")?.as_deref() {
            Some("auto") => Ok(Some(ToolChoice::Auto)),
            Some("required") => Ok(Some(ToolChoice::Any)),
            Some("none") => Ok(Some(ToolChoice::None)),
            other => Err(wrong(
                "tool_choice",
                format_args!("is {other:?}, which is none of auto, required and none"),
            )),
        };
    }
    let own = Reader::open(json, "tool_choice")?;
    if own.need_text("type")? == "function" {
        return Ok(Some(ToolChoice::Tool(own.need_text("name")?)));
    }
    // A tool of the provider's, or some of several.
    losses.wish("tool_choice");
    Ok(None)
}
