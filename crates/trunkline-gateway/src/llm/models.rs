//! The models of the configuration, ready to be asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use trunkline_llm::price::{Listed, Priced, Prices, Rate};
use trunkline_llm::provider::PROVIDERS;
use trunkline_llm::translate::{Drops, Target as Written};
use trunkline_llm::{Endpoint, Place, Provider, Spoken, Usage};
use trunkline_model::{Deployment, RouterRules};
use trunkline_upstream::fault::{Fault, redacted};
use trunkline_upstream::http::Target;
use trunkline_upstream::provider;

use super::kept::Errand;
use super::load::{Health, Load, Moment, Most, Turn};
use super::{cloud, credentials};

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
    /// What it has to do, also under other names.
    pub(super) load: Arc<Load>,
    /// How it does.
    pub(super) health: Arc<Health>,
    /// What a thousand tokens in and out cost, to compare; what nobody knows is dearest.
    price: u64,
    /// Where a request for an endpoint goes, for a whole answer and for one in pieces.
    targets: Vec<(Endpoint, [Target; 2])>,
    /// Its address for responses, below which those are that it keeps.
    responses: Option<String>,
    headers: HeaderMap,
    /// What proves who asks for some time, where there is such a thing.
    pub(super) token: Arc<cloud::Held>,
}

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

/// What is compared to find the cheapest.
fn compared(prices: &Prices) -> u64 {
    let usage = Usage {
        input: Some(1000),
        output: Some(1000),
        ..Usage::default()
    };
    let cost = prices.cost(&usage).ok();
    cost.and_then(|cost| u64::try_from(cost.total).ok())
        .unwrap_or(u64::MAX)
}

/// Whether a provider that has an endpoint has it for a model: Bedrock counts the tokens of Anthropic's models alone, and of a
/// profile it cannot be told by its name which model it is of.
fn serves(provider: &Provider, endpoint: Endpoint, model: &str) -> bool {
    let is_bedrocks = provider.dialect == Spoken::Bedrock;
    let is_counted = model.contains("anthropic.") && !model.contains("-profile/");
    !(is_bedrocks && endpoint == Endpoint::CountTokens) || is_counted
}

impl Most {
    /// As much as anybody asks for.
    pub(super) const ANY: Self = Self {
        busy: u32::MAX,
        requests: u64::MAX,
        tokens: u64::MAX,
    };
}

/// Nothing that is above nothing is less than one.
fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive, and what is too large is as much as there is"
    )]
    let whole = number as u64;
    whole.max(1)
}

impl Ready {
    /// One, with what is known of it from before.
    pub(super) fn of(deployment: &Arc<Deployment>, before: Option<&Arc<Self>>) -> Self {
        let ready = Self::new(deployment);
        match before {
            Some(before) => Self {
                load: before.load.clone(),
                health: before.health.clone(),
                ..ready
            },
            None => ready,
        }
    }

    /// One of a name with `*` under a name that it stands for: what it has to do is counted together, and a name that its provider
    /// does not know is no failure of the others.
    pub(super) fn filled(deployment: &Arc<Deployment>, pattern: &Self) -> Self {
        Self {
            load: pattern.load.clone(),
            token: pattern.token.clone(),
            ..Self::new(deployment)
        }
    }

    /// What it may get.
    pub(super) fn most(&self, rules: &RouterRules) -> Most {
        let params = &self.deployment.params;
        Most {
            busy: params
                .max_parallel_requests
                .or(rules.max_parallel_requests)
                .unwrap_or(u32::MAX),
            requests: params.rpm.map_or(u64::MAX, whole),
            tokens: params.tpm.map_or(u64::MAX, whole),
        }
    }

    /// A turn with it; none if there is no room, or somebody else tries it.
    pub(super) fn turn(&self, now: Moment, most: &Most, is_trial: bool) -> Option<Turn> {
        Turn::take((&self.load, &self.health), now, most, is_trial)
    }

    /// Where it stands among others, by what it costs.
    pub(super) fn price(&self) -> u64 {
        self.price
    }

    /// The lowest is asked first.
    pub(super) fn order(&self) -> u32 {
        self.deployment.params.order.unwrap_or(0)
    }

    /// How long it is left alone after it failed.
    pub(super) fn rest(&self, rules: &RouterRules) -> Duration {
        let own = self.deployment.params.cooldown_time;
        let seconds = own
            .filter(|_| !rules.disable_cooldowns)
            .unwrap_or(rules.cooldown_time);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn new(deployment: &Arc<Deployment>) -> Self {
        let provider = PROVIDERS.iter().find(|own| own.prefix == deployment.provider);
        let (listed, prices) = priced(deployment);
        let mut ready = Self {
            deployment: deployment.clone(),
            provider,
            listed,
            price: compared(&prices),
            prices,
            load: Arc::default(),
            health: Arc::default(),
            told_of_no_price: AtomicBool::new(false),
            defect: deployment.defect.clone(),
            targets: Vec::new(),
            responses: None,
            headers: HeaderMap::new(),
            token: Arc::default(),
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
            if !serves(provider, endpoint, &self.deployment.model) {
                continue;
            }
            let url = |stream| {
                let place = Place {
                    api_base: &params.api_base,
                    model: &self.deployment.model,
                    api_version: params.api_version.as_deref(),
                    project: params.vertex_project.as_deref(),
                    location: params.vertex_location.as_deref(),
                    stream,
                };
                provider.url(place, own)
            };
            let target = |stream| provider::target(&url(stream)).map_err(|fault| fault.message);
            self.targets.push((endpoint, [target(false)?, target(true)?]));
            if (endpoint, own) == (Endpoint::Responses, Endpoint::Responses) {
                self.responses = Some(url(false));
            }
        }
        self.headers = credentials::headers(provider, params)?;
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

    /// What says who asks, and what the operator always sends.
    pub(super) fn proofs(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_TYPE);
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

    /// A text of its provider's without what must never be told: that may repeat what it was sent.
    pub fn redacted(&self, text: &str) -> String {
        let token = self.token.last();
        let mut secrets = self.secrets();
        secrets.extend(token.as_deref().map(String::as_str));
        redacted(text, &secrets)
    }

    /// What must never be told of it.
    fn secrets(&self) -> Vec<&str> {
        let params = &self.deployment.params;
        let aws = params.aws.iter().flat_map(|own| {
            let others = [&own.access_key_id, &own.secret_access_key];
            others.into_iter().chain(&own.session_token)
        });
        let all = params.api_key.iter();
        let all = all
            .chain(&params.azure_ad_token)
            .chain(&params.google_credentials)
            .chain(aws)
            .chain(params.extra_headers.values());
        all.map(trunkline_model::Secret::expose).collect()
    }

    /// How long an answer, or the beginning of one in pieces, may take.
    pub fn time(&self, stream: bool, rules: &RouterRules) -> Duration {
        let params = &self.deployment.params;
        let own = if stream {
            params.stream_timeout.or(params.timeout)
        } else {
            params.timeout
        };
        let general = rules.stream_timeout.filter(|_| stream).unwrap_or(rules.timeout);
        Duration::try_from_secs_f64(own.unwrap_or(general)).unwrap_or(Duration::MAX)
    }
}
