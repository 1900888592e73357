//! How one message gets to the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use trunkline_model::{Server, Step};

use crate::fault::Fault;
use crate::http::{HttpClient, Target, status_fault};

/// How long the server may take to say that it has a message.
const TAKEN: Duration = Duration::from_secs(30);

/// The way.
pub(crate) enum Wire {
    /// Requests to the address that the server named.
    Posts(Arc<Posts>),
}

/// Where messages are posted to.
pub(crate) struct Posts {
    pub(crate) http: Arc<HttpClient>,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) server: Arc<Server>,
}

impl Posts {
    async fn send(&self, message: Bytes, step: Step) -> Result<(), Fault> {
        let sent = self.http.send(
            &Method::POST,
            &self.target,
            || self.headers.clone(),
            message,
            step,
        );
        let (response, _) = timeout(TAKEN, sent)
            .await
            .map_err(|_| Fault::timeout(step, TAKEN))??;
        if response.status().is_success() {
            return Ok(());
        }
        Err(status_fault(&self.server, step, response).await)
    }
}

impl Wire {
    /// Hands a message over. An error means that the server has not had it, or has refused it.
    pub(super) async fn send(&self, message: Bytes, step: Step) -> Result<(), Fault> {
        match self {
            Self::Posts(posts) => posts.send(message, step).await,
        }
    }

    /// The same without waiting, for what is a courtesy: whoever reads what the server says never waits for it to read.
    pub(super) fn send_aside(&self, message: Bytes, tasks: &TaskTracker) {
        match self {
            Self::Posts(posts) => {
                let posts = posts.clone();
                tasks.spawn(async move {
                    if let Err(fault) = posts.send(message, Step::Call).await {
                        tracing::debug!(%fault, "a message aside did not arrive");
                    }
                });
            }
        }
    }
}
