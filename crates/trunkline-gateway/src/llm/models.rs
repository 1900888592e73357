//! The models of the configuration, ready to be asked, and which of several deployments is next.
//!
//! Requests read one catalogue from start to end; a file that was read again brings another. What is known about failures stays:
//! a deployment is the same as long as its id is.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use trunkline_llm::price::{Listed, Priced, Prices, Rate};
use trunkline_llm::provider::PROVIDERS;
use trunkline_llm::translate::{Drops, Target as Written};
use trunkline_llm::{Dialect, Endpoint, Provider, Spoken};
use trunkline_model::{Deployment, KeyMap, ModelList, RouterRules};
use trunkline_upstream::fault::Fault;
use trunkline_upstream::http::Target;
use trunkline_upstream::provider;

use super::kept::Errand;

/// The models, and how their deployments do.
#[derive(Default)]
pub struct Models {
    catalogue: ArcSwap<Catalogue>,
    /// Deployments that are left alone, and until when.
    resting: Mutex<KeyMap<String, Instant>>,
}

/// All models at one moment.
#[derive(Default)]
pub struct Catalogue {
    list: ModelList,
    groups: BTreeMap<String, Vec<Arc<Ready>>>,
}

/// A deployment, ready to be asked.
pub struct Ready {
    /// As it is declared.
    pub deployment: Arc<Deployment>,
    /// Its provider; none only with a defect.
    pub provider: Option<&'static Provider>,
    /// Why it cannot be asked.
    pub defect: Option<String>,
    /// What the table of prices knows of it.
    pub listed: Option<Listed>,
    /// What it costs.
    pub prices: Prices,
    /// Whether it was said that nobody knows that.
    pub(super) told_of_no_price: AtomicBool,
    /// Where a request for an endpoint goes, for a whole answer and for one in pieces.
    targets: Vec<(Endpoint, [Target; 2])>,
    /// Its address for responses, below which those are that it keeps.
    responses: Option<String>,
    headers: HeaderMap,
}

/// The revision of Anthropic's API that is spoken, unless the client or the operator wants another.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// How credentials of Anthropic's begin that are sent as `Authorization`, and what it has to be told for them.
const ANTHROPIC_TOKEN: (&str, HeaderValue) = ("sk-ant-oat", HeaderValue::from_static("oauth-2025-04-20"));
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// The revision of Anthropic's API.
pub(super) static VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// What of it is tried out.
pub(super) static BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// What the table says of a deployment, and what it costs: what its operator says counts more than the table.
fn priced(deployment: &Deployment) -> (Option<Listed>, Prices) {
    let info = &deployment.model_info;
    let base = info.get("base_model").and_then(serde_json::Value::as_str);
    let listed = base
        .and_then(|base| {
            let (provider, model) = base.split_once('/').unwrap_or((&deployment.provider, base));
            Listed::find(provider, model).or_else(|| Listed::find(&deployment.provider, base))
        })
        .or_else(|| Listed::find(&deployment.provider, &deployment.model));
    // What is no price was refused when the file was read.
    let read = |name: &str, text: &str| Some((Priced::parse(name)?, Rate::parse(text)?));
    let of_info = info
        .iter()
        .filter_map(|(name, value)| read(name, &value.as_number()?.to_string()));
    let of_params = deployment.params.prices.iter();
    let of_params = of_params.filter_map(|(name, text)| read(name, text));
    let known = listed.as_ref().map(|own| own.prices.clone()).unwrap_or_default();
    (listed, known.with(of_info.chain(of_params)))
}

impl Ready {
    fn new(deployment: &Arc<Deployment>) -> Self {
        let provider = PROVIDERS.iter().find(|own| own.prefix == deployment.provider);
        let (listed, prices) = priced(deployment);
        let mut ready = Self {
            deployment: deployment.clone(),
            provider,
            listed,
            prices,
            told_of_no_price: AtomicBool::new(false),
            defect: deployment.defect.clone(),
            targets: Vec::new(),
            responses: None,
            headers: HeaderMap::new(),
        };
        if ready.defect.is_none() {
            ready.defect = ready.prepare().err();
        }
        ready
    }

