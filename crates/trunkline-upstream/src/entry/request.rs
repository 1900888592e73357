//! One request, from its place in the queue to the beginning of its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout_at;
use trunkline_mcp::{Era, modern, rpc};
use trunkline_model::{OutcomeStatus, SessionKey, Step};

use super::{Ask, Entry, Peer};
use crate::breaker::Pass;
use crate::credential::Outgoing;
use crate::era::Leg;
use crate::exchange::{Deadline, Exchange, Frame, Line, Unread};
use crate::fair::{Crowded, Place};
use crate::fault::Fault;
use crate::http::{beginning, means_unknown_session, status_fault, words_of};
use crate::hub;
use crate::listen::{self, Askable};
use crate::session::{Session, Slot, Using};

/// Time for `logging/setLevel`, which a call waits for.
const LOG_LEVEL_TIMEOUT: Duration = Duration::from_secs(2);

impl Entry {
    /// A request of the new era that stays open, and is not one of the server's `max_concurrent_requests`.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        deadline: Deadline,
    ) -> Result<Exchange, Fault> {
        match self.leg(Era::Modern, out).await? {
            Leg::Modern(session) => self.request_modern(out, ask, session, deadline, None).await,
            Leg::Legacy => Err(Fault::protocol(Step::Call, "the server has no subscriptions")),
        }
    }

    /// Sends a request and begins to read its answer. An expired session is opened anew once: the upstream refused the
    /// request because it does not know the session, so it did not run.
    pub(crate) async fn request(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        deadline: Deadline,
    ) -> Result<Exchange, Fault> {
        let step = ask.step();
        let place = if step == Step::Call {
            self.place(&ask.peer, deadline).await?
        } else {
            None
        };
        let pass = self.admit(out, step)?;
        let asked = self.request_within(out, ask, deadline, place, &pass);
        // The deadline covers the hand-shake and the sending; reading has it inside the exchange.
        let answer = timeout_at(deadline.at(), asked).await;
        let answer = answer
            .unwrap_or_else(|_| Err(deadline.missed(step)))
            .map_err(|fault| fault.without(out.secrets()));
        pass.judge(answer.as_ref().err());
        answer
    }

    pub(super) async fn request_within(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        deadline: Deadline,
        place: Option<Place>,
        pass: &Pass<'_>,
    ) -> Result<Exchange, Fault> {
        let step = ask.step();
        if let Leg::Modern(session) = self.leg(ask.era, out).await? {
            pass.sent();
            return Box::pin(self.request_translated(out, ask, session, deadline, place)).await;
        }
        let translated = (ask.era == Era::Modern).then(|| ask.params.map(modern::params_to_legacy));
        let params = translated.as_ref().map_or(ask.params, Option::as_deref);
        let mut gone: Option<Arc<Session>> = None;
        loop {
            let (slot, session) = match self.session(out, ask, gone.as_ref()).await {
                Ok(opened) => opened,
                Err(fault) if self.turns_out_modern(out, &fault).await => {
                    let Leg::Modern(session) = self.leg(Era::Modern, out).await? else {
                        return Err(fault);
                    };
                    pass.sent();
                    return Box::pin(self.request_translated(out, ask, session, deadline, place)).await;
                }
                Err(fault) => return Err(fault),
            };
            if ask.peer.kept
                && session.keeping.is_writing()
                && Box::pin(self.settle(out, &slot, &session)).await
            {
                continue;
            }
            if session.muddled.load(Ordering::Relaxed)
                && ask.peer.client.is_none()
                && !ask.peer.asks().is_empty()
            {
                // What the server asks on its standing stream would be nobody's: this request needs one where it is.
                self.set_apart(&session);
                continue;
            }
            pass.sent();
            let id = self.next_id();
            let message = rpc::request(&id.to_string(), ask.method, params);
            let line = Line {
                entry: self.clone(),
                out: out.clone(),
                session: session.clone(),
                asks: ask.peer.asks(),
            };
            if ask.era == Era::Modern && ask.params.is_some_and(modern::has_handle) {
                // The call that it goes on with is not here, and this server could not tell a retry from a first attempt.
                let why = "Invalid params: requestState was not given out here; the tool is not run again";
                let error = rpc::error_response(
                    &id.to_string(),
                    &rpc::error_object(rpc::INVALID_PARAMS, why, None),
                );
                let of = (step, deadline);
                return Ok(Exchange::answered(line, id, of, StatusCode::OK, error.into()));
            }
            if let Some(level) = self.log_level_of(&ask.peer) {
                Box::pin(self.set_log_level(&line, ask.peer.client, level, deadline)).await;
            }
            let heard = session
                .client()
                .is_some_and(|client| self.shared.listeners.has(client));
            // Boxed, all that most calls do without: every call would carry room for it.
            if heard {
                Box::pin(listen::ensure(&line)).await;
            }
            let registered = match ask.progress {
                Some(progress) => Some(Box::pin(listen::register(&line, progress.clone())).await),
                None => None,
            };
            let askable = if ask.peer.client.is_none() && !ask.peer.asks().is_empty() {
                // Some servers ask on the standing stream whatever the question is about.
                Box::pin(listen::ensure(&line)).await;
                Some(Askable::enter(&session, id))
            } else {
                None
            };
            let using = Using::new(&session);
            let guard = Unread {
                line: &line,
                id,
                is_askable: askable.is_some(),
                armed: true,
            };
            let sent = self.post(out, Some(&session), message, step).await;
            guard.disarm();
            let response = sent?;
            if response.status() == StatusCode::OK {
                let held = (place, registered, askable);
                drop(using);
                return Exchange::begin(line, id, step, deadline, response, held).await;
            }
            if session.id.is_none() || gone.is_some() || !matches!(response.status().as_u16(), 400 | 404) {
                return Err(Box::pin(status_fault(&self.server.load(), step, response)).await);
            }
            let status = response.status();
            let words = words_of(&Box::pin(beginning(response)).await);
            if !means_unknown_session(status, &words) {
                return Err(Fault::http(&self.server.load(), step, status, &words));
            }
            tracing::info!(server = %self.prefix, "upstream session expired, opening a new one");
            slot.forget(&session);
            gone = Some(session);
        }
    }

    /// Waits until a client's new session is written down, for as long as that is worth: its next request may go to another
    /// process. Whether another process was faster, and its session is the one from now on: nothing was asked on this one (B22).
    pub(super) async fn settle(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        slot: &Slot,
        session: &Arc<Session>,
    ) -> bool {
        self.shared.keeper.settled(session).await;
        let Some(other) = session.keeping.other().and_then(|row| self.recalled(row)) else {
            return false;
        };
        slot.replace(session, other);
        self.end_aside(out.clone(), session.clone());
        true
    }

    pub(super) fn log_level_of(&self, peer: &Peer) -> Option<&'static str> {
        peer.log_level.or_else(|| {
            // Its client may have set it with another process, which was just found out.
            let client = peer.client.filter(|_| peer.kept)?;
            self.shared.keeper.log_level(client)
        })
    }

    /// A request to a server of the new era. What that era does in another way is done that way.
    pub(super) async fn request_translated(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        session: Arc<Session>,
        deadline: Deadline,
        place: Option<Place>,
    ) -> Result<Exchange, Fault> {
        match hub::Change::of(ask) {
            Some(change) => hub::answer(self, out, ask, change, (session, deadline)).await,
            None => self.request_modern(out, ask, session, deadline, place).await,
        }
    }

    /// Sees to it that the client's own session has the log level that the client set. A server that does not take it
    /// goes on as it is: logs are a courtesy.
    pub(super) async fn set_log_level(
        self: &Arc<Self>,
        line: &Line,
        client: Option<SessionKey>,
        level: &'static str,
        deadline: Deadline,
    ) {
        let session = &line.session;
        if session.client() != client || !session.introduction.capabilities.has("logging") {
            return;
        }
        let mut current = session.log_level.lock().await;
        let severity = |level: Option<&str>| level.and_then(modern::severity);
        // Others may use a session that is nobody's, and want to hear more.
        let enough = client.is_none() && current.is_some() && severity(*current) <= severity(Some(level));
        if *current == Some(level) || enough {
            return;
        }
        let id = self.next_id();
        let params = format!(r#"{{"level":"{level}"}}"#);
        let message = rpc::request(&id.to_string(), "logging/setLevel", Some(&params));
        let asked = async {
            let response = self.post(&line.out, Some(session), message, Step::Call).await?;
            let mut exchange = Exchange::begin(
                line.clone(),
                id,
                Step::Call,
                deadline,
                response,
                (None, None, None),
            )
            .await?;
            while !matches!(exchange.next().await?, Frame::Result(_) | Frame::Error(_)) {}
            Ok::<(), Fault>(())
        };
        match tokio::time::timeout(LOG_LEVEL_TIMEOUT, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(server = %self.prefix, %fault, "the log level was not taken"),
            Err(_) => tracing::debug!(server = %self.prefix, "the log level was not answered"),
        }
        *current = Some(level);
    }

    /// Waits for a place, if the server has a limit.
    pub(super) async fn place(&self, peer: &Peer, deadline: Deadline) -> Result<Option<Place>, Fault> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        match timeout_at(deadline.at(), places.enter((peer.caller, peer.client))).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(Crowded(waiting))) => Err(Fault::new(
                OutcomeStatus::RateLimited,
                Step::Call,
                format!("too many calls: {waiting} already wait for this server's max_concurrent_requests"),
            )
            .hint("call again later, or raise the server's max_concurrent_requests")),
            Err(_) => Err(deadline.missed(Step::Call)),
        }
    }

    /// Whether a request is let through. The server's own lists always are: they are what finds out whether it is back, and
    /// have a back-off of their own.
    pub(super) fn admit(&self, out: &Outgoing, step: Step) -> Result<Pass<'_>, Fault> {
        let own = self.own_fingerprint() == Some(out.fingerprint);
        self.breaker.admit(
            &self.prefix,
            (out.fingerprint, own),
            self.shared.settings().breaker_failures,
            own && step == Step::List,
        )
    }
}
