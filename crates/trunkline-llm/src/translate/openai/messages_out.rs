//! Messages of a chat completion, written for a provider.

use crate::translate::conversation::{Block, Kind, Role, Source, Turn};
use crate::translate::losses::Losses;
use crate::translate::{Writer, as_object, list, short_name, typed};

/// What is written where.
pub(super) struct Messages<'a> {
    /// The provider knows `cache_control`.
    pub(super) has_cache_marks: bool,
    /// And what only this dialect has.
    keeps_others: bool,
    pub(super) losses: &'a mut Losses,
    out: Vec<String>,
}

impl<'a> Messages<'a> {
    pub(super) fn new((has_cache_marks, keeps_others): (bool, bool), losses: &'a mut Losses) -> Self {
        Self {
            has_cache_marks,
            keeps_others,
            losses,
            out: Vec::new(),
        }
    }

    /// JSON text of the list.
    pub(super) fn write(mut self, turns: &[Turn]) -> String {
        for turn in turns {
            match turn.role {
                Role::System => self.said("system", &turn.blocks),
                Role::User => self.user(&turn.blocks),
                Role::Assistant => self.assistant(&turn.blocks),
            }
        }
        list(&self.out)
    }

    fn push(&mut self, role: &str, content: String) {
        let mut message = Writer::default();
        message.text("role", role).json("content", content);
        self.out.push(message.done());
    }

    fn said(&mut self, role: &str, blocks: &[Block]) {
        if let Some(content) = self.content(blocks.iter()) {
            self.push(role, content);
        }
    }

    /// Results come first: they belong to the calls before. Their pictures follow, because a result is text in this dialect.
    fn user(&mut self, blocks: &[Block]) {
        let mut pictures = Vec::new();
        for block in blocks {
            if let Kind::ToolResult { id, blocks, is_error } = &block.kind {
                self.result(id, blocks, &mut pictures);
                if *is_error {
                    self.losses.hint("messages.content.is_error");
                }
                self.mark(block);
            }
        }
        let mut parts = Vec::new();
        for (id, picture) in pictures {
            let label = format!("Of the result of the tool call {id}:");
            parts.push(part_of_text(&label));
            parts.extend(self.part(picture));
        }
        let others: Vec<&Block> = blocks
            .iter()
            .filter(|own| !matches!(own.kind, Kind::ToolResult { .. }))
            .collect();
        if parts.is_empty() {
            if let Some(content) = self.content(others.into_iter()) {
                self.push("user", content);
            }
            return;
        }
        for own in others {
            parts.extend(self.part(own));
        }
        self.push("user", list(&parts));
    }

    fn result<'b>(&mut self, id: &str, blocks: &'b [Block], pictures: &mut Vec<(String, &'b Block)>) {
        let is_picture = |own: &&Block| {
            matches!(
                own.kind,
                Kind::Image(_)
                    | Kind::Document {
                        source: Source::Data { .. },
                        ..
                    }
            )
        };
        pictures.extend(blocks.iter().filter(is_picture).map(|own| (id.to_owned(), own)));
        let content = self.content(blocks.iter().filter(|own| !is_picture(own)));
        let mut message = Writer::default();
        message.text("role", "tool").text("tool_call_id", id);
        // Some servers want text there.
        message.json("content", content.unwrap_or_else(|| "\"\"".to_owned()));
        self.out.push(message.done());
    }

