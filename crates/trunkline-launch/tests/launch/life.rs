//! How programs end, with all that they started.

use std::io::BufRead as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use trunkline_launch::Cause;

use crate::support::{Place, alive, has_landlock, off, python, sandboxed, sh, until};

/// A daemon that forked twice and leads a session of its own, a child that ignores to be asked, and the program itself.
/// The number that they sleep is how they are found.
fn family(seconds: &str) -> String {
    format!(
        "import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', '{seconds}'])
    os._exit(0)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execvp('sleep', ['sleep', '{seconds}'])
os.wait()
print('ready', flush=True)
os.execvp('sleep', ['sleep', '{seconds}'])"
    )
}

async fn started(place: &Place, seconds: &str) -> trunkline_launch::Running {
    let mut running = place.start(&python(&family(seconds), &[])).await;
    let mut ready = [0; 6];
    running.stdout.read_exact(&mut ready).await.unwrap();
    let mark = format!("sleep\0{seconds}");
    until("all three sleep", Duration::from_secs(10), || {
        alive(&mark).len() == 3
    })
    .await;
    running
}

#[tokio::test]
async fn b76_stopping_ends_the_family() {
    let place = Place::new();
    let mut running = started(&place, "86401").await;
    let begin = Instant::now();
    running.stop(Duration::from_millis(300)).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(alive("sleep\x0086401"), [0; 0], "nobody is left when it returns");
    assert_eq!(running.wait().await.cause, Cause::Stopped);
}

#[tokio::test]
async fn b76_letting_go_ends_the_family() {
    let place = Place::new();
    drop(started(&place, "86402").await);
    until("all are gone", Duration::from_secs(1), || {
        alive("sleep\x0086402").is_empty()
    })
    .await;
}

#[tokio::test]
async fn b76_the_end_of_the_program_ends_the_family() {
    let place = Place::new();
    let mut running = started(&place, "86403").await;
    let pid = rustix::process::Pid::from_raw(running.pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::SEGV).unwrap();
    let ended = running.wait().await;
    assert_eq!((ended.signal, ended.cause), (Some(11), Cause::Itself));
    assert_eq!(ended.to_string(), "was ended by signal 11");
    assert_eq!(alive("sleep\x0086403"), [0; 0]);
}

