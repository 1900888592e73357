//! Limits of calls: how many of a key, of all keys of a team or a user, of an organisation or an end user by their budgets, and of a
//! server in a minute, and how many at the same time. Exact within this process; every replica counts for itself.
//!
//! A minute begins with the first call and lasts 60 seconds; the first one after it begins another (as LiteLLM counts). A
//! call that one limit refuses is counted for none, and nothing of it is sent. Who has no limits takes no lock.
//!
//! [`held`] is who is counted; [`exceeded`] is how one too many is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{Principal, Server};

mod exceeded;
mod held;

pub use exceeded::{Exceeded, Limit, Max, Source};
use held::{Counted, Due};

/// What "a minute" is.
const WINDOW: Duration = Duration::from_mins(1);
/// When to try again if too much goes on at the same time: nobody knows when something of it ends.
const RETRY_PARALLEL: Duration = Duration::from_secs(1);

/// What the calls of this process have used up. People choose the names of teams and users, so the maps have the careful hash.
#[derive(Default)]
pub struct Limits {
    windows: Mutex<HashMap<Counted, Window>>,
    parallel: Mutex<HashMap<Counted, u32>>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    calls: u32,
}

/// The place of a call among those of everybody whose it is; free again when this is dropped.
pub struct Place {
    limits: Arc<Limits>,
    of: Vec<Counted>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut parallel = self.limits.parallel();
        for counted in &self.of {
            if let Some(count) = parallel.get_mut(counted) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    parallel.remove(counted);
                }
            }
        }
    }
}

impl Limits {
    fn windows(&self) -> MutexGuard<'_, HashMap<Counted, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parallel(&self) -> MutexGuard<'_, HashMap<Counted, u32>> {
        self.parallel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever asks has calls left, before anything is looked up for one. Counts nothing.
    pub fn check(&self, principal: &Principal) -> Result<(), Exceeded> {
        held::spending(principal, None)?;
        let due: Vec<Due> = held::in_a_minute(principal, None).collect();
        if due.is_empty() {
            return Ok(());
        }
        room(&self.windows(), &due, Instant::now(), None)
    }

    /// Counts a call of a server, or refuses it.
    pub fn count(&self, principal: &Principal, server: &Server) -> Result<(), Exceeded> {
        held::spending(principal, Some(server))?;
        let due: Vec<Due> = held::in_a_minute(principal, Some(server)).collect();
        if due.is_empty() {
            return Ok(());
        }
        self.take(due, Some(server))
    }

    /// Counts a request to a model, or refuses it.
    pub fn count_request(&self, principal: &Principal) -> Result<(), Exceeded> {
        held::spending_on_models(principal)?;
        let due: Vec<Due> = held::in_a_minute(principal, None).collect();
        if due.is_empty() {
            return Ok(());
        }
        self.take(due, None)
    }

    fn take(&self, due: Vec<Due>, server: Option<&Server>) -> Result<(), Exceeded> {
        let now = Instant::now();
        let mut windows = self.windows();
        room(&windows, &due, now, server)?;
        for Due { counted, .. } in due {
            let window = windows.entry(counted).or_insert(Window { began: now, calls: 0 });
            if is_over(window, now) {
                *window = Window { began: now, calls: 0 };
            }
            window.calls = window.calls.saturating_add(1);
        }
        Ok(())
    }

    /// A place among the calls that everybody whose it is may have at the same time; `None` if they have as many as they like.
    pub fn place(self: &Arc<Self>, principal: &Principal) -> Result<Option<Place>, Exceeded> {
        let due: Vec<Due> = held::at_the_same_time(principal).collect();
        if due.is_empty() {
            return Ok(None);
        }
        let mut parallel = self.parallel();
        let full = due
            .iter()
            .find(|due| parallel.get(&due.counted).copied().unwrap_or(0) >= due.max);
        if let Some(due) = full {
            return Err(Exceeded {
                limit: due.limit,
                max: due.max.into(),
                server: None,
                retry_after: RETRY_PARALLEL,
            });
        }
        let of: Vec<Counted> = due.into_iter().map(|due| due.counted).collect();
        for counted in &of {
            *parallel.entry(counted.clone()).or_default() += 1;
        }
        drop(parallel);
        Ok(Some(Place {
            limits: self.clone(),
            of,
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

fn is_over(window: &Window, now: Instant) -> bool {
    now.duration_since(window.began) >= WINDOW
}

/// Whether one more is within all of these.
fn room(
    windows: &HashMap<Counted, Window>,
    due: &[Due],
    now: Instant,
    server: Option<&Server>,
) -> Result<(), Exceeded> {
    for Due { counted, limit, max } in due {
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
            max: (*max).into(),
            server: server.filter(|_| limit.is_of_a_server()).map(Server::prefix),
            retry_after: Duration::from_secs(whole.max(1)),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trunkline_model::{
        Approval, CallLimits, Holder, KeyHash, Level, Origin, ServerDefinition, ServerId, Stamps, VirtualKey,
    };

    use super::*;

    pub(super) fn server(name: &str, rpm: Option<u32>) -> Server {
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

    fn key(number: u8, limits: CallLimits) -> Principal {
        let mut key = VirtualKey::new(KeyHash([number; 32]));
        key.limits = limits;
        Principal::from_key(Holder::of_key(Arc::new(key)))
    }

    fn rpm(most: u32) -> CallLimits {
        CallLimits {
            rpm_limit: Some(most),
            ..CallLimits::default()
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
        assert_eq!(
            refused(limits.check(&mine)),
            (Limit::Rpm(Level::Key, Source::Own), 20)
        );
        tokio::time::advance(Duration::from_millis(18_500)).await;
        assert_eq!(
            refused(limits.count(&mine, &any)),
            (Limit::Rpm(Level::Key, Source::Own), 2)
        );
        assert_eq!(limits.count(&other, &any), Ok(()), "another key's are its own");
        tokio::time::advance(Duration::from_millis(1_499)).await;
        assert_eq!(
            refused(limits.count(&mine, &any)),
            (Limit::Rpm(Level::Key, Source::Own), 1)
        );
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((limits.check(&mine), limits.count(&mine, &any)), (Ok(()), Ok(())));
        assert_eq!(limits.count(&mine, &any), Ok(()));
        assert_eq!(
            refused(limits.count(&mine, &any)),
            (Limit::Rpm(Level::Key, Source::Own), 60)
        );
        // Nothing is kept of what is over.
        tokio::time::advance(WINDOW).await;
        limits.reap();
        assert!(limits.windows().is_empty());
        assert_eq!(
            refused(limits.count(&key(3, rpm(0)), &any)),
            (Limit::Rpm(Level::Key, Source::Own), 60)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_limit_refuses_is_counted_for_none() {
        let limits = Limits::default();
        let (busy, idle) = (server("busy", Some(1)), server("idle", None));
        let per_server = CallLimits {
            rpm_limit: Some(3),
            mcp_rpm_limit: [
                ("IDLE".to_owned(), 2),
                ("id-idle".to_owned(), 1),
                ("x".to_owned(), 0),
            ]
            .into(),
            ..CallLimits::default()
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
            (Limit::ServerRpmOf(Level::Key), 60),
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
        let two = CallLimits {
            max_parallel_requests: Some(2),
            ..CallLimits::default()
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
        assert!(matches!(limits.place(&key(3, CallLimits::default())), Ok(None)));
        assert!(matches!(limits.place(&Principal::from_master_key()), Ok(None)));
    }
}
