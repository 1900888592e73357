//! `mcp_toolset`: the toolsets.

use serde::{Deserialize, Serialize};
use trunkline_model::{Stamps, Toolset, ToolsetTool};

use crate::audit::Actor;
use crate::audit::entry::{self, Entry};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::server::TOOLSETS;
use crate::server_row::{Cell, Reader, json, text, time};
use crate::store::Store;

/// The columns, in the order of [`encode`]. Written out in every statement: another version may have more.
macro_rules! toolset_columns {
    () => {
        "toolset_id, toolset_name, description, tools, created_at, created_by, updated_at, updated_by"
    };
}

macro_rules! toolset_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8"
    };
}

stmts! {
    TOOLSET_LIST = concat!("SELECT ", toolset_columns!(), " FROM mcp_toolset ORDER BY toolset_id");
    TOOLSET_GET = concat!("SELECT ", toolset_columns!(), " FROM mcp_toolset WHERE toolset_id = $1");
    TOOLSET_NAMES = "SELECT toolset_id, toolset_name FROM mcp_toolset";
    TOOLSET_INSERT = concat!("INSERT INTO mcp_toolset (", toolset_columns!(), ") VALUES (", toolset_parameters!(), ")");
    TOOLSET_UPDATE = concat!(
        "UPDATE mcp_toolset SET (", toolset_columns!(), ") = (", toolset_parameters!(), ") WHERE toolset_id = $1"
    );
    TOOLSET_DELETE = "DELETE FROM mcp_toolset WHERE toolset_id = $1";
}

/// Why a change of a toolset was refused.
#[derive(Debug, thiserror::Error)]
pub enum ToolsetWriteError {
    /// Another toolset has the name, ignoring case, or has it as its id.
    #[error("another toolset has the name {name:?}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is no such toolset.
    #[error("there is no such toolset")]
    NotFound,
    /// Something of its row cannot be read, and would be lost if it was written.
    #[error("the toolset cannot be changed: {defect}")]
    Unreadable {
        /// What.
        defect: String,
    },
    /// The database refused or is away.
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

/// A change of a toolset that was read in the transaction that will write it.
pub type ToolsetEdit = Box<dyn FnOnce(&mut Toolset) + Send>;

impl Store {
    /// Every toolset. A row that cannot be read as a whole is there with [`Toolset::defect`].
    pub async fn toolset_list(&self) -> Result<Vec<Toolset>, StoreError> {
        let rows = self.db().fetch_all(&TOOLSET_LIST, vec![]).await?;
        Ok(rows.iter().filter_map(decode).collect())
    }

    pub(crate) async fn toolset_insert(
        &self,
        by: &Actor,
        toolset: &Toolset,
    ) -> Result<(), ToolsetWriteError> {
        let cells = encode(toolset)?;
        let mut change = self.begin_change(TOOLSETS, by).await?;
        check_name(&mut change.tx, toolset).await?;
        change.tx.execute(&TOOLSET_INSERT, values(cells)).await?;
        let entry = entry_of(&toolset.id, None, Some(toolset))?;
        Ok(change.commit(vec![entry]).await?)
    }

    /// Reads a toolset, changes it, and writes it. Returns it as it was written.
    pub(crate) async fn toolset_update(
        &self,
        by: &Actor,
        id: &str,
        edit: ToolsetEdit,
    ) -> Result<Toolset, ToolsetWriteError> {
        let mut change = self.begin_change(TOOLSETS, by).await?;
        let tx = &mut change.tx;
        let rows = tx.fetch_all(&TOOLSET_GET, vec![id.into()]).await?;
        let before = rows.first().and_then(decode).ok_or(ToolsetWriteError::NotFound)?;
        if let Some(defect) = before.defect {
            return Err(ToolsetWriteError::Unreadable { defect });
        }
        let mut toolset = before.clone();
        edit(&mut toolset);
        if toolset.name != before.name {
            check_name(tx, &toolset).await?;
        }
        tx.execute(&TOOLSET_UPDATE, values(encode(&toolset)?)).await?;
        let entry = entry_of(id, Some(&before), Some(&toolset))?;
        change.commit(vec![entry]).await?;
        Ok(toolset)
    }

