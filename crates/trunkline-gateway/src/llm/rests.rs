//! Rests: what replicas tell each other of deployments that fail and that are back (ADR 0047).
//!
//! A failure is told by whoever saw it, and an answer after failures, too; beside requests, all of a moment in one piece of news, on the
//! database's channel. Nothing is written down, and nothing waits for it: without the database each replica finds out for itself.
//!
//! A deployment is known by the name that was asked for, its id, and the model that it is: a name with `*` has a health for each name that it stands
//! for. Who has another configuration does not know it, and passes over what is told of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use trunkline_model::ReplicaId;
use trunkline_store::MOST_NEWS;

use super::load::{Moment, TRIAL, Told};
use super::models::Ready;
use super::route::Models;
use crate::Gateway;
use crate::limits::Place;

/// What comes within this time is told at once: who fails many requests is told of a few times a second.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks for trials that take too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the database has to tell it. What is older is not worth telling.
const WITHIN: Duration = Duration::from_secs(2);
/// Deployments of which something may wait to be told.
const MOST_WAITING: usize = 1024;

/// A deployment: the name that was asked for, its id, the model.
type Which = (String, String, String);

/// A trial under way, with when it began.
type Trying = (Moment, Weak<Mutex<Option<Place>>>);

/// What is to be told.
#[derive(Default)]
pub(super) struct News {
    waiting: Mutex<HashMap<Which, Told>>,
    wake: Notify,
    /// Trials under way.
    trials: Mutex<Vec<Trying>>,
}

/// The place of the one trial that all replicas have together; free again when this is dropped, or the trial takes too long.
pub(super) struct TrialPlace(Arc<Mutex<Option<Place>>>);

impl Drop for TrialPlace {
    fn drop(&mut self) {
        release(&self.0);
    }
}

fn release(place: &Mutex<Option<Place>>) {
    let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(place);
}

impl News {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Which, Told>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trials(&self) -> MutexGuard<'_, Vec<Trying>> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A trial begins.
    pub(super) fn tried(&self, now: Moment, place: Place) -> TrialPlace {
        let place = Arc::new(Mutex::new(Some(place)));
        self.trials().push((now, Arc::downgrade(&place)));
        TrialPlace(place)
    }

    /// One that takes too long lets another one begin beside it, here or elsewhere.
    fn let_others_try(&self, now: Moment) {
        let late = |(began, place): &Trying| {
            let Some(place) = place.upgrade() else {
                return true;
            };
            let is_late = now >= began.saturating_add(TRIAL);
            if is_late {
                release(&place);
            }
            is_late
        };
        self.trials().retain(|trial| !late(trial));
    }

    /// Something happened with a deployment, asked by this name.
    pub(super) fn tell(&self, name: &str, ready: &Ready, news: Option<Told>) {
        let Some(told) = news else {
            return;
        };
        let own = &ready.deployment;
        let which = (name.to_owned(), own.id.clone(), own.model.clone());
        let mut waiting = self.waiting();
        if waiting.len() >= MOST_WAITING && !waiting.contains_key(&which) {
            return;
        }
        let before = waiting.entry(which).or_default();
        *before = before.and(told);
        drop(waiting);
        self.wake.notify_one();
    }
}

/// What is said of one.
#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    id: String,
    model: String,
    #[serde(default)]
    well: bool,
    #[serde(default)]
    failed: u32,
    #[serde(default)]
    in_a_row: u32,
    /// Milliseconds.
    #[serde(default)]
    rest: u64,
}

/// What one replica says.
#[derive(Serialize, Deserialize)]
struct Letter {
    by: String,
    news: Vec<Item>,
}

/// The letters for what is to be told, each no longer than the channel takes. What does not fit alone is left out.
fn letters(by: ReplicaId, waiting: HashMap<Which, Told>) -> Vec<String> {
    let mut letters = Vec::new();
    let mut letter = Letter {
        by: by.to_hex(),
        news: Vec::new(),
    };
    let mut size = 0;
    for ((name, id, model), told) in waiting {
        let item = Item {
            name,
            id,
            model,
            well: told.is_well,
            failed: told.failed,
            in_a_row: told.in_a_row,
            rest: told.rest,
        };
        // As long as it is written, with the rest of the letter.
        let length = serde_json::to_string(&item).map_or(MOST_NEWS, |text| text.len() + 100);
        if length >= MOST_NEWS {
            continue;
        }
        if size + length > MOST_NEWS {
            letters.extend(serde_json::to_string(&letter));
            letter.news.clear();
            size = 0;
        }
        size += length;
        letter.news.push(item);
    }
    if !letter.news.is_empty() {
        letters.extend(serde_json::to_string(&letter));
    }
    letters
}

