//! The models of the database in memory, and the changes of them: the database first, then what is in memory, then the answer. What other
//! processes write comes through [`Registry::watch`].

use std::sync::Arc;

use tokio::sync::{MutexGuard, watch};
use trunkline_model::StoredModel;

use crate::audit::Actor;
use crate::db::StoreError;
use crate::registry::{Registry, State};
use crate::stored_model::{ModelEdit, ModelWriteError};
use crate::verify::chain;

impl Registry {
    /// The models of the database, as they are now and whenever they are others.
    pub fn models(&self) -> watch::Receiver<Arc<[StoredModel]>> {
        self.models.subscribe()
    }

    /// Stores a new model.
    pub async fn model_insert(&self, by: &Actor, model: StoredModel) -> Result<(), ModelWriteError> {
        let mut state = self.state.lock().await;
        self.store().model_insert(by, &model).await?;
        self.model_stored(&mut state, model).await;
        Ok(())
    }

    /// Changes a model. Returns it as it was stored.
    pub async fn model_update(
        &self,
        by: &Actor,
        id: &str,
        edit: ModelEdit<'_>,
    ) -> Result<StoredModel, ModelWriteError> {
        let mut state = self.state.lock().await;
        let model = self.store().model_update(by, id, edit).await?;
        self.model_stored(&mut state, model.clone()).await;
        Ok(model)
    }

    /// Deletes a model.
    pub async fn model_delete(&self, by: &Actor, id: &str) -> Result<(), ModelWriteError> {
        let mut state = self.state.lock().await;
        if !self.store().model_delete(by, id).await? {
            return Err(ModelWriteError::NotFound);
        }
        self.after_model(&mut state, |all| all.retain(|own| own.id != id))
            .await;
        Ok(())
    }

    async fn model_stored(&self, state: &mut MutexGuard<'_, State>, model: StoredModel) {
        self.after_model(state, |all| {
            all.retain(|own| own.id != model.id);
            all.push(model);
        })
        .await;
    }

    /// Brings memory up to what was just written. If the database went away in this moment, the change is applied from
    /// memory: it is stored, so that it has to be seen.
    async fn after_model(
        &self,
        state: &mut MutexGuard<'_, State>,
        apply: impl FnOnce(&mut Vec<StoredModel>),
    ) {
        if let Err(error) = self.models_reload(state).await {
            tracing::warn!(
                error = chain(&error),
                "a model was written but could not be read back"
            );
            let mut all = self.models.borrow().to_vec();
            apply(&mut all);
            self.models_publish(all);
        }
    }

    /// Reads them, if the database has another revision of them than what is here.
    pub(crate) async fn models_refresh_to(&self, written: i64) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        // Not `<`: a database that was restored from a backup counts from further back.
        if state.models_revision != written {
            self.models_reload(&mut state).await?;
        }
        Ok(())
    }

    /// Reads them.
    pub(crate) async fn models_reload(&self, state: &mut MutexGuard<'_, State>) -> Result<(), StoreError> {
        // The revision first: if somebody writes in between, the next look finds a newer one and reads again.
        let revision = self.store().revisions().await?.models;
        let all = self.store().model_list().await?;
        self.models_publish(all);
        state.models_revision = revision;
        Ok(())
    }

    fn models_publish(&self, all: Vec<StoredModel>) {
        self.models.send_if_modified(|own| {
            let is_other = own[..] != all[..];
            if is_other {
                *own = all.into();
            }
            is_other
        });
    }
}
