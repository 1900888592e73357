//! A message, written for a provider.

use trunkline_mcp::edit::RawObject;

use super::blocks_out::{self, Blocks};
use super::models::{Abilities, abilities};
use crate::request::bad;
use crate::translate::conversation::{Block, Conversation, Format, Kind, Reasoning, Role, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::{FORM_TOOL, Target, Way, Writer, typed};
use crate::{BadRequest, Dialect};

/// Members of this dialect that clients of another one may send all the same.
const OWN: [&str; 6] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
];

/// How the types of tools begin that the provider has itself, and what it has to be told in `anthropic-beta` for each.
const TOOLS: [(&str, &str); 12] = [
    ("bash_", ""),
    ("text_editor_", ""),
    ("web_search_", ""),
    ("tool_search_", ""),
    ("mcp_toolset", ""),
    ("computer_20241022", "computer-use-2024-10-22"),
    ("computer_20250124", "computer-use-2025-01-24"),
    ("computer_20251124", "computer-use-2025-11-24"),
    ("code_execution_20250522", "code-execution-2025-05-22"),
    ("code_execution_", "code-execution-2025-08-25"),
    ("web_fetch_", "web-fetch-2025-09-10"),
    ("memory_", "context-management-2025-06-27"),
];

/// Tokens of thought for each word: LiteLLM's, but for the least that the provider takes.
const BUDGETS: [(&str, u64); 6] = [
    ("minimal", MIN_BUDGET),
    ("low", 1024),
    ("medium", 2048),
    ("high", 4096),
    ("xhigh", 8192),
    ("max", 16_384),
];
const MIN_BUDGET: u64 = 1024;
/// Tokens beside those of thought, if nothing is said about them: LiteLLM's number.
const BESIDE_THOUGHT: u64 = 4096;

/// JSON text of the body.
pub(in crate::translate) fn write(
    own: &mut Conversation,
    target: &Target<'_>,
    way: &mut Way,
    betas: &mut Vec<String>,
    losses: &mut Losses,
) -> Result<String, BadRequest> {
    let can = abilities(target.model);
    let mut body = Writer::default();
    body.text("model", target.model);
    let (thinking, effort) = thinking(own, &can, losses);
    let budget = match thinking {
        Some(Thinking::Budget(budget) | Thinking::Said(_, budget)) => budget,
        _ => 0,
    };
    let usual = target.max_tokens.unwrap_or(can.max_tokens);
    let most = own
        .max_tokens
        .unwrap_or_else(|| usual.max(if budget > 0 { budget + BESIDE_THOUGHT } else { 0 }));
    body.json("max_tokens", most.to_string());
    let keeps_others = way.client == Dialect::Anthropic;
    let mut blocks = Blocks {
        losses,
        betas,
        keeps_others,
    };
    messages(own, &mut body, &mut blocks)?;
    for (name, number) in [
        ("temperature", &own.temperature),
        ("top_p", &own.top_p),
        ("top_k", &own.top_k),
    ] {
        body.maybe(name, number.as_deref());
    }
    if !own.stop.is_empty() {
        let texts: Vec<String> = own
            .stop
            .iter()
            .map(|text| trunkline_mcp::edit::string(text))
            .collect();
        body.list("stop_sequences", &texts);
    }
    let native = form(own, &can, way);
    if !can.forms {
        loosen(&mut own.tools, losses);
    }
    let thinks = thinking.as_ref().is_some_and(|own| !matches!(own, Thinking::Off));
    tools(own, &mut body, (thinks, way), betas, losses);
    if let Some(thinking) = &thinking {
        body.json("thinking", thinking.json());
    }
    output_config(&mut body, effort.as_deref(), native.as_deref());
    match &own.user {
        Some(user) if is_personal(user) => losses.hint("user"),
        Some(user) => {
            let mut metadata = Writer::default();
            metadata.text("user_id", user);
            body.json("metadata", metadata.done());
        }
        None => {}
    }
    if own.stream {
        body.json("stream", "true");
    }
    for name in OWN {
        if let Some(extra) = own.take_extra(name) {
            body.json(name, extra.json);
        }
    }
    Ok(body.done())
}

