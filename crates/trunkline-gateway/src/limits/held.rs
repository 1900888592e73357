//! Whose limits hold for a call: the key's, its team's, its user's, the organisation's and the end user's; each with its own and,
//! where it has one, its budget's, of which the lesser counts.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use trunkline_model::spending;
use trunkline_model::{Amount, Budget, CallLimits, KeyHash, Level, Principal, Server, ServerId, Spending};
use trunkline_store::{MOST_IN_A_MINUTE, Store};

use super::exceeded::{About, Exceeded, Limit, Max, Source};

/// When to ask again if a budget is used up: only an administrator can change it.
const RETRY_BUDGET: Duration = Duration::from_hours(1);

/// Bytes of a name in the database.
const MAX_NAME: usize = 512;

/// Whose calls are counted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// A key's.
    Key(KeyHash),
    /// All of a team's, a user's …
    Level(Level, Box<str>),
    /// A key's, a team's of one server.
    Of(Box<Counted>, ServerId),
    /// A key's, a team's of one model.
    OfModel(Box<Counted>, Box<str>),
    /// The tokens of those, not their number.
    Tokens(Box<Counted>),
    /// Everybody's of one server.
    Server(ServerId),
    /// Of a deployment that rested: whether it is back.
    Trial(Box<str>, Box<str>),
}

impl Counted {
    /// The same for every process: JSON, so that no two have one name whatever people call them. A long one is its digest: no index
    /// takes what is too long, and the others are asked for with it.
    pub(super) fn name(&self) -> String {
        let name = Value::from(self.words()).to_string();
        if name.len() <= MAX_NAME {
            return name;
        }
        let digest = Sha256::digest(name.as_bytes());
        digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whether these are of one model alone.
    pub(super) fn is_of_a_model(&self) -> bool {
        match self {
            Self::OfModel(..) => true,
            Self::Tokens(whom) => whom.is_of_a_model(),
            Self::Key(_) | Self::Level(..) | Self::Of(..) | Self::Server(_) | Self::Trial(..) => false,
        }
    }

    fn words(&self) -> Vec<String> {
        match self {
            Self::Key(hash) => vec![Level::Key.as_str().to_owned(), hash.to_hex()],
            Self::Level(level, id) => vec![level.as_str().to_owned(), id.to_string()],
            Self::Of(whom, server) => {
                let mut words = whom.words();
                words.push(server.as_str().to_owned());
                words
            }
            Self::OfModel(whom, model) => {
                let mut words = vec!["model".to_owned(), model.to_string()];
                words.extend(whom.words());
                words
            }
            Self::Tokens(whom) => {
                let mut words = vec!["tokens".to_owned()];
                words.extend(whom.words());
                words
            }
            Self::Trial(deployment, model) => {
                vec!["trial".to_owned(), deployment.to_string(), model.to_string()]
            }
            Self::Server(server) => vec![Level::Server.as_str().to_owned(), server.as_str().to_owned()],
        }
    }
}

/// A limit that holds for a call.
pub(super) struct Due {
    pub(super) counted: Counted,
    pub(super) limit: Limit,
    pub(super) max: u64,
    /// How much of it the call takes: one, or tokens.
    pub(super) amount: u64,
    /// When the minute began in which it was spent, of tokens.
    pub(super) spent_in: Option<Instant>,
    /// The call is one of those who wait for a share, counted after so many were asked for.
    pub(super) waits_since: Option<u64>,
}

/// How often shares were asked for. A request takes with it all who were counted before; who is counted while one is under way is of the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    asked: u64,
    ended: u64,
}

impl Rounds {
    /// All who were counted are asked for.
    pub(super) fn ask(&mut self) {
        self.asked += 1;
    }

    /// That came to an end, whatever came of it: who still waits is to be counted again.
    pub(super) fn end(&mut self) {
        self.ended = self.asked;
    }