    fn assistant(&mut self, blocks: &[Block]) {
        let (mut text, mut calls) = (String::new(), Vec::new());
        for block in blocks {
            match &block.kind {
                Kind::Text(own) => text.push_str(own),
                Kind::ToolUse { id, name, input } => {
                    let mut function = Writer::default();
                    function
                        .text("name", &short_name(name))
                        .text("arguments", &as_object(input));
                    let mut call = Writer::default();
                    call.text("id", id)
                        .text("type", "function")
                        .json("function", function.done());
                    calls.push(call.done());
                }
                // Thoughts are for whoever signed them.
                Kind::Thinking { .. } | Kind::Redacted(_) => self.losses.hint("messages.content.thinking"),
                _ => self.losses.content(block.path.clone(), block.kind.name()),
            }
            self.mark(block);
        }
        if text.is_empty() && calls.is_empty() {
            return;
        }
        let mut message = Writer::default();
        message.text("role", "assistant");
        if text.is_empty() {
            message.json("content", "null");
        } else {
            message.text("content", &text);
        }
        if !calls.is_empty() {
            message.list("tool_calls", &calls);
        }
        self.out.push(message.done());
    }

    /// One text is a string, for there are servers that know nothing else; more is a list.
    fn content<'b>(&mut self, blocks: impl Iterator<Item = &'b Block>) -> Option<String> {
        let blocks: Vec<&Block> = blocks
            .filter(|own| own.kind != Kind::Text(String::new()))
            .collect();
        if let [
            Block {
                kind: Kind::Text(text),
                cache,
                ..
            },
        ] = blocks.as_slice()
            && (cache.is_none() || !self.has_cache_marks)
        {
            self.mark(blocks[0]);
            return Some(trunkline_mcp::edit::string(text));
        }
        let parts: Vec<String> = blocks.into_iter().filter_map(|own| self.part(own)).collect();
        (!parts.is_empty()).then(|| list(&parts))
    }

    fn part(&mut self, block: &Block) -> Option<String> {
        let mut part = match &block.kind {
            Kind::Text(text) => {
                let mut part = typed("text");
                part.text("text", text);
                part
            }
            Kind::Image(source) => {
                let url = match source {
                    Source::Data { media_type, data } => format!("data:{media_type};base64,{data}"),
                    Source::Url(url) => url.clone(),
                    _ => return self.lost(block),
                };
                let mut own = Writer::default();
                own.text("url", &url);
                let mut part = typed("image_url");
                part.json("image_url", own.done());
                part
            }
            Kind::Document {
                source,
                title,
                context,
                citations,
            } => {
                if citations.as_ref().is_some_and(|own| own.contains("true")) {
                    self.losses.hint("messages.content.citations");
                }
                self.document(block, source, (title.as_deref(), context.as_deref()))?
            }
            Kind::Other { json, .. } if self.keeps_others => return Some(json.clone()),
            _ => return self.lost(block),
        };
        if let (Some(mark), true) = (&block.cache, self.has_cache_marks) {
            part.json("cache_control", mark.clone());
        }
        self.mark(block);
        Some(part.done())
    }

    fn document(
        &mut self,
        block: &Block,
        source: &Source,
        (title, context): (Option<&str>, Option<&str>),
    ) -> Option<Writer> {
        match source {
            Source::Data { media_type, data } => {
                if context.is_some() {
                    self.losses.wish(format!("{}.context", block.path));
                }
                let mut file = Writer::default();
                file.text("filename", title.unwrap_or("document.pdf"));
                file.text("file_data", &format!("data:{media_type};base64,{data}"));
                let mut part = typed("file");
                part.json("file", file.done());
                Some(part)
            }
            Source::Text(text) => {
                let heads = [title, context].into_iter().flatten();
                let text: Vec<&str> = heads.chain([text.as_str()]).collect();
                let mut part = typed("text");
                part.text("text", &text.join("\n\n"));
                Some(part)
            }
            _ => {
                self.lost(block);
                None
            }
        }
    }

    fn lost(&mut self, block: &Block) -> Option<String> {
        self.losses.content(block.path.clone(), block.kind.name());
        None
    }

    fn mark(&mut self, block: &Block) {
        if block.cache.is_some() && !self.has_cache_marks {
            self.losses.hint("cache_control");
        }
    }
}

fn part_of_text(text: &str) -> String {
    let mut part = typed("text");
    part.text("text", text);
    part.done()
}
