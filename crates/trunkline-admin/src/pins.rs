//! Pins made from what a server lists, and what it lists compared with its pins.

use serde::Serialize;
use serde_json::{Map, Value};
use trunkline_mcp::canonical::readable;
use trunkline_mcp::drift::{self, Class};
use trunkline_mcp::hidden_in;
use trunkline_mcp::pinned::Covered;
use trunkline_model::{Pin, Pins, Server};
use utoipa::ToSchema;

use crate::probe::ToolList;
use crate::scrub;

/// A tool as its server lists it, in one era or in both.
pub(crate) struct Listed {
    pub(crate) name: String,
    /// What of each of its definitions is covered; an error says why one can mean several things.
    covered: Vec<Result<Covered, String>>,
    definitions: Vec<String>,
}

/// The tools of several lists, in the order of the first.
pub(crate) fn listed(lists: Vec<ToolList>) -> Vec<Listed> {
    let mut tools: Vec<Listed> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, definition) in lists.into_iter().flat_map(|list| list.tools) {
        let covered = Covered::of(&definition).map_err(|error| error.to_string());
        let place = *places.entry(name.clone()).or_insert_with(|| {
            tools.push(Listed {
                name,
                covered: Vec::new(),
                definitions: Vec::new(),
            });
            tools.len() - 1
        });
        if let Some(tool) = tools
            .get_mut(place)
            .filter(|tool| !tool.covered.contains(&covered))
        {
            tool.covered.push(covered);
            tool.definitions.push(definition);
        }
    }
    tools
}

impl Listed {
    /// The digests of its definitions; an error if one has none.
    pub(crate) fn digests(&self) -> Result<Vec<&str>, &str> {
        let covered = self.covered.iter();
        covered
            .map(|covered| {
                covered
                    .as_ref()
                    .map(|own| own.digest.as_str())
                    .map_err(String::as_str)
            })
            .collect()
    }

    /// The entry that accepts exactly these definitions: LiteLLM's members, the other ones, the digests.
    pub(crate) fn pin(&self) -> Result<Value, &str> {
        let digests = self.digests()?;
        let mut entry = Map::new();
        entry.insert("description".to_owned(), "".into());
        entry.extend(self.covered.first().into_iter().flatten().flat_map(members));
        entry.insert("digests".to_owned(), digests.into());
        Ok(entry.into())
    }
}

/// The covered members, by their names in a pin.
fn members(covered: &Covered) -> Map<String, Value> {
    let members = covered.members.iter();
    members
        .map(|(name, json)| {
            let value = serde_json::from_str(&readable(json)).unwrap_or(Value::Null);
            ((*name).to_owned(), value)
        })
        .collect()
}

/// A difference between what was accepted and what is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct PinChange {
    /// `permission_widening`: the tool takes more, or no longer says that it is harmless. `breaking`: a call that was right
    /// may not be any more. `compatible`: texts, and what comes back.
    class: &'static str,
    /// Where in the definition, as a JSON pointer.
    path: String,
    /// JSON text of what was accepted, shortened; null if nothing was there.
    before: Option<String>,
    /// JSON text of what is there now.
    after: Option<String>,
}

/// Text in a definition that people do not see.
#[derive(Serialize, ToSchema)]
pub(crate) struct HiddenText {
    /// Where, as a JSON pointer.
    path: String,
    /// Tag characters, and variation selectors that select nothing.
    tags: u32,
    /// Bidirectional controls.
    bidi: u32,
    /// Characters without width.
    zero_width: u32,
    /// Control characters and terminal sequences.
    control: u32,
    /// The text, shortened, with what does not show as escapes.
    text: String,
}

/// A tool beside its pin.
#[derive(Serialize, ToSchema)]
pub(crate) struct PinState {
    /// Its name on its server.
    name: String,
    /// `pinned`: served. `changed`: pinned with another definition, held back. `new`: listed and not pinned, so not served if
    /// anything is pinned. `renamed`: the same, and equal to one that is gone but for the name. `gone`: pinned, not listed.
    state: &'static str,
    /// What of its definition is not served, or could not be: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    problem: Option<String>,
    /// The name that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    renamed_from: Option<String>,
    /// SHA-256 of its definition as it is listed now; of several, where the server shows different ones to clients of different
    /// revisions. `POST` takes them back to accept exactly these.
    digests: Vec<String>,
    /// The classes of what changed, the most serious first.
    classes: Vec<&'static str>,
    /// What changed, the most serious first: the first 50.
    changes: Vec<PinChange>,
    /// How many changes there are.
    change_count: usize,
    /// Hidden text in its definition: the first 20 places.
    hidden_text: Vec<HiddenText>,
}

