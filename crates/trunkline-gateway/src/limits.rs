//! Limits of calls: how many of a key, of all keys of a team or a user, of an organisation or an end user by their budgets, and of a
//! server in a minute, and how many at the same time; and of tokens: how many of those models may take in a minute (ADR 0044).
//!
//! A minute begins with the first call and lasts 60 seconds; the first one after it begins another (as LiteLLM counts). A
//! call that one limit refuses is counted for none, and nothing of it is sent. Who has no limits takes no lock.
//!
//! With SQLite there is one process, which counts in memory. With `PostgreSQL` there may be several, and what each lets through it
//! has taken from the database before, beside requests: all together never let more through than the limit.
//!
//! [`held`] is who is counted; [`minutes`] and [`places`] are what this process knows of them; [`sharing`] asks the database;
//! [`tokens`] is what a request to a model may take and took; [`exceeded`] is how one too many is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use trunkline_model::{Principal, Server};
use trunkline_store::Store;

mod exceeded;
mod held;
mod minutes;
mod places;
mod sharing;
mod tokens;

pub use exceeded::{About, Exceeded, Limit, Max, Source};
pub(crate) use held::ModelRequest;
use held::{Counted, Due};
use minutes::Minutes;
use places::Places;
pub use sharing::keep;
use sharing::{Attempt, Counting, Part, Waking};
pub use tokens::Reserved;

/// What the calls of this process have used up. People choose the names of teams and users, so the maps have the careful hash.
#[derive(Default)]
pub struct Limits {
    minutes: Mutex<Minutes>,
    places: Mutex<Places>,
    /// Not: this process has all limits to itself.
    is_shared: bool,
    waking: Waking,
    /// Where it is known what was spent. Without it nobody who has a budget may call what has a price.
    spent: Option<Store>,
}

/// The place of a call among those of everybody whose it is; free again when this is dropped.
pub struct Place {
    limits: Arc<Limits>,
    of: Vec<Counted>,
}

/// Whether a deployment that rested may be tried.
pub(crate) enum Trial {
    /// It may, and nobody else may as long as the place is held.
    May(Option<Place>),
    /// That is known in a moment.
    Asked,
    /// Somebody else does.
    NotNow,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.places().release(&self.of);
    }
}

impl Limits {
    /// With what was spent, and limits that other processes count, too, where they can share the database; [`keep`] takes this one's shares.
    pub fn of(store: &Store) -> Self {
        let own = Self {
            is_shared: store.is_shared(),
            spent: Some(store.clone()),
            ..Self::default()
        };
        if own.is_shared {
            own.share();
        }
        own
    }

    /// Nothing is let through that was not taken, from the first call on.
    fn share(&self) {
        let alone = Part { replicas: 1, rank: 0 };
        self.minutes().counting = Counting::Shared(alone);
        self.places().counting = Counting::Shared(alone);
    }

    fn minutes(&self) -> MutexGuard<'_, Minutes> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever asks has calls left, before anything is looked up for one. Counts nothing.
    pub async fn check(&self, principal: &Principal) -> Result<(), Exceeded> {
        held::may_pay(principal, None, self.spent.as_ref())?;
        self.minute(held::in_a_minute(principal, None).collect(), None, false)
            .await
    }

    /// Counts a call of a server, or refuses it.
    pub async fn count(&self, principal: &Principal, server: &Server) -> Result<(), Exceeded> {
        held::may_pay(principal, Some(server), self.spent.as_ref())?;
        let due = held::in_a_minute(principal, Some(server)).collect();
        self.minute(due, Some(server), true).await
    }

    /// Whether somebody's tokens are limited whose request it would be.
    pub(crate) fn counts_tokens(principal: &Principal, model: &str) -> bool {
        held::limits_tokens(principal, model)
    }

