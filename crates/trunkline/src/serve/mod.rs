//! `trunkline serve`: the composition root. Everything is built here, once, in order, and handed on; nothing is looked up
//! from a global.

mod address;
mod listener;
mod lock;
mod models;
pub(crate) mod place;
mod reload;
mod shards;
mod tasks;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use trunkline_admin::{AdminState, Programs};
use trunkline_auth::{Authenticator, HandleSealer, SessionSealer, TokenSealer};
use trunkline_config::General;
use trunkline_gateway::Gateway;
use trunkline_gateway::accept::Edge;
use trunkline_gateway::caps::Caps;
use trunkline_gateway::client_address::ClientAddresses;
use trunkline_gateway::conversations::Conversations;
use trunkline_gateway::limits::Limits;
use trunkline_gateway::peers::{Peers, Place};
use trunkline_gateway::record::Recorder;
use trunkline_gateway::sessions::EndedSessions;
use trunkline_launch::Launcher;
use trunkline_model::{Clock as _, IpNetwork, ReplicaId, Secret, Snapshot, SystemClock};
use trunkline_store::{Denials, Registry, Store};
use trunkline_upstream::{Egress, Proxies, ProxyVariables, Upstreams, Variables};

use self::address::WrittenAddress;
use self::listener::Answering;
use self::lock::DatabaseLock;
pub(crate) use self::lock::LOCK_SUFFIX;
use self::reload::Reloader;
use self::shards::Shards;
use crate::cli::ServeArguments;
use crate::logging;
use crate::output;
use crate::probe::UpstreamProbe;
use crate::programs;
use crate::settings::{KeyOrigin, Settings, key_problem};

/// Serves until a signal.
pub(crate) async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    start(arguments, None).await
}

/// A gateway in the process of another command.
pub(crate) struct Listening {
    /// Where.
    pub(crate) address: SocketAddr,
    /// The key for it.
    pub(crate) key: Secret,
    /// Ends it, in order.
    pub(crate) stop: CancellationToken,
}

/// Serves a command of this process, and prints nothing: standard output is the command's own.
pub(crate) async fn embedded(
    arguments: ServeArguments,
    tell: oneshot::Sender<Listening>,
) -> anyhow::Result<()> {
    start(arguments, Some(tell)).await
}

async fn start(
    arguments: ServeArguments,
    embedding: Option<oneshot::Sender<Listening>>,
) -> anyhow::Result<()> {
    logging::begin(arguments.log_format);
    let settings = Settings::resolve(&arguments.sources)?;
    for notice in settings.notices(&arguments.sources) {
        tracing::warn!("{notice}");
    }
    let addresses = addresses(&arguments).await?;
    check_exposure(&settings, &addresses)?;
    // Before anything is written.
    let mut lock = DatabaseLock::take(&settings, embedding.is_some())?;
    announce_key(&settings, embedding.is_some())?;
    let listener = TcpListener::bind(&addresses[..])
        .await
        .with_context(|| format!("{}:{} cannot be listened on", arguments.host, arguments.port))?;
    let metrics_listener = match arguments.metrics_addr {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .with_context(|| format!("{address} cannot be listened on"))?,
        ),
        None => None,
    };
    let address = listener.local_addr()?;
    let url = address::url(&settings, address);
    if let Some(lock) = &mut lock {
        lock.tell(&url);
    }
    let built = build(&settings, &arguments, address).await?;
    let written = match embedding {
        None => {
            announce(&arguments, &listener)?;
            WrittenAddress::write(&settings, &url, arguments.sources.config.as_deref())
        }
        Some(tell) => {
            // Who does not listen any more is ending, and ends this.
            let _ = tell.send(Listening {
                address,
                key: settings.master_key.key.clone(),
                stop: built.gateway.draining.clone(),
            });
            None
        }
    };
    let mut tasks = tasks::begin(&built.gateway);
    tasks.spawn(built.reloader.clone().watch());
    tasks.spawn(built.reloader.hear());
    tasks.spawn(built.models.follow());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let shards =
        Arc::new(Shards::start(threads).context("the threads that serve connections cannot be started")?);
    let served = listener::serve(
        listener,
        answering(built.gateway.clone(), built.router),
        settings.config.general.server_root_path.clone(),
        built.gateway.draining.clone(),
        Duration::from_secs(arguments.drain_timeout),
        shards.clone(),
    );
    let metrics = metrics_listener.map(|listener| {
        let gateway = built.gateway.clone();
        let page = move |request: Request, _peer: IpAddr| {
            let answer = match request.uri().path() {
                "/metrics" => trunkline_gateway::metrics::page(&gateway),
                _ => trunkline_gateway::answer::not_found("Not Found"),
            };
            std::future::ready(answer)
        };
        let (stop, shards) = (built.gateway.draining.clone(), shards.clone());
        tokio::spawn(listener::serve_until(
            listener,
            page,
            None,
            stop,
            Duration::from_secs(1),
            shards,
        ))
    });
    served.await?;
    if let Some(written) = written {
        written.remove();
    }
    tasks.abort_all();
    if let Some(metrics) = metrics {
        // It ends with the same token; what it was still sending is not waited for.
        metrics.abort();
    }
    end(built.gateway, built.writer).await;
    // Not before: the last messages to upstreams are sent there.
    drop(shards);
    // The database is closed.
    drop(lock);
    Ok(())
}

