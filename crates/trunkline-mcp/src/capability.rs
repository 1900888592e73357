//! What the two sides of a session say that they can do. Both kinds of declaration are open sets: what is not known here
//! is kept.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::edit::RawObject;
use crate::revision::Revision;
use crate::task;

/// What a server declared in `initialize` or `server/discover`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerCapabilities {
    json: Box<str>,
}

impl ServerCapabilities {
    /// From the raw object; anything else declares nothing.
    pub fn new(raw: &str) -> Self {
        Self {
            json: if raw.starts_with('{') {
                raw.into()
            } else {
                Box::default()
            },
        }
    }

    /// The object as it came; `{}` if nothing was declared.
    pub fn as_json(&self) -> &str {
        if self.json.is_empty() { "{}" } else { &self.json }
    }

    /// Whether a capability is declared.
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// Whether a capability's flag (`listChanged`, `subscribe`) is set.
    pub fn flag(&self, name: &str, flag: &str) -> bool {
        self.member(name)
            .and_then(|value| serde_json::from_str::<Map<String, Value>>(&value).ok())
            .is_some_and(|object| object.get(flag) == Some(&Value::Bool(true)))
    }

    /// Whether a capability has a member (`list` of `tasks`), whatever it says.
    pub fn offers(&self, name: &str, member: &str) -> bool {
        self.member(name)
            .and_then(|value| serde_json::from_str::<Map<String, Value>>(&value).ok())
            .and_then(|mut object| object.remove(member))
            .is_some_and(|value| !value.is_null() && value != Value::Bool(false))
    }

    /// The same for a client that may use tools of the server and nothing else of it.
    #[must_use]
    pub fn of_tools(&self) -> Self {
        let own = serde_json::from_str::<Map<String, Value>>(self.as_json()).unwrap_or_default();
        let mut kept = Map::new();
        for (name, value) in own {
            let value = match (name.as_str(), value) {
                ("tools" | "logging", value) => value,
                ("tasks", Value::Object(mut tasks)) => {
                    // Whose tasks a list holds is not known.
                    tasks.remove("list");
                    tasks.into()
                }
                ("extensions", Value::Object(mut extensions)) => {
                    extensions.retain(|name, _| name == task::EXTENSION);
                    if extensions.is_empty() {
                        continue;
                    }
                    extensions.into()
                }
                _ => continue,
            };
            kept.insert(name, value);
        }
        Self::new(&Value::from(kept).to_string())
    }

    fn member(&self, name: &str) -> Option<String> {
        let object = RawObject::parse(self.as_json()).ok()?;
        object
            .get(name)
            .filter(|value| *value != "null")
            .map(ToOwned::to_owned)
    }

    /// The extensions, by name.
    pub fn extensions(&self) -> Map<String, Value> {
        self.member("extensions")
            .and_then(|value| serde_json::from_str(&value).ok())
            .unwrap_or_default()
    }
}

/// What several servers can do together, as one object: a capability that any of them has is there. Flags that the
/// gateway serves by itself (`listChanged`) are set wherever the capability is. `experimental` and `extensions` are kept
/// by name; where two servers say different things of one, the first counts.
pub fn union<'a>(servers: impl Iterator<Item = &'a ServerCapabilities>) -> Map<String, Value> {
    let mut all = Map::new();
    for server in servers {
        let Ok(own) = serde_json::from_str::<Map<String, Value>>(server.as_json()) else {
            continue;
        };
        for (name, value) in own {
            if value.is_null() {
                continue;
            }
            // Which requests can be tasks is said two levels further down.
            let depth = if name == "tasks" { 4 } else { 1 };
            merge(all.entry(name).or_insert_with(|| json!({})), value, depth);
        }
    }
    for name in ["tools", "prompts", "resources"] {
        if let Some(Value::Object(own)) = all.get_mut(name) {
            own.insert("listChanged".into(), true.into());
        }
    }
    all
}

