//! What was said, written as Gemini's `contents`.

use std::collections::HashMap;

use crate::translate::conversation::{Block, Kind, Source};
use crate::translate::losses::Losses;
use crate::translate::{Writer, as_object, list};

/// Between the id of a call and the signature of the thought that led to it: LiteLLM's separator. Clients send ids back as they are,
/// and Gemini wants its signature again.
pub(super) const SIGNATURE: &str = "__thought__";

/// Writes parts.
pub(super) struct Parts<'a> {
    losses: &'a mut Losses,
    /// Names of tools by the id of their call: results have to say them.
    names: HashMap<String, String>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(losses: &'a mut Losses) -> Self {
        Self {
            losses,
            names: HashMap::new(),
        }
    }

    /// JSON texts of the parts.
    pub(super) fn write(&mut self, blocks: &[Block]) -> Vec<String> {
        let mut parts = Vec::new();
        for block in blocks {
            if block.cache.is_some() {
                self.losses.hint("cache_control");
            }
            self.block(block, &mut parts);
        }
        parts
    }

    fn block(&mut self, block: &Block, parts: &mut Vec<String>) {
        let mut part = Writer::default();
        match &block.kind {
            Kind::Text(text) if text.is_empty() => return,
            Kind::Text(text) => {
                part.text("text", text);
            }
            Kind::Image(source) => match self.data(block, source) {
                Some((name, data)) => {
                    part.json(name, data);
                }
                None => return,
            },
            Kind::Document {
                source,
                title,
                context,
                ..
            } => {
                for text in [title, context].into_iter().flatten() {
                    let mut head = Writer::default();
                    head.text("text", text);
                    parts.push(head.done());
                }
                match (source, self.data(block, source)) {
                    (Source::Text(text), _) => {
                        part.text("text", text);
                    }
                    (_, Some((name, data))) => {
                        part.json(name, data);
                    }
                    (_, None) => return,
                }
            }
            Kind::ToolUse { id, name, input } => {
                self.names.insert(id.clone(), name.clone());
                let mut call = Writer::default();
                call.text("name", name).json("args", as_object(input));
                part.json("functionCall", call.done());
                if let Some((_, signature)) = id.split_once(SIGNATURE) {
                    part.text("thoughtSignature", signature);
                }
            }
            Kind::ToolResult { id, blocks, is_error } => {
                return self.result(block, (id, blocks, *is_error), parts);
            }
            Kind::Thinking { .. } | Kind::Redacted(_) => {
                self.losses.hint("messages.content.thinking");
                return;
            }
            Kind::Other { .. } | Kind::Served(_) => {
                self.losses.content(block.path.clone(), block.kind.name());
                return;
            }
        }
        parts.push(part.done());
    }

    /// A picture or a document: where it stands in a part, and what it is.
    fn data(&mut self, block: &Block, source: &Source) -> Option<(&'static str, String)> {
        let mut data = Writer::default();
        match source {
            Source::Data {
                media_type,
                data: own,
            } => {
                data.text("mimeType", media_type).text("data", own);
                Some(("inlineData", data.done()))
            }
            // Of its own files, and of addresses that are public.
            Source::Url(url) => {
                data.text("fileUri", url);
                Some(("fileData", data.done()))
            }
            Source::Text(_) => None,
            Source::File(_) | Source::Blocks(_) => {
                self.losses.content(block.path.clone(), block.kind.name());
                None
            }
        }
    }

    /// The result of a call: an object. Pictures follow it.
    fn result(
        &mut self,
        block: &Block,
        (id, blocks, is_error): (&str, &[Block], bool),
        parts: &mut Vec<String>,
    ) {
        let Some(name) = self.names.get(id).cloned() else {
            self.losses
                .content(block.path.clone(), "the result of a call that is not there");
            return;
        };
        let (mut texts, mut others) = (Vec::new(), Vec::new());
        for own in blocks {
            match &own.kind {
                Kind::Text(text) => texts.push(text.as_str()),
                _ => self.block(own, &mut others),
            }
        }
        let mut response = Writer::default();
        response.text(if is_error { "error" } else { "output" }, &texts.join("\n"));
        let mut result = Writer::default();
        result.text("name", &name).json("response", response.done());
        let mut part = Writer::default();
        part.json("functionResponse", result.done());
        parts.push(part.done());
        parts.extend(others);
    }
}

/// JSON text of a turn.
pub(super) fn content(role: Option<&str>, parts: &[String]) -> String {
    let mut out = Writer::default();
    out.maybe_text("role", role).json("parts", list(parts));
    out.done()
}
