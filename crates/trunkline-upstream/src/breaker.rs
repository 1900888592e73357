//! Servers that cannot be reached are not asked by every call: after some failures in a row calls fail at once, with the
//! last reason, until one that is let through finds the server again.
//!
//! Two things can be broken, each with a gate of its own: the way to the server (nothing accepts connections, no hand-shake
//! comes about), and one credential (the server refuses it). What a client's own credential runs into in the hand-shake
//! counts for that credential alone, so that nobody closes a server for others with a header.
//!
//! What a server answers once it is reached says nothing about the way to it: errors of tools, 4xx, slow tools.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{Circuit, KeyMap, OutcomeStatus, Step};

use crate::fault::Fault;

/// Until the first attempt after the failures.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Between later ones, at most.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// A request that was given up before it was sent says that the server hangs only if it was given this long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Credentials that are remembered.
const MAX_CREDENTIALS: usize = 1024;

type Fingerprint = [u8; 16];

/// The gates of one server.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    server: Arc<Gate>,
    /// Of the server's own credential.
    own: Arc<Gate>,
    /// Of clients'.
    credentials: Mutex<KeyMap<Fingerprint, Arc<Gate>>>,
}

/// What a request found out about the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// The server is there.
    Reached,
    /// It is not.
    NotReached,
    /// No hand-shake came about, though something accepts connections.
    NoHandshake,
    /// It refuses the credential.
    Refused,
    /// Nothing.
    Nothing,
}

impl Finding {
    fn of(fault: &Fault) -> Self {
        use OutcomeStatus::{AuthRequired, Forbidden, Internal, Timeout, Unreachable, UpstreamError};
        let server_error = fault.http_status.is_some_and(|status| status >= 500);
        match (fault.step, fault.status) {
            (_, AuthRequired) | (Step::Initialize | Step::Initialized, Forbidden) => Self::Refused,
            (Step::Dns | Step::Proxy | Step::Tcp | Step::Tls, Unreachable | Timeout) => Self::NotReached,
            (Step::Initialize | Step::Initialized, Unreachable | Timeout) => Self::NoHandshake,
            (Step::Initialize | Step::Initialized, UpstreamError) if server_error => Self::NoHandshake,
            // Nothing was sent, or a tool is slow, or took its server down with it.
            (Step::Configuration, _) | (_, Unreachable | Timeout | Internal) => Self::Nothing,
            _ => Self::Reached,
        }
    }
}

/// One way.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    /// Looked at first: a way that works costs one load.
    troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    last: Fault,
    /// When somebody may try again.
    until: Instant,
    /// How often it was opened since it was closed last.
    times: u32,
    /// Somebody tries.
    probing: bool,
}

/// A request that was let through. What it finds is told to [`Pass::judge`]; one that is dropped before has found nothing.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    way: Lane,
    credential: Lane,
    /// It goes with the server's own credential.
    own: bool,
    began: Instant,
    sent: AtomicBool,
    limit: u32,
    name: &'a str,
}

/// A gate that a request passed.
#[derive(Debug)]
struct Lane {
    gate: Arc<Gate>,
    /// For the log.
    what: &'static str,
    /// It is the one that tries whether the gate can be closed.
    probing: bool,
}

impl Breaker {
    /// What people see of it: the gate of the way to the server.
    pub(crate) fn circuit(&self) -> Circuit {
        self.server.circuit()
    }

    /// Whether a request with a credential may go. `own`: the credential is the server's own. `limit`: so many failures in
    /// a row are too many; none are if it is 0. `anyway`: it goes whatever is known, because it is there to find out.
    pub(crate) fn admit<'a>(
        &self,
        name: &'a str,
        (fingerprint, own): (Fingerprint, bool),
        limit: u32,
        anyway: bool,
    ) -> Result<Pass<'a>, Fault> {
        let lane = |gate: Arc<Gate>, what| {
            let probing = gate.admit(anyway)?;
            Ok(Lane { gate, what, probing })
        };
        let way = lane(self.server.clone(), "the way to the server")?;
        let credential = if own {
            self.own.clone()
        } else {
            self.credential(fingerprint)
        };
        let credential = lane(credential, "a credential").inspect_err(|_| way.let_go())?;
        Ok(Pass {
            way,
            credential,
            own,
            began: Instant::now(),
            sent: AtomicBool::new(false),
            limit: if limit == 0 { u32::MAX } else { limit },
            name,
        })
    }

    fn credential(&self, fingerprint: Fingerprint) -> Arc<Gate> {
        let mut gates = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= MAX_CREDENTIALS && !gates.contains_key(&fingerprint) {
            // Those that say something stay; if all do, that many credentials are wrong, and they begin anew.
            gates.retain(|_, gate| gate.troubled.load(Ordering::Relaxed));
            if gates.len() >= MAX_CREDENTIALS {
                gates.clear();
            }
        }
        gates.entry(fingerprint).or_default().clone()
    }
}

