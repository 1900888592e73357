//! The management API: registering MCP servers, approving submissions, testing connections, handing out virtual keys, making
//! toolsets.
//!
//! - [`router`] serves it, [`openapi`] describes it, and both come from the same list of routes, so that neither can
//!   know a route that the other does not.
//! - One operation is one file under `server/`, `key/`, `toolset/` or `test_routes/`: its documentation, its handler, its log line; a
//!   few that belong together are one file under `tenant/`.
//! - [`fields`] is the one table of what a server has: request schemas, parsing, rows and round-trip tests are made
//!   from it. A new field of a server is one line there.
//! - Authentication is an extractor ([`actor::Admin`]) that rejects. A handler without it does not pass the test that
//!   walks the OpenAPI document.
//!
//! To add an operation: a file with a `#[utoipa::path]` handler whose first argument is `Admin`, and its name in
//! [`routes`].

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use jiff::Timestamp;
use trunkline_auth::Authenticator;
use trunkline_model::Clock;
use trunkline_store::{Denials, Registry};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

mod actor;
mod approval;
mod audit;
mod body;
mod budget;
mod checks;
mod credentials;
mod data_plane;
mod error;
mod fields;
mod foreign;
mod key;
mod model;
mod openapi;
mod operations;
mod other_models;
mod outcome;
mod own_apis;
mod pins;
mod policy;
mod probe;
mod programs;
mod reload;
mod request;
mod row;
mod scrub;
mod server;
mod spend;
mod tenant;
mod test_routes;
mod tool_rules;
mod toolset;
mod variables;

pub use model::Models;
pub use openapi::openapi;
pub use policy::Selecting;
pub use probe::{BoxFuture, Probe, ProbeStep, ServerProbe, ToolList};
pub use programs::Programs;
pub use reload::{Configuration, Mistake, NotReloaded, Reloaded, ReloadedServers};

/// The largest request body, bytes.
const MAX_BODY: usize = 1 << 20;

/// What the management API needs.
#[derive(Clone)]
pub struct AdminState {
    /// Where servers are kept.
    pub registry: Arc<Registry>,
    /// How servers are tried.
    pub probe: Arc<dyn ServerProbe>,
    /// The configuration file.
    pub configuration: Arc<dyn Configuration>,
    /// The models that requests are answered with.
    pub models: Arc<dyn Models>,
    /// Who may come in.
    pub authenticator: Arc<Authenticator>,
    /// What time it is, for stamps.
    pub clock: Arc<dyn Clock>,
    /// Makes the id of a server whose declaration has none; random, so that ids are never used twice.
    pub new_id: Arc<dyn Fn() -> String + Send + Sync>,
    /// Who may declare programs.
    pub programs: Programs,
    /// Where refused requests are noted.
    pub denials: Denials,
    /// How requests select servers.
    pub selecting: Selecting,
}

/// [`AdminState`] and what only this crate knows.
struct App {
    registry: Arc<Registry>,
    probe: Arc<dyn ServerProbe>,
    configuration: Arc<dyn Configuration>,
    models: Arc<dyn Models>,
    authenticator: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
    new_id: Arc<dyn Fn() -> String + Send + Sync>,
    programs: Programs,
    denials: Denials,
    selecting: Selecting,
    /// Held from reading a server to writing it: a partial update is read, change, write, and two of them at once
    /// would lose one.
    writing: tokio::sync::Mutex<()>,
}

impl App {
    /// The keys and whom they belong to, at one moment.
    fn directory(&self) -> spend::shown::Shown {
        spend::shown::Shown::new(
            self.registry.keys().ring().directory(),
            self.registry.store().clone(),
            self.clock.clone(),
        )
    }

    /// Changes keys and whom they belong to: `plan` says what, of what is stored.
    async fn change<T>(
        &self,
        by: &trunkline_store::Actor,
        plan: impl FnOnce(
            &trunkline_auth::Directory,
        ) -> Result<(Vec<trunkline_store::DirectoryWrite>, T), key::error::KeyError>,
    ) -> Result<T, key::error::KeyError> {
        self.registry.keys().change(by, plan).await
    }

    /// A key that was just written, with the toolsets that it is bound to.
    fn as_stored(&self, key: trunkline_model::VirtualKey) -> Arc<trunkline_model::VirtualKey> {
        let stored = self.registry.keys().ring().get(&key.hash);
        stored.unwrap_or_else(|| Arc::new(key))
    }

    /// What time it is, in the database's precision, so that what is answered is what is stored.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// The management API as a router. Every route of it asks for the key of a proxy admin, but for those that show a caller its own
/// (`/key/info`, `GET /v1/mcp/toolset` …), and those by which a user changes what is its own or its teams' (`/key/*`,
/// `/team/member_*`).
pub fn router(state: AdminState) -> axum::Router {
    let app = Arc::new(App {
        registry: state.registry,
        probe: state.probe,
        configuration: state.configuration,
        models: state.models,
        authenticator: state.authenticator,
        clock: state.clock,
        new_id: state.new_id,
        programs: state.programs,
        denials: state.denials,
        selecting: state.selecting,
        writing: tokio::sync::Mutex::new(()),
    });
    let (router, _) = routes().split_for_parts();
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), audit::denied))
        .with_state(app)
}

