//! PEM text to what a connection needs.
//!
//! Every message names a field and never holds a value: the text next to a damaged line is often the key.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, InconsistentKeys, RootCertStore, SupportedProtocolVersion,
};
use trunkline_model::{Secret, TlsSettings, TlsVersion};

use crate::themselves::Themselves;

const CA: &str = "tls_ca";
const CERT: &str = "tls_client_cert";
const KEY: &str = "tls_client_key";
const NAME: &str = "tls_server_name";
/// A key that is looked up when it is used.
const REFERENCE: &str = "os.environ/";

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Mistake {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what to do, without the field's value.
    pub message: String,
    /// It was right once: the time of the certificate is over.
    pub expired: bool,
}

impl Mistake {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
            expired: false,
        }
    }
}

/// Everything that is wrong with the settings at `now`. A key that is a reference is not looked up.
pub fn check(settings: &TlsSettings, now: Timestamp) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if let Some(ca) = &settings.ca {
        mistakes.extend(check_authorities(&ca.text, now).err());
    }
    mistakes.extend(check_identity(settings, now).err());
    if let Some(name) = &settings.server_name {
        mistakes.extend(server_name(name).err());
    }
    mistakes
}

fn check_authorities(text: &str, now: Timestamp) -> Result<(), Mistake> {
    let certificates = certificates(CA, text)?;
    store_of(&certificates)?;
    // Bundles often keep old authorities beside new ones; one of them has to be in its time.
    let mut first = None;
    for certificate in &certificates {
        match in_time(CA, certificate, now) {
            Ok(()) => return Ok(()),
            Err(mistake) => first = first.or(Some(mistake)),
        }
    }
    first.map_or(Ok(()), Err)
}

fn check_identity(settings: &TlsSettings, now: Timestamp) -> Result<(), Mistake> {
    let is_reference = settings
        .client_key
        .as_ref()
        .is_some_and(|key| key.expose().trim().starts_with(REFERENCE));
    let chain = if is_reference {
        let text = settings.client_cert.as_ref().map(|cert| cert.text.as_str());
        Some(certificates(CERT, text.ok_or_else(no_certificate)?)?)
    } else {
        identity(settings)?.map(|identity| identity.0)
    };
    match chain.as_deref().and_then(<[_]>::first) {
        Some(own) => in_time(CERT, own, now),
        None => Ok(()),
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// Where certificates were named one by one.
    themselves: Option<Arc<Themselves>>,
}

impl Authorities {
    /// Those in a PEM text.
    pub fn of(text: &str) -> Result<Self, Mistake> {
        let themselves = certificates(CA, text)?;
        let roots = Arc::new(store_of(&themselves)?);
        let usual = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| Mistake::new(CA, format!("cannot be used: {error}")))?;
        Ok(Self {
            roots,
            themselves: Some(Arc::new(Themselves { usual, themselves })),
        })
    }

    /// Those that are believed where nothing else is said: the machine's (`SSL_CERT_FILE` and `SSL_CERT_DIR` name
    /// others), else Mozilla's.
    pub fn usual() -> Self {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self {
            roots: Arc::new(roots),
            themselves: None,
        }
    }

    /// Nobody.
    pub fn none() -> Self {
        Self {
            roots: Arc::new(RootCertStore::empty()),
            themselves: None,
        }
    }

    /// The configuration of connections that nothing is special about.
    pub fn config(&self) -> ClientConfig {
        self.believed(rustls::ALL_VERSIONS).with_no_client_auth()
    }

    fn believed(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        match &self.themselves {
            Some(verifier) => builder
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone()),
            None => builder.with_root_certificates(self.roots.clone()),
        }
    }
}

fn store_of(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, Mistake> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store.add(certificate.clone()).map_err(|_| {
            Mistake::new(
                CA,
                format!("certificate {} in it cannot be read as an authority", index + 1),
            )
        })?;
    }
    Ok(store)
}

