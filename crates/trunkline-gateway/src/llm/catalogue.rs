//! Catalogue: all models at one moment, by the names that clients ask for.
//!
//! A name is one of `model_list`, else an alias of `model_group_alias`, else one that a name with `*` stands for, of which the one that
//! says most counts. What a star made is kept, up to a bound: the same name is the same deployments, with what is known of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_llm::provider::{self, Named};
use trunkline_llm::wildcard;
use trunkline_model::{Deployment, DeploymentParams, KeyMap, ModelList, RouterRules};

use super::models::Ready;

/// Names that stars have made and that are kept.
const MOST_MADE: usize = 2048;

/// The deployments of a name.
#[derive(Default)]
pub struct Group {
    /// The name in `model_list`; of a star, the one with it.
    pub name: String,
    /// In the order of the list.
    pub members: Vec<Arc<Ready>>,
}

/// All models at one moment.
#[derive(Default)]
pub struct Catalogue {
    list: ModelList,
    groups: BTreeMap<String, Arc<Group>>,
    /// Those with `*`, what says most first.
    patterns: Vec<Arc<Group>>,
    made: Mutex<KeyMap<String, Arc<Group>>>,
    /// By provider: who is asked in its own API where no deployment is named, without a model.
    accounts: BTreeMap<String, Arc<Ready>>,
    /// The same with a model, by provider and model.
    of_accounts: Mutex<KeyMap<(String, String), Arc<Ready>>>,
}

impl Catalogue {
    /// Of a list. Deployments that were there before are still what they were.
    pub(super) fn new(list: ModelList, before: &Self) -> Self {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let known = before.ready();
        for deployment in &list.deployments {
            let group = groups.entry(deployment.model_name.clone()).or_default();
            group.name.clone_from(&deployment.model_name);
            let same = known.get(deployment.id.as_str());
            group.members.push(Arc::new(Ready::of(deployment, same.copied())));
        }
        let groups: BTreeMap<String, Arc<Group>> = groups
            .into_iter()
            .map(|(name, group)| (name, Arc::new(group)))
            .collect();
        let mut patterns: Vec<Arc<Group>> = groups
            .values()
            .filter(|own| wildcard::is_pattern(&own.name))
            .cloned()
            .collect();
        patterns.sort_by_key(|own| std::cmp::Reverse(wildcard::weight(&own.name)));
        let accounts = accounts(&list, before);
        Self {
            list,
            groups,
            patterns,
            made: Mutex::default(),
            accounts,
            of_accounts: Mutex::default(),
        }
    }

    /// Who is asked in a provider's own API where no deployment is named, for a model if one is known.
    pub(super) fn account(&self, provider: &str, model: Option<&str>) -> Option<Arc<Ready>> {
        let account = self.accounts.get(provider)?;
        let Some(model) = model else {
            return Some(account.clone());
        };
        let mut known = self.of_accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (provider.to_owned(), model.to_owned());
        if let Some(ready) = known.get(&name) {
            return Some(ready.clone());
        }
        if known.len() >= MOST_MADE {
            known.clear();
        }
        let deployment = Arc::new(Deployment {
            model: model.to_owned(),
            ..Deployment::clone(&account.deployment)
        });
        let ready = Arc::new(Ready::filled(&deployment, account));
        known.insert(name, ready.clone());
        Some(ready)
    }

    fn ready(&self) -> BTreeMap<&str, &Arc<Ready>> {
        let members = self.groups.values().flat_map(|group| &group.members);
        members.map(|own| (own.deployment.id.as_str(), own)).collect()
    }

