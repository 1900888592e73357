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
use super::retry::Budget;

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
    pub(super) endpoint: Endpoint,
    /// Of the request.
    pub(super) tags: &'a [String],
    /// Ids of those that were asked.
    pub(super) tried: &'a [String],
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
        match &ready.defect {
            Some(defect) => Err(NoDeployment::Unusable(defect.clone())),
            None if tried.iter().any(|own| own == id) => Err(NoDeployment::Tried),
            None => Ok(Chosen {
                turn: ready
                    .turn(self.now(), &Most::ANY, false)
                    .ok_or(NoDeployment::Full(Duration::from_secs(1)))?,
                ready: ready.clone(),
            }),
        }
    }

    /// The next deployment of a name to ask.
    pub(super) fn choose(
        &self,
        group: &Group,
        wanted: Wanted<'_>,
        rules: &RouterRules,
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
            if let Some(turn) = ready.turn(now, &ready.most(rules), is_trial) {
                return Ok(Chosen {
                    ready: Arc::clone(ready),
                    turn,
                });
            }
            // Somebody else was faster.
            if left.len() == 1 {
                return Err(NoDeployment::Full(Duration::from_secs(1)));
            }
            left.swap_remove(best);
        }
    }
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
    left.retain(|own| own.target(wanted.endpoint, false).is_some());
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
mod tests {
    use trunkline_model::{DeploymentParams, FailureKind};

    use super::*;

    fn deployment(id: &str, edit: impl FnOnce(&mut Deployment)) -> Arc<Deployment> {
        let mut deployment = Deployment {
            id: id.to_owned(),
            model_name: "m".to_owned(),
            provider: "openai".to_owned(),
            model: "x".to_owned(),
            by_name: false,
            is_stored: false,
            params: DeploymentParams {
                api_base: "https://a/v1".to_owned(),
                ..DeploymentParams::default()
            },
            model_info: serde_json::Map::new(),
            defect: None,
        };
        edit(&mut deployment);
        Arc::new(deployment)
    }

    fn models(deployments: Vec<Arc<Deployment>>) -> Models {
        with(deployments, |_| {})
    }

    fn with(deployments: Vec<Arc<Deployment>>, edit: impl FnOnce(&mut RouterRules)) -> Models {
        let mut rules = RouterRules::default();
        edit(&mut rules);
        Models::new(ModelList { deployments, rules })
    }

    fn choose(
        models: &Models,
        (endpoint, tags): (Endpoint, &[&str]),
        tried: &[&str],
    ) -> Result<Chosen, NoDeployment> {
        let texts = |own: &[&str]| own.iter().map(|own| (*own).to_owned()).collect::<Vec<_>>();
        let catalogue = models.catalogue();
        let wanted = Wanted {
            endpoint,
            tags: &texts(tags),
            tried: &texts(tried),
        };
        models.choose(&catalogue.group("m").unwrap(), wanted, catalogue.rules())
    }

    /// Its id; the turn is over at once.
    fn chosen(models: &Models, tried: &[&str]) -> Result<String, NoDeployment> {
        choose(models, (Endpoint::ChatCompletions, &[]), tried).map(|own| own.ready.deployment.id.clone())
    }

    fn fail(models: &Models, id: &str) {
        let others: Vec<String> = models
            .catalogue()
            .group("m")
            .unwrap()
            .members
            .iter()
            .map(|own| own.deployment.id.clone())
            .filter(|own| own != id)
            .collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let mut chosen = choose(models, (Endpoint::ChatCompletions, &[]), &others)
            .ok()
            .unwrap();
        let time = chosen.ready.rest(models.catalogue().rules());
        chosen
            .turn
            .failed(models.now(), time, (0, FailureKind::InternalServer));
    }