    /// Whether a call is to be counted among those who wait: it was not, or what was asked for it came to an end.
    pub(super) fn counts(self, waits_since: &mut Option<u64>) -> bool {
        let is_asked_for = |since: u64| (self.ended..=self.asked).contains(&since);
        if waits_since.is_some_and(is_asked_for) {
            return false;
        }
        *waits_since = Some(self.asked);
        true
    }

    /// A call waits no more. Whether it is among those who will be asked for: nothing is to be taken for it.
    pub(super) fn leaves(self, waits_since: &mut Option<u64>) -> bool {
        waits_since.take() == Some(self.asked)
    }
}

impl Due {
    /// One call.
    fn call(counted: Counted, limit: Limit, max: u32) -> Self {
        Self {
            counted,
            limit,
            max: max.into(),
            amount: 1,
            spent_in: None,
            waits_since: None,
        }
    }

    /// The one trial of a deployment, of whatever model of it.
    pub(super) fn trial(deployment: &str, model: &str) -> Self {
        let counted = Counted::Trial(deployment.into(), model.into());
        // Nobody is told of it: who cannot try goes elsewhere.
        Self::call(counted, Limit::Parallel(Level::Server, Source::Own), 1)
    }

    /// So many tokens. Whoever may take more than the limit has to wait until nothing of it is used: it would never be let through
    /// otherwise.
    fn tokens(counted: Counted, limit: Limit, (max, tokens): (u64, u64)) -> Self {
        let max = max.min(MOST_IN_A_MINUTE);
        Self {
            counted: Counted::Tokens(Box::new(counted)),
            limit,
            max,
            amount: tokens.clamp(1, max.max(1)),
            spent_in: None,
            waits_since: None,
        }
    }
}

/// A request to a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelRequest<'r> {
    /// The name that the client asks for.
    pub(crate) model: &'r str,
    /// How many tokens it may take, as far as anybody can tell; none if it takes none at all.
    pub(crate) tokens: Option<u64>,
    /// Whether it is known what it will cost.
    pub(crate) has_price: bool,
}

/// One of those whose call it is.
struct Held<'p> {
    level: Level,
    who: Who<'p>,
    own: Option<&'p CallLimits>,
    spending: Option<&'p Spending>,
    budget: Option<&'p Budget>,
}

#[derive(Clone, Copy)]
enum Who<'p> {
    Key(KeyHash),
    Named(&'p str),
}

impl Held<'_> {
    /// Made only for who has limits: it is an allocation for most.
    fn counted(&self) -> Counted {
        match self.who {
            Who::Key(hash) => Counted::Key(hash),
            Who::Named(id) => Counted::Level(self.level, id.into()),
        }
    }

    /// The lesser of its own limit and its budget's.
    fn least<N: PartialOrd>(
        &self,
        own: impl Fn(&CallLimits) -> Option<N>,
        budgets: impl Fn(&Budget) -> Option<N>,
    ) -> Option<(N, Source)> {
        let own = self.own.and_then(own).map(|max| (max, Source::Own));
        let budgets = self.budget.and_then(budgets).map(|max| (max, Source::Budget));
        match (own, budgets) {
            (Some(own), Some(budgets)) => Some(if budgets.0 < own.0 { budgets } else { own }),
            (own, budgets) => own.or(budgets),
        }
    }

    fn rpm(&self) -> Option<Due> {
        let (max, source) = self.least(|own| own.rpm_limit, |budget| budget.rpm_limit)?;
        Some(Due::call(self.counted(), Limit::Rpm(self.level, source), max))
    }

    fn rpm_of(&self, server: &Server) -> Option<Due> {
        let max = self.own?.rpm_of(server)?;
        let counted = Counted::Of(Box::new(self.counted()), server.id.clone());
        Some(Due::call(counted, Limit::ServerRpmOf(self.level), max))
    }

    fn tpm(&self, request: ModelRequest<'_>) -> Option<Due> {
        let (max, source) = self.least(|own| own.tpm_limit, |budget| budget.tpm_limit)?;
        let limit = Limit::Tpm(self.level, source);
        Some(Due::tokens(self.counted(), limit, (max, request.tokens?)))
    }

    fn of_model(&self, model: &str) -> Counted {
        Counted::OfModel(Box::new(self.counted()), model.into())
    }

    fn rpm_of_model(&self, request: ModelRequest<'_>) -> Option<Due> {
        let max = *self.own?.model_rpm_limit.get(request.model)?;
        let counted = self.of_model(request.model);
        Some(Due::call(counted, Limit::ModelRpm(self.level), max))
    }

    fn tpm_of_model(&self, request: ModelRequest<'_>) -> Option<Due> {
        let max = *self.own?.model_tpm_limit.get(request.model)?;
        let counted = self.of_model(request.model);
        let limit = Limit::ModelTpm(self.level);
        Some(Due::tokens(counted, limit, (max, request.tokens?)))
    }

    fn parallel(&self) -> Option<Due> {
        let (max, source) = self.least(
            |own| own.max_parallel_requests,
            |budget| budget.max_parallel_requests,
        )?;
        let limit = Limit::Parallel(self.level, source);
        Some(Due::call(self.counted(), limit, max))
    }
}

