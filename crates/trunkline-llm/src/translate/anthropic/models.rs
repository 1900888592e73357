//! What Anthropic's models can, by their names: `claude-3-5-sonnet-20241022`, `claude-opus-4-1`, `claude-sonnet-4-5@20250929`.

/// What a model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Tokens of an answer where the request does not say it: as many as the model can write, as in LiteLLM.
    pub(super) max_tokens: u64,
    /// It takes the form of an answer as such.
    pub(super) forms: bool,
    /// It takes a word for how much to think, and no number.
    pub(super) words: bool,
    /// It knows `xhigh`.
    pub(super) xhigh: bool,
    /// On Bedrock, too, it can be told to call one tool at a time.
    pub(super) one_at_a_time: bool,
}

/// Whether a model can be told on Bedrock to call one tool at a time: older ones refuse the member.
pub(in crate::translate) fn calls_one_at_a_time(model: &str) -> bool {
    abilities(model).one_at_a_time
}

/// For names that are not known: LiteLLM's number.
const UNKNOWN: u64 = 4096;

pub(super) fn abilities(model: &str) -> Abilities {
    let Some((family, version)) = version(model) else {
        return Abilities {
            max_tokens: UNKNOWN,
            forms: false,
            words: false,
            xhigh: false,
            one_at_a_time: false,
        };
    };
    let is_opus = family == Some("opus");
    let max_tokens = match version {
        (..=2, _) | (3, ..=4) => 4096,
        (3, 5 | 6) => 8192,
        (4, ..=4) if is_opus => 32_000,
        (3, 7..) | (4, ..=5) => 64_000,
        (4, 6) if !is_opus => 64_000,
        _ => 128_000,
    };
    Abilities {
        max_tokens,
        forms: version >= (4, 5) || (is_opus && version >= (4, 1)),
        words: version >= (4, 6),
        xhigh: version >= (4, 7),
        one_at_a_time: version >= (4, 5),
    }
}

/// The family, and the version of a name.
fn version(model: &str) -> Option<(Option<&str>, (u32, u32))> {
    let (_, name) = model.split_once("claude")?;
    let mut parts = name
        .split(['-', '.', '@', ':', '_'])
        .filter(|part| !part.is_empty());
    let mut family = None;
    let mut numbers = Vec::new();
    for part in parts.by_ref() {
        match part.parse::<u32>() {
            // Longer ones are dates.
            Ok(number) if part.len() <= 2 => numbers.push(number),
            Ok(_) => break,
            Err(_) if numbers.len() == 2 && family.is_some() => break,
            Err(_) => {
                family = family.or(["opus", "sonnet", "haiku", "instant"]
                    .into_iter()
                    .find(|own| *own == part));
            }
        }
    }
    let major = *numbers.first()?;
    Some((family, (major, numbers.get(1).copied().unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_model_can() {
        let own = |model| {
            let own = abilities(model);
            (own.max_tokens, own.forms, own.words)
        };
        for (model, wanted) in [
            ("claude-3-haiku-20240307", (4096, false, false)),
            ("claude-3-5-sonnet-20241022", (8192, false, false)),
            ("claude-3-7-sonnet-latest", (64_000, false, false)),
            ("claude-sonnet-4-20250514", (64_000, false, false)),
            ("claude-opus-4-20250514", (32_000, false, false)),
            ("claude-opus-4-1-20250805", (32_000, true, false)),
            ("claude-sonnet-4-5", (64_000, true, false)),
            (
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                (64_000, true, false),
            ),
            ("claude-opus-4-6", (128_000, true, true)),
            ("claude-sonnet-4.6", (64_000, true, true)),
            ("claude-2.1", (4096, false, false)),
            ("my-own", (4096, false, false)),
        ] {
            assert_eq!(own(model), wanted, "{model}");
        }
    }
}
