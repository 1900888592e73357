//! `model_list` and `router_settings`: each entry to a [`Deployment`].
//!
//! A file that LiteLLM takes may name models of providers that are not served yet. They do not stop the start: such an entry
//! is there with a defect, which a request for it is answered with.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use trunkline_llm::price::{Priced, Rate};
use trunkline_llm::provider::{self, Credential, Named, PROVIDERS, Provider};
use trunkline_llm::through::Api;
use trunkline_llm::wildcard;
use trunkline_model::key::MODEL_WORDS;
use trunkline_model::{Deployment, DeploymentParams, ModelList, SECRET_PARAMS, Secret, StoredModel};

use crate::env::{Env, REFERENCE, resolve};
use crate::error::{Report, join, shown};
use crate::fields;
use crate::known::{self, Fate};
use crate::router::{self, MAX_RETRIES};
use crate::section::{Section, suggestion};
use crate::tree::{Entry, Node, Value};
use crate::{checks, clouds};

/// Entries of a list.
const MAX_DEPLOYMENTS: usize = 10_000;
/// Requests at the same time.
const MAX_PARALLEL: u64 = 1_000_000;
/// What of `model_info` says who may use a deployment.
const RESTRICTS: [&str; 2] = ["team_id", "access_via_team_ids"];

/// Reads the sections. References are resolved in place.
pub(crate) fn read(entries: &mut [Entry], env: &dyn Env, report: &mut Report) -> ModelList {
    let rules = router::read(entries, env, report);
    let deployments = match crate::section(entries, "model_list") {
        Some(entry) => deployments(&mut entry.node, env, report),
        None => Vec::new(),
    };
    router::check(entries, (&rules, &deployments), report);
    ModelList {
        deployments,
        accounts: accounts(env),
        rules,
    }
}

/// The providers whose own APIs are relayed and that have what they need in the environment. What is wrong with a value there is said of
/// whatever deployment it is for.
fn accounts(env: &dyn Env) -> Vec<Arc<Deployment>> {
    let none = Node::of_json(&serde_json::json!({}));
    let prefixes = Api::ALL.iter().flat_map(|api| api.providers());
    let providers = prefixes.filter_map(|prefix| PROVIDERS.iter().find(|own| own.prefix == *prefix));
    let account = |provider: &Provider| {
        let mut unheard = Report::default();
        let mut section = Section::open(String::new(), none.at, &none, &mut unheard)?;
        let params = values(&mut section, (provider, ""), env);
        let is_good = unheard.first_error().is_none() && missing(provider, &params).is_none();
        is_good.then(|| {
            Arc::new(Deployment {
                id: format!("account-{}", provider.prefix),
                model_name: String::new(),
                provider: provider.prefix.to_owned(),
                model: String::new(),
                by_name: false,
                is_stored: false,
                params,
                model_info: serde_json::Map::new(),
                defect: None,
            })
        })
    };
    providers.filter_map(account).collect()
}

fn deployments(node: &mut Node, env: &dyn Env, report: &mut Report) -> Vec<Arc<Deployment>> {
    let kind = node.kind();
    let items = match &mut node.value {
        Value::List(items) => items,
        Value::Null | Value::Unset => return Vec::new(),
        _ => {
            report.error(node.at, format!("model_list must be a list, not {kind}"));
            return Vec::new();
        }
    };
    if items.len() > MAX_DEPLOYMENTS {
        report.error(
            node.at,
            format!("model_list has more than {MAX_DEPLOYMENTS} entries"),
        );
        return Vec::new();
    }
    let mut ids = HashSet::with_capacity(items.len());
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter_mut().enumerate() {
        let path = format!("model_list[{index}]");
        for mut own in deployment(item, &path, env, report) {
            // Two that say the same are two: each has its share.
            let first = own.id.clone();
            for copy in 2.. {
                if ids.insert(own.id.clone()) {
                    break;
                }
                if own.model_info.contains_key("id") && !own.by_name {
                    report.error(
                        item.at,
                        format!("{path}.model_info.id: another entry has the same id"),
                    );
                    break;
                }
                own.id = format!("{first}-{copy}");
            }
            read.push(Arc::new(own));
        }
    }
    read
}