impl Pass<'_> {
    /// The request is on its way: from here on it is not the hand-shake that is late.
    pub(crate) fn sent(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }

    /// What came of the request.
    pub(crate) fn judge(&self, fault: Option<&Fault>) {
        let mut finding = fault.map_or(Finding::Reached, Finding::of);
        let sent = self.sent.load(Ordering::Relaxed);
        if finding == Finding::Nothing && fault.is_some_and(|fault| fault.status == OutcomeStatus::Timeout) {
            if sent {
                // A probe that was sent has found the server, however slow the tool is.
                finding = if self.way.probing {
                    Finding::Reached
                } else {
                    Finding::Nothing
                };
            } else if self.began.elapsed() >= PATIENCE {
                finding = Finding::NoHandshake;
            }
        }
        let failed = |lane: &Lane| {
            if let Some(fault) = fault {
                lane.failed(self.name, fault, self.limit);
            }
        };
        match finding {
            Finding::Nothing => {}
            Finding::Reached => {
                self.way.worked(self.name);
                self.credential.worked(self.name);
            }
            Finding::NoHandshake if !self.own => failed(&self.credential),
            Finding::NotReached | Finding::NoHandshake => failed(&self.way),
            Finding::Refused => {
                self.way.worked(self.name);
                failed(&self.credential);
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.way.let_go();
        self.credential.let_go();
    }
}

impl Lane {
    /// If it was a probe, it is over; the next one may try, if this one has found nothing.
    fn let_go(&self) {
        if self.probing
            && let Some(open) = &mut self.gate.state().open
        {
            open.probing = false;
        }
    }

    fn worked(&self, name: &str) {
        if !self.gate.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.gate.state();
        self.gate.troubled.store(false, Ordering::Relaxed);
        let was_open = std::mem::take(&mut *state).open.is_some();
        drop(state);
        if was_open {
            tracing::info!(server = %name, what = self.what, "circuit closed: it works again");
        }
    }

    fn failed(&self, name: &str, fault: &Fault, limit: u32) {
        let mut state = self.gate.state();
        self.gate.troubled.store(true, Ordering::Relaxed);
        state.failures = state.failures.saturating_add(1);
        let failures = state.failures;
        let wait = match &mut state.open {
            Some(open) if self.probing => {
                open.times = open.times.saturating_add(1);
                let wait = back_off(open.times);
                open.until = Instant::now() + wait;
                open.last = fault.clone();
                open.probing = false;
                tracing::debug!(server = %name, what = self.what, %fault, ?wait, "still no use: the circuit stays open");
                return;
            }
            Some(open) => {
                open.last = fault.clone();
                return;
            }
            None if failures >= limit => back_off(0),
            None => return,
        };
        state.open = Some(Open {
            last: fault.clone(),
            until: Instant::now() + wait,
            times: 0,
            probing: false,
        });
        drop(state);
        tracing::warn!(
            server = %name,
            what = self.what,
            failures,
            retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "circuit opened: calls fail at once until it works again; the last failure: {fault}"
        );
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one is the probe.
    fn admit(&self, anyway: bool) -> Result<bool, Fault> {
        if !self.troubled.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut state = self.state();
        let failures = state.failures;
        let Some(open) = &mut state.open else {
            return Ok(false);
        };
        let left = open.until.saturating_duration_since(Instant::now());
        if left.is_zero() && !open.probing {
            open.probing = true;
            return Ok(true);
        }
        if anyway {
            return Ok(false);
        }
        Err(open.fault(failures, left))
    }

    fn circuit(&self) -> Circuit {
        match &self.state().open {
            None => Circuit::Closed,
            Some(open) if open.probing || open.until <= Instant::now() => Circuit::HalfOpen,
            Some(_) => Circuit::Open,
        }
    }
}

impl Open {
    /// What is answered without asking the server.
    fn fault(&self, failures: u32, left: Duration) -> Fault {
        let when = if left.is_zero() {
            "somebody is trying now".to_owned()
        } else {
            format!("the next attempt is in {:.1} s", left.as_secs_f64())
        };
        let mut fault = self.last.clone();
        fault.message = format!(
            "not tried: {failures} attempts in a row have failed, and {when}. The last failure: {}",
            fault.message
        );
        // Whole seconds, and not none.
        let left = Duration::from_secs(left.as_secs() + 1);
        fault.retry_after = Some(fault.retry_after.unwrap_or_default().max(left));
        fault
    }
}

/// After so many attempts in vain; with a quarter of chance, so that processes do not try together.
fn back_off(times: u32) -> Duration {
    let plain = FIRST_BACK_OFF
        .saturating_mul(1 << times.min(16))
        .min(LONGEST_BACK_OFF);
    let [chance, ..] = *uuid::Uuid::new_v4().as_bytes();
    plain + plain / 4 * u32::from(chance) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: (Fingerprint, bool) = ([0; 16], true);
    const LIMIT: u32 = 5;

    fn refused_connection() -> Fault {
        Fault::new(OutcomeStatus::Unreachable, Step::Tcp, "no connection: refused").hint("start it")
    }

    fn fault(status: OutcomeStatus, step: Step, http_status: Option<u16>) -> Fault {
        Fault {
            http_status,
            ..Fault::new(status, step, "words")
        }
    }

    fn admit(breaker: &Breaker, who: (Fingerprint, bool)) -> Result<Pass<'static>, Fault> {
        breaker.admit("s", who, LIMIT, false)
    }

    fn fail(breaker: &Breaker, who: (Fingerprint, bool), fault: &Fault, times: u32) {
        for _ in 0..times {
            admit(breaker, who).unwrap().judge(Some(fault));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let breaker = Breaker::default();
        fail(&breaker, OWN, &refused_connection(), LIMIT - 1);
        admit(&breaker, OWN).unwrap().judge(None);
        fail(&breaker, OWN, &refused_connection(), LIMIT - 1);
        assert_eq!(breaker.circuit(), Circuit::Closed, "not in a row");
        fail(&breaker, OWN, &refused_connection(), 1);
        assert_eq!(breaker.circuit(), Circuit::Open);
        let said = admit(&breaker, OWN).unwrap_err();
        assert_eq!((said.status, said.step), (OutcomeStatus::Unreachable, Step::Tcp));
        assert!(
            said.message.contains("refused") && said.hint.is_some(),
            "{said:?}"
        );
        assert!(
            said.retry_after
                .is_some_and(|after| after <= Duration::from_secs(2))
        );
        tokio::time::advance(Duration::from_millis(1300)).await;
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        let probe = admit(&breaker, OWN).unwrap();
        assert!(admit(&breaker, OWN).is_err(), "one probe, not two");
        probe.judge(Some(&refused_connection()));
        drop(probe);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert!(admit(&breaker, OWN).is_err(), "it waits longer now");
        tokio::time::advance(Duration::from_millis(1100)).await;
        // One that is given up has found nothing: the next may try.
        drop(admit(&breaker, OWN).unwrap());
        admit(&breaker, OWN).unwrap().judge(None);
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_answers_opens_nothing() {
        use OutcomeStatus::{Forbidden, Misconfigured, ProtocolError, RateLimited, Timeout, UpstreamError};
        let breaker = Breaker::default();
        for said in [
            fault(UpstreamError, Step::Call, Some(500)),
            fault(UpstreamError, Step::Call, None),
            fault(Timeout, Step::Call, None),
            fault(OutcomeStatus::Unreachable, Step::Call, None),
            fault(RateLimited, Step::Initialize, Some(429)),
            fault(Misconfigured, Step::Initialize, Some(404)),
            fault(Forbidden, Step::Call, Some(403)),
            fault(ProtocolError, Step::Initialize, None),
        ] {
            for _ in 0..2 * LIMIT {
                let pass = admit(&breaker, OWN).unwrap();
                pass.sent();
                pass.judge(Some(&said));
            }
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
        // 0: never.
        for _ in 0..20 {
            let pass = breaker.admit("s", OWN, 0, false).unwrap();
            pass.judge(Some(&refused_connection()));
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_closes_nothing_for_others() {
        let breaker = Breaker::default();
        let (theirs, others) = (([1; 16], false), ([2; 16], false));
        fail(
            &breaker,
            theirs,
            &fault(OutcomeStatus::AuthRequired, Step::Initialize, Some(401)),
            LIMIT,
        );
        assert_eq!(
            admit(&breaker, theirs).unwrap_err().status,
            OutcomeStatus::AuthRequired
        );
        // Nor what a client's header does to the hand-shake.
        fail(
            &breaker,
            others,
            &fault(OutcomeStatus::Timeout, Step::Initialize, None),
            LIMIT,
        );
        assert!(admit(&breaker, others).is_err());
        assert_eq!(breaker.circuit(), Circuit::Closed);
        admit(&breaker, OWN).unwrap().judge(None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hand_shake_that_takes_all_the_time_counts_and_a_slow_tool_does_not() {
        let breaker = Breaker::default();
        let late = fault(OutcomeStatus::Timeout, Step::Call, None);
        for _ in 0..LIMIT {
            let pass = admit(&breaker, OWN).unwrap();
            tokio::time::advance(Duration::from_millis(500)).await;
            pass.judge(Some(&late));
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "it was given half a second");
        for _ in 0..LIMIT {
            let pass = admit(&breaker, OWN).unwrap();
            tokio::time::advance(Duration::from_secs(2)).await;
            pass.judge(Some(&late));
        }
        assert_eq!(breaker.circuit(), Circuit::Open);
        // The attempt that finds out goes all the same, and closes it.
        breaker.admit("s", OWN, LIMIT, true).unwrap().judge(None);
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }
}