/// Lets go of everything in order: upstream sessions, records, database.
async fn end(gateway: Arc<Gateway>, writer: tokio::task::JoinHandle<()>) {
    gateway.upstreams.shutdown().await;
    let store = gateway.registry.store().clone();
    gateway.limits.leave(&gateway.peers, &store).await;
    gateway.peers.leave(&store).await;
    // The recorder's last clones go with the gateway, which ends the writer after its last batch.
    drop(gateway);
    if tokio::time::timeout(Duration::from_secs(5), writer)
        .await
        .is_err()
    {
        tracing::warn!("the last call records could not be written in time");
    }
    store.close().await;
    tracing::info!("stopped");
}

struct Built {
    gateway: Arc<Gateway>,
    router: Router,
    reloader: Arc<Reloader>,
    models: Arc<models::StoredModels>,
    writer: tokio::task::JoinHandle<()>,
}

/// Builds all parts.
async fn build(
    settings: &Settings,
    arguments: &ServeArguments,
    listening: SocketAddr,
) -> anyhow::Result<Built> {
    let general = &settings.config.general;
    let (store, vault) = settings.store().await?;
    prepare(&store).await?;
    let registry = Registry::load(store.clone(), settings.config.servers.clone()).await?;
    let clock = Arc::new(SystemClock);
    let launcher = Arc::new(launcher(settings, arguments, listening));
    let upstreams = Arc::new(Upstreams::new(
        upstream_settings(general)?,
        vault,
        variables(settings),
        Some(store.clone()),
        clock.clone(),
        Some(launcher.clone()),
    ));
    let snapshot = registry.snapshot();
    say_isolation(&snapshot, &launcher).await;
    upstreams.reconcile(&snapshot);
    let seeded = upstreams.seed(&snapshot).await?;
    tracing::info!(
        servers = snapshot.servers().len(),
        catalogues = seeded,
        "registry loaded"
    );
    let ended = EndedSessions::new(store.session_ended_list().await?);
    let peers = peers(settings, arguments, listening, &store).await;
    let limits = Arc::new(Limits::of(&store));
    let new_id: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(new_id);
    store.spend_refresh(None).await?;
    let (recorder, records) = Recorder::new(store.clone(), new_id.clone());
    let (denials, denied) = Denials::new(store);
    let authenticator = Arc::new(Authenticator::new(
        &settings.master_key.key,
        registry.keys().ring().clone(),
        clock.clone(),
    ));
    let gateway = Arc::new(Gateway {
        registry,
        upstreams: upstreams.clone(),
        authenticator,
        sealer: SessionSealer::derive(&settings.root_secret()),
        ended,
        questions: Arc::default(),
        asked: TokenSealer::derive(&settings.root_secret(), "mcp server request"),
        cursors: TokenSealer::derive(&settings.root_secret(), "mcp cursor"),
        parked: trunkline_gateway::parked::Parked::default(),
        parking: TokenSealer::derive(&settings.root_secret(), "mcp request state"),
        tasks: HandleSealer::derive(&settings.root_secret(), "mcp task"),
        caps: Arc::new(caps(general, &upstreams)),
        limits,
        models: trunkline_gateway::llm::Models::new(settings.config.models.clone()),
        callers: trunkline_gateway::callers::Callers::default(),
        conversations: Conversations::new(
            peers.own_id(),
            TokenSealer::derive(&settings.root_secret(), "mcp sse session"),
        ),
        peers,
        streams: Arc::default(),
        in_flight: trunkline_gateway::sessions::InFlight::default(),
        recorder,
        denials,
        metrics: trunkline_gateway::metrics::Metrics::default(),
        views: trunkline_gateway::view::Views::default(),
        list_page_size: AtomicUsize::new(usize::try_from(general.list_page_size).unwrap_or(usize::MAX)),
        audit_retention_days: AtomicU32::new(general.audit_retention_days),
        record_retention_hours: AtomicU32::new(general.record_retention_hours),
        clock,
        new_id,
        database: trunkline_gateway::health::DatabaseState::default(),
        edge: ArcSwap::from_pointee(edge(general, listening.ip().is_loopback())),
        configuration: trunkline_gateway::health::ConfigurationState::default(),
        draining: CancellationToken::new(),
    });
    let reloader = Reloader::new(
        gateway.clone(),
        arguments.sources.config.clone(),
        listening.ip().is_loopback(),
        (general.clone(), settings.config.files.clone()),
    );
    let models = Arc::new(models::StoredModels {
        gateway: gateway.clone(),
        is_on: general.store_model_in_db,
    });
    trunkline_admin::Models::refresh(&*models);
    let admin = admin(&gateway, &reloader, &models, programs_of(general, launcher));
    Ok(Built {
        router: routes(gateway.clone(), admin),
        reloader,
        gateway,
        models,
        writer: tokio::spawn(async move {
            tokio::join!(records, denied);
        }),
    })
}

