//! How long calls of the good server take beside chaos, measured against how long they take beside quiet.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use trunkline_testkit::{Act, Framing, ScriptedUpstream, TestGateway};

use crate::load::{self, Client, Findings, Manner};

/// What a call of the good server takes by itself: what tools take that do something. A tenth of it is more than a busy
/// scheduler adds, and less than any wait for somebody else's server.
const TAKES: Duration = Duration::from_millis(100);
/// Its clients. One call after the other each, so there are enough in a slice for a 99th percentile.
const CLIENTS: usize = 12;
/// How much longer calls may take beside chaos.
const MOST: f64 = 1.10;
/// Pairs of slices of which a disturbance of the machine is a small part: a quarter of an hour.
const LONG: usize = 60;

/// The server that behaves. It and its clients have a thread that they share with none of those who make the chaos: what is
/// measured is the gateway, not this process.
pub(crate) struct Good {
    pub(crate) upstream: ScriptedUpstream,
    runtime: Option<Runtime>,
    clients: Vec<JoinHandle<()>>,
}

impl Drop for Good {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Good {
    pub(crate) async fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let builder = ScriptedUpstream::builder().framing(Framing::Json);
        let upstream = runtime.spawn(builder.start()).await.unwrap();
        upstream.on("tools/call", Act::Delay(TAKES));
        Self {
            upstream,
            runtime: Some(runtime),
            clients: Vec::new(),
        }
    }

    /// Its clients call from now on.
    pub(crate) async fn load(&mut self, gateway: &TestGateway, findings: &Arc<Findings>) {
        let runtime = self.runtime.as_ref().unwrap();
        for number in 0..CLIENTS {
            let manner = Manner::OF_CALLS[number % Manner::OF_CALLS.len()];
            let client = Client::new(gateway, "good", manner).await;
            let calls = load::good(client, Arc::clone(findings));
            self.clients.push(runtime.spawn(calls));
        }
    }

    pub(crate) fn stop(&mut self) {
        for client in self.clients.drain(..) {
            assert!(!client.is_finished(), "no client has stopped");
            client.abort();
        }
    }
}

/// Whether the good server's calls take as long beside chaos as beside quiet. Each slice of chaos is compared with the quiet one
/// just before it, so that both saw the same machine; the median of the ratios of their 99th percentiles is at most 1.1. In a
/// long run so is the ratio of the 99th percentiles of everything. Even slices are quiet.
pub(crate) fn is_undisturbed(findings: &Findings, slices: std::ops::Range<usize>) -> bool {
    let mut ratios = Vec::new();
    let mut told = String::new();
    for quiet in slices.clone().step_by(2) {
        let (before, beside) = (
            findings.p99(|slice| slice == quiet),
            findings.p99(|slice| slice == quiet + 1),
        );
        let ratio = beside.as_secs_f64() / before.as_secs_f64();
        let _ = write!(told, " {before:.1?}/{beside:.1?}={ratio:.2}");
        ratios.push(ratio);
    }
    let own = |slice: usize| slices.contains(&slice);
    let (before, beside) = (
        findings.p99(|slice| own(slice) && slice % 2 == 0),
        findings.p99(|slice| own(slice) && slice % 2 == 1),
    );
    let whole = beside.as_secs_f64() / before.as_secs_f64();
    let pairs = ratios.len();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[pairs / 2];
    println!("p99 of the good server beside quiet and chaos:{told}");
    println!("median of the ratios {median:.3}; of everything {before:.1?}/{beside:.1?}={whole:.3}");
    median <= MOST && (pairs < LONG || whole <= MOST)
}
