//! `proxy_model`: the models that were made through the API.

use serde_json::{Map, Value as Json};
use trunkline_auth::Vault;
use trunkline_model::{SECRET_PARAMS, Secret, Stamps, StoredModel};

use crate::audit::Actor;
use crate::audit::entry::{self, Entry};
use crate::db::{Row, StoreError, Value, stmts};
use crate::server::MODELS;
use crate::server_row::{Cell, Reader, json, text, time};
use crate::store::Store;

/// The columns, in the order of [`encode`]. Written out in every statement: another version may have more.
macro_rules! model_columns {
    () => {
        "model_id, model_name, litellm_params, model_info, blocked, created_at, created_by, updated_at, updated_by"
    };
}

macro_rules! model_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9"
    };
}

stmts! {
    MODEL_LIST = concat!("SELECT ", model_columns!(), " FROM proxy_model ORDER BY model_id");
    MODEL_GET = concat!("SELECT ", model_columns!(), " FROM proxy_model WHERE model_id = $1");
    MODEL_INSERT = concat!(
        "INSERT INTO proxy_model (", model_columns!(), ") VALUES (", model_parameters!(), ") ON CONFLICT (model_id) DO NOTHING"
    );
    MODEL_UPDATE = concat!(
        "UPDATE proxy_model SET (", model_columns!(), ") = (", model_parameters!(), ") WHERE model_id = $1"
    );
    MODEL_DELETE = "DELETE FROM proxy_model WHERE model_id = $1";
}

/// Why a change of a model was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelWriteError {
    /// There is one with this id.
    #[error("a model with this id exists already")]
    Duplicate,
    /// There is no such model.
    #[error("there is no such model")]
    NotFound,
    /// Something of its row cannot be read, and would be lost if it was written.
    #[error("the model cannot be changed: {defect}")]
    Unreadable {
        /// What.
        defect: String,
    },
    /// What it would be is no model.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The database refused or is away.
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

/// A change of a model that was read in the transaction that will write it. The error says why it would be none.
pub type ModelEdit<'e> = Box<dyn FnOnce(&mut StoredModel) -> Result<(), String> + Send + 'e>;

impl Store {
    /// Every model. A row that cannot be read as a whole is there with [`StoredModel::defect`].
    pub async fn model_list(&self) -> Result<Vec<StoredModel>, StoreError> {
        let rows = self.db().fetch_all(&MODEL_LIST, vec![]).await?;
        Ok(rows.iter().filter_map(|row| decode(self.vault(), row)).collect())
    }

    pub(crate) async fn model_insert(&self, by: &Actor, model: &StoredModel) -> Result<(), ModelWriteError> {
        let cells = encode(self.vault(), model)?;
        let mut change = self.begin_change(MODELS, by).await?;
        if change.tx.execute(&MODEL_INSERT, values(cells)).await? == 0 {
            return Err(ModelWriteError::Duplicate);
        }
        change
            .commit(vec![entry_of(&model.id, None, Some(model))])
            .await?;
        Ok(())
    }

    /// Reads a model, changes it, and writes it. Returns it as it was written.
    pub(crate) async fn model_update(
        &self,
        by: &Actor,
        id: &str,
        edit: ModelEdit<'_>,
    ) -> Result<StoredModel, ModelWriteError> {
        let mut change = self.begin_change(MODELS, by).await?;
        let rows = change.tx.fetch_all(&MODEL_GET, vec![id.into()]).await?;
        let before = rows.first().and_then(|row| decode(self.vault(), row));
        let before = before.ok_or(ModelWriteError::NotFound)?;
        if let Some(defect) = before.defect {
            return Err(ModelWriteError::Unreadable { defect });
        }
        let mut model = before.clone();
        edit(&mut model).map_err(|reason| ModelWriteError::Refused { reason })?;
        let cells = encode(self.vault(), &model)?;
        change.tx.execute(&MODEL_UPDATE, values(cells)).await?;
        change
            .commit(vec![entry_of(id, Some(&before), Some(&model))])
            .await?;
        Ok(model)
    }

    /// Deletes a model; whether there was one.
    pub(crate) async fn model_delete(&self, by: &Actor, id: &str) -> Result<bool, StoreError> {
        let mut change = self.begin_change(MODELS, by).await?;
        let rows = change.tx.fetch_all(&MODEL_GET, vec![id.into()]).await?;
        if change.tx.execute(&MODEL_DELETE, vec![id.into()]).await? == 0 {
            return Ok(false);
        }
        let entry = match rows.first().and_then(|row| decode(self.vault(), row)) {
            Some(before) => entry_of(id, Some(&before), None),
            None => Entry::about("deleted", entry::MODELS, id, Map::new()),
        };
        change.commit(vec![entry]).await?;
        Ok(true)
    }
}

