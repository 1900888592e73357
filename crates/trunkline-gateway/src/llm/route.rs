//! Route: which of several deployments of a name is next.
//!
//! Of those that can be asked, serve the endpoint, are for the request's tags, were not asked yet, do not rest and have room, one of the
//! lowest `order`, by the file's strategy. Requests read one catalogue from start to end; a file that was read again brings another. What
//! is known about failures stays: a deployment is the same as long as its id is.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use trunkline_llm::Endpoint;
use trunkline_model::{Deployment, ModelList, RouterRules, Strategy};

use super::catalogue::{Catalogue, Group};
use super::load::{Fit, Moment, Most, Turn};
use super::models::Ready;
use super::rests::News;
use super::retry::Budget;
use crate::limits::{Limits, Trial};

/// The tag of deployments for requests that are for no other.
const DEFAULT_TAG: &str = "default";

/// The models, and how their deployments do.
pub struct Models {
    catalogue: ArcSwap<Catalogue>,
    /// What it is made of.
    parts: Mutex<Parts>,
    began: Instant,
    /// How often requests may be sent again.
    pub(super) retries: Budget,
    /// What is to be told the other replicas.
    pub(super) news: News,
}

/// The models of the file, and those of the database.
#[derive(Default)]
struct Parts {
    file: ModelList,
    stored: Vec<Arc<Deployment>>,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            catalogue: ArcSwap::default(),
            parts: Mutex::default(),
            began: Instant::now(),
            retries: Budget::default(),
            news: News::default(),
        }
    }
}

/// Why there is no deployment to ask.
#[derive(Debug, PartialEq, Eq)]
pub enum NoDeployment {
    /// The name is none.
    Unknown,
    /// None of the name can be asked at all; why the first cannot.
    Unusable(String),
    /// Those that can be asked do not serve the endpoint.
    OtherEndpoint,
    /// Those that can be asked are for other tags.
    OtherTags,
    /// All that could be asked failed a moment ago.
    Resting(Duration),
    /// All that could be asked have as much as they may.
    Full(Duration),
    /// All that could be asked have been.
    Tried,
    /// The one that has what is asked about is there no more.
    Gone,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) what: What<'a>,
    /// Of the request.
    pub(super) tags: &'a [String],
    /// Ids of those that were asked.
    pub(super) tried: &'a [String],
}

/// What a deployment has to do.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// It serves an endpoint.
    Endpoint(Endpoint),
    /// It is one of these providers', whose own API is asked.
    OwnApi(&'a [&'a str]),
}

impl What<'_> {
    /// Whether it does.
    pub(super) fn is_done_by(self, own: &Ready) -> bool {
        match self {
            Self::Endpoint(endpoint) => own.target(endpoint, false).is_some(),
            Self::OwnApi(providers) => providers.contains(&own.deployment.provider.as_str()),
        }
    }
}

/// The one that is next, and the request's turn with it.
pub(super) struct Chosen {
    pub(super) ready: Arc<Ready>,
    pub(super) turn: Turn,
}