impl Models {
    /// Another replica's letter. What cannot be read a newer version wrote.
    fn hear(&self, own: ReplicaId, letter: &str) {
        let Ok(letter) = serde_json::from_str::<Letter>(letter) else {
            return;
        };
        let Some(by) = ReplicaId::from_hex(&letter.by).filter(|by| *by != own) else {
            return;
        };
        let (catalogue, now) = (self.catalogue(), self.now());
        for item in letter.news {
            let Some(group) = catalogue.group(&item.name) else {
                continue;
            };
            let is_it =
                |own: &&Arc<Ready>| own.deployment.id == item.id && own.deployment.model == item.model;
            if let Some(ready) = group.members.iter().find(is_it) {
                let told = Told {
                    is_well: item.well,
                    failed: item.failed,
                    in_a_row: item.in_a_row,
                    rest: item.rest.min(MOST_REST),
                };
                ready.health.hear(now, by, told);
            }
        }
    }
}

/// A rest that is told is no longer than this, in milliseconds: who is told something absurd is not deaf for ever.
const MOST_REST: u64 = 3_600_000;

/// Tells the other replicas for as long as it is polled.
pub async fn tell(gateway: Arc<Gateway>) {
    let store = gateway.registry.store();
    let news = &gateway.models.news;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                news.let_others_try(gateway.models.now());
                continue;
            }
            () = news.wake.notified() => {}
        }
        tokio::time::sleep(PAUSE).await;
        let waiting = std::mem::take(&mut *news.waiting());
        if !store.is_shared() {
            continue;
        }
        for letter in letters(gateway.peers.own_id(), waiting) {
            match tokio::time::timeout(WITHIN, store.rest_tell(&letter)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the other replicas could not be told of deployments that fail");
                }
                Err(_) => {
                    tracing::debug!("the other replicas could not be told in time of deployments that fail");
                }
            }
        }
    }
}

/// Hears what they tell for as long as it is polled.
pub async fn hear(gateway: Arc<Gateway>) {
    let mut news = gateway.registry.rest_news();
    loop {
        match news.recv().await {
            Ok(letter) => gateway.models.hear(gateway.peers.own_id(), &letter),
            // What was missed is found out by asking.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_no_longer_than_the_channel_takes() {
        let by = ReplicaId([7; 16]);
        let told = Told {
            is_well: true,
            failed: u32::MAX,
            in_a_row: u32::MAX,
            rest: u64::MAX,
        };
        let long = "n".repeat(900);
        let mut waiting: HashMap<Which, Told> = (0..40)
            .map(|number| {
                (
                    (format!("{long}{number}"), number.to_string(), "\u{1}".repeat(200)),
                    told,
                )
            })
            .collect();
        waiting.insert(("x".repeat(8_000), "one".to_owned(), "m".to_owned()), told);
        let letters = letters(by, waiting);
        assert!(letters.len() > 5 && letters.iter().all(|letter| letter.len() <= MOST_NEWS));
        let read = letters
            .iter()
            .map(|letter| serde_json::from_str::<Letter>(letter).unwrap());
        let items: Vec<Item> = read.flat_map(|letter| letter.news).collect();
        assert_eq!(items.len(), 40, "but the one that fits into none");
        assert!(
            items
                .iter()
                .all(|own| own.well && own.rest == u64::MAX && own.model.len() == 200)
        );
    }

    #[test]
    fn what_happens_after_each_other_is_told_as_one() {
        let failed = |rest| Told {
            is_well: false,
            failed: 1,
            in_a_row: 1,
            rest,
        };
        let all = Told::default().and(failed(5)).and(failed(3));
        assert_eq!(
            (all.failed, all.in_a_row, all.rest, all.is_well),
            (2, 2, 5, false)
        );
        assert_eq!(all.and(Told::WELL), Told::WELL);
        let again = all.and(Told::WELL).and(failed(7));
        assert_eq!((again.failed, again.rest, again.is_well), (1, 7, true));
    }
}
