//! The content of a message, read.

use crate::BadRequest;
use crate::translate::conversation::{Block, Kind, Source};
use crate::translate::losses::Losses;
use crate::translate::reader::{Reader, is_text, wrong};

/// A member that is text, or a list of blocks.
pub(super) fn content(
    own: &Reader<'_>,
    name: &'static str,
    losses: &mut Losses,
) -> Result<Vec<Block>, BadRequest> {
    let Some(json) = own.raw(name) else {
        return Ok(Vec::new());
    };
    let path = own.at(name);
    if is_text(json) {
        let text = own.text(name)?.unwrap_or_default();
        return Ok(vec![Block::new(Kind::Text(text), path)]);
    }
    let mut blocks = Vec::new();
    for (index, json) in own.list(name)?.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let block = Reader::open(json, &path)?;
        let kind = kind(&block, json, losses)?;
        let is_known = !matches!(kind, Kind::Other { .. });
        blocks.push(Block {
            kind,
            cache: block.json("cache_control"),
            path,
        });
        for (name, json) in block.rest() {
            match name {
                // What answers have: by whom a tool was called, and where a text comes from.
                "caller" | "citations" => {}
                _ if !is_known || json == "[]" => {}
                _ => losses.wish(block.at(name)),
            }
        }
    }
    Ok(blocks)
}

fn kind(block: &Reader<'_>, json: &str, losses: &mut Losses) -> Result<Kind, BadRequest> {
    let kind = block.need_text("type")?;
    Ok(match kind.as_str() {
        "text" => Kind::Text(block.need_text("text")?),
        "image" => Kind::Image(source(block, losses)?),
        "document" => Kind::Document {
            source: source(block, losses)?,
            title: block.text("title")?,
            context: block.text("context")?,
            citations: block.json("citations"),
        },
        "thinking" => Kind::Thinking {
            text: block.text("thinking")?.unwrap_or_default(),
            signature: block.text("signature")?.filter(|text| !text.is_empty()),
        },
        "redacted_thinking" => Kind::Redacted(block.need_text("data")?),
        "tool_use" => Kind::ToolUse {
            id: block.need_text("id")?,
            name: block.need_text("name")?,
            input: block.json("input").unwrap_or_default(),
        },
        "tool_result" => Kind::ToolResult {
            id: block.need_text("tool_use_id")?,
            blocks: content(block, "content", losses)?,
            is_error: block.boolean("is_error")?.unwrap_or(false),
        },
        _ => Kind::Other {
            json: json.to_owned(),
            kind,
        },
    })
}

fn source(block: &Reader<'_>, losses: &mut Losses) -> Result<Source, BadRequest> {
    let Some(own) = block.object("source")? else {
        return Err(wrong(&block.at("source"), format_args!("is missing")));
    };
    Ok(match own.need_text("type")?.as_str() {
        "base64" => Source::Data {
            media_type: own.need_text("media_type")?,
            data: own.need_text("data")?,
        },
        "url" => Source::Url(own.need_text("url")?),
        "file" => Source::File(own.need_text("file_id")?),
        "text" => Source::Text(own.need_text("data")?),
        "content" => Source::Blocks(content(&own, "content", losses)?),
        other => {
            return Err(wrong(
                &own.at("type"),
                format_args!("is {other:?}, which is no kind of source"),
            ));
        }
    })
}
