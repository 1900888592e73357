//! Who is there: requests under way, sessions, and what each of them wants to hear.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;
use trunkline_mcp::edit::{RawObject, decoded};
use trunkline_mcp::{ListKind, modern, rpc, task};
use trunkline_model::SessionKey;

use super::Visit;
use super::stream::Outbox;
use crate::keep::log_level;

/// A request that was given up may be what a server's question is about for so long.
const ABANDONED_COUNTS: Duration = Duration::from_mins(10);
const MAX_ABANDONED: usize = 1024;
/// Tasks whose progress is told after their request.
const MAX_TASKS: usize = 1024;
/// Subscriptions of one session that are told apart.
const MAX_SUBSCRIPTIONS: usize = 10_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) routes: HashMap<u64, Route>,
    /// By progress token.
    tokens: HashMap<String, u64>,
    pub(super) visitors: HashMap<String, Visitor>,
    /// Requests that nobody waits for and that the server has not answered.
    abandoned: HashMap<u64, (Instant, Option<SessionKey>)>,
    /// Progress tokens of tasks, with the session that began them.
    tasks: VecDeque<(String, String)>,
    /// The log level that the server has.
    level: Option<&'static str>,
}

/// A request under way.
pub(super) struct Route {
    pub(super) outbox: Outbox,
    session: Option<String>,
    pub(super) client: Option<SessionKey>,
    token: Option<String>,
    /// A server's question can be about it.
    askable: bool,
}

/// A session.
#[derive(Default)]
pub(super) struct Visitor {
    pub(super) standing: Option<Outbox>,
    client: Option<SessionKey>,
    called: bool,
    subscriptions: HashSet<String>,
    level: Option<&'static str>,
}

impl Route {
    pub(super) fn new(outbox: Outbox, visit: Visit<'_>, method: &str, params: Option<&RawValue>) -> Self {
        let quiet = ListKind::of_method(method).is_some()
            || matches!(
                method,
                "initialize" | "server/discover" | "ping" | "logging/setLevel" | "subscriptions/listen"
            );
        Self {
            outbox,
            session: visit.session.map(ToOwned::to_owned),
            client: visit.client,
            token: params.and_then(|params| meta(params.get(), "progressToken")),
            askable: !quiet,
        }
    }
}

/// A member of `_meta`, raw.
pub(super) fn meta(params: &str, name: &str) -> Option<String> {
    // Most have none, and arguments can be long.
    if !params.contains("_meta") {
        return None;
    }
    let params = RawObject::parse(params).ok()?;
    let meta = RawObject::parse(params.get("_meta")?).ok()?;
    meta.get(name).map(ToOwned::to_owned)
}

fn text(params: Option<&str>, name: &str) -> Option<String> {
    let params = RawObject::parse(params?).ok()?;
    let decoded = decoded(params.get(name)?)?;
    String::from_utf8(decoded.into_owned()).ok()
}

impl State {
    // === Requests ===

    pub(super) fn route(&mut self, id: u64, route: Route) {
        if let Some(token) = &route.token {
            self.tokens.insert(token.clone(), id);
            if token.trim_start_matches('"').starts_with(task::TOKEN_PREFIX)
                && let Some(session) = &route.session
            {
                self.tasks.truncate(MAX_TASKS - 1);
                self.tasks.push_front((token.clone(), session.clone()));
            }
        }
        if let Some(visitor) = route.session.as_ref().and_then(|id| self.visitors.get_mut(id)) {
            visitor.client = visitor.client.or(route.client);
            visitor.called |= route.askable;
        }
        self.routes.insert(id, route);
    }

    pub(super) fn unroute(&mut self, id: u64) -> Option<Route> {
        let route = self.routes.remove(&id)?;
        if let Some(token) = &route.token {
            self.tokens.remove(token);
        }
        Some(route)
    }

    pub(super) fn abandon(&mut self, id: u64, route: &Route) {
        if !route.askable {
            return;
        }
        if self.abandoned.len() >= MAX_ABANDONED {
            self.abandoned
                .retain(|_, (since, _)| since.elapsed() < ABANDONED_COUNTS / 10);
        }
        if self.abandoned.len() < MAX_ABANDONED {
            self.abandoned.insert(id, (Instant::now(), route.client));
        }
    }

    /// An answer that nobody waits for.
    pub(super) fn settle(&mut self, id: u64) {
        self.abandoned.remove(&id);
    }

    pub(super) fn by_token(&self, token: &str) -> Option<&Route> {
        self.routes.get(self.tokens.get(token)?)
    }

    /// Where the progress of a task goes.
    pub(super) fn by_task(&self, token: &str) -> Option<&Outbox> {
        let (_, session) = self.tasks.iter().find(|(own, _)| own == token)?;
        self.visitors.get(session)?.standing.as_ref()
    }

    /// The one request under way.
    pub(super) fn only(&self) -> Option<&Route> {
        match self.routes.len() {
            1 => self.routes.values().next(),
            _ => None,
        }
    }

    // === Sessions ===

    pub(super) fn enter(&mut self, session: String) {
        self.visitors.insert(session, Visitor::default());
    }

