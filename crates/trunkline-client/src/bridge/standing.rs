//! The standing stream of a session: what servers say and ask outside of requests. It is opened again as long as the bridge
//! runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::sleep;

use super::{FIRST_WAIT, LONGEST_WAIT, Shared, lock};
use crate::exchange;

/// After an end that nobody explained.
const PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Listens from now on.
    pub(super) fn listen(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.state).listening, true) {
            return;
        }
        let shared = self.clone();
        // Not among the requests: nobody waits for its end.
        tokio::spawn(async move {
            let done = shared.done.clone();
            done.run_until_cancelled(shared.listen_on()).await;
        });
    }

    async fn listen_on(&self) {
        let mut wait = FIRST_WAIT;
        // Where the stream was, in the session that it was of.
        let mut last: Option<(u64, String)> = None;
        loop {
            let (headers, epoch) = lock(&self.state).headers(&Bytes::new());
            if !headers.contains_key(&exchange::SESSION_ID) {
                return;
            }
            let from = last
                .as_ref()
                .filter(|(of, _)| *of == epoch)
                .map(|(_, last)| last.as_str());
            match exchange::listen(&self.gateway(), &self.path, &headers, from).await {
                Ok(Ok(mut events)) => {
                    wait = FIRST_WAIT;
                    while let Ok(Some(message)) = events.next().await {
                        self.say(&message).await;
                    }
                    last = events.last_id().map(|last| (epoch, last.to_owned()));
                    sleep(if last.is_some() {
                        events.retry()
                    } else {
                        FIRST_WAIT
                    })
                    .await;
                }
                Ok(Err(StatusCode::METHOD_NOT_ALLOWED)) => return,
                Ok(Err(StatusCode::NOT_FOUND)) => {
                    if self.renew(epoch).await.is_err() {
                        sleep(PAUSE).await;
                    }
                }
                Ok(Err(status)) => {
                    tracing::debug!(%status, "the standing stream was refused");
                    last = None;
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the standing stream cannot be opened");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    self.look_again();
                }
            }
        }
    }
}