/// The management API of a gateway.
fn admin(
    gateway: &Arc<Gateway>,
    reloader: &Arc<Reloader>,
    models: &Arc<models::StoredModels>,
    programs: Programs,
) -> Router {
    trunkline_admin::router(AdminState {
        registry: gateway.registry.clone(),
        probe: Arc::new(UpstreamProbe {
            upstreams: gateway.upstreams.clone(),
            registry: gateway.registry.clone(),
        }),
        configuration: reloader.clone(),
        models: models.clone(),
        authenticator: gateway.authenticator.clone(),
        clock: gateway.clock.clone(),
        new_id: gateway.new_id.clone(),
        programs,
        denials: gateway.denials.clone(),
        selecting: Arc::new(trunkline_gateway::scope::of_request),
    })
}

/// All of them, and an answer for the rest.
fn routes(gateway: Arc<Gateway>, admin: Router) -> Router {
    trunkline_gateway::router(gateway)
        .merge(admin)
        .fallback(|| std::future::ready(trunkline_gateway::answer::not_found("Not Found")))
}

/// What starts programs. They must not reach the gateway that started them.
fn launcher(settings: &Settings, arguments: &ServeArguments, listening: SocketAddr) -> Launcher {
    let mut own_ports = vec![listening.port()];
    own_ports.extend(arguments.metrics_addr.map(|address| address.port()));
    programs::launcher(settings, &arguments.sources, own_ports)
}

fn programs_of(general: &General, launcher: Arc<Launcher>) -> Programs {
    if general.stdio_from_api {
        tracing::warn!(
            "mcp_stdio is admin: whoever has an administrator's key can run programs on this machine"
        );
    }
    Programs {
        from_api: general.stdio_from_api,
        isolation: Arc::new(move |sandbox| launcher.isolation(sandbox)),
    }
}

/// Says once a start what holds the programs in.
async fn say_isolation(snapshot: &Snapshot, launcher: &Arc<Launcher>) {
    let programs = snapshot.servers().to_vec();
    let launcher = launcher.clone();
    let said = tokio::task::spawn_blocking(move || {
        for server in programs {
            for remark in programs::remarks(&server, &launcher) {
                tracing::info!(server = %server.prefix(), "{remark}");
            }
        }
    });
    if let Err(error) = said.await {
        tracing::warn!(%error, "what holds programs in could not be found out");
    }
}

