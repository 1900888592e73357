//! Limits of calls: how many of a key and of a server in a minute, how many of a key at the same time. Exact within this
//! process; every replica counts for itself.
//!
//! A minute begins with the first call and lasts 60 seconds; the first one after it begins another (as LiteLLM counts). A
//! call that one limit refuses is counted for none, and nothing of it is sent. Who has no limits takes no lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{KeyHash, KeyMap, Principal, Server, ServerId, VirtualKey};

/// What "a minute" is.
const WINDOW: Duration = Duration::from_mins(1);
/// When to try again if too much goes on at the same time: nobody knows when something of it ends.
const RETRY_PARALLEL: Duration = Duration::from_secs(1);

/// What the calls of this process have used up.
#[derive(Default)]
pub struct Limits {
    windows: Mutex<KeyMap<Counted, Window>>,
    parallel: Mutex<KeyMap<KeyHash, u32>>,
}

/// Whose calls are counted.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Counted {
    /// A key's.
    Key(KeyHash),
    /// A key's of one server.
    Of(KeyHash, ServerId),
    /// Everybody's of one server.
    Server(ServerId),
}

#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    calls: u32,
}

/// A call is one too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Rate limit exceeded: {limit} of {} is {max}{}; try again in {} s", whose(.server.as_deref()), unit(*.limit), .retry_after.as_secs())]
pub struct Exceeded {
    /// The limit's name, as it is set.
    pub limit: Limit,
    /// What it is.
    pub max: u32,
    /// The prefix of the server, if it is about one.
    pub server: Option<String>,
    /// When there is room again; at least a second.
    pub retry_after: Duration,
}

/// The limits that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A key's `rpm_limit`.
    KeyRpm,
    /// A key's `mcp_rpm_limit`.
    KeyServerRpm,
    /// A key's `max_parallel_requests`.
    KeyParallel,
    /// A server's `rpm`.
    ServerRpm,
}

impl Limit {
    /// The field that sets it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyRpm => "rpm_limit",
            Self::KeyServerRpm => "mcp_rpm_limit",
            Self::KeyParallel => "max_parallel_requests",
            Self::ServerRpm => "rpm",
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn whose(server: Option<&str>) -> String {
    server.map_or_else(
        || "this key".to_owned(),
        |server| format!("MCP server {server:?}"),
    )
}

fn unit(limit: Limit) -> &'static str {
    match limit {
        Limit::KeyParallel => " at the same time",
        Limit::KeyRpm | Limit::KeyServerRpm | Limit::ServerRpm => " a minute",
    }
}

/// The place of a call among those of its key; free again when this is dropped.
pub struct Place {
    limits: Arc<Limits>,
    key: Arc<VirtualKey>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut parallel = self.limits.parallel();
        if let Some(count) = parallel.get_mut(&self.key.hash) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                parallel.remove(&self.key.hash);
            }
        }
    }
}