    fn prepare(&mut self) -> Result<(), String> {
        let provider = self.provider.ok_or("its provider is not known")?;
        let params = &self.deployment.params;
        for endpoint in Endpoint::ALL {
            let Some(own) = provider.serving(endpoint) else {
                continue;
            };
            let url = |stream| provider.url(&params.api_base, own, (&self.deployment.model, stream));
            let target = |stream| provider::target(&url(stream)).map_err(|fault| fault.message);
            self.targets.push((endpoint, [target(false)?, target(true)?]));
            if (endpoint, own) == (Endpoint::Responses, Endpoint::Responses) {
                self.responses = Some(url(false));
            }
        }
        let secret = |text: &str, what: &str| {
            let value = HeaderValue::from_str(text).map_err(|_| format!("{what} cannot be sent in a header"));
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        };
        let headers = &mut self.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (token, beta) = ANTHROPIC_TOKEN;
        let key = params.api_key.as_ref().map(trunkline_model::Secret::expose);
        let is_token = key.is_some_and(|key| key.starts_with(token));
        let is_anthropic = provider.dialect == Spoken::By(Dialect::Anthropic);
        if is_anthropic {
            headers.insert(VERSION.clone(), ANTHROPIC_VERSION);
        }
        match key {
            Some(key) if provider.dialect == Spoken::Gemini => {
                headers.insert(X_GOOG_API_KEY.clone(), secret(key, "its api_key")?);
            }
            Some(key) if is_anthropic && !is_token => {
                headers.insert(X_API_KEY.clone(), secret(key, "its api_key")?);
            }
            Some(key) => {
                headers.insert(AUTHORIZATION, secret(&format!("Bearer {key}"), "its api_key")?);
                if is_anthropic {
                    headers.insert(BETA.clone(), beta);
                }
            }
            None => {}
        }
        if let Some(organization) = &params.organization {
            let name = HeaderName::from_static("openai-organization");
            headers.insert(name, secret(organization, "its organization")?);
        }
        for (name, value) in &params.extra_headers {
            let known =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a name in extra_headers is none")?;
            headers.insert(known, secret(value.expose(), "a value of its extra_headers")?);
        }
        Ok(())
    }

    /// Where an endpoint is.
    pub fn target(&self, endpoint: Endpoint, stream: bool) -> Option<&Target> {
        let own = self.targets.iter().find(|(own, _)| *own == endpoint);
        own.map(|(_, targets)| &targets[usize::from(stream)])
    }

    /// Where a response is that it keeps; none if it keeps none.
    pub(super) fn kept(&self, errand: &Errand) -> Option<Result<Target, Fault>> {
        let url = self.responses.as_ref()?;
        Some(provider::target_below(
            url,
            &errand.segments,
            errand.query.as_deref(),
        ))
    }

    /// Whether more than tokens pay for can be had of it: what is translated leaves a provider's own tools out, or is refused.
    pub(super) fn has_extras(&self, endpoint: Endpoint) -> bool {
        endpoint != Endpoint::Responses || self.responses.is_some()
    }

    /// What is sent beside a body.
    pub fn headers(&self, stream: bool) -> HeaderMap {
        let mut headers = self.headers.clone();
        let accept = if stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(accept));
        headers
    }

    /// For whom a request is written, and what it may leave out.
    pub fn written(
        &self,
        (provider, endpoint): (&Provider, Endpoint),
        rules: &RouterRules,
    ) -> (Written<'_>, Drops) {
        let info = &self.deployment.model_info;
        let target = Written {
            dialect: provider.spoken(endpoint),
            provider: provider.prefix,
            model: &self.deployment.model,
            max_tokens: info.get("max_output_tokens").and_then(serde_json::Value::as_u64),
            asks_usage: provider.asks_usage,
        };
        let params = &self.deployment.params;
        let drops = Drops {
            all: params.drop_params.unwrap_or(rules.drop_params),
            names: params.additional_drop_params.clone(),
        };
        (target, drops)
    }

    /// Whether the operator says which revision of Anthropic's API it speaks.
    pub(super) fn has_own_version(&self) -> bool {
        let mut names = self.deployment.params.extra_headers.keys();
        names.any(|name| name.eq_ignore_ascii_case(VERSION.as_str()))
    }

    /// What must never be told of it.
    pub fn secrets(&self) -> Vec<&str> {
        let params = &self.deployment.params;
        let headers = params.extra_headers.values().map(trunkline_model::Secret::expose);
        params
            .api_key
            .iter()
            .map(trunkline_model::Secret::expose)
            .chain(headers)
            .collect()
    }

    /// How long an answer, or the beginning of one in pieces, may take.
    pub fn time(&self, stream: bool, rules: &RouterRules) -> Duration {
        let params = &self.deployment.params;
        let own = if stream {
            params.stream_timeout.or(params.timeout)
        } else {
            params.timeout
        };
        Duration::try_from_secs_f64(own.unwrap_or(rules.timeout)).unwrap_or(Duration::MAX)
    }

    fn order(&self) -> u32 {
        self.deployment.params.order.unwrap_or(0)
    }
}

