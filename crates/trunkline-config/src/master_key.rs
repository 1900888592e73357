//! Whether a master key is one that somebody could guess (S26).

use trunkline_model::Secret;

/// What a key is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKeyStrength {
    /// Nothing is known against it.
    Strong,
    /// It can be guessed; the text says why and never holds the key.
    Weak(&'static str),
}

impl MasterKeyStrength {
    /// Whether it can be guessed.
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Weak(_))
    }
}

/// Keys of documentation, examples and container files, in lower case, without `sk-`.
const PUBLISHED: [&str; 18] = [
    "1234",
    "12345",
    "123456",
    "12345678",
    "1234567890",
    "0000",
    "1111",
    "admin",
    "anything",
    "default",
    "key",
    "litellm",
    "litellm-master-key",
    "master",
    "my-key",
    "secret",
    "test",
    "trunkline",
];

/// Words that stand in keys which are meant to be replaced.
const PLACEHOLDERS: [&str; 12] = [
    "changeme",
    "change-me",
    "change_me",
    "replace",
    "your-",
    "your_",
    "yourkey",
    "example",
    "placeholder",
    "master-key",
    "masterkey",
    "password",
];

/// The fewest characters after `sk-`. 16 random ones of `[0-9a-f]` are 64 bits, out of reach for guesses over a network.
const MIN_CHARACTERS: usize = 16;
/// The fewest different characters. 16 random hexadecimal digits have fewer than six in one of 10⁶ cases.
const MIN_DISTINCT: usize = 6;

/// Judges a master key.
pub fn check_master_key(key: &Secret) -> MasterKeyStrength {
    use MasterKeyStrength::{Strong, Weak};
    let lower = key.expose().trim().to_lowercase();
    let body: Vec<char> = lower.strip_prefix("sk-").unwrap_or(&lower).chars().collect();
    let text: String = body.iter().collect();
    if body.is_empty() {
        return Weak("it is empty");
    }
    if PUBLISHED.contains(&text.as_str()) {
        return Weak("it is one that documentation uses as an example, so everybody knows it");
    }
    if PLACEHOLDERS.iter().any(|word| text.contains(word)) {
        return Weak("it is a placeholder that was meant to be replaced");
    }
    if body.len() < MIN_CHARACTERS {
        return Weak("it has fewer than 16 characters after `sk-`");
    }
    let mut distinct = body.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < MIN_DISTINCT {
        return Weak("it is made of fewer than six different characters");
    }
    let in_order = body
        .windows(2)
        .filter(|pair| u32::from(pair[0]).abs_diff(u32::from(pair[1])) <= 1)
        .count();
    if in_order * 2 >= body.len() - 1 {
        return Weak("its characters follow one another in order");
    }
    if (1..=body.len() / 2).any(|period| body.iter().zip(&body[period..]).all(|(a, b)| a == b)) {
        return Weak("it repeats itself");
    }
    Strong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s26_published_short_and_patterned_keys_are_weak() {
        for weak in [
            "",
            "sk-",
            "sk-1234",
            "sk-12345",
            " sk-1234\n",
            "changeme",
            "sk-my-master-key-for-litellm",
            "sk-your-secret-key-goes-here",
            "sk-short9f3a",
            "sk-aaaaaaaaaaaaaaaaaaaaaaaa",
            "sk-abababababababababab",
            "sk-1234567890abcdefghij",
            "sk-x7Qp2x7Qp2x7Qp2x7Qp2x7Qp2",
            "Passwordpassword42!",
        ] {
            let strength = check_master_key(&Secret::new(weak));
            assert!(strength.is_weak(), "{weak:?}");
            let MasterKeyStrength::Weak(reason) = strength else {
                unreachable!()
            };
            assert!(weak.trim().len() < 5 || !reason.contains(weak.trim()), "{reason}");
        }
    }

    #[test]
    fn s26_random_keys_are_strong() {
        for strong in [
            "sk-9f8c1e0b7a6d4f3e2c5b8a7d6e9f0c1b",
            "5e884898da28047151d0e56f8dc62927",
            "sk-Zq3vT8kLm0Xw7RbN",
            "correct horse battery staple",
        ] {
            assert_eq!(
                check_master_key(&Secret::new(strong)),
                MasterKeyStrength::Strong,
                "{strong}"
            );
        }
    }
}
