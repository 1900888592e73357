//! Fallback: which name is asked when all of another one fails.
//!
//! Those that the request names, else those that the file has for that name, else for any. A request that is longer than the model reads, and
//! one that its provider will not talk about, have lists of their own, if there are any. Names that follow may have names that follow
//! themselves; each is asked once, and all together no more than `max_fallbacks`.
//!
//! **Invariant:** a name that its caller may not use, could not pay for, or has asked as often as it may, is passed over and never asked.

use std::sync::Arc;

use axum::response::Response;
use trunkline_llm::Cause;
use trunkline_model::{Fallbacks, Targets};
use trunkline_policy::decide_model;
use trunkline_upstream::fault::printable;

use super::catalogue::{Catalogue, Group};
use super::told::Refused;
use super::{Asked, ask, has_price, may_take, tries};
use crate::limits::{Limits, ModelRequest, Reserved};
use crate::record::Pending;

/// Of any name.
const ANY: &str = "*";

/// The names that were asked, and those that may be.
struct Trail {
    /// Asked, or looked at.
    seen: Vec<String>,
    /// The next is the last.
    waiting: Vec<String>,
    asked: u32,
}

impl Trail {
    fn new(name: &str) -> Self {
        Self {
            seen: vec![name.to_owned()],
            waiting: Vec::new(),
            asked: 0,
        }
    }

    /// What follows a name that failed goes before what was waiting.
    fn follow(&mut self, names: &[String]) {
        self.waiting.extend(names.iter().rev().cloned());
    }

    /// The next name that this caller can ask.
    async fn next(&mut self, asked: &Asked<'_>, catalogue: &Catalogue) -> Option<Next> {
        let most = catalogue.rules().fallbacks.most;
        while self.asked < most {
            let name = self.waiting.pop()?;
            if self.seen.contains(&name) {
                continue;
            }
            self.seen.push(name.clone());
            let Some((group, reserved)) = may_ask(asked, catalogue, &name).await else {
                tracing::debug!(
                    request_id = asked.request_id.as_str(),
                    model = printable(&name),
                    "a fallback is passed over: there is no such model for this caller, nobody could pay for it, or it was asked as often as it may be"
                );
                continue;
            };
            self.asked += 1;
            return Some(Next {
                name,
                group,
                reserved,
            });
        }
        None
    }
}

/// Who is asked next.
struct Next {
    name: String,
    group: Arc<Group>,
    /// What was counted for that model.
    reserved: Option<Reserved>,
}

/// The group of a name, if there is one, its caller may use it, what it costs can be paid, and it is within the limits of that model: whoever
/// names what follows would get round them otherwise.
async fn may_ask(
    asked: &Asked<'_>,
    catalogue: &Catalogue,
    name: &str,
) -> Option<(Arc<Group>, Option<Reserved>)> {
    if !decide_model(&asked.principal, name).is_allow() {
        return None;
    }
    let group = catalogue.group(name)?;
    let has_price = !asked.takes() || has_price(&group, &asked.request, asked.endpoint);
    let limits_tokens = asked.takes() && Limits::counts_tokens(&asked.principal, name);
    let counted = ModelRequest {
        model: name,
        tokens: limits_tokens.then(|| may_take(&group, &asked.request, asked.endpoint)),
        has_price,
    };
    let limits = &asked.gateway.limits;
    let reserved = limits.count_next_model(&asked.principal, counted).await;
    reserved.ok().map(|reserved| (group, reserved))
}

/// What follows a name: by the name that was asked for, the one of the list, or any.
fn following<'t>(targets: &'t Targets, names: [&str; 2]) -> &'t [String] {
    let own = names.into_iter().chain([ANY]).find_map(|name| targets.get(name));
    own.map(Vec::as_slice).unwrap_or_default()
}

/// What follows after this failure.
fn after<'t>(
    rules: &'t Fallbacks,
    own: Option<&'t [String]>,
    names: [&str; 2],
    cause: Option<Cause>,
) -> &'t [String] {
    let special = match cause {
        Some(Cause::ContextWindow) => following(&rules.context_window, names),
        Some(Cause::ContentPolicy) => following(&rules.content_policy, names),
        None => &[],
    };
    match own {
        _ if !special.is_empty() => special,
        Some(own) => own,
        None => following(&rules.general, names),
    }
}

