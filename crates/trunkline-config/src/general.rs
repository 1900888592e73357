//! `general_settings` and the environment to [`General`].
//!
//! A value of the file wins over the environment, and the environment over the default.

use std::time::Duration;

use trunkline_model::Secret;

use crate::checks;
use crate::env::{Env, resolve};
use crate::error::{Report, join};
use crate::fields;
use crate::section::Section;
use crate::tree::{At, Node, Value};

/// Settings that are not about one server. Durations are milliseconds, sizes are bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// The administrator's key: `general_settings.master_key`, else `LITELLM_MASTER_KEY`. Its strength is for
    /// [`crate::check_master_key`] to judge, because it matters only where other machines can connect.
    pub master_key: Option<Secret>,
    /// `general_settings.database_url`, else `DATABASE_URL`.
    pub database_url: Option<Secret>,
    /// `LITELLM_SALT_KEY`: encrypts stored credentials.
    pub salt_key: Option<Secret>,
    /// The operator accepts a weak key: `general_settings.dangerously_permit_weak_or_unset_master_key`, else
    /// `LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY`.
    pub permit_weak_master_key: bool,
    /// Names to accept in `Host`, without port, besides loopback names.
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` to accept: `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// Where connections to servers may go: CIDR, an address, `public`, `private`, `loopback`. Empty: the three words.
    pub egress_allow: Vec<String>,
    /// Networks in which clients are internal, in CIDR form.
    pub internal_ip_ranges: Vec<String>,
    /// The only clients that get in, in CIDR form; `None`: everybody.
    pub allowed_ips: Option<Vec<String>>,
    /// `X-Forwarded-For` of trusted proxies says where clients are.
    pub use_x_forwarded_for: bool,
    /// Networks of the proxies that are trusted, in CIDR form.
    pub trusted_proxy_ranges: Vec<String>,
    /// Which entry of `X-Forwarded-For` from the right is the client.
    pub xff_num_trusted_hops: Option<u32>,
    /// Path before every route, `/like/this`: `SERVER_ROOT_PATH`.
    pub server_root_path: Option<String>,
    /// Proxies by way of which servers are reached.
    pub proxies: ProxyVariables,
    /// Servers on loopback addresses are reached by way of them too.
    pub proxy_loopback: bool,
    /// PEM text of the authorities that servers without `tls_ca` are believed by: `ssl_verify`.
    pub authorities: Option<String>,
    /// How long a connection to a server may take.
    pub connect_timeout_ms: u64,
    /// Deadline of listing one server.
    pub list_timeout_ms: u64,
    /// Deadline of a `tools/call` where the server has no `timeout`.
    pub call_timeout_ms: u64,
    /// The longest deadline that a request may ask for.
    pub max_call_timeout_ms: u64,
    /// How long a client may take to answer what a server asks in the middle of a call.
    pub answer_timeout_ms: u64,
    /// Deadline of a health check of one server.
    pub health_timeout_ms: u64,
    /// How long a list of several servers waits for late ones.
    pub fanout_deadline_ms: u64,
    /// How long a server's list is used before it is fetched again.
    pub catalogue_ttl_ms: u64,
    /// How long an upstream session is kept that nobody uses.
    pub session_idle_ms: u64,
    /// Largest request body.
    pub max_body_bytes: u64,
    /// Largest answer or event of a server.
    pub max_upstream_bytes: u64,
    /// Failures to reach a server, in a row, after which calls fail at once; 0: never.
    pub breaker_failures: u32,
    /// Pages of one server's list.
    pub list_max_pages: u32,
    /// Sessions of one key at the same time.
    pub max_sessions_per_principal: u32,
    /// Streams that one key may hold open.
    pub max_streams_per_principal: u32,
    /// Items on one page towards clients; 0: all.
    pub list_page_size: u32,
    /// Days that rows of the audit log are kept; 0: for ever.
    pub audit_retention_days: u32,
    /// Hours that records of calls are kept.
    pub record_retention_hours: u32,
    /// Text that people do not see is taken out of what servers say.
    pub strip_hidden_text: bool,
    /// Administrators may declare programs through the API, which this gateway starts then.
    pub stdio_from_api: bool,
    /// Models are made through the API, too.
    pub store_model_in_db: bool,
}

