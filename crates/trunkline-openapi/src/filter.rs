//! Which operations become tools.

use trunkline_model::{OpenApiFilter, OperationMatch};

/// What a filter looks at.
pub(crate) struct Candidate<'a> {
    pub(crate) tags: Vec<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) tool: &'a str,
}

/// Whether the filter lets the operation through.
pub(crate) fn lets(filter: &OpenApiFilter, candidate: &Candidate<'_>) -> bool {
    let OpenApiFilter { include, exclude } = filter;
    lists(include, candidate).all(|fits| fits) && !lists(exclude, candidate).any(|fits| fits)
}

/// For each list that is not empty, whether the operation fits one of its entries.
fn lists<'a>(lists: &'a OperationMatch, own: &'a Candidate<'_>) -> impl Iterator<Item = bool> + 'a {
    let any = |list: &'a [String], fits: &dyn Fn(&str) -> bool| {
        (!list.is_empty()).then(|| list.iter().any(|entry| fits(entry)))
    };
    [
        any(&lists.tags, &|tag| {
            own.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
        }),
        any(&lists.paths, &|glob| path(glob, own.path)),
        any(&lists.methods, &|method| own.method.eq_ignore_ascii_case(method)),
        any(&lists.operations, &|glob| {
            let glob = glob.to_ascii_lowercase();
            let fits = |name: &str| stars(glob.as_bytes(), name.to_ascii_lowercase().as_bytes(), false);
            fits(own.tool) || own.id.is_some_and(fits)
        }),
    ]
    .into_iter()
    .flatten()
}

/// `*` is any part of a segment, `**` any number of segments.
fn path(glob: &str, path: &str) -> bool {
    stars(glob.as_bytes(), path.as_bytes(), true)
}

/// A glob against a text, in time that grows with the product of their lengths: the places in the glob that the text may
/// have come to are kept, byte by byte.
fn stars(glob: &[u8], text: &[u8], segments: bool) -> bool {
    // What each star takes: everything but a slash, or everything.
    let mut parts: Vec<Part> = Vec::with_capacity(glob.len());
    let mut at = 0;
    while at < glob.len() {
        if glob[at] == b'*' {
            let run = glob[at..].iter().take_while(|b| **b == b'*').count();
            parts.push(if run > 1 || !segments {
                Part::Anything
            } else {
                Part::Segment
            });
            at += run;
        } else {
            parts.push(Part::Byte(glob[at]));
            at += 1;
        }
    }
    let mut places = vec![false; parts.len() + 1];
    places[0] = true;
    pass_stars(&parts, &mut places);
    for byte in text {
        let mut next = vec![false; parts.len() + 1];
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| places[*index]) {
            match part {
                Part::Byte(own) if own == byte => next[index + 1] = true,
                Part::Segment if *byte != b'/' => next[index] = true,
                Part::Anything => next[index] = true,
                Part::Byte(_) | Part::Segment => {}
            }
        }
        pass_stars(&parts, &mut next);
        places = next;
    }
    places[parts.len()]
}

enum Part {
    Byte(u8),
    Segment,
    Anything,
}

/// A star may take nothing.
fn pass_stars(parts: &[Part], places: &mut [bool]) {
    for (index, part) in parts.iter().enumerate() {
        if places[index] && !matches!(part, Part::Byte(_)) {
            places[index + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, fits) in [
            ("/pets", "/pets", true),
            ("/pets", "/pets/{id}", false),
            ("/pets/*", "/pets/{id}", true),
            ("/pets/*", "/pets/{id}/toys", false),
            ("/pets/**", "/pets/{id}/toys", true),
            ("/pets**", "/pets", true),
            ("**/toys", "/pets/{id}/toys", true),
            ("/*/{id}", "/pets/{id}", true),
            ("/a*c", "/abbc", true),
            ("/a*c", "/ab/c", false),
        ] {
            assert_eq!(path(glob, text), fits, "{glob} {text}");
        }
        let slow = "*a".repeat(200);
        assert!(!path(&slow, &"a".repeat(150)));
    }

    #[test]
    fn include_wants_all_lists_and_exclude_one() {
        let candidate = Candidate {
            tags: vec!["Pets"],
            path: "/pets/{id}",
            method: "delete",
            id: Some("deletePet"),
            tool: "deletepet",
        };
        let lists = |tags: &[&str], methods: &[&str], operations: &[&str]| {
            let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
            OperationMatch {
                tags: own(tags),
                methods: own(methods),
                operations: own(operations),
                paths: Vec::new(),
            }
        };
        let none = OperationMatch::default;
        for (include, exclude, expected) in [
            (none(), none(), true),
            (lists(&["pets"], &[], &[]), none(), true),
            (lists(&["pets"], &["GET"], &[]), none(), false),
            (lists(&["pets"], &["GET", "DELETE"], &["delete*"]), none(), true),
            (none(), lists(&["other"], &["delete"], &[]), false),
            (none(), lists(&[], &[], &["DELETEPET"]), false),
            (lists(&["pets"], &[], &[]), lists(&["pets"], &[], &[]), false),
        ] {
            assert_eq!(lets(&OpenApiFilter { include, exclude }, &candidate), expected);
        }
    }
}
