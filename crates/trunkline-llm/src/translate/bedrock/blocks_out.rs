//! What was said, written as the content of Converse's messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use trunkline_mcp::edit::RawObject;

use crate::translate::conversation::{Block, Kind, Source};
use crate::translate::losses::Losses;
use crate::translate::{Writer, as_object, list, short_name};

/// Types of pictures, and the provider's names.
const PICTURES: [(&str, &str); 5] = [
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/jpg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];

/// Types of documents, and the provider's names.
const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.ms-excel", "xls"),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];

/// Writes content.
pub(super) struct Blocks<'a> {
    pub(super) losses: &'a mut Losses,
    /// Documents so far: the provider wants names that differ.
    pub(super) documents: usize,
}

impl Blocks<'_> {
    /// JSON texts of the blocks, with the marks for caches.
    pub(super) fn write(&mut self, blocks: &[Block]) -> Vec<String> {
        let mut out = Vec::new();
        for block in blocks {
            let before = out.len();
            self.block(block, &mut out);
            if let (Some(cache), true) = (&block.cache, out.len() > before) {
                out.push(cache_point(cache));
            }
        }
        out
    }

    fn block(&mut self, block: &Block, out: &mut Vec<String>) {
        let mut part = Writer::default();
        match &block.kind {
            // The provider refuses blanks, and nothing is said by them.
            Kind::Text(text) if text.trim().is_empty() => return,
            Kind::Text(text) => {
                part.text("text", text);
            }
            Kind::Image(source) => match picture(source) {
                Some(json) => {
                    part.json("image", json);
                }
                None => return self.lost(block),
            },
            Kind::Document {
                source,
                title,
                context,
                citations,
            } => {
                if citations.is_some() {
                    self.losses.hint("citations");
                }
                if let Some(context) = context {
                    let mut text = Writer::default();
                    out.push(text.text("text", context).done());
                }
                match self.document(source, title.as_deref()) {
                    Some(json) => {
                        part.json("document", json);
                    }
                    None => return self.lost(block),
                }
            }
            Kind::ToolUse { id, name, input } => {
                let mut call = Writer::default();
                call.text("toolUseId", id).text("name", &short_name(name));
                call.json("input", as_object(input));
                part.json("toolUse", call.done());
            }
            Kind::ToolResult { id, blocks, is_error } => {
                let mut content = self.write(blocks);
                if content.is_empty() {
                    // Something has to be there.
                    let mut text = Writer::default();
                    content.push(text.text("text", "(no content)").done());
                }
                let mut result = Writer::default();
                result.text("toolUseId", id).json("content", list(&content));
                if *is_error {
                    result.text("status", "error");
                }
                part.json("toolResult", result.done());
            }
            Kind::Thinking {
                text,
                signature: Some(signature),
            } if !signature.is_empty() => {
                let mut thought = Writer::default();
                thought.text("text", text).text("signature", signature);
                let mut reasoning = Writer::default();
                reasoning.json("reasoningText", thought.done());
                part.json("reasoningContent", reasoning.done());
            }
            Kind::Thinking { .. } => {
                self.losses.hint("messages.content.thinking");
                return;
            }
            Kind::Redacted(data) => {
                let mut reasoning = Writer::default();
                reasoning.text("redactedContent", data);
                part.json("reasoningContent", reasoning.done());
            }
            Kind::Other { .. } | Kind::Served(_) => return self.lost(block),
        }
        out.push(part.done());
    }

    fn lost(&mut self, block: &Block) {
        self.losses.content(block.path.clone(), block.kind.name());
    }

    fn document(&mut self, source: &Source, title: Option<&str>) -> Option<String> {
        let (format, data) = match source {
            Source::Data { media_type, data } => {
                let known = DOCUMENTS.iter().find(|(own, _)| own == media_type)?;
                (known.1, data.clone())
            }
            Source::Text(text) => ("txt", STANDARD.encode(text)),
            Source::Url(_) | Source::File(_) | Source::Blocks(_) => return None,
        };
        self.documents += 1;
        let mut out = Writer::default();
        out.text("format", format);
        out.text("name", &document_name(title, self.documents));
        out.json("source", bytes(&data));
        Some(out.done())
    }
}

/// Letters, digits, single blanks, hyphens and brackets are all that names of documents may have; and they have to differ.
fn document_name(title: Option<&str>, number: usize) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "-()[]".contains(c);
    let title = title.unwrap_or_default();
    let plain: String = title.chars().map(|c| if is_kept(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let name: String = words.join(" ").chars().take(100).collect();
    let name = name.trim();
    match (name, number) {
        ("", number) => format!("document {number}"),
        (name, 1) => name.to_owned(),
        (name, number) => format!("{name} {number}"),
    }
}

fn bytes(data: &str) -> String {
    let mut source = Writer::default();
    source.text("bytes", data).done()
}

fn picture(source: &Source) -> Option<String> {
    let Source::Data { media_type, data } = source else {
        return None;
    };
    let (_, format) = PICTURES.iter().find(|(own, _)| own == media_type)?;
    let mut out = Writer::default();
    out.text("format", format).json("source", bytes(data));
    Some(out.done())
}

/// A mark for caches: Anthropic's `cache_control` as the provider has it.
pub(super) fn cache_point(cache: &str) -> String {
    let mut point = Writer::default();
    point.text("type", "default");
    let ttl = RawObject::parse(cache).ok().and_then(|own| own.get_string("ttl"));
    // Five minutes are the usual time, which older models have no word for.
    point.maybe_text("ttl", ttl.as_deref().filter(|own| *own != "5m"));
    let mut out = Writer::default();
    out.json("cachePoint", point.done()).done()
}