/// The configuration of connections under `settings`, whose key must not be a reference any more. `usual` are the
/// authorities where `tls_ca` names none.
pub fn client_config(settings: &TlsSettings, usual: &Authorities) -> Result<ClientConfig, Mistake> {
    let versions: &[&SupportedProtocolVersion] = match settings.min_version {
        None | Some(TlsVersion::Tls12) => rustls::ALL_VERSIONS,
        Some(TlsVersion::Tls13) => &[&rustls::version::TLS13],
    };
    let builder = match &settings.ca {
        Some(ca) => Authorities::of(&ca.text)?.believed(versions),
        None => usual.believed(versions),
    };
    match identity(settings)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Mistake::new(CERT, format!("cannot be used with {KEY}: {error}"))),
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Checks the name that is asked for.
pub fn server_name(text: &str) -> Result<ServerName<'static>, Mistake> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| Mistake::new(NAME, "must be the name of a host or an address, without port"))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The gateway's own certificates and their key, if they are set and belong together.
fn identity(settings: &TlsSettings) -> Result<Option<Identity>, Mistake> {
    let (cert, key) = match (&settings.client_cert, &settings.client_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            return Err(Mistake::new(
                KEY,
                format!("is missing: {CERT} is of no use without its key"),
            ));
        }
        (None, Some(_)) => return Err(no_certificate()),
    };
    let chain = certificates(CERT, &cert.text)?;
    let key = private_key(key)?;
    let signing = provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| {
            Mistake::new(
                KEY,
                "holds a key of a kind that is not spoken: RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are",
            )
        })?;
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some((chain, key))),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Mistake::new(
            KEY,
            format!("is not the key of the first certificate in {CERT}"),
        )),
        Err(_) => Err(Mistake::new(CERT, "its first certificate cannot be read")),
    }
}

fn no_certificate() -> Mistake {
    Mistake::new(
        CERT,
        format!("is missing: {KEY} is of no use without its certificate"),
    )
}

fn certificates(field: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    if text.contains("PRIVATE KEY-----") {
        return Err(Mistake::new(
            field,
            format!("holds a private key, which belongs in {KEY}: this field is shown to administrators"),
        ));
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Mistake::new(
            field,
            "holds no certificate: it must have a part between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        )),
        Ok(found) => Ok(found),
        Err(_) => Err(Mistake::new(field, "is not valid PEM text")),
    }
}

fn private_key(key: &Secret) -> Result<PrivateKeyDer<'static>, Mistake> {
    let text = key.expose();
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Mistake::new(
            KEY,
            "is encrypted with a passphrase, which nobody could enter here: decrypt it (openssl pkey -in KEY -out PLAIN) and protect the file",
        ));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        Mistake::new(
            KEY,
            "holds no private key that can be read: it must have a part between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----",
        )
    })
}

/// Whether a certificate is in its time. Asked of the verifier itself, with no authority to believe: it looks at the time
/// first, and whatever else it finds is not asked about here.
fn in_time(field: &'static str, certificate: &CertificateDer<'_>, now: Timestamp) -> Result<(), Mistake> {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        // Of a version before X.509 v3, as some old authorities are.
        return Ok(());
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let nobody = RootCertStore::empty();
    let found = verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], time, &[]);
    let Err(rustls::Error::InvalidCertificate(error)) = found else {
        return Ok(());
    };
    let message = match error {
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}", date(not_after)),
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", date(not_before))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        _ => return Ok(()),
    };
    Err(Mistake {
        expired: true,
        ..Mistake::new(
            field,
            format!("the certificate {message}: replace it, or check the machine's clock"),
        )
    })
}

