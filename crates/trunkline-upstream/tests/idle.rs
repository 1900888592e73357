//! Sessions that nobody uses end by themselves, and cost their client nothing but a hand-shake.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use trunkline_auth::Vault;
use trunkline_mcp::Era;
use trunkline_model::{
    Approval, Origin, Secret, Server, ServerDefinition, ServerId, SessionKey, Stamps, SystemClock,
};
use trunkline_testkit::{ScriptedUpstream, eventually};
use trunkline_upstream::{CallRequest, ClientHeaders, Frame, Peer, Settings, Upstreams, Variables};

const IDLE: Duration = Duration::from_secs(1);

async fn call(upstreams: &Arc<Upstreams>, server: &Arc<Server>, client: u8) {
    let out = upstreams.outgoing(server, &ClientHeaders::none()).unwrap();
    let request = CallRequest {
        server: server.clone(),
        out,
        peer: Peer {
            client: Some(SessionKey([client; 16])),
            ..Peer::default()
        },
        era: Era::Legacy,
        header_params: Vec::new(),
        method: "tools/call".into(),
        params: r#"{"name":"echo","arguments":{"message":"hi"}}"#.into(),
        timeout: Duration::from_mins(1),
        progress: None,
    };
    let mut exchange = upstreams.call(request).await.unwrap();
    assert!(matches!(exchange.next().await.unwrap(), Frame::Result(_)));
}

#[tokio::test]
async fn b24_an_idle_session_is_given_back_and_its_client_gets_another() {
    let upstream = ScriptedUpstream::start().await;
    let server = Arc::new(Server {
        id: ServerId::new("files"),
        origin: Origin::File,
        definition: ServerDefinition {
            url: Some(upstream.url()),
            ..ServerDefinition::default()
        },
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    });
    let settings = Settings {
        session_idle: IDLE,
        ..Settings::default()
    };
    let vault = Arc::new(Vault::derive(&Secret::new("root")));
    let variables: Arc<Variables> = Arc::new(|_: &str| None);
    let upstreams = Arc::new(Upstreams::new(
        settings,
        vault,
        variables,
        None,
        Arc::new(SystemClock),
        None,
    ));
    for client in [1, 2] {
        call(&upstreams, &server, client).await;
    }
    assert_eq!(upstream.sessions(), 2);
    upstreams.reap();
    // One of them goes on working, the other does not.
    let half = IDLE / 2;
    for _ in 0..3 {
        tokio::time::sleep(half).await;
        call(&upstreams, &server, 1).await;
        upstreams.reap();
    }
    eventually("one session is given back", Duration::from_secs(10), async || {
        upstream.count("DELETE") == 1
    })
    .await;
    assert_eq!(upstream.sessions(), 1);
    assert_eq!(upstream.count("initialize"), 2);
    call(&upstreams, &server, 2).await;
    assert_eq!(upstream.count("initialize"), 3);
    upstreams.shutdown().await;
    assert_eq!(upstream.sessions(), 0);
}
