//! Connections to the other replicas of this gateway (ADR 0018), for requests that only the one that holds something can
//! answer.
//!
//! No server is reached this way, and the egress rules are not asked: the addresses are those that replicas gave
//! themselves, which nobody can write who does not have the root secret. Such requests are rare, so each has a
//! connection of its own, which ends with its answer, or with the one who reads it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for a connection. A replica is near, and a client waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The body of an answer, as it comes.
pub type PeerBody = hyper::body::Incoming;

/// Why a replica gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerFault {
    /// Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended before the answer. What was sent may have been acted on.
    #[error("the connection ended before an answer: {0}")]
    Broken(String),
    /// No answer in time. The same goes for what was sent.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// A connection to a replica.
#[derive(Debug)]
pub struct PeerConnection {
    sender: SendRequest<Full<Bytes>>,
}

impl PeerConnection {
    /// Opens one to `HOST:PORT`.
    pub async fn open(address: &str) -> Result<Self, PeerFault> {
        let opened = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| PeerFault::Connect(error.to_string()))?;
            // Failing to say so costs time only.
            let _ = stream.set_nodelay(true);
            http1::Builder::new()
                .max_buf_size(MAX_HEAD)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| PeerFault::Connect(error.to_string()))
        };
        let (sender, connection) = timeout(CONNECT_TIMEOUT, opened)
            .await
            .map_err(|_| PeerFault::Connect("it was not accepted in time".to_owned()))??;
        // Ends when the answer was read, or the sender and the answer are dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to another replica ended");
            }
        });
        Ok(Self { sender })
    }

    /// Sends a request in origin form, and returns when the head of its answer is there. Nothing is sent twice.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<PeerBody>, PeerFault> {
        let answer = async {
            self.sender
                .ready()
                .await
                .map_err(|error| PeerFault::Connect(error.to_string()))?;
            self.sender
                .send_request(request)
                .await
                .map_err(|error| PeerFault::Broken(error.to_string()))
        };
        timeout(limit, answer)
            .await
            .unwrap_or(Err(PeerFault::Late(limit)))
    }
}