impl Models {
    /// Of the configuration.
    pub fn new(list: ModelList) -> Self {
        let models = Self::default();
        models.set(list);
        models
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these are the models of the file.
    pub fn is(&self, list: &ModelList) -> bool {
        self.parts().file == *list
    }

    /// Whether the file has a deployment with this id.
    pub fn is_of_file(&self, id: &str) -> bool {
        self.parts().file.deployments.iter().any(|own| own.id == id)
    }

    /// Another file from now on.
    pub fn set(&self, list: ModelList) {
        let mut parts = self.parts();
        parts.file = list;
        self.put_together(&parts);
    }

    /// Other models of the database from now on.
    pub fn set_stored(&self, deployments: Vec<Arc<Deployment>>) {
        let mut parts = self.parts();
        if parts.stored != deployments {
            parts.stored = deployments;
            self.put_together(&parts);
        }
    }

    /// What the file has counts more than what the database has under the same id.
    fn put_together(&self, parts: &Parts) {
        let mut list = parts.file.clone();
        let is_free = |own: &&Arc<Deployment>| !parts.file.deployments.iter().any(|file| file.id == own.id);
        list.deployments
            .extend(parts.stored.iter().filter(is_free).cloned());
        let catalogue = Catalogue::new(list, &self.catalogue.load());
        self.catalogue.store(Arc::new(catalogue));
    }

    /// The models as they are now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// Now.
    pub(super) fn now(&self) -> Moment {
        u64::try_from(self.began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// The one deployment that has what is asked about, if it was not asked: it is there alone, so that it is not left alone either.
    pub(super) fn only(&self, group: &Group, id: &str, tried: &[String]) -> Result<Chosen, NoDeployment> {
        let ready = group.members.iter().find(|own| own.deployment.id == id);
        let ready = ready.ok_or(NoDeployment::Gone)?;
        if ready.defect.is_none() && tried.iter().any(|own| own == id) {
            return Err(NoDeployment::Tried);
        }
        self.alone(ready)
    }

    /// One that is there alone: it is not left alone.
    pub(super) fn alone(&self, ready: &Arc<Ready>) -> Result<Chosen, NoDeployment> {
        if let Some(defect) = &ready.defect {
            return Err(NoDeployment::Unusable(defect.clone()));
        }
        let turn = ready.turn(self.now(), &Most::ANY, false);
        Ok(Chosen {
            turn: turn.ok_or(NoDeployment::Full(Duration::from_secs(1)))?,
            ready: ready.clone(),
        })
    }

    /// The next deployment of a name to ask.
    pub(super) fn choose(
        &self,
        group: &Group,
        wanted: Wanted<'_>,
        (rules, limits): (&RouterRules, &Arc<Limits>),
    ) -> Result<Chosen, NoDeployment> {
        let serving = serving(group, wanted, rules)?;
        let alone = serving.len() == 1;
        let mut left = serving;
        left.retain(|own| !wanted.tried.contains(&own.deployment.id));
        if left.is_empty() {
            return Err(NoDeployment::Tried);
        }
        loop {
            let now = self.now();
            fit(&mut left, now, alone, rules)?;
            let lowest = left.iter().map(|own| own.order()).min().unwrap_or(0);
            let best = best(&left, lowest, (now, rules.strategy));
            let Some(ready) = left.get(best) else {
                return Err(NoDeployment::Tried);
            };
            let is_trial = ready.health.fit(now, alone) == Fit::OnTrial;
            let trial = if is_trial {
                may_try(ready, limits, (now, alone))
            } else {
                Trial::May(None)
            };
            let why_not = match trial {
                Trial::May(place) => {
                    if let Some(mut turn) = ready.turn(now, &ready.most(rules), is_trial) {
                        turn.hold(place.map(|place| self.news.tried(now, place)));
                        return Ok(Chosen {
                            ready: Arc::clone(ready),
                            turn,
                        });
                    }
                    // Somebody else was faster.
                    NoDeployment::Full(Duration::from_secs(1))
                }
                Trial::Asked => NoDeployment::Resting(TRIAL_ASKED),
                Trial::NotNow => NoDeployment::Resting(Duration::from_secs(1)),
            };
            if left.len() == 1 {
                return Err(why_not);
            }
            left.swap_remove(best);
        }
    }
}

/// How long it takes until it is known whether this replica may try a deployment: worth waiting for, where there is no other.
pub(super) const TRIAL_ASKED: Duration = Duration::from_millis(20);

/// Whether this replica may try it: of all of them, one does. Whoever found that it fails leaves it to the others, where there is another
/// deployment to ask in the meantime: it may be its own network.
fn may_try(ready: &Ready, limits: &Arc<Limits>, (now, alone): (Moment, bool)) -> Trial {
    let yields = !alone && ready.health.yields(now);
    limits.trial(&ready.deployment.id, &ready.deployment.model, yields)
}

/// Those that can be asked at all for this.
fn serving<'g>(
    group: &'g Group,
    wanted: Wanted<'_>,
    rules: &RouterRules,
) -> Result<Vec<&'g Arc<Ready>>, NoDeployment> {
    let mut left: Vec<&Arc<Ready>> = group.members.iter().filter(|own| own.defect.is_none()).collect();
    if left.is_empty() {
        let defect = group.members.iter().find_map(|own| own.defect.clone());
        return Err(NoDeployment::Unusable(defect.unwrap_or_default()));
    }
    left.retain(|own| wanted.what.is_done_by(own));
    if left.is_empty() {
        return Err(NoDeployment::OtherEndpoint);
    }
    if rules.filters_tags {
        tagged(&mut left, wanted.tags, rules.matches_any_tag);
        if left.is_empty() {
            return Err(NoDeployment::OtherTags);
        }
    }
    Ok(left)
}

/// Those that are for these tags, as in LiteLLM: with a tag in common; else those for whatever is left; without tags those for whatever is
/// left, if there are any.
fn tagged(left: &mut Vec<&Arc<Ready>>, tags: &[String], any: bool) {
    let has = |own: &Ready, tag: &str| own.deployment.params.tags.iter().any(|own| own == tag);
    let is_for = |own: &Ready| {
        if any {
            tags.iter().any(|tag| has(own, tag))
        } else {
            tags.iter().all(|tag| has(own, tag))
        }
    };
    let is_default = |own: &Ready| has(own, DEFAULT_TAG);
    if tags.is_empty() {
        if left.iter().any(|own| is_default(own)) {
            left.retain(|own| is_default(own));
        }
    } else if left.iter().any(|own| is_for(own)) {
        left.retain(|own| is_for(own));
    } else {
        left.retain(|own| is_default(own));
    }
}

/// Keeps those that do not rest and have room; says how long until there is one, if none is left.
fn fit(
    left: &mut Vec<&Arc<Ready>>,
    now: Moment,
    alone: bool,
    rules: &RouterRules,
) -> Result<(), NoDeployment> {
    let mut resting: Option<Duration> = None;
    let mut full: Option<Duration> = None;
    let sooner = |own: &mut Option<Duration>, time: Duration| {
        *own = Some(own.map_or(time, |own| own.min(time)));
    };
    left.retain(|own| match own.health.fit(now, alone) {
        Fit::Resting(time) => {
            sooner(&mut resting, time);
            false
        }
        Fit::Well | Fit::OnTrial => match own.load.has_room(now, &own.most(rules)) {
            Ok(()) => true,
            Err(time) => {
                sooner(&mut full, time);
                false
            }
        },
    });
    if !left.is_empty() {
        return Ok(());
    }
    // What waits for the shorter time is worth waiting for.
    Err(match (resting, full) {
        (Some(resting), Some(full)) if full < resting => NoDeployment::Full(full),
        (Some(resting), _) => NoDeployment::Resting(resting),
        (None, full) => NoDeployment::Full(full.unwrap_or_default()),
    })
}

/// The place of the one to ask, of those of the lowest order.
fn best(left: &[&Arc<Ready>], lowest: u32, (now, strategy): (Moment, Strategy)) -> usize {
    let is_low = |own: &Ready| own.order() == lowest;
    let key = |own: &Ready| match strategy {
        Strategy::Shuffle => 0,
        Strategy::LeastBusy => u64::from(own.load.busy()),
        // Who was never asked comes first: nobody knows how fast it is.
        Strategy::Latency => own.health.latency(now).unwrap_or(0),
        Strategy::Usage => own.load.tokens(now),
        Strategy::Cost => own.price(),
    };
    let least = left
        .iter()
        .filter(|own| is_low(own))
        .map(|own| key(own))
        .min()
        .unwrap_or(0);
    let is_candidate = |own: &Ready| is_low(own) && key(own) == least;
    let kind = share_of(left, is_candidate);
    let share = |own: &Arc<Ready>| {
        if !is_candidate(own) {
            return 0.0;
        }
        match (kind, strategy) {
            (Some(kind), Strategy::Shuffle) => kind(own).unwrap_or(0.0),
            _ => 1.0,
        }
    };
    pick(left.iter().map(|own| share(own)), chance())
}

type Share = fn(&Ready) -> Option<f64>;

/// By `weight` where any has one, else by `rpm`, else by `tpm`, else all alike, as LiteLLM does.
fn share_of(left: &[&Arc<Ready>], is_candidate: impl Fn(&Ready) -> bool) -> Option<Share> {
    let kinds: [Share; 3] = [
        |own| own.deployment.params.weight,
        |own| own.deployment.params.rpm,
        |own| own.deployment.params.tpm,
    ];
    kinds
        .into_iter()
        .find(|kind| left.iter().any(|own| is_candidate(own) && kind(own).is_some()))
}

/// Which share a number from 0 to 1 falls into.
fn pick(shares: impl Iterator<Item = f64> + Clone, chance: f64) -> usize {
    let sum: f64 = shares.clone().sum();
    let mut left = chance * sum;
    // Rounding: the last that has a share.
    let mut last = 0;
    for (index, share) in shares.enumerate() {
        if left < share {
            return index;
        }
        if share > 0.0 {
            last = index;
        }
        left -= share;
    }
    last
}

/// A number from 0 to 1. Each `RandomState` has keys of its own, which is chance enough to spread load.
pub(super) fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let whole = bits as f64;
    whole / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests;
