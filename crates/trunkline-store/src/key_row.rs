//! Between a row of `verification_token` and a [`VirtualKey`].
//!
//! Reading never fails for a whole row. What cannot be read, and what a newer version wrote that this one does not know, is
//! named in [`VirtualKey::defect`], and such a key is refused: it may have been a restriction.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use trunkline_model::{
    Amount, CallLimits, Delegation, KeyHash, ModelBudget, ObjectPermission, PreviousSecret, Spending, Stamps,
    VirtualKey,
};

use crate::db::{Row, StoreError, Value};
use crate::server_row::{Cell, Reader, json, text, time};

/// The cells of a key, in the order of `key_columns!`. The destructuring makes a new field of the model a compile error here.
pub(crate) fn encode(key: &VirtualKey, revision: i64) -> Result<Vec<Cell>, StoreError> {
    let VirtualKey {
        hash: _,
        id,
        key_name,
        key_alias,
        key_type,
        user_id,
        team_id,
        metadata,
        expires,
        blocked,
        allowed_routes,
        object_permission,
        stamps,
        rotation_count,
        last_rotation_at,
        limits,
        budget_id,
        spending,
        previous,
        delegation,
        defect: _,
    } = key;
    let CallLimits {
        rpm_limit,
        max_parallel_requests,
        mcp_rpm_limit,
        tpm_limit,
        model_rpm_limit,
        model_tpm_limit,
    } = limits;
    let Stamps {
        created_at,
        created_by,
        updated_at,
        updated_by,
    } = stamps;
    let mut cells = vec![
        ("token", Value::from(&**id)),
        ("key_name", text(key_name.as_ref())),
        ("key_alias", text(key_alias.as_ref())),
        ("key_type", text(key_type.as_ref())),
        ("user_id", text(user_id.as_ref())),
        ("team_id", text(team_id.as_ref())),
        ("metadata", json(&metadata.to_map()).into()),
        ("expires", time(*expires)),
        ("blocked", Value::Bool(Some(*blocked))),
        ("allowed_routes", json(allowed_routes).into()),
        (
            "object_permission",
            permission_text(
                object_permission,
                &key_also(budget_id.as_ref(), delegation, spending, limits),
            )
            .into(),
        ),
        ("created_at", time(*created_at)),
        ("created_by", text(created_by.as_ref())),
        ("updated_at", time(*updated_at)),
        ("updated_by", text(updated_by.as_ref())),
        ("rotation_count", i64::from(*rotation_count).into()),
        ("last_rotation_at", time(*last_rotation_at)),
        ("rpm_limit", Value::Int(rpm_limit.map(i64::from))),
        (
            "max_parallel_requests",
            Value::Int(max_parallel_requests.map(i64::from)),
        ),
        ("mcp_rpm_limit", json(mcp_rpm_limit).into()),
        ("tpm_limit", tokens(*tpm_limit)),
        ("model_rpm_limit", numbers(model_rpm_limit)),
        ("model_tpm_limit", numbers(model_tpm_limit)),
        ("budget_id", text(budget_id.as_ref())),
        ("previous_tokens", previous_text(previous, id)),
        ("delegation", delegation_text(delegation)),
        ("delegated_revision", delegated_revision(delegation, revision)),
    ];
    cells.extend(spending_cells(spending));
    cells.push(("revision", revision.into()));
    refuse_nul(cells)
}

/// What else than `object_permission` restricts somebody, where a version before 0016 does not look for it. It knows no such
/// member of `object_permission`, and refuses whoever has it.
const ALSO: &str = "restricted_by";
const LIMITS: &str = "limits";
const BUDGET: &str = "budget";
/// What its holder has said of a key, which a version before 0018 would take for an administrator's word.
const WORDS: &str = "words";
/// The same of versions before 0019.
const SPENDING: &str = "spending";
/// The same of versions before 0022: limits of tokens, and of single models.
const TOKENS: &str = "tokens";
/// The same of versions before 0023: what may be spent on single models.
const ON_MODELS: &str = "spending_on_models";

