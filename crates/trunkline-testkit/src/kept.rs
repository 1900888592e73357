//! Connections that wait for their next request, for tests that ask thousands of questions.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

type Sender = SendRequest<Full<Bytes>>;

/// The idle connections of a client and of its clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Sender>>>);

/// What became of a request that was to go over a connection that is open.
pub(crate) enum Sent {
    /// The answer, and what the connection is given back with.
    Answered(Response<Incoming>, Sender),
    /// There is none, or all were closed meanwhile: nothing was sent.
    Unsent(Box<Request<Full<Bytes>>>),
    /// It may have been sent.
    Failed(hyper::Error),
}

impl Kept {
    fn take(&self) -> Option<Sender> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give(&self, sender: Sender) {
        if !sender.is_closed() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
    }

    /// Sends over the first connection that is still good.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Sent {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(answer) => return Sent::Answered(answer, sender),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Sent::Failed(failed.into_error()),
                },
            }
        }
        Sent::Unsent(Box::new(request))
    }
}
