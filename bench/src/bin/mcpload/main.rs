//! Closed-loop load generator for MCP over Streamable HTTP, and for chats with models. Prints one JSON line.
//!
//!     mcpload --url http://127.0.0.1:4000/mcp -H 'Authorization: Bearer KEY' -c 64 -d 5 --pid PID
//!
//! Each of `-c` workers has a session and a connection of its own and sends its next request when the last is
//! answered. Every answer is checked (status, JSON-RPC id, `isError`, the echoed text), so that a fast wrong answer
//! counts as an error. `--pid` names the process that is measured: its CPU time per request is the steady figure on a
//! shared machine, where latencies are not.
//!
//! To add a mode: a variant of [`Mode`], its arm in `Client::operation`.

mod client;
mod process;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use client::{Client, Target};
use process::Usage;

#[derive(Clone, Copy, ValueEnum, Debug, PartialEq)]
enum Mode {
    /// tools/call in a session
    Call,
    /// tools/list in a session, all pages
    List,
    /// initialize, initialized, tools/list and DELETE on a new connection, as one operation
    Session,
    /// POST {"name", "arguments"} to the URL, as /mcp-rest/tools/call takes it
    Rest,
    /// POST a chat completion to the URL
    Chat,
    /// the same in pieces
    ChatStream,
}

#[derive(Parser, Clone)]
#[command(about = "Load generator for MCP over Streamable HTTP")]
struct Args {
    #[arg(long, value_enum, default_value = "call")]
    mode: Mode,
    /// `http://127.0.0.1:PORT/PATH`
    #[arg(long)]
    url: String,
    /// workers, each with its own session and connection
    #[arg(short, long, default_value_t = 1)]
    c: usize,
    /// seconds measured
    #[arg(short, long, default_value_t = 5.0)]
    d: f64,
    /// seconds before that, not counted
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// bytes of the echoed text
    #[arg(short, long, default_value_t = 64)]
    p: usize,
    #[arg(long, default_value = "echo")]
    tool: String,
    /// chats: the model
    #[arg(long, default_value = "mock")]
    model: String,
    /// "Name: value", repeatable
    #[arg(short = 'H', long)]
    header: Vec<String>,
    /// revision; 2026-07-28 has no sessions
    #[arg(long, default_value = "2025-11-25")]
    protocol: String,
    /// exact number of tools in a list (0: at least one)
    #[arg(long, default_value_t = 0)]
    expect_tools: usize,
    /// rest mode: `server_id` in the body
    #[arg(long, default_value = "")]
    server_id: String,
    /// the measured processes, separated by commas; their descendants count too
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// seconds for one request
    #[arg(long, default_value_t = 30.0)]
    timeout: f64,
    /// stop each worker after so many operations (0: never)
    #[arg(long, default_value_t = 0)]
    max_ops: u64,
    /// copied into the result
    #[arg(long, default_value = "")]
    label: String,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPED: u8 = 2;

/// Longest time that fits the histogram: ten minutes, in microseconds.
const LONGEST: u64 = 600_000_000;
/// Kinds of errors told apart; the rest are counted together.
const ERROR_KINDS: usize = 20;

/// What one worker saw while it was measured.
struct Tally {
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    connections: u64,
    initialize: Duration,
}

impl Tally {
    fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).context("histogram")?;
        Ok(Self {
            latency,
            errors: BTreeMap::new(),
            connections: 0,
            initialize: Duration::ZERO,
        })
    }

    fn error(&mut self, error: &anyhow::Error) {
        let kind: String = format!("{error:#}").chars().take(200).collect();
        let known = self.errors.len() < ERROR_KINDS || self.errors.contains_key(&kind);
        *self
            .errors
            .entry(if known { kind } else { "(more kinds)".to_owned() })
            .or_default() += 1;
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.latency.add(&other.latency).context("histogram")?;
        self.connections += other.connections;
        self.initialize = self.initialize.max(other.initialize);
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        Ok(())
    }
}

