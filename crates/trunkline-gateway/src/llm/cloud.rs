//! Credentials that are made for each request, or for an hour: AWS's signature of a request, and tokens for Google's service accounts.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use trunkline_llm::google::{Account, Token};
use trunkline_llm::sigv4::{Signer, ToSign};
use trunkline_model::{Aws, OutcomeStatus, Secret, Step};
use trunkline_upstream::fault::Fault;
use trunkline_upstream::http::{Target, read_body};
use trunkline_upstream::provider;

use super::models::Ready;
use crate::Gateway;

/// So long before its end a token is not used any more.
const BEFORE_END: Duration = Duration::from_mins(1);
/// For a token.
const TOKEN_TIME: Duration = Duration::from_secs(20);
/// Bytes of an answer with one.
const MAX_TOKEN: usize = 64 * 1024;
/// Bytes of a file with credentials.
const MAX_FILE: u64 = 64 * 1024;

/// The token of a deployment. Whoever needs one while it is fetched waits for that one.
#[derive(Default)]
pub(super) struct Held {
    token: Mutex<Option<(HeaderValue, Instant)>>,
    /// The last one, to be taken out of what is told, whether or not another one is fetched.
    last: ArcSwapOption<String>,
}

/// Says who asks, where that is different for each request.
pub(super) async fn prove(
    gateway: &Arc<Gateway>,
    ready: &Ready,
    (method, target): (&Method, &Target),
    (headers, body): (&mut HeaderMap, &Bytes),
) -> Result<(), Fault> {
    let params = &ready.deployment.params;
    if let Some(aws) = &params.aws {
        return sign(gateway, aws, (method, target), (headers, body));
    }
    if let Some(credentials) = &params.google_credentials {
        // Boxed: requests to most providers have no use for it, and all of them would have its size.
        let token = Box::pin(ready.token.get(gateway, credentials)).await?;
        headers.insert(AUTHORIZATION, token);
    }
    Ok(())
}

fn sign(
    gateway: &Gateway,
    aws: &Aws,
    (method, target): (&Method, &Target),
    (headers, body): (&mut HeaderMap, &Bytes),
) -> Result<(), Fault> {
    let bad = || Fault::misconfigured("its credentials for AWS cannot be sent in headers");
    let signer = Signer {
        access_key_id: aws.access_key_id.expose(),
        secret_access_key: aws.secret_access_key.expose(),
        session_token: aws.session_token.as_ref().map(Secret::expose),
        region: &aws.region,
        service: "bedrock",
    };
    let url = &target.url;
    let host = url.host_str().unwrap_or_default();
    let host = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    // As the operator's `extra_headers` may have it.
    let content_type = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let time = gateway.clock.now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let proofs = signer.headers(&ToSign {
        method: method.as_str(),
        host: &host,
        path: url.path(),
        query: url.query().unwrap_or_default(),
        content_type: content_type.unwrap_or_default(),
        body,
        time: &time,
    });
    headers.remove(HOST);
    for (name, value) in proofs {
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(())
}

impl Held {
    /// The last token that was given, if any was.
    pub(super) fn last(&self) -> Option<Arc<String>> {
        self.last.load_full()
    }

    async fn get(&self, gateway: &Arc<Gateway>, credentials: &Secret) -> Result<HeaderValue, Fault> {
        // Held while one is fetched: there is one request for it, however many wait.
        let mut held = self.token.lock().await;
        if let Some((value, until)) = held.as_ref()
            && *until > Instant::now()
        {
            return Ok(value.clone());
        }
        *held = None;
        let fetched = timeout(TOKEN_TIME, fetch(gateway, credentials)).await;
        let token = fetched.unwrap_or_else(|_| Err(Fault::timeout(Step::Configuration, TOKEN_TIME)))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.value))
            .map_err(|_| Fault::misconfigured("the token that Google gave cannot be sent in a header"))?;
        value.set_sensitive(true);
        self.last.store(Some(Arc::new(token.value)));
        let life = Duration::from_secs(token.expires_in).saturating_sub(BEFORE_END);
        *held = Some((value.clone(), Instant::now() + life));
        Ok(value)
    }
}

async fn fetch(gateway: &Arc<Gateway>, credentials: &Secret) -> Result<Token, Fault> {
    let text = text(credentials).await.map_err(Fault::misconfigured)?;
    let account = Account::read(&text).map_err(Fault::misconfigured)?;
    let body = account
        .request(gateway.clock.now().as_second())
        .map_err(Fault::misconfigured)?;
    let target = provider::target(&account.token_uri)
        .map_err(|_| Fault::misconfigured("the token_uri of the credentials is no address"))?;
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, kind);
    let sent = (&Method::POST, &target);
    let response = gateway
        .upstreams
        .ask_provider(sent, &headers, Bytes::from(body))
        .await
        .map_err(|fault| about_token(&fault.message, fault.status))?;
    let status = response.status();
    let body = read_body(response, MAX_TOKEN, Step::Call).await;
    let body = body.map_err(|fault| about_token(&fault.message, fault.status))?;
    if status != StatusCode::OK {
        // What it says may repeat what it was sent.
        let error: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let word = error
            .as_ref()
            .and_then(|own| own["error"].as_str())
            .unwrap_or_default();
        let word: String = word
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .take(64)
            .collect();
        let text = format!("HTTP {} {word}", status.as_u16());
        return Err(about_token(text.trim_end(), OutcomeStatus::AuthRequired));
    }
    Token::read(&body).map_err(|text| about_token(&text, OutcomeStatus::ProtocolError))
}

/// Nothing was sent to the model.
fn about_token(text: &str, status: OutcomeStatus) -> Fault {
    let text = format!("no token was given for its vertex_credentials: {text}");
    Fault::new(status, Step::Configuration, text)
}

/// The credentials themselves, or of the file that they name, which is read each time: it may have been replaced.
async fn text(credentials: &Secret) -> Result<String, String> {
    let own = credentials.expose().trim();
    if own.starts_with('{') {
        return Ok(own.to_owned());
    }
    let unread = |error: std::io::Error| {
        format!(
            "the file of its vertex_credentials cannot be read: {}",
            error.kind()
        )
    };
    let about = tokio::fs::metadata(own).await.map_err(unread)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err("the file of its vertex_credentials is none, or too large".to_owned());
    }
    tokio::fs::read_to_string(own).await.map_err(unread)
}