/// Those whose call it is and who may have limits. The master key has none of its own.
fn held(principal: &Principal) -> impl Iterator<Item = Held<'_>> {
    let of_key = principal.holder().into_iter().flat_map(|holder| {
        let key = Held {
            level: Level::Key,
            who: Who::Key(holder.key.hash),
            own: Some(&holder.key.limits),
            spending: Some(&holder.key.spending),
            budget: holder.budget.as_deref(),
        };
        let team = holder.team.as_deref().map(|team| Held {
            level: Level::Team,
            who: Who::Named(&team.team_id),
            own: Some(&team.limits),
            spending: Some(&team.spending),
            budget: None,
        });
        let user = holder.user.as_deref().map(|user| Held {
            level: Level::User,
            who: Who::Named(&user.user_id),
            own: Some(&user.limits),
            spending: Some(&user.spending),
            budget: None,
        });
        let organization = holder.organization.as_deref().map(|organization| Held {
            level: Level::Organization,
            who: Who::Named(&organization.organization_id),
            own: None,
            spending: None,
            budget: holder.organization_budget.as_deref(),
        });
        [Some(key), team, user, organization].into_iter().flatten()
    });
    let end_user = principal.end_user().map(|end_user| Held {
        level: Level::EndUser,
        who: Who::Named(&end_user.id),
        own: None,
        spending: None,
        budget: end_user.budget.as_deref(),
    });
    of_key.chain(end_user)
}

/// The limits of a minute that hold for a call, of a server if that is known.
pub(super) fn in_a_minute<'c>(
    principal: &'c Principal,
    server: Option<&'c Server>,
) -> impl Iterator<Item = Due> + 'c {
    let of_whom = held(principal).flat_map(move |own| {
        let of_server = server.and_then(|server| own.rpm_of(server));
        [own.rpm(), of_server].into_iter().flatten()
    });
    let everybodys = server.and_then(|server| {
        let counted = Counted::Server(server.id.clone());
        Some(Due::call(counted, Limit::ServerRpm, server.definition.rpm?))
    });
    of_whom.chain(everybodys)
}

/// Whether there is a limit of tokens among them.
pub(super) fn limits_tokens(principal: &Principal, model: &str) -> bool {
    held(principal).any(|own| {
        let of_model = own.own.is_some_and(|own| own.model_tpm_limit.contains_key(model));
        of_model
            || own
                .least(|own| own.tpm_limit, |budget| budget.tpm_limit)
                .is_some()
    })
}

/// The limits of a minute that hold for a request to a model: of all calls, of tokens, and of both for the model.
pub(super) fn of_a_request<'c>(
    principal: &'c Principal,
    request: ModelRequest<'c>,
) -> impl Iterator<Item = Due> + 'c {
    held(principal).flat_map(move |own| {
        [
            own.rpm(),
            own.rpm_of_model(request),
            own.tpm(request),
            own.tpm_of_model(request),
        ]
        .into_iter()
        .flatten()
    })
}

