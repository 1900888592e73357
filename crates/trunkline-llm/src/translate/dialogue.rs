//! A conversation that the gateway leads on its own for some rounds: it offers the model tools, calls what the model asks for, and asks
//! again.
//!
//! What the client says of it is read once and written anew for each round, whoever is asked. Where client and provider speak the same
//! dialect, what only that dialect has is handed on as it is.

use trunkline_mcp::edit::RawObject;

use super::answer::Answer;
use super::conversation::{Block, Conversation, Extra, Kind, Reasoning, Role, Source, Tool, ToolChoice};
use super::losses::Losses;
use super::{Drops, Target, Translated, Way, anthropic, bedrock, deferred, gemini, openai, responses};
use crate::request::bad;
use crate::{BadRequest, Dialect, Spoken};

/// The conversation so far.
#[derive(Clone, Debug)]
pub struct Dialogue {
    client: Dialect,
    conversation: Conversation,
    /// What of the client's was lost when it was read.
    losses: Losses,
    /// What of the request the answer repeats.
    repeated: Vec<(String, String)>,
}

/// A call that the model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of the call.
    pub id: String,
    /// Of the function.
    pub name: String,
    /// JSON text, or what the model wrote instead.
    pub input: String,
}

/// What a tool answered, for the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Of the call.
    pub id: String,
    /// Text, pictures, documents.
    pub blocks: Vec<Block>,
    /// It failed.
    pub is_error: bool,
}

impl Given {
    /// Bytes of it.
    pub fn size(&self) -> usize {
        size_of(&self.blocks)
    }
}

fn size_of(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| size_of_kind(&block.kind)).sum()
}

fn size_of_kind(kind: &Kind) -> usize {
    let of = |source: &Source| match source {
        Source::Data { data: text, .. } | Source::Url(text) | Source::File(text) | Source::Text(text) => {
            text.len()
        }
        Source::Blocks(blocks) => size_of(blocks),
    };
    match kind {
        Kind::Text(text)
        | Kind::Thinking { text, .. }
        | Kind::Redacted(text)
        | Kind::Other { json: text, .. } => text.len(),
        Kind::Image(source) | Kind::Document { source, .. } => of(source),
        Kind::ToolUse { name, input, .. } => name.len() + input.len(),
        Kind::ToolResult { blocks, .. } => size_of(blocks),
        Kind::Served(_) => 0,
    }
}

/// Tokens that a picture takes, and a document, more or less: what they are is not looked at.
const OF_A_PICTURE: usize = 1600;
const OF_A_DOCUMENT: usize = 3000;
/// Bytes of text that are about a token.
const BYTES_OF_A_TOKEN: usize = 4;
/// Tokens around a message.
const AROUND: usize = 4;

fn bytes_of(block: &Block) -> usize {
    match &block.kind {
        Kind::Image(_) => OF_A_PICTURE * BYTES_OF_A_TOKEN,
        Kind::Document { source, .. } => match source {
            Source::Text(text) => text.len(),
            _ => OF_A_DOCUMENT * BYTES_OF_A_TOKEN,
        },
        Kind::ToolResult { blocks, .. } => blocks.iter().map(bytes_of).sum(),
        kind => size_of_kind(kind),
    }
}

impl Dialogue {
    /// About how many tokens it takes, for where nobody counts them.
    pub fn about_tokens(&self) -> u64 {
        let turns = self.conversation.turns.iter();
        let said: usize = turns
            .map(|turn| AROUND * BYTES_OF_A_TOKEN + turn.blocks.iter().map(bytes_of).sum::<usize>())
            .sum();
        let of_tool = |tool: &Tool| match tool {
            Tool::Function {
                name,
                description,
                schema,
                ..
            } => {
                let texts = [description.as_ref(), schema.as_ref()];
                name.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
            }
            Tool::Other { json, .. } => json.len(),
        };
        let tools: usize = self.conversation.tools.iter().map(of_tool).sum();
        (said + tools).div_ceil(BYTES_OF_A_TOKEN) as u64
    }

