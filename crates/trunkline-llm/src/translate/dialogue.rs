//! A conversation that the gateway leads on its own for some rounds: it offers the model tools, calls what the model asks for, and asks
//! again.
//!
//! What the client says of it is read once and written anew for each round, whoever is asked. Where client and provider speak the same
//! dialect, what only that dialect has is handed on as it is.

use trunkline_mcp::edit::RawObject;

use super::answer::Answer;
use super::conversation::{Block, Conversation, Kind, Role, Tool, ToolChoice};
use super::losses::Losses;
use super::{Drops, Target, Translated, Way, anthropic, gemini, openai, responses};
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

impl Dialogue {
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

    /// So many tokens are left.
    pub fn set_max_tokens(&mut self, left: u64) {
        self.conversation.max_tokens = Some(left);
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
        let mut betas = Vec::new();
        let mut body = match target.dialect {
            Spoken::Gemini => gemini::request_out::write(&mut conversation, target, &mut losses)?,
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

/// What the provider knows as well as the client does.
fn with_extras(body: String, conversation: &mut Conversation) -> String {
    let extras = std::mem::take(&mut conversation.extras);
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
