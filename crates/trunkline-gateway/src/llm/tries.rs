//! Tries: the deployments of one name, one after the other, until one answers.
//!
//! Which is next is [`super::route`]'s, how often and how soon [`super::retry`]'s, and asking one [`super::ask`]'s.

use std::sync::Arc;
use std::time::Duration;

use scopeguard::ScopeGuard;
use tokio::time::{Instant, sleep};
use trunkline_model::{RouterRules, ServerId};

use super::Asked;
use super::ask::{self, Failed, Head};
use super::bill::{self, Sending};
use super::catalogue::Catalogue;
use super::load::Turn;
use super::models::Ready;
use super::retry::{self, Retries};
use super::route::{Chosen, NoDeployment, TRIAL_ASKED, Wanted, What};
use super::told::{self, Refused};
use crate::record::Pending;

/// What a request has been through.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Sent again under a name.
    pub(super) retries: u32,
    /// How often that may be.
    pub(super) most: u32,
    /// Names that were asked beside the first.
    pub(super) fallbacks: u32,
}

/// A deployment answers.
pub(super) struct Answered {
    pub(super) sending: Sending,
    pub(super) ready: Arc<Ready>,
    pub(super) head: Head,
}

/// None does.
pub(super) struct GivenUp {
    pub(super) pending: Pending,
    pub(super) refused: Refused,
    /// It may have been done: nobody else is asked either.
    pub(super) is_final: bool,
}

/// How often a request waits for that.
pub(super) const MOST_ASKS_TO_TRY: u32 = 5;

/// One name, being asked.
struct Round<'a> {
    asked: &'a Asked<'a>,
    rules: &'a RouterRules,
    /// Ids of those that were asked since the last wait.
    tried: Vec<String>,
    /// Requests that were sent.
    sent: u32,
    waits: u32,
    /// How often it was waited for whether a deployment may be tried.
    asks_to_try: u32,
    last: Option<(Failed, Arc<Ready>)>,
}

/// Asks deployments of the name until there is an answer, or none is left.
pub(super) async fn run(
    asked: &Asked<'_>,
    catalogue: &Catalogue,
    mut pending: Pending,
    tries: &mut Tries,
) -> Result<Answered, Box<GivenUp>> {
    let models = &asked.gateway.models;
    let mut round = Round {
        asked,
        rules: catalogue.rules(),
        tried: Vec::new(),
        sent: 0,
        waits: 0,
        asks_to_try: 0,
        last: None,
    };
    tries.most = round.retries().most;
    models.retries.count(models.now());
    loop {
        let Chosen { ready, turn } = match round.choose() {
            Ok(chosen) => chosen,
            Err(why) if round.hears_soon(&why).await => continue,
            Err(why) if round.waits_for(&why).await => continue,
            Err(why) => return Err(Box::new(round.given_up(Some(&why), pending))),
        };
        pending.target(ServerId::new(&*ready.deployment.id), &asked.request.model);
        tries.retries += u32::from(round.sent > 0);
        round.sent += 1;
        // Whoever leaves in the meantime pays for what may have been done.
        let mut sending = bill::sending(ask::bill(asked, &ready, turn), pending);
        match ask::attempt(asked, catalogue, &ready).await {
            Ok(head) => {
                let news = sending.0.turn.succeeded(models.now());
                models.news.tell(&asked.request.model, &ready, news);
                return Ok(Answered { sending, ready, head });
            }
            Err(failed) => {
                let (mut bill, own) = ScopeGuard::into_inner(sending);
                pending = own;
                round.rests(&ready, &mut bill.turn, &failed);
                if failed.may_have_cost {
                    bill.settle_sent(&mut pending);
                }
                round.tried.push(ready.deployment.id.clone());
                round.last = Some((failed, ready));
                let retries = round.retries();
                tries.most = retries.most;
                if !round.may_try_again(retries) {
                    return Err(Box::new(round.given_up(None, pending)));
                }
            }
        }
    }
}