    /// Reads what a client says.
    pub fn read(object: &RawObject<'_>, client: Dialect) -> Result<Self, BadRequest> {
        let mut losses = Losses::default();
        let conversation = match client {
            Dialect::OpenAi => openai::request_in::read(object, &mut losses)?,
            Dialect::Responses => responses::request_in::read(object, &mut losses)?,
            Dialect::Anthropic => anthropic::request_in::read(object, &mut losses)?,
        };
        let repeated = match client {
            Dialect::Responses => responses::request_in::repeated(object),
            Dialect::OpenAi | Dialect::Anthropic => Vec::new(),
        };
        Ok(Self {
            client,
            conversation,
            losses,
            repeated,
        })
    }

    /// Offers the model another tool. Errors if the client has one of the name.
    pub fn offer(&mut self, tool: Tool) -> Result<(), BadRequest> {
        if let Tool::Function { name, .. } = &tool
            && self.has_function(name)
        {
            let text = format!(
                "`tools` has the function {name:?}, and so has an MCP server that it names: call one of them otherwise"
            );
            return Err(bad(Some("tools"), text));
        }
        self.conversation.tools.push(tool);
        Ok(())
    }

    fn has_function(&self, wanted: &str) -> bool {
        let mut tools = self.conversation.tools.iter();
        tools.any(|own| matches!(own, Tool::Function { name, .. } if name == wanted))
    }

    /// Calls that the client has approved and nobody has made, in its order.
    pub fn approved(&self) -> Vec<Wanted> {
        let blocks = self.conversation.turns.iter().flat_map(|turn| &turn.blocks);
        let calls = blocks.filter_map(|block| match &block.kind {
            Kind::ToolUse { id, name, input } if self.conversation.approved.contains(id) => Some(Wanted {
                id: id.clone(),
                name: name.clone(),
                input: input.clone(),
            }),
            _ => None,
        });
        calls.collect()
    }

    /// What came of an approved call.
    pub fn fill(&mut self, given: Given) {
        self.conversation.approved.retain(|id| *id != given.id);
        let blocks = self
            .conversation
            .turns
            .iter_mut()
            .flat_map(|turn| &mut turn.blocks);
        for block in blocks {
            if let Kind::ToolResult { id, blocks, is_error } = &mut block.kind
                && *id == given.id
            {
                (*blocks, *is_error) = (given.blocks, given.is_error);
                return;
            }
        }
    }

    /// The model answered, and its tools answered it.
    pub fn go_on(&mut self, answer: &Answer, given: Vec<Given>) {
        let said = answer
            .parts
            .iter()
            .filter(|part| !matches!(part.kind, Kind::Served(_)));
        let said = said.map(|part| Block::new(part.kind.clone(), "messages"));
        self.conversation.say(Role::Assistant, said.collect());
        let results = given.into_iter().map(|given| {
            let kind = Kind::ToolResult {
                id: given.id,
                blocks: given.blocks,
                is_error: given.is_error,
            };
            Block::new(kind, "messages")
        });
        self.conversation.say(Role::User, results.collect());
        // What had to be called was: if it had to be called again, nobody would ever answer.
        if matches!(
            self.conversation.tool_choice,
            Some(ToolChoice::Any | ToolChoice::Tool(_))
        ) {
            self.conversation.tool_choice = Some(ToolChoice::Auto);
        }
    }

    /// From now on nothing may be called.
    pub fn call_no_more(&mut self) {
        self.conversation.tool_choice = Some(ToolChoice::None);
    }

    /// Tokens that the answer may have in all, if that is said.
    pub fn max_tokens(&self) -> Option<u64> {
        self.conversation.max_tokens
    }

    /// So many tokens are left. Who may think for more of them than that keeps the number: a provider refuses less.
    pub fn set_max_tokens(&mut self, left: u64) {
        match self.conversation.reasoning {
            Some(Reasoning::Budget(budget)) if budget >= left => {}
            _ => self.conversation.max_tokens = Some(left),
        }
    }

