//! For whom a message of the server is. Over HTTP a message comes on the stream that it belongs to; here all come on one.
//!
//! - A response goes to its request; progress to the request with its token; what is about a subscription of the new era to
//!   that.
//! - A question of the server: see [`super::state::State::asked`]. What cannot be told is answered with an error, never
//!   handed to somebody who may not be meant.
//! - Changed lists are told to the gateway, which fetches them; changed resources to those who subscribed to them.
//! - Log entries and what is not known here go where a question would go, and are left out if that is nowhere: they may be
//!   about somebody else's call.

use bytes::Bytes;
use serde_json::value::RawValue;
use trunkline_mcp::edit::{RawObject, decoded};
use trunkline_mcp::{Era, ListKind, Message, envelope, modern, rpc};
use trunkline_model::Step;

use super::Duplex;
use super::state::meta;
use crate::fault::Fault;

/// Of a message that cannot be read so much is looked at, at either end, for the request that it answers.
const GLANCE: usize = 512;
/// Messages of one batch.
const MAX_BATCH: usize = 1000;

impl Duplex {
    /// A message of the server.
    pub(crate) fn hear(&self, message: &Bytes) {
        if envelope::is_batch(message) {
            let Ok(messages) = envelope::split_batch(message, MAX_BATCH) else {
                return self.junk.note(message);
            };
            for message in messages {
                self.hear_one(&Bytes::copy_from_slice(message.get().as_bytes()));
            }
        } else {
            self.hear_one(message);
        }
    }

    fn hear_one(&self, message: &Bytes) {
        match Message::parse_deep(message) {
            Ok(Message::Response { id, .. }) => self.answered(id.get(), message),
            Ok(Message::Request { id, method, .. }) => self.asked(id.get(), &method, message),
            Ok(Message::Notification { method, params }) => self.told(&method, params, message),
            Err(error) => match envelope::id_of_request(message) {
                Some(id) => self.reject(&id, error.code(), &error.to_string()),
                None => self.unread(message, message, "the answer is no JSON-RPC message"),
            },
        }
    }

    fn answered(&self, id: &str, message: &Bytes) {
        let mut state = self.state();
        let route = match id.parse::<u64>() {
            Ok(id) => {
                state.settle(id);
                state.unroute(id)
            }
            // The server could not read a request: which, it does not say.
            Err(_) if id == "null" && state.only().is_some() => {
                let only = state.routes.keys().next().copied();
                only.and_then(|only| state.unroute(only))
            }
            Err(_) => None,
        };
        drop(state);
        match route {
            Some(route) => route.outbox.finish(message.clone()),
            None => self.strayed.cancel(),
        }
    }

    fn asked(&self, id: &str, method: &str, message: &Bytes) {
        if method == "ping" {
            return self.wire.send_aside(rpc::response(id, "{}").into(), &self.tasks);
        }
        if self.era == Era::Modern {
            return self.reject(
                id,
                rpc::METHOD_NOT_FOUND,
                "a server of this revision asks in its result",
            );
        }
        let taken = self.state().asked().is_some_and(|outbox| outbox.offer(message));
        if !taken {
            let why = "the gateway cannot tell which of its clients is asked";
            tracing::debug!(server = %self.server, method, "{why}");
            self.reject(id, rpc::INTERNAL_ERROR, why);
        }
    }

    fn told(&self, method: &str, params: Option<&RawValue>, message: &Bytes) {
        let params = params.map_or("{}", RawValue::get);
        if method == "notifications/progress" {
            let token = RawObject::parse(params)
                .ok()
                .and_then(|params| params.get("progressToken").map(ToOwned::to_owned));
            let Some(token) = token else { return };
            let state = self.state();
            let outbox = match state.by_token(&token) {
                Some(route) => Some(&route.outbox),
                None => state.by_task(&token),
            };
            if let Some(outbox) = outbox {
                outbox.offer(message);
            }
            return;
        }
        if let Some(subscription) = meta(params, modern::SUBSCRIPTION_ID) {
            let id = subscription.trim_matches('"').parse::<u64>();
            let state = self.state();
            if let Some(route) = id.ok().and_then(|id| state.routes.get(&id)) {
                route.outbox.offer(message);
            }
            return;
        }
        let mut lists = ListKind::ALL
            .into_iter()
            .filter(|kind| kind.changed() == method)
            .peekable();
        if lists.peek().is_some() {
            return lists.for_each(|kind| (self.changed)(kind));
        }
        let state = self.state();
        match method {
            crate::subscribe::UPDATED => {
                let uri = member(params, "uri").unwrap_or_default();
                for outbox in state.hearing(&uri) {
                    outbox.offer(message);
                }
            }
            "notifications/message" if !state.wants_level(&member(params, "level").unwrap_or_default()) => {}
            _ => {
                if let Some(outbox) = state.asked() {
                    outbox.offer(message);
                }
            }
        }
    }

    fn reject(&self, id: &str, code: i64, why: &str) {
        let error = rpc::error_object(code, why, None);
        self.wire
            .send_aside(rpc::error_response(id, &error).into(), &self.tasks);
    }

    /// What cannot be read, of which this is the beginning and the end. If it was to be an answer, whoever waits for it is
    /// told.
    pub(crate) fn unread(&self, beginning: &[u8], end: &[u8], why: &str) {
        let beginning = &beginning[..beginning.len().min(GLANCE)];
        let end = &end[end.len().saturating_sub(GLANCE)..];
        let mut state = self.state();
        let id = [beginning, end]
            .into_iter()
            .filter(|_| beginning.starts_with(b"{"))
            .flat_map(ids)
            .find(|id| state.routes.contains_key(id));
        let route = id.and_then(|id| state.unroute(id));
        drop(state);
        let (Some(id), Some(route)) = (id, route) else {
            if is_answer(&[beginning, end]) {
                // Behind something that was printed without an end of a line.
                self.strayed.cancel();
            }
            return self.junk.note(beginning);
        };
        let fault = Fault::protocol(Step::Call, why);
        tracing::warn!(server = %self.server, "{why}");
        let error = rpc::error_object(rpc::INTERNAL_ERROR, &fault.message, None);
        route
            .outbox
            .finish(rpc::error_response(&id.to_string(), &error).into());
    }
}

fn member(params: &str, name: &str) -> Option<String> {
    let params = RawObject::parse(params).ok()?;
    String::from_utf8(decoded(params.get(name)?)?.into_owned()).ok()
}

/// Whether pieces of a text look like an answer, and not like a request that somebody logs.
fn is_answer(pieces: &[&[u8]]) -> bool {
    let has = |word: &str| {
        let mut pieces = pieces.iter();
        pieces.any(|piece| memchr::memmem::find(piece, word.as_bytes()).is_some())
    };
    has("\"jsonrpc\"") && (has("\"result\"") || has("\"error\"")) && !has("\"method\"")
}

/// The numbers after `"id":`.
fn ids(text: &[u8]) -> impl Iterator<Item = u64> {
    let text = String::from_utf8_lossy(text).into_owned();
    let found: Vec<u64> = text
        .split("\"id\"")
        .skip(1)
        .filter_map(|rest| {
            let rest = rest.trim_start().strip_prefix(':')?.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
        .collect();
    found.into_iter()
}