/// Asks the name that was asked for, and after it those that follow, until there is an answer or nobody is left to ask.
pub(super) async fn run(mut asked: Box<Asked<'_>>, mut pending: Pending) -> Response {
    pending.reserve(asked.reserved.take());
    let mut tries = tries::Tries::default();
    match answered(&mut asked, pending, &mut tries).await {
        Ok(answered) => ask::hand_on(asked, answered, &tries).await,
        Err(nobody) => ask::refuse(&asked, nobody.refused, nobody.pending, &tries),
    }
}

/// Nobody answers.
pub(super) struct Nobody {
    pub(super) refused: Refused,
    pub(super) pending: Pending,
}

/// The same, up to the beginning of the answer.
pub(super) async fn answered(
    asked: &mut Asked<'_>,
    mut pending: Pending,
    tries: &mut tries::Tries,
) -> Result<tries::Answered, Nobody> {
    let catalogue = asked.gateway.models.catalogue();
    let mut trail: Option<Trail> = None;
    let mut first: Option<Refused> = None;
    loop {
        let given_up = match tries::run(asked, &catalogue, pending, tries).await {
            Ok(answered) => return Ok(answered),
            Err(given_up) => given_up,
        };
        pending = given_up.pending;
        let next = if given_up.is_final || !follows(asked) {
            None
        } else {
            let rules = &catalogue.rules().fallbacks;
            // What the client names follows the name that it asks for, not what follows that.
            let own = asked.request.routing.fallbacks.as_deref();
            let own = own.filter(|_| trail.is_none());
            let trail = trail.get_or_insert_with(|| Trail::new(&asked.request.model));
            let names = [asked.request.model.as_str(), asked.group.name.as_str()];
            trail.follow(after(rules, own, names, given_up.refused.cause));
            trail.next(asked, &catalogue).await
        };
        // What went wrong with the name that was asked for is what the client is told.
        first.get_or_insert(given_up.refused);
        let Some(Next {
            name,
            group,
            reserved,
        }) = next
        else {
            break;
        };
        pending.goes_on(reserved);
        tracing::info!(
            request_id = asked.request_id.as_str(),
            model = printable(&asked.request.model),
            fallback = printable(&name),
            "a model failed: another one is asked"
        );
        tries.fallbacks += 1;
        asked.request.model = name;
        asked.group = group;
    }
    if let Some(name) = trail.and_then(|trail| trail.seen.into_iter().next()) {
        pending.model(&name);
        asked.request.model = name;
    }
    let refused = first.unwrap_or_else(|| super::told::unknown(&asked.request.model));
    Err(Nobody { refused, pending })
}

/// Whether another name may be asked: what goes on from a response is where that is.
fn follows(asked: &Asked<'_>) -> bool {
    asked.kept.is_none() && !asked.request.routing.disable_fallbacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(lists: &[(&str, &[&str])]) -> Targets {
        let names = |own: &[&str]| own.iter().map(|name| (*name).to_owned()).collect();
        lists
            .iter()
            .map(|(name, own)| ((*name).to_owned(), names(own)))
            .collect()
    }

    #[test]
    fn what_follows_is_of_the_failure_the_request_or_the_name() {
        let rules = Fallbacks {
            general: targets(&[("a", &["b", "c"]), ("*", &["d"])]),
            context_window: targets(&[("a", &["long"])]),
            ..Fallbacks::default()
        };
        let of = |name, own: Option<&[String]>, cause| after(&rules, own, [name, "list"], cause).join(",");
        assert_eq!(of("a", None, None), "b,c");
        assert_eq!(of("x", None, None), "d");
        assert_eq!(of("a", None, Some(Cause::ContextWindow)), "long");
        assert_eq!(of("a", None, Some(Cause::ContentPolicy)), "b,c");
        let own = ["mine".to_owned()];
        assert_eq!(of("a", Some(&own), None), "mine");
        assert_eq!(of("a", Some(&own), Some(Cause::ContextWindow)), "long");
        assert_eq!(of("a", Some(&[]), None), "", "the client wants none");
    }
}
