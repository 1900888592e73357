//! What answers cost, to the billionth of a dollar: usage in the words of each provider, as their documents show it, and the prices of the
//! table. What is expected is worked out beside it by hand.

use trunkline_llm::Dialect::OpenAi;
use trunkline_llm::price::{Listed, NoCost};
use trunkline_llm::translate::{self, Way};
use trunkline_llm::{Endpoint, Measure, Spoken, Usage, answer, messages, responses};

/// In which words the usage is said.
#[derive(Clone, Copy, Debug)]
enum Words {
    Chat,
    Messages,
    Responses,
    Gemini,
    Bedrock,
}

fn usage(words: Words, json: &str) -> Usage {
    let way = |provider| Way {
        provider,
        client: OpenAi,
        form_is_tool: false,
        include_usage: false,
        names: Vec::new(),
        repeated: Vec::new(),
    };
    let read = match words {
        Words::Chat => {
            let text = format!(r#"{{"model":"x","choices":[],"usage":{json}}}"#);
            answer::renamed(&text, "m").unwrap().1
        }
        Words::Messages => {
            let text = format!(r#"{{"type":"message","model":"x","content":[],"usage":{json}}}"#);
            messages::renamed(&text, "m").unwrap().1
        }
        Words::Responses => responses::usage(json),
        Words::Gemini => {
            let text = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}],"usageMetadata":{json}}}"#
            );
            translate::answer(&text, &way(Spoken::Gemini), ("m", 0))
                .unwrap()
                .1
        }
        Words::Bedrock => {
            let text = format!(
                r#"{{"output":{{"message":{{"role":"assistant","content":[{{"text":"a"}}]}}}},"stopReason":"end_turn","usage":{json}}}"#
            );
            translate::answer(&text, &way(Spoken::Bedrock), ("m", 0))
                .unwrap()
                .1
        }
    };
    read.unwrap()
}

/// Of a provider, a model, in which words, what it says, and what that costs: billionths of a dollar.
const COSTS: &[(&str, &str, Words, &str, i64)] = &[
    // 400 · 1250 + 600 · 125 + 50 · 10000: what was thought is a part of what was written.
    (
        "openai",
        "gpt-5",
        Words::Chat,
        r#"{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,"prompt_tokens_details":{"cached_tokens":600},"completion_tokens_details":{"reasoning_tokens":40}}"#,
        400 * 1250 + 600 * 125 + 50 * 10_000,
    ),
    // The same words of responses.
    (
        "openai",
        "gpt-5",
        Words::Responses,
        r#"{"input_tokens":1000,"output_tokens":50,"total_tokens":1050,"input_tokens_details":{"cached_tokens":600},"output_tokens_details":{"reasoning_tokens":40}}"#,
        400 * 1250 + 600 * 125 + 50 * 10_000,
    ),
    // Sound in and out beside text.
    (
        "openai",
        "gpt-4o-audio-preview-2025-06-03",
        Words::Chat,
        r#"{"prompt_tokens":120,"completion_tokens":90,"total_tokens":210,"prompt_tokens_details":{"audio_tokens":100},"completion_tokens_details":{"audio_tokens":80}}"#,
        20 * 2500 + 100 * 40_000 + 10 * 10_000 + 80 * 80_000,
    ),
    // A long request costs more for all of it.
    (
        "openai",
        "gpt-5.4",
        Words::Chat,
        r#"{"prompt_tokens":300000,"completion_tokens":1000,"total_tokens":301000,"prompt_tokens_details":{"cached_tokens":100000}}"#,
        200_000 * 5000 + 100_000 * 500 + 1000 * 22_500,
    ),
    // Anthropic's input is without what is cached; 5 minutes and an hour have their own prices.
    (
        "anthropic",
        "claude-sonnet-4-5",
        Words::Messages,
        r#"{"input_tokens":100,"cache_creation_input_tokens":300,"cache_read_input_tokens":5000,"cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":100},"output_tokens":40,"service_tier":"standard"}"#,
        100 * 3000 + 5000 * 300 + 200 * 3750 + 100 * 6000 + 40 * 15_000,
    ),
    (
        "anthropic",
        "claude-opus-4-5",
        Words::Messages,
        r#"{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2,"service_tier":"batch"}"#,
        10 * 2500 + 2 * 12_500,
    ),
    // Gemini says what was thought beside what was written.
    (
        "gemini",
        "gemini-2.5-pro",
        Words::Gemini,
        r#"{"promptTokenCount":1000,"candidatesTokenCount":30,"thoughtsTokenCount":70,"cachedContentTokenCount":400,"totalTokenCount":1100}"#,
        600 * 1250 + 400 * 125 + 100 * 10_000,
    ),
    (
        "vertex_ai",
        "gemini-2.5-pro",
        Words::Gemini,
        r#"{"promptTokenCount":200001,"candidatesTokenCount":1,"totalTokenCount":200002}"#,
        200_001 * 2500 + 15_000,
    ),
    // Bedrock's input is without what is cached, too.
    (
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Words::Bedrock,
        r#"{"inputTokens":10,"outputTokens":20,"totalTokens":180,"cacheReadInputTokens":100,"cacheWriteInputTokens":50}"#,
        10 * 3300 + 100 * 330 + 50 * 4125 + 20 * 16_500,
    ),
    (
        "bedrock",
        "amazon.nova-pro-v1:0",
        Words::Bedrock,
        r#"{"inputTokens":1000,"outputTokens":10,"totalTokens":1010}"#,
        1000 * 800 + 10 * 3200,
    ),
    // DeepSeek has words of its own for what was in the cache.
    (
        "deepseek",
        "deepseek-chat",
        Words::Chat,
        r#"{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"prompt_cache_hit_tokens":900,"prompt_cache_miss_tokens":100}"#,
        100 * 280 + 900 * 28 + 10 * 420,
    ),
    // xAI leaves what was thought out of what was written.
    (
        "xai",
        "grok-4.20",
        Words::Chat,
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":210,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":100}}"#,
        60 * 1250 + 40 * 200 + 110 * 2500,
    ),
    (
        "groq",
        "openai/gpt-oss-120b",
        Words::Chat,
        r#"{"queue_time":0.1,"prompt_tokens":80,"completion_tokens":20,"total_tokens":100,"prompt_tokens_details":{"cached_tokens":64}}"#,
        16 * 150 + 64 * 75 + 20 * 600,
    ),
    (
        "mistral",
        "mistral-large-latest",
        Words::Chat,
        r#"{"prompt_tokens":33,"completion_tokens":7,"total_tokens":40}"#,
        33 * 500 + 7 * 1500,
    ),
    // Half a billionth is rounded up, once for the whole.
    (
        "azure",
        "gpt-5",
        Words::Chat,
        r#"{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}"#,
        3 * 1250,
    ),
];