impl Catalogue {
    fn new(list: ModelList) -> Self {
        let mut groups: BTreeMap<String, Vec<Arc<Ready>>> = BTreeMap::new();
        for deployment in &list.deployments {
            let group = groups.entry(deployment.model_name.clone()).or_default();
            group.push(Arc::new(Ready::new(deployment)));
        }
        Self { list, groups }
    }

    /// All names, with their deployments.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[Arc<Ready>])> {
        self.groups
            .iter()
            .map(|(name, group)| (name.as_str(), group.as_slice()))
    }

    /// How deployments are chosen.
    pub fn rules(&self) -> &RouterRules {
        &self.list.rules
    }

    /// The deployments of a name.
    pub fn group(&self, name: &str) -> Option<&[Arc<Ready>]> {
        self.groups.get(name).map(Vec::as_slice)
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
    /// All that could be asked failed a moment ago.
    Resting(Duration),
    /// All that could be asked have been.
    Tried,
    /// The one that has what is asked about is there no more.
    Gone,
}

impl Models {
    /// Of the configuration.
    pub fn new(list: ModelList) -> Self {
        let models = Self::default();
        models.set(list);
        models
    }

    /// Whether these are the models that there are.
    pub fn is(&self, list: &ModelList) -> bool {
        self.catalogue.load().list == *list
    }

    /// Other models from now on.
    pub fn set(&self, list: ModelList) {
        self.catalogue.store(Arc::new(Catalogue::new(list)));
    }

    /// The models as they are now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    fn resting(&self) -> MutexGuard<'_, KeyMap<String, Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a deployment alone for a while.
    pub fn rest(&self, ready: &Ready, time: Duration) {
        if !time.is_zero() {
            self.resting()
                .insert(ready.deployment.id.clone(), Instant::now() + time);
        }
    }

    /// The one deployment of a name that can be asked, if it was not: what is asked about is there alone, so that it is not left alone either.
    pub fn only(
        &self,
        catalogue: &Catalogue,
        (name, id): (&str, &str),
        tried: &[String],
    ) -> Result<Arc<Ready>, NoDeployment> {
        let group = catalogue.group(name).ok_or(NoDeployment::Gone)?;
        let ready = group.iter().find(|own| own.deployment.id == id);
        let ready = ready.ok_or(NoDeployment::Gone)?;
        match &ready.defect {
            Some(defect) => Err(NoDeployment::Unusable(defect.clone())),
            None if tried.iter().any(|own| own == id) => Err(NoDeployment::Tried),
            None => Ok(ready.clone()),
        }
    }

    /// The next deployment to ask: of those that can be and were not, one of the lowest order, by chance and their shares. The
    /// only one of a name is never left alone.
    pub fn choose(
        &self,
        catalogue: &Catalogue,
        (name, endpoint): (&str, Endpoint),
        tried: &[String],
    ) -> Result<Arc<Ready>, NoDeployment> {
        let group = catalogue.group(name).ok_or(NoDeployment::Unknown)?;
        let usable: Vec<&Arc<Ready>> = group.iter().filter(|own| own.defect.is_none()).collect();
        if usable.is_empty() {
            let defect = group.iter().find_map(|own| own.defect.clone());
            return Err(NoDeployment::Unusable(defect.unwrap_or_default()));
        }
        let serving: Vec<&Arc<Ready>> = usable
            .into_iter()
            .filter(|own| own.target(endpoint, false).is_some())
            .collect();
        if serving.is_empty() {
            return Err(NoDeployment::OtherEndpoint);
        }
        let left: Vec<&Arc<Ready>> = serving
            .iter()
            .copied()
            .filter(|own| !tried.contains(&own.deployment.id))
            .collect();
        if left.is_empty() {
            return Err(NoDeployment::Tried);
        }
        let awake = if serving.len() > 1 {
            self.awake(&left)?
        } else {
            left
        };
        let lowest = awake.iter().map(|own| own.order()).min().unwrap_or(0);
        let candidates: Vec<&Arc<Ready>> = awake.into_iter().filter(|own| own.order() == lowest).collect();
        let index = pick(&shares(&candidates), chance());
        candidates
            .get(index)
            .map(|own| Arc::clone(own))
            .ok_or(NoDeployment::Tried)
    }