/// Every tool that is listed or pinned.
pub(crate) fn states(server: &Server, tools: &[Listed]) -> Vec<PinState> {
    let pins = server.definition.pins();
    let gone: Vec<&String> = match pins {
        Pins::Tools(own) => own
            .keys()
            .filter(|name| !tools.iter().any(|tool| tool.name == **name))
            .collect(),
        Pins::Off | Pins::Unreadable => Vec::new(),
    };
    let mut states: Vec<PinState> = tools.iter().map(|tool| state(server, tool, &gone)).collect();
    states.extend(gone.into_iter().map(|name| PinState {
        name: name.clone(),
        state: "gone",
        problem: None,
        renamed_from: None,
        digests: Vec::new(),
        classes: vec![Class::Breaking.as_str()],
        changes: Vec::new(),
        change_count: 0,
        hidden_text: Vec::new(),
    }));
    states
}

fn state(server: &Server, tool: &Listed, gone: &[&String]) -> PinState {
    let pins = server.definition.pins();
    let mut state = PinState {
        name: tool.name.clone(),
        state: "new",
        problem: tool
            .digests()
            .err()
            .map(|why| format!("it cannot be pinned: {why}")),
        renamed_from: None,
        digests: tool
            .covered
            .iter()
            .flatten()
            .map(|own| own.digest.clone())
            .collect(),
        classes: Vec::new(),
        changes: Vec::new(),
        change_count: 0,
        hidden_text: hidden(server, tool),
    };
    match pins.get(&tool.name) {
        None => {
            let same = |name: &&&String| {
                let pin = pins.get(name).and_then(Result::ok);
                pin.is_some_and(|pin| is_renamed(&pin, tool))
            };
            state.renamed_from = gone.iter().find(same).map(|name| (**name).clone());
            if state.renamed_from.is_some() {
                state.state = "renamed";
            }
            if !pins.is_off() {
                state.classes = vec![Class::PermissionWidening.as_str()];
            }
        }
        Some(Err(wrong)) => {
            state.state = "changed";
            state.problem = Some(format!("its pin cannot be read: {wrong}"));
        }
        Some(Ok(pin)) => {
            let accepted = |covered: &Result<Covered, String>| {
                let members = pin
                    .members
                    .iter()
                    .map(|(member, value)| (*member, value.to_string()));
                covered
                    .as_ref()
                    .is_ok_and(|covered| covered.meets(&pin.digests, members))
            };
            match tool.covered.iter().find(|covered| !accepted(covered)) {
                None => state.state = "pinned",
                Some(other) => {
                    state.state = "changed";
                    differ(server, &pin, other.as_ref().ok(), &mut state);
                }
            }
        }
    }
    state
}

/// Whether a tool is what was pinned but for its name.
fn is_renamed(pin: &Pin<'_>, tool: &Listed) -> bool {
    let Some(Ok(covered)) = tool.covered.first() else {
        return false;
    };
    let named = |member: &str| pin.members.iter().any(|(own, _)| *own == member);
    let mut members = pin.members.iter();
    // A whole definition has all that the tool has.
    let whole = pin.digests.is_empty() || covered.members.iter().all(|(member, _)| named(member));
    named("input_schema") && whole && members.all(|(member, value)| covered.has(member, &value.to_string()))
}

fn differ(server: &Server, pin: &Pin<'_>, covered: Option<&Covered>, state: &mut PinState) {
    let before: Map<String, Value> = pin
        .members
        .iter()
        .map(|(member, value)| ((*member).to_owned(), (*value).clone()))
        .filter(|(member, value)| !(member == "description" && value == ""))
        .collect();
    let mut after = covered.map(members).unwrap_or_default();
    if pin.digests.is_empty() {
        // What is not named is not compared.
        after.retain(|member, _| pin.members.iter().any(|(own, _)| own == member));
    }
    if after.get("description").is_some_and(|text| text == "") {
        after.remove("description");
    }
    let drift = drift::between(&before, &after);
    state.change_count = drift.count;
    let scrubbed = |text: String| scrub::text(&text, server);
    for change in drift.changes {
        let class = change.class.as_str();
        if !state.classes.contains(&class) {
            state.classes.push(class);
        }
        state.changes.push(PinChange {
            class,
            path: scrubbed(change.path),
            before: change.before.map(scrubbed),
            after: change.after.map(scrubbed),
        });
    }
    if state.changes.is_empty() {
        // How a number is written, or what an entry without members accepted: nobody can tell what it means.
        state.classes.push(Class::PermissionWidening.as_str());
        state.problem = Some("the definition is another one in a way that cannot be shown".to_owned());
    }
}

fn hidden(server: &Server, tool: &Listed) -> Vec<HiddenText> {
    let definitions = tool.definitions.iter();
    let mut found: Vec<hidden_in::Finding> = Vec::new();
    for finding in definitions.flat_map(|definition| hidden_in::find(definition)) {
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
        .into_iter()
        .map(|finding| HiddenText {
            path: scrub::text(&finding.path, server),
            tags: finding.found.tags,
            bidi: finding.found.bidi,
            zero_width: finding.found.zero_width,
            control: finding.found.control,
            text: scrub::text(&finding.shown, server),
        })
        .collect()
}
