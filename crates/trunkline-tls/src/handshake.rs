//! What a handshake that failed means: whose certificate is at fault, and what to change.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::material::date;
use crate::themselves::is_an_authoritys;

/// A failed handshake in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

const SERVER: &str = "the server's certificate";

/// Explains an error of a connection, if TLS is what failed. `presents`: a client certificate was configured for it.
///
/// With TLS 1.3 a server refuses the client's certificate after the handshake is over for the client, so the error comes
/// with the first answer; it is found wherever it is in the chain of causes.
pub fn explain(error: &(dyn StdError + 'static), presents: bool) -> Option<Explained> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(of(error, presents));
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // The chain of an I/O error begins after what it holds.
            Some(held) => Some(held as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn of(error: &Error, presents: bool) -> Explained {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alerted(*alert, presents),
        Error::PeerIncompatible(why) => Explained {
            message: format!("the server and the gateway have no TLS version or method in common: {why:?}"),
            hint: "the server speaks an older TLS than tls_min_version (1.2 unless it is set): update the server, or lower tls_min_version",
        },
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Explained {
            message: "what answers there does not speak TLS".to_owned(),
            hint: "check the port, or whether the url should begin with http://",
        },
        other => Explained {
            message: format!("the TLS handshake failed: {other}"),
            hint: "look at the server's own log",
        },
    }
}

fn certificate(error: &CertificateError) -> Explained {
    let (what, hint) = match error {
        CertificateError::UnknownIssuer => (
            "comes from an authority that is not trusted here (unknown issuer)".to_owned(),
            "set tls_ca of the server to the certificate of its authority; a server must also send the certificates between",
        ),
        CertificateError::NotValidForName => ("is for another name".to_owned(), WRONG_NAME),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().take(4).map(|name| bare(name)).collect();
            let names = if names.is_empty() {
                "no name at all".to_owned()
            } else {
                names.join(", ")
            };
            (
                format!("is not for the name {}; it is for {names}", expected.to_str()),
                WRONG_NAME,
            )
        }
        CertificateError::ExpiredContext { not_after, .. } => (
            format!("expired on {}", date(*not_after)),
            "renew the server's certificate, or check the clock of this machine",
        ),
        CertificateError::Expired => (
            "has expired".to_owned(),
            "renew the server's certificate, or check the clock of this machine",
        ),
        CertificateError::NotValidYetContext { not_before, .. } => (
            format!("is not valid before {}", date(*not_before)),
            "check the clocks of this machine and of whoever made the certificate",
        ),
        CertificateError::NotValidYet => (
            "is not valid yet".to_owned(),
            "check the clocks of this machine and of whoever made the certificate",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "is not meant for servers".to_owned(),
            "the certificate needs the extended key usage serverAuth",
        ),
        other if is_an_authoritys(other) => (
            "is that of an authority itself, which is not trusted here".to_owned(),
            "if it is the right server, set tls_ca of the server to this very certificate; better make one for the server, signed by the authority",
        ),
        other => (
            format!("is not accepted: {other}"),
            "look at the certificate with: openssl s_client -connect HOST:PORT -servername HOST",
        ),
    };
    Explained {
        message: format!("{SERVER} {what}"),
        hint,
    }
}

/// `DnsName("a.test")` is `a.test`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

const WRONG_NAME: &str = "if it is the right server, set tls_server_name to the name in its certificate";

/// The server has ended the handshake.
fn alerted(alert: AlertDescription, presents: bool) -> Explained {
    use AlertDescription as A;
    let own = "the gateway's client certificate (tls_client_cert)";
    let (message, hint) = match alert {
        A::CertificateRequired | A::NoCertificate if presents => (
            format!("the server requires a client certificate and did not take {own}"),
            "check that tls_client_cert comes from an authority that the server believes",
        ),
        A::CertificateRequired | A::NoCertificate => (
            "the server requires a client certificate, and none is configured".to_owned(),
            "set tls_client_cert and tls_client_key of the server",
        ),
        A::CertificateExpired if presents => {
            (format!("the server refuses {own}: it has expired"), "renew it")
        }
        A::CertificateRevoked if presents => (
            format!("the server refuses {own}: it was revoked"),
            "have a new one made",
        ),
        A::UnknownCA if presents => (
            format!("the server refuses {own}: it does not know the authority it comes from"),
            "use a certificate of the authority that the server believes, and put the certificates between into tls_client_cert",
        ),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::AccessDenied
        | A::DecryptError
            if presents =>
        {
            (
                format!("the server refuses {own} ({alert:?})"),
                "look at the server's own log for the reason",
            )
        }
        // Before TLS 1.3 there is no alert for a certificate that is missing.
        A::HandshakeFailure | A::BadCertificate if !presents => (
            format!("the server ended the handshake ({alert:?})"),
            "it may require a client certificate (tls_client_cert, tls_client_key), or another TLS version or method",
        ),
        A::ProtocolVersion => (
            "the server and the gateway have no TLS version in common".to_owned(),
            "the server speaks an older TLS than tls_min_version (1.2 unless it is set): update the server, or lower tls_min_version",
        ),
        A::UnrecognisedName => (
            "the server does not know the name that it was asked for".to_owned(),
            "check the host in the url, or set tls_server_name",
        ),
        other => (
            format!("the server ended the TLS connection: {other:?}"),
            "look at the server's own log",
        ),
    };
    Explained { message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_wherever_it_is() {
        let inner = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::AlertReceived(AlertDescription::CertificateRequired),
        );
        let outer = io::Error::other(inner);
        let none = explain(&outer, false).unwrap();
        assert!(none.message.contains("none is configured"), "{none:?}");
        let own = explain(&outer, true).unwrap();
        assert!(own.message.contains("tls_client_cert"), "{own:?}");
        // What OpenSSL says before TLS 1.3.
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        let old = explain(&alert, false).unwrap();
        assert!(old.hint.contains("may require a client certificate"), "{old:?}");
        assert_eq!(explain(&io::Error::other("else"), false), None);
    }

    #[test]
    fn the_servers_certificate_is_said_to_be_the_servers() {
        for (error, words) in [
            (CertificateError::UnknownIssuer, "unknown issuer"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::Expired, "has expired"),
        ] {
            let said = of(&Error::InvalidCertificate(error), true);
            assert!(
                said.message.starts_with("the server's certificate ") && said.message.contains(words),
                "{said:?}"
            );
        }
    }
}
