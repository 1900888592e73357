//! What the attacks share: raw sockets, configurations, and waiting for a gateway to know its servers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_testkit::{HttpClient, ScriptedUpstream, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with these servers over Streamable HTTP.
pub(crate) fn config(servers: &[(&str, &ScriptedUpstream)]) -> String {
    let mut text = "mcp_servers:\n".to_owned();
    for (name, upstream) in servers {
        text.push_str(
            &[
                "  ",
                name,
                ":\n    url: ",
                &upstream.url(),
                "\n    transport: http\n",
            ]
            .concat(),
        );
    }
    text
}

/// Waits until the gateway has listed the server, so that it has no reason to contact it by itself.
pub(crate) async fn listed(gateway: &TestGateway, server: &str) {
    eventually(&format!("{server} is listed"), PATIENCE, async || {
        outcome(&gateway.client(), server).await["status"] == "ok"
    })
    .await;
}

/// A server's row in the management API, by name.
pub(crate) async fn row(client: &HttpClient, server: &str) -> Value {
    let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
    let found = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["alias"] == server || row["server_name"] == server);
    found
        .unwrap_or_else(|| panic!("no server {server} in {rows}"))
        .clone()
}

/// What the gateway knows of a server, without asking it.
pub(crate) async fn outcome(client: &HttpClient, server: &str) -> Value {
    row(client, server).await["outcome"].clone()
}

/// Sends bytes on a connection of their own and reads until the gateway closes it, or has said nothing for a while.
pub(crate) async fn raw(port: u16, bytes: &[u8]) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let bytes = bytes.to_vec();
    // Beside the reading: a gateway that has heard enough closes while there is still something to send.
    let sending = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let mut answer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while let Ok(Ok(length @ 1..)) =
        tokio::time::timeout(Duration::from_secs(10), reader.read(&mut piece)).await
    {
        answer.extend_from_slice(&piece[..length]);
    }
    sending.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of a raw answer; 0 when the connection was closed without one.
pub(crate) fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default()
}

/// What follows the head of a raw answer.
pub(crate) fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// `tools/list` as a message.
pub(crate) fn list_message() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string()
}

/// Registers a server and gives its id.
pub(crate) async fn register(client: &HttpClient, body: &Value) -> String {
    let row = client
        .post("/v1/mcp/server", body)
        .await
        .expect_status(201)
        .json();
    row["server_id"].as_str().unwrap().to_owned()
}

/// Every byte percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let encode = |all: String, byte: u8| all + &format!("%{byte:02X}");
    text.bytes().fold(String::new(), encode)
}
