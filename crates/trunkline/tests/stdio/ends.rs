//! Programs that die, that stay, that say too much, that are not there.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_testkit::{Signal, TestGateway, eventually};

use crate::support::{Entry, PATIENCE, client, config, gateway, is, parent, row, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b75_a_command_that_is_not_there_is_said_and_others_go_on() {
    let entry = Entry::new("good");
    let text = format!(
        "{}  missing:\n    transport: stdio\n    command: no-such-program-here\n    args: [x]\n",
        config(&[&entry])
    );
    let gateway = TestGateway::start(&text).await;
    is(&gateway, "good", "ok").await;
    let row = is(&gateway, "missing", "misconfigured").await;
    assert_eq!(row["outcome"]["step"], "start", "{row}");
    let message = row["outcome"]["message"].as_str().unwrap();
    assert!(
        message.contains("command not found: no-such-program-here"),
        "{message}"
    );
    let mut client = client(&gateway, "good").await;
    assert_eq!(said(&mut client, "echo", &json!({"text": "a"})).await, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_a_program_that_dies_is_said_so_and_started_again() {
    let secret = trunkline_testkit::Canary::new("program-secret");
    let entry = Entry::new("prog").line(&format!("env: {{SECRET: '{}'}}", secret.value()));
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    let first = said(&mut client, "pid", &json!({})).await;

    let reply = client.call("die", &json!({"code": 7}), None).await.everything();
    assert!(reply.contains("exit code 7"), "{reply}");
    assert!(reply.contains("about to die: [redacted]"), "{reply}");
    let row = row(&gateway, "prog").await;
    assert_eq!(row["outcome"]["status"], "unreachable", "{row}");
    assert!(
        row["outcome"]["message"]
            .as_str()
            .unwrap()
            .contains("exit code 7"),
        "{row}"
    );

    // By itself.
    let row = is(&gateway, "prog", "ok").await;
    assert_eq!(row["programs"][0]["state"], "running", "{row}");
    assert_eq!(row["programs"][0]["restarts"], 1, "{row}");
    assert!(
        row["programs"][0]["last_exit"]
            .as_str()
            .unwrap()
            .contains("exit code 7"),
        "{row}"
    );
    let second = said(&mut client, "pid", &json!({})).await;
    assert_ne!(first, second, "the same client goes on with the new one");
    assert_eq!(entry.processes().len(), 1);
    secret.assert_absent(&[("the log", gateway.log()), ("the row", row.to_string())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_a_program_that_ends_within_an_answer_is_said_to_have_ended() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    let reply = client
        .call("die", &json!({"code": 7, "cut": -5}), None)
        .await
        .everything();
    assert!(reply.contains("exit code 7"), "{reply}");
    // An answer that is whole counts, with or without the end of its line.
    is(&gateway, "prog", "ok").await;
    let mut client = crate::support::client(&gateway, "prog").await;
    let reply = client.call("die", &json!({"cut": 9999}), None).await;
    assert_eq!(crate::support::text(&reply.result()), "never");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_a_program_that_keeps_dying_is_started_more_and_more_seldom() {
    let entry = Entry::new("prog").option("die=0.1").option("spam").option("junk");
    let good = Entry::new("good").option("spam").option("junk");
    let gateway = gateway(&[&entry, &good]).await;
    let good_client = async {
        is(&gateway, "good", "ok").await;
        let mut client = client(&gateway, "good").await;
        for _ in 0..50 {
            assert_eq!(said(&mut client, "echo", &json!({"text": "on"})).await, "on");
        }
    };
    good_client.await;
    eventually("it backs off", PATIENCE, async || {
        let row = row(&gateway, "prog").await;
        row["programs"][0]["restarts"].as_u64() >= Some(3)
            && row["programs"][0]["state"] == "backoff"
            && row["programs"][0]["not_before"].is_string()
    })
    .await;
    let began = Instant::now();
    let row = row(&gateway, "prog").await;
    let starts = row["programs"][0]["restarts"].as_u64().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let row = crate::support::row(&gateway, "prog").await;
    let more = row["programs"][0]["restarts"].as_u64().unwrap() - starts;
    assert!(more <= 2, "{more} starts in {:?}: {row}", began.elapsed());
    let junk = crate::support::row(&gateway, "good").await;
    assert!(junk["programs"][0]["junk_lines"].as_u64() >= Some(50), "{junk}");
    assert!(entry.processes().len() <= 1);
    // Moderation: spam is megabytes in a second.
    assert!(
        gateway.log().len() < 1_000_000,
        "{} bytes of log",
        gateway.log().len()
    );
}

/// Several programs with families that neither a signal to a group nor a request to end reaches, in the sandbox and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_no_process_is_left_within_a_second_of_the_gateway_s_kill_9() {
    let confined = Entry::new("confined")
        .option("stubborn")
        .option("family")
        .confined();
    let bare = Entry::new("bare").option("stubborn").option("family");
    let entries = [&confined, &bare];
    let mut gateway = gateway(&entries).await;
    let mut watchers = Vec::new();
    for (entry, name) in entries.iter().zip(["confined", "bare"]) {
        let row = is(&gateway, name, "ok").await;
        entry.becomes(5, PATIENCE).await;
        let main = u32::try_from(row["programs"][0]["pid"].as_u64().unwrap()).unwrap();
        assert!(entry.processes().contains(&main), "{row}");
        watchers.extend(parent(main));
    }
    if cfg!(target_os = "linux") {
        assert_eq!(watchers.len(), 2);
        assert!(
            watchers
                .iter()
                .all(|watcher| parent(*watcher) == Some(gateway.pid()))
        );
    }
    let began = Instant::now();
    gateway.kill9().await;
    let left = || {
        let programs = entries.iter().flat_map(|entry| entry.processes());
        let watchers = watchers
            .iter()
            .copied()
            .filter(|watcher| parent(*watcher).is_some());
        programs.chain(watchers).collect::<Vec<u32>>()
    };
    while !left().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "left after a second: {:?}",
            left()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("none of 12 processes is left {:?} after kill -9", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_of_the_gateway_input_ends_first() {
    let folder = tempfile::tempdir().unwrap();
    let bye = folder.path().join("bye");
    let polite = Entry::new("polite").option(&format!("bye={}", bye.display()));
    let stubborn = Entry::new("stubborn").option("stubborn");
    let mut gateway = gateway(&[&polite, &stubborn]).await;
    is(&gateway, "polite", "ok").await;
    is(&gateway, "stubborn", "ok").await;
    let exit = gateway.stop(Signal::Term).await;
    assert_eq!(exit.code, Some(0));
    assert_eq!(std::fs::read_to_string(&bye).unwrap(), "input ended");
    polite.becomes(0, Duration::from_secs(2)).await;
    stubborn.becomes(0, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_read_keeps_nobody_but_its_own_callers() {
    let deaf = Entry::new("deaf").option("deaf").line("timeout: 30");
    let good = Entry::new("good");
    let gateway = gateway(&[&deaf, &good]).await;
    is(&gateway, "good", "ok").await;
    let mut client = client(&gateway, "good").await;
    let mut own = gateway.mcp_at("/deaf/mcp").with_protocol("2025-11-25");
    let calls = tokio::spawn(async move {
        // Answered by the gateway from what the hand-shake said.
        own.initialize().await;
        let big = "z".repeat(8 * 1024 * 1024);
        own.request(
            "completion/complete",
            &json!({"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": "a", "value": big}}),
        )
        .await
        .everything()
    });
    for _ in 0..20 {
        assert_eq!(said(&mut client, "echo", &json!({"text": "on"})).await, "on");
    }
    calls.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_shows_how_a_program_starts_and_what_it_says() {
    let good = Entry::new("good").option("junk");
    let bad = Entry::new("bad").option("era=strict").option("die=0");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.yaml");
    std::fs::write(&file, config(&[&good, &bad])).unwrap();
    let file = file.to_string_lossy().into_owned();
    let data = home.path().join("data").to_string_lossy().into_owned();
    let output = TestGateway::builder()
        .run(&["doctor", "--config", &file, "--data-dir", &data])
        .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("start") && text.contains("process "), "{text}");
    assert!(text.contains("=> ok"), "{text}");
    assert!(
        text.contains("are no messages; the last: starting up..."),
        "{text}"
    );
    assert!(text.contains("stderr: my time has come"), "{text}");
    assert!(text.contains("exit code 3"), "{text}");
    assert_eq!(good.processes().len() + bad.processes().len(), 0);
}

/// A program that runs and whose hand-shake is lost would keep its server from everybody: for as long as a program may take to be
/// fetched, or for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_a_program_whose_hand_shake_is_lost_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let entries = ["other", "seven", "behind"].map(|how| {
        let file = folder.path().join(how);
        Entry::new(how).option(&format!("greets={how},{}", file.display()))
    });
    let gateway = gateway(&entries.each_ref()).await;
    let began = Instant::now();
    for how in ["other", "seven", "behind"] {
        let row = is(&gateway, how, "ok").await;
        assert_eq!(row["programs"][0]["restarts"], 1, "{row}");
        let last = row["programs"][0]["last_exit"].as_str().unwrap();
        assert!(last.contains("initialize"), "{last}");
        let mut client = client(&gateway, how).await;
        assert_eq!(said(&mut client, "echo", &json!({"text": "a"})).await, "a");
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
