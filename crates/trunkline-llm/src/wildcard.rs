//! Names of models with `*`: which names they stand for, and what the stars of one are in another.
//!
//! `openai/*` stands for every name that begins with `openai/`. A star is any text, also an empty one; the first one takes as much as
//! it can, as in LiteLLM.

/// Stars of one name.
pub const MOST_STARS: usize = 3;

/// Whether a name stands for others.
pub fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether `pattern` stands for `name`.
pub fn matches(pattern: &str, name: &str) -> bool {
    is_pattern(pattern) && stars(pattern, name).is_some()
}

/// What the stars of `pattern` are in `name`, in their order; none if it does not stand for it.
pub fn stars<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let mut found = Vec::with_capacity(1);
    walk(pattern, name, &mut found).then_some(found)
}

fn walk<'n>(pattern: &str, name: &'n str, found: &mut Vec<&'n str>) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    if after.is_empty() {
        found.push(rest);
        return true;
    }
    // As much as it can: from the end.
    for (at, _) in rest
        .char_indices()
        .map(|(at, c)| (at, Some(c)))
        .chain([(rest.len(), None)])
        .rev()
    {
        let (Some(own), Some(left)) = (rest.get(..at), rest.get(at..)) else {
            continue;
        };
        found.push(own);
        if walk(after, left, found) {
            return true;
        }
        found.pop();
    }
    false
}

/// `pattern` with its stars filled, each with the next of `stars`. What has more of them than there are keeps none.
pub fn filled(pattern: &str, stars: &[&str]) -> String {
    let mut text = String::with_capacity(pattern.len() + 32);
    let mut own = stars.iter();
    for (index, part) in pattern.split('*').enumerate() {
        if index > 0 {
            text.push_str(own.next().copied().unwrap_or_default());
        }
        text.push_str(part);
    }
    text
}

/// How much of a pattern is said: the more, the sooner it counts.
pub fn weight(pattern: &str) -> (usize, std::cmp::Reverse<usize>) {
    let stars = pattern.matches('*').count();
    (pattern.len() - stars, std::cmp::Reverse(stars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_the_first_takes_most() {
        for (pattern, name, wanted) in [
            ("openai/*", "openai/gpt-4o", Some(vec!["gpt-4o"])),
            ("openai/*", "openai/", Some(vec![""])),
            ("openai/*", "openai", None),
            ("*", "a/b", Some(vec!["a/b"])),
            ("a*b*c", "axbybzc", Some(vec!["xby", "z"])),
            ("*-é", "ü-é-é", Some(vec!["ü-é"])),
            ("a*c", "ab", None),
            ("a", "a", Some(vec![])),
        ] {
            assert_eq!(stars(pattern, name), wanted, "{pattern} {name}");
        }
        assert!(!matches("a", "a"), "that is a name");
        assert_eq!(filled("x/*", &["y"]), "x/y");
        assert_eq!(filled("x", &["y"]), "x");
        assert_eq!(filled("*/*", &["a", "b"]), "a/b");
    }

    #[test]
    fn what_says_more_counts_sooner() {
        let mut patterns = ["*", "openai/*", "openai/gpt-4*", "*/gpt-4*", "o*penai/*"];
        patterns.sort_by_key(|own| std::cmp::Reverse(weight(own)));
        assert_eq!(
            patterns,
            ["openai/gpt-4*", "openai/*", "o*penai/*", "*/gpt-4*", "*"]
        );
    }
}
