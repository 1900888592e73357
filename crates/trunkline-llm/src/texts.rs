//! Texts that a model goes on with (`/v1/completions`), of models that only chat: the text is what the user says, and what the model says is
//! how it goes on. The request becomes a chat of OpenAI's dialect, which is sent as it is or translated like any other, and the chat that
//! comes back becomes a completion, whole or in pieces.

use serde_json::{Value, json};
use trunkline_mcp::edit::{RawObject, string};

use crate::BadRequest;
use crate::request::bad;
use crate::translate::Drops;
use crate::translate::losses::Losses;

/// Members that mean the same of a chat.
const SAME: [&str; 12] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "n",
];

/// The chat that a request asks for, and what of it was left out. `whom`: the provider, and its name for the model.
pub fn request(
    object: &RawObject<'_>,
    drops: &Drops,
    whom: (&str, &str),
) -> Result<(RawObject<'static>, Vec<String>), BadRequest> {
    let mut losses = Losses::default();
    let prompt = prompt(object.get("prompt"))?;
    let message = format!("[{{\"role\":\"user\",\"content\":{}}}]", string(&prompt));
    let mut chat = RawObject::default();
    chat.set("messages", message);
    for (name, json) in object.members() {
        match name {
            "prompt" => {}
            name if SAME.contains(&name) => chat.set(name, json.to_owned()),
            _ if matches!(json, "null" | "false") => {}
            // One answer is the best of one.
            "best_of" if json == "1" => {}
            "suffix" if json == "\"\"" => {}
            "logit_bias" if json == "{}" => {}
            other => losses.wish(other),
        }
    }
    Ok((chat, losses.settle(drops, whom)?))
}

/// One text, which may be in a list.
fn prompt(json: Option<&str>) -> Result<String, BadRequest> {
    let invalid = |text: &str| bad(Some("prompt"), text);
    let value: Value =
        serde_json::from_str(json.unwrap_or("null")).map_err(|_| invalid("`prompt` cannot be read"))?;
    let text = match value {
        Value::String(text) => text,
        Value::Array(mut items) if items.len() == 1 => match items.pop() {
            Some(Value::String(text)) => text,
            _ => {
                return Err(invalid(
                    "`prompt` has tokens, which no model that chats takes: send the text",
                ));
            }
        },
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            return Err(invalid(
                "`prompt` has tokens, which no model that chats takes: send the text",
            ));
        }
        Value::Array(_) => {
            return Err(invalid(
                "`prompt` must be one text: a model that chats answers one at a time, so send a request for each",
            ));
        }
        _ => return Err(invalid("you must provide `prompt`: a text")),
    };
    if text.is_empty() {
        return Err(invalid("`prompt` must not be empty: there is nothing to answer"));
    }
    Ok(text)
}

/// A whole chat as a completion.
pub fn answer(chat: &str) -> Result<String, String> {
    let mut chat: Value = serde_json::from_str(chat).map_err(|error| format!("it is no chat: {error}"))?;
    let choices = chat["choices"].as_array().ok_or("it has no choices")?;
    let choices: Vec<Value> = choices.iter().map(|own| choice(own, "message")).collect();
    Ok(completion(&mut chat, &choices).to_string())
}

fn choice(own: &Value, part: &str) -> Value {
    json!({
        "index": own["index"],
        "text": own[part]["content"].as_str().unwrap_or_default(),
        "logprobs": null,
        "finish_reason": own["finish_reason"],
    })
}

fn completion(chat: &mut Value, choices: &[Value]) -> Value {
    let mut own = json!({
        "id": chat["id"].take(),
        "object": "text_completion",
        "created": chat["created"].take(),
        "model": chat["model"].take(),
        "choices": choices,
    });
    for name in ["usage", "system_fingerprint"] {
        if !chat[name].is_null() {
            own[name] = chat[name].take();
        }
    }
    own
}

/// A chat in pieces as a completion in pieces: line by line, of what is written for the client.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that has no end yet.
    line: Vec<u8>,
    /// The event said nothing: the blank line after it goes, too.
    is_left_out: bool,
}

