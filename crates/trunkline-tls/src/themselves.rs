//! Servers whose certificate is its own authority.
//!
//! `openssl req -x509` makes certificates that say CA:TRUE unless it is told otherwise, and the verifier takes no
//! authority's certificate for a server's. OpenSSL, and so everything that people tried before, does where the very
//! certificate was named as the authority. So does this, for the certificates of `tls_ca` and no other; name and time are
//! verified as ever.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The usual verifier, and what it is too strict for.
#[derive(Debug)]
pub(crate) struct Themselves {
    pub(crate) usual: Arc<WebPkiServerVerifier>,
    pub(crate) themselves: Vec<CertificateDer<'static>>,
}

/// Whether a certificate was refused because it is that of an authority. The verifier has no name for it; it looks at the
/// time before it finds this.
pub(crate) fn is_an_authoritys(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(_)) && format!("{error:?}").contains("CaUsedAsEndEntity")
}

impl ServerCertVerifier for Themselves {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self
            .usual
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match usual {
            Err(Error::InvalidCertificate(error))
                if is_an_authoritys(&error) && self.themselves.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// Made on 2026-01-01 for `a.test`, for a year.
    fn own(key: &KeyPair) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(key).unwrap().der().clone()
    }

    fn verify(named: &CertificateDer<'static>, shown: &CertificateDer<'_>, name: &str, year: i32) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(named.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let verifier = Themselves {
            usual,
            themselves: vec![named.clone()],
        };
        let seconds = rcgen::date_time_ymd(year, 6, 1).unix_timestamp();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(shown, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn the_very_certificate_is_believed_in_its_time_for_its_name() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (named, stranger) = (own(&key), own(&other));
        for (shown, name, year, believed) in [
            (&named, "a.test", 2026, true),
            (&named, "b.test", 2026, false),
            (&named, "a.test", 2025, false),
            (&named, "a.test", 2027, false),
            (&stranger, "a.test", 2026, false),
        ] {
            assert_eq!(verify(&named, shown, name, year), believed, "{name} {year}");
        }
    }
}
