//! `/budget/*`: what keys, organisations and end users may spend and call. For administrators.
//!
//! - [`fields`] is what a body may say, and how answers show a budget.
//! - What a budget limits is in the gateway's `limits`. Amounts are stored and compared exactly.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::Budget;
use trunkline_store::DirectoryWrite;

pub(crate) mod fields;
pub(crate) mod own;

use fields::Change;

use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::key::error::KeyError;
use crate::key::fields::{names, refuse_others};
use crate::key::schema::{closed, object, shapes, text, texts};
use crate::tenant::fields as tenant_fields;
use crate::tenant::query::Query;
use crate::tenant::schema::{Answer, Failures};
use crate::tenant::{new_stamps, readable, touch};

shapes! {
    /// The body that makes a budget, or changes one.
    NewBudget as "BudgetNewRequest" = fields::schema();
    /// The body that names several.
    BudgetsAsked as "BudgetRequest" = closed(object().property("budgets", texts("Which budgets.")).required("budgets"));
    /// The body that names one to be deleted.
    BudgetNamed as "BudgetDeleteRequest" = closed(object().property("id", text("Which budget.")).required("id"));
    /// A budget in an answer.
    BudgetRow as "LiteLLM_BudgetTable" = fields::row_schema();
}

/// Make a budget
///
/// Keys, organisations and end users have it by its `budget_id`; each has all of it.
#[utoipa::path(
    post, path = "/budget/new", tag = "Budgets", request_body = NewBudget,
    responses((status = 200, description = "The budget.", body = BudgetRow), Failures),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let now = app.now();
    let change = Change::read(&body, now)?;
    let budget_id = tenant_fields::text(&body, "budget_id")?.unwrap_or_else(|| (app.new_id)());
    let by = admin.id();
    let plan = |directory: &Directory| {
        if directory.budgets.contains_key(&budget_id) {
            let text = format!("Budget with id '{budget_id}' already exists.");
            return Err(KeyError::Bad("budget_id", text));
        }
        let mut budget = Budget {
            budget_id,
            stamps: new_stamps(now, by),
            ..Budget::default()
        };
        change.apply(&mut budget);
        Ok((vec![DirectoryWrite::PutBudget(budget.clone())], budget))
    };
    let budget = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        budget_id = budget.budget_id,
        "budget made"
    );
    Ok(Json(fields::row(&budget)))
}

/// Change a budget
///
/// What the body does not name stays as it is; null clears it. It counts from the next call on, on every replica within a second.
#[utoipa::path(
    post, path = "/budget/update", tag = "Budgets", request_body = NewBudget,
    responses((status = 200, description = "The budget as it is now.", body = BudgetRow), Failures),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let now = app.now();
    let change = Change::read(&body, now)?;
    let budget_id = tenant_fields::required(&body, "budget_id")?;
    let by = admin.id();
    let plan = |directory: &Directory| {
        let stored = directory.budgets.get(&budget_id);
        let stored = stored.ok_or_else(|| nobody("budget_id", &budget_id))?;
        readable("budget_id", stored.defect.as_ref())?;
        let mut budget = Budget::clone(stored);
        change.apply(&mut budget);
        touch(&mut budget.stamps, now, by);
        Ok((vec![DirectoryWrite::PutBudget(budget.clone())], budget))
    };
    let budget = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        budget_id = budget.budget_id,
        "budget changed"
    );
    Ok(Json(fields::row(&budget)))
}

/// Delete a budget
///
/// One that nobody has: whoever has it would have no limits any more, and is named in the refusal.
#[utoipa::path(
    post, path = "/budget/delete", tag = "Budgets", request_body = BudgetNamed,
    responses((status = 200, description = "It is gone: as it was.", body = BudgetRow), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["id"])?;
    let id = tenant_fields::required(&body, "id")?;
    let plan = |directory: &Directory| {
        let stored = directory.budgets.get(&id).ok_or_else(|| nobody("id", &id))?;
        if let Some(whose) = whose(&id, directory) {
            let text =
                format!("Budget '{id}' is still that of {whose}: give it another budget, or none, first");
            return Err(KeyError::Bad("id", text));
        }
        Ok((
            vec![DirectoryWrite::DeleteBudget(id.clone())],
            Budget::clone(stored),
        ))
    };
    let budget = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        budget_id = id,
        "budget deleted"
    );
    Ok(Json(fields::row(&budget)))
}

