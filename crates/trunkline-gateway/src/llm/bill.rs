//! Bill: what an answer took and what it came to, noted once when it ends, however it ends.
//!
//! A provider says what it took at the end. Where the end does not come (the connection broke, the client left, the time was over) the gateway
//! guesses, says that it did, and charges what the guess comes to: whoever leaves before the end would pay nothing otherwise. What has no
//! price in part is charged by what is known of it, and recorded as unknown.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use scopeguard::ScopeGuard;
use trunkline_llm::price::{Cost, NoCost};
use trunkline_llm::{Endpoint, Measure, Usage};
use trunkline_model::ModelUse;

use super::load::Turn;
use super::models::Ready;
use crate::Gateway;
use crate::record::Pending;

/// Bytes of text that are about a token.
const BYTES_OF_A_TOKEN: u64 = 4;

/// What is needed to write one.
pub(super) struct Bill {
    pub(super) gateway: Arc<Gateway>,
    pub(super) ready: Arc<Ready>,
    /// Its turn with it, until the answer ends.
    pub(super) turn: Turn,
    /// The name that the client asked for.
    pub(super) model: String,
    pub(super) endpoint: Endpoint,
    /// Bytes of the request.
    pub(super) request_bytes: u64,
    /// It asked for more than tokens pay for.
    pub(super) has_extras: bool,
    /// Its answer takes tokens.
    pub(super) takes: bool,
    /// Nobody can tell what it takes: it is recorded as unknown, and nothing is guessed.
    pub(super) is_unknown: bool,
    /// What the request asks for that is not counted in tokens.
    pub(super) asked: Measure,
}

impl Bill {
    /// Notes it. `usage` is what the answer says; `written` about how many tokens it has, should it not say that.
    pub(super) fn settle(&self, pending: &mut Pending, usage: Option<Usage>, written: u64) -> Option<Cost> {
        if !self.takes {
            // It costs nothing: what it counts nobody took, or was noted when it was taken.
            return None;
        }
        if self.is_unknown {
            self.warn("it was asked for something of which the gateway does not know what it takes");
            if usage.is_none() {
                pending.took_what_it_may();
            }
            pending.took(self.used(&usage.unwrap_or_default(), false), None, 0);
            return None;
        }
        let (usage, is_estimated) = self.whole(usage, written);
        let tokens = usage.input.unwrap_or(0).saturating_add(usage.output.unwrap_or(0));
        self.turn.took(self.gateway.models.now(), tokens);
        if !is_estimated {
            self.gateway.metrics.count_tokens(&self.model, &usage);
            if let (true, Some(written)) = (self.writes(), usage.output) {
                self.turn.wrote(written);
            }
        }
        let prices = &self.ready.prices;
        let cost = match prices.cost(&usage) {
            Ok(_) if self.has_extras => {
                self.warn("it was asked for more than tokens pay for (a search, a tool of the provider's own, an answer in the background)");
                None
            }
            Ok(cost) => Some(cost),
            Err(why) => {
                self.unpriced(why);
                None
            }
        };
        let at_least = match cost {
            Some(cost) => cost.total,
            None => prices.about(&usage).unwrap_or(0),
        };
        let took = self.used(&usage, is_estimated);
        pending.took(took, cost.map(|cost| cost.total), at_least);
        cost
    }

    /// The same of what is not counted in tokens alone. Nothing is guessed, for how much a sound is cannot be told by its bytes; what was
    /// asked for is charged at least.
    pub(super) fn settle_measured(&self, pending: &mut Pending, measure: &Measure) -> Option<Cost> {
        let usage = measure.tokens.unwrap_or_default();
        if measure.tokens.is_some() {
            self.gateway.metrics.count_tokens(&self.model, &usage);
            let tokens = usage.total().unwrap_or_default();
            self.turn.took(self.gateway.models.now(), tokens);
        } else {
            pending.took_what_it_may();
        }
        let cost = self.ready.prices.cost_of(self.endpoint, measure);
        let cost = cost.inspect_err(|why| self.unpriced(*why)).ok();
        let about = || self.ready.prices.cost_of(self.endpoint, &self.asked);
        let at_least = cost.or_else(|| about().ok()).map_or(0, |cost| cost.total);
        pending.took(self.used(&usage, false), cost.map(|cost| cost.total), at_least);
        cost
    }

    fn used(&self, usage: &Usage, is_estimated: bool) -> ModelUse {
        let own = &self.ready.deployment;
        ModelUse {
            provider: own.provider.clone(),
            model: own.model.clone(),
            api_base: own.params.api_base.clone(),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            reasoning_tokens: usage.reasoning,
            is_estimated,
        }
    }

    /// With what nobody said guessed, and whether anything is.
    fn whole(&self, usage: Option<Usage>, written: u64) -> (Usage, bool) {
        let mut usage = usage.unwrap_or_default();
        if !self.writes() {
            // Vectors are no tokens.
            usage.output = Some(usage.output.unwrap_or(0));
        }
        let is_estimated = usage.input.is_none() || usage.output.is_none();
        if is_estimated {
            usage.input = usage.input.or(Some(self.about()));
            usage.output = usage.output.or(Some(written));
        }
        (usage, is_estimated)
    }

    /// About how many tokens the request has.
    pub(super) fn about(&self) -> u64 {
        self.request_bytes.div_ceil(BYTES_OF_A_TOKEN)
    }

    /// The same of an answer without its end: Anthropic's begin by saying how much is written, which is next to nothing by then.
    pub(super) fn settle_cut(&self, pending: &mut Pending, usage: Option<Usage>, written: u64) {
        let usage = usage.map(|usage| Usage {
            output: usage.output.filter(|own| *own >= written),
            ..usage
        });
        let _ = self.settle(pending, usage, written);
    }

    /// A request that may have been done, of which nothing is known but that it was sent.
    pub(super) fn settle_sent(&self, pending: &mut Pending) {
        if self.endpoint.is_other() {
            // What is said aloud is paid by what was to be said.
            let measure = Measure {
                letters: self.asked.letters,
                ..Measure::default()
            };
            let _ = self.settle_measured(pending, &measure);
            return;
        }
        let _ = self.settle(pending, None, 0);
    }

    fn writes(&self) -> bool {
        self.endpoint != Endpoint::Embeddings
    }

    fn unpriced(&self, why: NoCost) {
        self.warn(&why.to_string());
    }

    /// Once for each deployment: it would be said of every request.
    fn warn(&self, why: &str) {
        if self.ready.told_of_no_price.swap(true, Ordering::Relaxed) {
            return;
        }
        let own = &self.ready.deployment;
        tracing::warn!(
            model = trunkline_upstream::fault::printable(&self.model),
            provider = own.provider,
            "what a request cost is not known: {why}. It is recorded as unknown, and not as nothing; give the model prices \
             (litellm_params.input_cost_per_token, output_cost_per_token, or what its kind is paid by)"
        );
    }
}

/// A request that a provider may be doing.
pub(super) type Sending = ScopeGuard<(Bill, Pending), fn((Bill, Pending))>;

/// Whoever leaves before the answer is there is charged what the guess comes to, as whoever leaves within it is: dropping this settles the
/// bill.
pub(super) fn sending(bill: Bill, pending: Pending) -> Sending {
    scopeguard::guard((bill, pending), |(bill, mut pending)| {
        bill.settle_sent(&mut pending);
    })
}

/// About how many tokens an answer of so many bytes has.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_OF_A_TOKEN)
}
