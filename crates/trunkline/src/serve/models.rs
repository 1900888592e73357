//! The models of the database, as requests are answered with them: read as the file's are, beside them.

use std::sync::Arc;

use trunkline_config::ProcessEnv;
use trunkline_gateway::Gateway;
use trunkline_model::{Deployment, DeploymentParams, StoredModel};

/// What the management API asks about models.
pub(crate) struct StoredModels {
    pub(crate) gateway: Arc<Gateway>,
    /// `general_settings.store_model_in_db`; without it what is in the database stays there.
    pub(crate) is_on: bool,
}

impl trunkline_admin::Models for StoredModels {
    fn is_on(&self) -> bool {
        self.is_on
    }

    fn is_of_file(&self, id: &str) -> bool {
        self.gateway.models.is_of_file(id)
    }

    fn check(&self, model: &StoredModel) -> Result<(), String> {
        trunkline_config::deployments_of(model, &ProcessEnv).map(|_| ())
    }

    fn refresh(&self) {
        let models = self.gateway.registry.models().borrow().clone();
        self.take(&models);
    }
}

impl StoredModels {
    fn take(&self, models: &[StoredModel]) {
        if !self.is_on {
            return;
        }
        let deployments = models.iter().flat_map(read).map(Arc::new).collect();
        self.gateway.models.set_stored(deployments);
    }

    /// Takes what there is, and what other processes write, as long as the gateway serves.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut models = self.gateway.registry.models();
        loop {
            let now = models.borrow_and_update().clone();
            self.take(&now);
            if models.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One that cannot be read is there with its defect.
fn read(model: &StoredModel) -> Vec<Deployment> {
    match trunkline_config::deployments_of(model, &ProcessEnv) {
        Ok(deployments) => deployments,
        Err(defect) => {
            tracing::warn!(model_id = model.id, defect, "a stored model cannot be used");
            vec![Deployment {
                id: model.id.clone(),
                model_name: model.model_name.clone(),
                provider: String::new(),
                model: String::new(),
                by_name: false,
                is_stored: true,
                params: DeploymentParams::default(),
                model_info: model.model_info.clone(),
                defect: Some(defect),
            }]
        }
    }
}
