//! A server that does everything wrong that a server can, for a while, beside one that works: nothing leaks, nothing stays
//! stuck, every failure has a name, and the calls of the other one take what they take.
//!
//! - [`moods`]: the servers, and what goes wrong with them; [`line`](mod@line), [`legacy`] and `program.py` are their parts
//! - [`load`]: the clients; [`named`]: what a failure must say
//! - [`pace`]: the server that works, and how long its calls take
//! - [`watch`]: memory, descriptors and processes of the gateway; [`chance`]: where all choices come from
//!
//! Everything follows from one number, which is printed. To look at a run again, and for longer ones:
//!
//! | | |
//! |---|---|
//! | `TRUNKLINE_CHAOS_SEED` | that number |
//! | `TRUNKLINE_CHAOS_SECONDS` | how long; 60 unless set |
//! | `TRUNKLINE_CHAOS_BINARY` | a gateway that was built otherwise |
//! | `TRUNKLINE_CHAOS_TELLS` | says what goes wrong when, and which calls of the good server were slow |
//! | `TRUNKLINE_CHAOS_ONLY` | the one server that goes wrong |
//!
//! `scripts/chaos.sh` does it for an hour with the binary that people run. To add something that goes wrong: a card in
//! [`moods`], in [`legacy::Mood`] or in `program.py`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod chance;
mod legacy;
mod line;
mod load;
mod moods;
mod named;
mod pace;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinSet;
use trunkline_testkit::{TestGateway, eventually};

use chance::Chance;
use load::{BETWEEN, Client, Findings, Manner};
use moods::Wild;
use pace::Good;
use watch::{Usage, Watch};

/// The revision without a hand-shake.
const MODERN: &str = "2026-07-28";
/// In the errors that are the server's own, and relayed.
const RELAYED: &str = "chaos says";
/// How long a call may take at the gateway of these tests.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// And as much more on a machine that has other things to do.
const GRACE: Duration = Duration::from_secs(6);
/// When the servers are well again, the gateway knows it within this: its longest pause between two attempts, and a margin.
const RECOVERY: Duration = Duration::from_secs(75);
/// Chaos and quiet take turns, so that both see the same machine.
const SLICE: Duration = Duration::from_secs(5);
/// After a change, what was begun before it comes to its end.
const SETTLE: Duration = Duration::from_millis(2500);
/// A machine that was busy with something else may try again, with so many slices; what disturbs every time is the gateway.
const AGAIN: usize = 10;
const ATTEMPTS: usize = 3;

/// Of the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether the gateway is one that people run. One that is not reads ten times as slowly, and what it is flooded with is as much
/// less: what is tried is that a server does not harm others, not how fast a debug build is.
fn is_optimised() -> bool {
    std::env::var_os("TRUNKLINE_CHAOS_BINARY").is_some() || !cfg!(debug_assertions)
}

/// What the gateway takes of a server in one message.
fn max_upstream_bytes() -> usize {
    if is_optimised() { 4 << 20 } else { 512 << 10 }
}

fn tells() -> bool {
    std::env::var_os("TRUNKLINE_CHAOS_TELLS").is_some()
}

/// Everything of a run.
struct Rig {
    gateway: TestGateway,
    wild: Arc<Vec<Wild>>,
    good: Good,
    _folder: TempDir,
}

