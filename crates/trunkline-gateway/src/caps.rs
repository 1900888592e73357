//! What one caller may hold at the same time in this process: sessions, and streams that stay open (S38). Who asks for
//! more is answered 503, with when to come back; what it holds already goes on, and others are not concerned.
//!
//! A sealed session needs no table, so what is counted is sessions that were seen lately: one that ended, or that nobody
//! used for as long as upstream sessions are kept, makes room for another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::Response;
use tokio::time::Instant;
use trunkline_mcp::rpc;
use trunkline_model::{KeyMap, SessionKey};

use crate::answer;

/// The most that anybody is told to wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What every caller holds.
pub struct Caps {
    max_sessions: AtomicUsize,
    max_streams: AtomicUsize,
    idle: Duration,
    sessions: Mutex<KeyMap<Box<str>, Seen>>,
    streams: Mutex<KeyMap<Box<str>, usize>>,
}

/// The sessions of one caller, and when each was last used.
struct Seen {
    used: KeyMap<SessionKey, Instant>,
    /// Before then none of them can have become idle, so nobody needs to look.
    look_at: Instant,
}

/// There is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}: {max} of this key are in use (general_settings.{setting}); {advice}")]
pub struct Full {
    what: &'static str,
    setting: &'static str,
    advice: &'static str,
    max: usize,
    retry_after: Duration,
}

impl Full {
    /// 503 for the request `id` (JSON text), with `Retry-After`.
    pub fn answer(&self, id: &str) -> Response {
        let data = format!(r#"{{"limit":"{}","max":{}}}"#, self.setting, self.max);
        let error = rpc::error_object(rpc::INTERNAL_ERROR, &self.to_string(), Some(&data));
        busy(self.retry_after, rpc::error_response(id, &error))
    }
}

/// 503 with `Retry-After`.
pub fn busy(retry_after: Duration, message: String) -> Response {
    let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, message);
    let seconds = retry_after.as_secs().max(1);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A stream's place; it is free again when this is dropped.
pub struct Place {
    caps: Arc<Caps>,
    caller: Box<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.caps.streams();
        if let Some(count) = streams.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.caller);
            }
        }
    }
}