/// Those of them that are of the model alone: for a request that goes on to another one, and is counted with the rest already.
pub(super) fn of_its_model<'c>(
    principal: &'c Principal,
    request: ModelRequest<'c>,
) -> impl Iterator<Item = Due> + 'c {
    held(principal).flat_map(move |own| {
        [own.rpm_of_model(request), own.tpm_of_model(request)]
            .into_iter()
            .flatten()
    })
}

/// The limits of calls at the same time.
pub(super) fn at_the_same_time(principal: &Principal) -> impl Iterator<Item = Due> {
    held(principal).filter_map(|own| own.parallel())
}

/// Whether a call may be paid: of what may be spent there has to be something left, and it has to be known what the call costs, should
/// it cost anything. Where what is spent is not known, only what costs nothing may be called.
pub(super) fn may_pay(
    principal: &Principal,
    server: Option<&Server>,
    store: Option<&Store>,
) -> Result<(), Exceeded> {
    let is_known = server.is_none_or(|server| match store {
        Some(_) => server.has_known_prices(),
        None => !has_price(server),
    });
    for own in held(principal) {
        own.has_some_left(store)?;
        if let (Some(max), false) = (own.max_budget(), is_known) {
            return Err(own.exceeded(Max::Dollars(max), server));
        }
    }
    Ok(())
}

/// The same of models, which always cost something.
pub(super) fn may_pay_models(
    principal: &Principal,
    (model, has_price): (&str, bool),
    store: Option<&Store>,
) -> Result<(), Exceeded> {
    let is_known = has_price && store.is_some();
    for own in held(principal) {
        own.has_some_left(store)?;
        own.has_some_left_for(model, is_known, store)?;
        if let (Some(max), false) = (own.max_budget(), is_known) {
            return Err(own.exceeded(Max::Dollars(max), None));
        }
        // What limits tokens of a day cannot be kept.
        if own.budget.is_some_and(|budget| budget.tpd_limit.is_some()) {
            return Err(own.exceeded(Max::NotCounted, None));
        }
    }
    Ok(())
}

/// The same of a request of which nobody can say the model: it may be any of those for which there is a budget.
pub(super) fn may_pay_any_model(principal: &Principal) -> Result<(), Exceeded> {
    match held(principal).find(Held::limits_money_of_models) {
        None => Ok(()),
        Some(own) => Err(Exceeded {
            limit: Limit::ModelBudget(own.level),
            ..own.exceeded(Max::OfSomeModel, None)
        }),
    }
}

impl Held<'_> {
    fn limits_money_of_models(&self) -> bool {
        let own = self.spending.is_some_and(Spending::is_of_models);
        own || self.budget.is_some_and(|own| !own.model_max_budget.is_empty())
    }

    /// The lesser of its own and its budget's.
    fn max_budget(&self) -> Option<Amount> {
        let own = self.spending.and_then(|own| own.max_budget);
        let budgets = self.budget.and_then(|budget| budget.max_budget);
        own.into_iter().chain(budgets).min()
    }

    /// Whether something is left of what may be spent; of nothing, nothing is, as with LiteLLM.
    fn has_some_left(&self, store: Option<&Store>) -> Result<(), Exceeded> {
        let Some(max) = self.max_budget() else {
            return Ok(());
        };
        let spent = store.map_or(0, |store| {
            store
                .spent(self.level, &self.id(), self.spending, self.budget)
                .now
        });
        match is_spent(spent, max) {
            None => Ok(()),
            Some(spent) => Err(self.exceeded(spent, None)),
        }
    }

    /// The same of what may be spent on one model. `is_known`: what it costs.
    fn has_some_left_for(&self, model: &str, is_known: bool, store: Option<&Store>) -> Result<(), Exceeded> {
        let limit = spending::model_budget(self.spending, self.budget, model);
        let refused = match limit {
            Ok(None) => None,
            // What cannot be read may be a limit.
            Err(spending::Unreadable) => Some(Max::NotCounted),
            Ok(Some(limit)) if !is_known => Some(Max::Dollars(limit.max)),
            Ok(Some(limit)) => {
                let spent = store.map_or(0, |store| store.spent_on(self.level, &self.id(), model, &limit));
                is_spent(spent, limit.max)
            }
        };
        let Some(max) = refused else {
            return Ok(());
        };
        Err(Exceeded {
            limit: Limit::ModelBudget(self.level),
            about: Some(About::Model(model.to_owned())),
            ..self.exceeded(max, None)
        })
    }

    fn id(&self) -> Cow<'_, str> {
        match self.who {
            Who::Key(hash) => hash.to_hex().into(),
            Who::Named(id) => id.into(),
        }
    }

    fn exceeded(&self, max: Max, server: Option<&Server>) -> Exceeded {
        Exceeded {
            limit: Limit::Budget(self.level),
            max,
            about: server.map(|server| About::Server(server.prefix())),
            retry_after: RETRY_BUDGET,
        }
    }
}

