//! Retry: how often a request is sent again, and how soon.
//!
//! Another deployment that is well is asked at once. One that failed is asked again only where somebody said how often (the request, the
//! deployment, the file), after a wait, within the request's time, and within a budget of the whole gateway: a provider that is down is not
//! asked three times as often for it.

use std::time::Duration;

use trunkline_model::{FailureKind, RouterRules};

use super::load::{Moment, Window};
use super::models::Ready;
use super::route::chance;

/// A stretch of time for which the budget is.
const STRETCH: u64 = 10_000;
/// Retries that there always are in one.
const FLOOR: u64 = 10;
/// Beside them one for so many requests.
const REQUESTS_FOR_ONE: u64 = 5;
/// The first wait, and the longest.
const WAITS: (f64, f64) = (0.5, 8.0);
/// The longest that a provider's `Retry-After` is believed.
pub(super) const LONGEST: Duration = Duration::from_mins(1);
/// Of a wait, what chance takes away at most: those who failed together do not come back together.
const JITTER: f64 = 0.25;

/// Retries that the gateway has left.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Window,
    retries: Window,
}

impl Budget {
    /// Counts a request.
    pub(super) fn count(&self, now: Moment) {
        self.requests.add(now, STRETCH, 1);
    }

    /// Takes a retry; false if there is none.
    pub(super) fn take(&self, now: Moment) -> bool {
        let most = FLOOR + self.requests.count(now, STRETCH) / REQUESTS_FOR_ONE;
        self.retries.take(now, STRETCH, (1, most))
    }
}

/// How often a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retries {
    pub(super) most: u32,
    /// Those that failed are asked again, too.
    pub(super) asks_again: bool,
    /// Somebody said that this failure is worth it, or is not.
    pub(super) by_policy: Option<bool>,
}

/// What holds, of most weight first: what the file says of such a failure, the request, the deployment that failed, the file.
pub(super) fn retries(
    rules: &RouterRules,
    (group, wanted): (&str, Option<u32>),
    failed: Option<(&Ready, FailureKind)>,
) -> Retries {
    let policy = failed.and_then(|(_, kind)| {
        let of_group = rules.group_retry_policy.get(group).and_then(|own| own.of(kind));
        of_group.or_else(|| rules.retry_policy.of(kind))
    });
    let of_deployment = failed.and_then(|(ready, _)| ready.deployment.params.num_retries);
    let said = policy.or(wanted).or(of_deployment);
    Retries {
        most: said.unwrap_or(rules.num_retries),
        asks_again: said.map_or(rules.asks_again, |most| most > 0),
        by_policy: policy.map(|most| most > 0),
    }
}

/// How long to wait before the `n`th retry, from 0, of what failed: as long as the provider wants, up to a minute; else twice as long each
/// time.
pub(super) fn pause(n: u32, wanted: Option<Duration>, least: f64) -> Duration {
    let least = Duration::try_from_secs_f64(least).unwrap_or_default();
    if let Some(wanted) = wanted.filter(|own| *own <= LONGEST) {
        return wanted.max(least);
    }
    let (first, longest) = WAITS;
    let doubled = first * f64::from(1_u32 << n.min(10));
    let seconds = doubled.min(longest) * (1.0 - JITTER * chance());
    Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_what_the_provider_wants() {
        for (n, low, high) in [(0, 375, 500), (1, 750, 1000), (4, 6000, 8000), (40, 6000, 8000)] {
            let wait = pause(n, None, 0.0).as_millis();
            assert!((low..=high).contains(&wait), "{n}: {wait}");
        }
        let seconds = |wanted, least| pause(0, Some(Duration::from_secs(wanted)), least).as_secs_f64();
        assert!((seconds(7, 0.0) - 7.0).abs() < 1e-9);
        assert!((seconds(7, 9.0) - 9.0).abs() < 1e-9);
        assert!(seconds(61, 0.0) <= 0.5, "so long is nobody believed");
    }

    #[test]
    fn retries_are_a_fifth_of_requests_and_a_few() {
        let budget = Budget::default();
        let taken = |now| (0..1000).filter(|_| budget.take(now)).count();
        assert_eq!(taken(1), 10);
        (0..100).for_each(|_| budget.count(1));
        assert_eq!(taken(1), 20);
        assert_eq!(taken(STRETCH), 10, "another stretch");
    }

    #[test]
    fn who_says_how_often() {
        let mut rules = RouterRules::default();
        let of = |rules: &RouterRules, wanted| retries(rules, ("m", wanted), None);
        assert_eq!((of(&rules, None).most, of(&rules, None).asks_again), (2, false));
        assert_eq!(
            (of(&rules, Some(1)).most, of(&rules, Some(1)).asks_again),
            (1, true)
        );
        assert_eq!(
            (of(&rules, Some(0)).most, of(&rules, Some(0)).asks_again),
            (0, false)
        );
        rules.num_retries = 4;
        rules.asks_again = true;
        assert_eq!((of(&rules, None).most, of(&rules, None).asks_again), (4, true));
    }
}
