//! A wire between the gateway and its database that can be cut, and held still.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to another address.
pub(crate) struct Proxy {
    address: SocketAddr,
    to: String,
    held: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    cut: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn new(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = Self {
            address: listener.local_addr().unwrap(),
            to: to.to_owned(),
            held: watch::Sender::new(false),
            accepting: None,
            cut: watch::Sender::new(0),
        };
        proxy.accept(listener);
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes all connections and refuses new ones.
    pub(crate) async fn cut(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // The port is free when the task, with its listener, is gone.
            let _ = accepting.await;
        }
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Accepts again, on the same port.
    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    /// Keeps every byte back, while connections stay open: what a dead machine or a firewall looks like.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn accept(&mut self, listener: TcpListener) {
        let (to, held, cut) = (self.to.clone(), self.held.subscribe(), self.cut.subscribe());
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, held, mut cut) = (to.clone(), held.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(&to).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = copy(from_client, to_server, held.clone()) => {}
                        () = copy(from_server, to_client, held) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        }));
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