    /// Deletes a toolset; whether there was one.
    pub(crate) async fn toolset_delete(&self, by: &Actor, id: &str) -> Result<bool, StoreError> {
        let mut change = self.begin_change(TOOLSETS, by).await?;
        let tx = &mut change.tx;
        let rows = tx.fetch_all(&TOOLSET_GET, vec![id.into()]).await?;
        if tx.execute(&TOOLSET_DELETE, vec![id.into()]).await? == 0 {
            return Ok(false);
        }
        let entry = match rows.first().and_then(decode) {
            Some(before) => entry_of(id, Some(&before), None)?,
            None => Entry::about("deleted", entry::TOOLSETS, id, serde_json::Map::new()),
        };
        change.commit(vec![entry]).await?;
        Ok(true)
    }
}

/// The row of the audit log about a toolset.
fn entry_of(id: &str, before: Option<&Toolset>, after: Option<&Toolset>) -> Result<Entry, StoreError> {
    let (before, after) = (before.map(encode).transpose()?, after.map(encode).transpose()?);
    Ok(Entry::of(
        entry::TOOLSETS,
        id,
        before.as_deref(),
        after.as_deref(),
    ))
}

/// Names are unique, ignoring case, and no name is the id of another one: writers are in single file, so that this sees what
/// the one before has written.
async fn check_name(tx: &mut Tx, toolset: &Toolset) -> Result<(), ToolsetWriteError> {
    let rows = tx.fetch_all(&TOOLSET_NAMES, vec![]).await?;
    let own = toolset.name.to_lowercase();
    let is_taken = |row: &Row| {
        let of = |column| row.text(column).ok().flatten();
        let id = of("toolset_id");
        let same_name = of("toolset_name").is_some_and(|name| name.to_lowercase() == own);
        id.as_deref() != Some(&*toolset.id) && (same_name || id.as_deref() == Some(&*toolset.name))
    };
    if rows.iter().any(is_taken) {
        return Err(ToolsetWriteError::NameTaken {
            name: toolset.name.clone(),
        });
    }
    Ok(())
}

// === between a row and a toolset ===

/// A tool as `tools` has it. Another member may be a restriction that a newer version knows, so it is none of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTool {
    server_id: String,
    tool_name: String,
}

/// The cells of a toolset, in the order of `toolset_columns!`.
fn encode(toolset: &Toolset) -> Result<Vec<Cell>, StoreError> {
    let Stamps {
        created_at,
        created_by,
        updated_at,
        updated_by,
    } = &toolset.stamps;
    let tools: Vec<StoredTool> = toolset
        .tools()
        .iter()
        .map(|tool| StoredTool {
            server_id: tool.server_id.clone(),
            tool_name: tool.tool_name.clone(),
        })
        .collect();
    let cells = vec![
        ("toolset_id", Value::from(toolset.id.as_str())),
        ("toolset_name", toolset.name.as_str().into()),
        ("description", text(toolset.description.as_ref())),
        ("tools", json(&tools).into()),
        ("created_at", time(*created_at)),
        ("created_by", text(created_by.as_ref())),
        ("updated_at", time(*updated_at)),
        ("updated_by", text(updated_by.as_ref())),
    ];
    for (column, value) in &cells {
        if matches!(value, Value::Text(Some(text)) if text.contains('\0')) {
            return Err(StoreError::Nul { column });
        }
    }
    Ok(cells)
}

/// Reads a row. `None` if its id is no text, so that nobody can mean it.
fn decode(row: &Row) -> Option<Toolset> {
    let id = row.text("toolset_id").ok().flatten()?;
    let mut reader = Reader::new(row);
    let name = reader.text("toolset_name").unwrap_or_default();
    if name.is_empty() {
        reader.checked::<()>("toolset_name", None);
    }
    let tools: Vec<StoredTool> = reader.json("tools").unwrap_or_default();
    let tools = tools.into_iter().map(|tool| ToolsetTool {
        server_id: tool.server_id,
        tool_name: tool.tool_name,
    });
    let mut toolset = Toolset::new(id, name, tools.collect());
    toolset.description = reader.text("description");
    toolset.stamps = Stamps {
        created_at: reader.time("created_at"),
        created_by: reader.text("created_by"),
        updated_at: reader.time("updated_at"),
        updated_by: reader.text("updated_by"),
    };
    toolset.defect = (!reader.defects.is_empty()).then(|| reader.defects.join("; "));
    Some(toolset)
}

fn values(cells: Vec<Cell>) -> Vec<Value> {
    cells.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_parameters_and_cells_are_the_same_list() {
        let cells = encode(&Toolset::new("a".into(), "b".into(), Vec::new())).unwrap();
        let written: Vec<_> = cells.iter().map(|(column, _)| *column).collect();
        let columns: Vec<_> = toolset_columns!().split(", ").collect();
        assert_eq!(columns, written);
        let parameters: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        assert_eq!(toolset_parameters!(), parameters.join(", "));
        let table = crate::schema::TABLES
            .iter()
            .find(|table| table.name == "mcp_toolset");
        let table: Vec<_> = table.unwrap().columns.iter().map(|column| column.name).collect();
        assert_eq!(table, columns);
    }
}