impl Rig {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let good = Good::start().await;
        let mut wild = vec![
            Wild::http(false).await,
            Wild::http(true).await,
            Wild::legacy().await,
            Wild::program(folder.path()),
        ];
        if let Some(only) = setting::<String>("TRUNKLINE_CHAOS_ONLY") {
            wild.retain(|own| own.name() == only);
        }
        for own in &wild {
            own.calm().await;
        }
        let entries: String = wild.iter().map(Wild::entry).collect();
        let config = format!(
            "general_settings:\n  mcp_call_timeout_ms: {}\n  mcp_list_timeout_ms: 4000\n  mcp_max_upstream_bytes: {}\n\
             mcp_servers:\n  good:\n    url: {}\n{entries}",
            CALL_LIMIT.as_millis(),
            max_upstream_bytes(),
            good.upstream.url()
        );
        let mut builder = TestGateway::builder().config(&config);
        if let Some(binary) = std::env::var_os("TRUNKLINE_CHAOS_BINARY") {
            builder = builder.binary(&PathBuf::from(binary));
        }
        Self {
            gateway: builder.start().await,
            wild: Arc::new(wild),
            good,
            _folder: folder,
        }
    }

    fn servers(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once("good").chain(self.wild.iter().map(Wild::name))
    }

    /// Waits until every server answers clients of both eras, over MCP and REST, and is said to be well.
    async fn all_well(&self) {
        let began = Instant::now();
        for server in self.servers() {
            for manner in Manner::OF_CALLS {
                let client = Client::new(&self.gateway, server, manner).await;
                let left = RECOVERY.saturating_sub(began.elapsed()).max(GRACE);
                let until = Instant::now() + left;
                while let Err(why) = client.is_served().await {
                    assert!(
                        Instant::now() < until,
                        "{server} does not answer ({manner:?}) after {left:.0?}: {why}"
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        let healthy = async || {
            let rows = self
                .gateway
                .client()
                .get("/v1/mcp/server")
                .await
                .expect_status(200)
                .json();
            let rows = rows.as_array().unwrap().clone();
            rows.iter()
                .all(|row| row["outcome"]["status"] == "ok" && row["circuit"] == "closed")
        };
        let left = RECOVERY.saturating_sub(began.elapsed()).max(GRACE);
        eventually("every server is well", left, healthy).await;
    }

    /// Everybody asks, from now on.
    async fn load(&mut self, chance: &mut Chance, findings: &Arc<Findings>) -> JoinSet<()> {
        self.good.load(&self.gateway, findings).await;
        let mut clients = JoinSet::new();
        for own in self.wild.iter() {
            for manner in Manner::ALL {
                let client = Client::new(&self.gateway, own.name(), manner).await;
                clients.spawn(load::wild(client, chance.branch(), Arc::clone(findings)));
            }
            let (url, key) = (self.gateway.url(), self.gateway.master_key().to_owned());
            let (chance, findings) = (chance.branch(), Arc::clone(findings));
            clients.spawn(load::listens(url, key, own.name(), chance, findings));
        }
        clients
    }
}

#[test]
fn timed_chaos_of_one_server_is_that_servers() {
    // Those who make the chaos get what the gateway leaves of the machine: its work counts here, not theirs. The gateway is
    // started from this thread, and is as important as ever.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(|| {
            rustix::process::nice(19).unwrap();
        })
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(chaos());
}

async fn chaos() {
    let seed = setting("TRUNKLINE_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000);
    let length = Duration::from_secs(setting("TRUNKLINE_CHAOS_SECONDS").unwrap_or(60));
    println!("TRUNKLINE_CHAOS_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut rig = Rig::start().await;
    rig.all_well().await;
    let before = Usage::of(&rig.gateway);

    let mut run = Run::begin(&mut rig, &mut chance).await;
    run.lasts(&rig, length).await;
    let mut undisturbed = pace::is_undisturbed(&run.findings, 0..run.slices);
    for _ in 1..ATTEMPTS {
        if !undisturbed {
            let from = run.slices;
            run.goes_on(&rig, AGAIN).await;
            undisturbed = pace::is_undisturbed(&run.findings, from..run.slices);
        }
    }
    let (findings, watch) = run.end(&mut rig).await;

    rig.all_well().await;
    let wrong = findings.all_wrong();
    assert!(
        wrong.is_empty(),
        "{} findings:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let (answered, failed) = findings.counts();
    println!("{answered} answers and {failed} named failures of the wild servers");
    assert!(
        answered > 100 && failed > 100,
        "both are seen: {answered}, {failed}"
    );
    let log = rig.gateway.log();
    assert!(!log.contains("panicked"), "{log}");
    nothing_is_left(&rig, before).await;
    watch.assert_level();
    assert!(undisturbed, "calls of the good server take longer beside chaos");
}

/// Chaos and quiet in turn: slices, of which the even ones are quiet.
struct Run {
    findings: Arc<Findings>,
    watch: Watch,
    slices: usize,
    calm: tokio::sync::watch::Sender<bool>,
    clients: JoinSet<()>,
    changes: JoinSet<()>,
}

impl Run {
    async fn begin(rig: &mut Rig, chance: &mut Chance) -> Self {
        let findings = Arc::new(Findings::default());
        findings.slice.store(BETWEEN, Ordering::Relaxed);
        let clients = rig.load(chance, &findings).await;
        let calm = tokio::sync::watch::Sender::new(true);
        let mut changes = JoinSet::new();
        for index in 0..rig.wild.len() {
            let (wild, chance, calm) = (Arc::clone(&rig.wild), chance.branch(), calm.subscribe());
            changes.spawn(async move { wild[index].changes(chance, calm).await });
        }
        Self {
            findings,
            watch: Watch::new(),
            slices: 0,
            calm,
            clients,
            changes,
        }
    }

    /// For so long, and at least one slice of each.
    async fn lasts(&mut self, rig: &Rig, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length || self.slices < 2 {
            self.goes_on(rig, 2).await;
        }
    }

    async fn goes_on(&mut self, rig: &Rig, slices: usize) {
        for slice in self.slices..self.slices + slices {
            self.calm.send_replace(slice % 2 == 0);
            tokio::time::sleep(SETTLE).await;
            self.findings.slice.store(slice, Ordering::Relaxed);
            let began = Instant::now();
            while began.elapsed() < SLICE {
                self.watch.look(&rig.gateway);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            self.findings.slice.store(BETWEEN, Ordering::Relaxed);
            if tells() {
                let used = rig.gateway.processor_time();
                println!("slice {slice}: the gateway has used {used:.1?} of the processors");
            }
            rig.good.upstream.clear();
            self.slices += 1;
        }
    }

    /// Everybody stops, and the servers are well again.
    async fn end(mut self, rig: &mut Rig) -> (Arc<Findings>, Watch) {
        assert!(
            self.changes.try_join_next().is_none(),
            "nobody who changes a server has stopped"
        );
        self.changes.shutdown().await;
        for own in rig.wild.iter() {
            own.calm().await;
        }
        assert!(self.clients.try_join_next().is_none(), "no client has stopped");
        self.clients.shutdown().await;
        rig.good.stop();
        (self.findings, self.watch)
    }
}

/// As many processes as there were, and no more descriptors than kept connections and a margin.
async fn nothing_is_left(rig: &Rig, before: Usage) {
    let what = format!(
        "{} processes, as before, and about {} descriptors",
        before.processes, before.descriptors
    );
    eventually(&what, RECOVERY, async || {
        let now = Usage::of(&rig.gateway);
        let programs: usize = rig.wild.iter().map(Wild::processes).sum();
        programs <= 1 && now.processes <= before.processes && now.descriptors <= before.descriptors + 64
    })
    .await;
    println!("before {before:?}, after {:?}", Usage::of(&rig.gateway));
}
