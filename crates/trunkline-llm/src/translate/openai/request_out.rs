//! A chat completion, written for a provider.

use super::messages_out::Messages;
use crate::request::bad;
use crate::translate::conversation::{Conversation, Format, Reasoning, Tool, ToolChoice};
use crate::translate::losses::Losses;
use crate::translate::{Target, Way, Writer, short_name, typed};
use crate::{BadRequest, Dialect};

/// Members of this dialect that clients of another one may send all the same.
const OWN: [&str; 10] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "presence_penalty",
    "prompt_cache_key",
    "safety_identifier",
    "seed",
    "store",
    "top_logprobs",
    "verbosity",
];

/// Who knows `top_k`, which is none of OpenAI's.
const KNOW_TOP_K: [&str; 8] = [
    "hosted_vllm",
    "openrouter",
    "together_ai",
    "fireworks_ai",
    "deepinfra",
    "litellm_proxy",
    "ollama",
    "ollama_chat",
];

/// How OpenAI's names begin of models that do not think, and refuse to be told how much.
const DO_NOT_THINK: [&str; 3] = ["gpt-3", "gpt-4", "chatgpt-"];

/// Characters of `user` that OpenAI takes.
const MAX_USER: usize = 64;

/// JSON text of the body.
pub(in crate::translate) fn write(
    own: &mut Conversation,
    target: &Target<'_>,
    way: &mut Way,
    losses: &mut Losses,
) -> Result<String, BadRequest> {
    if own.turns.is_empty() {
        return Err(bad(Some("messages"), "`messages` must have at least one message"));
    }
    let has_cache_marks = target.model.contains("claude");
    // What only this dialect has, its provider takes as it is.
    let keeps_others = way.client == Dialect::OpenAi;
    way.shorten(&own.tools);
    let mut body = Writer::default();
    body.text("model", target.model);
    body.json(
        "messages",
        Messages::new((has_cache_marks, keeps_others), losses).write(&own.turns),
    );
    if let Some(most) = own.max_tokens {
        let name = if target.provider == "openai" {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        body.json(name, most.to_string());
    }
    body.maybe("temperature", own.temperature.as_deref());
    body.maybe("top_p", own.top_p.as_deref());
    match &own.top_k {
        Some(number) if KNOW_TOP_K.contains(&target.provider) => {
            body.json("top_k", number.clone());
        }
        Some(_) => losses.wish("top_k"),
        None => {}
    }
    if !own.stop.is_empty() {
        let texts: Vec<String> = own
            .stop
            .iter()
            .map(|text| trunkline_mcp::edit::string(text))
            .collect();
        body.list("stop", &texts);
    }
    tools(own, &mut body, (has_cache_marks, keeps_others), losses);
    reasoning(own.reasoning.as_ref(), target, &mut body, losses);
    if let Some(format) = &own.format {
        body.json("response_format", form(format));
    }
    match &own.user {
        Some(user) if user.chars().count() > MAX_USER && target.provider == "openai" => losses.hint("user"),
        user => {
            body.maybe_text("user", user.as_deref());
        }
    }
    if own.stream {
        body.json("stream", "true");
        if target.asks_usage {
            body.json("stream_options", "{\"include_usage\":true}");
        }
    }
    for name in OWN {
        if let Some(extra) = own.take_extra(name) {
            body.json(name, extra.json);
        }
    }
    Ok(body.done())
}

fn tools(
    own: &Conversation,
    body: &mut Writer,
    (has_cache_marks, keeps_others): (bool, bool),
    losses: &mut Losses,
) {
    let mut tools = Vec::new();
    for (index, tool) in own.tools.iter().enumerate() {
        let (name, description, schema, strict, cache) = match tool {
            Tool::Function {
                name,
                description,
                schema,
                strict,
                cache,
                ..
            } => (name, description, schema, strict, cache),
            Tool::Other { json, .. } if keeps_others => {
                tools.push(json.clone());
                continue;
            }
            Tool::Other { kind, .. } => {
                losses.tool(index, kind);
                continue;
            }
        };
        let mut function = Writer::default();
        function.text("name", &short_name(name));
        function.maybe_text("description", description.as_deref());
        function.maybe("parameters", schema.as_deref());
        function.maybe(
            "strict",
            strict.map(|strict| if strict { "true" } else { "false" }),
        );
        let mut tool = typed("function");
        tool.json("function", function.done());
        if has_cache_marks {
            tool.maybe("cache_control", cache.as_deref());
        } else if cache.is_some() {
            losses.hint("cache_control");
        }
        tools.push(tool.done());
    }
    if tools.is_empty() {
        // Without tools there is nothing to choose, and providers say so.
        return;
    }
    body.list("tools", &tools);
    match &own.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => {
            body.text("tool_choice", "auto");
        }
        Some(ToolChoice::Any) => {
            body.text("tool_choice", "required");
        }
        Some(ToolChoice::None) => {
            body.text("tool_choice", "none");
        }
        Some(ToolChoice::Tool(name)) => {
            let mut function = Writer::default();
            function.text("name", &short_name(name));
            let mut choice = typed("function");
            choice.json("function", function.done());
            body.json("tool_choice", choice.done());
        }
    }
    if let Some(parallel) = own.parallel_tools {
        body.json("parallel_tool_calls", if parallel { "true" } else { "false" });
    }
}

/// LiteLLM's words for a number of tokens.
fn effort(budget: u64) -> &'static str {
    match budget {
        10_000.. => "high",
        5_000.. => "medium",
        2_000.. => "low",
        _ => "minimal",
    }
}

fn reasoning(own: Option<&Reasoning>, target: &Target<'_>, body: &mut Writer, losses: &mut Losses) {
    let word = match own {
        None | Some(Reasoning::Off | Reasoning::Adaptive(None)) => return,
        Some(Reasoning::Budget(tokens)) => effort(*tokens),
        Some(Reasoning::Effort(word) | Reasoning::Adaptive(Some(word))) => match word.as_str() {
            "max" => "xhigh",
            word => word,
        },
    };
    if target.provider == "openai" && DO_NOT_THINK.iter().any(|begin| target.model.starts_with(begin)) {
        // It says how much the model may think, and this one does not.
        losses.hint("thinking");
    } else {
        body.text("reasoning_effort", word);
    }
}

fn form(format: &Format) -> String {
    let Format::Schema {
        name,
        description,
        schema,
        strict,
    } = format
    else {
        return typed("json_object").done();
    };
    let mut own = Writer::default();
    own.text("name", name.as_deref().unwrap_or("structured_output"));
    own.maybe_text("description", description.as_deref());
    own.json("schema", schema.clone());
    own.json("strict", if *strict { "true" } else { "false" });
    let mut form = typed("json_schema");
    form.json("json_schema", own.done());
    form.done()
}