async fn worker(args: Arc<Args>, number: usize, phase: Arc<AtomicU8>, ready: Arc<Barrier>) -> Result<Tally> {
    let limit = Duration::from_secs_f64(args.timeout);
    let mut tally = Tally::new()?;
    let mut client = Client::new(Arc::new(Target::of(&args)?), number as u64);
    let began = Instant::now();
    let mut failed = false;
    if matches!(args.mode, Mode::Call | Mode::List) {
        let opened = tokio::time::timeout(limit, client.initialize())
            .await
            .context("initialize: timeout");
        if let Err(error) = opened.and_then(|opened| opened) {
            tally.error(&error);
            failed = true;
        }
    }
    tally.initialize = began.elapsed();
    // All start together; one that failed must not keep the others waiting.
    ready.wait().await;
    let mut operations = 0;
    while !failed
        && phase.load(Ordering::Relaxed) != STOPPED
        && (args.max_ops == 0 || operations < args.max_ops)
    {
        operations += 1;
        let began = Instant::now();
        let done = tokio::time::timeout(limit, client.operation(args.mode)).await;
        let done = done.unwrap_or_else(|_| {
            client.disconnect();
            Err(anyhow::anyhow!("timeout"))
        });
        let pause = done.is_err();
        // What ends inside the window counts, so that long operations do not bias the throughput.
        if phase.load(Ordering::Relaxed) == MEASURING {
            match done {
                Ok(ended) => {
                    let micros = u64::try_from((ended - began).as_micros()).unwrap_or(LONGEST);
                    tally.latency.saturating_record(micros);
                }
                Err(error) => tally.error(&error),
            }
        }
        if pause {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // Leaves no session behind; how that goes is not measured.
    let _ = tokio::time::timeout(Duration::from_secs(2), client.close()).await;
    tally.connections = client.connections();
    Ok(tally)
}

async fn measure(args: Arc<Args>) -> Result<Value> {
    ensure!(args.c > 0, "-c must be at least 1");
    let phase = Arc::new(AtomicU8::new(WARMING));
    let ready = Arc::new(Barrier::new(args.c + 1));
    let workers: Vec<_> = (0..args.c)
        .map(|number| tokio::spawn(worker(args.clone(), number, phase.clone(), ready.clone())))
        .collect();
    ready.wait().await;
    tokio::time::sleep(Duration::from_secs_f64(args.warmup)).await;

    let (before, own_before) = (Usage::of(&args.pid), Usage::of(&[std::process::id()]));
    let began = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    let end = began + Duration::from_secs_f64(args.d);
    let mut peak_rss = before.rss;
    while Instant::now() < end && !workers.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep((end - Instant::now()).min(Duration::from_millis(250))).await;
        peak_rss = peak_rss.max(Usage::of(&args.pid).rss);
    }
    phase.store(STOPPED, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let (after, own_after) = (Usage::of(&args.pid), Usage::of(&[std::process::id()]));

    let mut all = Tally::new()?;
    for worker in workers {
        all.add(&worker.await.context("a worker")??)?;
    }
    let requests = all.latency.len();
    let milliseconds = |quantile: f64| all.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    let megabytes = |bytes: u64| rounded(bytes as f64 / 1_048_576.0);
    Ok(json!({
        "label": args.label,
        "mode": format!("{:?}", args.mode).to_lowercase(),
        "c": args.c,
        "payload": args.p,
        "seconds": rounded(seconds),
        "requests": requests,
        "errors": all.errors.values().sum::<u64>(),
        "error_kinds": all.errors,
        "rps": rounded(requests as f64 / seconds),
        "p50_ms": milliseconds(0.5),
        "p90_ms": milliseconds(0.9),
        "p99_ms": milliseconds(0.99),
        "max_ms": all.latency.max() as f64 / 1000.0,
        "slowest_initialize_ms": rounded(all.initialize.as_secs_f64() * 1000.0),
        "cpu_us_per_request": if requests > 0 { rounded(cpu * 1e6 / requests as f64) } else { 0.0 },
        "cpu_cores": rounded(cpu / seconds),
        "rss_mb": megabytes(after.rss),
        "peak_rss_mb": megabytes(peak_rss),
        "load_cpu_cores": rounded(own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64() / seconds),
        "connections": all.connections,
    }))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn main() -> Result<ExitCode> {
    let args = Arc::new(Args::parse());
    // One thread: the generator must leave the other cores to what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    let result = runtime.block_on(measure(args))?;
    println!("{result}");
    Ok(if result["requests"] == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