/// The capabilities without the tasks of revisions other than the one spoken: those of 2025-11-25 are a capability, those
/// of 2026-07-28 an extension, and neither means the other.
pub fn only_tasks_of(all: &mut Map<String, Value>, revision: Revision) {
    if revision != Revision::V2025_11_25 {
        all.remove("tasks");
    }
    if revision != Revision::V2026_07_28
        && let Some(Value::Object(extensions)) = all.get_mut("extensions")
    {
        extensions.remove(task::EXTENSION);
        if extensions.is_empty() {
            all.remove("extensions");
        }
    }
}

fn merge(into: &mut Value, from: Value, depth: u8) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    None => {
                        into.insert(key, value);
                    }
                    Some(own @ Value::Bool(false)) => *own = value,
                    Some(own) if depth > 1 => merge(own, value, depth - 1),
                    Some(_) => {}
                }
            }
        }
        (into, from) if into.as_object().is_some_and(Map::is_empty) => *into = from,
        _ => {}
    }
}

/// What a client declared, as far as it can be kept in a session id: the bits of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCapabilities(u16);

/// Bit by bit: the capability, and the member of it that the bit stands for.
const CLIENT: [(&str, Option<&str>); 9] = [
    ("sampling", None),
    ("elicitation", None),
    ("roots", None),
    ("tasks", None),
    ("elicitation", Some("form")),
    ("elicitation", Some("url")),
    ("sampling", Some("tools")),
    ("sampling", Some("context")),
    ("roots", Some("listChanged")),
];

