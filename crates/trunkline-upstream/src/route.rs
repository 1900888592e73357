//! How connections to one server are made: by which TLS identity, and in what time (ADR 0024).
//!
//! Made once when a server's entry is made, and carried by every [`crate::http::Target`] of that server, so that there is
//! no way to a connection that goes around it: lists, calls, probes, documents and legacy streams have it alike.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use trunkline_auth::Vault;
use trunkline_model::{Server, TlsSettings};
use trunkline_tls::{Authorities, Mistake};

use crate::credential::{Variables, resolve};
use crate::fault::Fault;

/// How to get to a server.
#[derive(Clone, Default)]
pub struct Route {
    tls: Option<Arc<Identity>>,
    connect_timeout: Option<Duration>,
}

/// The TLS settings of one server, ready for use.
struct Identity {
    settings: TlsSettings,
    name: Option<ServerName<'static>>,
    /// Equal settings, equal text. Connections are kept apart by it.
    key: String,
    built: Mutex<Option<Built>>,
}

/// A configuration, and the authorities that it was made with. It holds the sessions that TLS resumes, which are therefore
/// kept apart too.
struct Built {
    usual: Arc<Authorities>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

impl Route {
    /// The route to a server. Fails where its certificates and key cannot be used.
    pub(crate) fn of(server: &Server, vault: &Vault, variables: &Variables) -> Result<Self, Fault> {
        let definition = &server.definition;
        let seconds = definition.connect_timeout;
        Ok(Self {
            tls: identity(&definition.tls, vault, variables)?.map(Arc::new),
            connect_timeout: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// The same for another place than the server itself: whom it believes, without what it proves and is called.
    pub(crate) fn elsewhere(&self, vault: &Vault) -> Result<Self, Fault> {
        let Some(own) = &self.tls else {
            return Ok(self.clone());
        };
        let settings = TlsSettings {
            ca: own.settings.ca.clone(),
            min_version: own.settings.min_version,
            ..TlsSettings::default()
        };
        Ok(Self {
            tls: identity(&settings, vault, &|_| None)?.map(Arc::new),
            connect_timeout: self.connect_timeout,
        })
    }

    /// The server's own time for a connection.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// What tells connections of this server from those of others at the same address; empty where nothing is special.
    pub(crate) fn key(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| &tls.key)
    }

    /// The name that is asked for in place of the host in the URL.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        self.tls.as_ref()?.name.clone()
    }

    /// Whether the gateway has a certificate of its own to show.
    pub(crate) fn presents(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.settings.client_cert.is_some())
    }

    /// The TLS configuration; `None`: the usual one.
    pub(crate) fn config(&self, usual: &Arc<Authorities>) -> Result<Option<Arc<ClientConfig>>, Fault> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let mut built = tls.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = built.as_ref().filter(|built| Arc::ptr_eq(&built.usual, usual)) {
            return Ok(Some(built.config.clone()));
        }
        let config =
            trunkline_tls::client_config(&tls.settings, usual).map_err(|mistake| unusable(&mistake))?;
        let config = Arc::new(config);
        *built = Some(Built {
            usual: usual.clone(),
            config: config.clone(),
        });
        Ok(Some(config))
    }

    /// What is special about TLS, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        let settings = &self.tls.as_ref()?.settings;
        let mut parts = Vec::new();
        if settings.ca.is_some() {
            parts.push("authorities of its own (tls_ca)".to_owned());
        }
        if settings.client_cert.is_some() {
            parts.push("a client certificate (tls_client_cert)".to_owned());
        }
        if let Some(name) = &settings.server_name {
            parts.push(format!("the name {}", crate::fault::printable(name)));
        }
        if let Some(version) = settings.min_version {
            parts.push(format!("at least TLS {}", version.as_str()));
        }
        Some(format!("TLS with {}", parts.join(", ")))
    }
}

fn identity(settings: &TlsSettings, vault: &Vault, variables: &Variables) -> Result<Option<Identity>, Fault> {
    if settings.is_default() {
        return Ok(None);
    }
    let mut settings = settings.clone();
    if let Some(key) = &settings.client_key {
        settings.client_key = Some(resolve(key, "tls_client_key", variables)?);
    }
    // Made once to see that it can be.
    trunkline_tls::client_config(&settings, &Authorities::none()).map_err(|mistake| unusable(&mistake))?;
    let name = settings.server_name.as_deref().map(trunkline_tls::server_name);
    let name = name.transpose().map_err(|mistake| unusable(&mistake))?;
    let key = trunkline_model::ids::hex(&vault.fingerprint(&parts(&settings)));
    Ok(Some(Identity {
        settings,
        name,
        key,
        built: Mutex::default(),
    }))
}

/// Everything that two connections must have in common to be exchanged for one another.
fn parts(settings: &TlsSettings) -> [&[u8]; 6] {
    [
        b"tls",
        settings.ca.as_ref().map_or(&[][..], |pem| pem.text.as_bytes()),
        settings
            .client_cert
            .as_ref()
            .map_or(&[][..], |pem| pem.text.as_bytes()),
        settings
            .client_key
            .as_ref()
            .map_or(&[][..], |key| key.expose().as_bytes()),
        settings
            .server_name
            .as_ref()
            .map_or(&[][..], |name| name.as_bytes()),
        settings
            .min_version
            .map_or(&[][..], |version| version.as_str().as_bytes()),
    ]
}

fn unusable(mistake: &Mistake) -> Fault {
    Fault::misconfigured(mistake.to_string())
}