impl Limits {
    fn windows(&self) -> MutexGuard<'_, KeyMap<Counted, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parallel(&self) -> MutexGuard<'_, KeyMap<KeyHash, u32>> {
        self.parallel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the key has calls left, before anything is looked up for one. Counts nothing.
    pub fn check(&self, principal: &Principal) -> Result<(), Exceeded> {
        let Some((key, max)) = principal.key().and_then(|key| Some((key, key.limits.rpm_limit?))) else {
            return Ok(());
        };
        room(
            &self.windows(),
            &[(Counted::Key(key.hash), Limit::KeyRpm, max)],
            Instant::now(),
            None,
        )
    }

    /// Counts a call of a server, or refuses it.
    pub fn count(&self, principal: &Principal, server: &Server) -> Result<(), Exceeded> {
        let key = principal.key().filter(|key| !key.limits.is_none());
        let rpm = server.definition.rpm;
        if key.is_none() && rpm.is_none() {
            return Ok(());
        }
        let mut due: Vec<(Counted, Limit, u32)> = Vec::with_capacity(3);
        if let Some(key) = key {
            due.extend(of_key(key, server));
        }
        due.extend(rpm.map(|max| (Counted::Server(server.id.clone()), Limit::ServerRpm, max)));
        let now = Instant::now();
        let mut windows = self.windows();
        room(&windows, &due, now, Some(server))?;
        for (counted, _, _) in due {
            let window = windows.entry(counted).or_insert(Window { began: now, calls: 0 });
            if is_over(window, now) {
                *window = Window { began: now, calls: 0 };
            }
            window.calls = window.calls.saturating_add(1);
        }
        Ok(())
    }

    /// A place among the calls that a key may have at the same time; `None` if it has as many as it likes.
    pub fn place(self: &Arc<Self>, principal: &Principal) -> Result<Option<Place>, Exceeded> {
        let Some((key, max)) = principal
            .key()
            .and_then(|key| Some((key, key.limits.max_parallel_requests?)))
        else {
            return Ok(None);
        };
        let mut parallel = self.parallel();
        let count = parallel.get(&key.hash).copied().unwrap_or(0);
        if count >= max {
            return Err(Exceeded {
                limit: Limit::KeyParallel,
                max,
                server: None,
                retry_after: RETRY_PARALLEL,
            });
        }
        parallel.insert(key.hash, count + 1);
        drop(parallel);
        Ok(Some(Place {
            limits: self.clone(),
            key: key.clone(),
        }))
    }

    /// Forgets the minutes that are over; called every minute.
    pub fn reap(&self) {
        let now = Instant::now();
        let mut windows = self.windows();
        windows.retain(|_, window| !is_over(window, now));
        let left = windows.len();
        windows.shrink_to(left * 2);
    }
}

fn of_key(key: &VirtualKey, server: &Server) -> impl Iterator<Item = (Counted, Limit, u32)> {
    let all = key.limits.rpm_limit;
    let own = key.limits.rpm_of(server);
    let all = all.map(|max| (Counted::Key(key.hash), Limit::KeyRpm, max));
    let own = own.map(|max| (Counted::Of(key.hash, server.id.clone()), Limit::KeyServerRpm, max));
    all.into_iter().chain(own)
}

fn is_over(window: &Window, now: Instant) -> bool {
    now.duration_since(window.began) >= WINDOW
}

/// Whether one more is within all of these.
fn room(
    windows: &KeyMap<Counted, Window>,
    due: &[(Counted, Limit, u32)],
    now: Instant,
    server: Option<&Server>,
) -> Result<(), Exceeded> {
    for (counted, limit, max) in due {
        let window = windows.get(counted).filter(|window| !is_over(window, now));
        if window.map_or(0, |window| window.calls) < *max {
            continue;
        }
        let ends = window.map_or(WINDOW, |window| {
            WINDOW.saturating_sub(now.duration_since(window.began))
        });
        let whole = u64::from(ends.subsec_nanos() > 0) + ends.as_secs();
        return Err(Exceeded {
            limit: *limit,
            max: *max,
            server: server.filter(|_| *limit != Limit::KeyRpm).map(Server::prefix),
            retry_after: Duration::from_secs(whole.max(1)),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trunkline_model::{Approval, Holder, KeyLimits, Origin, ServerDefinition, Stamps};

    use super::*;

    fn server(name: &str, rpm: Option<u32>) -> Server {
        Server {
            id: ServerId::new(format!("id-{name}")),
            origin: Origin::File,
            definition: ServerDefinition {
                alias: Some(name.to_owned()),
                rpm,
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        }
    }

    fn key(number: u8, limits: KeyLimits) -> Principal {
        let mut key = VirtualKey::new(KeyHash([number; 32]));
        key.limits = limits;
        Principal::from_key(Holder::of_key(Arc::new(key)))
    }

    fn rpm(most: u32) -> KeyLimits {
        KeyLimits {
            rpm_limit: Some(most),
            ..KeyLimits::default()
        }
    }

    fn refused(result: Result<(), Exceeded>) -> (Limit, u64) {
        let exceeded = result.unwrap_err();
        (exceeded.limit, exceeded.retry_after.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_begins_with_the_first_call_and_lasts_sixty_seconds() {
        let limits = Limits::default();
        let (mine, other, any) = (key(1, rpm(2)), key(2, rpm(2)), server("a", None));
        assert_eq!(limits.count(&mine, &any), Ok(()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(limits.check(&mine), Ok(()));
        assert_eq!(
            limits.count(&mine, &server("b", None)),
            Ok(()),
            "whatever the server"
        );
        assert_eq!(refused(limits.check(&mine)), (Limit::KeyRpm, 20));
        tokio::time::advance(Duration::from_millis(18_500)).await;
        assert_eq!(refused(limits.count(&mine, &any)), (Limit::KeyRpm, 2));
        assert_eq!(limits.count(&other, &any), Ok(()), "another key's are its own");
        tokio::time::advance(Duration::from_millis(1_499)).await;
        assert_eq!(refused(limits.count(&mine, &any)), (Limit::KeyRpm, 1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((limits.check(&mine), limits.count(&mine, &any)), (Ok(()), Ok(())));
        assert_eq!(limits.count(&mine, &any), Ok(()));
        assert_eq!(refused(limits.count(&mine, &any)), (Limit::KeyRpm, 60));
        // Nothing is kept of what is over.
        tokio::time::advance(WINDOW).await;
        limits.reap();
        assert!(limits.windows().is_empty());
        assert_eq!(refused(limits.count(&key(3, rpm(0)), &any)), (Limit::KeyRpm, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_limit_refuses_is_counted_for_none() {
        let limits = Limits::default();
        let (busy, idle) = (server("busy", Some(1)), server("idle", None));
        let per_server = KeyLimits {
            rpm_limit: Some(3),
            mcp_rpm_limit: [
                ("IDLE".to_owned(), 2),
                ("id-idle".to_owned(), 1),
                ("x".to_owned(), 0),
            ]
            .into(),
            ..KeyLimits::default()
        };
        let (mine, master) = (key(1, per_server), Principal::from_master_key());
        assert_eq!(limits.count(&master, &busy), Ok(()), "everybody's");
        for _ in 0..5 {
            assert_eq!(refused(limits.count(&mine, &busy)), (Limit::ServerRpm, 60));
        }
        let exceeded = limits.count(&master, &busy).unwrap_err();
        assert_eq!(
            exceeded.to_string(),
            r#"Rate limit exceeded: rpm of MCP server "busy" is 1 a minute; try again in 60 s"#
        );
        assert_eq!(limits.count(&mine, &idle), Ok(()));
        assert_eq!(
            refused(limits.count(&mine, &idle)),
            (Limit::KeyServerRpm, 60),
            "the least counts"
        );
        let free = server("free", None);
        assert_eq!(
            (limits.count(&mine, &free), limits.count(&mine, &free)),
            (Ok(()), Ok(()))
        );
        let exceeded = limits.count(&mine, &free).unwrap_err();
        assert_eq!(
            exceeded.to_string(),
            "Rate limit exceeded: rpm_limit of this key is 3 a minute; try again in 60 s"
        );
        assert_eq!(limits.count(&master, &idle), Ok(()));
        assert_eq!(
            limits.windows().len(),
            3,
            "who has no limits leaves nothing behind"
        );
    }

    #[tokio::test]
    async fn calls_at_the_same_time_have_places() {
        let limits = Arc::new(Limits::default());
        let two = KeyLimits {
            max_parallel_requests: Some(2),
            ..KeyLimits::default()
        };
        let (mine, other) = (key(1, two.clone()), key(2, two));
        let held = (limits.place(&mine), limits.place(&mine));
        assert!(matches!(held, (Ok(Some(_)), Ok(Some(_)))));
        let full = limits.place(&mine).err().unwrap();
        assert_eq!(
            full.to_string(),
            "Rate limit exceeded: max_parallel_requests of this key is 2 at the same time; try again in 1 s"
        );
        assert!(limits.place(&other).is_ok());
        drop(held);
        assert!(limits.place(&mine).is_ok());
        assert!(limits.parallel().is_empty());
        assert!(matches!(limits.place(&key(3, KeyLimits::default())), Ok(None)));
        assert!(matches!(limits.place(&Principal::from_master_key()), Ok(None)));
    }
}
