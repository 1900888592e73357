//! `trunkline stdio`: the whole gateway for a client that only speaks stdio. A bridge to the running gateway; where none runs
//! and a configuration file is given, the gateway is started in this process, on a port of this machine alone, and bridged
//! to: there is one pipeline. Standard output carries the protocol and nothing else.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use trunkline_client::{Bridge, Gateway, Relocate};

use crate::cli::{LogFormat, ServeArguments, Sources};
use crate::failure::{Code, Failure};
use crate::logging;
use crate::reach::{Found, GatewayArguments, UrlSource};
use crate::serve::{self, Listening};

/// `trunkline stdio`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StdioArguments {
    /// Servers, comma-separated: their names, aliases or access groups. All without it.
    #[arg(long, value_name = "SERVERS")]
    pub(crate) servers: Option<String>,
    /// Where no gateway runs: start one in this process with this file.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// Serves until the client closes its side, or a signal.
pub(crate) async fn run(arguments: &StdioArguments) -> anyhow::Result<ExitCode> {
    logging::begin(LogFormat::Text);
    let stop = CancellationToken::new();
    end_on_signals(stop.clone())?;
    let found = arguments.gateway.find()?;
    let (gateway, own) = match &arguments.config {
        // Whatever listens on the usual port may be somebody else's: with a file, a gateway is one that is known to be meant.
        Some(config) if found.url == UrlSource::Default => Own::start(config, arguments).await?.split(),
        Some(config) if found.url == UrlSource::DataDir && found.gateway.alive().await.is_err() => {
            Own::start(config, arguments).await?.split()
        }
        _ => (running(found).await?, None),
    };
    let bridge = Bridge::new(
        gateway,
        &path(arguments.servers.as_deref()),
        relocate(arguments, own.is_some()),
    );
    bridge.run(tokio::io::stdin(), tokio::io::stdout(), stop).await;
    if let Some(own) = own {
        own.end().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// The gateway that runs.
async fn running(found: Found) -> Result<Gateway, Failure> {
    let gateway = found.gateway;
    gateway.alive().await?;
    if !gateway.has_key() {
        let text = format!("there is no key for the gateway at {}", gateway.url());
        return Err(Failure::new(Code::NotAllowed, text).todo("set TRUNKLINE_KEY"));
    }
    tracing::info!(url = gateway.url(), "bridging to the running gateway");
    Ok(gateway)
}

fn end_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// The endpoint for these servers.
pub(crate) fn path(servers: Option<&str>) -> String {
    match servers {
        None | Some("") => "/mcp".to_owned(),
        Some(servers) => {
            let names: Vec<String> = servers
                .split(',')
                .map(|name| {
                    let name: String = url::form_urlencoded::byte_serialize(name.trim().as_bytes()).collect();
                    name.replace('+', "%20")
                })
                .collect();
            format!("/mcp/{}", names.join(","))
        }
    }
}

/// Looks where the gateway is by now: after a restart it may have another port.
fn relocate(arguments: &StdioArguments, own: bool) -> Relocate {
    let arguments = arguments.gateway.clone();
    Box::new(move || if own { None } else { arguments.gateway().ok() })
}

/// A gateway in this process.
struct Own {
    gateway: Gateway,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Own {
    async fn start(config: &std::path::Path, arguments: &StdioArguments) -> anyhow::Result<Self> {
        let serve = ServeArguments {
            sources: Sources {
                config: Some(config.to_owned()),
                data_dir: arguments.gateway.data_dir.clone(),
            },
            host: "127.0.0.1".to_owned(),
            port: 0,
            port_file: None,
            metrics_addr: None,
            advertise_url: None,
            drain_timeout: 2,
            log_format: LogFormat::Text,
        };
        let (tell, told) = oneshot::channel();
        let mut task = tokio::spawn(Box::pin(serve::embedded(serve, tell)));
        let listening: Listening = tokio::select! {
            listening = told => match listening {
                Ok(listening) => listening,
                Err(_) => return Err(task.await?.err().unwrap_or_else(|| anyhow::anyhow!("the gateway ended"))),
            },
            ended = &mut task => {
                return Err(ended?.err().unwrap_or_else(|| anyhow::anyhow!("the gateway ended")));
            }
        };
        let Listening { address, key, stop } = listening;
        let address: SocketAddr = address;
        tracing::info!(%address, "no gateway runs: one is started in this process");
        Ok(Self {
            gateway: Gateway::new(&format!("http://{address}"), Some(&key))?,
            stop,
            task,
        })
    }

    /// The way to it, and itself.
    fn split(self) -> (Gateway, Option<Self>) {
        (self.gateway.clone(), Some(self))
    }

    /// Ends it in order.
    async fn end(self) {
        self.stop.cancel();
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("{error:#}"),
            Err(error) => tracing::error!(%error, "the gateway did not end in order"),
        }
    }
}