/// A point in time as people write it.
pub(crate) fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "an unknown day".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
    use trunkline_model::Pem;

    use super::*;

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn certificate(key: &KeyPair, edit: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        edit(&mut params);
        params.self_signed(key).unwrap().pem()
    }

    fn authority(edit: impl FnOnce(&mut CertificateParams)) -> String {
        certificate(&KeyPair::generate().unwrap(), |params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            edit(params);
        })
    }

    fn old(params: &mut CertificateParams) {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }

    fn found(edit: impl FnOnce(&mut TlsSettings)) -> Vec<String> {
        let mut settings = TlsSettings::default();
        edit(&mut settings);
        check(&settings, now()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_right_is_not_complained_about() {
        let key = KeyPair::generate().unwrap();
        let cert = certificate(&key, |_| {});
        let complaints = found(|settings| {
            settings.ca = Some(Pem::inline(authority(old) + &authority(|_| {})));
            settings.client_cert = Some(Pem::inline(cert));
            settings.client_key = Some(Secret::new(key.serialize_pem()));
            settings.server_name = Some("a.test".to_owned());
            settings.min_version = Some(TlsVersion::Tls13);
        });
        assert_eq!(complaints, [""; 0]);
    }

    type Edit<'a> = &'a dyn Fn(&mut TlsSettings);

    #[test]
    fn what_is_wrong_names_its_field_and_what_to_do() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let own = certificate(&key, |_| {});
        let pair = |settings: &mut TlsSettings, cert: &str, key: &str| {
            settings.client_cert = Some(Pem::inline(cert));
            settings.client_key = Some(Secret::new(key));
        };
        let (own_key, other_key) = (key.serialize_pem(), other.serialize_pem());
        let cases: [(Edit<'_>, &str, &str); 10] = [
            (
                &|s| s.ca = Some(Pem::inline("no PEM")),
                "tls_ca",
                "no certificate",
            ),
            (
                &|s| s.ca = Some(Pem::inline(authority(old))),
                "tls_ca",
                "expired on 2021-01-01",
            ),
            (
                &|s| s.ca = Some(Pem::inline(own_key.clone())),
                "tls_ca",
                "private key",
            ),
            (
                &|s| s.client_cert = Some(Pem::inline(own.clone())),
                "tls_client_key",
                "missing",
            ),
            (
                &|s| s.client_key = Some(Secret::new(own_key.clone())),
                "tls_client_cert",
                "missing",
            ),
            (&|s| pair(s, &own, &other_key), "tls_client_key", "not the key"),
            (
                &|s| pair(s, &own, "-----BEGIN PRIVATE KEY-----"),
                "tls_client_key",
                "no private key",
            ),
            (
                &|s| pair(s, &own, "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
                "tls_client_key",
                "passphrase",
            ),
            (
                &|s| pair(s, &certificate(&key, old), &own_key),
                "tls_client_cert",
                "expired on 2021-01-01",
            ),
            (
                &|s| s.server_name = Some("a b".to_owned()),
                "tls_server_name",
                "name of a host",
            ),
        ];
        for (edit, field, words) in cases {
            let complaints = found(edit);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            assert!(complaints[0].starts_with(&format!("{field}: ")), "{complaints:?}");
            assert!(complaints[0].contains(words), "{complaints:?}");
            assert!(!complaints[0].contains(&own_key[40..60]), "{complaints:?}");
        }
    }

    #[test]
    fn a_key_that_is_a_reference_is_not_looked_up() {
        let cert = certificate(&KeyPair::generate().unwrap(), |_| {});
        let complaints = found(|settings| {
            settings.client_cert = Some(Pem::inline(cert));
            settings.client_key = Some(Secret::new("os.environ/KEY"));
        });
        assert_eq!(complaints, [""; 0]);
    }

    #[test]
    fn a_chain_of_a_client_is_taken_as_it_is() {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &issuer).unwrap().pem();
        let settings = TlsSettings {
            client_cert: Some(Pem::inline(cert)),
            client_key: Some(Secret::new(key.serialize_pem())),
            ..TlsSettings::default()
        };
        assert_eq!(check(&settings, now()), []);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        assert!(client_config(&settings, &Authorities::none()).is_ok());
    }
}
