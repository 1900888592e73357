//! Secrets that can be found again.

use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A unique value to put where a secret belongs, and to look for where none does.
///
/// It is found in plain text, in hexadecimal and in base64 at any alignment (which is how a Basic credential
/// carries it).
#[derive(Clone, Debug)]
pub struct Canary {
    name: String,
    value: String,
}

impl Canary {
    /// A new marker; `name` says in failures which secret it stood for. `[a-z0-9-]` only, 32 random digits.
    pub fn new(name: &str) -> Self {
        // Each RandomState has new keys from the operating system's randomness.
        let random = || RandomState::new().hash_one(name);
        let digits = format!("{:016x}{:016x}", random(), random());
        Self {
            name: name.to_owned(),
            value: format!("canary-{name}-{digits}"),
        }
    }

    /// The same in the shape of a LiteLLM key: starts with `sk-`.
    pub fn key(name: &str) -> Self {
        let plain = Self::new(name);
        Self {
            value: format!("sk-{}", plain.value),
            ..plain
        }
    }

    /// The value to hand out as the secret.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Where in `haystack` the secret is, in which form; `None` when it is not there.
    pub fn find(&self, haystack: impl AsRef<[u8]>) -> Option<String> {
        let haystack = String::from_utf8_lossy(haystack.as_ref()).to_ascii_lowercase();
        // The random digits alone: part of a secret is a secret too.
        let core = &self.value[self.value.len() - 32..];
        let forms = std::iter::once(("plain", core.to_owned()))
            .chain([("hexadecimal", hexadecimal(core))])
            .chain((0..3).map(|shift| ("base64", base64_at(core, shift))));
        for (form, needle) in forms {
            // So much of it is unique; longer texts are searched far more slowly.
            let needle = needle[..32].to_ascii_lowercase();
            if haystack.contains(&needle) {
                let (before, after) = haystack.split_once(&needle).unwrap_or_default();
                let before: String = before.chars().rev().take(80).collect();
                let before: String = before.chars().rev().collect();
                let after: String = after.chars().take(60).collect();
                return Some(format!("{form}: …{before}{needle}{after}…"));
            }
        }
        None
    }

    /// # Panics
    /// When the secret is in one of the haystacks: says which, in which form and what stands around it.
    pub fn assert_absent<H: AsRef<[u8]>>(&self, haystacks: &[(&str, H)]) {
        for (place, haystack) in haystacks {
            if let Some(found) = self.find(haystack) {
                panic!("the secret `{}` is in {place}: {found}", self.name);
            }
        }
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// What of the base64 of `shift` unknown bytes followed by `text` does not depend on its neighbours.
fn base64_at(text: &str, shift: usize) -> String {
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(text.bytes()).collect();
    let whole = padded.len() / 3 * 3;
    // A character that mixes in a neighbour's bits is left out at either end.
    let skip = [0, 2, 3][shift];
    STANDARD_NO_PAD.encode(&padded[..whole])[skip..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_every_form() {
        let canary = Canary::new("token");
        let value = canary.value().to_owned();
        assert!(canary.find(format!("Authorization: Bearer {value}")).is_some());
        for user in ["", "a", "ab", "abc"] {
            let basic = STANDARD_NO_PAD.encode(format!("{user}:{value}:tail"));
            assert!(canary.find(&basic).is_some(), "user `{user}`");
        }
        let hex = hexadecimal(&value).to_uppercase();
        assert!(canary.find(hex).is_some());
        assert!(canary.find("nothing to see").is_none());
        assert!(
            canary.find(Canary::new("token").value()).is_none(),
            "each one is unique"
        );
    }

    #[test]
    #[should_panic(expected = "the secret `token` is in the log")]
    fn a_leak_names_its_place() {
        let canary = Canary::key("token");
        canary.assert_absent(&[
            ("the answer", String::new()),
            ("the log", format!("key={}", canary.value())),
        ]);
    }
}
