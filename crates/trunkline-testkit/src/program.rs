//! Servers of others in processes of their own.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::process::Process;

/// Python takes seconds to import all that on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(2);

/// A server on a port of the loopback interface. Dropping it kills the process.
#[derive(Debug)]
pub struct ForeignServer {
    process: Process,
    port: u16,
}

impl ForeignServer {
    /// Starts it and waits until it accepts connections. `command` is given a port that is free.
    ///
    /// # Panics
    /// When it does not get there; shows its output.
    pub async fn start(name: &str, command: impl FnOnce(u16) -> Command) -> Self {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let port = probe
            .and_then(|probe| probe.local_addr())
            .expect("a free port")
            .port();
        let mut process = Process::spawn(name, &mut command(port));
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            assert!(
                process.is_running() && began.elapsed() < START_LIMIT,
                "{name} does not listen on port {port}\n{}",
                process.output()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { process, port }
    }

    /// `http://127.0.0.1:PORT/mcp`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}
