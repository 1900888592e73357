//! The toolsets in memory, and the changes of them: the database first, then the grants of keys and the snapshot, then the
//! answer. What other processes write comes through [`Registry::watch`].
//!
//! They are part of the [`trunkline_model::Snapshot`], which a URL that is for one is resolved in, and of every key that was
//! granted one: see [`crate::Keys`].

use std::sync::Arc;

use tokio::sync::MutexGuard;
use trunkline_model::{Toolset, Toolsets};

use crate::audit::Actor;
use crate::db::StoreError;
use crate::registry::{Registry, State};
use crate::toolset::{ToolsetEdit, ToolsetWriteError};
use crate::verify::chain;

impl Registry {
    /// Stores a new toolset. Returns it as it was stored.
    pub async fn toolset_insert(
        &self,
        by: &Actor,
        toolset: Toolset,
    ) -> Result<Arc<Toolset>, ToolsetWriteError> {
        let mut state = self.state.lock().await;
        self.store().toolset_insert(by, &toolset).await?;
        Ok(self.toolset_stored(&mut state, toolset).await)
    }

    /// Changes a toolset. Returns it as it was stored.
    pub async fn toolset_update(
        &self,
        by: &Actor,
        id: &str,
        edit: ToolsetEdit,
    ) -> Result<Arc<Toolset>, ToolsetWriteError> {
        let mut state = self.state.lock().await;
        let toolset = self.store().toolset_update(by, id, edit).await?;
        Ok(self.toolset_stored(&mut state, toolset).await)
    }

    /// Deletes a toolset, and with it what it granted.
    pub async fn toolset_delete(&self, by: &Actor, id: &str) -> Result<(), ToolsetWriteError> {
        let mut state = self.state.lock().await;
        if !self.store().toolset_delete(by, id).await? {
            return Err(ToolsetWriteError::NotFound);
        }
        self.after_toolset(&mut state, |all| all.retain(|own| own.id != id))
            .await;
        Ok(())
    }

    async fn toolset_stored(&self, state: &mut MutexGuard<'_, State>, toolset: Toolset) -> Arc<Toolset> {
        let toolset = Arc::new(toolset);
        self.after_toolset(state, |all| {
            all.retain(|own| own.id != toolset.id);
            all.push(toolset.clone());
        })
        .await;
        state.toolsets.get(&toolset.id).cloned().unwrap_or(toolset)
    }

    /// Brings memory up to what was just written. If the database went away in this moment, the change is applied from
    /// memory: it is stored, so that it has to be seen.
    async fn after_toolset(
        &self,
        state: &mut MutexGuard<'_, State>,
        apply: impl FnOnce(&mut Vec<Arc<Toolset>>),
    ) {
        if let Err(error) = self.toolsets_reload(state).await {
            tracing::warn!(
                error = chain(&error),
                "a toolset was written but could not be read back"
            );
            let mut all = state.toolsets.all().to_vec();
            apply(&mut all);
            self.toolsets_publish(state, all).await;
        }
    }

    /// Reads them, if the database has another revision of them than what is here.
    pub(crate) async fn toolsets_refresh_to(&self, written: i64) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        // Not `<`: a database that was restored from a backup counts from further back.
        if state.toolsets_revision != written {
            self.toolsets_reload(&mut state).await?;
        }
        Ok(())
    }

    /// Reads them.
    pub(crate) async fn toolsets_reload(&self, state: &mut MutexGuard<'_, State>) -> Result<(), StoreError> {
        // The revision first: if somebody writes in between, the next look finds a newer one and reads again.
        let revision = self.store().revisions().await?.toolsets;
        let read = self.store().toolset_list().await?;
        let before = state.toolsets.clone();
        let all = read.into_iter().map(|toolset| {
            // The same object for the same toolset: who holds it need not be told.
            let own = before.get(&toolset.id).filter(|own| ***own == toolset);
            own.cloned().unwrap_or_else(|| Arc::new(toolset))
        });
        self.toolsets_publish(state, all.collect()).await;
        state.toolsets_revision = revision;
        Ok(())
    }

    async fn toolsets_publish(&self, state: &mut MutexGuard<'_, State>, all: Vec<Arc<Toolset>>) {
        let all = Toolsets::new(all);
        if all == *state.toolsets {
            return;
        }
        state.toolsets = Arc::new(all);
        // The grants first: who lost something loses it before others see a change.
        self.keys().bind(state.toolsets.clone()).await;
        self.publish(state);
    }
}
