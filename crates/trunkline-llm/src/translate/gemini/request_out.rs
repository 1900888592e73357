//! A request to generate content, written for a provider.

use super::parts_out::{Parts, content};
use crate::BadRequest;
use crate::request::bad;
use crate::translate::conversation::{Block, Conversation, Format, Reasoning, Role, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::{Target, Writer, list};

/// Members of chats that Gemini has under another name, in `generationConfig`.
const CONFIG: [(&str, &str); 3] = [
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
];

/// Members of its own that clients may send all the same: LiteLLM's name, its own.
const OWN: [(&str, &str); 4] = [
    ("safety_settings", "safetySettings"),
    ("safetySettings", "safetySettings"),
    ("cachedContent", "cachedContent"),
    ("labels", "labels"),
];

/// Tokens of thought for each word: LiteLLM's.
const BUDGETS: [(&str, u64); 5] = [
    ("minimal", 128),
    ("low", 1024),
    ("medium", 2048),
    ("high", 4096),
    ("xhigh", 8192),
];

/// JSON text of the body. The model stands in the address.
pub(in crate::translate) fn write(
    own: &mut Conversation,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<String, BadRequest> {
    let mut body = Writer::default();
    contents(own, &mut body, losses)?;
    tools(own, &mut body, losses);
    let mut config = Writer::default();
    for (name, number) in [
        ("temperature", &own.temperature),
        ("topP", &own.top_p),
        ("topK", &own.top_k),
    ] {
        config.maybe(name, number.as_deref());
    }
    if let Some(most) = own.max_tokens {
        config.json("maxOutputTokens", most.to_string());
    }
    if !own.stop.is_empty() {
        let texts: Vec<String> = own
            .stop
            .iter()
            .map(|text| trunkline_mcp::edit::string(text))
            .collect();
        config.list("stopSequences", &texts);
    }
    form(own.format.as_ref(), &mut config);
    thinking(own, target, &mut config, losses);
    for (name, other) in CONFIG {
        if let Some(extra) = own.take_extra(name) {
            config.json(other, extra.json);
        }
    }
    for (name, other) in OWN {
        if let Some(extra) = own.take_extra(name) {
            body.json(other, extra.json);
        }
    }
    if config.done() != "{}" {
        body.json("generationConfig", config.done());
    }
    if own.user.is_some() {
        losses.hint("user");
    }
    Ok(body.done())
}

fn contents(own: &Conversation, body: &mut Writer, losses: &mut Losses) -> Result<(), BadRequest> {
    let said = own.turns.iter().filter(|turn| turn.role == Role::System);
    let said: Vec<Block> = said.flat_map(|turn| turn.blocks.clone()).collect();
    let mut parts = Parts::new(losses);
    let system = parts.write(&said);
    if !system.is_empty() {
        body.json("systemInstruction", content(None, &system));
    }
    let mut turns: Vec<(Role, Vec<String>)> = Vec::new();
    for turn in own.turns.iter().filter(|turn| turn.role != Role::System) {
        let said = parts.write(&turn.blocks);
        match turns.last_mut() {
            _ if said.is_empty() => {}
            Some((role, before)) if *role == turn.role => before.extend(said),
            _ => turns.push((turn.role, said)),
        }
    }
    if turns.is_empty() && !losses.has_content() {
        return Err(bad(
            Some("messages"),
            "`messages` must have a message of the user's that is not empty",
        ));
    }
    let turns: Vec<String> = turns
        .iter()
        .map(|(role, said)| content(Some(if *role == Role::User { "user" } else { "model" }), said))
        .collect();
    body.json("contents", list(&turns));
    Ok(())
}

fn tools(own: &Conversation, body: &mut Writer, losses: &mut Losses) {
    let (mut functions, mut tools) = (Vec::new(), Vec::new());
    for (index, tool) in own.tools.iter().enumerate() {
        match tool {
            Tool::Function {
                name,
                description,
                schema,
                strict,
                cache,
                ..
            } => {
                if cache.is_some() {
                    losses.hint("cache_control");
                }
                if *strict == Some(true) {
                    losses.hint("tools.function.strict");
                }
                let mut function = Writer::default();
                function.text("name", name);
                function.maybe_text("description", description.as_deref());
                function.maybe("parametersJsonSchema", schema.as_deref());
                functions.push(function.done());
            }
            Tool::Other { kind, .. } => losses.tool(index, kind),
        }
    }
    if functions.is_empty() {
        return;
    }
    let mut declared = Writer::default();
    declared.list("functionDeclarations", &functions);
    tools.push(declared.done());
    body.list("tools", &tools);
    if own.parallel_tools == Some(false) {
        // Libraries send it on their own with the form of an answer. LiteLLM leaves it out, too.
        losses.hint("parallel_tool_calls");
    }
    let (mode, name) = match &own.tool_choice {
        None => return,
        Some(ToolChoice::Auto) => ("AUTO", None),
        Some(ToolChoice::Any) => ("ANY", None),
        Some(ToolChoice::None) => ("NONE", None),
        Some(ToolChoice::Tool(name)) => ("ANY", Some(name)),
    };
    let mut calling = Writer::default();
    calling.text("mode", mode);
    if let Some(name) = name {
        calling.list("allowedFunctionNames", &[trunkline_mcp::edit::string(name)]);
    }
    let mut config = Writer::default();
    config.json("functionCallingConfig", calling.done());
    body.json("toolConfig", config.done());
}

fn form(format: Option<&Format>, config: &mut Writer) {
    let Some(format) = format else {
        return;
    };
    config.text("responseMimeType", "application/json");
    if let Format::Schema { schema, .. } = format {
        config.json("responseJsonSchema", schema.clone());
    }
}

/// From the third generation on a word, before it a number of tokens.
fn thinking(own: &Conversation, target: &Target<'_>, config: &mut Writer, losses: &mut Losses) {
    let generation = target
        .model
        .split(['-', '.'])
        .find_map(|part| part.parse::<u32>().ok());
    let takes_words = generation.is_some_and(|number| number >= 3);
    let mut thinking = Writer::default();
    match &own.reasoning {
        None => return,
        Some(Reasoning::Off) if takes_words => return,
        Some(Reasoning::Off) => {
            thinking.json("thinkingBudget", "0");
        }
        Some(Reasoning::Budget(tokens)) => {
            thinking.json("thinkingBudget", tokens.to_string());
        }
        Some(Reasoning::Adaptive(None)) => {}
        Some(Reasoning::Effort(word) | Reasoning::Adaptive(Some(word))) => {
            let budget = BUDGETS.iter().find(|(own, _)| own == word);
            match budget {
                _ if takes_words => {
                    let word = match word.as_str() {
                        "minimal" | "low" => "low",
                        "medium" => "medium",
                        _ => "high",
                    };
                    thinking.text("thinkingLevel", word);
                }
                Some((_, tokens)) => {
                    thinking.json("thinkingBudget", tokens.to_string());
                }
                None => return losses.wish("reasoning_effort"),
            }
        }
    }
    let shows = !matches!(own.reasoning, Some(Reasoning::Off));
    thinking.json("includeThoughts", if shows { "true" } else { "false" });
    config.json("thinkingConfig", thinking.done());
}
