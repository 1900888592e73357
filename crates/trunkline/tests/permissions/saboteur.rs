//! A wire between gateways and PostgreSQL that breaks whenever one statement is sent over it, and lets everything else pass.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer messages than this no client sends here.
const MAX_MESSAGE: usize = 64 << 20;
/// What a client asks for before its first message, which is answered with a byte.
const SSL_REQUEST: u32 = 80_877_103;

#[derive(Default)]
struct State {
    target: Mutex<Option<String>>,
    hits: AtomicUsize,
    hit: Notify,
    seen: Mutex<HashSet<String>>,
}

/// Forwards connections to a server of PostgreSQL.
pub(crate) struct Saboteur {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Drop for Saboteur {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Saboteur {
    pub(crate) async fn new(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let (to, shared) = (to.to_owned(), state.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (to, state) = (to.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(&to).await else {
                        return;
                    };
                    // Messages that were sent together are passed on one by one: none of them is to wait until the one before was heard.
                    for stream in [&client, &server] {
                        let _ = stream.set_nodelay(true);
                    }
                    if in_the_open(&mut client).await.is_err() {
                        return;
                    }
                    let (from_client, mut to_client) = client.into_split();
                    let (mut from_server, to_server) = server.into_split();
                    tokio::select! {
                        _ = asked(from_client, to_server, &state) => {}
                        _ = copy(&mut from_server, &mut to_client) => {}
                    }
                });
            }
        });
        Self {
            port,
            state,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on whoever sends this statement loses the connection; nobody, for `None`.
    pub(crate) fn breaks_at(&self, statement: Option<&str>) {
        let mut target = self.state.target.lock().unwrap_or_else(PoisonError::into_inner);
        *target = statement.map(str::to_owned);
        self.state.hits.store(0, Ordering::Relaxed);
    }

    /// How often it broke since.
    pub(crate) fn hits(&self) -> usize {
        self.state.hits.load(Ordering::Relaxed)
    }

    /// Waits until it broke since, for so long at most.
    pub(crate) async fn hit_within(&self, limit: Duration) {
        let hit = async {
            // What was told before may be of another statement.
            while self.hits() == 0 {
                self.state.hit.notified().await;
            }
        };
        let _ = timeout(limit, hit).await;
    }

    /// The statements that were sent since they were forgotten.
    pub(crate) fn seen(&self) -> HashSet<String> {
        self.state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn forget(&self) {
        self.state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl State {
    fn is_target(&self, statement: &str) -> bool {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = target.as_deref() == Some(statement);
        if is_it {
            self.hits.fetch_add(1, Ordering::Relaxed);
            self.hit.notify_one();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(statement) {
            seen.insert(statement.to_owned());
        }
        is_it
    }
}

/// Says that there is no TLS here, which is the first thing that clients ask.
async fn in_the_open(client: &mut TcpStream) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    assert_eq!((length, client.read_u32().await?), (8, SSL_REQUEST));
    client.write_all(b"N").await
}

/// Forwards what a client says until it says the statement. Prepared ones are known by the names that they were given.
async fn asked(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) -> std::io::Result<()> {
    let mut begun = false;
    let mut prepared: HashMap<Vec<u8>, String> = HashMap::new();
    loop {
        let mut head = Vec::new();
        if begun {
            head.push(from.read_u8().await?);
        }
        let length = from.read_u32().await?;
        let rest = usize::try_from(length).unwrap().saturating_sub(4);
        assert!(rest <= MAX_MESSAGE, "no message of the protocol");
        let mut body = vec![0; rest];
        from.read_exact(&mut body).await?;
        if begun {
            let mut words = body.split(|byte| *byte == 0);
            let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let statement = match head[0] {
                // Parse: the name, the text. Query: the text.
                b'P' => {
                    let text = String::from_utf8_lossy(second).into_owned();
                    prepared.insert(first.to_vec(), text.clone());
                    Some(text)
                }
                b'Q' => Some(String::from_utf8_lossy(first).into_owned()),
                // Bind: the portal, the name.
                b'B' => prepared.get(second).cloned(),
                _ => None,
            };
            if statement.is_some_and(|statement| state.is_target(&statement)) {
                return Ok(());
            }
        }
        begun = true;
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&body);
        to.write_all(&head).await?;
    }
}
