//! What of a request cannot be carried into another dialect, and what is done about it: LiteLLM's `drop_params`.

use crate::BadRequest;

/// What may be left out: `drop_params` and `additional_drop_params` of the request, of the deployment, of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Whatever the provider has no word for.
    pub all: bool,
    /// These members, whether the provider knows them or not.
    pub names: Vec<String>,
}

/// What could not be carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    hints: Vec<String>,
    wishes: Vec<String>,
    /// What some of the wishes are, where their names do not say it.
    kinds: Vec<(String, String)>,
    content: Vec<(String, String)>,
}

impl Losses {
    /// Something without which the answer is the same. It is left out, and that is said.
    pub fn hint(&mut self, name: impl Into<String>) {
        add(&mut self.hints, name.into());
    }

    /// Something that the client relies on.
    pub fn wish(&mut self, name: impl Into<String>) {
        add(&mut self.wishes, name.into());
    }

    /// A tool of the client's dialect, on which it relies: where it stood, and its type.
    pub fn tool(&mut self, index: usize, kind: &str) {
        let name = format!("tools[{index}]");
        self.kinds.push((name.clone(), kind.to_owned()));
        self.wish(name);
    }

    /// The wishes in words, for refusals.
    fn in_words(&self) -> Vec<String> {
        let words = self.wishes.iter().map(|name| {
            let kind = self.kinds.iter().find(|(own, _)| own == name);
            kind.map_or_else(|| name.clone(), |(_, kind)| format!("{name} ({kind})"))
        });
        words.collect()
    }

    /// A part of what was said: where it stood, and what it is. Without it the question is another one, so that it is never left out.
    pub fn content(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.content.push((path.into(), what.into()));
    }

    /// Whether a part of what was said was lost.
    pub fn has_content(&self) -> bool {
        !self.content.is_empty()
    }

    /// What was left out, or the refusal that names what would have to be.
    pub fn settle(self, drops: &Drops, (provider, model): (&str, &str)) -> Result<Vec<String>, BadRequest> {
        if let Some((path, what)) = self.content.first().cloned() {
            return Err(BadRequest {
                message: format!("`{path}` is {what}, which cannot be said to {provider} (model={model})"),
                param: Some(path),
            });
        }
        if let (false, Some(first)) = (drops.all, self.wishes.first()) {
            return Err(BadRequest {
                message: format!(
                    "{provider} does not support parameters: {:?}, for model={model}. To leave them out, set `drop_params: true` in the request, in the deployment's `litellm_params` or in `litellm_settings`",
                    self.in_words()
                ),
                param: Some(first.clone()),
            });
        }
        let mut dropped = self.wishes;
        for hint in self.hints {
            add(&mut dropped, hint);
        }
        Ok(dropped)
    }
}

fn add(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_refused_unless_they_may_be_dropped_and_hints_never() {
        let mut losses = Losses::default();
        losses.hint("store");
        losses.hint("store");
        let model = ("anthropic", "claude");
        assert_eq!(
            losses.clone().settle(&Drops::default(), model),
            Ok(vec!["store".to_owned()])
        );
        losses.wish("seed");
        let refused = losses.clone().settle(&Drops::default(), model).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("seed"));
        assert!(
            refused
                .message
                .starts_with("anthropic does not support parameters: [\"seed\"], for model=claude")
        );
        let all = Drops {
            all: true,
            ..Drops::default()
        };
        assert_eq!(losses.clone().settle(&all, model).unwrap(), ["seed", "store"]);
        losses.content("messages[0].content[0]", "`input_audio`");
        let refused = losses.settle(&all, model).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("messages[0].content[0]"));
    }
}
