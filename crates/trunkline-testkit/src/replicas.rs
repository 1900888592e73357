//! Several gateways that are to look like one.

use std::time::Duration;

use futures_util::future::join_all;

use crate::balancer::Balancer;
use crate::gateway::{GatewayBuilder, TestGateway};
use crate::http::HttpClient;
use crate::mcp::McpClient;
use crate::{ScratchDatabase, eventually};

/// Gateways with one configuration on one PostgreSQL database, and a [`Balancer`] in front of them.
#[derive(Debug)]
pub struct Replicas {
    /// The gateways, to be spoken to, and stopped, one by one.
    pub gateways: Vec<TestGateway>,
    /// In front of all.
    pub balancer: Balancer,
    /// Dropped after the gateways.
    pub database: ScratchDatabase,
}

impl Replicas {
    /// So many, all at once, each knowing the others; `None` when there is no PostgreSQL (never with `CI=true`).
    pub async fn start(builder: GatewayBuilder, count: usize) -> Option<Self> {
        let database = ScratchDatabase::create()?;
        let builder = builder.database_url(&database.url());
        let gateways = join_all((0..count).map(|_| builder.clone().start())).await;
        let listed = format!("{count}");
        eventually(
            "every replica is on the list",
            Duration::from_secs(20),
            async || database.sql("SELECT count(*) FROM replica") == listed,
        )
        .await;
        let balancer = Balancer::start(gateways.iter().map(TestGateway::port)).await;
        Some(Self {
            gateways,
            balancer,
            database,
        })
    }

    /// A client of all of them with the master key, request by request another.
    pub fn client(&self) -> HttpClient {
        let key = format!("Bearer {}", self.gateways[0].master_key());
        self.balancer.client().with_header("authorization", &key)
    }

    /// An MCP client of the same.
    pub fn mcp(&self) -> McpClient {
        McpClient::over(self.client(), "/mcp")
    }

    /// The client as it is, but its requests go to this one of the gateways.
    pub fn at(&self, number: usize, client: &McpClient) -> McpClient {
        client.clone().to(&self.gateways[number].url())
    }
}
