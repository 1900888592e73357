//! What is special about TLS with one server: whom the gateway believes, and how it proves itself.

use crate::Secret;

/// The TLS settings of one server; the default is what holds for every other one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `tls_ca`: the authorities that the server's certificate may come from, in place of the usual ones.
    pub ca: Option<Pem>,
    /// `tls_client_cert`: the gateway's own certificate, and those that lead from it to its authority.
    pub client_cert: Option<Pem>,
    /// `tls_client_key`: the key of that certificate, PEM text or, of a server of the API, `os.environ/NAME`.
    pub client_key: Option<Secret>,
    /// `tls_server_name`: the name that is asked for and that the certificate must have, in place of the one in the URL.
    pub server_name: Option<String>,
    /// `tls_min_version`: the oldest version that is spoken.
    pub min_version: Option<TlsVersion>,
}

impl TlsSettings {
    /// Whether anything is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Certificates as PEM text, which is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// `-----BEGIN CERTIFICATE-----…`
    pub text: String,
    /// The file that it was read from. Servers of the configuration file alone can have one.
    pub path: Option<String>,
}

impl Pem {
    /// PEM text that somebody wrote down where a path could stand.
    pub fn inline(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            path: None,
        }
    }

    /// Whether a value is PEM text, rather than the path of a file. A path that holds the marker would be a strange one.
    pub fn is_text(value: &str) -> bool {
        value.contains("-----BEGIN")
    }

    /// What to show: the path, if there is one.
    pub fn shown(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.text)
    }
}

/// A version of TLS that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2, the oldest that is spoken at all.
    Tls12,
    /// 1.3
    Tls13,
}

impl TlsVersion {
    /// The word in configuration and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    /// The inverse of [`TlsVersion::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tls12, Self::Tls13]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}
