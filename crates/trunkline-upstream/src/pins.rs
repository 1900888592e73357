//! Which tools of a catalogue the pins of its server hold back (S29): those whose definition is not what was accepted. Tools that are
//! not pinned at all are the policy's to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::{SignedDuration, Timestamp};
use trunkline_mcp::ListKind;
use trunkline_mcp::pinned::Covered;
use trunkline_model::{Pins, Rejected, RejectedItem, Server};

use crate::catalogue::Catalogue;
use crate::entry::Entry;
use crate::fault::printable;

/// What the pins of a server make of one of its catalogues.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Pinned tools with another definition, and why they are held back.
    pub changed: BTreeMap<String, String>,
    /// Listed, not pinned.
    pub new: Vec<String>,
    /// Pinned, not listed.
    pub gone: Vec<String>,
}

impl Held {
    /// Whether a tool is held back.
    pub fn holds(&self, tool: &str) -> bool {
        self.changed.contains_key(tool)
    }

    /// Those that are held back, for people.
    pub fn rejected(&self) -> Rejected {
        let mut rejected = Rejected::default();
        for (name, reason) in &self.changed {
            rejected.push(|| RejectedItem {
                name: Some(printable(name)),
                reason: reason.clone(),
            });
        }
        rejected
    }

    /// Whether the server lists exactly what is pinned.
    pub fn is_nothing(&self) -> bool {
        self.changed.is_empty() && self.new.is_empty() && self.gone.is_empty()
    }
}

/// What is found out about a catalogue once, when somebody wants to know.
#[derive(Debug, Default)]
pub struct Pinning {
    /// Digests, in the order of the items; none for a definition that has no one meaning.
    digests: OnceLock<Vec<Option<String>>>,
    /// Under the registration that was asked about last.
    held: Mutex<Option<(Arc<Server>, Arc<Held>)>>,
}

impl Catalogue {
    /// What the server's pins make of it; `None` where nothing is pinned.
    pub fn held(&self, server: &Arc<Server>) -> Option<Arc<Held>> {
        let pins = server.definition.pins();
        if self.kind != ListKind::Tools || pins.is_off() {
            return None;
        }
        {
            let held = self.pinning.held.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, held)) = held.as_ref().filter(|(own, _)| Arc::ptr_eq(own, server)) {
                return Some(held.clone());
            }
        }
        let found = Arc::new(self.judge(pins));
        let mut held = self.pinning.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some((server.clone(), found.clone()));
        Some(found)
    }

    /// The digests of the definitions, in the order of the items.
    fn digests(&self) -> &[Option<String>] {
        self.pinning.digests.get_or_init(|| {
            let items = self.items.iter();
            items
                .map(|item| Covered::of(item.raw.get()).ok().map(|covered| covered.digest))
                .collect()
        })
    }

    fn judge(&self, pins: Pins<'_>) -> Held {
        let mut held = Held::default();
        for (index, item) in self.items.iter().enumerate() {
            let pin = match pins.get(&item.name) {
                None => {
                    held.new.push(item.name.clone());
                    continue;
                }
                Some(Ok(pin)) => pin,
                Some(Err(wrong)) => {
                    let reason = format!("held back: its pin cannot be read: {}", printable(&wrong));
                    held.changed.insert(item.name.clone(), reason);
                    continue;
                }
            };
            let accepted = if pin.digests.is_empty() {
                let members = pin
                    .members
                    .iter()
                    .map(|(member, value)| (*member, value.to_string()));
                Covered::of(item.raw.get()).is_ok_and(|covered| covered.meets(&[], members))
            } else {
                let own = self.digests().get(index).and_then(Option::as_deref);
                own.is_some_and(|own| pin.digests.contains(&own))
            };
            if !accepted {
                held.changed.insert(item.name.clone(), CHANGED.to_owned());
            }
        }
        if let Pins::Tools(tools) = pins {
            let gone = tools.keys().filter(|name| self.find(name).is_none());
            held.gone = gone.cloned().collect();
        }
        held
    }
}