    /// Whether the stream could be opened; `None`: there is no such session.
    pub(super) fn stand(&mut self, session: &str, outbox: Outbox) -> Option<bool> {
        let visitor = self.visitors.get_mut(session)?;
        if visitor
            .standing
            .as_ref()
            .is_some_and(|outbox| !outbox.is_closed())
        {
            return Some(false);
        }
        visitor.standing = Some(outbox);
        Some(true)
    }

    /// Takes a session out: the resources that nobody wants to hear of any more. `None`: there was none.
    pub(super) fn delete(&mut self, session: &str) -> Option<Vec<String>> {
        let gone = self.visitors.remove(session)?;
        let unheard = gone
            .subscriptions
            .into_iter()
            .filter(|uri| !self.is_heard(uri))
            .collect();
        Some(unheard)
    }

    fn is_heard(&self, uri: &str) -> bool {
        self.visitors
            .values()
            .any(|visitor| visitor.subscriptions.contains(uri))
    }

    /// A request as it is sent to a server that others use as well; or its answer, if the server need not be asked: then
    /// with `true`.
    pub(super) fn prepare(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Option<&str>,
        id: &str,
        body: Bytes,
    ) -> (Bytes, bool) {
        let Some(visitor) = session.and_then(|session| self.visitors.get_mut(session)) else {
            return (body, false);
        };
        let done = || (Bytes::from(rpc::response(id, "{}")), true);
        match method {
            "resources/subscribe" => {
                if let Some(uri) = text(params, "uri")
                    && visitor.subscriptions.len() < MAX_SUBSCRIPTIONS
                {
                    visitor.subscriptions.insert(uri);
                }
                (body, false)
            }
            "resources/unsubscribe" => {
                let Some(uri) = text(params, "uri") else {
                    return (body, false);
                };
                visitor.subscriptions.remove(&uri);
                if self.is_heard(&uri) {
                    done()
                } else {
                    (body, false)
                }
            }
            "logging/setLevel" => {
                let Some(level) = text(params, "level").as_deref().and_then(log_level) else {
                    return (body, false);
                };
                visitor.level = Some(level);
                let levels = self.visitors.values().filter_map(|visitor| visitor.level);
                let lowest = levels
                    .min_by_key(|level| modern::severity(level))
                    .unwrap_or(level);
                if self.level == Some(lowest) {
                    return done();
                }
                self.level = Some(lowest);
                let params = format!(r#"{{"level":"{lowest}"}}"#);
                (rpc::request(id, method, Some(&params)).into(), false)
            }
            _ => (body, false),
        }
    }

    // === Whom something is for ===

    /// The standing streams of those who hear of a resource.
    pub(super) fn hearing<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a Outbox> {
        // What is told may be a part of what was subscribed to.
        let exact = self.is_heard(uri);
        let wants = move |visitor: &&Visitor| {
            visitor.subscriptions.contains(uri)
                || (!exact
                    && visitor
                        .subscriptions
                        .iter()
                        .any(|own| uri.starts_with(own.as_str())))
        };
        let wanting = self.visitors.values().filter(wants);
        wanting.filter_map(|visitor| visitor.standing.as_ref())
    }

    /// Who is asked by a server that does not say which request it is about:
    /// the one request under way; of several of one client that client, on its standing stream or on the youngest of them;
    /// without any the one client that uses this server, on its standing stream; else nobody.
    pub(super) fn asked(&self) -> Option<&Outbox> {
        let mut live: Vec<(&u64, &Route)> = self.routes.iter().filter(|(_, route)| route.askable).collect();
        live.sort_unstable_by_key(|(id, _)| **id);
        let gone = || {
            self.abandoned
                .values()
                .filter(|(since, _)| since.elapsed() < ABANDONED_COUNTS)
                .map(|(_, client)| *client)
        };
        match &live[..] {
            [] => {
                let (client, standing) = self.sole()?;
                gone().all(|gone| gone == Some(client)).then_some(standing)
            }
            [(_, only)] => {
                let same = |gone| gone == only.client && only.client.is_some();
                gone().all(same).then_some(&only.outbox)
            }
            [.., (_, youngest)] => {
                let client = youngest.client?;
                let mut all = live.iter().map(|(_, route)| route.client).chain(gone());
                if !all.all(|own| own == Some(client)) {
                    return None;
                }
                let own = self
                    .visitors
                    .values()
                    .find(|visitor| visitor.client == Some(client));
                own.and_then(|visitor| visitor.standing.as_ref())
                    .or(Some(&youngest.outbox))
            }
        }
    }

    /// The only client that uses the server, if it listens.
    fn sole(&self) -> Option<(SessionKey, &Outbox)> {
        let mut users = self
            .visitors
            .values()
            .filter(|visitor| visitor.called || visitor.client.is_some());
        let first = users.next()?;
        let client = first.client?;
        users
            .all(|visitor| visitor.client == Some(client))
            .then_some(())?;
        let mut own = self
            .visitors
            .values()
            .filter(|visitor| visitor.client == Some(client));
        own.find_map(|visitor| Some((client, visitor.standing.as_ref()?)))
    }

    /// Whether one that hears of everything wants to hear of a log entry of this level.
    pub(super) fn wants_level(&self, level: &str) -> bool {
        let Some(severity) = modern::severity(level) else {
            return true;
        };
        let wanted = self.visitors.values().filter_map(|visitor| visitor.level);
        wanted
            .filter_map(modern::severity)
            .min()
            .is_none_or(|wanted| severity >= wanted)
    }
}
