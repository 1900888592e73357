//! Which era a program speaks is decided by the first message that it gets: the gateway asks one of its own for it.

use serde_json::json;

use crate::support::{Entry, client, gateway, is, modern, result, said, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_eras_call_programs_of_both() {
    let entries =
        ["legacy", "strict", "modern", "dual"].map(|era| Entry::new(era).option(&format!("era={era}")));
    let gateway = gateway(&entries.iter().collect::<Vec<_>>()).await;
    for (era, entry) in ["legacy", "strict", "modern", "dual"].into_iter().zip(&entries) {
        is(&gateway, era, "ok").await;
        let answer = modern(
            &gateway,
            era,
            "tools/call",
            &json!({"name": "echo", "arguments": {"text": "new"}}),
        )
        .await;
        assert_eq!(text(&result(&answer)), "new", "{era}");
        let mut client = client(&gateway, era).await;
        assert_eq!(
            said(&mut client, "echo", &json!({"text": "old"})).await,
            "old",
            "{era}"
        );
        // A child speaks one era; those that were only asked are gone.
        let expected = if era == "dual" { 2 } else { 1 };
        entry.becomes(expected, crate::support::PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_version_is_the_only_one_that_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let entry = Entry::new("prog")
        .option("era=dual")
        .option(&format!("journal={}", journal.display()))
        .line("protocol_version: '2025-06-18'");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let answer = modern(
        &gateway,
        "prog",
        "tools/call",
        &json!({"name": "echo", "arguments": {"text": "new"}}),
    )
    .await;
    assert_eq!(text(&result(&answer)), "new");
    let journal = std::fs::read_to_string(&journal).unwrap();
    assert!(journal.starts_with(r#"{"jsonrpc":"2.0","id":"#), "{journal}");
    assert!(journal.contains(r#""protocolVersion":"2025-06-18""#), "{journal}");
    assert!(!journal.contains("server/discover"), "{journal}");
    assert_eq!(entry.processes().len(), 1);
}