/// The routes about whom keys belong to.
fn tenants() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(tenant::team::new))
        .routes(routes!(tenant::team::update))
        .routes(routes!(tenant::team::delete))
        .routes(routes!(tenant::team::block))
        .routes(routes!(tenant::team::unblock))
        .routes(routes!(tenant::team::patch))
        .routes(routes!(tenant::team_list::info))
        .routes(routes!(tenant::team_list::list))
        .routes(routes!(tenant::team_list::list_v2))
        .routes(routes!(tenant::team_list::available))
        .routes(routes!(tenant::team_members::member_add))
        .routes(routes!(tenant::team_bulk::bulk_member_add))
        .routes(routes!(tenant::team_models::add))
        .routes(routes!(tenant::team_models::delete))
        .routes(routes!(tenant::team_members::member_update))
        .routes(routes!(tenant::team_members::member_delete))
        .routes(routes!(tenant::team_permissions::permissions_list))
        .routes(routes!(tenant::team_permissions::permissions_update))
        .routes(routes!(tenant::user::new))
        .routes(routes!(tenant::user::update))
        .routes(routes!(tenant::user_bulk::bulk_update))
        .routes(routes!(tenant::user::delete))
        .routes(routes!(tenant::user_list::info))
        .routes(routes!(tenant::user_list::info_v2))
        .routes(routes!(tenant::user_list::list))
        .routes(routes!(tenant::user_list::available_roles))
        .routes(routes!(tenant::organization::new))
        .routes(routes!(tenant::organization::update))
        .routes(routes!(tenant::organization::delete))
        .routes(routes!(tenant::organization::info, tenant::organization::infos))
        .routes(routes!(tenant::organization::list))
        .routes(routes!(tenant::organization_members::member_add))
        .routes(routes!(tenant::organization_members::member_update))
        .routes(routes!(tenant::organization_members::member_delete))
        .routes(routes!(budget::new))
        .routes(routes!(budget::update))
        .routes(routes!(budget::delete))
        .routes(routes!(budget::info))
        .routes(routes!(budget::list))
        .routes(routes!(budget::settings))
        .nest("/customer", customers())
        .nest("/end_user", customers())
}

/// The routes about models of the database.
fn models() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(model::new::new))
        .routes(routes!(model::change::update))
        .routes(routes!(model::change::patch))
        .routes(routes!(model::change::block))
        .routes(routes!(model::change::unblock))
        .routes(routes!(model::delete::delete))
}

/// The routes about what was spent.
fn spending() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(spend::logs::logs))
        .routes(routes!(spend::logs::logs_v2))
        .routes(routes!(spend::tags::tags))
        .routes(routes!(spend::activity::users))
        .routes(routes!(spend::activity::users_aggregated))
        .routes(routes!(spend::activity::teams))
        .routes(routes!(spend::by_user::by_user))
        .routes(routes!(spend::activity::organizations))
        .routes(routes!(spend::activity::tags))
}

/// The routes about end users, which LiteLLM has under two names.
fn customers() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(spend::activity::customers))
        .routes(routes!(tenant::customer::new))
        .routes(routes!(tenant::customer::update))
        .routes(routes!(tenant::customer::delete))
        .routes(routes!(tenant::customer::info))
        .routes(routes!(tenant::customer::list))
        .routes(routes!(tenant::customer::block))
        .routes(routes!(tenant::customer::unblock))
}

/// All routes with their documentation.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(
            server::list::list,
            server::create::create,
            server::update::update
        ))
        .routes(routes!(server::health::health))
        .routes(routes!(server::import::import))
        .routes(routes!(server::register::register))
        .routes(routes!(server::submissions::submissions))
        .routes(routes!(server::get::get, server::delete::delete))
        .routes(routes!(server::approve::approve))
        .routes(routes!(server::reject::reject))
        .routes(routes!(server::pin::show, server::pin::pin, server::pin::unpin))
        .routes(routes!(server::access_groups::access_groups))
        .routes(routes!(key::generate::generate))
        .routes(routes!(key::service_account::service_account))
        .routes(routes!(key::update::update))
        .routes(routes!(key::bulk_update::bulk_update))
        .routes(routes!(key::delete::delete))
        .routes(routes!(key::block::block))
        .routes(routes!(key::block::unblock))
        .routes(routes!(key::regenerate::regenerate))
        .routes(routes!(key::regenerate::regenerate_named))
        .routes(routes!(key::reset_spend::reset_spend))
        .routes(routes!(key::team_bulk::team_bulk_update))
        .routes(routes!(key::info::info))
        .routes(routes!(key::infos::infos))
        .routes(routes!(key::infos::health))
        .routes(routes!(key::list::list))
        .routes(routes!(key::aliases::aliases))
        .merge(tenants())
        .routes(routes!(
            toolset::list::list,
            toolset::create::create,
            toolset::update::update
        ))
        .routes(routes!(toolset::get::get, toolset::delete::delete))
        .routes(routes!(approval::list::list))
        .routes(routes!(approval::decide::approve))
        .routes(routes!(approval::decide::deny))
        .routes(routes!(reload::reload))
        .routes(routes!(policy::explain::explain))
        .routes(routes!(policy::dry_run::dry_run))
        .merge(spending())
        .merge(models())
        .routes(routes!(audit::list::list))
        .routes(routes!(audit::export::export))
        .routes(routes!(audit::get::get))
        .routes(routes!(test_routes::connection::connection))
        .routes(routes!(test_routes::tools_list::tools_list))
}
