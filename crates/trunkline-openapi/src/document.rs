//! The text of a document to a tree, bounded, and references within it.

use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::options::NonFiniteFloatPolicy;
use trunkline_mcp::depth;

use crate::mistake::{Mistake, join};

/// Bytes of a document. GitHub's, one of the largest there are, has 13 million.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Nesting of objects and arrays.
const MAX_DEPTH: usize = 100;
/// References that lead to references.
const MAX_CHAIN: usize = 16;
/// Values of a YAML document.
const MAX_NODES: usize = 4_000_000;

/// The specification that a document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Swagger 2.0.
    Swagger2,
    /// OpenAPI 3.0.
    V30,
    /// OpenAPI 3.1 and what comes after it: schemas are JSON Schema.
    V31,
}

impl Version {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Swagger2 => "Swagger 2.0",
            Self::V30 => "OpenAPI 3.0",
            Self::V31 => "OpenAPI 3.1",
        }
    }
}

/// A document.
pub(crate) struct Document {
    pub(crate) root: Value,
    pub(crate) version: Version,
}

/// JSON or YAML, whichever it is.
pub(crate) fn tree(bytes: &[u8]) -> Result<Value, Mistake> {
    let whole = |what: String| Mistake::new("", what);
    if bytes.len() > MAX_BYTES {
        return Err(whole(format!(
            "the document is larger than {} MiB",
            MAX_BYTES / 1024 / 1024
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| whole("the document is not UTF-8 text".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('<') {
        return Err(whole(
            "the document is HTML or XML, not JSON or YAML: the address of a page about the API, perhaps"
                .to_owned(),
        ));
    }
    if text.starts_with(['{', '[']) {
        if !depth::within(text.as_bytes(), MAX_DEPTH) {
            return Err(whole(format!(
                "the document is nested deeper than {MAX_DEPTH} levels"
            )));
        }
        match serde_json::from_str(text) {
            Ok(tree) => return Ok(tree),
            // What begins with a brace may be YAML all the same, but it rarely is; the parser's words are about JSON then.
            Err(error) => {
                return yaml(text).map_err(|_| whole(format!("the document is not valid JSON: {error}")));
            }
        }
    }
    yaml(text).map_err(|error| whole(format!("the document is neither JSON nor valid YAML: {error}")))
}

fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_documents: 2,
            max_aliases: 50_000,
            max_anchors: 50_000,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(200));
        text
    })
}

impl Document {
    /// Looks at the version; nothing else is read yet.
    pub(crate) fn new(root: Value) -> Result<Self, Mistake> {
        let Value::Object(object) = &root else {
            return Err(Mistake::new("", "the document is no object"));
        };
        let named = |key: &str| match object.get(key) {
            // `swagger: 2.0` without quotes is a number in YAML.
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let version = match (named("openapi"), named("swagger")) {
            (Some(text), _) if text.starts_with("3.0") => Version::V30,
            (Some(text), _) if text.starts_with("3.") => Version::V31,
            (Some(text), _) => {
                let text: String = text.chars().take(20).collect();
                return Err(Mistake::new(
                    "/openapi",
                    format!("OpenAPI {text:?} is not read here: 3.0, 3.1 and Swagger 2.0 are"),
                ));
            }
            (None, Some(text)) if text.starts_with('2') => Version::Swagger2,
            (None, Some(_)) => {
                return Err(Mistake::new(
                    "/swagger",
                    "only Swagger 2.0 is read here, and OpenAPI 3",
                ));
            }
            (None, None) => {
                return Err(Mistake::new(
                    "",
                    "this is no OpenAPI document: it has neither `openapi` nor `swagger` at its root",
                ));
            }
        };
        Ok(Self { root, version })
    }

    /// What a local reference leads to.
    pub(crate) fn target(&self, reference: &str, at: &str) -> Result<&Value, Mistake> {
        let pointer = local(reference, at)?;
        self.root
            .pointer(&pointer)
            .ok_or_else(|| Mistake::new(at, format!("the $ref {} leads nowhere", quoted(reference))))
    }

    /// Follows references until there is something else, and says where that stands.
    pub(crate) fn resolve<'d>(&'d self, value: &'d Value, at: &str) -> Result<(&'d Value, String), Mistake> {
        let mut found = value;
        let mut place = at.to_owned();
        for _ in 0..MAX_CHAIN {
            let Some(reference) = found.get("$ref").and_then(Value::as_str) else {
                return Ok((found, place));
            };
            found = self.target(reference, &place)?;
            place = local(reference, &place)?;
        }
        Err(Mistake::new(at, "its $ref leads in a circle"))
    }
}

/// A reference into the same document as a JSON pointer.
pub(crate) fn local(reference: &str, at: &str) -> Result<String, Mistake> {
    let Some(fragment) = reference.strip_prefix('#') else {
        return Err(Mistake::new(
            at,
            format!(
                "the $ref {} leads out of the document: bundle the documents into one",
                quoted(reference)
            ),
        ));
    };
    let fragment = percent_encoding::percent_decode_str(fragment).decode_utf8_lossy();
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return Err(Mistake::new(
            at,
            format!(
                "the $ref {} names an anchor, which is not followed",
                quoted(reference)
            ),
        ));
    }
    Ok(fragment.into_owned())
}

