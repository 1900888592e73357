//! Everything wrong with a program at once, and for long.
//!
//! A little more than a minute, or as long as `TRUNKLINE_ENDURE_SECONDS` says (`cargo test`, which has no limit of its own):
//! `TRUNKLINE_ENDURE_SECONDS=3600 cargo test -p trunkline --test stdio b76_everything -- --nocapture`.

use std::time::{Duration, Instant};

use futures_util::future::join;
use serde_json::json;
use trunkline_testkit::TestGateway;

use crate::support::{Entry, PATIENCE, children, client, gateway, is, row, said, state, text};

/// Between two deaths of the program.
const LIFE: u64 = 5;
/// No call may take longer: the deadline of the server and what a busy machine adds.
const ANSWERED: Duration = Duration::from_secs(30);
const BIG: usize = 20 * 1024 * 1024;

fn length() -> Duration {
    let seconds = std::env::var("TRUNKLINE_ENDURE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(70, |text| text.parse().unwrap()))
}

/// Calls until the end, whatever comes. How many were answered, and how many were refused with a reason.
async fn call_on(gateway: &TestGateway, bytes: usize, until: Instant) -> (u32, u32) {
    let mut client = client(gateway, "bad").await;
    let (mut answered, mut refused) = (0, 0);
    while Instant::now() < until {
        let arguments = json!({"bytes": bytes});
        let reply = tokio::time::timeout(ANSWERED, client.call("big", &arguments, None))
            .await
            .unwrap_or_else(|_| panic!("no answer to a call for {bytes} bytes within {ANSWERED:?}"));
        match reply.outcome() {
            Ok(result) if result["isError"] != true => {
                assert_eq!(text(&result).len(), bytes);
                answered += 1;
            }
            _ => {
                let why = reply.everything();
                assert!(why.contains("exit code 3") || why.contains("program"), "{why}");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    (answered, refused)
}

/// Looks until the end: one process at most, nobody dead and not buried, and a row that says how it is.
async fn look_on(gateway: &TestGateway, bad: &Entry, until: Instant) {
    let (mut dead, mut said_so) = (Vec::new(), false);
    while Instant::now() < until {
        assert!(bad.processes().len() <= 1, "{:?}", bad.processes());
        let now: Vec<u32> = children(gateway.pid())
            .into_iter()
            .filter(|pid| state(*pid) == Some('Z'))
            .collect();
        // One that has just ended may be seen once.
        let stays = now.iter().find(|pid| dead.contains(*pid));
        assert_eq!(stays, None, "a zombie stays");
        dead = now;
        let row = row(gateway, "bad").await;
        let program = &row["programs"][0];
        let known = ["running", "backoff", "ended"];
        assert!(
            known.contains(&program["state"].as_str().unwrap_or_default()),
            "{row}"
        );
        if program["state"] == "backoff" {
            assert!(
                program["last_exit"]
                    .as_str()
                    .is_some_and(|exit| exit.contains("exit code 3")),
                "{row}"
            );
            said_so |= row["outcome"]["status"] == "unreachable";
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(said_so, "while it was down, its row said so");
}

/// Another server's calls go on all the time.
async fn go_on(gateway: &TestGateway, until: Instant) -> u32 {
    let mut client = client(gateway, "good").await;
    let mut calls = 0;
    while Instant::now() < until {
        let arguments = json!({"text": "on"});
        let answer = tokio::time::timeout(ANSWERED, said(&mut client, "echo", &arguments)).await;
        assert_eq!(answer.unwrap_or_default(), "on");
        calls += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_everything_that_is_wrong_with_a_program_for_long() {
    let die = format!("die={LIFE}");
    let bad = Entry::new("bad")
        .option(&die)
        .option("spam")
        .option("junk")
        .confined();
    let bad = bad.line("timeout: 20");
    let good = Entry::new("good").option("junk").confined();
    let mut gateway = gateway(&[&bad, &good]).await;
    is(&gateway, "good", "ok").await;
    is(&gateway, "bad", "ok").await;
    let began = Instant::now();
    let until = began + length();
    let (((big, small), calls), ()) = join(
        join(
            join(call_on(&gateway, BIG, until), call_on(&gateway, 10, until)),
            go_on(&gateway, until),
        ),
        look_on(&gateway, &bad, until),
    )
    .await;
    println!(
        "of 20 MiB: {} answered, {} refused; small ones: {small:?}; {calls} of the other server",
        big.0, big.1
    );
    assert!(
        big.0 > 0 && small.0 > 0 && calls > 100,
        "{big:?} {small:?} {calls}"
    );

    let row = row(&gateway, "bad").await;
    let restarts = row["programs"][0]["restarts"].as_u64().unwrap();
    // At once, after 0.5 s, 1 s, … 30 s: neither given up nor started as fast as it dies.
    let seconds = length().as_secs();
    println!(
        "{restarts} restarts in {seconds} s; {} bytes of log",
        gateway.log().len()
    );
    assert!(restarts >= seconds / 45 + 2, "{restarts}: {row}");
    assert!(restarts <= seconds / 29 + 6, "{restarts}: {row}");
    assert!(row["programs"][0]["stderr"].to_string().len() < 1_000_000);
    assert!(
        gateway.log().len() < 1_000_000,
        "{} bytes of log",
        gateway.log().len()
    );

    // Within a second: see `ends`, which nothing else runs beside.
    let families = children(gateway.pid());
    assert!(!families.is_empty());
    let began = Instant::now();
    gateway.kill9().await;
    let left = || {
        let watchers = families
            .iter()
            .copied()
            .filter(|pid| state(*pid).is_some_and(|state| state != 'Z'));
        let programs = bad.processes().into_iter().chain(good.processes());
        watchers.chain(programs).collect::<Vec<u32>>()
    };
    while !left().is_empty() {
        assert!(began.elapsed() < PATIENCE, "left: {:?}", left());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