    /// Bytes of what was said and of what may be called, about: as many as a provider reads.
    pub fn size(&self) -> usize {
        let said: usize = self
            .conversation
            .turns
            .iter()
            .map(|turn| size_of(&turn.blocks))
            .sum();
        let tools = self.conversation.tools.iter().map(|tool| match tool {
            Tool::Function {
                name,
                description,
                schema,
                ..
            } => {
                let texts = [description, schema].into_iter().flatten();
                name.len() + texts.map(String::len).sum::<usize>()
            }
            Tool::Other { json, .. } => json.len(),
        });
        said + tools.sum::<usize>()
    }

    /// Takes members out, by the name that any dialect has for them. Returns those that were there.
    pub fn without(&mut self, names: &[String]) -> Vec<String> {
        let own = &mut self.conversation;
        let mut gone = Vec::new();
        for name in names {
            let had = match name.as_str() {
                "temperature" => own.temperature.take().is_some(),
                "top_p" => own.top_p.take().is_some(),
                "top_k" => own.top_k.take().is_some(),
                "stop" | "stop_sequences" => !std::mem::take(&mut own.stop).is_empty(),
                "user" | "metadata.user_id" => own.user.take().is_some(),
                "parallel_tool_calls" => own.parallel_tools.take().is_some(),
                "tool_choice" => own.tool_choice.take().is_some(),
                "response_format" | "text" | "output_config" => own.format.take().is_some(),
                "reasoning_effort" | "reasoning" | "thinking" => {
                    own.thinking = None;
                    own.reasoning.take().is_some()
                }
                "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                    own.max_tokens.take().is_some()
                }
                name => own.take_extra(name).is_some(),
            };
            if had {
                gone.push(name.clone());
            }
        }
        gone
    }

    /// Whether the answer is to have a form: what is said before a call would break it.
    pub fn has_format(&self) -> bool {
        self.conversation.format.is_some()
    }

    /// How the client's answer is written, whoever answers.
    pub fn way(&self) -> Way {
        Way {
            provider: Spoken::By(self.client),
            client: self.client,
            form_is_tool: false,
            include_usage: self.conversation.include_usage,
            names: Vec::new(),
            repeated: self.repeated.clone(),
        }
    }

    /// Writes it for a provider.
    pub fn write(&self, target: &Target<'_>, drops: &Drops) -> Result<Translated, BadRequest> {
        let (mut conversation, mut losses) = (self.conversation.clone(), self.losses.clone());
        let mut way = Way {
            provider: target.dialect,
            ..self.way()
        };
        if target.dialect != Spoken::By(Dialect::Anthropic) {
            deferred::tell(&mut conversation, &mut losses);
        }
        let mut betas = Vec::new();
        let mut body = match target.dialect {
            Spoken::Gemini => gemini::request_out::write(&mut conversation, target, &mut losses)?,
            Spoken::Bedrock => bedrock::request_out::write(&mut conversation, target, &mut way, &mut losses)?,
            Spoken::By(Dialect::OpenAi) => {
                openai::request_out::write(&mut conversation, target, &mut way, &mut losses)?
            }
            // Whoever speaks it also speaks the older one, and is asked in that ([`crate::Endpoint::others`]).
            Spoken::By(Dialect::Responses) => {
                return Err(bad(None, "nothing is translated into responses"));
            }
            Spoken::By(Dialect::Anthropic) => {
                anthropic::request_out::write(&mut conversation, target, &mut way, &mut betas, &mut losses)?
            }
        };
        if target.dialect == Spoken::By(self.client) {
            body = with_extras(body, &mut conversation);
        }
        leave_out(conversation, &mut losses);
        Ok(Translated {
            body,
            dropped: losses.settle(drops, (target.provider, target.model))?,
            betas,
            way,
        })
    }
}

/// Several answers at once cannot be led on.
const ONE_ANSWER: &str = "n";

