//! How the registry learns of what other processes write: another replica, or the command line. One connection hears of
//! servers, of sessions and of deployments; who wants to know of the latter asks [`Registry::session_news`] or
//! [`Registry::rest_news`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgNotification};

use crate::db::{Db, StoreError};
use crate::registry::Registry;
use crate::rest_news;
use crate::server::CHANNEL;
use crate::session_news::{self, Search, SessionNews};
use crate::verify::chain;

/// How often the revision is read. One row; the whole answer for SQLite, a net for `PostgreSQL`, whose notifications are
/// lost while a connection is down.
const POLL: Duration = Duration::from_secs(1);
/// While notifications are heard, news of sessions are looked for in every so many polls only.
const SEARCH_EVERY: u32 = 10;

impl Registry {
    /// Follows the database until `shutdown`. Failures are logged when they begin and when they end, and never end this.
    pub async fn watch(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut state = Watched::default();
        let mut listener = None;
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut search = Search::begin(self.store());
        let mut polls: u32 = 0;
        loop {
            let mut is_due = false;
            tokio::select! {
                () = &mut shutdown => return,
                _ = tick.tick() => {
                    // What was told while nobody listened is looked for at once.
                    is_due = listener.is_none() || polls.is_multiple_of(SEARCH_EVERY);
                    polls = polls.wrapping_add(1);
                    if listener.is_none() {
                        listener = state.listening(self.listen().await);
                    }
                }
                heard = hear(&mut listener) => match heard {
                    Ok(told) if told.channel() == session_news::CHANNEL => {
                        self.tell_session_news(SessionNews::of_payload(told.payload()));
                        continue;
                    }
                    Ok(told) if told.channel() == rest_news::CHANNEL => {
                        // Nobody may want to know.
                        let _ = self.rest_news.send(told.payload().into());
                        continue;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        state.listening::<()>(Err(error));
                        listener = None;
                        continue;
                    }
                }
            }
            let looked = async {
                let refreshed = self.refresh_if_written().await;
                if refreshed.is_ok() && is_due {
                    self.tell_session_news(search.look(self.store()).await?);
                }
                refreshed
            };
            tokio::select! {
                () = &mut shutdown => return,
                looked = looked => state.reading(looked),
            }
        }
    }

    fn tell_session_news(&self, news: impl IntoIterator<Item = SessionNews>) {
        for news in news {
            // Nobody may want to know.
            let _ = self.session_news.send(news);
        }
    }

    /// `None` where there is nothing to listen to.
    async fn listen(&self) -> Result<Option<PgListener>, StoreError> {
        let Db::Postgres(pool) = self.store().db() else {
            return Ok(None);
        };
        let connect = async {
            let mut listener = PgListener::connect_with(pool).await?;
            // A lost connection is an error here, and the next tick makes another one: one place that knows the state.
            listener.eager_reconnect(false);
            listener
                .listen_all([CHANNEL, session_news::CHANNEL, rest_news::CHANNEL])
                .await?;
            Ok(listener)
        };
        connect.await.map(Some).map_err(StoreError::database("LISTEN"))
    }
}

/// Waits for a notification; for ever, if nobody listens.
async fn hear(listener: &mut Option<PgListener>) -> Result<PgNotification, StoreError> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    match listener.try_recv().await {
        Ok(Some(told)) => Ok(told),
        Ok(None) => Err(StoreError::database("LISTEN")(sqlx::Error::PoolClosed)),
        Err(error) => Err(StoreError::database("LISTEN")(error)),
    }
}

/// What was said last, so that an outage of an hour is two lines.
#[derive(Default)]
struct Watched {
    deaf: bool,
    blind: bool,
}

impl Watched {
    fn listening<T>(&mut self, result: Result<Option<T>, StoreError>) -> Option<T> {
        match result {
            Ok(listener) => {
                if self.deaf && listener.is_some() {
                    tracing::info!("notifications of the database are heard again");
                    self.deaf = false;
                }
                listener
            }
            Err(error) => {
                if !self.deaf {
                    tracing::warn!(
                        error = chain(&error),
                        "notifications of the database are not heard; changes are seen within a second or so"
                    );
                    self.deaf = true;
                }
                None
            }
        }
    }

    fn reading(&mut self, result: Result<(), StoreError>) {
        match result {
            Ok(()) if self.blind => {
                tracing::info!("the registry follows the database again");
                self.blind = false;
            }
            Err(error) if !self.blind => {
                tracing::warn!(
                    error = chain(&error),
                    "the registry cannot be read; the gateway goes on with what it knows, changes have to wait"
                );
                self.blind = true;
            }
            Ok(()) | Err(_) => {}
        }
    }
}
