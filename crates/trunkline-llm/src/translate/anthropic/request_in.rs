//! A message that a client asks for, read.

use trunkline_mcp::edit::RawObject;

use super::blocks_in;
use crate::BadRequest;
use crate::translate::conversation::{Conversation, Extra, Format, Reasoning, Role, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::reader::{Reader, wrong};

/// Members that say what is kept, what it costs, how quick it is: the answer is the same without them, or at most longer.
const HINTS: [&str; 5] = [
    "cache_control",
    "context_management",
    "diagnostics",
    "service_tier",
    "speed",
];

/// Reads a body.
pub(in crate::translate) fn read(
    object: &RawObject<'_>,
    losses: &mut Losses,
) -> Result<Conversation, BadRequest> {
    let reader = Reader::of(object.clone());
    reader.raw("model");
    let (choice, parallel_tools) = tool_choice(&reader)?;
    let mut own = Conversation {
        max_tokens: reader.count("max_tokens")?,
        temperature: reader.number("temperature")?,
        top_p: reader.number("top_p")?,
        top_k: reader.number("top_k")?,
        stop: reader.texts("stop_sequences")?.unwrap_or_default(),
        tools: tools(&reader, losses)?,
        tool_choice: choice,
        parallel_tools,
        reasoning: thinking(&reader)?,
        thinking: reader.json("thinking"),
        user: user(&reader, losses)?,
        stream: reader.boolean("stream")?.unwrap_or(false),
        // A stream of this dialect always says it.
        include_usage: true,
        ..Conversation::default()
    };
    form(&reader, &mut own, losses)?;
    own.say(Role::System, blocks_in::content(&reader, "system", losses)?);
    own.turns.retain(|turn| !turn.blocks.is_empty());
    let messages = reader.list("messages")?;
    let messages = messages.ok_or_else(|| wrong("messages", format_args!("is missing")))?;
    for (index, json) in messages.into_iter().enumerate() {
        let message = Reader::open(json, &format!("messages[{index}]"))?;
        let role = match message.need_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => {
                return Err(wrong(
                    &message.at("role"),
                    format_args!("is {other:?}, which is neither user nor assistant"),
                ));
            }
        };
        own.say(role, blocks_in::content(&message, "content", losses)?);
        for (name, _) in message.rest() {
            losses.wish(message.at(name));
        }
    }
    for (name, json) in reader.rest() {
        own.extras.push(Extra {
            name: name.to_owned(),
            json: json.to_owned(),
            is_hint: HINTS.contains(&name),
        });
    }
    Ok(own)
}

fn user(reader: &Reader<'_>, losses: &mut Losses) -> Result<Option<String>, BadRequest> {
    let Some(own) = reader.object("metadata")? else {
        return Ok(None);
    };
    let user = own.text("user_id")?.filter(|user| !user.is_empty());
    if !own.rest().is_empty() {
        losses.hint("metadata");
    }
    Ok(user)
}

fn tools(reader: &Reader<'_>, losses: &mut Losses) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (index, json) in reader.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let own = Reader::open(json, &format!("tools[{index}]"))?;
        let kind = own.text("type")?.unwrap_or_else(|| "custom".to_owned());
        if kind != "custom" {
            tools.push(Tool::Other {
                kind,
                json: json.to_owned(),
            });
            continue;
        }
        tools.push(Tool::Function {
            name: own.need_text("name")?,
            description: own.text("description")?,
            schema: own.json("input_schema"),
            strict: own.boolean("strict")?,
            cache: own.json("cache_control"),
            deferred: own.boolean("defer_loading")?.unwrap_or(false),
        });
        for (name, _) in own.rest() {
            match name {
                // How the call comes, and whence: not what it is.
                "eager_input_streaming" | "input_examples" => losses.hint(format!("tools.{name}")),
                "allowed_callers" if own.texts("allowed_callers")?.is_some_and(|own| own == ["direct"]) => {}
                _ => losses.wish(own.at(name)),
            }
        }
    }
    Ok(tools)
}

fn tool_choice(reader: &Reader<'_>) -> Result<(Option<ToolChoice>, Option<bool>), BadRequest> {
    let Some(own) = reader.object("tool_choice")? else {
        return Ok((None, None));
    };
    let alone = own.boolean("disable_parallel_tool_use")?;
    Ok((Some(choice(&own)?), alone.map(|alone| !alone)))
}

/// What `tool_choice` says. Clients of LiteLLM say it so in chat completions too.
pub(in crate::translate) fn choice(own: &Reader<'_>) -> Result<ToolChoice, BadRequest> {
    match own.need_text("type")?.as_str() {
        "auto" => Ok(ToolChoice::Auto),
        "any" => Ok(ToolChoice::Any),
        "none" => Ok(ToolChoice::None),
        "tool" => Ok(ToolChoice::Tool(own.need_text("name")?)),
        other => Err(wrong(
            &own.at("type"),
            format_args!("is {other:?}, which is none of auto, any, tool and none"),
        )),
    }
}

/// What `thinking` says.
pub(in crate::translate) fn thinking(reader: &Reader<'_>) -> Result<Option<Reasoning>, BadRequest> {
    let Some(own) = reader.object("thinking")? else {
        return Ok(None);
    };
    match own.need_text("type")?.as_str() {
        "disabled" => Ok(Some(Reasoning::Off)),
        "adaptive" | "between_tools" => Ok(Some(Reasoning::Adaptive(None))),
        "enabled" => match own.count("budget_tokens")? {
            Some(budget) => Ok(Some(Reasoning::Budget(budget))),
            None => Err(wrong(&own.at("budget_tokens"), format_args!("is missing"))),
        },
        other => Err(wrong(
            &own.at("type"),
            format_args!("is {other:?}, which is none of enabled, adaptive, between_tools and disabled"),
        )),
    }
}

/// `output_config`, and the older `output_format`.
fn form(reader: &Reader<'_>, own: &mut Conversation, losses: &mut Losses) -> Result<(), BadRequest> {
    if let Some(format) = reader.object("output_format")? {
        own.format = Some(schema(&format)?);
    }
    let Some(config) = reader.object("output_config")? else {
        return Ok(());
    };
    if let Some(format) = config.object("format")? {
        own.format = Some(schema(&format)?);
    }
    if let Some(effort) = config.text("effort")? {
        own.reasoning = match own.reasoning.take() {
            Some(Reasoning::Off) => Some(Reasoning::Off),
            Some(Reasoning::Budget(budget)) => Some(Reasoning::Budget(budget)),
            _ => Some(Reasoning::Adaptive(Some(effort))),
        };
    }
    for (name, _) in config.rest() {
        losses.wish(config.at(name));
    }
    Ok(())
}

fn schema(format: &Reader<'_>) -> Result<Format, BadRequest> {
    match (format.need_text("type")?.as_str(), format.json("schema")) {
        ("json_schema", Some(schema)) => Ok(Format::Schema {
            name: format.text("name")?,
            description: None,
            schema,
            strict: true,
        }),
        ("json_schema", None) => Err(wrong(&format.at("schema"), format_args!("is missing"))),
        (other, _) => Err(wrong(
            &format.at("type"),
            format_args!("is {other:?}, which is no form of an answer"),
        )),
    }
}