#[tokio::test]
async fn b76_nobody_is_left_after_the_gateway_was_killed() {
    let place = Place::new();
    let script = family("86404");
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_launch-helper"))
        .args([
            "hold",
            &place.path("state").display().to_string(),
            "python3",
            "-c",
            &script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    std::io::BufReader::new(gateway.stdout.take().unwrap())
        .read_line(&mut pid)
        .unwrap();
    let pid: i32 = pid.trim().parse().unwrap_or_else(|_| panic!("{pid}"));
    until("all three sleep", Duration::from_secs(10), || {
        alive("sleep\x0086404").len() == 3
    })
    .await;
    let watcher = parent(pid).unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    let took = until("0 processes", Duration::from_secs(1), || {
        alive("sleep\x0086404").is_empty() && parent(watcher).is_none()
    })
    .await;
    println!("all gone {took:?} after kill -9 of the gateway");
}

#[tokio::test]
async fn b76_the_program_does_not_outlive_its_watcher() {
    let place = Place::new();
    let mut running = place.start(&sh("exec sleep 86405")).await;
    let watcher = parent(running.pid.cast_signed()).unwrap();
    let pid = rustix::process::Pid::from_raw(watcher).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(running.wait().await.cause, Cause::Lost);
    until("it is gone", Duration::from_secs(1), || {
        alive("sleep\x0086405").is_empty()
    })
    .await;
}

#[tokio::test]
async fn b76_no_zombies() {
    let place = Place::new();
    let script = "for i in $(seq 50); do (sleep 0.01 & sleep 0.01 &) ; done; sleep 0.5; exec sleep 86406";
    let running = place.start(&sh(script)).await;
    until("it sleeps", Duration::from_secs(10), || {
        alive("sleep\x0086406").len() == 1
    })
    .await;
    let watcher = parent(running.pid.cast_signed()).unwrap();
    until("the watcher has one child", Duration::from_secs(2), || {
        let children = std::fs::read_to_string(format!("/proc/{watcher}/task/{watcher}/children")).unwrap();
        children.split_whitespace().count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_small() {
    let place = Place::new();
    let running = place.start(&sh("exec sleep 86407")).await;
    let watcher = parent(running.pid.cast_signed()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{watcher}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("a watcher has {kib} KiB of its own");
    assert!(kib < 4096, "{line}");
}

#[tokio::test]
async fn a_fork_bomb_is_killed() {
    let place = Place::new();
    // In one group, and each in a session of its own.
    for (kind, session) in [("one group", ""), ("own sessions", "os.setsid()")] {
        // It doubles eight times and no more: a test must not be able to take its machine down.
        let bomb = format!(
            "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        {session}\n        pass\ntime.sleep(60)\n"
        );
        let case = sandboxed(python(&bomb, &["bomb-86408"]), &json!({"max_processes": 20}));
        let begin = Instant::now();
        let mut running = place.start(&case).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), running.wait())
            .await
            .unwrap_or_else(|_| panic!("{kind}: it goes on"));
        println!("{kind}: over after {:?}", begin.elapsed());
        assert_eq!(ended.cause, Cause::Processes(20), "{kind}");
        assert!(ended.to_string().contains("sandbox.max_processes"), "{ended}");
        assert_eq!(alive("bomb-86408"), [0; 0], "{kind}");
    }
}

/// Chains of processes that each fork once and go: hardly more than there were, and nobody of whom one hears is there any
/// more when one looks. It ends by itself, so that a test cannot take its machine down.
const CHAINS: &str = r"
import os, sys, time
end = time.time() + 20
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.setsid()
        while time.time() < end:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
        os._exit(0)
print('ready', flush=True)
time.sleep(60)
";

#[tokio::test]
async fn s04_whoever_multiplies_faster_than_it_is_found_is_killed_all_the_same() {
    if !has_landlock(6) {
        return;
    }
    let place = Place::new();
    // Behind a limit that it passes, and when it is told to stop.
    let case = sandboxed(
        python(CHAINS, &["chain-86410", "24"]),
        &json!({"max_processes": 16}),
    );
    let begin = Instant::now();
    let mut running = place.start(&case).await;
    let ended = tokio::time::timeout(Duration::from_secs(15), running.wait())
        .await
        .unwrap_or_else(|_| panic!("it goes on"));
    println!("over after {:?}", begin.elapsed());
    assert_eq!(ended.cause, Cause::Processes(16));
    assert_eq!(alive("chain-86410"), [0; 0]);

    let case = sandboxed(
        python(CHAINS, &["chain-86411", "8"]),
        &json!({"max_processes": 400}),
    );
    let mut running = place.start(&case).await;
    let mut ready = [0; 6];
    running.stdout.read_exact(&mut ready).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!alive("chain-86411").is_empty());
    let begin = Instant::now();
    running.stop(Duration::from_millis(100)).await;
    println!("over {:?} after it was told to stop", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(alive("chain-86411"), [0; 0]);
}

#[tokio::test]
async fn s04_nobody_but_the_family_is_killed_with_it() {
    let place = Place::new();
    // Of the same user, beside it, with other programs of the same gateway among them.
    let mut bystander = Command::new("sleep").arg("86412").spawn().unwrap();
    let mut other = place.start(&sh("exec sleep 86413")).await;
    let mut bare = place.start(&off(sh("exec sleep 86414"))).await;
    for _ in 0..3 {
        let stubborn = "trap '' TERM; sleep 86415; sleep 86415";
        let mut running = place.start(&sh(stubborn)).await;
        running.stop(Duration::from_millis(50)).await;
        assert_eq!(running.wait().await.cause, Cause::Stopped);
        assert_eq!(alive("sleep\x0086415"), [0; 0]);
    }
    assert!(bystander.try_wait().unwrap().is_none());
    for mark in ["sleep\x0086412", "sleep\x0086413", "sleep\x0086414"] {
        assert_eq!(alive(mark).len(), 1, "{mark}");
    }
    other.stop(Duration::ZERO).await;
    bare.stop(Duration::ZERO).await;
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn too_much_memory_is_refused_or_killed() {
    let place = Place::new();
    // One process: the kernel says no.
    let grow = "x = bytearray(300 << 20); print(len(x))";
    let (text, ended) = place
        .run(&sandboxed(python(grow, &[]), &json!({"max_memory_mb": 200})))
        .await;
    assert!(text.contains("MemoryError"), "{text} {ended}");
    // Several together: the watcher counts.
    let each = "import os, time\nfor i in range(4):\n    if os.fork() == 0:\n        x = bytearray(os.urandom(1 << 20) * 80); time.sleep(60)\ntime.sleep(60)";
    let mut running = place
        .start(&sandboxed(python(each, &[]), &json!({"max_memory_mb": 200})))
        .await;
    let ended = tokio::time::timeout(Duration::from_secs(20), running.wait())
        .await
        .unwrap();
    assert_eq!(ended.cause, Cause::Memory(200));
}

#[tokio::test]
async fn off_is_ended_as_well() {
    let place = Place::new();
    let mut running = place.start(&off(python(&family("86409"), &[]))).await;
    let mut ready = [0; 6];
    running.stdout.read_exact(&mut ready).await.unwrap();
    until("all three sleep", Duration::from_secs(10), || {
        alive("sleep\x0086409").len() == 3
    })
    .await;
    running.stop(Duration::from_millis(100)).await;
    assert_eq!(alive("sleep\x0086409"), [0; 0]);
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.next()?.parse().ok()
}