/// Nothing is left of it.
fn is_spent(spent: i64, max: Amount) -> Option<Max> {
    (spent >= max.billionths()).then(|| {
        let spent = Amount::from_billionths(spent).unwrap_or(Amount::ZERO);
        Max::Spent { spent, max }
    })
}

/// Whether calls of a server cost something: LiteLLM's `mcp_info.mcp_server_cost_info`. What cannot be read may be a price.
fn has_price(server: &Server) -> bool {
    let info = server.definition.mcp_info.as_ref();
    let costs = info.and_then(|info| info.get("mcp_server_cost_info"));
    costs.is_some_and(|costs| !is_free(costs))
}

fn is_free(cost: &Value) -> bool {
    let all = |members: &Map<String, Value>| members.values().all(is_free);
    match cost {
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Object(members) => all(members),
        Value::Bool(_) | Value::String(_) | Value::Array(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use trunkline_model::{EndUser, Holder, OnBehalfOf, Organization, Team, User, VirtualKey};

    use super::super::Limits;
    use super::super::tests::server;
    use super::*;

    /// A key without limits, and of nobody who has any.
    fn nobody_in_particular() -> Principal {
        Principal::from_key(Holder::of_key(Arc::new(VirtualKey::new(KeyHash([3; 32])))))
    }

    /// A key of a team, a user and an organisation, for an end user.
    fn of_all(number: u8, edit: impl FnOnce(&mut Holder, &mut OnBehalfOf)) -> Principal {
        let mut holder = Holder::of_key(Arc::new(VirtualKey::new(KeyHash([number; 32]))));
        let named = |id: &str| id.to_owned();
        holder.team = Some(Arc::new(Team {
            team_id: named("x"),
            ..Team::default()
        }));
        holder.user = Some(Arc::new(User {
            user_id: named("x"),
            ..User::default()
        }));
        let organization = Organization {
            organization_id: named("x"),
            ..Organization::default()
        };
        holder.organization = Some(Arc::new(organization));
        let mut end_user = OnBehalfOf {
            id: "x".into(),
            end_user: Some(Arc::new(EndUser::default())),
            budget: None,
        };
        edit(&mut holder, &mut end_user);
        Principal::from_key(holder).on_behalf_of(Some(end_user))
    }

    fn budget(edit: impl FnOnce(&mut Budget)) -> Arc<Budget> {
        let mut budget = Budget::default();
        edit(&mut budget);
        Arc::new(budget)
    }

    fn limit<T: Clone>(own: &mut Option<Arc<T>>, edit: impl FnOnce(&mut T)) {
        edit(Arc::make_mut(own.as_mut().unwrap()));
    }

    type Edit = fn(&mut Holder, &mut OnBehalfOf);

    /// Everybody who may have a limit of one call, with the text that refuses the second.
    const ONE_CALL: [(Level, &str, Edit); 5] = [
        (
            Level::Key,
            "rpm_limit of the budget of this key is 1 a minute",
            |own, _| {
                own.budget = Some(budget(|budget| {
                    (budget.rpm_limit, budget.max_parallel_requests) = (Some(1), Some(1));
                }));
            },
        ),
        (Level::Team, "rpm_limit of this team is 1 a minute", |own, _| {
            limit(&mut own.team, |own| {
                (own.limits.rpm_limit, own.limits.max_parallel_requests) = (Some(1), Some(1));
            });
        }),
        (Level::User, "rpm_limit of this user is 1 a minute", |own, _| {
            limit(&mut own.user, |own| {
                (own.limits.rpm_limit, own.limits.max_parallel_requests) = (Some(1), Some(1));
            });
        }),
        (
            Level::Organization,
            "rpm_limit of the budget of this organization is 1 a minute",
            |own, _| {
                own.organization_budget = Some(budget(|budget| {
                    (budget.rpm_limit, budget.max_parallel_requests) = (Some(1), Some(1));
                }));
            },
        ),
        (
            Level::EndUser,
            "rpm_limit of the budget of this end user is 1 a minute",
            |_, own| {
                own.budget = Some(budget(|budget| {
                    (budget.rpm_limit, budget.max_parallel_requests) = (Some(1), Some(1));
                }));
            },
        ),
    ];

    #[tokio::test(start_paused = true)]
    async fn everybody_whose_call_it_is_has_limits_of_its_own() {
        for (level, text, edit) in ONE_CALL {
            let limits = Arc::new(Limits::default());
            let (one, two) = (of_all(1, edit), of_all(2, edit));
            let any = server("a", None);
            // Of another key: for all but the key itself they count together, whatever the server.
            let again = if level == Level::Key { &one } else { &two };
            let place = limits.place(&one).await.unwrap();
            assert!(place.is_some(), "{level:?}");
            let full = limits.place(again).await.err().unwrap();
            assert_eq!(
                (full.limit.as_str(), full.limit.level()),
                ("max_parallel_requests", level)
            );
            assert_eq!(limits.count(&one, &any).await, Ok(()), "{level:?}");
            let exceeded = limits.count(again, &server("b", None)).await.unwrap_err();
            assert_eq!(
                exceeded.to_string(),
                format!("Rate limit exceeded: {text}; try again in 60 s")
            );
            assert_eq!(limits.check(again).await, Err(exceeded), "{level:?}");
            drop(place);
            assert!(
                limits.places().len() == 0 && limits.place(again).await.is_ok(),
                "{level:?}"
            );
            assert_eq!(
                limits.count(&nobody_in_particular(), &any).await,
                Ok(()),
                "{level:?}"
            );
            assert_eq!(limits.minutes().len(), 1, "{level:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_keys_own_limit_and_its_budgets_the_lesser_counts_once() {
        for (own, budgets, source) in [(1, 2, Source::Own), (2, 1, Source::Budget), (1, 1, Source::Own)] {
            let limits = Limits::default();
            let mine = of_all(1, |holder, _| {
                Arc::make_mut(&mut holder.key).limits = CallLimits {
                    rpm_limit: Some(own),
                    ..CallLimits::default()
                };
                holder.budget = Some(budget(|budget| budget.rpm_limit = Some(budgets)));
            });
            assert_eq!(limits.count(&mine, &server("a", None)).await, Ok(()));
            let refused = limits.count(&mine, &server("a", None)).await.unwrap_err();
            assert_eq!(refused.limit, Limit::Rpm(Level::Key, source));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_teams_calls_of_one_server_are_counted_for_all_its_keys() {
        let of_team = |number| {
            of_all(number, |own, _| {
                limit(&mut own.team, |own| {
                    own.limits.mcp_rpm_limit = [("A".to_owned(), 1)].into();
                });
            })
        };
        let limits = Limits::default();
        assert_eq!(limits.count(&of_team(1), &server("a", None)).await, Ok(()));
        let exceeded = limits.count(&of_team(2), &server("a", None)).await.unwrap_err();
        assert_eq!(
            (exceeded.limit, exceeded.to_string().as_str()),
            (
                Limit::ServerRpmOf(Level::Team),
                r#"Rate limit exceeded: mcp_rpm_limit of MCP server "a" is 1 a minute; try again in 60 s"#
            )
        );
        assert_eq!(limits.count(&of_team(2), &server("b", None)).await, Ok(()));
    }

    #[test]
    fn nobodys_calls_are_counted_under_the_name_of_another() {
        let of = |level, id: &str| Counted::Level(level, id.into());
        let key = Counted::Key(KeyHash([1; 32]));
        let server = |whom: &Counted, id: &str| Counted::Of(Box::new(whom.clone()), ServerId::new(id));
        let long = "x".repeat(3_000);
        let all = [
            key.clone(),
            of(Level::Team, "a"),
            of(Level::User, "a"),
            of(Level::Team, "a\",\"b"),
            server(&of(Level::Team, "a"), "b"),
            server(&key, "a"),
            Counted::Server(ServerId::new("a")),
            Counted::OfModel(Box::new(key.clone()), "a".into()),
            Counted::OfModel(Box::new(of(Level::Team, "a")), "b".into()),
            Counted::Trial("a".into(), "b".into()),
            Counted::Tokens(Box::new(key.clone())),
            Counted::Tokens(Box::new(Counted::OfModel(Box::new(key.clone()), "a".into()))),
            of(Level::Team, &long),
            of(Level::Team, &format!("{long}y")),
            of(Level::Team, "\0"),
        ];
        let names: std::collections::HashSet<String> = all.iter().map(Counted::name).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        assert!(
            names
                .iter()
                .all(|name| name.len() <= MAX_NAME && !name.contains('\0'))
        );
        assert_eq!(server(&of(Level::Team, "a"), "b").name(), r#"["team","a","b"]"#);
    }

    #[tokio::test]
    async fn what_has_a_price_is_refused_to_whoever_has_a_budget() {
        let priced = |costs: serde_json::Value| {
            let mut own = server("a", None);
            own.definition.mcp_info = json!({"mcp_server_cost_info": costs}).as_object().cloned();
            own
        };
        let limits = Limits::default();
        let edits: [Edit; 3] = [
            |own, _| own.budget = Some(budget(|budget| budget.max_budget = Amount::parse("0.5"))),
            |own, _| {
                own.organization_budget = Some(budget(|budget| budget.max_budget = Amount::parse("0.5")));
            },
            |_, own| own.budget = Some(budget(|budget| budget.max_budget = Amount::parse("0.5"))),
        ];
        for edit in edits {
            let mine = of_all(1, edit);
            assert_eq!(limits.check(&mine).await, Ok(()));
            for free in [
                json!(null),
                json!({}),
                json!({"default_cost_per_query": 0.0, "tool_name_to_cost_per_query": {"t": 0}}),
            ] {
                assert_eq!(limits.count(&mine, &priced(free)).await, Ok(()));
            }
            for costs in [
                json!({"default_cost_per_query": 0.01}),
                json!({"tool_name_to_cost_per_query": {"t": 1e-9}}),
                json!({"default_cost_per_query": "much"}),
                json!([]),
            ] {
                let refused = limits.count(&mine, &priced(costs)).await.unwrap_err();
                assert_eq!(
                    (refused.limit.as_str(), refused.max, refused.about),
                    (
                        "max_budget",
                        Max::Dollars(Amount::parse("0.5").unwrap()),
                        Some(About::Server("a".to_owned()))
                    )
                );
            }
        }
        // Who has no budget may have what costs: nobody said what it may cost.
        let free = of_all(1, |_, _| {});
        assert_eq!(
            limits
                .count(&free, &priced(json!({"default_cost_per_query": 1})))
                .await,
            Ok(())
        );
        let none_left = of_all(1, |own, _| {
            own.budget = Some(budget(|budget| budget.max_budget = Some(Amount::ZERO)));
        });
        assert_eq!(
            limits.check(&none_left).await.unwrap_err().to_string(),
            "Budget has been exceeded! Current cost: 0, Max budget: 0 (max_budget of this key)"
        );
    }
}