/// The words for what is there.
pub(crate) fn also(
    limits: Option<&CallLimits>,
    budget_id: Option<&String>,
    spending: Option<&Spending>,
) -> Vec<&'static str> {
    let tokens = limits
        .filter(|limits| !limits.is_of_calls_alone())
        .map(|_| TOKENS);
    let limits = limits.filter(|limits| !limits.is_none()).map(|_| LIMITS);
    let on_models = spending.filter(|own| own.is_of_models()).map(|_| ON_MODELS);
    let spending = spending.filter(|spending| !spending.is_none()).map(|_| SPENDING);
    limits
        .into_iter()
        .chain(budget_id.map(|_| BUDGET))
        .chain(spending)
        .chain(tokens)
        .chain(on_models)
        .collect()
}

/// What is greater than both databases can store nobody reaches.
pub(crate) fn tokens(own: Option<u64>) -> Value {
    Value::Int(own.map(|own| i64::try_from(own).unwrap_or(i64::MAX)))
}

/// Numbers by name; nothing if there are none.
pub(crate) fn numbers<N: serde::Serialize>(own: &BTreeMap<String, N>) -> Value {
    Value::Text((!own.is_empty()).then(|| json(own)))
}

/// A number of tokens.
pub(crate) fn decode_tokens(reader: &mut Reader<'_>, column: &str) -> Option<u64> {
    let own = reader.int(column)?;
    reader.checked(column, u64::try_from(own).ok())
}

pub(crate) fn spending_cells(spending: &Spending) -> [Cell; 5] {
    let Spending {
        max_budget,
        soft_budget,
        budget_duration,
        budget_reset_at,
        model_max_budget,
    } = spending;
    let amount = |own: &Option<Amount>| Value::Int(own.map(Amount::billionths));
    [
        ("max_budget", amount(max_budget)),
        ("soft_budget", amount(soft_budget)),
        ("budget_duration", text(budget_duration.as_ref())),
        ("budget_reset_at", time(*budget_reset_at)),
        ("model_max_budget", model_budgets_text(model_max_budget)),
    ]
}

fn model_budgets_text(budgets: &BTreeMap<String, ModelBudget>) -> Value {
    let one = |own: &ModelBudget| {
        let members = [
            ("max_budget".to_owned(), Json::from(own.max.to_string())),
            ("budget_duration".to_owned(), own.duration.clone().into()),
        ];
        Json::Object(members.into_iter().collect())
    };
    let all: Map<String, Json> = budgets
        .iter()
        .map(|(model, own)| (model.clone(), one(own)))
        .collect();
    Value::Text((!all.is_empty()).then(|| Json::Object(all).to_string()))
}

fn decode_model_budgets(reader: &mut Reader<'_>) -> BTreeMap<String, ModelBudget> {
    let all: Map<String, Json> = reader.json("model_max_budget").unwrap_or_default();
    let all = all
        .into_iter()
        .map(|(model, own)| Some((model, ModelBudget::parse(&own)?)));
    let read: Option<BTreeMap<String, ModelBudget>> = all.collect();
    reader.checked("model_max_budget", read).unwrap_or_default()
}

pub(crate) fn decode_spending(reader: &mut Reader<'_>) -> Spending {
    let amount = |reader: &mut Reader<'_>, column| {
        let billionths = reader.int(column)?;
        reader.checked(column, Amount::from_billionths(billionths))
    };
    Spending {
        max_budget: amount(reader, "max_budget"),
        soft_budget: amount(reader, "soft_budget"),
        budget_duration: reader.text("budget_duration"),
        budget_reset_at: reader.time("budget_reset_at"),
        model_max_budget: decode_model_budgets(reader),
    }
}

/// The same of a key.
fn key_also(
    budget_id: Option<&String>,
    delegation: &Delegation,
    spending: &Spending,
    limits: &CallLimits,
) -> Vec<&'static str> {
    let words = (delegation.alias || delegation.metadata).then_some(WORDS);
    // Its limits of calls are older than the word for them.
    let tokens = (!limits.is_of_calls_alone()).then_some(TOKENS);
    let also = also(None, budget_id, Some(spending));
    also.into_iter().chain(words).chain(tokens).collect()
}

/// The revision in which it was written by somebody who is no administrator, beside that of the row: a version that does not know the
/// column writes another revision, and only for administrators.
pub(crate) fn delegated_revision(delegation: &Delegation, revision: i64) -> Value {
    Value::Int(delegation.is_whole.then_some(revision))
}

