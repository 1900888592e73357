//! Certificates that are made for a test, and a front that ends TLS before a plain server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// An authority of one's own.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate for these names or addresses, of servers and clients.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        Identity {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        Arc::new(store)
    }
}

impl Identity {
    /// One that is its own authority.
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            cert: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The certificate as it is sent.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// A line of the key, to look for.
    pub(crate) fn secret(&self) -> &str {
        self.key.lines().nth(1).unwrap()
    }
}

/// A handshake that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// The name that was asked for.
    pub(crate) name: Option<String>,
    /// What the gateway proved itself by.
    pub(crate) client: Option<CertificateDer<'static>>,
    pub(crate) version: Option<ProtocolVersion>,
}

/// TLS 1.2 alone.
pub(crate) static OLD: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];

/// What a front is like.
pub(crate) struct Setup<'a> {
    pub(crate) identity: &'a Identity,
    /// Clients have to have a certificate of this authority.
    pub(crate) clients: Option<&'a Authority>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    /// The ports of the servers behind it, by the certificate that the client has shown; the first is for all others.
    pub(crate) behind: Vec<(Option<CertificateDer<'static>>, u16)>,
}

impl<'a> Setup<'a> {
    /// TLS as usual, before the server at `port`.
    pub(crate) fn of(identity: &'a Identity, port: u16) -> Self {
        Self {
            identity,
            clients: None,
            versions: rustls::ALL_VERSIONS,
            behind: vec![(None, port)],
        }
    }

    pub(crate) fn clients(mut self, authority: &'a Authority) -> Self {
        self.clients = Some(authority);
        self
    }

    fn config(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_protocol_versions(self.versions);
        let builder = match self.clients {
            Some(authority) => builder
                .with_client_cert_verifier(WebPkiClientVerifier::builder(authority.store()).build().unwrap()),
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(vec![self.identity.der()], key).unwrap())
    }

    pub(crate) async fn start(self) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = Arc::new(Mutex::new(self.config()));
        let handshakes: Arc<Mutex<Vec<Handshake>>> = Arc::default();
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let (config, seen, failed) = (own.clone(), handshakes.clone(), failures.clone());
        let behind = self.behind;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(config.lock().unwrap().clone());
                let (seen, failed, behind) = (seen.clone(), failed.clone(), behind.clone());
                connections.spawn(async move {
                    match acceptor.accept(stream).await {
                        Ok(secured) => forward(secured, &seen, &behind).await,
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                });
            }
        });
        Front {
            address,
            config: own,
            seen: handshakes,
            failed: failures,
            accepting,
        }
    }
}

async fn forward(
    mut secured: tokio_rustls::server::TlsStream<TcpStream>,
    seen: &Mutex<Vec<Handshake>>,
    behind: &[(Option<CertificateDer<'static>>, u16)],
) {
    let session = secured.get_ref().1;
    let client = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|own| own.clone().into_owned());
    let handshake = Handshake {
        name: session.server_name().map(str::to_owned),
        client,
        version: session.protocol_version(),
    };
    let own = behind.iter().find(|(client, _)| *client == handshake.client);
    let (_, port) = own.unwrap_or(&behind[0]);
    seen.lock().unwrap().push(handshake);
    if let Ok(mut plain) = TcpStream::connect(("127.0.0.1", *port)).await {
        let _ = tokio::io::copy_bidirectional(&mut secured, &mut plain).await;
    }
}

/// A running front. Dropping it closes its port and its connections.
pub(crate) struct Front {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    seen: Arc<Mutex<Vec<Handshake>>>,
    failed: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Front {
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// `https://127.0.0.1:PORT`
    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// `https://127.0.0.1:PORT/mcp`
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.origin())
    }

    /// Is another server from the next connection on.
    pub(crate) fn become_as(&self, setup: &Setup<'_>) {
        *self.config.lock().unwrap() = setup.config();
    }

    /// The handshakes so far.
    pub(crate) fn seen(&self) -> Vec<Handshake> {
        self.seen.lock().unwrap().clone()
    }

    /// What became of those that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}
