//! The table of prices, searched where it lies.

use super::{Priced, Prices, Rate};

/// A line for each model, in the order of the bytes of their names; what begins with `#` comes before.
const TABLE: &str = include_str!("../../data/prices.tsv");

/// What a model can do: the letters of the table, and LiteLLM's names.
const FLAGS: [(char, &str); 16] = [
    ('a', "supports_assistant_prefill"),
    ('c', "supports_prompt_caching"),
    ('d', "supports_video_input"),
    ('f', "supports_function_calling"),
    ('i', "supports_audio_input"),
    ('l', "supports_parallel_function_calling"),
    ('n', "supports_native_streaming"),
    ('o', "supports_audio_output"),
    ('p', "supports_pdf_input"),
    ('r', "supports_reasoning"),
    ('s', "supports_response_schema"),
    ('t', "supports_tool_choice"),
    ('u', "supports_computer_use"),
    ('v', "supports_vision"),
    ('w', "supports_web_search"),
    ('y', "supports_system_messages"),
];

/// A model of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `provider/name`
    pub key: &'static str,
    /// LiteLLM's word for what it is for: `chat`, `embedding`.
    pub mode: &'static str,
    /// Tokens of a request, at most.
    pub max_input_tokens: Option<u64>,
    /// Tokens of an answer, at most.
    pub max_output_tokens: Option<u64>,
    /// What it costs.
    pub prices: Prices,
    flags: &'static str,
}

impl Listed {
    /// The model of a provider, by LiteLLM's prefix and the provider's name for it.
    pub fn find(provider: &str, model: &str) -> Option<Self> {
        let model = model.to_ascii_lowercase();
        // What was trained further costs what its kind costs, whoever's it is: `ft:gpt-4o:org:name:id`.
        let kind = model
            .strip_prefix("ft:")
            .map(|rest| format!("ft:{}", rest.split(':').next().unwrap_or_default()));
        // Texts that are gone on with are of the same models.
        let others: &[&str] = match provider {
            "text-completion-openai" => &["openai"],
            "cohere_chat" => &["cohere"],
            crate::provider::VERTEX_ANTHROPIC => &["vertex_ai"],
            "codestral" => &["text-completion-codestral", "mistral"],
            _ => &[],
        };
        let names = [Some(model.as_str()), kind.as_deref()];
        let mut keys = [provider]
            .into_iter()
            .chain(others.iter().copied())
            .flat_map(|provider| {
                names
                    .into_iter()
                    .flatten()
                    .map(move |name| format!("{provider}/{name}"))
            });
        keys.find_map(|key| read(line(TABLE, &key)?))
    }

    /// What it can do, by LiteLLM's names.
    pub fn supports(&self) -> impl Iterator<Item = (&'static str, bool)> {
        FLAGS
            .iter()
            .map(|(letter, name)| (*name, self.flags.contains(*letter)))
    }
}

/// The line that begins with `key` and a tab. Halves what is left: only the pages that are looked at come into memory.
fn line<'t>(table: &'t str, key: &str) -> Option<&'t str> {
    let bytes = table.as_bytes();
    let (mut begin, mut end) = (0, bytes.len());
    while begin < end {
        let middle = begin + (end - begin) / 2;
        let start = memchr::memrchr(b'\n', &bytes[begin..middle]).map_or(begin, |at| begin + at + 1);
        let stop = memchr::memchr(b'\n', &bytes[start..end]).map_or(end, |at| start + at);
        let own = table.get(start..stop)?;
        let name = own.split('\t').next().unwrap_or_default();
        match name.as_bytes().cmp(key.as_bytes()) {
            std::cmp::Ordering::Equal => return Some(own),
            std::cmp::Ordering::Less => begin = stop + 1,
            std::cmp::Ordering::Greater => end = start,
        }
    }
    None
}

fn read(line: &'static str) -> Option<Listed> {
    let mut parts = line.split('\t');
    let (key, mode) = (parts.next()?, parts.next()?);
    let mut tokens = || parts.next().map(|text| text.parse().ok());
    let (max_input_tokens, max_output_tokens) = (tokens()?, tokens()?);
    let flags = parts.next()?;
    let prices = parts.next()?.split(' ').filter_map(|own| {
        let (name, rate) = own.split_once('=')?;
        Some((Priced::listed(name)?, Rate::of_billionths(rate)?))
    });
    Some(Listed {
        key,
        mode,
        max_input_tokens,
        max_output_tokens,
        prices: Prices(prices.collect()),
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_found_and_read_whole() {
        let rows: Vec<&str> = TABLE.lines().filter(|own| !own.starts_with('#')).collect();
        assert!(rows.len() > 3000, "{}", rows.len());
        for row in &rows {
            let key = row.split('\t').next().unwrap();
            assert_eq!(line(TABLE, key), Some(*row));
            let listed = read(row).unwrap();
            let prices: Vec<&str> = row.split('\t').nth(5).unwrap().split(' ').collect();
            assert_eq!(listed.prices.iter().count(), prices.len(), "{row}");
        }
        assert_eq!(
            line(TABLE, "openai/gpt-4"),
            rows.iter().copied().find(|own| own.starts_with("openai/gpt-4\t"))
        );
        for none in ["", "a", "openai/gpt-4-no", "zzzz", "#"] {
            assert_eq!(line(TABLE, none), None, "{none}");
        }
        let sorted: Vec<&str> = rows.iter().map(|own| own.split('\t').next().unwrap()).collect();
        assert!(sorted.is_sorted());
    }

    #[test]
    fn names_lead_to_what_they_mean() {
        let found = Listed::find("openai", "GPT-4o").unwrap();
        assert_eq!((found.key, found.mode), ("openai/gpt-4o", "chat"));
        assert_eq!(
            (found.max_input_tokens, found.max_output_tokens),
            (Some(128_000), Some(16_384))
        );
        let can: Vec<_> = found
            .supports()
            .filter(|(_, can)| *can)
            .map(|(name, _)| name)
            .collect();
        assert!(
            can.contains(&"supports_vision") && !can.contains(&"supports_reasoning"),
            "{can:?}"
        );
        let trained = Listed::find("openai", "ft:gpt-4o-2024-08-06:org:name:id").unwrap();
        assert_eq!(trained.key, "openai/ft:gpt-4o-2024-08-06");
        assert!(Listed::find("text-completion-openai", "gpt-3.5-turbo-instruct").is_some());
        assert_eq!(Listed::find("hosted_vllm", "gpt-4o"), None);
        assert_eq!(Listed::find("openai", "gpt-4o\tchat"), None);
    }
}