impl Default for General {
    /// What holds where neither the file nor the environment says anything.
    fn default() -> Self {
        Self {
            master_key: None,
            database_url: None,
            salt_key: None,
            permit_weak_master_key: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            egress_allow: Vec::new(),
            internal_ip_ranges: INTERNAL.map(ToOwned::to_owned).to_vec(),
            allowed_ips: None,
            use_x_forwarded_for: false,
            trusted_proxy_ranges: Vec::new(),
            xff_num_trusted_hops: None,
            server_root_path: None,
            proxies: ProxyVariables::default(),
            proxy_loopback: false,
            authorities: None,
            connect_timeout_ms: 5_000,
            list_timeout_ms: 30_000,
            call_timeout_ms: 60_000,
            max_call_timeout_ms: 600_000,
            answer_timeout_ms: 600_000,
            health_timeout_ms: 10_000,
            fanout_deadline_ms: 2_000,
            catalogue_ttl_ms: 300_000,
            session_idle_ms: 1_800_000,
            max_body_bytes: 16 * MEBIBYTE,
            max_upstream_bytes: 64 * MEBIBYTE,
            breaker_failures: 5,
            list_max_pages: 1_000,
            max_sessions_per_principal: 10_000,
            max_streams_per_principal: 1_000,
            list_page_size: 0,
            audit_retention_days: 0,
            record_retention_hours: 30 * 24,
            strip_hidden_text: false,
            stdio_from_api: false,
            store_model_in_db: false,
        }
    }
}

/// What LiteLLM takes for internal: RFC 1918, loopback, RFC 4193.
const INTERNAL: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
];
const MEBIBYTE: u64 = 1024 * 1024;
/// No deadline above a day: it is a mistake of unit.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;
const MAX_BYTES: u64 = 1024 * MEBIBYTE;

/// What the environment says, over the defaults.
pub(crate) fn from_env(env: &dyn Env, report: &mut Report) -> General {
    let text = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let mut general = General {
        master_key: text("LITELLM_MASTER_KEY").map(Secret::new),
        database_url: text("DATABASE_URL").map(Secret::new),
        salt_key: text("LITELLM_SALT_KEY").map(Secret::new),
        permit_weak_master_key: text("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        store_model_in_db: text("STORE_MODEL_IN_DB").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        server_root_path: text("SERVER_ROOT_PATH").and_then(|path| root_path(&path, report)),
        proxies: proxies(env),
        ..General::default()
    };
    for (name, target) in [
        ("LITELLM_MCP_TOOL_LISTING_TIMEOUT", &mut general.list_timeout_ms),
        ("LITELLM_MCP_CLIENT_TIMEOUT", &mut general.call_timeout_ms),
        ("LITELLM_MCP_HEALTH_CHECK_TIMEOUT", &mut general.health_timeout_ms),
    ] {
        let Some(value) = text(name) else { continue };
        match seconds_to_ms(&value) {
            Some(value) => *target = value,
            None => report.error(
                At::ENVIRONMENT,
                format!("{name} must be a number of seconds, greater than 0"),
            ),
        }
    }
    if let Some(value) = text("LITELLM_MCP_MAX_SSE_EVENT_SIZE_BYTES") {
        match value
            .trim()
            .parse()
            .ok()
            .filter(|bytes| (1..=MAX_BYTES).contains(bytes))
        {
            Some(bytes) => general.max_upstream_bytes = bytes,
            None => report.error(
                At::ENVIRONMENT,
                format!(
                    "LITELLM_MCP_MAX_SSE_EVENT_SIZE_BYTES must be a number of bytes from 1 to {MAX_BYTES}"
                ),
            ),
        }
    }
    if let Some(value) = text("MCP_TOOL_LISTING_MAX_PAGES") {
        match value.trim().parse().ok().filter(|pages| *pages > 0) {
            Some(pages) => general.list_max_pages = pages,
            None => report.error(
                At::ENVIRONMENT,
                "MCP_TOOL_LISTING_MAX_PAGES must be a whole number greater than 0",
            ),
        }
    }
    for (name, same, message) in fields::ENVIRONMENT_NOT_SERVED {
        if text(name).is_some_and(|value| !value.eq_ignore_ascii_case(same)) {
            report.warn(At::ENVIRONMENT, *name, *message);
        }
    }
    general
}

/// Proxies that the environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// For `http://` servers. It may hold a password, as the next two.
    pub http: Option<Secret>,
    /// For `https://` servers.
    pub https: Option<Secret>,
    /// For those that have none of the two.
    pub all: Option<Secret>,
    /// What is reached without one.
    pub none: Option<String>,
}

/// Both cases are in use everywhere; the lower one wins, as in curl and Python.
fn proxies(env: &dyn Env) -> ProxyVariables {
    let text = |name: &str| env.get(name).filter(|value| !value.trim().is_empty());
    let either = |lower: &str, upper: &str| text(lower).or_else(|| text(upper));
    // In a CGI program a client's `Proxy` header becomes HTTP_PROXY.
    let http = if env.get("REQUEST_METHOD").is_some() {
        text("http_proxy")
    } else {
        either("http_proxy", "HTTP_PROXY")
    };
    ProxyVariables {
        http: http.map(Secret::new),
        https: either("https_proxy", "HTTPS_PROXY").map(Secret::new),
        all: either("all_proxy", "ALL_PROXY").map(Secret::new),
        none: either("no_proxy", "NO_PROXY"),
    }
}