    /// Counts a request to a model, or refuses it; with the tokens that it may take, if they are limited.
    pub(crate) async fn count_request(
        self: &Arc<Self>,
        principal: &Principal,
        request: ModelRequest<'_>,
    ) -> Result<Option<Reserved>, Exceeded> {
        held::may_pay_models(principal, (request.model, request.has_price), self.spent.as_ref())?;
        let due = held::of_a_request(principal, request).collect();
        self.reserve(due, request.model).await
    }

    /// The same of one that was counted and goes on to another model: in the limits of that model alone.
    pub(crate) async fn count_next_model(
        self: &Arc<Self>,
        principal: &Principal,
        request: ModelRequest<'_>,
    ) -> Result<Option<Reserved>, Exceeded> {
        held::may_pay_models(principal, (request.model, request.has_price), self.spent.as_ref())?;
        let due = held::of_its_model(principal, request).collect();
        self.reserve(due, request.model).await
    }

    async fn reserve(self: &Arc<Self>, mut due: Vec<Due>, model: &str) -> Result<Option<Reserved>, Exceeded> {
        let counted = self.minutes_of(&mut due, None, true).await;
        counted.map_err(|exceeded| match exceeded.limit {
            Limit::ModelRpm(_) | Limit::ModelTpm(_) => Exceeded {
                about: Some(About::Model(model.to_owned())),
                ..exceeded
            },
            _ => exceeded,
        })?;
        Ok(Reserved::of(self, due))
    }

    /// Whether a request to a model could be paid. Counts nothing.
    pub fn may_spend(&self, principal: &Principal, model: &str, has_price: bool) -> Result<(), Exceeded> {
        held::may_pay_models(principal, (model, has_price), self.spent.as_ref())
    }

    /// Whether a request could be paid of which nobody can say the model, whatever else holds for it. Counts nothing.
    pub(crate) fn may_spend_on_any(principal: &Principal) -> Result<(), Exceeded> {
        held::may_pay_any_model(principal)
    }

    async fn minute(&self, mut due: Vec<Due>, server: Option<&Server>, spend: bool) -> Result<(), Exceeded> {
        self.minutes_of(&mut due, server, spend).await
    }

    async fn minutes_of(
        &self,
        due: &mut [Due],
        server: Option<&Server>,
        spend: bool,
    ) -> Result<(), Exceeded> {
        if due.is_empty() {
            return Ok(());
        }
        self.waking
            .until_known(|now, forced| self.minutes().attempt(due, server, now, (spend, forced)))
            .await
    }

    /// A place among the calls that everybody whose it is may have at the same time; `None` if they have as many as they like.
    pub async fn place(self: &Arc<Self>, principal: &Principal) -> Result<Option<Place>, Exceeded> {
        let mut due: Vec<Due> = held::at_the_same_time(principal).collect();
        if due.is_empty() {
            return Ok(None);
        }
        let of = self
            .waking
            .until_known(|now, forced| self.places().attempt(&mut due, now, forced))
            .await?;
        Ok(Some(Place {
            limits: self.clone(),
            of,
        }))
    }

    /// Whether this process may try a deployment that rested. `yields`: another one goes before it, if there is one.
    pub(crate) fn trial(self: &Arc<Self>, deployment: &str, model: &str, yields: bool) -> Trial {
        let mut due = [Due::trial(deployment, model)];
        let mut places = self.places();
        match places.counting {
            // Alone, or as if it were: nobody else is known to try.
            Counting::Alone | Counting::Unheard | Counting::Apart(_) => return Trial::May(None),
            Counting::Shared(part) | Counting::Settling(part) if yields && part.replicas > 1 => {
                return Trial::NotNow;
            }
            Counting::Shared(_) | Counting::Settling(_) => {}
        }
        let attempt = places.attempt(&mut due, Instant::now(), false);
        drop(places);
        let (trial, asks) = match attempt {
            Attempt::Done(of, asks) => {
                let limits = self.clone();
                (Trial::May(Some(Place { limits, of })), asks)
            }
            Attempt::Wait(asks) => (Trial::Asked, asks),
            Attempt::Full(_) => (Trial::NotNow, false),
        };
        if asks {
            self.waking.asks();
        }
        trial
    }