/// One, or for the name `*` one of each provider that can be asked.
fn deployment(item: &mut Node, path: &str, env: &dyn Env, report: &mut Report) -> Vec<Deployment> {
    let Some((model_name, id, model_info)) = head(item, path, report) else {
        return Vec::new();
    };
    let Some(node) = params_node(item) else {
        return Vec::new();
    };
    let all = params(node, &join(path, "litellm_params"), &model_name, env, report);
    let made = all.into_iter().map(|own| Deployment {
        id: id.clone().unwrap_or_else(|| derived_id(&model_name, &own)),
        model_name: model_name.clone(),
        provider: own.provider,
        model: own.model,
        by_name: own.by_name,
        is_stored: false,
        params: own.params,
        model_info: model_info.clone(),
        defect: own.defect,
    });
    made.collect()
}

type Head = (String, Option<String>, serde_json::Map<String, serde_json::Value>);

/// Its name, its id if it has one of its own, and what is said of it.
fn head(item: &Node, path: &str, report: &mut Report) -> Option<Head> {
    let at = item.at;
    let mut section = Section::open(path.to_owned(), at, item, report)?;
    section.check_names(fields::DEPLOYMENT, |_| None);
    let model_name = section.text("model_name");
    if model_name.is_none()
        && section
            .node("model_name")
            .is_none_or(|node| matches!(&node.value, Value::Text(_)))
    {
        section.error("model_name", "is missing: it is the name that clients ask for");
    }
    if let Some(Err(reason)) = model_name.as_deref().map(name_of_a_model) {
        section.error("model_name", reason);
    }
    let model_info = section.object("model_info").unwrap_or_default();
    if let Some(name) = RESTRICTS
        .iter()
        .find(|name| model_info.get(**name).is_some_and(|value| !value.is_null()))
    {
        section.error(
            "model_info",
            format!(
                "{name} is not served, and it protects something: others than the team would reach the model"
            ),
        );
    }
    check_prices(&mut section, &model_info);
    let id = match model_info.get("id") {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(id)) if is_id(id) => Some(id.clone()),
        Some(_) => {
            section.error(
                "model_info",
                "id must be text of at most 128 characters without blanks",
            );
            None
        }
    };
    if section.node("litellm_params").is_none() {
        section.error(
            "litellm_params",
            "is missing: it says which model of which provider this is",
        );
        return None;
    }
    Some((model_name?, id, model_info))
}

/// The deployments of a model of the database. An error is one sentence, and repeats no value.
pub(crate) fn stored(model: &StoredModel, env: &dyn Env) -> Result<Vec<Deployment>, String> {
    if let Some(defect) = &model.defect {
        return Err(defect.clone());
    }
    let params: serde_json::Value =
        serde_json::from_str(model.params.expose()).map_err(|_| "litellm_params is no JSON".to_owned())?;
    let refers = |value: &serde_json::Value| value.to_string().contains(&format!("\"{REFERENCE}"));
    let members = params.as_object().ok_or("litellm_params must be an object")?;
    let mut others = members
        .iter()
        .filter(|(name, _)| !SECRET_PARAMS.contains(&name.as_str()));
    if others.any(|(_, value)| refers(value)) || refers(&model.model_info.clone().into()) {
        return Err(format!(
            "{REFERENCE}… may stand in credentials alone: api_key, extra_headers, azure_ad_token …"
        ));
    }
    let mut info = model.model_info.clone();
    info.insert("id".to_owned(), model.id.clone().into());
    let whole = serde_json::json!({
        "model_name": model.model_name,
        "litellm_params": params,
        "model_info": info,
    });
    let mut report = Report::default();
    let mut made = deployment(&mut Node::of_json(&whole), "", env, &mut report);
    if let Some(message) = report.first_error() {
        return Err(message.to_owned());
    }
    for (index, own) in made.iter_mut().enumerate() {
        own.is_stored = true;
        if index > 0 {
            own.id = format!("{}-{}", model.id, own.provider);
        }
        if model.blocked {
            own.defect = Some("it is blocked".to_owned());
        }
    }
    Ok(made)
}

/// A name that lists of models can have, and that stands for nothing else there.
fn name_of_a_model(name: &str) -> Result<(), &'static str> {
    if MODEL_WORDS.contains(&name) {
        return Err("is a word that lists of models have for something else");
    }
    if name.chars().count() > 512 || name.chars().any(char::is_control) {
        return Err("must have at most 512 characters, and no control characters");
    }
    if name.matches('*').count() > wildcard::MOST_STARS {
        return Err("has too many `*`");
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic())
}