/// This replica among those that share the database: it is on their list before anybody is served.
async fn peers(
    settings: &Settings,
    arguments: &ServeArguments,
    listening: SocketAddr,
    store: &Store,
) -> Peers {
    let own = ReplicaId(*uuid::Uuid::new_v4().as_bytes());
    let place = place::of(arguments.advertise_url.clone(), listening, store).await;
    if let Place::Shared { address } = &place {
        let replica = own.to_hex();
        tracing::info!(%replica, address, "other replicas reach this one there");
    }
    let peers = Peers::new(&settings.root_secret(), own, place, SystemClock.now());
    if let Err(error) = peers.beat(store).await {
        tracing::warn!(%error, "this replica could not be put on the list; it is tried again");
    }
    peers
}

/// The front door over a router.
fn answering(gateway: Arc<Gateway>, router: Router) -> impl Answering {
    let shared = Arc::new((gateway, router));
    move |request: Request, peer: IpAddr| {
        let shared = shared.clone();
        async move { trunkline_gateway::accept::serve(&shared.0, &shared.1, request, peer).await }
    }
}

/// A request's id: begins with its time.
fn new_id() -> String {
    let mut text = uuid::Uuid::encode_buffer();
    uuid::Uuid::now_v7()
        .hyphenated()
        .encode_lower(&mut text)
        .to_owned()
}

/// Migrates and verifies: the gateway does not start on a schema that it cannot read and write.
async fn prepare(store: &Store) -> anyhow::Result<()> {
    let report = store.migrate().await?;
    for step in &report.applied {
        tracing::info!(migration = %step, "database migrated");
    }
    for notice in &report.notices {
        tracing::warn!("{notice}");
    }
    store.verify().await?;
    Ok(())
}

fn edge(general: &General, loopback: bool) -> Edge {
    Edge {
        allowed_hosts: general.allowed_hosts.clone(),
        allowed_origins: general.allowed_origins.clone(),
        loopback,
        max_body_bytes: usize::try_from(general.max_body_bytes).unwrap_or(usize::MAX),
        root: general.server_root_path.clone().unwrap_or_default(),
        clients: ClientAddresses {
            internal: networks(&general.internal_ip_ranges),
            allowed: general.allowed_ips.as_deref().map(networks),
            use_x_forwarded_for: general.use_x_forwarded_for,
            trusted_proxies: networks(&general.trusted_proxy_ranges),
            trusted_hops: general.xff_num_trusted_hops,
        },
    }
}

/// Networks that the configuration has checked.
fn networks(texts: &[String]) -> Vec<IpNetwork> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn caps(general: &General, upstreams: &Upstreams) -> Caps {
    let (sessions, streams) = caps_of(general);
    Caps::new(sessions, streams, upstreams.settings().session_idle)
}

/// Sessions and streams of one caller.
fn caps_of(general: &General) -> (usize, usize) {
    let count = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
    (
        count(general.max_sessions_per_principal),
        count(general.max_streams_per_principal),
    )
}

/// The proxies that the environment names.
fn proxies(general: &General) -> anyhow::Result<Proxies> {
    let own = &general.proxies;
    let variables = ProxyVariables {
        http: own.http.clone(),
        https: own.https.clone(),
        all: own.all.clone(),
        none: own.none.clone(),
        loopback: general.proxy_loopback,
    };
    Proxies::new(variables).context("the proxies of the environment")
}

