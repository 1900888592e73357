//! LiteLLM's headers about money: what an answer cost, and what its key has spent and may spend.
//!
//! Of an answer in pieces nobody knows what it costs when its headers are sent: it has no `x-litellm-response-cost`, as with LiteLLM, and
//! `x-litellm-key-spend` is without it.

use axum::http::HeaderMap;
use trunkline_llm::price::Cost;
use trunkline_model::{Amount, Level, Principal};

use super::ask::mark;
use crate::Gateway;
use crate::record::Pending;

/// Dollars, exactly.
fn dollars(billionths: i64) -> String {
    Amount::from_billionths(billionths)
        .unwrap_or(Amount::ZERO)
        .to_string()
}

/// Before it is known what the answer costs.
pub(super) fn before(headers: &mut HeaderMap, gateway: &Gateway, principal: &Principal, pending: &Pending) {
    of_key(headers, gateway, principal, pending, 0);
}

/// With what the answer cost, if that is known.
pub(super) fn after(
    headers: &mut HeaderMap,
    gateway: &Gateway,
    principal: &Principal,
    (pending, cost): (&Pending, Option<Cost>),
) {
    of_key(
        headers,
        gateway,
        principal,
        pending,
        cost.map_or(0, |cost| cost.total),
    );
    let Some(cost) = cost else {
        return;
    };
    mark(headers, "x-litellm-response-cost", &dollars(cost.total));
    mark(headers, "x-litellm-response-cost-input", &dollars(cost.input));
    mark(headers, "x-litellm-response-cost-output", &dollars(cost.output));
    for (name, part) in [
        ("x-litellm-response-cost-cache-read", cost.cache_read),
        ("x-litellm-response-cost-cache-creation", cost.cache_write),
        ("x-litellm-response-cost-reasoning", cost.reasoning),
    ] {
        if part > 0 {
            mark(headers, name, &dollars(part));
        }
    }
}

fn of_key(headers: &mut HeaderMap, gateway: &Gateway, principal: &Principal, pending: &Pending, more: i64) {
    let (Some(key), Some((id, since))) = (principal.key(), pending.paying_key()) else {
        return;
    };
    let spent = gateway.registry.store().spend().spent(Level::Key, id, since);
    mark(
        headers,
        "x-litellm-key-spend",
        &dollars(spent.now.saturating_add(more)),
    );
    if let Some(max) = key.spending.max_budget {
        mark(headers, "x-litellm-key-max-budget", &max.to_string());
    }
    if let Some(rpm) = key.limits.rpm_limit {
        mark(headers, "x-litellm-key-rpm-limit", &rpm.to_string());
    }
    if let Some(tpm) = key.limits.tpm_limit {
        mark(headers, "x-litellm-key-tpm-limit", &tpm.to_string());
    }
}
