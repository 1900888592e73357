//! What of a request cannot be carried into another dialect, and what is done about it: LiteLLM's `drop_params`.

use std::collections::{HashMap, HashSet};

use crate::BadRequest;

/// Names that a refusal says, and characters of one of them: what is left out may be as long as a request.
const MOST_SAID: (usize, usize) = (20, 100);

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
    hints: Names,
    wishes: Names,
    /// What some of the wishes are, where their names do not say it.
    kinds: HashMap<String, String>,
    content: Vec<(String, String)>,
}

impl Losses {
    /// Something without which the answer is the same. It is left out, and that is said.
    pub fn hint(&mut self, name: impl Into<String>) {
        self.hints.add(name.into());
    }

    /// Something that the client relies on.
    pub fn wish(&mut self, name: impl Into<String>) {
        self.wishes.add(name.into());
    }

    /// A tool of the client's dialect, on which it relies: where it stood, and its type.
    pub fn tool(&mut self, index: usize, kind: &str) {
        let name = format!("tools[{index}]");
        self.kinds.insert(name.clone(), kind.to_owned());
        self.wish(name);
    }

    /// The wishes in words, for refusals: the first of them.
    fn in_words(&self) -> Vec<String> {
        let (names, characters) = MOST_SAID;
        let short = |text: String| match text.char_indices().nth(characters) {
            Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
            None => text,
        };
        let all = &self.wishes.in_order;
        let words = all.iter().take(names).map(|name| {
            let kind = self.kinds.get(name);
            short(kind.map_or_else(|| name.clone(), |kind| format!("{name} ({kind})")))
        });
        let more = all.len().saturating_sub(names);
        let more = (more > 0).then(|| format!("and {more} more"));
        words.chain(more).collect()
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
        if let (false, Some(first)) = (drops.all, self.wishes.in_order.first()) {
            return Err(BadRequest {
                message: format!(
                    "{provider} does not support parameters: {:?}, for model={model}. To leave them out, set `drop_params: true` in the request, in the deployment's `litellm_params` or in `litellm_settings`",
                    self.in_words()
                ),
                param: Some(first.clone()),
            });
        }
        let mut dropped = self.wishes;
        for hint in self.hints.in_order {
            dropped.add(hint);
        }
        Ok(dropped.in_order)
    }
}

/// Names in their order, each once. There may be as many as a request has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    in_order: Vec<String>,
    known: HashSet<String>,
}

impl Names {
    fn add(&mut self, name: String) {
        if self.known.insert(name.clone()) {
            self.in_order.push(name);
        }
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

    #[test]
    fn a_refusal_is_no_longer_than_somebody_reads() {
        let mut losses = Losses::default();
        for index in 0..30 {
            losses.tool(index, &"\u{e9}".repeat(500));
        }
        let refused = losses.settle(&Drops::default(), ("p", "m")).unwrap_err();
        assert!(refused.message.contains("and 10 more") && refused.message.contains("tools[19] ("));
        assert!(refused.message.len() < 5_000, "{}", refused.message.len());
    }

    #[test]
    fn as_many_as_a_request_has_are_settled_within_five_seconds() {
        let began = std::time::Instant::now();
        let mut losses = Losses::default();
        for index in 0..100_000 {
            losses.tool(index, "x");
            losses.hint(format!("tools[{index}].strict"));
        }
        let all = Drops {
            all: true,
            ..Drops::default()
        };
        assert_eq!(losses.settle(&all, ("p", "m")).unwrap().len(), 200_000);
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}