fn delegation_text(delegation: &Delegation) -> Value {
    let Delegation {
        by,
        is_whole: _,
        alias,
        metadata,
    } = delegation;
    let words = [(alias, "key_alias"), (metadata, "metadata")];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(is_own, word)| is_own.then_some(word))
        .collect();
    if by.is_none() && words.is_empty() {
        return Value::Text(None);
    }
    let members = [
        ("by".to_owned(), by.clone().into()),
        ("words".to_owned(), words.into()),
    ];
    Value::Text(Some(Json::Object(members.into_iter().collect()).to_string()))
}

/// What of it cannot be read may be that an administrator has not said something.
fn decode_delegation(reader: &mut Reader<'_>) -> Delegation {
    let revision = reader.int("revision");
    let mut delegation = Delegation {
        is_whole: reader
            .int("delegated_revision")
            .is_some_and(|own| Some(own) == revision),
        ..Delegation::default()
    };
    let Some(mut members) = reader.json::<Map<String, Json>>("delegation") else {
        return delegation;
    };
    delegation.by = match members.remove("by") {
        None | Some(Json::Null) => None,
        Some(Json::String(user_id)) => Some(user_id),
        Some(_) => reader.checked("delegation", None),
    };
    let words = members.remove("words").unwrap_or_else(|| Json::Array(Vec::new()));
    let words: Option<Vec<String>> = serde_json::from_value(words).ok();
    for word in reader.checked("delegation", words).unwrap_or_default() {
        match word.as_str() {
            "key_alias" => delegation.alias = true,
            "metadata" => delegation.metadata = true,
            _ => reader.checked::<()>("delegation", None).unwrap_or_default(),
        }
    }
    if !members.is_empty() {
        reader.checked::<()>("delegation", None);
    }
    delegation
}

/// Each with the secret that the key has now: a version that does not know the column gives the key another and leaves the column
/// as it is, so that what is in it is nobody's then.
fn previous_text(previous: &[PreviousSecret], token: &str) -> Value {
    let item = |own: &PreviousSecret| {
        let members = [
            ("token".to_owned(), Json::from(own.hash.to_hex())),
            ("until".to_owned(), own.until.as_microsecond().into()),
            ("beside".to_owned(), token.into()),
        ];
        Json::Object(members.into_iter().collect())
    };
    let items = (!previous.is_empty()).then(|| Json::Array(previous.iter().map(item).collect()).to_string());
    Value::Text(items)
}

/// One that cannot be read opens nothing: it is left out, and the key is what it is without it.
fn decode_previous(reader: &mut Reader<'_>, token: &str) -> Vec<PreviousSecret> {
    let items: Vec<Map<String, Json>> = reader.json("previous_tokens").unwrap_or_default();
    let read = |item: &Map<String, Json>| {
        // The first version that wrote the column did not say so.
        if item.get("beside").is_some_and(|own| own.as_str() != Some(token)) {
            return None;
        }
        let hash = KeyHash::from_hex(item.get("token")?.as_str()?)?;
        let until = Timestamp::from_microsecond(item.get("until")?.as_i64()?).ok()?;
        Some(PreviousSecret { hash, until })
    };
    items.iter().filter_map(read).collect()
}

/// PostgreSQL cannot store the NUL character.
pub(crate) fn refuse_nul(cells: Vec<Cell>) -> Result<Vec<Cell>, StoreError> {
    for (column, value) in &cells {
        if matches!(value, Value::Text(Some(text)) if text.contains('\0')) {
            return Err(StoreError::Nul { column });
        }
    }
    Ok(cells)
}

pub(crate) fn permission_text(permission: &ObjectPermission, also: &[&str]) -> String {
    let ObjectPermission {
        id,
        mcp_servers,
        mcp_access_groups,
        mcp_tool_permissions,
        mcp_toolsets,
        models,
        // What they are is in a table of its own.
        toolsets: _,
    } = permission;
    let members = [
        ("object_permission_id", Json::from(id.clone())),
        ("mcp_servers", mcp_servers.clone().into()),
        ("mcp_access_groups", mcp_access_groups.clone().into()),
        (
            "mcp_tool_permissions",
            mcp_tool_permissions
                .iter()
                .map(|(server, tools)| (server.clone(), Json::from(tools.clone())))
                .collect(),
        ),
        ("mcp_toolsets", mcp_toolsets.clone().into()),
    ];
    let also = (!also.is_empty()).then(|| (ALSO, Json::from(also)));
    // Only where there are any: a version that does not know them refuses who has some, and reads the others.
    let models = (!models.is_empty()).then(|| ("models", models.clone().into()));
    let members: Map<String, Json> = members
        .into_iter()
        .chain(also)
        .chain(models)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Json::Object(members).to_string()
}

