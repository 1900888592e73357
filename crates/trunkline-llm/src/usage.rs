//! Tokens, as answers count them. Read beside the answer, which is not touched for it.

use serde::Deserialize;

/// What an answer says that it took. What it does not say is not known, and never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

impl Usage {
    /// Reads the JSON text of a member `usage`. `None` if it is null, or no object of numbers.
    pub fn read(json: &str) -> Option<Self> {
        let wire: Option<Wire> = serde_json::from_str(json).ok()?;
        wire.map(|wire| Self {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_known() {
        let read = Usage::read(r#"{"prompt_tokens":3,"total_tokens":3,"x":{"y":1}}"#).unwrap();
        assert_eq!((read.prompt_tokens, read.completion_tokens), (Some(3), None));
        for none in [
            "null",
            "3",
            "[]x",
            r#"{"prompt_tokens":"3"}"#,
            r#"{"prompt_tokens":-1}"#,
        ] {
            assert_eq!(Usage::read(none), None, "{none}");
        }
    }
}