    #[test]
    fn chance_falls_into_shares() {
        let pick = |shares: &[f64], chance| pick(shares.iter().copied(), chance);
        assert_eq!(pick(&[1.0, 3.0], 0.24), 0);
        assert_eq!(pick(&[1.0, 3.0], 0.26), 1);
        assert_eq!(pick(&[0.0, 1.0, 0.0], 0.999_999), 1);
        assert_eq!(pick(&[0.0, 1.0], 0.0), 1);
        let drawn: Vec<f64> = (0..1000).map(|_| chance()).collect();
        assert!(drawn.iter().all(|own| (0.0..1.0).contains(own)));
        assert!(drawn.iter().any(|own| *own < 0.2) && drawn.iter().any(|own| *own > 0.8));
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_is_left_alone_and_an_only_one_never() {
        let two = models(vec![deployment("a", |_| {}), deployment("b", |_| {})]);
        fail(&two, "a");
        for _ in 0..50 {
            assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
        }
        assert_eq!(
            chosen(&two, &["b"]),
            Err(NoDeployment::Resting(Duration::from_secs(5)))
        );
        assert_eq!(chosen(&two, &["a", "b"]), Err(NoDeployment::Tried));
        // The file is read again: it rests all the same.
        two.set(ModelList {
            deployments: vec![
                deployment("b", |own| own.params.weight = Some(1.0)),
                deployment("a", |_| {}),
            ],
            rules: RouterRules::default(),
        });
        assert!(matches!(chosen(&two, &["b"]), Err(NoDeployment::Resting(_))));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(chosen(&two, &["b"]), Ok("a".to_owned()));
        let one = models(vec![deployment("a", |_| {})]);
        fail(&one, "a");
        assert_eq!(chosen(&one, &[]), Ok("a".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_by_one_and_the_others_go_on() {
        let two = models(vec![
            deployment("a", |own| own.params.order = Some(1)),
            deployment("b", |own| own.params.order = Some(2)),
        ]);
        fail(&two, "a");
        tokio::time::advance(Duration::from_secs(6)).await;
        let trial = choose(&two, (Endpoint::ChatCompletions, &[]), &[]).ok().unwrap();
        assert_eq!(trial.ready.deployment.id, "a");
        assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
        drop(trial);
        assert_eq!(chosen(&two, &[]), Ok("a".to_owned()));
    }

    #[tokio::test]
    async fn strategies_choose_by_what_they_say() {
        let two = |strategy| {
            let deployments = vec![
                deployment("a", |own| {
                    own.params.prices = [
                        ("input_cost_per_token", "2e-06"),
                        ("output_cost_per_token", "1e-06"),
                    ]
                    .map(|(name, price)| (name.to_owned(), price.to_owned()))
                    .into();
                }),
                deployment("b", |own| {
                    own.params.prices = [
                        ("input_cost_per_token", "1e-06"),
                        ("output_cost_per_token", "1e-06"),
                    ]
                    .map(|(name, price)| (name.to_owned(), price.to_owned()))
                    .into();
                }),
            ];
            with(deployments, |rules| rules.strategy = strategy)
        };
        let take = |models: &Models, other: &str| {
            choose(models, (Endpoint::ChatCompletions, &[]), &[other])
                .ok()
                .unwrap()
        };
        let only = |models: &Models, wanted: &str| {
            (0..30).for_each(|_| assert_eq!(chosen(models, &[]), Ok(wanted.to_owned())));
        };
        only(&two(Strategy::Cost), "b");
        let models = two(Strategy::LeastBusy);
        let busy = take(&models, "a");
        only(&models, "a");
        drop(busy);
        let models = two(Strategy::Usage);
        take(&models, "b").turn.took(models.now(), 100);
        only(&models, "b");
        let models = two(Strategy::Latency);
        let mut fast = take(&models, "b");
        fast.turn.succeeded(models.now());
        only(&models, "b");
        let mut slow = take(&models, "a");
        slow.turn.succeeded(models.now() + 50);
        only(&models, "a");
    }

    #[tokio::test]
    async fn who_has_enough_is_passed_over() {
        let two = models(vec![
            deployment("a", |own| own.params.rpm = Some(2.0)),
            deployment("b", |own| own.params.max_parallel_requests = Some(1)),
        ]);
        let all: Vec<Chosen> = (0..3)
            .map(|_| choose(&two, (Endpoint::ChatCompletions, &[]), &[]).ok().unwrap())
            .collect();
        assert_eq!(all.iter().filter(|own| own.ready.deployment.id == "a").count(), 2);
        assert!(matches!(chosen(&two, &[]), Err(NoDeployment::Full(_))));
        drop(all);
        assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
    }

    #[tokio::test]
    async fn tags_say_for_which_requests_it_is() {
        let tagged = |id: &str, tags: &[&str]| {
            let tags = tags.iter().map(|own| (*own).to_owned()).collect();
            deployment(id, |own| own.params.tags = tags)
        };
        let of = |models: &Models, tags: &[&str]| {
            choose(models, (Endpoint::ChatCompletions, tags), &[]).map(|own| own.ready.deployment.id.clone())
        };
        let all = || vec![tagged("free", &["free"]), tagged("paid", &["paid", "eu"])];
        let models = with(all(), |rules| rules.filters_tags = true);
        assert_eq!(of(&models, &["paid", "x"]), Ok("paid".to_owned()));
        assert_eq!(of(&models, &["x"]), Err(NoDeployment::OtherTags));
        let mut more = all();
        more.push(tagged("rest", &["default"]));
        let models = with(more, |rules| rules.filters_tags = true);
        assert_eq!(of(&models, &["x"]), Ok("rest".to_owned()));
        assert_eq!(of(&models, &[]), Ok("rest".to_owned()));
        let models = with(all(), |rules| {
            rules.filters_tags = true;
            rules.matches_any_tag = false;
        });
        assert_eq!(of(&models, &["paid", "x"]), Err(NoDeployment::OtherTags));
        assert_eq!(of(&models, &["paid", "eu"]), Ok("paid".to_owned()));
    }

    #[tokio::test]
    async fn names_are_of_the_list_aliases_or_stars() {
        use trunkline_model::ModelAlias;
        let named = |id: &str, name: &str, model: &str| {
            deployment(id, |own| {
                name.clone_into(&mut own.model_name);
                model.clone_into(&mut own.model);
            })
        };
        let models = with(
            vec![
                named("m", "m", "x"),
                named("all", "*", "*"),
                named("gpt", "gpt-*", "ft-*"),
            ],
            |rules| {
                let alias = ModelAlias {
                    model: "m".to_owned(),
                    hidden: true,
                };
                rules.aliases.insert("other".to_owned(), alias);
            },
        );
        let catalogue = models.catalogue();
        let of = |name: &str| {
            let group = catalogue.group(name).unwrap();
            let own = &group.members[0].deployment;
            (own.id.clone(), own.model.clone())
        };
        for (name, id, model) in [
            ("m", "m", "x"),
            ("other", "m", "x"),
            ("gpt-4", "gpt", "ft-4"),
            ("a/b", "all", "a/b"),
        ] {
            assert_eq!(of(name), (id.to_owned(), model.to_owned()), "{name}");
        }
        let same = |a: &str| catalogue.group(a).unwrap();
        assert!(Arc::ptr_eq(&same("gpt-4"), &same("gpt-4")));
        assert!(Arc::ptr_eq(
            &same("gpt-4").members[0].load,
            &same("gpt-5").members[0].load
        ));
    }

    #[tokio::test]
    async fn order_shares_defects_and_endpoints() {
        let models = models(vec![
            deployment("first", |own| own.params.order = Some(1)),
            deployment("second", |own| own.params.order = Some(2)),
            deployment("broken", |own| own.defect = Some("no key".to_owned())),
        ]);
        for _ in 0..50 {
            assert_eq!(chosen(&models, &[]), Ok("first".to_owned()));
        }
        assert_eq!(chosen(&models, &["first"]), Ok("second".to_owned()));
        models.set(ModelList {
            deployments: vec![deployment("broken", |own| own.defect = Some("no key".to_owned()))],
            rules: RouterRules::default(),
        });
        assert_eq!(
            chosen(&models, &[]),
            Err(NoDeployment::Unusable("no key".to_owned()))
        );
        assert!(models.catalogue().group("other").is_none());
        models.set(ModelList {
            deployments: vec![deployment("chat", |own| own.provider = "groq".to_owned())],
            rules: RouterRules::default(),
        });
        let refused = choose(&models, (Endpoint::Embeddings, &[]), &[]).err();
        assert_eq!(refused, Some(NoDeployment::OtherEndpoint));
    }
}
