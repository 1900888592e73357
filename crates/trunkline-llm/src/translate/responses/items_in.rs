//! The items of a request: what was said, what was called, what came of it, what was thought.

use super::answer_out::{APPROVAL, REDACTED, SIGNATURE};
use super::namespaces::flat;
use super::request_in::others;
use crate::BadRequest;
use crate::translate::conversation::{Block, Conversation, Kind, Role, Source};
use crate::translate::losses::Losses;
use crate::translate::openai::messages_in::source;
use crate::translate::reader::{Reader, is_text, wrong};

/// Reads `input`: a text, or a list of items.
pub(super) fn read(
    reader: &Reader<'_>,
    own: &mut Conversation,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let Some(json) = reader.raw("input") else {
        return Err(wrong("input", format_args!("is missing")));
    };
    if is_text(json) {
        let text = reader.text("input")?.unwrap_or_default();
        own.say(Role::User, vec![Block::new(Kind::Text(text), "input")]);
        return Ok(());
    }
    let items = reader.list("input")?.unwrap_or_default();
    if items.is_empty() {
        return Err(wrong("input", format_args!("must have at least one item")));
    }
    for (index, json) in items.into_iter().enumerate() {
        let item = Reader::open(json, &format!("input[{index}]"))?;
        // What answers have, and what repeats other members.
        for name in ["id", "status"] {
            item.raw(name);
        }
        let (role, blocks) = match item.text("type")?.as_deref() {
            None | Some("message") => message(&item, losses)?,
            Some("function_call") => (Role::Assistant, vec![call(&item)?]),
            Some("function_call_output") => (Role::User, vec![result(&item, losses)?]),
            // What the gateway did in an answer before this one.
            Some("mcp_list_tools") => continue,
            Some("mcp_call") => {
                let (called, came) = served(&item)?;
                own.say(Role::Assistant, vec![called]);
                own.say(Role::User, vec![came]);
                continue;
            }
            Some("mcp_approval_request") => (Role::Assistant, vec![asked(&item)?]),
            Some("mcp_approval_response") => (Role::User, vec![decided(&item, own)?]),
            Some("reasoning") => (Role::Assistant, vec![thought(&item)?]),
            Some(other) => {
                let name = format!("`{other}`");
                losses.content(format!("input[{index}]"), name);
                continue;
            }
        };
        for name in ["phase", "created_by"] {
            if item.raw(name).is_some() {
                losses.hint(format!("input.{name}"));
            }
        }
        others(&item, losses);
        own.say(role, blocks);
    }
    Ok(())
}

fn message(item: &Reader<'_>, losses: &mut Losses) -> Result<(Role, Vec<Block>), BadRequest> {
    let role = match item.need_text("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let text = format_args!("is {other:?}, which is none of system, developer, user and assistant");
            return Err(wrong(&item.at("role"), text));
        }
    };
    Ok((role, content(item, "content", losses)?))
}

/// Text, or parts.
fn content(item: &Reader<'_>, name: &'static str, losses: &mut Losses) -> Result<Vec<Block>, BadRequest> {
    let path = item.at(name);
    let Some(json) = item.raw(name) else {
        return Err(wrong(&path, format_args!("is missing")));
    };
    if is_text(json) {
        let text = item.text(name)?.unwrap_or_default();
        return Ok(vec![Block::new(Kind::Text(text), path)]);
    }
    let mut blocks = Vec::new();
    for (index, json) in item.list(name)?.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let part = Reader::open(json, &path)?;
        let kind = part.need_text("type")?;
        let kind = match kind.as_str() {
            "input_text" | "output_text" | "text" => {
                // Of an answer before: they are about its text, which is there.
                for name in ["annotations", "logprobs"] {
                    part.raw(name);
                }
                Kind::Text(part.need_text("text")?)
            }
            "refusal" => Kind::Text(part.need_text("refusal")?),
            "input_image" => picture(&part, losses)?,
            "input_file" => file(&part)?,
            _ => {
                let json = json.to_owned();
                blocks.push(Block::new(Kind::Other { kind, json }, path));
                continue;
            }
        };
        others(&part, losses);
        blocks.push(Block::new(kind, path));
    }
    Ok(blocks)
}

fn picture(part: &Reader<'_>, losses: &mut Losses) -> Result<Kind, BadRequest> {
    if part.text("detail")?.is_some_and(|detail| detail != "auto") {
        losses.hint("input.content.detail");
    }
    if let Some(id) = part.text("file_id")? {
        return Ok(Kind::Image(Source::File(id)));
    }
    let url = part.need_text("image_url")?;
    Ok(Kind::Image(source(&url, &part.at("image_url"))?))
}