/// An address or a number of a telephone: the provider does not want to know them, and LiteLLM leaves them out too.
fn is_personal(user: &str) -> bool {
    let is_address = user.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !user.contains([' ', '/', ':'])
    });
    let digits = user.chars().filter(char::is_ascii_digit).count();
    let is_number = digits >= 7 && user.chars().all(|c| c.is_ascii_digit() || "+ ()-".contains(c));
    is_address || is_number
}

fn messages(own: &Conversation, body: &mut Writer, blocks: &mut Blocks<'_>) -> Result<(), BadRequest> {
    let said = own.turns.iter().filter(|turn| turn.role == Role::System);
    let said: Vec<&Block> = said.flat_map(|turn| &turn.blocks).collect();
    let system = blocks_out::system(blocks, &said);
    body.maybe("system", system.as_deref());
    let mut turns: Vec<(Role, Vec<String>)> = Vec::new();
    let last = own.turns.iter().rposition(|turn| turn.role != Role::System);
    for (index, turn) in own.turns.iter().enumerate() {
        if turn.role == Role::System {
            continue;
        }
        let mut said = turn.blocks.clone();
        if Some(index) == last && turn.role == Role::Assistant {
            trim_end(&mut said);
        }
        let said = blocks.write(&said);
        match turns.last_mut() {
            _ if said.is_empty() => {}
            // What a system said between them was taken out.
            Some((role, before)) if *role == turn.role => before.extend(said),
            _ => turns.push((turn.role, said)),
        }
    }
    match turns.first() {
        // What was lost is said instead.
        None if blocks.losses.has_content() => {}
        None => {
            return Err(bad(
                Some("messages"),
                "`messages` must have a message of the user's that is not empty",
            ));
        }
        Some((Role::Assistant, _)) => {
            let text = "`messages` must begin with one of the user's: the provider's conversations do";
            return Err(bad(Some("messages"), text));
        }
        Some(_) => {}
    }
    let turns: Vec<String> = turns
        .iter()
        .map(|(role, said)| {
            let role = if *role == Role::User { "user" } else { "assistant" };
            blocks_out::message(role, said)
        })
        .collect();
    body.list("messages", &turns);
    Ok(())
}

/// An answer that the model is to go on with may not end in a blank.
fn trim_end(blocks: &mut [Block]) {
    if let Some(Kind::Text(text)) = blocks.last_mut().map(|own| &mut own.kind) {
        text.truncate(text.trim_end().len());
    }
}

/// How the provider is told to think.
enum Thinking {
    Off,
    Budget(u64),
    Adaptive,
    /// As the client says it: JSON text, and the number of tokens in it.
    Said(String, u64),
}

impl Thinking {
    fn json(&self) -> String {
        match self {
            Self::Said(json, _) => json.clone(),
            Self::Off => typed("disabled").done(),
            Self::Adaptive => typed("adaptive").done(),
            Self::Budget(tokens) => {
                let mut own = typed("enabled");
                own.json("budget_tokens", tokens.to_string());
                own.done()
            }
        }
    }
}

