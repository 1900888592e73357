//! Mock MCP servers for measurements: as little work as an honest answer takes.
//!
//!     mockmcp --port 9130 --servers 50 --tools 10 --token KEY
//!
//! `/mcp` is the first server, `/s/{i}/mcp` the others; each has its own sessions, and speaks 2026-07-28 without one. The first tool of each, `echo`,
//! returns its `message`; the others look like the tools of a real server and do the same. `GET /stats` counts what
//! arrived: a warm call through a gateway must add one `tools_call` and nothing else.

mod server;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use server::Servers;

#[derive(Parser, Clone)]
#[command(about = "Mock MCP servers for measurements")]
struct Args {
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// tools of each server
    #[arg(long, default_value_t = 10)]
    tools: usize,
    /// how many servers
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// answer with text/event-stream rather than application/json
    #[arg(long)]
    sse: bool,
    /// bearer token asked for (empty: none)
    #[arg(long, default_value = "")]
    token: String,
    /// no sessions
    #[arg(long)]
    stateless: bool,
}

async fn serve(args: Args) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port))
        .await
        .context("listen")?;
    println!("listening on http://{}", listener.local_addr().context("listen")?);
    let servers = Arc::new(Servers::new(args));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        // Without it the last piece of an answer waits for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        let servers = Arc::clone(&servers);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let servers = Arc::clone(&servers);
                async move { Ok::<_, Infallible>(servers.answer(request).await) }
            });
            // Ends when the client goes, in an error or not.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn main() -> Result<()> {
    // One thread: it shares the machine with what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    runtime.block_on(serve(Args::parse()))
}