/// Reads the served fields of `general_settings` over what the environment says. The others are for
/// [`crate::unserved`].
pub(crate) fn read(
    node: &mut Node,
    at: At,
    env: &dyn Env,
    mut general: General,
    report: &mut Report,
) -> General {
    const PATH: &str = "general_settings";
    if node.is_absent() {
        return general;
    }
    let mut unresolved = Vec::new();
    if let Value::Map(entries) = &mut node.value {
        for entry in entries
            .iter_mut()
            .filter(|entry| fields::find(fields::GENERAL, &entry.key).is_some())
        {
            resolve(&mut entry.node, &join(PATH, &entry.key), env, &mut unresolved);
        }
    }
    for missing in unresolved {
        // Not a reason to go on without: the gateway would run with another key or another database than was meant.
        report.error(missing.at, format!("{} {}", missing.path, missing.message));
    }
    let Some(mut section) = Section::open(PATH.into(), at, node, report) else {
        return general;
    };
    secrets(&mut section, &mut general);
    network(&mut section, &mut general);
    limits(&mut section, &mut general);
    general
}

fn secrets(section: &mut Section<'_>, general: &mut General) {
    for (name, target) in [
        ("master_key", &mut general.master_key),
        ("database_url", &mut general.database_url),
    ] {
        if section
            .node(name)
            .is_some_and(|node| matches!(&node.value, Value::Text(text) if text.trim().is_empty()))
        {
            section.error(name, "is empty: remove it, or set it");
        } else if let Some(value) = section.secret(name) {
            *target = Some(value);
        }
    }
    if let Some(permit) = section.boolean("dangerously_permit_weak_or_unset_master_key") {
        general.permit_weak_master_key = permit;
    }
}

fn network(section: &mut Section<'_>, general: &mut General) {
    let mut list = |name: &str, check: fn(&str) -> Result<(), &'static str>| {
        let values = section.texts(name).unwrap_or_default();
        for (index, value) in values.iter().enumerate() {
            if let Err(reason) = check(value) {
                section.error(name, format!("[{index}] {reason}"));
            }
        }
        values
    };
    general.allowed_hosts = list("allowed_hosts", checks::host);
    general.allowed_origins = list("allowed_origins", checks::origin);
    general.egress_allow = list("mcp_egress_allow", checks::egress);
    general.trusted_proxy_ranges = list("mcp_trusted_proxy_ranges", checks::network);
    let more = list("trusted_proxy_ranges", checks::network);
    general.trusted_proxy_ranges.extend(more);
    let allowed = list("allowed_ips", checks::network);
    let internal = list("mcp_internal_ip_ranges", checks::network);
    if section.node("mcp_internal_ip_ranges").is_some() {
        general.internal_ip_ranges = internal;
    }
    if section.node("allowed_ips").is_some() {
        if allowed.is_empty() {
            section.error(
                "allowed_ips",
                "names nobody, so that nobody would get in: remove it, or name addresses",
            );
        }
        general.allowed_ips = Some(allowed);
    }
    clients(section, general);
    if let Some(loopback) = section.boolean("mcp_proxy_loopback") {
        general.proxy_loopback = loopback;
    }
    let who = section.word("mcp_stdio", &["file", "admin"], |word| match word {
        "file" => Some(false),
        "admin" => Some(true),
        _ => None,
    });
    if let Some(admin) = who {
        general.stdio_from_api = admin;
    }
}

/// How it is found out where clients are.
fn clients(section: &mut Section<'_>, general: &mut General) {
    if let Some(uses) = section.boolean("use_x_forwarded_for") {
        general.use_x_forwarded_for = uses;
    }
    if let Some(hops) = section.integer("mcp_xff_num_trusted_hops", 1, 32) {
        general.xff_num_trusted_hops = u32::try_from(hops).ok();
    }
    if general.use_x_forwarded_for && general.trusted_proxy_ranges.is_empty() {
        section.warn(
            "use_x_forwarded_for",
            "has no effect without mcp_trusted_proxy_ranges: X-Forwarded-For is believed only from proxies that are named there. Clients that come through a proxy are taken for external, and do not see servers with `available_on_public_internet: false`.",
        );
    }
    if !general.use_x_forwarded_for {
        for name in [
            "mcp_trusted_proxy_ranges",
            "trusted_proxy_ranges",
            "mcp_xff_num_trusted_hops",
        ] {
            if section.node(name).is_some() {
                section.warn(name, "has no effect without `use_x_forwarded_for: true`.");
            }
        }
    }
}