/// Show budgets
///
/// Those of `budgets` that there are.
#[utoipa::path(
    post, path = "/budget/info", tag = "Budgets", request_body = BudgetsAsked,
    responses((status = 200, description = "The budgets.", body = [BudgetRow]), Failures),
)]
pub(crate) async fn info(
    _admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["budgets"])?;
    let Some(mut ids) = names(&body, "budgets")? else {
        let text = "Specify list of budget id's to query.";
        return Err(KeyError::Bad("budgets", text.to_owned()));
    };
    ids.sort();
    ids.dedup();
    let directory = app.directory();
    let found = ids.iter().filter_map(|id| directory.budgets.get(id));
    Ok(Json(found.map(|budget| fields::row(budget)).collect()))
}

/// List the budgets
#[utoipa::path(
    get, path = "/budget/list", tag = "Budgets",
    responses((status = 200, description = "All of them.", body = [BudgetRow]), Failures),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    Query::read(query.as_deref(), &[], &[])?;
    let directory = app.directory();
    let mut budgets: Vec<_> = directory.budgets.values().collect();
    budgets.sort_by(|a, b| a.budget_id.cmp(&b.budget_id));
    Ok(Json(
        budgets.into_iter().map(|budget| fields::row(budget)).collect(),
    ))
}

/// List the fields of a budget, each with its value
#[utoipa::path(
    get, path = "/budget/settings", tag = "Budgets",
    params(("budget_id" = String, Query, description = "Which budget. Of one that is not there, no field has a value.")),
    responses((status = 200, description = "`field_name`, `field_type`, `field_description`, `field_value` of each.", body = [Answer]), Failures),
)]
pub(crate) async fn settings(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["budget_id"], &[])?;
    let id = query.required("budget_id")?;
    let directory = app.directory();
    let row = directory
        .budgets
        .get(id)
        .map_or(Value::Null, |budget| fields::row(budget));
    let settings = fields::FIELDS
        .iter()
        .filter(|field| field.is_setting())
        .map(|field| {
            json!({
                "field_name": field.name,
                "field_type": field.kind.word(),
                "field_description": field.doc,
                "field_value": row.get(field.name),
                "stored_in_db": true,
                "field_default_value": null,
                "premium_field": false,
                "nested_fields": null,
            })
        });
    Ok(Json(settings.collect()))
}

/// Refuses a budget that is not there: whoever has it would be refused.
pub(crate) fn check(budget_id: Option<&str>, directory: &Directory) -> Result<(), KeyError> {
    match budget_id {
        Some(id) if !directory.budgets.contains_key(id) => Err(nobody("budget_id", id)),
        _ => Ok(()),
    }
}

/// LiteLLM's `litellm_budget_table` of a row.
pub(crate) fn shown(budget_id: Option<&String>, directory: &Directory) -> Value {
    let budget = budget_id.and_then(|id| directory.budgets.get(id));
    budget.map_or(Value::Null, |budget| fields::row(budget))
}

fn nobody(field: &'static str, id: &str) -> KeyError {
    KeyError::Nobody("Budget", field, id.to_owned())
}

/// Somebody who has a budget.
fn whose(id: &str, directory: &Directory) -> Option<String> {
    let has = |own: &Option<String>| own.as_deref() == Some(id);
    let key = directory.keys.values().find(|key| has(&key.budget_id));
    let organization = || directory.organizations.values().find(|own| has(&own.budget_id));
    let end_user = || directory.end_users.values().find(|own| has(&own.budget_id));
    key.map(|key| format!("key {}", key.id))
        .or_else(|| organization().map(|own| format!("organization {}", own.organization_id)))
        .or_else(|| end_user().map(|own| format!("customer {}", own.user_id)))
}

/// What a body says, without what names the budget.
pub(crate) fn without_id(body: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    body.iter().filter(|(name, _)| name.as_str() != "budget_id")
}