    /// Forgets the minutes that are over; called every minute.
    pub fn reap(&self) {
        self.minutes().reap(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_model::{
        Approval, CallLimits, Holder, KeyHash, Level, Origin, ServerDefinition, ServerId, Stamps, VirtualKey,
    };

    use super::minutes::WINDOW;
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

    pub(super) fn key(number: u8, limits: CallLimits) -> Principal {
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
        assert_eq!(limits.count(&mine, &any).await, Ok(()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(limits.check(&mine).await, Ok(()));
        assert_eq!(
            limits.count(&mine, &server("b", None)).await,
            Ok(()),
            "whatever the server"
        );
        assert_eq!(
            refused(limits.check(&mine).await),
            (Limit::Rpm(Level::Key, Source::Own), 20)
        );
        tokio::time::advance(Duration::from_millis(18_500)).await;
        assert_eq!(
            refused(limits.count(&mine, &any).await),
            (Limit::Rpm(Level::Key, Source::Own), 2)
        );
        assert_eq!(
            limits.count(&other, &any).await,
            Ok(()),
            "another key's are its own"
        );
        tokio::time::advance(Duration::from_millis(1_499)).await;
        assert_eq!(
            refused(limits.count(&mine, &any).await),
            (Limit::Rpm(Level::Key, Source::Own), 1)
        );
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(
            (limits.check(&mine).await, limits.count(&mine, &any).await),
            (Ok(()), Ok(()))
        );
        assert_eq!(limits.count(&mine, &any).await, Ok(()));
        assert_eq!(
            refused(limits.count(&mine, &any).await),
            (Limit::Rpm(Level::Key, Source::Own), 60)
        );
        // Nothing is kept of what is over.
        tokio::time::advance(WINDOW).await;
        limits.reap();
        assert!(limits.minutes().len() == 0);
        assert_eq!(
            refused(limits.count(&key(3, rpm(0)), &any).await),
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
        assert_eq!(limits.count(&master, &busy).await, Ok(()), "everybody's");
        for _ in 0..5 {
            assert_eq!(refused(limits.count(&mine, &busy).await), (Limit::ServerRpm, 60));
        }
        let exceeded = limits.count(&master, &busy).await.unwrap_err();
        assert_eq!(
            exceeded.to_string(),
            r#"Rate limit exceeded: rpm of MCP server "busy" is 1 a minute; try again in 60 s"#
        );
        assert_eq!(limits.count(&mine, &idle).await, Ok(()));
        assert_eq!(
            refused(limits.count(&mine, &idle).await),
            (Limit::ServerRpmOf(Level::Key), 60),
            "the least counts"
        );
        let free = server("free", None);
        assert_eq!(
            (limits.count(&mine, &free).await, limits.count(&mine, &free).await),
            (Ok(()), Ok(()))
        );
        let exceeded = limits.count(&mine, &free).await.unwrap_err();
        assert_eq!(
            exceeded.to_string(),
            "Rate limit exceeded: rpm_limit of this key is 3 a minute; try again in 60 s"
        );
        assert_eq!(limits.count(&master, &idle).await, Ok(()));
        assert_eq!(
            limits.minutes().len(),
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
        let held = (limits.place(&mine).await, limits.place(&mine).await);
        assert!(matches!(held, (Ok(Some(_)), Ok(Some(_)))));
        let full = limits.place(&mine).await.err().unwrap();
        assert_eq!(
            full.to_string(),
            "Rate limit exceeded: max_parallel_requests of this key is 2 at the same time; try again in 1 s"
        );
        assert!(limits.place(&other).await.is_ok());
        drop(held);
        assert!(limits.place(&mine).await.is_ok());
        assert!(limits.places().len() == 0);
        assert!(matches!(
            limits.place(&key(3, CallLimits::default())).await,
            Ok(None)
        ));
        assert!(matches!(
            limits.place(&Principal::from_master_key()).await,
            Ok(None)
        ));
    }
}