impl Lines {
    /// Takes what a client of a chat would get; what a client of a completion gets is appended to `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for part in piece.split_inclusive(|own| *own == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.pass(&line, out);
            }
        }
    }

    /// It is over: what is left of it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.pass(&line, out);
        }
    }

    fn pass(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        if is_blank && std::mem::take(&mut self.is_left_out) {
            return;
        }
        let text = line.strip_prefix(b"data:").map(String::from_utf8_lossy);
        let chunk = text.and_then(|text| serde_json::from_str::<Value>(text.trim()).ok());
        // What is no piece of a chat is an error, a comment, or the end.
        let Some(mut chunk) = chunk.filter(|own| own["choices"].is_array()) else {
            out.extend_from_slice(line);
            return;
        };
        let all = chunk["choices"].as_array().cloned().unwrap_or_default();
        let says = |own: &&Value| {
            let has_text = own["delta"]["content"]
                .as_str()
                .is_some_and(|text| !text.is_empty());
            has_text || !own["finish_reason"].is_null()
        };
        let choices: Vec<Value> = all.iter().filter(says).map(|own| choice(own, "delta")).collect();
        if choices.is_empty() && (!all.is_empty() || chunk["usage"].is_null()) {
            // A role, a thought: a completion has no word for it.
            self.is_left_out = true;
            return;
        }
        let own = completion(&mut chunk, &choices);
        out.extend_from_slice(format!("data: {own}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Result<(String, Vec<String>), BadRequest> {
        let object = RawObject::parse(body).unwrap();
        let (chat, dropped) = request(&object, &Drops::default(), ("p", "m"))?;
        Ok((chat.to_json(), dropped))
    }

    #[test]
    fn a_text_is_what_the_user_says() {
        let (own, _) = chat(
            r#"{"model":"m","prompt":["a \"b\""],"max_tokens":5,"stop":["x"],"temperature":0.0,"echo":false,"logprobs":null,"best_of":1}"#,
        )
        .unwrap();
        let own: Value = serde_json::from_str(&own).unwrap();
        assert_eq!(
            own,
            json!({"messages": [{"role": "user", "content": "a \"b\""}], "model": "m", "max_tokens": 5, "stop": ["x"], "temperature": 0.0})
        );
        for (body, param) in [
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":[1,2]}"#, "prompt"),
            (r#"{"prompt":[[1]]}"#, "prompt"),
            (r#"{"prompt":""}"#, "prompt"),
            (r#"{"model":"m"}"#, "prompt"),
            (r#"{"prompt":"a","echo":true}"#, "echo"),
            (r#"{"prompt":"a","suffix":"b"}"#, "suffix"),
            (r#"{"prompt":"a","logprobs":0}"#, "logprobs"),
            (r#"{"prompt":"a","best_of":2}"#, "best_of"),
        ] {
            assert_eq!(chat(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        let all = Drops {
            all: true,
            ..Drops::default()
        };
        let object = RawObject::parse(r#"{"prompt":"a","echo":true}"#).unwrap();
        assert_eq!(request(&object, &all, ("p", "m")).unwrap().1, ["echo"]);
    }

    #[test]
    fn what_comes_back_is_a_completion() {
        let own = answer(
            r#"{"id":"c","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"length"}],"usage":{"prompt_tokens":1}}"#,
        )
        .unwrap();
        let own: Value = serde_json::from_str(&own).unwrap();
        assert_eq!(
            own,
            json!({
                "id": "c", "object": "text_completion", "created": 7, "model": "m", "usage": {"prompt_tokens": 1},
                "choices": [{"index": 0, "text": "Hi", "logprobs": null, "finish_reason": "length"}],
            })
        );
        assert!(answer("{}").is_err());
        let pieces = concat!(
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
            "data: {\"error\":{\"message\":\"x\"}}\n\n",
            "data: [DONE]\n\n",
        );
        let mut whole = Vec::new();
        Lines::default().feed(pieces.as_bytes(), &mut whole);
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces.as_bytes().chunks(1) {
            lines.feed(piece, &mut out);
        }
        lines.finish(&mut out);
        assert_eq!(out, whole, "in whatever pieces it comes");
        let text = String::from_utf8(out).unwrap();
        let events: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(events.len(), 6, "{text}");
        assert!(events[0].contains("\"text\":\"Hi\"") && events[1].contains("\"finish_reason\":\"stop\""));
        assert!(events[2].contains("\"usage\"") && events[2].contains("\"choices\":[]"));
        assert_eq!(
            (events[3], events[4]),
            ("data: {\"error\":{\"message\":\"x\"}}", "data: [DONE]")
        );
    }
}
