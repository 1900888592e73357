//! One gateway: its address, the key, and requests to it.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use trunkline_model::Secret;
use url::Url;

/// The header of the key: `Authorization` may be meant for a server behind the gateway.
static KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// Time for name resolution and TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole answer: listing waits for slow servers, and a health check for all of them.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
/// Time for the question whether anybody is there.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is read into memory, bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Longest text of an error that is shown, characters.
const MAX_SHOWN: usize = 500;

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is no address of a gateway: {why}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No connection: nothing was sent.
    #[error("no gateway answers at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// The reason in the system's words.
        why: String,
    },
    /// The connection broke after the request was sent: what became of it is not known.
    #[error("the connection to the gateway at {url} broke: {why}")]
    Broken {
        /// Where.
        url: String,
        /// The reason in the system's words.
        why: String,
    },
    /// No whole answer in time.
    #[error("the gateway at {url} did not answer within {} s", .after.as_secs())]
    Slow {
        /// Where.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that says no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// For people.
        message: String,
        /// The whole answer; null if it is no JSON.
        body: Value,
    },
    /// An answer that is not what the gateway says.
    #[error("what answers at {url} is no Trunkline gateway, or an older one: {why}")]
    Strange {
        /// Where.
        url: String,
        /// What is strange.
        why: String,
    },
}

/// Where a gateway is, and the key for it. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Gateway {
    /// Without a slash at the end.
    base: String,
    key: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway at `http://host:port`, or below a path. An address that ends with `/mcp` is understood too.
    pub fn new(url: &str, key: Option<&Secret>) -> Result<Self, ClientError> {
        let base = base_of(url)?;
        let wrong_key = ClientError::Address {
            url: base.clone(),
            why: "the key for it holds a character that cannot stand in a header",
        };
        let key = match key {
            None => None,
            Some(key) => {
                let text = format!("Bearer {}", key.expose().trim());
                let mut value = HeaderValue::from_str(&text).map_err(|_| wrong_key)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut roots = rustls::RootCertStore::empty();
        if base.starts_with("https") {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            base,
            key,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether there is a key for it.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Sends one request and gives the head of the answer, whatever its status; the body is read as it comes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let uri = format!("{}{path}", self.base);
        let strange = |why: &str| ClientError::Strange {
            url: self.base.clone(),
            why: why.to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(|_| strange("the path cannot stand in a request"))?;
        let own = request.headers_mut();
        own.extend(headers.clone());
        if let Some(key) = &self.key {
            own.insert(KEY.clone(), key.clone());
        }
        self.client.request(request).await.map_err(|error| {
            let (url, why) = (self.base.clone(), innermost(&error));
            if error.is_connect() {
                ClientError::Unreachable { url, why }
            } else {
                ClientError::Broken { url, why }
            }
        })
    }

    /// Sends a request and reads the whole answer, which must be JSON (or nothing) and a success.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let whole = async {
            let response = self.send(method, path, &headers, bytes).await?;
            let status = response.status();
            let body = self.whole(response.into_body()).await?;
            Ok((status, body))
        };
        let (status, body) = self.in_time(ANSWER_TIMEOUT, whole).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| ClientError::Strange {
            url: self.base.clone(),
            why: format!("HTTP {} with a body that is not JSON", status.as_u16()),
        })
    }

    /// Whether a gateway answers there. Needs no key.
    pub async fn alive(&self) -> Result<(), ClientError> {
        let headers = HeaderMap::new();
        let asked = self.send(Method::GET, "/health/liveliness", &headers, Bytes::new());
        let response = self.in_time(ALIVE_TIMEOUT, asked).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(ClientError::Strange {
            url: self.base.clone(),
            why: format!("HTTP {} at /health/liveliness", response.status().as_u16()),
        })
    }

    async fn in_time<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            Err(ClientError::Slow {
                url: self.base.clone(),
                after: limit,
            })
        })
    }

    /// A whole body, within the bound.
    pub(crate) async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let collected = Limited::new(body, MAX_ANSWER).collect().await;
        collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| ClientError::Broken {
                url: self.base.clone(),
                why: error.to_string(),
            })
    }

    /// An answer that is no success, in words.
    pub(crate) fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let said = said(&body);
        let message = match status.as_u16() {
            // Its words: a key can be unknown, blocked, or over.
            401 => match said {
                Some(said) => format!("the gateway at {} refuses the key: {said}", self.base),
                None => format!("the gateway at {} refuses the key", self.base),
            },
            _ => said.unwrap_or_else(|| format!("the gateway at {} answered HTTP {status}", self.base)),
        };
        ClientError::Refused {
            status,
            message,
            body,
        }
    }
}

/// What an error of any of the gateway's shapes says: `detail.error`, `detail.message`, `detail[].msg`, `error.message`.
fn said(body: &Value) -> Option<String> {
    let detail = &body["detail"];
    let texts: Vec<String> = match detail {
        Value::String(text) => vec![text.clone()],
        Value::Array(problems) => problems
            .iter()
            .filter_map(|problem| {
                let place: Vec<&str> = problem["loc"]
                    .as_array()?
                    .iter()
                    .skip(1)
                    .filter_map(Value::as_str)
                    .collect();
                Some(format!("{}: {}", place.join("."), problem["msg"].as_str()?))
            })
            .collect(),
        Value::Object(_) => ["message", "error"]
            .into_iter()
            .find_map(|key| detail[key].as_str())
            .map(str::to_owned)
            .into_iter()
            .collect(),
        _ => body["error"]["message"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect(),
    };
    (!texts.is_empty()).then(|| texts.join("; ").chars().take(MAX_SHOWN).collect())
}

fn base_of(url: &str) -> Result<String, ClientError> {
    let wrong = |why| ClientError::Address {
        url: url.to_owned(),
        why,
    };
    let parsed = Url::parse(url).map_err(|_| wrong("it must be a URL such as http://127.0.0.1:4000"))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(wrong("it must be an http or https URL"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // Not repeated: it holds a password.
        return Err(ClientError::Address {
            url: "the URL".to_owned(),
            why: "it must not hold a user name or password: the key has a setting of its own",
        });
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("it must not have a query or a fragment"));
    }
    let path = parsed.path().trim_end_matches('/');
    let path = path.strip_suffix("/mcp").unwrap_or(path);
    Ok(format!("{}{path}", parsed.origin().ascii_serialization()))
}

/// The cause that says most: `Connection refused`, not `error trying to connect`.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses() {
        for (given, base) in [
            ("http://127.0.0.1:4000", Some("http://127.0.0.1:4000")),
            ("http://127.0.0.1:4000/mcp/", Some("http://127.0.0.1:4000")),
            ("https://gw.example/root/", Some("https://gw.example/root")),
            ("https://gw.example:443/", Some("https://gw.example")),
            ("127.0.0.1:4000", None),
            ("ftp://host", None),
            ("http://user:secret@host", None),
            ("http://host/?key=x", None),
        ] {
            assert_eq!(base_of(given).ok().as_deref(), base, "{given}");
        }
        let error = base_of("http://user:s3cret@host").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn what_errors_say() {
        for (body, text) in [
            (json!({"detail": {"error": "a"}}), Some("a")),
            (
                json!({"detail": {"error": "code", "message": "words"}}),
                Some("words"),
            ),
            (
                json!({"detail": [{"loc": ["body", "url"], "msg": "m"}]}),
                Some("url: m"),
            ),
            (json!({"detail": "d"}), Some("d")),
            (json!({"error": {"message": "e"}}), Some("e")),
            (json!(null), None),
        ] {
            assert_eq!(said(&body).as_deref(), text, "{body}");
        }
    }
}
