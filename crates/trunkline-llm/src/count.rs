//! How many tokens a message would take (`/v1/messages/count_tokens`), where the provider has another dialect for the question than
//! Anthropic's, and what is guessed where it cannot say.

use serde_json::{Value, json};
use trunkline_mcp::edit::RawObject;

use crate::translate::dialogue::Dialogue;
use crate::translate::{Drops, Target};
use crate::{BadRequest, Dialect, Spoken};

/// How the provider says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// `totalTokens`
    Gemini,
    /// `inputTokens`
    Bedrock,
}

/// The members of generated content that Google's cloud counts.
const VERTEX: [&str; 3] = ["contents", "systemInstruction", "tools"];
/// Those of a conversation that Bedrock counts.
const BEDROCK: [&str; 3] = ["messages", "system", "toolConfig"];

/// Writes the question for a provider, says what of the client's was left out, and how the answer is read. What has no word there is left
/// out: it is no part of what is counted.
pub fn request(
    object: &RawObject<'_>,
    target: &Target<'_>,
) -> Result<(String, Vec<String>, Counted), BadRequest> {
    let drops = Drops {
        all: true,
        names: Vec::new(),
    };
    let translated = Dialogue::read(object, Dialect::Anthropic)?.write(target, &drops)?;
    let whole: Value = serde_json::from_str(&translated.body).unwrap_or_default();
    let of = |names: &[&str]| {
        let members = names.iter().filter(|name| !whole[**name].is_null());
        let members = members.map(|name| ((*name).to_owned(), whole[*name].clone()));
        Value::Object(members.collect())
    };
    let (body, counted) = match target.dialect {
        Spoken::Bedrock => (json!({"input": {"converse": of(&BEDROCK)}}), Counted::Bedrock),
        _ if target.provider == "vertex_ai" => (of(&VERTEX), Counted::Gemini),
        _ => {
            let mut asked = whole.clone();
            asked["model"] = format!("models/{}", target.model).into();
            (json!({"generateContentRequest": asked}), Counted::Gemini)
        }
    };
    Ok((body.to_string(), translated.dropped, counted))
}

impl Counted {
    /// The answer for the client.
    pub fn answer(self, text: &str) -> Result<String, String> {
        let name = match self {
            Self::Gemini => "totalTokens",
            Self::Bedrock => "inputTokens",
        };
        let answer: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let tokens = answer[name].as_u64().ok_or_else(|| format!("it has no {name}"))?;
        Ok(told(tokens))
    }
}

/// JSON text of an answer.
pub fn told(tokens: u64) -> String {
    json!({ "input_tokens": tokens }).to_string()
}

/// About how many tokens a message would take: one for four bytes of text, and as much for a picture or a document as they usually take.
pub fn about(object: &RawObject<'_>) -> Result<u64, BadRequest> {
    Ok(Dialogue::read(object, Dialect::Anthropic)?.about_tokens())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(provider: &'static str, dialect: Spoken) -> Target<'static> {
        Target {
            dialect,
            provider,
            model: "m",
            max_tokens: None,
            asks_usage: false,
        }
    }

    #[test]
    fn each_provider_is_asked_in_its_words() {
        let body = r#"{"model":"x","system":"S","messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"enabled","budget_tokens":1024}}"#;
        let object = RawObject::parse(body).unwrap();
        let of = |provider, dialect| {
            let (body, _, counted) = request(&object, &target(provider, dialect)).unwrap();
            (serde_json::from_str::<Value>(&body).unwrap(), counted)
        };
        let contents = json!([{"role": "user", "parts": [{"text": "Hi"}]}]);
        let (gemini, counted) = of("gemini", Spoken::Gemini);
        assert_eq!(gemini["generateContentRequest"]["model"], "models/m");
        assert_eq!(gemini["generateContentRequest"]["contents"], contents);
        assert_eq!(counted, Counted::Gemini);
        let (vertex, _) = of("vertex_ai", Spoken::Gemini);
        assert_eq!(
            vertex,
            json!({"contents": contents, "systemInstruction": {"parts": [{"text": "S"}]}})
        );
        let (bedrock, counted) = of("bedrock", Spoken::Bedrock);
        let asked = &bedrock["input"]["converse"];
        assert_eq!(asked["messages"][0]["content"][0]["text"], "Hi");
        assert!(
            asked["inferenceConfig"].is_null() && asked["system"].is_array(),
            "{bedrock}"
        );
        assert_eq!(
            counted.answer(r#"{"inputTokens":7}"#).unwrap(),
            r#"{"input_tokens":7}"#
        );
        assert_eq!(
            Counted::Gemini.answer(r#"{"totalTokens":7}"#).unwrap(),
            r#"{"input_tokens":7}"#
        );
        assert!(Counted::Gemini.answer("{}").is_err() && Counted::Gemini.answer("x").is_err());
    }

    #[test]
    fn a_guess_grows_with_what_is_said() {
        let about = |body: &str| about(&RawObject::parse(body).unwrap()).unwrap();
        let one = about(r#"{"messages":[{"role":"user","content":"12345678"}]}"#);
        let more = about(r#"{"system":"12345678","messages":[{"role":"user","content":"12345678"}]}"#);
        assert!(one >= 2 && more >= one + 2, "{one} {more}");
        let tool = r#"{"messages":[{"role":"user","content":"12345678"}],"tools":[{"name":"a","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}]}"#;
        assert!(about(tool) > one + 10);
        // A picture is not as long as its bytes.
        let data = "A".repeat(400_000);
        let picture = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
        );
        assert!((1000..5000).contains(&about(&picture)));
    }
}