/// The row of the audit log about a model.
fn entry_of(id: &str, before: Option<&StoredModel>, after: Option<&StoredModel>) -> Entry {
    let (before, after) = (before.map(audited), after.map(audited));
    Entry::of(entry::MODELS, id, before.as_deref(), after.as_deref())
}

// === between a row and a model ===

/// The cells of a model, in the order of `model_columns!`.
fn encode(vault: &Vault, model: &StoredModel) -> Result<Vec<Cell>, StoreError> {
    let sealed = vault.seal(&context(&model.id), model.params.expose());
    let cells = cells(model, Value::Text(Some(sealed)));
    for (column, value) in &cells {
        if matches!(value, Value::Text(Some(text)) if text.contains('\0')) {
            return Err(StoreError::Nul { column });
        }
    }
    Ok(cells)
}

fn cells(model: &StoredModel, params: Value) -> Vec<Cell> {
    let Stamps {
        created_at,
        created_by,
        updated_at,
        updated_by,
    } = &model.stamps;
    vec![
        ("model_id", Value::from(model.id.as_str())),
        ("model_name", model.model_name.as_str().into()),
        ("litellm_params", params),
        ("model_info", json(&model.model_info).into()),
        ("blocked", Value::Bool(Some(model.blocked))),
        ("created_at", time(*created_at)),
        ("created_by", text(created_by.as_ref())),
        ("updated_at", time(*updated_at)),
        ("updated_by", text(updated_by.as_ref())),
    ]
}

/// The same for the audit log: parameters without what is secret, and of that a digest, to be compared and not to be written.
fn audited(model: &StoredModel) -> Vec<Cell> {
    let mut params: Map<String, Json> = serde_json::from_str(model.params.expose()).unwrap_or_default();
    let mut secrets = String::new();
    for name in SECRET_PARAMS {
        if let Some(value) = params.remove(name) {
            secrets.push_str(&value.to_string());
        }
    }
    let digest = trunkline_auth::key_hash(&secrets).to_hex();
    let mut cells = cells(model, json(&params).into());
    let has_some = !secrets.is_empty();
    cells.push(("credentials", Value::Text(has_some.then_some(digest))));
    cells
}

/// Reads a row. `None` if its id is no text, so that nobody can mean it.
fn decode(vault: &Vault, row: &Row) -> Option<StoredModel> {
    let id = row.text("model_id").ok().flatten()?;
    let mut reader = Reader::new(row);
    let model_name = reader.text("model_name").unwrap_or_default();
    let sealed = reader.text("litellm_params").unwrap_or_default();
    let params = vault.open(&context(&id), &sealed).unwrap_or_else(|error| {
        let text = format!("the stored litellm_params cannot be decrypted: {error}");
        reader.defects.push(text);
        Secret::new("{}")
    });
    let model_info: Map<String, Json> = reader.json("model_info").unwrap_or_default();
    // What cannot be read may have been blocked.
    let blocked = reader.bool("blocked").unwrap_or(true);
    let stamps = Stamps {
        created_at: reader.time("created_at"),
        created_by: reader.text("created_by"),
        updated_at: reader.time("updated_at"),
        updated_by: reader.text("updated_by"),
    };
    Some(StoredModel {
        id,
        model_name,
        params,
        model_info,
        blocked,
        stamps,
        defect: (!reader.defects.is_empty()).then(|| reader.defects.join("; ")),
    })
}

/// What the parameters are sealed for.
fn context(id: &str) -> String {
    format!("proxy_model|{id}|litellm_params")
}

fn values(cells: Vec<Cell>) -> Vec<Value> {
    cells.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_parameters_and_cells_are_the_same_list() {
        let model = StoredModel {
            id: "a".to_owned(),
            model_name: "b".to_owned(),
            params: Secret::new(r#"{"model":"azure/x","api_key":"canary","azure_ad_token":"canary"}"#),
            model_info: Map::new(),
            blocked: false,
            stamps: Stamps::default(),
            defect: None,
        };
        let own = cells(&model, Value::Text(None));
        let written: Vec<_> = own.iter().map(|(column, _)| *column).collect();
        let columns: Vec<_> = model_columns!().split(", ").collect();
        assert_eq!(columns, written);
        let parameters: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        assert_eq!(model_parameters!(), parameters.join(", "));
        let table = crate::schema::TABLES
            .iter()
            .find(|table| table.name == "proxy_model");
        let table: Vec<_> = table.unwrap().columns.iter().map(|column| column.name).collect();
        assert_eq!(table, columns);
        assert!(!format!("{:?}", audited(&model)).contains("canary"));
    }
}