fn params_node(item: &mut Node) -> Option<&mut Entry> {
    let Value::Map(entries) = &mut item.value else {
        return None;
    };
    crate::section(entries, "litellm_params")
}

/// What `litellm_params` says.
struct Own {
    provider: String,
    model: String,
    params: DeploymentParams,
    defect: Option<String>,
    /// It is for names that are its provider's.
    by_name: bool,
}

impl Own {
    /// A deployment that cannot be used, which is said once now and to whoever asks for it.
    fn unusable(provider: &str, model: &str, defect: String) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            params: DeploymentParams::default(),
            defect: Some(defect),
            by_name: false,
        }
    }
}

/// Of what it is and where, not of its key or its share: those change, and it stays the same.
fn derived_id(model_name: &str, own: &Own) -> String {
    let parts = [model_name, &own.provider, &own.model, &own.params.api_base];
    let digest = Sha256::digest(parts.join("|"));
    let mut id = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

fn params(entry: &mut Entry, path: &str, model_name: &str, env: &dyn Env, report: &mut Report) -> Vec<Own> {
    if is_any(entry) {
        return of_any(entry, path, env, report);
    }
    one(entry, path, model_name, env, report).into_iter().collect()
}

/// What every name is, of whatever provider.
const ANY: &str = "*";

/// Whether the provider is the one that the name says which is asked for.
fn is_any(entry: &Entry) -> bool {
    let text = |name| match entry.node.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    text("model") == Some(ANY) && text("custom_llm_provider").is_none()
}

/// One of each provider that has what it needs: its key from its variable.
fn of_any(entry: &mut Entry, path: &str, env: &dyn Env, report: &mut Report) -> Vec<Own> {
    let at = entry.at;
    let mut unresolved = Vec::new();
    resolve(&mut entry.node, "litellm_params", env, &mut unresolved);
    for missing in unresolved {
        report.error(
            missing.at,
            format!("{}: {}", join(path, &missing.path), missing.message),
        );
    }
    let Some(mut section) = Section::open(path.to_owned(), at, &entry.node, report) else {
        return Vec::new();
    };
    names(&mut section, entry);
    for name in ["api_base", "base_url", "api_key"] {
        if section.node(name).is_some() {
            let text = "is of one provider, and `*` is of all: say which with custom_llm_provider";
            section.error(name, text);
        }
    }
    let mut all = Vec::new();
    for (index, provider) in PROVIDERS.iter().enumerate() {
        // What is wrong with a value is said once.
        let mut unheard = Report::default();
        let heard = if index == 0 { &mut *report } else { &mut unheard };
        let Some(mut section) = Section::open(path.to_owned(), at, &entry.node, heard) else {
            continue;
        };
        let params = values(&mut section, (provider, ""), env);
        if missing(provider, &params).is_none() {
            all.push(Own {
                provider: provider.prefix.to_owned(),
                model: ANY.to_owned(),
                params,
                defect: None,
                by_name: true,
            });
        }
    }
    all
}

fn one(entry: &mut Entry, path: &str, model_name: &str, env: &dyn Env, report: &mut Report) -> Option<Own> {
    let mut unresolved = Vec::new();
    let at = entry.at;
    // The provider first: those that are not served have parameters of their own.
    let (model, custom) = {
        let mut section = Section::open(path.to_owned(), at, &entry.node, report)?;
        let model = section.text("model");
        if model.is_none() {
            section.error(
                "model",
                "is missing: write `provider/name`, for example `openai/gpt-4o`",
            );
        }
        (model?, section.text("custom_llm_provider"))
    };
    let not_used = |report: &mut Report, defect: &str| {
        report.warn(
            at,
            path,
            format!("{defect}: requests for it are answered with that, and nothing is sent."),
        );
    };
    if model.matches('*').count() > model_name.matches('*').count() {
        let defect = "its model has a `*` for which its name has none".to_owned();
        not_used(report, &defect);
        return Some(Own::unusable("", &model, defect));
    }
    let (provider, name) = match provider::named(&model, custom.as_deref()) {
        Named::Served(provider, name) => (provider, name.to_owned()),
        Named::NotServed(provider) => {
            let defect = format!("its provider {provider} is not served yet");
            not_used(report, &defect);
            return Some(Own::unusable(provider, &model, defect));
        }
        Named::Unknown => {
            let prefix = custom
                .as_deref()
                .or_else(|| model.split_once('/').map(|(prefix, _)| prefix));
            let hint = prefix.map_or_else(
                || "; write it before the name, for example `openai/…`, or `hosted_vllm/…` with an `api_base`".to_owned(),
                |prefix| suggestion(prefix, PROVIDERS.iter().map(|own| own.prefix)),
            );
            report.error(at, format!("{path}.model names no provider that is known{hint}"));
            return None;
        }
    };
    resolve(&mut entry.node, "litellm_params", env, &mut unresolved);
    let defect = unresolved
        .first()
        .map(|missing| format!("{} {}", missing.path, missing.message));
    if let Some(defect) = &defect {
        not_used(report, defect);
    }
    let mut section = Section::open(path.to_owned(), at, &entry.node, report)?;
    names(&mut section, entry);
    let params = values(&mut section, (provider, &name), env);
    let other = clouds::somebody_else(&section, provider);
    let field = other.as_ref().map_or("model", |(name, _)| *name);
    let defect = defect
        .or_else(|| other.map(|(_, why)| why))
        .or_else(|| missing(provider, &params));
    if let (true, Some(defect)) = (unresolved.is_empty(), &defect) {
        section.warn(
            field,
            format!("{defect}: requests for it are answered with that, and nothing is sent."),
        );
    }
    Some(Own {
        provider: provider.prefix.to_owned(),
        model: provider.model(&name),
        params,
        defect,
        by_name: false,
    })
}

/// What has no effect is one warning; what nobody knows is a mistake.
fn names(section: &mut Section<'_>, entry: &Entry) {
    let mut ignored = Vec::new();
    for own in entry.node.entries().unwrap_or_default() {
        match known::litellm_params(&own.key) {
            Some(Fate::Served) => {}
            Some(_) if own.node.is_off() => {}
            Some(Fate::Refused(reason)) => {
                let text = format!("is not served, and it protects something: {reason}");
                section.error(&own.key, text);
            }
            Some(Fate::Ignored(_)) => ignored.push(own.key.as_str()),
            None => {
                let hint = suggestion(&own.key, known::litellm_params_names());
                let text = format!("unknown field {} in {}{hint}", shown(&own.key), section.path);
                section.report.error(own.at, text);
            }
        }
    }
    if let Some(first) = ignored.first() {
        section.warn(
            first,
            format!(
                "LiteLLM knows these parameters; here they have no effect: {}.",
                ignored.join(", ")
            ),
        );
    }
}

fn values(section: &mut Section<'_>, (provider, name): (&Provider, &str), env: &dyn Env) -> DeploymentParams {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| env.get(name).filter(|value| !value.is_empty()))
    };
    let mut clouds = clouds::read(section, (provider, name), &first);
    let written = section.text("api_base").or_else(|| section.text("base_url"));
    let written = written.or_else(|| clouds.written_base.take());
    // The provider's own key is for the provider: an address of one's own is somebody else's, unless the provider has none.
    let is_elsewhere = match (&written, provider.api_base) {
        (Some(written), Some(own)) => written.trim_end_matches('/') != own.trim_end_matches('/'),
        _ => false,
    };
    let api_base = written
        .or_else(|| first(provider.base_variables))
        .or_else(|| provider.api_base.map(str::to_owned))
        .or_else(|| clouds.api_base.take())
        .unwrap_or_default();
    if let Err(reason) = base(&api_base) {
        section.error("api_base", reason);
    }
    let api_key = section.secret("api_key").or_else(|| {
        first(provider.key_variables)
            .filter(|_| !is_elsewhere)
            .map(Secret::new)
    });
    if let Some(Err(reason)) = api_key.as_ref().map(|key| checks::header_value(key.expose())) {
        section.error("api_key", reason);
    }
    let is_azure = matches!(provider.credential, Credential::Azure | Credential::AzureAi);
    let azure_ad_token = section.secret("azure_ad_token").or_else(|| {
        first(&["AZURE_AD_TOKEN"])
            .filter(|_| api_key.is_none())
            .map(Secret::new)
    });
    let azure_ad_token = azure_ad_token.filter(|_| is_azure);
    if let Some(Err(reason)) = azure_ad_token
        .as_ref()
        .map(|token| checks::header_value(token.expose()))
    {
        section.error("azure_ad_token", reason);
    }
    for name in ["azure_ad_token", "api_version"] {
        if !is_azure && section.node(name).is_some_and(|node| !node.is_absent()) {
            section.warn(
                name,
                format!("has no effect: {} knows nothing of it.", provider.prefix),
            );
        }
    }
    let api_version = section
        .text("api_version")
        .or_else(|| first(provider.version_variables))
        .filter(|_| is_azure);
    let organization = section.text("organization");
    if let Some(Err(reason)) = organization.as_deref().map(checks::header_value) {
        section.error("organization", reason);
    }
    let extra_headers = section.secret_map("extra_headers");
    for (name, value) in &extra_headers {
        let checked = checks::header_name(name, false).and_then(|()| checks::header_value(value.expose()));
        if let Err(reason) = checked {
            section.error("extra_headers", format!("{}: {reason}", shown(name)));
        }
    }
    let timeout = router::seconds(section, "timeout");
    let stream_timeout = router::seconds(section, "stream_timeout");
    DeploymentParams {
        api_base,
        api_key,
        azure_ad_token,
        api_version,
        aws: clouds.aws,
        google_credentials: clouds.google_credentials,
        vertex_project: clouds.vertex_project,
        vertex_location: clouds.vertex_location,
        organization,
        extra_headers,
        timeout,
        stream_timeout,
        weight: section.positive("weight"),
        rpm: section.positive("rpm"),
        tpm: section.positive("tpm"),
        max_parallel_requests: router::count(section, "max_parallel_requests", (1, MAX_PARALLEL)),
        cooldown_time: router::seconds_or_none(section, "cooldown_time"),
        num_retries: router::count(section, "num_retries", (0, MAX_RETRIES))
            .or_else(|| router::count(section, "max_retries", (0, MAX_RETRIES))),
        tags: section.texts("tags").unwrap_or_default(),
        drop_params: section.boolean("drop_params"),
        additional_drop_params: section.texts("additional_drop_params").unwrap_or_default(),
        order: section
            .integer("order", 0, 1_000_000)
            .and_then(|order| u32::try_from(order).ok()),
        use_in_pass_through: section.boolean("use_in_pass_through").unwrap_or(false),
        prices: prices(section),
    }
}