#[test]
fn demand_39_answers_of_every_provider_cost_what_they_take_to_the_billionth() {
    for (provider, model, words, json, expected) in COSTS {
        let listed =
            Listed::find(provider, model).unwrap_or_else(|| panic!("{provider}/{model} has no prices"));
        let cost = listed.prices.cost(&usage(*words, json));
        let cost = cost.unwrap_or_else(|why| panic!("{provider}/{model}: {why}"));
        assert_eq!(cost.total, *expected, "{provider}/{model}: {json}");
        assert_eq!(cost.total, cost.input + cost.output, "{provider}/{model}");
    }
}

#[test]
fn demand_39_kinds_of_service_and_pictures_have_their_own_prices() {
    let tiered = |tier: &str| {
        let text = format!(
            r#"{{"model":"x","choices":[],"service_tier":"{tier}","usage":{{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010}}}}"#
        );
        let usage = answer::renamed(&text, "m").unwrap().1.unwrap();
        Listed::find("openai", "gpt-5").unwrap().prices.cost(&usage)
    };
    assert_eq!(tiered("default").unwrap().total, 1000 * 1250 + 10 * 10_000);
    assert_eq!(tiered("priority").unwrap().total, 1000 * 2500 + 10 * 20_000);
    assert_eq!(tiered("flex").unwrap().total, 1000 * 625 + 10 * 5000);
    assert_eq!(tiered("batch").unwrap().total, 1000 * 625 + 10 * 5000);
    assert!(tiered("some later one").is_err(), "nobody knows what that costs");
    // Of a picture: text that was read, pictures that were, and what was drawn.
    let text = r#"{"created":1,"data":[{"b64_json":""}],"usage":{"input_tokens":60,"input_tokens_details":{"text_tokens":10,"image_tokens":50},"output_tokens":1000,"total_tokens":1060}}"#;
    let measure = Measure::read(Endpoint::ImageGenerations, text);
    let cost = Listed::find("openai", "gpt-image-1")
        .unwrap()
        .prices
        .cost_of(Endpoint::ImageGenerations, &measure);
    assert_eq!(cost.unwrap().total, 10 * 5000 + 50 * 10_000 + 1000 * 40_000);
}

#[test]
fn demand_39_what_nobody_knows_is_not_nothing() {
    assert!(Listed::find("openai", "a-model-that-nobody-knows").is_none());
    let none = trunkline_llm::price::Prices::default();
    let one = usage(
        Words::Chat,
        r#"{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}"#,
    );
    assert!(matches!(none.cost(&one), Err(NoCost::NoPrice(_))));
    // A part that has no price makes the whole unknown.
    let sound = r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_tokens_details":{"audio_tokens":5}}"#;
    let own = Listed::find("openai", "gpt-5").unwrap().prices;
    assert!(own.cost(&usage(Words::Chat, sound)).is_err());
}