/// What the provider knows as well as the client does.
fn with_extras(body: String, conversation: &mut Conversation) -> String {
    let (left, extras): (Vec<Extra>, Vec<Extra>) = std::mem::take(&mut conversation.extras)
        .into_iter()
        .partition(|extra| extra.name == ONE_ANSWER);
    conversation.extras = left;
    if extras.is_empty() {
        return body;
    }
    let Ok(mut object) = RawObject::parse(&body) else {
        return body;
    };
    for extra in extras {
        // How the usage of a stream is asked for is written already.
        if object.get(&extra.name).is_none() {
            object.set(&extra.name, extra.json);
        }
    }
    object.to_json()
}

/// What nobody took.
fn leave_out(conversation: Conversation, losses: &mut Losses) {
    for extra in conversation.extras {
        if extra.is_hint {
            losses.hint(extra.name);
        } else {
            losses.wish(extra.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(body: &str, client: Dialect) -> Dialogue {
        Dialogue::read(&RawObject::parse(body).unwrap(), client).unwrap()
    }

    fn target(dialect: Dialect) -> Target<'static> {
        Target {
            dialect: Spoken::By(dialect),
            provider: "hosted_vllm",
            model: "m",
            max_tokens: None,
            asks_usage: true,
        }
    }

    #[test]
    fn what_one_dialect_has_goes_to_a_provider_that_speaks_it() {
        let chat = r#"{"model":"x","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"aGk="}}]}],"seed":7,"logit_bias":{"1":2},"tools":[{"type":"custom","custom":{"name":"c"}}]}"#;
        let own = dialogue(chat, Dialect::OpenAi);
        let written = own.write(&target(Dialect::OpenAi), &Drops::default()).unwrap();
        for part in [
            r#""input_audio":{"data":"aGk="}"#,
            r#""seed":7"#,
            r#""logit_bias":{"1":2}"#,
            r#"{"type":"custom","custom":{"name":"c"}}"#,
        ] {
            assert!(written.body.contains(part), "{part} in {}", written.body);
        }
        assert!(own.write(&target(Dialect::Anthropic), &Drops::default()).is_err());
        let message = r#"{"model":"x","max_tokens":9,"messages":[{"role":"user","content":[{"type":"new_block","a":1}]}],"new_member":{"b":2},"tools":[{"type":"new_tool_1","name":"n"}]}"#;
        let own = dialogue(message, Dialect::Anthropic);
        let written = own.write(&target(Dialect::Anthropic), &Drops::default()).unwrap();
        for part in [
            r#"{"type":"new_block","a":1}"#,
            r#""new_member":{"b":2}"#,
            r#"{"type":"new_tool_1","name":"n"}"#,
        ] {
            assert!(written.body.contains(part), "{part} in {}", written.body);
        }
        let several = r#"{"model":"x","messages":[{"role":"user","content":"Hi"}],"n":2}"#;
        let refused = dialogue(several, Dialect::OpenAi).write(&target(Dialect::OpenAi), &Drops::default());
        assert_eq!(refused.unwrap_err().param.as_deref(), Some("n"));
    }

    #[test]
    fn of_tools_that_wait_to_be_found_other_providers_hear_when_they_were() {
        let tools = r#"[{"name":"search","input_schema":{}},{"name":"found","input_schema":{},"defer_loading":true},{"name":"hidden","input_schema":{},"defer_loading":true}]"#;
        let said = r#"[{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"search","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"tool_reference","tool_name":"found"}]}]}]"#;
        let body =
            |tools: &str| format!(r#"{{"model":"x","max_tokens":9,"messages":{said},"tools":{tools}}}"#);
        let own = dialogue(&body(tools), Dialect::Anthropic);
        for dialect in [Spoken::By(Dialect::OpenAi), Spoken::Gemini, Spoken::Bedrock] {
            let target = Target {
                dialect,
                ..target(Dialect::OpenAi)
            };
            let written = own.write(&target, &Drops::default()).unwrap();
            let (body, found) = (&written.body, r#""name":"found""#);
            assert!(body.contains(found) && !body.contains("hidden"), "{body}");
            assert!(body.contains("The tool found can be called now."), "{body}");
            assert_eq!(written.dropped, ["tools.defer_loading"]);
        }
        // Anthropic's models find them on their own.
        let written = own.write(&target(Dialect::Anthropic), &Drops::default()).unwrap();
        for part in [
            r#"{"type":"tool_reference","tool_name":"found"}"#,
            r#"{"name":"hidden","input_schema":{"type":"object"},"defer_loading":true}"#,
        ] {
            assert!(written.body.contains(part), "{part} in {}", written.body);
        }
        // Where the search itself is left out, nothing would ever be found.
        let search = tools.replacen(
            '[',
            r#"[{"type":"tool_search_tool_regex_20251119","name":"s"},"#,
            1,
        );
        let own = dialogue(&body(&search), Dialect::Anthropic);
        assert!(own.write(&target(Dialect::OpenAi), &Drops::default()).is_err());
        let drops = Drops {
            all: true,
            ..Drops::default()
        };
        let written = own.write(&target(Dialect::OpenAi), &drops).unwrap();
        assert!(written.body.contains(r#""name":"hidden""#), "{}", written.body);
    }

    #[test]
    fn a_round_is_appended_and_what_had_to_be_called_need_not_be_again() {
        let body = r#"{"model":"x","messages":[{"role":"user","content":"Hi"}],"tool_choice":"required"}"#;
        let mut own = dialogue(body, Dialect::OpenAi);
        let tool = |name: &str| Tool::Function {
            name: name.to_owned(),
            description: None,
            schema: None,
            strict: None,
            cache: None,
            deferred: false,
        };
        own.offer(tool("s-t")).unwrap();
        assert!(own.offer(tool("s-t")).is_err());
        let call = Kind::ToolUse {
            id: "c".to_owned(),
            name: "s-t".to_owned(),
            input: "{}".to_owned(),
        };
        let answer = Answer {
            parts: vec![super::super::answer::Part::new(call)],
            ..Answer::default()
        };
        own.go_on(
            &answer,
            vec![Given {
                id: "c".to_owned(),
                blocks: vec![Block::new(Kind::Text("done".to_owned()), "tools")],
                is_error: false,
            }],
        );
        let written = own
            .write(&target(Dialect::OpenAi), &Drops::default())
            .unwrap()
            .body;
        let messages = r#""messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"s-t","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"done"}]"#;
        assert!(written.contains(messages), "{written}");
        assert!(written.contains(r#""tool_choice":"auto""#), "{written}");
        own.call_no_more();
        let written = own
            .write(&target(Dialect::OpenAi), &Drops::default())
            .unwrap()
            .body;
        assert!(written.contains(r#""tool_choice":"none""#), "{written}");
    }

    #[test]
    fn what_a_client_approved_is_made_before_the_model_is_asked() {
        let body = r#"{"model":"x","input":[{"role":"user","content":"Hi"},
            {"type":"mcp_list_tools","id":"l","server_label":"s","tools":[]},
            {"type":"mcp_call","id":"old","server_label":"s","name":"s-a","arguments":"{}","output":null,"error":"broken"},
            {"type":"mcp_approval_request","id":"mcpr_c","server_label":"s","name":"s-t","arguments":"{\"a\":1}"},
            {"type":"mcp_approval_response","approval_request_id":"mcpr_c","approve":true}]}"#;
        let mut own = dialogue(body, Dialect::Responses);
        let wanted = Wanted {
            id: "c".to_owned(),
            name: "s-t".to_owned(),
            input: "{\"a\":1}".to_owned(),
        };
        assert_eq!(own.approved(), [wanted]);
        own.fill(Given {
            id: "c".to_owned(),
            blocks: vec![Block::new(Kind::Text("done".to_owned()), "tools")],
            is_error: false,
        });
        assert!(own.approved().is_empty());
        let written = own
            .write(&target(Dialect::OpenAi), &Drops::default())
            .unwrap()
            .body;
        for part in [
            r#"{"role":"tool","tool_call_id":"old","content":"broken"}"#,
            r#"{"role":"tool","tool_call_id":"c","content":"done"}"#,
        ] {
            assert!(written.contains(part), "{part} in {written}");
        }
    }
}
