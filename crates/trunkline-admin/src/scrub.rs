//! The second net under secrets (S13): servers repeat what they were sent in their errors, so a server's own secrets
//! are taken out of every text about it before the text leaves.

use trunkline_model::{Outcome, Server};

use crate::fields::MASK;

/// Shorter values are no secrets, and taking them out would make texts unreadable.
const SHORTEST: usize = 4;

/// `text` without the secrets of `server`.
pub(crate) fn text(text: &str, server: &Server) -> String {
    secrets(server).fold(text.to_owned(), |text, secret| {
        if text.contains(secret) {
            text.replace(secret, MASK)
        } else {
            text
        }
    })
}

/// `outcome` without the secrets of `server`.
pub(crate) fn outcome(mut outcome: Outcome, server: &Server) -> Outcome {
    outcome.message = text(&outcome.message, server);
    outcome.hint = outcome.hint.map(|hint| text(&hint, server));
    for item in &mut outcome.rejected.items {
        item.name = item.name.take().map(|name| text(&name, server));
        item.reason = text(&item.reason, server);
    }
    outcome
}

fn secrets(server: &Server) -> impl Iterator<Item = &str> {
    let definition = &server.definition;
    definition
        .credentials
        .auth_value
        .iter()
        .chain(definition.credentials.other.values())
        .chain(definition.static_headers.values())
        .chain(definition.env.values())
        .chain(definition.env_vars.iter().map(|variable| &variable.value))
        .flat_map(|secret| forms(secret.expose()))
        .filter(|secret| secret.len() >= SHORTEST)
}

/// The whole, and what is left of `Bearer x` and of the JSON text `"x"`.
fn forms(secret: &str) -> [&str; 2] {
    let bare = secret
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(secret);
    let bare = bare.split_once(' ').map_or(bare, |(_, value)| value);
    [secret, bare]
}
