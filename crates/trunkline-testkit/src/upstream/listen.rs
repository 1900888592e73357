//! The port and its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Socket, State, answer};

/// An open port, or one that is held so that it refuses.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
    /// Bound and not listening: the system refuses connections, and gives the port to nobody else.
    _held: Option<TcpSocket>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &self.accepting {
            task.abort();
        }
    }
}

impl Listener {
    /// # Panics
    /// When the port cannot be taken.
    pub(crate) async fn open(address: SocketAddr, socket: &Socket, state: Arc<State>) -> Self {
        // The task of an earlier listener on this port may need a moment to let go of it.
        let mut tries = 0;
        let port = loop {
            let port = TcpSocket::new_v4().expect("a socket");
            port.set_reuseaddr(true).expect("SO_REUSEADDR");
            match port.bind(address) {
                Ok(()) => break port,
                Err(_) if tries < 100 => tries += 1,
                Err(error) => panic!("bind {address}: {error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let address = port.local_addr().expect("the address of a bound socket");
        if matches!(socket, Socket::Refuse) {
            return Self {
                address,
                accepting: None,
                _held: Some(port),
            };
        }
        let listener = port.listen(1024).expect("listen");
        Self {
            address,
            accepting: Some(tokio::spawn(accept(listener, state))),
            _held: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and the connections, and returns when they are closed.
    pub(crate) async fn close(mut self) -> SocketAddr {
        if let Some(task) = self.accepting.take() {
            task.abort();
            // It was cancelled: that is what was asked for.
            let _ = task.await;
        }
        self.address
    }

    /// Closes port and connections; from now on the port refuses.
    pub(crate) async fn refuse(self, state: Arc<State>) -> Self {
        let address = self.close().await;
        Self::open(address, &Socket::Refuse, state).await
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = state.connections.fetch_add(1, Ordering::Relaxed) + 1;
                connections.spawn(connection(stream, number, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut stream: TcpStream, number: usize, state: Arc<State>) {
    let socket = state.live().socket.clone();
    let _ = stream.set_nodelay(true);
    match socket {
        Socket::Serve => {
            let service = service_fn(|request| answer::answer(Arc::clone(&state), number, request));
            // Ends in an error whenever an act closes the connection, or the client does.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
        // `Refuse` is here only between the change and the closing of the port.
        Socket::Hang | Socket::Refuse => {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Socket::Close => {}
        Socket::Raw(bytes) => raw(stream, &bytes).await,
    }
}

async fn raw(mut stream: TcpStream, bytes: &Bytes) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}
