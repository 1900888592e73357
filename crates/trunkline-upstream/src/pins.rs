//! Which tools of a catalogue the pins of its server hold back (S29): those whose definition is not what was accepted. Tools that are
//! not pinned at all are the policy's to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use trunkline_mcp::ListKind;
use trunkline_mcp::pinned::Covered;
use trunkline_model::{Pins, Rejected, RejectedItem, Server};

use crate::catalogue::Catalogue;
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
            let gone = tools.keys().filter(|name| !self.by_name.contains_key(*name));
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

/// A server lists something else than what is pinned, and did not before. The one place that hears of it.
pub(crate) fn drifted(server: &Arc<Server>, held: &Held) {
    let prefix = server.prefix();
    for (tool, reason) in held.changed.iter().take(MAX_TOLD) {
        tracing::warn!(server = %prefix, server_id = %server.id, tool = %printable(tool), "a pinned tool is {reason}");
    }
    tracing::warn!(
        server = %prefix, server_id = %server.id, changed = held.changed.len(), new = held.new.len(), gone = held.gone.len(),
        "the server does not list what is pinned: changed and new tools are held back"
    );
}

/// Says so when a list has drifted since the one before it.
pub(crate) fn compare(server: &Arc<Server>, before: Option<&Arc<Catalogue>>, after: Option<&Arc<Catalogue>>) {
    let Some(held) = after.and_then(|catalogue| catalogue.held(server)) else {
        return;
    };
    let known = before.and_then(|catalogue| catalogue.held(server));
    if !held.is_nothing() && known.as_deref() != Some(&*held) {
        drifted(server, &held);
    }
}
