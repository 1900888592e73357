//! A request to converse, written for a provider.

use std::collections::HashSet;

use super::blocks_out::{Blocks, cache_point};
use crate::BadRequest;
use crate::request::bad;
use crate::translate::anthropic::models::calls_one_at_a_time;
use crate::translate::anthropic::request_out::{Thinks, form_as_tool, object_schema, thinks};
use crate::translate::conversation::{Block, Conversation, Kind, Reasoning, Role, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::{FORM_TOOL, Target, Way, Writer, list, short_name};

/// Members of its own that clients may send all the same.
const OWN: [&str; 3] = ["guardrailConfig", "performanceConfig", "requestMetadata"];

/// JSON text of the body. The model stands in the address, and whether the answer comes in pieces.
pub(in crate::translate) fn write(
    own: &mut Conversation,
    target: &Target<'_>,
    way: &mut Way,
    losses: &mut Losses,
) -> Result<String, BadRequest> {
    let mut body = Writer::default();
    let is_claude = target.model.contains("claude");
    let thinks = if is_claude {
        thinks(own, target.model, losses)
    } else {
        if own.reasoning.as_ref().is_some_and(|own| *own != Reasoning::Off) && !is_gpt(target.model) {
            losses.wish("reasoning_effort");
        }
        Thinks::default()
    };
    messages(own, &mut body, losses)?;
    inference(own, target, &thinks, &mut body);
    form_as_tool(own, way);
    way.shorten(&own.tools);
    let alone = tools(own, &mut body, (thinks.is_on, way.form_is_tool), losses);
    let alone = alone.filter(|_| is_told_alone(own, target, losses));
    additional(own, target, (&thinks, alone), &mut body, losses);
    for name in OWN {
        if let Some(extra) = own.take_extra(name) {
            body.json(name, extra.json);
        }
    }
    if own.user.is_some() {
        losses.hint("user");
    }
    Ok(body.done())
}

/// Whether the model can be told to call one tool at a time.
fn is_told_alone(own: &Conversation, target: &Target<'_>, losses: &mut Losses) -> bool {
    if own.parallel_tools != Some(false) {
        return false;
    }
    let is_known = calls_one_at_a_time(target.model);
    if !is_known {
        // Libraries send it on their own with the form of an answer. LiteLLM leaves it out, too.
        losses.hint("parallel_tool_calls");
    }
    is_known
}

/// OpenAI's open models know the word for how much to think.
fn is_gpt(model: &str) -> bool {
    model.contains("openai.gpt")
}

fn messages(own: &Conversation, body: &mut Writer, losses: &mut Losses) -> Result<(), BadRequest> {
    let mut blocks = Blocks { losses, documents: 0 };
    let said = own.turns.iter().filter(|turn| turn.role == Role::System);
    let said: Vec<Block> = said.flat_map(|turn| turn.blocks.clone()).collect();
    let system = blocks.write(&said);
    if !system.is_empty() {
        body.list("system", &system);
    }
    let mut turns: Vec<(Role, Vec<String>)> = Vec::new();
    for turn in own.turns.iter().filter(|turn| turn.role != Role::System) {
        let said = blocks.write(&turn.blocks);
        match turns.last_mut() {
            _ if said.is_empty() => {}
            Some((role, before)) if *role == turn.role => before.extend(said),
            _ => turns.push((turn.role, said)),
        }
    }
    match turns.first() {
        // What was lost is said instead.
        None if blocks.losses.has_content() => {}
        None => {
            let text = "`messages` must have a message of the user's that is not empty";
            return Err(bad(Some("messages"), text));
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
            let mut message = Writer::default();
            message.text("role", role).json("content", list(said));
            message.done()
        })
        .collect();
    body.list("messages", &turns);
    Ok(())
}

fn inference(own: &Conversation, target: &Target<'_>, thinks: &Thinks, body: &mut Writer) {
    let mut config = Writer::default();
    // The provider has a usual number for most models, and a low one for some: what is known is said.
    let most = own.max_tokens.or(target.max_tokens);
    let least = thinks.budget.map(|budget| budget + 4096);
    let most = own.max_tokens.or(most.max(least));
    if let Some(most) = most {
        config.json("maxTokens", most.to_string());
    }
    config.maybe("temperature", own.temperature.as_deref());
    config.maybe("topP", own.top_p.as_deref());
    if !own.stop.is_empty() {
        let texts: Vec<String> = own
            .stop
            .iter()
            .map(|text| trunkline_mcp::edit::string(text))
            .collect();
        config.list("stopSequences", &texts);
    }
    if config.done() != "{}" {
        body.json("inferenceConfig", config.done());
    }
}

/// What only some models know.
fn additional(
    own: &mut Conversation,
    target: &Target<'_>,
    (thinks, alone): (&Thinks, Option<IsChosen>),
    body: &mut Writer,
    losses: &mut Losses,
) {
    let mut fields = Writer::default();
    if let Some(extra) = own.take_extra("additionalModelRequestFields") {
        match trunkline_mcp::edit::RawObject::parse(&extra.json) {
            Ok(object) => {
                for (name, json) in object.members() {
                    fields.json(name, json);
                }
            }
            Err(_) => losses.wish(extra.name),
        }
    }
    if let Some(number) = &own.top_k {
        if target.model.contains("claude") {
            fields.json("top_k", number.clone());
        } else if target.model.contains("amazon.nova") {
            let mut config = Writer::default();
            fields.json("inferenceConfig", config.json("topK", number.clone()).done());
        } else {
            losses.wish("top_k");
        }
    }
    let says_choice = fields.0.get("tool_choice").is_some();
    if let Some(IsChosen(is_chosen)) = alone.filter(|_| !says_choice) {
        // Converse writes the kind of the choice itself where it has one, and the model wants it only once.
        let mut choice = Writer::default();
        if !is_chosen {
            choice.text("type", "auto");
        }
        fields.json(
            "tool_choice",
            choice.json("disable_parallel_tool_use", "true").done(),
        );
    }
    if let Some(thinking) = &thinks.thinking {
        fields.json("thinking", thinking.clone());
    }
    if let Some(effort) = &thinks.effort {
        let mut config = Writer::default();
        fields.json("output_config", config.text("effort", effort).done());
    }
    if let (Some(Reasoning::Effort(word) | Reasoning::Adaptive(Some(word))), true) =
        (&own.reasoning, is_gpt(target.model))
    {
        fields.text("reasoning_effort", word);
    }
    if fields.done() != "{}" {
        body.json("additionalModelRequestFields", fields.done());
    }
}

/// Whether what is to be called is chosen where Converse has a place for it.
struct IsChosen(bool);

/// Writes them; `None` if there are none.
fn tools(
    own: &Conversation,
    body: &mut Writer,
    (thinks, form_is_tool): (bool, bool),
    losses: &mut Losses,
) -> Option<IsChosen> {
    let used = used(own);
    // Without tools nothing is called; but a conversation in which something was called wants them.
    let is_off = own.tool_choice == Some(ToolChoice::None) && !form_is_tool;
    if is_off && used.is_empty() {
        return None;
    }
    let mut tools = Vec::new();
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
                if *strict == Some(true) {
                    losses.hint("tools.function.strict");
                }
                tools.push(tool_spec(name, description.as_deref(), schema.as_deref()));
                tools.extend(cache.as_deref().map(cache_point));
            }
            Tool::Other { kind, .. } => losses.tool(index, kind),
        }
    }
    if is_off {
        losses.wish("tool_choice");
    }
    if tools.is_empty() {
        // What was called has to be known.
        tools.extend(used.iter().map(|name| tool_spec(name, None, None)));
    }
    if tools.is_empty() {
        return None;
    }
    let mut config = Writer::default();
    config.list("tools", &tools);
    let choice = match &own.tool_choice {
        // The form has to come, unless another tool is called first. Whoever thinks cannot be made to call.
        None if form_is_tool && !thinks && own.tools.len() == 1 => {
            Some(ToolChoice::Tool(FORM_TOOL.to_owned()))
        }
        None | Some(ToolChoice::Auto) if form_is_tool && !thinks => Some(ToolChoice::Any),
        choice => choice.clone(),
    };
    let name = match &choice {
        None | Some(ToolChoice::None) => None,
        Some(ToolChoice::Auto) => Some(("auto", "{}".to_owned())),
        Some(ToolChoice::Any) => Some(("any", "{}".to_owned())),
        Some(ToolChoice::Tool(name)) => {
            let mut tool = Writer::default();
            Some(("tool", tool.text("name", &short_name(name)).done()))
        }
    };
    let is_chosen = IsChosen(name.is_some());
    if let Some((name, json)) = name {
        let mut choice = Writer::default();
        config.json("toolChoice", choice.json(name, json).done());
    }
    body.json("toolConfig", config.done());
    Some(is_chosen)
}

fn tool_spec(name: &str, description: Option<&str>, schema: Option<&str>) -> String {
    let mut input = Writer::default();
    input.json("json", object_schema(schema));
    let mut spec = Writer::default();
    spec.text("name", &short_name(name));
    // An empty one is refused.
    spec.maybe_text("description", description.filter(|own| !own.is_empty()));
    spec.json("inputSchema", input.done());
    let mut tool = Writer::default();
    tool.json("toolSpec", spec.done()).done()
}

/// Names of the tools that were called.
fn used(own: &Conversation) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    for block in own.turns.iter().flat_map(|turn| &turn.blocks) {
        if let Kind::ToolUse { name, .. } = &block.kind
            && known.insert(name.as_str())
        {
            names.push(name);
        }
    }
    names
}