/// How to think, and the word for how much.
fn thinking(own: &Conversation, can: &Abilities, losses: &mut Losses) -> (Option<Thinking>, Option<String>) {
    let word = |word: &str| match word {
        "minimal" => "low".to_owned(),
        "xhigh" if !can.xhigh => "high".to_owned(),
        word => word.to_owned(),
    };
    let said = |budget| own.thinking.clone().map(|json| Thinking::Said(json, budget));
    match own.reasoning.as_ref() {
        None => (None, None),
        // Older models do not think unless they are told to, and not all of them know the word.
        Some(Reasoning::Off) => (can.words.then_some(Thinking::Off), None),
        Some(Reasoning::Budget(tokens)) => (said(*tokens).or(Some(Thinking::Budget(*tokens))), None),
        Some(Reasoning::Adaptive(effort)) => {
            (said(0).or(Some(Thinking::Adaptive)), effort.as_deref().map(word))
        }
        // Clients that know only the word do not give thoughts back, without which the provider would refuse the turn after a call.
        Some(Reasoning::Effort(_)) if calls_without_thought(own) => {
            losses.hint("reasoning_effort");
            (None, None)
        }
        Some(Reasoning::Effort(effort)) if can.words => (Some(Thinking::Adaptive), Some(word(effort))),
        Some(Reasoning::Effort(effort)) => {
            let budget = BUDGETS.iter().find(|(own, _)| own == effort);
            let Some((_, budget)) = budget else {
                losses.wish("reasoning_effort");
                return (None, None);
            };
            let room = own.max_tokens.map_or(u64::MAX, |most| most.saturating_sub(1));
            if room < MIN_BUDGET {
                losses.hint("reasoning_effort");
                return (None, None);
            }
            (Some(Thinking::Budget((*budget).min(room))), None)
        }
    }
}

/// Whether the model's last turn calls tools and does not say what it thought.
fn calls_without_thought(own: &Conversation) -> bool {
    let last = own.turns.iter().rfind(|turn| turn.role == Role::Assistant);
    last.is_some_and(|turn| {
        let has = |is: fn(&Kind) -> bool| turn.blocks.iter().any(|own| is(&own.kind));
        has(|own| matches!(own, Kind::ToolUse { .. }))
            && !has(|own| {
                matches!(
                    own,
                    Kind::Thinking {
                        signature: Some(_),
                        ..
                    } | Kind::Redacted(_)
                )
            })
    })
}

fn output_config(body: &mut Writer, effort: Option<&str>, schema: Option<&str>) {
    let mut config = Writer::default();
    config.maybe_text("effort", effort);
    if let Some(schema) = schema {
        let mut format = typed("json_schema");
        format.json("schema", schema);
        config.json("format", format.done());
    }
    if effort.is_some() || schema.is_some() {
        body.json("output_config", config.done());
    }
}

/// How a model of Anthropic's is to think, for services that have it.
#[derive(Debug, Default)]
pub(in crate::translate) struct Thinks {
    /// JSON text of `thinking`.
    pub(in crate::translate) thinking: Option<String>,
    /// The word for how much.
    pub(in crate::translate) effort: Option<String>,
    /// Tokens of thought, if there is a number.
    pub(in crate::translate) budget: Option<u64>,
    /// It thinks.
    pub(in crate::translate) is_on: bool,
}

/// What a request says of it.
pub(in crate::translate) fn thinks(own: &Conversation, model: &str, losses: &mut Losses) -> Thinks {
    let (thinking, effort) = thinking(own, &abilities(model), losses);
    Thinks {
        budget: match thinking {
            Some(Thinking::Budget(budget) | Thinking::Said(_, budget)) if budget > 0 => Some(budget),
            _ => None,
        },
        is_on: thinking.as_ref().is_some_and(|own| !matches!(own, Thinking::Off)),
        thinking: thinking.map(|own| own.json()),
        effort,
    }
}

/// The form of an answer becomes a tool.
pub(in crate::translate) fn form_as_tool(own: &mut Conversation, way: &mut Way) {
    let none = Abilities {
        max_tokens: 0,
        forms: false,
        words: false,
        xhigh: false,
        one_at_a_time: false,
    };
    // Without the ability nothing comes back.
    let _ = form(own, &none, way);
}