/// Why a tool is held back whose definition is another one.
const CHANGED: &str =
    "held back: its definition is not the one that was accepted (see GET /v1/mcp/server/{server_id}/pin)";

/// Tools that are told one by one in the log.
const MAX_TOLD: usize = 20;

/// Rows of the audit log about one server are so far apart at least: it decides how often it changes its mind.
const ROW_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// When the last row about a server was written, and how many were left out since.
#[derive(Debug, Default)]
pub(crate) struct Told {
    at: Option<Timestamp>,
    left_out: u64,
}

impl Told {
    /// Whether it is time for another row, and how many were left out before it.
    fn due(&mut self, now: Timestamp) -> Option<u64> {
        if self.at.is_some_and(|at| now.duration_since(at) < ROW_EVERY) {
            self.left_out += 1;
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// A server lists something else than what is pinned, and did not before. The one place that hears of it.
fn drifted(entry: &Arc<Entry>, server: &Arc<Server>, held: &Held) {
    let prefix = server.prefix();
    for (tool, reason) in held.changed.iter().take(MAX_TOLD) {
        tracing::warn!(server = %prefix, server_id = %server.id, tool = %printable(tool), "a pinned tool is {reason}");
    }
    tracing::warn!(
        server = %prefix, server_id = %server.id, changed = held.changed.len(), new = held.new.len(), gone = held.gone.len(),
        "the server does not list what is pinned: changed and new tools are held back"
    );
    write_down(entry, server, held);
}

/// The row of the audit log about it, of each replica that has seen it.
fn write_down(entry: &Arc<Entry>, server: &Arc<Server>, held: &Held) {
    let Some(store) = entry.shared.store.clone() else {
        return;
    };
    let now = entry.shared.clock.now();
    let due = entry
        .drift_told
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .due(now);
    let Some(left_out) = due else { return };
    let names = |names: &mut dyn Iterator<Item = &String>| {
        names
            .take(MAX_TOLD)
            .map(|name| printable(name))
            .collect::<Vec<_>>()
    };
    let mut details = vec![
        ("reason", "pin_drift".into()),
        ("server", server.id.as_str().into()),
        ("changed", names(&mut held.changed.keys()).into()),
        ("changed_count", held.changed.len().into()),
        ("new", names(&mut held.new.iter()).into()),
        ("new_count", held.new.len().into()),
        ("gone", names(&mut held.gone.iter()).into()),
        ("gone_count", held.gone.len().into()),
    ];
    if left_out > 0 {
        details.push(("left_out", left_out.into()));
    }
    let (id, prefix) = (server.id.clone(), server.prefix());
    entry.tasks.spawn(async move {
        if let Err(error) = store.audit_drift(now, &id, details).await {
            tracing::warn!(server = %prefix, %error, "that a server does not list what is pinned could not be written to the audit log");
        }
    });
}

/// Says so when a list has drifted since the one before it.
pub(crate) fn compare(entry: &Arc<Entry>, before: Option<&Arc<Catalogue>>, after: Option<&Arc<Catalogue>>) {
    let server = entry.server.load_full();
    let Some(held) = after.and_then(|catalogue| catalogue.held(&server)) else {
        return;
    };
    let known = before.and_then(|catalogue| catalogue.held(&server));
    if !held.is_nothing() && known.as_deref() != Some(&*held) {
        drifted(entry, &server, &held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s29_a_server_that_changes_its_mind_all_the_time_does_not_fill_the_log() {
        let mut told = Told::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(told.due(at(100)), Some(0));
        for second in 100..160 {
            assert_eq!(told.due(at(second)), None);
        }
        assert_eq!(told.due(at(160)), Some(60));
        assert_eq!(told.due(at(220)), Some(0));
    }
}
