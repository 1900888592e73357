//! The wire to a server: it can refuse, hang, reset, break off, and talk nonsense, whatever the server is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the wire does to connections, new ones and those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Passes everything.
    Whole,
    /// Refuses connections, and closes those that are open.
    Refused,
    /// Passes nothing, while connections stay open.
    Held,
    /// Closes connections with unread bytes, which the other side sees as a reset.
    Reset,
    /// Passes so many bytes of the server's, then closes.
    Cut(usize),
    /// Answers with what is no HTTP.
    Nonsense,
}

/// Forwards connections to another address.
pub(crate) struct Line {
    address: SocketAddr,
    to: SocketAddr,
    fate: watch::Sender<Fate>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Holds the port while it refuses.
    held: Mutex<Option<TcpSocket>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Line {
    /// To `http://127.0.0.1:PORT…`.
    pub(crate) fn to(url: &str) -> Arc<Self> {
        let rest = url.strip_prefix("http://").unwrap();
        let to = rest.split('/').next().unwrap().parse().unwrap();
        let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let line = Self {
            address: socket.local_addr().unwrap(),
            to,
            fate: watch::Sender::new(Fate::Whole),
            accepting: Mutex::new(None),
            held: Mutex::new(Some(socket)),
        };
        line.open();
        Arc::new(line)
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn set(&self, fate: Fate) {
        let before = self.fate.send_replace(fate);
        match (before == Fate::Refused, fate == Fate::Refused) {
            (false, true) => {
                let accepting = lock(&self.accepting).take();
                if let Some(accepting) = accepting {
                    accepting.abort();
                    // The port is free when the task, with its listener, is gone.
                    let _ = accepting.await;
                }
                *lock(&self.held) = Some(self.bind().await);
            }
            (true, false) => self.open(),
            _ => {}
        }
    }

    async fn bind(&self) -> TcpSocket {
        for _ in 0..200 {
            match bound(self.address) {
                Ok(socket) => return socket,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
        panic!("the port {} does not become free", self.address);
    }

    fn open(&self) {
        let socket = lock(&self.held).take().expect("the port is held");
        let listener = socket.listen(1024).unwrap();
        let (to, fate) = (self.to, self.fate.subscribe());
        *lock(&self.accepting) = Some(tokio::spawn(accept(listener, to, fate)));
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, fate: watch::Receiver<Fate>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let fate = fate.clone();
        tokio::spawn(async move { connection(client, to, fate).await });
    }
}

async fn connection(mut client: TcpStream, to: SocketAddr, mut fate: watch::Receiver<Fate>) {
    let now = *fate.borrow_and_update();
    match now {
        Fate::Refused => {}
        Fate::Reset => {
            // Not read: that is what makes it a reset.
            let _ = client.readable().await;
        }
        Fate::Nonsense => {
            let mut piece = [0; 4096];
            let _ = client.read(&mut piece).await;
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\x00\xff\r\n\r\n").await;
        }
        Fate::Whole | Fate::Held | Fate::Cut(_) => {
            let Ok(server) = TcpStream::connect(to).await else {
                return;
            };
            let _ = server.set_nodelay(true);
            pass(client, server, fate).await;
        }
    }
}

/// Both directions, until one ends or the wire has other plans.
async fn pass(client: TcpStream, server: TcpStream, mut fate: watch::Receiver<Fate>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forth = async { tokio::io::copy(&mut from_client, &mut to_server).await };
    let held = fate.clone();
    let back = async {
        let mut held = held;
        let mut piece = vec![0; 16 * 1024];
        let mut passed = 0;
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            if held.wait_for(|fate| *fate != Fate::Held).await.is_err() {
                return;
            }
            let now = *held.borrow();
            let length = match now {
                Fate::Cut(most) => length.min(usize::saturating_sub(most, passed)),
                _ => length,
            };
            passed += length;
            if length == 0 || to_client.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    let ends = fate.wait_for(|fate| matches!(fate, Fate::Refused | Fate::Reset));
    tokio::select! {
        _ = forth => {}
        () = back => {}
        _ = ends => {}
    }
}