impl Caps {
    /// `idle`: a session that was not used for so long is not counted any more.
    pub fn new(max_sessions: usize, max_streams: usize, idle: Duration) -> Self {
        Self {
            max_sessions: AtomicUsize::new(max_sessions),
            max_streams: AtomicUsize::new(max_streams),
            idle,
            sessions: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// Other numbers from now on; what is held already is held.
    pub fn set(&self, max_sessions: usize, max_streams: usize) {
        self.max_sessions.store(max_sessions, Ordering::Relaxed);
        self.max_streams.store(max_streams, Ordering::Relaxed);
    }

    fn max_sessions(&self) -> usize {
        self.max_sessions.load(Ordering::Relaxed)
    }

    fn max_streams(&self) -> usize {
        self.max_streams.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> MutexGuard<'_, KeyMap<Box<str>, Seen>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, KeyMap<Box<str>, usize>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a caller's sessions. Looked for first, so that the name is not copied for every request.
    fn with<R>(&self, caller: &str, now: Instant, act: impl FnOnce(&mut Seen) -> R) -> R {
        let mut sessions = self.sessions();
        if let Some(seen) = sessions.get_mut(caller) {
            return act(seen);
        }
        let none = || Seen {
            used: KeyMap::default(),
            look_at: now + self.idle,
        };
        act(sessions.entry(caller.into()).or_insert_with(none))
    }

    /// A new session begins.
    pub fn begin(&self, caller: &str, session: SessionKey) -> Result<(), Full> {
        let now = Instant::now();
        self.with(caller, now, |seen| {
            if seen.used.len() >= self.max_sessions() && now >= seen.look_at {
                seen.forget_idle(now, self.idle);
            }
            if seen.used.len() >= self.max_sessions() {
                return Err(Full {
                    what: "sessions",
                    setting: "mcp_max_sessions_per_principal",
                    advice: "end those that are not needed with DELETE, or try again later",
                    max: self.max_sessions(),
                    retry_after: seen.look_at.saturating_duration_since(now).min(LONGEST_WAIT),
                });
            }
            seen.used.insert(session, now);
            Ok(())
        })
    }

    /// A session is used. One that is not known here, from before a restart or from another replica, is counted if there
    /// is room; it goes on in any case.
    pub fn used(&self, caller: &str, session: SessionKey) {
        let now = Instant::now();
        self.with(caller, now, |seen| {
            if seen.used.len() < self.max_sessions() || seen.used.contains_key(&session) {
                seen.used.insert(session, now);
            }
        });
    }

    /// A session has ended.
    pub fn ended(&self, caller: &str, session: SessionKey) {
        let mut sessions = self.sessions();
        if let Some(seen) = sessions.get_mut(caller) {
            seen.used.remove(&session);
            if seen.used.is_empty() {
                sessions.remove(caller);
            }
        }
    }

    /// Forgets what is idle; called every minute.
    pub fn reap(&self) {
        let now = Instant::now();
        self.sessions().retain(|_, seen| {
            seen.forget_idle(now, self.idle);
            seen.used.shrink_to(seen.used.len() * 2);
            !seen.used.is_empty()
        });
    }

    /// A stream that stays open begins.
    pub fn stream(self: &Arc<Self>, caller: &str) -> Result<Place, Full> {
        let mut streams = self.streams();
        let count = streams.get(caller).copied().unwrap_or(0);
        if count >= self.max_streams() {
            return Err(Full {
                what: "open streams",
                setting: "mcp_max_streams_per_principal",
                advice: "close those that are not needed, or try again later",
                max: self.max_streams(),
                retry_after: Duration::from_secs(5),
            });
        }
        streams.insert(caller.into(), count + 1);
        drop(streams);
        Ok(Place {
            caps: self.clone(),
            caller: caller.into(),
        })
    }
}

impl Seen {
    fn forget_idle(&mut self, now: Instant, idle: Duration) {
        self.used.retain(|_, used| *used + idle > now);
        let oldest = self.used.values().min().copied().unwrap_or(now);
        self.look_at = oldest + idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_mins(30);

    fn key(number: u8) -> SessionKey {
        SessionKey([number; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn s38_sessions_of_one_caller_are_counted_and_others_are_not_concerned() {
        let caps = Caps::new(2, 1, IDLE);
        let (one, two) = ("one", "two");
        assert!(caps.begin(one, key(1)).is_ok() && caps.begin(one, key(2)).is_ok());
        tokio::time::advance(Duration::from_mins(10)).await;
        let full = caps.begin(one, key(3)).unwrap_err();
        assert_eq!(full.retry_after, LONGEST_WAIT);
        let text = full.to_string();
        assert!(
            text.contains("mcp_max_sessions_per_principal") && text.contains("DELETE"),
            "{text}"
        );
        // Another caller, and this one's own sessions.
        assert!(caps.begin(two, key(4)).is_ok());
        caps.used(one, key(1));
        // One from elsewhere is served and not counted.
        caps.used(one, key(5));
        assert_eq!(caps.sessions()[one].used.len(), 2);
        // An ended one makes room.
        caps.ended(one, key(1));
        assert!(caps.begin(one, key(6)).is_ok());
        assert!(caps.begin(one, key(7)).is_err());
        // So does an idle one, exactly when its time is over.
        tokio::time::advance(Duration::from_mins(20) - Duration::from_secs(1)).await;
        let full = caps.begin(one, key(7)).unwrap_err();
        assert_eq!(full.retry_after, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(caps.begin(one, key(7)).is_ok());
        assert!(caps.begin(one, key(8)).is_err());
        // Nothing is kept of those who are gone.
        tokio::time::advance(IDLE).await;
        caps.reap();
        assert!(caps.sessions().is_empty());
    }

    #[tokio::test]
    async fn s38_streams_of_one_caller_are_counted() {
        let caps = Arc::new(Caps::new(2, 2, IDLE));
        let (one, two) = ("one", "two");
        let held = (caps.stream(one), caps.stream(one));
        assert!(held.0.is_ok() && held.1.is_ok());
        let full = caps.stream(one).err().unwrap();
        let answer = full.answer("7");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "5");
        assert!(caps.stream(two).is_ok());
        drop(held);
        assert!(caps.stream(one).is_ok());
        assert!(caps.streams().is_empty());
    }
}