    /// Those that are not left alone; how long until there is one, if all are.
    fn awake<'a>(&self, left: &[&'a Arc<Ready>]) -> Result<Vec<&'a Arc<Ready>>, NoDeployment> {
        let now = Instant::now();
        let mut resting = self.resting();
        resting.retain(|_, until| *until > now);
        let rests = |own: &Ready| resting.get(&own.deployment.id).copied();
        let awake: Vec<_> = left.iter().copied().filter(|own| rests(own).is_none()).collect();
        if awake.is_empty() {
            let first = left.iter().filter_map(|own| rests(own)).min().unwrap_or(now);
            return Err(NoDeployment::Resting(first.saturating_duration_since(now)));
        }
        Ok(awake)
    }
}

/// By `weight` where any has one, else by `rpm`, else by `tpm`, else all alike, as LiteLLM does.
fn shares(candidates: &[&Arc<Ready>]) -> Vec<f64> {
    let kinds: [fn(&Ready) -> Option<f64>; 3] = [
        |own| own.deployment.params.weight,
        |own| own.deployment.params.rpm,
        |own| own.deployment.params.tpm,
    ];
    let by = |kind: &fn(&Ready) -> Option<f64>| candidates.iter().any(|own| kind(own).is_some());
    match kinds.iter().find(|kind| by(kind)) {
        Some(kind) => candidates.iter().map(|own| kind(own).unwrap_or(0.0)).collect(),
        None => vec![1.0; candidates.len()],
    }
}

/// Which share a number from 0 to 1 falls into.
fn pick(shares: &[f64], chance: f64) -> usize {
    let sum: f64 = shares.iter().sum();
    let mut left = chance * sum;
    for (index, share) in shares.iter().enumerate() {
        if left < *share {
            return index;
        }
        left -= share;
    }
    // Rounding: the last that has a share.
    shares.iter().rposition(|share| *share > 0.0).unwrap_or(0)
}

/// A number from 0 to 1. Each `RandomState` has keys of its own, which is chance enough to spread load.
fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let whole = bits as f64;
    whole / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use trunkline_model::DeploymentParams;

    use super::*;

    fn deployment(id: &str, edit: impl FnOnce(&mut Deployment)) -> Arc<Deployment> {
        let mut deployment = Deployment {
            id: id.to_owned(),
            model_name: "m".to_owned(),
            provider: "openai".to_owned(),
            model: "x".to_owned(),
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
        Models::new(ModelList {
            deployments,
            rules: RouterRules::default(),
        })
    }

    const CHAT: (&str, Endpoint) = ("m", Endpoint::ChatCompletions);

    fn chosen(models: &Models, tried: &[&str]) -> Result<String, NoDeployment> {
        let tried: Vec<String> = tried.iter().map(|id| (*id).to_owned()).collect();
        let ready = models.choose(&models.catalogue(), CHAT, &tried)?;
        Ok(ready.deployment.id.clone())
    }

    #[test]
    fn chance_falls_into_shares() {
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
        let catalogue = two.catalogue();
        let first = catalogue.group("m").unwrap()[0].clone();
        two.rest(&first, Duration::from_secs(5));
        for _ in 0..50 {
            assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
        }
        assert_eq!(
            chosen(&two, &["b"]),
            Err(NoDeployment::Resting(Duration::from_secs(5)))
        );
        assert_eq!(chosen(&two, &["a", "b"]), Err(NoDeployment::Tried));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(chosen(&two, &["b"]), Ok("a".to_owned()));
        let one = models(vec![deployment("a", |_| {})]);
        one.rest(
            &one.catalogue().group("m").unwrap()[0].clone(),
            Duration::from_secs(5),
        );
        assert_eq!(chosen(&one, &[]), Ok("a".to_owned()));
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
        let catalogue = models.catalogue();
        let other = ("other", Endpoint::Embeddings);
        assert_eq!(
            models.choose(&catalogue, other, &[]).err(),
            Some(NoDeployment::Unknown)
        );
        models.set(ModelList {
            deployments: vec![deployment("chat", |own| own.provider = "groq".to_owned())],
            rules: RouterRules::default(),
        });
        let embeddings = ("m", Endpoint::Embeddings);
        let refused = models.choose(&models.catalogue(), embeddings, &[]).err();
        assert_eq!(refused, Some(NoDeployment::OtherEndpoint));
    }
}