/// A text of the document for a message: bounded, printable.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The members of an object member; none if there is no such object.
pub(crate) fn members<'v>(
    value: &'v Value,
    key: &str,
    at: &str,
) -> impl Iterator<Item = (&'v String, &'v Value, String)> {
    let place = join(at, key);
    let object = value.get(key).and_then(Value::as_object);
    object
        .into_iter()
        .flatten()
        .map(move |(name, value)| (name, value, join(&place, name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml() {
        let expected = json!({"openapi": "3.0.0", "paths": {"/a": {"get": {"responses": {"200": {"description": "ok"}}}}}});
        for text in [
            r#"{"openapi":"3.0.0","paths":{"/a":{"get":{"responses":{"200":{"description":"ok"}}}}}}"#,
            "openapi: 3.0.0\npaths:\n  /a:\n    get:\n      responses:\n        200: {description: ok}\n",
            "\u{feff}openapi: '3.0.0'\npaths: {/a: {get: {responses: {'200': {description: ok}}}}}\n",
        ] {
            assert_eq!(tree(text.as_bytes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn versions() {
        for (root, version) in [
            (json!({"swagger": "2.0"}), Version::Swagger2),
            (json!({"swagger": 2.0}), Version::Swagger2),
            (json!({"openapi": "3.0.3"}), Version::V30),
            (json!({"openapi": 3.1}), Version::V31),
            (json!({"openapi": "3.2.0"}), Version::V31),
        ] {
            assert_eq!(Document::new(root).unwrap().version, version);
        }
    }

    #[test]
    fn what_is_no_document_is_said_so() {
        for (text, words) in [
            ("", "no object"),
            ("<html>", "HTML"),
            ("[1]", "no object"),
            ("{\"openapi\": ", "not valid JSON"),
            ("a: b: c", "nor valid YAML"),
            ("{\"a\": 1}", "neither `openapi` nor `swagger`"),
            ("openapi: 4.0.0", "is not read here"),
            ("swagger: '1.2'", "only Swagger 2.0"),
        ] {
            let error = tree(text.as_bytes())
                .and_then(Document::new)
                .err()
                .unwrap_or_else(|| panic!("{text} is read"));
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        let deep = format!(
            "{{\"openapi\":\"3.0.0\",\"x\":{}{}}}",
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(
            tree(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
        assert!(
            tree(&vec![b' '; MAX_BYTES + 1])
                .unwrap_err()
                .to_string()
                .contains("larger than")
        );
    }

    #[test]
    fn s38_aliases_that_multiply_are_bounded() {
        let mut text = String::from("openapi: 3.0.0\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{aliases}]\n");
        }
        assert!(tree(text.as_bytes()).is_err());
    }

    #[test]
    fn references_stay_in_the_document() {
        let document = Document::new(json!({
            "openapi": "3.0.0",
            "a": {"$ref": "#/b~1c"}, "b/c": {"$ref": "#/d%20e"}, "d e": 7,
            "loop": {"$ref": "#/loop"},
        }))
        .unwrap();
        let start = document.root["a"].clone();
        let (found, place) = document.resolve(&start, "/a").unwrap();
        assert_eq!((found, place.as_str()), (&json!(7), "/d e"));
        for (reference, words) in [
            ("other.yaml#/a", "out of the document"),
            ("https://x.example/a.json", "out of the document"),
            ("file:///etc/passwd", "out of the document"),
            ("#anchor", "anchor"),
            ("#/nowhere", "leads nowhere"),
            ("#/loop", "circle"),
        ] {
            let error = document.resolve(&json!({"$ref": reference}), "/x").unwrap_err();
            assert!(error.to_string().contains(words), "{reference}: {error}");
        }
    }
}