fn file(part: &Reader<'_>) -> Result<Kind, BadRequest> {
    let title = part.text("filename")?;
    let source = if let Some(data) = part.text("file_data")? {
        if data.contains(':') {
            source(&data, &part.at("file_data"))?
        } else {
            // Base64 alone, as some send it.
            Source::Data {
                media_type: "application/pdf".to_owned(),
                data,
            }
        }
    } else if let Some(url) = part.text("file_url")? {
        source(&url, &part.at("file_url"))?
    } else {
        Source::File(part.need_text("file_id")?)
    };
    Ok(Kind::Document {
        source,
        title,
        context: None,
        citations: None,
    })
}

fn call(item: &Reader<'_>) -> Result<Block, BadRequest> {
    let name = item.need_text("name")?;
    let namespace = item.text("namespace")?;
    let kind = Kind::ToolUse {
        id: item.need_text("call_id")?,
        name: namespace.map_or_else(|| name.clone(), |namespace| flat(&namespace, &name)),
        input: item.text("arguments")?.unwrap_or_default(),
    };
    Ok(Block::new(kind, item.at("arguments")))
}

fn result(item: &Reader<'_>, losses: &mut Losses) -> Result<Block, BadRequest> {
    let kind = Kind::ToolResult {
        id: item.need_text("call_id")?,
        blocks: content(item, "output", losses)?,
        is_error: false,
    };
    Ok(Block::new(kind, item.at("output")))
}

/// A call that the gateway made, and what came of it.
fn served(item: &Reader<'_>) -> Result<(Block, Block), BadRequest> {
    let id = item.need_text("id")?;
    let called = Kind::ToolUse {
        id: id.clone(),
        name: item.need_text("name")?,
        input: item.text("arguments")?.unwrap_or_default(),
    };
    let error = item.text("error")?;
    let output = item.text("output")?.unwrap_or_default();
    let came = Kind::ToolResult {
        id,
        is_error: error.is_some(),
        blocks: vec![Block::new(Kind::Text(error.unwrap_or(output)), item.at("output"))],
    };
    for name in ["approval_request_id", "server_label"] {
        item.raw(name);
    }
    Ok((
        Block::new(called, item.at("arguments")),
        Block::new(came, item.at("output")),
    ))
}

/// A call that the client was asked about.
fn asked(item: &Reader<'_>) -> Result<Block, BadRequest> {
    item.raw("server_label");
    let kind = Kind::ToolUse {
        id: call_of(&item.need_text("id")?),
        name: item.need_text("name")?,
        input: item.text("arguments")?.unwrap_or_default(),
    };
    Ok(Block::new(kind, item.at("arguments")))
}

/// What it decided: what comes of a call that it approved is put there later.
fn decided(item: &Reader<'_>, own: &mut Conversation) -> Result<Block, BadRequest> {
    let id = call_of(&item.need_text("approval_request_id")?);
    let approves = item.boolean("approve")?;
    let Some(approves) = approves else {
        return Err(wrong(&item.at("approve"), format_args!("is missing")));
    };
    let reason = item.text("reason")?;
    let mut blocks = Vec::new();
    if approves {
        own.approved.push(id.clone());
    } else {
        let text = match reason {
            Some(reason) => format!("The user did not approve this call: {reason}"),
            None => "The user did not approve this call.".to_owned(),
        };
        blocks.push(Block::new(Kind::Text(text), item.at("reason")));
    }
    let kind = Kind::ToolResult {
        id,
        blocks,
        is_error: !approves,
    };
    Ok(Block::new(kind, item.at("approve")))
}

/// The id of the call that an approval is about.
fn call_of(id: &str) -> String {
    id.strip_prefix(APPROVAL).unwrap_or(id).to_owned()
}

/// A thought of before. Only what this gateway marked as signed is shown to a provider again as such.
fn thought(item: &Reader<'_>) -> Result<Block, BadRequest> {
    let mut text = String::new();
    for name in ["summary", "content"] {
        for (index, json) in item.list(name)?.unwrap_or_default().into_iter().enumerate() {
            let part = Reader::open(json, &format!("{}[{index}]", item.at(name)))?;
            text.push_str(&part.need_text("text")?);
        }
    }
    let sealed = item.text("encrypted_content")?.unwrap_or_default();
    let kind = if let Some(data) = sealed.strip_prefix(REDACTED) {
        Kind::Redacted(data.to_owned())
    } else {
        Kind::Thinking {
            text,
            signature: sealed.strip_prefix(SIGNATURE).map(str::to_owned),
        }
    };
    Ok(Block::new(kind, item.at("summary")))
}