    /// All names of the list, with their deployments.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Arc<Group>)> {
        self.groups.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// Other names that lists show, with the deployments of what they stand for.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, Arc<Group>)> {
        let shown = self.list.rules.aliases.iter();
        shown
            .filter(|(name, alias)| !alias.hidden && !self.groups.contains_key(*name))
            .filter_map(|(name, alias)| Some((name.as_str(), self.named(&alias.model)?)))
    }

    /// How deployments are chosen, and what is done when they fail.
    pub fn rules(&self) -> &RouterRules {
        &self.list.rules
    }

    /// The deployments of a name that a client asks for.
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        let own = self.groups.get(name).filter(|_| !wildcard::is_pattern(name));
        if let Some(group) = own {
            return Some(group.clone());
        }
        match self.list.rules.aliases.get(name) {
            Some(alias) => self.named(&alias.model),
            None => self.made(name),
        }
    }

    /// The same without aliases: an alias of an alias is none.
    fn named(&self, name: &str) -> Option<Arc<Group>> {
        let own = self.groups.get(name).filter(|_| !wildcard::is_pattern(name));
        own.cloned().or_else(|| self.made(name))
    }

    fn made(&self, name: &str) -> Option<Arc<Group>> {
        // A name with a star is none that a provider has.
        if self.patterns.is_empty() || wildcard::is_pattern(name) {
            return None;
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = made.get(name) {
            return Some(group.clone());
        }
        let group = self.patterns.iter().find_map(|own| filled(own, name))?;
        if made.len() >= MOST_MADE {
            // Whoever asks for that many is guessing.
            made.clear();
        }
        let group = Arc::new(group);
        made.insert(name.to_owned(), group.clone());
        Some(group)
    }
}

/// The first deployment of a provider that says so, else what the environment has. Only where it is and who asks is of the deployment:
/// what a model costs and how much it may get is not that of others.
fn accounts(list: &ModelList, before: &Catalogue) -> BTreeMap<String, Arc<Ready>> {
    let declared = list.deployments.iter();
    let declared = declared.filter(|own| own.params.use_in_pass_through && own.defect.is_none());
    let mut accounts = BTreeMap::new();
    for own in declared.chain(&list.accounts) {
        if accounts.contains_key(&own.provider) {
            continue;
        }
        let params = &own.params;
        let account = Arc::new(Deployment {
            id: own.id.clone(),
            model_name: String::new(),
            provider: own.provider.clone(),
            model: String::new(),
            by_name: false,
            is_stored: own.is_stored,
            params: DeploymentParams {
                api_base: params.api_base.clone(),
                api_key: params.api_key.clone(),
                azure_ad_token: params.azure_ad_token.clone(),
                api_version: params.api_version.clone(),
                aws: params.aws.clone(),
                google_credentials: params.google_credentials.clone(),
                vertex_project: params.vertex_project.clone(),
                vertex_location: params.vertex_location.clone(),
                organization: params.organization.clone(),
                extra_headers: params.extra_headers.clone(),
                timeout: params.timeout,
                stream_timeout: params.stream_timeout,
                ..DeploymentParams::default()
            },
            model_info: serde_json::Map::new(),
            defect: None,
        });
        let known = before.accounts.get(&own.provider);
        let ready = match known.filter(|known| known.deployment == account) {
            Some(same) => same.clone(),
            None => Arc::new(Ready::of(&account, known)),
        };
        accounts.insert(own.provider.clone(), ready);
    }
    accounts
}

/// The deployments of a name with `*` for one name that it stands for.
fn filled(pattern: &Group, name: &str) -> Option<Group> {
    let stars = wildcard::stars(&pattern.name, name)?;
    let of = |own: &Arc<Ready>| {
        let deployment = &own.deployment;
        let model = if deployment.by_name {
            match provider::named(name, None) {
                Named::Served(provider, model) if provider.prefix == deployment.provider => {
                    provider.model(model)
                }
                _ => return None,
            }
        } else {
            wildcard::filled(&deployment.model, &stars)
        };
        if model.is_empty() {
            return None;
        }
        let filled = Arc::new(Deployment {
            model,
            ..Deployment::clone(deployment)
        });
        Some(Arc::new(Ready::filled(&filled, own)))
    };
    let members: Vec<Arc<Ready>> = pattern.members.iter().filter_map(of).collect();
    (!members.is_empty()).then(|| Group {
        name: pattern.name.clone(),
        members,
    })
}