/// Reads a row. `None` if its token is the hash of no key, so that nobody can have that key.
pub(crate) fn decode(row: &Row) -> Option<VirtualKey> {
    let hash = KeyHash::from_hex(&row.text("token").ok().flatten()?)?;
    let mut reader = Reader::new(row);
    let metadata: Map<String, Json> = reader.json("metadata").unwrap_or_default();
    let mut key = VirtualKey {
        key_name: reader.text("key_name"),
        key_alias: reader.text("key_alias"),
        key_type: reader.text("key_type"),
        user_id: reader.text("user_id"),
        team_id: reader.text("team_id"),
        metadata: metadata.into(),
        expires: reader.time("expires"),
        blocked: reader.bool("blocked").unwrap_or(false),
        allowed_routes: reader.json("allowed_routes").unwrap_or_default(),
        object_permission: decode_permission(&mut reader),
        stamps: Stamps {
            created_at: reader.time("created_at"),
            created_by: reader.text("created_by"),
            updated_at: reader.time("updated_at"),
            updated_by: reader.text("updated_by"),
        },
        rotation_count: reader.count("rotation_count").unwrap_or(0),
        last_rotation_at: reader.time("last_rotation_at"),
        limits: CallLimits {
            rpm_limit: reader.count("rpm_limit"),
            max_parallel_requests: reader.count("max_parallel_requests"),
            mcp_rpm_limit: reader.json("mcp_rpm_limit").unwrap_or_default(),
            tpm_limit: decode_tokens(&mut reader, "tpm_limit"),
            model_rpm_limit: reader.json("model_rpm_limit").unwrap_or_default(),
            model_tpm_limit: reader.json("model_tpm_limit").unwrap_or_default(),
        },
        budget_id: reader.text("budget_id"),
        previous: decode_previous(&mut reader, &hash.to_hex()),
        delegation: decode_delegation(&mut reader),
        spending: decode_spending(&mut reader),
        ..VirtualKey::new(hash)
    };
    key.defect = (!reader.defects.is_empty()).then(|| reader.defects.join("; "));
    Some(key)
}

pub(crate) fn decode_permission(reader: &mut Reader<'_>) -> ObjectPermission {
    let Some(mut members) = reader.json::<Map<String, Json>>("object_permission") else {
        return ObjectPermission::default();
    };
    let mut permission = ObjectPermission {
        id: member(reader, &mut members, "object_permission_id"),
        mcp_servers: member(reader, &mut members, "mcp_servers").unwrap_or_default(),
        mcp_access_groups: member(reader, &mut members, "mcp_access_groups").unwrap_or_default(),
        mcp_tool_permissions: member::<BTreeMap<String, Vec<String>>>(
            reader,
            &mut members,
            "mcp_tool_permissions",
        )
        .unwrap_or_default(),
        mcp_toolsets: member(reader, &mut members, "mcp_toolsets").unwrap_or_default(),
        models: member(reader, &mut members, "models").unwrap_or_default(),
        toolsets: Vec::new(),
    };
    for list in [
        &mut permission.mcp_servers,
        &mut permission.mcp_access_groups,
        &mut permission.mcp_toolsets,
        &mut permission.models,
    ] {
        list.shrink_to_fit();
    }
    let also: Vec<String> = member(reader, &mut members, ALSO).unwrap_or_default();
    if also
        .iter()
        .any(|word| ![LIMITS, BUDGET, WORDS, SPENDING, TOKENS, ON_MODELS].contains(&word.as_str()))
    {
        reader.checked::<()>("object_permission", None);
    }
    let means_something = |value: &Json| match value {
        Json::Null => false,
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
        _ => true,
    };
    if members.values().any(means_something) {
        reader.checked::<()>("object_permission", None);
    }
    permission
}

/// A member that may be left out, or null.
fn member<T: serde::de::DeserializeOwned>(
    reader: &mut Reader<'_>,
    members: &mut Map<String, Json>,
    name: &str,
) -> Option<T> {
    let value = members.remove(name).filter(|value| !value.is_null())?;
    reader.checked("object_permission", serde_json::from_value(value).ok())
}
