//! What a provider is told beside a body: who asks, and what the operator always sends.

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use trunkline_llm::Provider;
use trunkline_llm::place::is_azures;
use trunkline_llm::provider::Credential;
use trunkline_model::{DeploymentParams, Secret};

use super::models::{BETA, VERSION};

/// The revision of Anthropic's API that is spoken, unless the client or the operator wants another.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// How credentials of Anthropic's begin that are sent as `Authorization`, and what it has to be told for them.
const ANTHROPIC_TOKEN: (&str, HeaderValue) = ("sk-ant-oat", HeaderValue::from_static("oauth-2025-04-20"));
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
static API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The headers of every request to a deployment, or what of it cannot be sent in one.
pub(super) fn headers(provider: &Provider, params: &DeploymentParams) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if provider.credential == Credential::Anthropic {
        headers.insert(VERSION.clone(), ANTHROPIC_VERSION);
    }
    if let Some(key) = params.api_key.as_ref().map(Secret::expose) {
        of_key(&mut headers, (provider.credential, &params.api_base), key)?;
    } else if let Some(token) = &params.azure_ad_token {
        let value = secret(&format!("Bearer {}", token.expose()), "its azure_ad_token")?;
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(organization) = &params.organization {
        let name = HeaderName::from_static("openai-organization");
        headers.insert(name, secret(organization, "its organization")?);
    }
    for (name, value) in &params.extra_headers {
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a name in extra_headers is none")?;
        headers.insert(known, secret(value.expose(), "a value of its extra_headers")?);
    }
    Ok(headers)
}

fn of_key(
    headers: &mut HeaderMap,
    (credential, api_base): (Credential, &str),
    key: &str,
) -> Result<(), String> {
    let (token, beta) = ANTHROPIC_TOKEN;
    let is_token = key.starts_with(token);
    let name = match credential {
        Credential::Google => &X_GOOG_API_KEY,
        Credential::Anthropic if !is_token => &X_API_KEY,
        Credential::Azure => &API_KEY,
        Credential::AzureAi if is_azures(api_base) => &API_KEY,
        Credential::Bearer
        | Credential::Anthropic
        | Credential::AzureAi
        | Credential::Aws
        | Credential::GoogleAccount => {
            let value = secret(&format!("Bearer {key}"), "its api_key")?;
            headers.insert(AUTHORIZATION, value);
            if credential == Credential::Anthropic {
                headers.insert(BETA.clone(), beta);
            }
            return Ok(());
        }
    };
    headers.insert(name.clone(), secret(key, "its api_key")?);
    Ok(())
}

fn secret(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| format!("{what} cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