fn limits(section: &mut Section<'_>, general: &mut General) {
    for (name, target, max) in [
        ("mcp_connect_timeout_ms", &mut general.connect_timeout_ms, MAX_MS),
        ("mcp_list_timeout_ms", &mut general.list_timeout_ms, MAX_MS),
        ("mcp_call_timeout_ms", &mut general.call_timeout_ms, MAX_MS),
        (
            "mcp_max_call_timeout_ms",
            &mut general.max_call_timeout_ms,
            MAX_MS,
        ),
        ("mcp_answer_timeout_ms", &mut general.answer_timeout_ms, MAX_MS),
        ("mcp_health_timeout_ms", &mut general.health_timeout_ms, MAX_MS),
        ("mcp_fanout_deadline_ms", &mut general.fanout_deadline_ms, MAX_MS),
        ("mcp_catalogue_ttl_ms", &mut general.catalogue_ttl_ms, 30 * MAX_MS),
        ("mcp_session_idle_ms", &mut general.session_idle_ms, 30 * MAX_MS),
        (
            "mcp_max_upstream_bytes",
            &mut general.max_upstream_bytes,
            MAX_BYTES,
        ),
    ] {
        if let Some(value) = section.integer(name, 1, max) {
            *target = value;
        }
    }
    for (name, target) in [
        ("mcp_list_max_pages", &mut general.list_max_pages),
        (
            "mcp_max_sessions_per_principal",
            &mut general.max_sessions_per_principal,
        ),
        (
            "mcp_max_streams_per_principal",
            &mut general.max_streams_per_principal,
        ),
    ] {
        if let Some(count) = section.integer(name, 1, 1_000_000) {
            *target = u32::try_from(count).unwrap_or(u32::MAX);
        }
    }
    if let Some(size) = section.integer("mcp_list_page_size", 0, 100_000) {
        general.list_page_size = u32::try_from(size).unwrap_or(u32::MAX);
    }
    // A hundred years.
    if let Some(days) = section.integer("audit_retention_days", 0, 36_500) {
        general.audit_retention_days = u32::try_from(days).unwrap_or(u32::MAX);
    }
    if let Some(text) = section.text("maximum_spend_logs_retention_period") {
        match retention(&text) {
            Some(hours) => general.record_retention_hours = hours,
            None => section.error(
                "maximum_spend_logs_retention_period",
                "must be an hour or more, a hundred years at most: a number with a unit, such as 12h, 30d or 6mo",
            ),
        }
    }
    if let Some(failures) = section.integer("mcp_breaker_failures", 0, 1_000) {
        general.breaker_failures = u32::try_from(failures).unwrap_or(u32::MAX);
    }
    // What it asks for is so in any case; it only has to be one or the other.
    let _ = section.boolean("require_key_mcp_access_defined");
    if let Some(stores) = section.boolean("store_model_in_db") {
        general.store_model_in_db = stores;
    }
    if let Some(strip) = section.boolean("mcp_strip_hidden_text") {
        general.strip_hidden_text = strip;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked to be within 1 byte and MAX_BYTES"
    )]
    if let Some(mebibytes) = section.positive("max_request_size_mb") {
        let bytes = (mebibytes * MEBIBYTE as f64).ceil();
        if bytes <= MAX_BYTES as f64 {
            general.max_body_bytes = bytes as u64;
        } else {
            section.error("max_request_size_mb", "must be at most 1024");
        }
    }
    if let Some(bytes) = section.integer("mcp_max_body_bytes", 1, MAX_BYTES) {
        if section.node("max_request_size_mb").is_some() {
            section.warn("max_request_size_mb", "has no effect: mcp_max_body_bytes wins.");
        }
        general.max_body_bytes = bytes;
    }
}

fn seconds_to_ms(text: &str) -> Option<u64> {
    let seconds: f64 = text.trim().parse().ok()?;
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| (1..=MAX_MS).contains(ms))
}

/// `/path` without a slash at its end; `None` for the root.
fn root_path(text: &str, report: &mut Report) -> Option<String> {
    let path = text.trim().trim_matches('/');
    if path.is_empty() {
        return None;
    }
    if !path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._~/".contains(c))
        || path.split('/').any(|part| part.is_empty() || part == "..")
    {
        report.error(
            At::ENVIRONMENT,
            "SERVER_ROOT_PATH must be a path such as /gateway",
        );
        return None;
    }
    Some(format!("/{path}"))
}

/// Hours; a month has thirty days.
fn retention(text: &str) -> Option<u32> {
    let span = trunkline_model::spending::span(text)?;
    let days =
        i64::from(span.get_months()) * 30 + i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let seconds = span.get_minutes() * 60 + span.get_seconds();
    let hours = days * 24 + i64::from(span.get_hours()) + seconds / 3600;
    u32::try_from(hours)
        .ok()
        .filter(|hours| (1..=876_000).contains(hours))
}
