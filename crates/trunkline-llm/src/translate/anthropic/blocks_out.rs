//! The content of a message, written for a provider.

use crate::translate::conversation::{Block, Kind, Source};
use crate::translate::losses::Losses;
use crate::translate::{Writer, as_object, list, typed};

/// Kinds of blocks of this dialect that clients of another one may send all the same.
const OWN: [&str; 3] = ["document", "image", "search_result"];

/// What the blocks want the provider to be told in `anthropic-beta`.
const FILES: &str = "files-api-2025-04-14";

/// Writes blocks.
pub(super) struct Blocks<'a> {
    pub(super) losses: &'a mut Losses,
    pub(super) betas: &'a mut Vec<String>,
    /// What only this dialect has is handed on as it is.
    pub(super) keeps_others: bool,
}

impl Blocks<'_> {
    /// JSON texts of those that have anything in them: the provider refuses empty texts.
    pub(super) fn write(&mut self, blocks: &[Block]) -> Vec<String> {
        blocks.iter().filter_map(|own| self.block(own)).collect()
    }

    fn block(&mut self, block: &Block) -> Option<String> {
        let mut out = match &block.kind {
            Kind::Text(text) if text.is_empty() => return None,
            Kind::Text(text) => {
                let mut out = typed("text");
                out.text("text", text);
                out
            }
            Kind::Image(source) => {
                let mut out = typed("image");
                out.json("source", self.source(block, source)?);
                out
            }
            Kind::Document {
                source,
                title,
                context,
                citations,
            } => {
                let mut out = typed("document");
                out.json("source", self.source(block, source)?);
                out.maybe_text("title", title.as_deref());
                out.maybe_text("context", context.as_deref());
                out.maybe("citations", citations.as_deref());
                out
            }
            Kind::ToolUse { id, name, input } => {
                let mut out = typed("tool_use");
                out.text("id", &clean(id))
                    .text("name", name)
                    .json("input", as_object(input));
                out
            }
            Kind::ToolResult { id, blocks, is_error } => {
                let mut out = typed("tool_result");
                out.text("tool_use_id", &clean(id));
                let blocks = self.write(blocks);
                if !blocks.is_empty() {
                    out.list("content", &blocks);
                }
                if *is_error {
                    out.json("is_error", "true");
                }
                out
            }
            Kind::Thinking { text, signature } => {
                let Some(signature) = signature else {
                    // The provider believes only what it signed.
                    self.losses.hint("messages.thinking_blocks");
                    return None;
                };
                let mut out = typed("thinking");
                out.text("thinking", text).text("signature", signature);
                return Some(out.done());
            }
            Kind::Redacted(data) => {
                let mut out = typed("redacted_thinking");
                out.text("data", data);
                return Some(out.done());
            }
            Kind::Other { kind, json } if self.keeps_others || OWN.contains(&kind.as_str()) => {
                return Some(json.clone());
            }
            Kind::Other { .. } | Kind::Served(_) => return self.lost(block),
        };
        out.maybe("cache_control", block.cache.as_deref());
        Some(out.done())
    }

    fn source(&mut self, block: &Block, source: &Source) -> Option<String> {
        let mut out;
        match source {
            Source::Data { media_type, data } => {
                let is_image = matches!(block.kind, Kind::Image(_));
                if !is_image && media_type != "application/pdf" {
                    return self.lost(block);
                }
                out = typed("base64");
                out.text("media_type", media_type).text("data", data);
            }
            Source::Url(url) => {
                out = typed("url");
                out.text("url", url);
            }
            Source::File(id) => {
                if !self.betas.iter().any(|own| own == FILES) {
                    self.betas.push(FILES.to_owned());
                }
                out = typed("file");
                out.text("file_id", id);
            }
            Source::Text(text) => {
                out = typed("text");
                out.text("media_type", "text/plain").text("data", text);
            }
            Source::Blocks(blocks) => {
                let blocks = self.write(blocks);
                out = typed("content");
                out.json("content", list(&blocks));
            }
        }
        Some(out.done())
    }

    fn lost(&mut self, block: &Block) -> Option<String> {
        self.losses.content(block.path.clone(), block.kind.name());
        None
    }
}

/// An id as the provider takes it: letters, digits, `_` and `-`. Ids of other providers have more.
fn clean(id: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    id.chars().map(|c| if is_good(c) { c } else { '_' }).collect()
}

/// JSON text of what a system says: text alone.
pub(super) fn system(blocks: &mut Blocks<'_>, said: &[&Block]) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    for block in said {
        match block.kind {
            Kind::Text(_) => out.extend(blocks.block(block)),
            _ => {
                blocks.lost(block);
            }
        }
    }
    (!out.is_empty()).then(|| list(&out))
}

/// JSON text of a message.
pub(super) fn message(role: &str, blocks: &[String]) -> String {
    let mut out = Writer::default();
    out.text("role", role).list("content", blocks);
    out.done()
}