impl ClientCapabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// From the raw object; anything else declares nothing.
    pub fn read(raw: &RawValue) -> Self {
        let Ok(object) = serde_json::from_str::<Map<String, Value>>(raw.get()) else {
            return Self::NONE;
        };
        let is_set = |(name, member): &(&str, Option<&str>)| {
            let value = object.get(*name).filter(|value| !value.is_null())?;
            match member {
                None => Some(()),
                Some(member) => value
                    .get(*member)
                    .filter(|value| !value.is_null() && **value != Value::Bool(false))
                    .map(|_| ()),
            }
        };
        let bit = |(index, part)| u16::from(is_set(part).is_some()) << index;
        Self(CLIENT.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit))
    }

    /// The bits, for session ids.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`ClientCapabilities::bits`].
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Without what only a client at the other end of the same session can keep: tasks.
    #[must_use]
    pub fn bridged(self) -> Self {
        Self(self.0 & !(1 << 3))
    }

    /// Whether nothing is declared.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has_bit(self, name: &str, member: Option<&str>) -> bool {
        CLIENT
            .iter()
            .position(|part| *part == (name, member))
            .is_some_and(|index| self.0 & (1 << index) != 0)
    }

    /// Whether the client can be asked this by a server.
    pub fn answers(self, method: &str) -> bool {
        match method {
            "sampling/createMessage" => self.has_bit("sampling", None),
            "elicitation/create" => self.has_bit("elicitation", None),
            "roots/list" => self.has_bit("roots", None),
            _ => false,
        }
    }

    /// Whether the client's user can be asked to visit a page.
    pub fn visits_pages(self) -> bool {
        self.has_bit("elicitation", Some("url"))
    }

    /// Whether the client can be asked this, in the way that the parameters say.
    pub fn answers_so(self, method: &str, params: &str) -> bool {
        let is_url = || {
            let params = RawObject::parse(params).ok()?;
            Some(params.get_string("mode")? == "url")
        };
        // Who declares `url` alone has no forms; who declares nothing more has nothing else.
        self.answers(method)
            && (method != "elicitation/create"
                || if is_url().unwrap_or(false) {
                    self.visits_pages()
                } else {
                    self.has_bit("elicitation", Some("form")) || !self.visits_pages()
                })
    }

    /// The declaration as an object.
    pub fn to_json(self) -> String {
        let mut object = Map::new();
        for (index, (name, member)) in CLIENT.iter().enumerate() {
            if self.0 & (1 << index) == 0 {
                continue;
            }
            let own = object.entry(*name).or_insert_with(|| json!({}));
            if let (Some(member), Some(own)) = (member, own.as_object_mut()) {
                let value = if *name == "roots" {
                    Value::Bool(true)
                } else {
                    json!({})
                };
                own.insert((*member).to_owned(), value);
            }
        }
        Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(value: &Value) -> ClientCapabilities {
        ClientCapabilities::read(&serde_json::value::to_raw_value(value).unwrap())
    }

    #[test]
    fn what_a_client_declares_is_declared_again() {
        for value in [
            json!({}),
            json!({"sampling": {}}),
            json!({"elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}, "sampling": {"tools": {}}}),
        ] {
            let again: Value = serde_json::from_str(&client(&value).to_json()).unwrap();
            assert_eq!(again, value);
        }
        assert!(client(&json!({"elicitation": {}})).answers("elicitation/create"));
        assert!(!client(&json!({"elicitation": null})).answers("elicitation/create"));
        assert!(!client(&json!({"sampling": {}})).answers("tools/call"));
        let (form, url) = ("{}", r#"{"mode":"url"}"#);
        for (declared, of_form, of_url) in [
            (json!({"elicitation": {}}), true, false),
            (json!({"elicitation": {"form": {}}}), true, false),
            (json!({"elicitation": {"url": {}}}), false, true),
            (json!({"elicitation": {"url": {}, "form": {}}}), true, true),
            (json!({}), false, false),
        ] {
            let own = client(&declared);
            let answers = |params| own.answers_so("elicitation/create", params);
            assert_eq!((answers(form), answers(url)), (of_form, of_url), "{declared}");
        }
    }

    #[test]
    fn who_may_use_tools_alone_is_told_of_nothing_else() {
        let all = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{},
            "tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}},"experimental":{"x":{}},
            "extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#;
        let of = |json: &str| {
            serde_json::from_str::<Value>(ServerCapabilities::new(json).of_tools().as_json()).unwrap()
        };
        let kept = json!({
            "tools": {"listChanged": true}, "logging": {},
            "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        });
        assert_eq!(of(all), kept);
        assert_eq!(of(r#"{"prompts":{},"extensions":{"x/y":{}}}"#), json!({}));
        assert_eq!(of("null"), json!({}));
    }

    #[test]
    fn servers_together_can_do_what_any_of_them_can() {
        let one = ServerCapabilities::new(r#"{"tools":{},"resources":{"subscribe":false},"logging":{}}"#);
        let two = ServerCapabilities::new(r#"{"resources":{"subscribe":true},"extensions":{"x/y":{"a":1}}}"#);
        assert_eq!(
            Value::Object(union([&one, &two].into_iter())),
            json!({
                "tools": {"listChanged": true},
                "resources": {"subscribe": true, "listChanged": true},
                "logging": {},
                "extensions": {"x/y": {"a": 1}},
            })
        );
        assert!(two.flag("resources", "subscribe"));
        assert!(!one.flag("resources", "subscribe"));
        assert!(two.offers("extensions", "x/y") && !two.offers("extensions", "x/z"));
        assert!(!one.offers("resources", "subscribe") && !one.offers("tasks", "list"));
        assert!(!ServerCapabilities::default().has("tools"));
    }

    #[test]
    fn tasks_of_one_revision_are_none_of_another() {
        let one =
            ServerCapabilities::new(r#"{"tasks":{"list":{},"requests":{"sampling":{"createMessage":{}}}}}"#);
        let two = ServerCapabilities::new(r#"{"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}"#);
        let new = ServerCapabilities::new(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
        let of = |revision| {
            let mut all = union([&one, &two, &new].into_iter());
            only_tasks_of(&mut all, revision);
            Value::Object(all)
        };
        let requests = json!({"sampling": {"createMessage": {}}, "tools": {"call": {}}});
        assert_eq!(
            of(Revision::V2025_11_25),
            json!({"tasks": {"list": {}, "cancel": {}, "requests": requests}})
        );
        assert_eq!(of(Revision::V2025_06_18), json!({}));
        assert_eq!(
            of(Revision::V2026_07_28),
            json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
        );
    }

    proptest! {
        #[test]
        fn bits_there_and_back(bits in 0u16..512) {
            let capabilities = ClientCapabilities::from_bits(bits);
            let raw = RawValue::from_string(capabilities.to_json()).unwrap();
            let again = ClientCapabilities::read(&raw);
            prop_assert_eq!(again.bits() & bits, bits);
            prop_assert_eq!(ClientCapabilities::from_bits(again.bits()).to_json(), again.to_json());
        }
    }
}