/// The upstreams' settings from the configuration.
pub(crate) fn upstream_settings(general: &General) -> anyhow::Result<trunkline_upstream::Settings> {
    Ok(trunkline_upstream::Settings {
        list_timeout: Duration::from_millis(general.list_timeout_ms),
        call_timeout: Duration::from_millis(general.call_timeout_ms),
        max_call_timeout: Duration::from_millis(general.max_call_timeout_ms),
        answer_timeout: Duration::from_millis(general.answer_timeout_ms),
        health_timeout: Duration::from_millis(general.health_timeout_ms),
        fanout_deadline: Duration::from_millis(general.fanout_deadline_ms),
        catalogue_ttl: Duration::from_millis(general.catalogue_ttl_ms),
        session_idle: Duration::from_millis(general.session_idle_ms),
        breaker_failures: general.breaker_failures,
        list_max_pages: usize::try_from(general.list_max_pages).unwrap_or(usize::MAX),
        strip_hidden_text: general.strip_hidden_text,
        max_message_bytes: usize::try_from(general.max_upstream_bytes).unwrap_or(usize::MAX),
        egress: Egress::parse(&general.egress_allow).context("general_settings.mcp_egress_allow")?,
        proxies: proxies(general)?,
        connect_timeout: Duration::from_millis(general.connect_timeout_ms),
        authorities: general.authorities.clone(),
    })
}

/// The environment, for `os.environ/NAME` in secrets that came through the API. What the gateway itself is protected by
/// is not part of it, whatever the variable is called: nobody may have that sent to a server of their choice.
pub(crate) fn variables(settings: &Settings) -> Arc<Variables> {
    const OWN: [&str; 3] = ["LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "DATABASE_URL"];
    let own = [
        settings.master_key.key.clone(),
        settings.root_secret(),
        settings.database_url.clone(),
    ];
    Arc::new(move |name: &str| {
        if OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return None;
        }
        let value = std::env::var(name).ok()?;
        let protects_us = own.iter().any(|own| own.expose() == value);
        (!protects_us).then(|| Secret::new(value))
    })
}

async fn addresses(arguments: &ServeArguments) -> anyhow::Result<Vec<SocketAddr>> {
    let host = arguments.host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, arguments.port)]);
    }
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, arguments.port))
        .await
        .with_context(|| format!("--host {host} does not resolve"))?
        .collect();
    if found.is_empty() {
        bail!("--host {host} has no address");
    }
    Ok(found)
}

/// Other addresses than loopback need a strong key that somebody chose (S26).
fn check_exposure(settings: &Settings, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let local = addresses.iter().all(|address| address.ip().is_loopback());
    let problem = key_problem(&settings.master_key.key);
    if let Some(problem) = problem
        && (local || settings.config.general.permit_weak_master_key)
    {
        tracing::warn!("the master key is weak: {problem}. Anybody who guesses it administers this gateway");
        return Ok(());
    }
    match (local, problem, settings.master_key.origin) {
        (true, ..) | (false, None, KeyOrigin::Configured) => Ok(()),
        (false, Some(problem), _) => bail!(
            "refusing to listen on an address that is not loopback with a weak master key: {problem}. Set LITELLM_MASTER_KEY to a long random value such as sk-$(openssl rand -hex 32)"
        ),
        (false, None, _) => bail!(
            "refusing to listen on an address that is not loopback without a configured master key. Set LITELLM_MASTER_KEY to a long random value such as sk-$(openssl rand -hex 32)"
        ),
    }
}

/// A generated key is kept, and shown once, on the terminal and not in the log. An embedded gateway has no terminal.
fn announce_key(settings: &Settings, embedded: bool) -> anyhow::Result<()> {
    match settings.master_key.origin {
        KeyOrigin::Configured => {}
        KeyOrigin::Stored => {
            tracing::info!(data_dir = %settings.data_dir.display(), "using the master key generated at an earlier start");
        }
        KeyOrigin::Generated => {
            settings.keep_key()?;
            if embedded {
                tracing::info!(file = %settings.key_file().display(), "a master key was made and kept");
                return Ok(());
            }
            output::line(&format!(
                "master key (shown once, kept in {}): {}",
                settings.key_file().display(),
                settings.master_key.key.expose()
            ));
        }
    }
    Ok(())
}

/// Says where it listens: a line on standard output, and the port in a file for those who start it.
fn announce(arguments: &ServeArguments, listener: &TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    if let Some(path) = &arguments.port_file {
        // Written beside and renamed, so that a reader never sees half a port.
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, address.port().to_string())
            .and_then(|()| std::fs::rename(&beside, path))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    output::line(&format!("listening on http://{address}"));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok(())
}
