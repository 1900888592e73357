//! What a program asks and tells in the middle of a call: over one pipe, to the right client.

use serde_json::{Value, json};
use trunkline_testkit::{EventStream, McpClient, TestGateway, eventually};

use crate::support::{Entry, PATIENCE, client, client_with, gateway, is, modern_with, result, said, text};

/// Reads on to the response, answering what is asked with the name of the client.
async fn answering(client: &McpClient, stream: &mut EventStream, name: &str) -> Value {
    loop {
        let message = stream.expect_next(PATIENCE).await;
        match message["method"].as_str() {
            Some("elicitation/create") => {
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "accept", "content": {"name": name}}});
                client.send_message(answer.to_string()).await.unwrap();
            }
            Some("sampling/createMessage") => {
                let content = json!({"type": "text", "text": format!("Paris, says {name}")});
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"role": "assistant", "content": content, "model": "m"}});
                client.send_message(answer.to_string()).await.unwrap();
            }
            None if message.get("id").is_some() => return message,
            // A notification.
            _ => {}
        }
    }
}

async fn ask(client: &mut McpClient, tool: &str, name: &str) -> Value {
    let mut stream = client
        .open("tools/call", &json!({"name": tool, "arguments": {}}))
        .await;
    answering(client, &mut stream, name).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b59_a_question_in_the_middle_of_a_call_reaches_its_client() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client_with(&gateway, "prog", json!({"elicitation": {}, "sampling": {}})).await;
    assert_eq!(
        said(&mut client, "told", &json!({})).await,
        r#"{"sampling": {}, "elicitation": {}}"#
    );
    let answer = ask(&mut client, "elicit", "Ann").await;
    assert_eq!(text(&answer["result"]), r#"{"name": "Ann"}"#, "{answer}");
    let answer = ask(&mut client, "sample", "Ann").await;
    assert!(text(&answer["result"]).contains("Paris, says Ann"), "{answer}");
    // Who declared nothing is asked nothing, and has another child: this one was told that it can ask.
    let mut quiet = crate::support::client(&gateway, "prog").await;
    assert_eq!(said(&mut quiet, "told", &json!({})).await, "{}");
    assert_eq!(entry.processes().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b59_what_may_be_anybody_s_question_is_nobody_s() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let capabilities = json!({"elicitation": {}});
    let mut ann = client_with(&gateway, "prog", capabilities.clone()).await;
    let mut bob = client_with(&gateway, "prog", capabilities).await;
    // Ann's call goes on while Bob's program asks: it cannot be told who is meant.
    let slow = tokio::spawn(async move { said(&mut ann, "slow", &json!({"seconds": 2})).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let answer = said(&mut bob, "elicit", &json!({})).await;
    assert!(answer.contains("cannot tell which"), "{answer}");
    slow.await.unwrap();
    let answer = ask(&mut bob, "elicit", "Bob").await;
    assert_eq!(text(&answer["result"]), r#"{"name": "Bob"}"#, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b59_a_client_of_the_new_era_is_asked_in_its_own_way() {
    let old = Entry::new("old");
    let new = Entry::new("new").option("era=modern");
    let gateway = gateway(&[&old, &new]).await;
    is(&gateway, "old", "ok").await;
    is(&gateway, "new", "ok").await;
    let asks = json!({"elicitation": {"form": {}}});
    for name in ["old", "new"] {
        let call = json!({"name": "elicit", "arguments": {}});
        let first = result(&modern_with(&gateway, name, ("tools/call", &call), &asks).await);
        assert_eq!(first["resultType"], "input_required", "{name}: {first}");
        let (key, _) = first["inputRequests"].as_object().unwrap().iter().next().unwrap();
        let mut again = call.clone();
        again["inputResponses"] = json!({key: {"action": "accept", "content": {"name": "Ann"}}});
        if let Some(state) = first.get("requestState") {
            again["requestState"] = state.clone();
        }
        let last = result(&modern_with(&gateway, name, ("tools/call", &again), &asks).await);
        assert_eq!(text(&last), r#"{"name": "Ann"}"#, "{name}: {last}");
    }
    // A client of the old era with a server of the new one.
    let mut client = client_with(&gateway, "new", json!({"elicitation": {}})).await;
    let answer = ask(&mut client, "elicit", "Bob").await;
    assert_eq!(text(&answer["result"]), r#"{"name": "Bob"}"#, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_and_log_lines_go_to_the_call_that_they_are_about() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(client(&gateway, "prog").await);
    }
    let calls = clients.iter_mut().enumerate().map(|(number, client)| async move {
        let token = format!("token-{number}");
        let reply = client
            .call("progress", &json!({"pause": 0.2}), Some(&token))
            .await;
        let told: Vec<&Value> = reply
            .notifications()
            .iter()
            .map(|event| &event.message["params"])
            .collect();
        assert_eq!(told.len(), 3, "{}", reply.everything());
        assert!(
            told.iter().all(|params| params["progressToken"] == token),
            "{told:?}"
        );
    });
    futures_util::future::join_all(calls).await;
    let reply = clients[0].call("log", &json!({}), None).await;
    assert_eq!(reply.notifications().len(), 1, "{}", reply.everything());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_list_is_heard_and_told() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    client.tool_names().await;
    let mut stream = client.get_stream().await;
    said(&mut client, "changed", &json!({"name": "another"})).await;
    told(&mut stream, "notifications/tools/list_changed").await;
    eventually("it is listed", PATIENCE, async || {
        let mut other = crate::support::client(&gateway, "prog").await;
        other.tool_names().await.contains(&"another".to_owned())
    })
    .await;
}

async fn told(stream: &mut EventStream, method: &str) -> Value {
    loop {
        let message = stream.expect_next(PATIENCE).await;
        if message["method"] == method {
            return message;
        }
    }
}

async fn listening(gateway: &TestGateway, uri: &str) -> (McpClient, EventStream) {
    let mut client = client(gateway, "prog").await;
    let stream = client.get_stream().await;
    client
        .request("resources/subscribe", &json!({"uri": uri}))
        .await
        .result();
    (client, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_resource_is_told_to_those_who_subscribed_to_it() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let (mut ann, mut ann_hears) = listening(&gateway, "memo://one").await;
    let (mut bob, mut bob_hears) = listening(&gateway, "memo://two").await;
    // Streams are opened upstream a moment later than here.
    let mut third = client(&gateway, "prog").await;
    let (mut one, mut two) = (false, false);
    for _ in 0..50 {
        said(&mut third, "update", &json!({"uri": "memo://one"})).await;
        said(&mut third, "update", &json!({"uri": "memo://two"})).await;
        let wait = std::time::Duration::from_millis(200);
        if let Ok(Some(Ok(event))) = tokio::time::timeout(wait, ann_hears.next()).await {
            let uri = event.message["params"]["uri"].clone();
            assert!(uri.is_null() || uri == "memo://one", "{}", event.message);
            one |= uri == "memo://one";
        }
        if let Ok(Some(Ok(event))) = tokio::time::timeout(wait, bob_hears.next()).await {
            let uri = event.message["params"]["uri"].clone();
            assert!(uri.is_null() || uri == "memo://two", "{}", event.message);
            two |= uri == "memo://two";
        }
        if one && two {
            break;
        }
    }
    assert!(one && two);
    assert_eq!(entry.processes().len(), 1);
    said(&mut ann, "echo", &json!({"text": "a"})).await;
    said(&mut bob, "echo", &json!({"text": "b"})).await;
}