impl Round<'_> {
    fn choose(&self) -> Result<Chosen, NoDeployment> {
        let models = &self.asked.gateway.models;
        let group = &self.asked.group;
        if let Some(kept) = &self.asked.kept {
            return models.only(group, &kept.deployment, &self.tried);
        }
        let wanted = Wanted {
            what: What::Endpoint(self.asked.provider_endpoint()),
            tags: &self.asked.tags,
            tried: &self.tried,
        };
        models.choose(group, wanted, (self.rules, &self.asked.gateway.limits))
    }

    fn retries(&self) -> Retries {
        let failed = self.last.as_ref().map(|(failed, ready)| (&**ready, failed.kind));
        let name = self.asked.request.model.as_str();
        retry::retries(self.rules, (name, self.asked.retries), failed)
    }

    /// A deployment that failed is left alone, if that is the way in which it failed. One that answered, whatever it said, is not.
    fn rests(&self, ready: &Ready, turn: &mut Turn, failed: &Failed) {
        let models = &self.asked.gateway.models;
        let now = models.now();
        let news = match failed.rest {
            Some(time) => {
                let allowed = self.rules.allowed_of(failed.kind);
                Some(turn.failed(now, time, (allowed, failed.kind)))
            }
            None if failed.answered => turn.succeeded(now),
            None => None,
        };
        models.news.tell(&self.asked.request.model, ready, news);
    }

    /// Whether it is worth waiting for the answer whether this replica may try the only one that is left.
    async fn hears_soon(&mut self, why: &NoDeployment) -> bool {
        if *why != NoDeployment::Resting(TRIAL_ASKED) || self.asks_to_try >= MOST_ASKS_TO_TRY {
            return false;
        }
        self.asks_to_try += 1;
        sleep(TRIAL_ASKED).await;
        true
    }

    /// What the last failure and the rules let be tried.
    fn may_try_again(&self, retries: Retries) -> bool {
        let Some((failed, _)) = &self.last else {
            return true;
        };
        let is_worth_it = retries.by_policy.unwrap_or(failed.again);
        // What cannot be sent to one is no try: another one may have a word for it.
        let had_a_word = failed.answered || failed.rest.is_some();
        !failed.may_have_cost && is_worth_it && (self.sent <= retries.most || !had_a_word)
    }

    /// Waits until one that failed may be asked again; false if that is not worth it.
    async fn waits_for(&mut self, why: &NoDeployment) -> bool {
        let left = match why {
            NoDeployment::Tried => Duration::ZERO,
            NoDeployment::Resting(left) | NoDeployment::Full(left) => *left,
            _ => return false,
        };
        let Some((failed, ready)) = &self.last else {
            return false;
        };
        let retries = self.retries();
        let is_pointless = !failed.answered && failed.rest.is_none();
        if !retries.asks_again || self.waits >= retries.most || is_pointless || self.asked.kept.is_some() {
            return false;
        }
        let wanted = failed.refused.retry_after.map(Duration::from_secs);
        let pause = retry::pause(self.waits, wanted, self.rules.retry_after).max(left);
        let time = self
            .asked
            .time
            .unwrap_or_else(|| ready.time(self.asked.request.stream, self.rules));
        let models = &self.asked.gateway.models;
        if Instant::now() + pause >= self.asked.began + time || !models.retries.take(models.now()) {
            return false;
        }
        sleep(pause).await;
        self.waits += 1;
        self.tried.clear();
        true
    }

    /// What the last one said is worth more than that there is nobody else.
    fn given_up(self, why: Option<&NoDeployment>, pending: Pending) -> GivenUp {
        let name = &self.asked.request.model;
        let is_final = self.last.as_ref().is_some_and(|(failed, _)| failed.may_have_cost)
            || matches!(why, Some(NoDeployment::Gone));
        let last = self.last.map(|(failed, _)| failed.refused);
        let refused = match (last, why) {
            (Some(last), _) => last,
            (None, Some(why)) => told::nobody(why, name),
            (None, None) => told::unknown(name),
        };
        GivenUp {
            pending,
            refused,
            is_final,
        }
    }
}