/// Prices by LiteLLM's names, as they are written.
fn prices(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let names: Vec<String> = section
        .keys()
        .filter(|name| Priced::parse(name).is_some())
        .collect();
    let mut prices = BTreeMap::new();
    for name in names {
        let Some(node) = section.node(&name).filter(|node| !node.is_absent()) else {
            continue;
        };
        let text = match &node.value {
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        if Rate::parse(&text).is_some() {
            prices.insert(name, text);
        } else {
            section.error(
                &name,
                "must be dollars: a number that is not negative, such as 0.0000025 or 2.5e-06",
            );
        }
    }
    prices
}

/// The same in `model_info`, where LiteLLM has them, too.
fn check_prices(section: &mut Section<'_>, model_info: &serde_json::Map<String, serde_json::Value>) {
    for (name, value) in model_info
        .iter()
        .filter(|(name, _)| Priced::parse(name).is_some())
    {
        let is_price = match value {
            serde_json::Value::Null => true,
            serde_json::Value::Number(number) => Rate::parse(&number.to_string()).is_some(),
            _ => false,
        };
        if !is_price {
            section.error(
                "model_info",
                format!("{name} must be dollars: a number that is not negative"),
            );
        }
    }
}

/// An address that something can be added to.
fn base(text: &str) -> Result<(), String> {
    if text.is_empty() {
        // Said as a defect.
        return Ok(());
    }
    checks::url(text)?;
    if text.contains(['?', '#']) {
        return Err("must have neither a query nor a fragment: paths are added to it".to_owned());
    }
    Ok(())
}

/// What a provider cannot do without.
fn missing(provider: &Provider, params: &DeploymentParams) -> Option<String> {
    if params.api_base.is_empty() {
        return Some(format!(
            "it has no api_base, and {} has none of its own",
            provider.prefix
        ));
    }
    if let Some(missing) = clouds::missing(provider, params).or_else(|| clouds::of_another_kind(params)) {
        return Some(missing);
    }
    // An address of one's own may be a server that wants none.
    let is_own =
        provider.api_base != Some(params.api_base.as_str()) && provider.credential != Credential::Azure;
    let has_token = params.azure_ad_token.is_some();
    if provider.needs_key && params.api_key.is_none() && !has_token && !is_own {
        let variable = provider.key_variables.first().copied().unwrap_or_default();
        return Some(format!("it has no api_key, and {variable} is not set"));
    }
    None
}
