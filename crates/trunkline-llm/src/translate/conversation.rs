//! What a request says, whichever dialect it came in.
//!
//! Numbers that are only handed on, arguments and schemas stay the JSON text that they were. What no other dialect has a word
//! for is kept under its own name ([`Extra`], [`Kind::Other`], [`Tool::Other`]), so that whoever writes the request can carry it
//! or has to say that it cannot.

/// One request to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What was said, in order. Two that follow each other have different roles.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it has to call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once, if that is said.
    pub parallel_tools: Option<bool>,
    /// Tokens of the answer, at most.
    pub max_tokens: Option<u64>,
    /// JSON text of a number.
    pub temperature: Option<String>,
    /// JSON text of a number.
    pub top_p: Option<String>,
    /// JSON text of a number.
    pub top_k: Option<String>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// How much the model is to think first.
    pub reasoning: Option<Reasoning>,
    /// The same as Anthropic's `thinking` says it: JSON text.
    pub thinking: Option<String>,
    /// The form of the answer, if it is not free text.
    pub format: Option<Format>,
    /// Whom the request is made for.
    pub user: Option<String>,
    /// The answer is to come in pieces.
    pub stream: bool,
    /// The client wants the tokens in the last piece.
    pub include_usage: bool,
    /// Calls that the client approved: ids. Their results are there, empty.
    pub approved: Vec<String>,
    /// Members that have no word here.
    pub extras: Vec<Extra>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the application.
    System,
    /// The user, and what tools answered.
    User,
    /// The model.
    Assistant,
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What.
    pub blocks: Vec<Block>,
}

/// A part of what was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What it is.
    pub kind: Kind,
    /// JSON text of Anthropic's `cache_control`, which services of other dialects know too.
    pub cache: Option<String>,
    /// Where it stood in the request, as `messages[2].content[0]`.
    pub path: String,
}

impl Block {
    /// One without a mark for caches.
    pub fn new(kind: Kind, path: impl Into<String>) -> Self {
        Self {
            kind,
            cache: None,
            path: path.into(),
        }
    }
}

impl Kind {
    /// In words, for refusals.
    pub fn name(&self) -> String {
        let of = |source: &Source| match source {
            Source::Data { media_type, .. } => format!(" of type {media_type}"),
            Source::Url(_) => " at an address".to_owned(),
            Source::File(_) => " that another provider keeps".to_owned(),
            Source::Text(_) | Source::Blocks(_) => String::new(),
        };
        match self {
            Self::Text(_) => "a text".to_owned(),
            Self::Image(source) => format!("a picture{}", of(source)),
            Self::Document { source, .. } => format!("a document{}", of(source)),
            Self::ToolUse { .. } => "a call of a tool".to_owned(),
            Self::ToolResult { .. } => "the result of a tool".to_owned(),
            Self::Thinking { .. } | Self::Redacted(_) => "a thought".to_owned(),
            Self::Served(_) => "what the gateway did".to_owned(),
            Self::Other { kind, .. } => format!("`{kind}`"),
        }
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text.
    Text(String),
    /// A picture.
    Image(Source),
    /// A document.
    Document {
        /// Its content.
        source: Source,
        /// Its name.
        title: Option<String>,
        /// What else is to be known of it.
        context: Option<String>,
        /// JSON text of Anthropic's `citations`.
        citations: Option<String>,
    },
    /// A call of a tool. `input` is JSON text of an object, or what the model wrote instead.
    ToolUse {
        /// Of the call.
        id: String,
        /// Of the tool.
        name: String,
        /// JSON text.
        input: String,
    },
    /// What a tool answered.
    ToolResult {
        /// Of the call.
        id: String,
        /// Text, pictures, documents.
        blocks: Vec<Block>,
        /// It failed.
        is_error: bool,
    },
    /// What the model thought. Only what is signed can be shown to its provider again.
    Thinking {
        /// Its words.
        text: String,
        /// The provider's proof that it are its words.
        signature: Option<String>,
    },
    /// What it thought and nobody is to read.
    Redacted(String),
    /// What the gateway itself did for an answer; no request has it.
    Served(Box<Served>),
    /// What only the client's dialect has.
    Other {
        /// Its `type`.
        kind: String,
        /// JSON text, all of it.
        json: String,
    },
}

/// What the gateway did for an answer with tools of MCP servers, in the terms of OpenAI's responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It listed the tools of a reference.
    Listed {
        /// The client's name for the servers.
        label: String,
        /// JSON texts: `name`, `description`, `input_schema`, `annotations`.
        tools: Vec<String>,
        /// Why there are none.
        error: Option<String>,
    },
    /// It called one.
    Called {
        /// Of the call.
        call: ServedCall,
        /// What came of it, as text.
        output: String,
        /// Why it failed.
        error: Option<String>,
        /// JSON text of the whole result, where the tool gave one.
        result: Option<String>,
    },
    /// It does so only when the client has approved it.
    Asked(ServedCall),
}

/// A call of such a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedCall {
    /// The model's id of it.
    pub id: String,
    /// The client's name for the servers.
    pub label: String,
    /// The function's name, as the model and the client know it.
    pub name: String,
    /// JSON text of an object.
    pub arguments: String,
}

/// Where the bytes of a picture or a document are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Here, in base64.
    Data {
        /// As `image/png`.
        media_type: String,
        /// Base64.
        data: String,
    },
    /// At an address.
    Url(String),
    /// With the provider, under this id.
    File(String),
    /// Here, as plain text.
    Text(String),
    /// Parts of its own.
    Blocks(Vec<Block>),
}

/// What can be called.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// The client calls it.
    Function {
        /// Its name.
        name: String,
        /// For the model.
        description: Option<String>,
        /// JSON text of the schema of its arguments.
        schema: Option<String>,
        /// Arguments have to be exactly as the schema says.
        strict: Option<bool>,
        /// JSON text of `cache_control`.
        cache: Option<String>,
        /// The model is not told of it before it has found it.
        deferred: bool,
    },
    /// What only the client's dialect has.
    Other {
        /// Its `type`.
        kind: String,
        /// JSON text, all of it.
        json: String,
    },
}

/// Whether and what the model has to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Something.
    Any,
    /// Nothing.
    None,
    /// This one.
    Tool(String),
}

/// How much the model is to think first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// So many tokens at most.
    Budget(u64),
    /// In a word: `minimal`, `low`, `medium`, `high` …
    Effort(String),
    /// As much as the model finds right, perhaps with a word on it.
    Adaptive(Option<String>),
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// Its name.
        name: Option<String>,
        /// For the model.
        description: Option<String>,
        /// JSON text.
        schema: String,
        /// Exactly so.
        strict: bool,
    },
}

/// A member of a request that has no word here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its name.
    pub name: String,
    /// Its JSON text.
    pub json: String,
    /// The answer is the same without it: it says where something is kept, or what it may cost.
    pub is_hint: bool,
}

impl Conversation {
    /// Adds what somebody said; to the last turn if that is its own.
    pub fn say(&mut self, role: Role, blocks: Vec<Block>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => self.turns.push(Turn { role, blocks }),
        }
    }

    /// Takes an extra member out.
    pub fn take_extra(&mut self, name: &str) -> Option<Extra> {
        let at = self.extras.iter().position(|own| own.name == name)?;
        Some(self.extras.remove(at))
    }
}
