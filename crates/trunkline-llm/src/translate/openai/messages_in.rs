//! The messages of a chat completion.

use crate::BadRequest;
use crate::translate::conversation::{Block, Conversation, Kind, Role, Source};
use crate::translate::losses::Losses;
use crate::translate::reader::{Reader, is_text, wrong};

/// Reads the messages.
pub(super) fn read(messages: &[&str], own: &mut Conversation, losses: &mut Losses) -> Result<(), BadRequest> {
    // The older way of calling has no ids: the call before the answer is the one.
    let mut function_call = String::new();
    for (index, json) in messages.iter().enumerate() {
        let message = Reader::open(json, &format!("messages[{index}]"))?;
        let role = message.need_text("role")?;
        let (role, mut blocks) = match role.as_str() {
            "system" | "developer" => (Role::System, content(&message, losses)?),
            "user" => (Role::User, content(&message, losses)?),
            "assistant" => {
                function_call = format!("call_{index}");
                (Role::Assistant, assistant(&message, &function_call, losses)?)
            }
            "tool" => (
                Role::User,
                vec![result(&message, message.need_text("tool_call_id")?, losses)?],
            ),
            "function" => (Role::User, vec![result(&message, function_call.clone(), losses)?]),
            other => {
                let text = format_args!(
                    "is {other:?}, which is none of system, developer, user, assistant and tool"
                );
                return Err(wrong(&message.at("role"), text));
            }
        };
        // LiteLLM's, of a whole message: its last part has it.
        if let (Some(mark), Some(last)) = (message.json("cache_control"), blocks.last_mut()) {
            last.cache = Some(mark);
        }
        for (name, json) in message.rest() {
            match name {
                "name"
                    if role == Role::User
                        && blocks
                            .iter()
                            .any(|own| matches!(own.kind, Kind::ToolResult { .. })) => {}
                // What answers have, and what repeats other members.
                "reasoning_content" | "reasoning" | "annotations" | "provider_specific_fields" | "images" => {
                }
                "name" | "prefix" => losses.hint(format!("messages.{name}")),
                _ if json == "[]" || json == "{}" => {}
                _ => losses.wish(message.at(name)),
            }
        }
        own.say(role, blocks);
    }
    Ok(())
}

/// Text, or parts.
fn content(message: &Reader<'_>, losses: &mut Losses) -> Result<Vec<Block>, BadRequest> {
    let Some(json) = message.raw("content") else {
        return Ok(Vec::new());
    };
    let path = message.at("content");
    if is_text(json) {
        let text = message.text("content")?.unwrap_or_default();
        return Ok(vec![Block::new(Kind::Text(text), path)]);
    }
    let mut blocks = Vec::new();
    for (index, json) in message
        .list("content")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let part = Reader::open(json, &format!("{path}[{index}]"))?;
        let kind = part_of(&part, json, losses)?;
        blocks.push(Block {
            kind,
            cache: part.json("cache_control"),
            path: format!("{path}[{index}]"),
        });
    }
    Ok(blocks)
}

fn part_of(part: &Reader<'_>, json: &str, losses: &mut Losses) -> Result<Kind, BadRequest> {
    let kind = part.need_text("type")?;
    match kind.as_str() {
        "text" => Ok(Kind::Text(part.need_text("text")?)),
        "refusal" => Ok(Kind::Text(part.need_text("refusal")?)),
        "image_url" => image(part, losses),
        "file" => file(part),
        _ => Ok(Kind::Other {
            kind,
            json: json.to_owned(),
        }),
    }
}

fn image(part: &Reader<'_>, losses: &mut Losses) -> Result<Kind, BadRequest> {
    let is_plain = part.raw("image_url").is_some_and(is_text);
    let url = if is_plain {
        part.need_text("image_url")?
    } else {
        let Some(own) = part.object("image_url")? else {
            return Err(wrong(&part.at("image_url"), format_args!("is missing")));
        };
        if own.text("detail")?.is_some_and(|detail| detail != "auto") {
            losses.hint("messages.content.image_url.detail");
        }
        own.need_text("url")?
    };
    match source(&url, &part.at("image_url"))? {
        // There are clients that give documents so.
        source @ Source::Data { .. } if url.starts_with("data:application/pdf") => Ok(document(source, None)),
        source => Ok(Kind::Image(source)),
    }
}

fn document(source: Source, title: Option<String>) -> Kind {
    Kind::Document {
        source,
        title,
        context: None,
        citations: None,
    }
}

