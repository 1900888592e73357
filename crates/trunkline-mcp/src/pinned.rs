//! What of a tool's definition is accepted by a person, and how it is told from any other: a digest of the members that a model or a
//! client acts on (S29).
//!
//! Covered: the name, `title`, `description`, `inputSchema`, `outputSchema`, `annotations`, and what of `_meta` leads to something that is
//! shown (MCP Apps). Not covered: `execution` says how a call travels and differs between eras; `icons` are pictures beside
//! a name, often by URLs that are signed anew each time; the rest of `_meta` is the server's and the client's own business and changes with
//! every build. None of them is read by a model.

use crate::canonical::{self, NotOne};
use crate::edit::RawObject;

/// A covered member: its name in a pin and in a definition.
pub const MEMBERS: [(&str, &str); 6] = [
    ("title", "title"),
    ("description", "description"),
    ("input_schema", "inputSchema"),
    ("output_schema", "outputSchema"),
    ("annotations", "annotations"),
    ("ui", "_meta"),
];

/// What of `_meta` is covered: what points at a resource that clients show.
const SHOWN: [&str; 3] = ["ui", "ui/resourceUri", "openai/outputTemplate"];

/// The covered part of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Of all of it.
    pub digest: String,
    /// Of all but the name: the same for a tool that was renamed.
    pub nameless: String,
    /// Members by their names in a pin, canonical JSON.
    pub members: Vec<(&'static str, String)>,
}

impl Covered {
    /// What a tool's definition, JSON text, has of it.
    pub fn of(definition: &str) -> Result<Self, NotOne> {
        let object = RawObject::parse(definition).map_err(|_| NotOne::NoJson)?;
        let mut members = Vec::new();
        let mut whole = RawObject::default();
        for (own, wire) in MEMBERS {
            let Some(json) = object.get(wire) else { continue };
            let json = match own {
                "ui" => match shown(json)? {
                    Some(shown) => shown,
                    None => continue,
                },
                _ => json.to_owned(),
            };
            let json = canonical::strict(&json)?;
            whole.set(wire, json.clone());
            members.push((own, json));
        }
        let nameless = canonical::digest(&canonical::strict(&whole.to_json())?);
        whole.set("name", object.get("name").unwrap_or("null").to_owned());
        let digest = canonical::digest(&canonical::strict(&whole.to_json())?);
        Ok(Self {
            digest,
            nameless,
            members,
        })
    }

    /// A member by its name in a pin: canonical JSON.
    pub fn get(&self, member: &str) -> Option<&str> {
        let found = self.members.iter().find(|(own, _)| *own == member);
        found.map(|(_, json)| json.as_str())
    }

    /// Whether it is what was accepted: one of the digests, or where there is none, in every member that is named, JSON text.
    pub fn meets<'m>(&self, digests: &[&str], members: impl IntoIterator<Item = (&'m str, String)>) -> bool {
        if digests.is_empty() {
            let mut members = members.into_iter();
            members.all(|(member, json)| self.has(member, &json))
        } else {
            digests.contains(&self.digest.as_str())
        }
    }

    /// Whether a member is what was accepted, JSON text. Nothing, `null` and, of a description, no text are one.
    pub fn has(&self, member: &str, accepted: &str) -> bool {
        let nothing = |json: &str| json == "null" || (member == "description" && json == "\"\"");
        let own = self.get(member).filter(|json| !nothing(json));
        match canonical::strict(accepted) {
            Ok(accepted) if nothing(&accepted) => own.is_none(),
            Ok(accepted) => own == Some(accepted.as_str()),
            Err(_) => false,
        }
    }
}

fn shown(meta: &str) -> Result<Option<String>, NotOne> {
    let meta = RawObject::parse(meta).map_err(|_| NotOne::KeyTwice)?;
    let mut shown = RawObject::default();
    for key in SHOWN {
        if let Some(json) = meta.get(key) {
            shown.set(key, json.to_owned());
        }
    }
    Ok((!shown.is_empty()).then(|| shown.to_json()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = r#"{"name":"a","title":"A","description":"d","inputSchema":{"type":"object","properties":{"x":{"maximum":1.0}}},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"_meta":{"ui":{"resourceUri":"ui://a"},"build":7},"icons":[],"execution":{"taskSupport":"optional"}}"#;

    fn of(definition: &str) -> Covered {
        Covered::of(definition).unwrap()
    }

    #[test]
    fn s29_what_is_covered_changes_the_digest_and_nothing_else_does() {
        let plain = of(TOOL);
        for (from, to) in [
            (r#""name":"a""#, r#""name":"b""#),
            (r#""title":"A""#, r#""title":"B""#),
            (r#""description":"d""#, r#""description":"d ""#),
            (r#""maximum":1.0"#, r#""maximum":1"#),
            (r#","outputSchema":{"type":"object"}"#, ""),
            (r#""readOnlyHint":true"#, r#""readOnlyHint":false"#),
            ("ui://a", "ui://b"),
        ] {
            let changed = TOOL.replace(from, to);
            assert_ne!(changed, TOOL, "{from}");
            assert_ne!(of(&changed).digest, plain.digest, "{from}");
        }
        for (from, to) in [
            (r#""build":7"#, r#""build":8"#),
            (r#","icons":[]"#, r#","icons":[{"src":"x"}]"#),
            (r#""optional""#, r#""required""#),
            (r#""description":"d""#, r#""description" : "\u0064""#),
        ] {
            let same = TOOL.replace(from, to);
            assert_ne!(same, TOOL, "{from}");
            assert_eq!(of(&same), plain, "{from}");
        }
        let renamed = of(&TOOL.replace(r#""name":"a""#, r#""name":"b""#));
        assert_eq!(renamed.nameless, plain.nameless);
    }

    #[test]
    fn s29_members_are_compared_one_by_one() {
        let tool = of(r#"{"name":"a","description":"","inputSchema":{"type":"object"}}"#);
        assert!(tool.has("input_schema", r#"{ "type": "object" }"#));
        assert!(!tool.has("input_schema", r#"{"type":"object","additionalProperties":true}"#));
        assert!(!tool.has("input_schema", "null"));
        assert!(
            tool.has("description", "null") && tool.has("description", "\"\"") && tool.has("title", "null")
        );
        assert!(!tool.has("title", "\"\""), "a title of no text is a title");
        assert!(!tool.has("description", "\"x\""));
        assert_eq!(
            Covered::of(r#"{"name":"a","inputSchema":{"x":{"a":1,"a":2}}}"#),
            Err(NotOne::KeyTwice)
        );
    }
}