/// The schema, if the model takes one as such: then it has to be one that is meant exactly. Otherwise the form becomes a tool.
fn form(own: &mut Conversation, can: &Abilities, way: &mut Way) -> Option<String> {
    let (schema, description) = match own.format.take()? {
        Format::Schema {
            schema, strict: true, ..
        } if can.forms => return Some(schema),
        Format::Schema {
            schema, description, ..
        } => (schema, description),
        Format::Json => (
            "{\"type\":\"object\",\"additionalProperties\":true}".to_owned(),
            None,
        ),
    };
    way.form_is_tool = true;
    own.tools.push(Tool::Function {
        name: FORM_TOOL.to_owned(),
        description,
        schema: Some(schema),
        strict: None,
        cache: None,
        deferred: false,
    });
    None
}

fn tools(
    own: &Conversation,
    body: &mut Writer,
    (thinks, way): (bool, &Way),
    betas: &mut Vec<String>,
    losses: &mut Losses,
) {
    let form_is_tool = way.form_is_tool;
    let mut tools = Vec::new();
    for (index, tool) in own.tools.iter().enumerate() {
        match tool {
            Tool::Function { .. } => tools.push(function(tool)),
            Tool::Other { kind, json } => match TOOLS.iter().find(|(begin, _)| kind.starts_with(begin)) {
                Some((_, beta)) => {
                    if !beta.is_empty() && !betas.iter().any(|own| own == beta) {
                        betas.push((*beta).to_owned());
                    }
                    tools.push(json.clone());
                }
                None if way.client == Dialect::Anthropic => tools.push(json.clone()),
                None => losses.tool(index, kind),
            },
        }
    }
    if tools.is_empty() {
        return;
    }
    body.list("tools", &tools);
    let choice = match &own.tool_choice {
        // The form has to come, unless another tool is called first. Whoever thinks cannot be made to call.
        None if form_is_tool && !thinks && own.tools.len() == 1 => {
            Some(ToolChoice::Tool(FORM_TOOL.to_owned()))
        }
        None | Some(ToolChoice::Auto) if form_is_tool && !thinks => Some(ToolChoice::Any),
        None if own.parallel_tools.is_some() => Some(ToolChoice::Auto),
        choice => choice.clone(),
    };
    let Some(choice) = choice else {
        return;
    };
    let mut out = match &choice {
        ToolChoice::Auto => typed("auto"),
        ToolChoice::Any => typed("any"),
        ToolChoice::None => typed("none"),
        ToolChoice::Tool(name) => {
            let mut out = typed("tool");
            out.text("name", name);
            out
        }
    };
    if let (Some(parallel), false) = (own.parallel_tools, choice == ToolChoice::None) {
        out.json(
            "disable_parallel_tool_use",
            if parallel { "false" } else { "true" },
        );
    }
    body.json("tool_choice", out.done());
}

/// Older models know no exact arguments.
fn loosen(tools: &mut [Tool], losses: &mut Losses) {
    for tool in tools {
        if let Tool::Function { strict, .. } = tool
            && strict.take() == Some(true)
        {
            losses.hint("tools.function.strict");
        }
    }
}

fn function(tool: &Tool) -> String {
    let Tool::Function {
        name,
        description,
        schema,
        strict,
        cache,
        deferred,
    } = tool
    else {
        return String::new();
    };
    let mut out = Writer::default();
    out.text("name", name);
    out.maybe_text("description", description.as_deref());
    out.json("input_schema", object_schema(schema.as_deref()));
    if *strict == Some(true) {
        out.json("strict", "true");
    }
    out.maybe("cache_control", cache.as_deref());
    if *deferred {
        out.json("defer_loading", "true");
    }
    out.done()
}

/// The provider wants the schema of an object, and its `type`.
pub(in crate::translate) fn object_schema(schema: Option<&str>) -> String {
    let schema = schema.unwrap_or("{}");
    let Ok(mut object) = RawObject::parse(schema) else {
        // The provider says what is wrong with it.
        return schema.to_owned();
    };
    if object.get("type").is_none() {
        object.set_string("type", "object");
    }
    object.to_json()
}