fn file(part: &Reader<'_>) -> Result<Kind, BadRequest> {
    let Some(own) = part.object("file")? else {
        return Err(wrong(&part.at("file"), format_args!("is missing")));
    };
    let title = own.text("filename")?;
    if let Some(data) = own.text("file_data")? {
        let source = if data.contains(':') {
            source(&data, &own.at("file_data"))?
        } else {
            // Base64 alone, as some send it.
            Source::Data {
                media_type: own
                    .text("format")?
                    .unwrap_or_else(|| "application/pdf".to_owned()),
                data,
            }
        };
        return Ok(document(source, title));
    }
    let id = own.need_text("file_id")?;
    let source = if id.starts_with("http://") || id.starts_with("https://") {
        Source::Url(id)
    } else {
        Source::File(id)
    };
    Ok(document(source, title))
}

/// The address of a picture or a document: where it is, or what it is.
pub(in crate::translate) fn source(url: &str, path: &str) -> Result<Source, BadRequest> {
    if let Some(rest) = url.strip_prefix("data:") {
        let split = rest
            .split_once(";base64,")
            .or_else(|| rest.split_once("; base64,"));
        let Some((media_type, data)) = split else {
            return Err(wrong(
                path,
                format_args!("must be `data:TYPE;base64,…`, or an address of http or https"),
            ));
        };
        // Parameters of the type are nobody's.
        let media_type = media_type.split(';').next().unwrap_or_default();
        return Ok(Source::Data {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        });
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Source::Url(url.to_owned()));
    }
    Err(wrong(
        path,
        format_args!("must be `data:TYPE;base64,…`, or an address of http or https"),
    ))
}

fn assistant(
    message: &Reader<'_>,
    function_call: &str,
    losses: &mut Losses,
) -> Result<Vec<Block>, BadRequest> {
    let mut blocks = thoughts(message)?;
    blocks.extend(content(message, losses)?);
    if let Some(text) = message.text("refusal")? {
        blocks.push(Block::new(Kind::Text(text), message.at("refusal")));
    }
    for (index, json) in message
        .list("tool_calls")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let path = format!("{}[{index}]", message.at("tool_calls"));
        let call = Reader::open(json, &path)?;
        let Some(function) = call.object("function")? else {
            let kind = call.text("type")?.unwrap_or_else(|| "tool_call".to_owned());
            let json = json.to_owned();
            blocks.push(Block::new(Kind::Other { kind, json }, path));
            continue;
        };
        let mut block = called(&function, call.need_text("id")?, &path)?;
        block.cache = call.json("cache_control");
        blocks.push(block);
    }
    if let Some(function) = message.object("function_call")? {
        blocks.push(called(
            &function,
            function_call.to_owned(),
            &message.at("function_call"),
        )?);
    }
    Ok(blocks)
}

fn called(function: &Reader<'_>, id: String, path: &str) -> Result<Block, BadRequest> {
    let kind = Kind::ToolUse {
        id,
        name: function.need_text("name")?,
        input: function.text("arguments")?.unwrap_or_default(),
    };
    Ok(Block::new(kind, path))
}

/// What an answer before this one had, as LiteLLM gives it and takes it back.
fn thoughts(message: &Reader<'_>) -> Result<Vec<Block>, BadRequest> {
    let mut blocks = Vec::new();
    for (index, json) in message
        .list("thinking_blocks")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let path = format!("{}[{index}]", message.at("thinking_blocks"));
        let own = Reader::open(json, &path)?;
        let kind = match own.need_text("type")?.as_str() {
            "redacted_thinking" => Kind::Redacted(own.need_text("data")?),
            "thinking" => Kind::Thinking {
                text: own.text("thinking")?.unwrap_or_default(),
                signature: own.text("signature")?.filter(|text| !text.is_empty()),
            },
            other => {
                return Err(wrong(
                    &own.at("type"),
                    format_args!("is {other:?}, which is no kind of thought"),
                ));
            }
        };
        blocks.push(Block::new(kind, path));
    }
    Ok(blocks)
}

fn result(message: &Reader<'_>, id: String, losses: &mut Losses) -> Result<Block, BadRequest> {
    let kind = Kind::ToolResult {
        id,
        blocks: content(message, losses)?,
        is_error: message.boolean("is_error")?.unwrap_or(false),
    };
    Ok(Block::new(kind, message.at("content")))
}
