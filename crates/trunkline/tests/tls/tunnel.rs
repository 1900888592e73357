//! A proxy that notes who it was asked for, and by whom. Names mean this machine to it: no name server knows them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What was asked for on a new connection.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `CONNECT host:port`, or `POST http://host:port/path`
    pub(crate) line: String,
    /// `Proxy-Authorization`
    pub(crate) credential: Option<String>,
}

/// What it does with those who ask.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// The `Proxy-Authorization` that is let through; `None`: everybody is.
    pub(crate) wants: Option<String>,
    /// Never answers.
    pub(crate) hangs: bool,
}

/// A running proxy. Dropping it closes its port and its connections.
pub(crate) struct Tunnel {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tunnel {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let notes = asked.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, manner.clone(), notes.clone()));
            }
        });
        Self {
            address,
            asked,
            accepting,
        }
    }

    /// `http://127.0.0.1:PORT`, or with `USER:PASSWORD` in it.
    pub(crate) fn url(&self, user: &str) -> String {
        match user {
            "" => format!("http://{}", self.address),
            user => format!("http://{user}@{}", self.address),
        }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, notes: Arc<Mutex<Vec<Asked>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let line = text.lines().next().unwrap_or_default();
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    let credential = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| value.trim().to_owned())
    });
    let is_let_through = manner.wants.is_none() || manner.wants == credential;
    notes.lock().unwrap().push(Asked {
        line: line.clone(),
        credential,
    });
    if manner.hangs {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    if !is_let_through {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(refusal.as_bytes()).await;
        return;
    }
    let place = line.split(' ').nth(1).unwrap_or_default();
    let authority = place.trim_start_matches("http://").split('/').next();
    let port = authority.and_then(|authority| authority.rsplit(':').next()?.parse::<u16>().ok());
    let Some(port) = port else { return };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        let _ = stream
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .await;
        return;
    };
    let begun = if line.starts_with("CONNECT ") {
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await
    } else {
        // The rest of the connection goes through as it is: servers understand whole addresses.
        server.write_all(&head).await
    };
    if begun.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
    }
}
