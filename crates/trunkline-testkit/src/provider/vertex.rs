//! The provider as Google's cloud has it: Gemini's and Anthropic's dialects at addresses within a project, and tokens for a service
//! account, which are given for a request that its key signed.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{anthropic, gemini, known_only};
use crate::bare::{Bare, Said};

const EMAIL: &str = "gateway@my-project.iam.gserviceaccount.com";

/// What it knows of tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    pair: RsaKeyPair,
    /// How many were given.
    pub(super) given: usize,
    /// Seconds for which one holds.
    pub(super) life: u64,
    /// None is given.
    pub(super) refuses: bool,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            pair: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            given: 0,
            life: 3600,
            refuses: false,
        }
    }

    /// The file of the account, with where tokens are.
    pub(super) fn account(&self, root: &str) -> String {
        let der: Pkcs8V1Der<'static> = self.pair.as_der().expect("a key as bytes");
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let file = json!({
            "type": "service_account", "project_id": "my-project", "private_key_id": "k1", "private_key": pem,
            "client_email": EMAIL, "token_uri": format!("{root}/token"),
        });
        file.to_string()
    }

    fn is_signed(&self, body: &[u8], host: &str) -> bool {
        let text = String::from_utf8_lossy(body);
        let Some(assertion) =
            text.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        else {
            return false;
        };
        let Some((signed, signature)) = assertion.rsplit_once('.') else {
            return false;
        };
        let claims = signed
            .split_once('.')
            .and_then(|(_, own)| URL_SAFE_NO_PAD.decode(own).ok());
        let claims: Value = claims
            .and_then(|own| serde_json::from_slice(&own).ok())
            .unwrap_or_default();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        let life = claims["exp"].as_i64().unwrap_or(0) - claims["iat"].as_i64().unwrap_or(0);
        key.verify(signed.as_bytes(), &signature).is_ok()
            && claims["iss"] == EMAIL
            && claims["aud"] == format!("http://{host}/token")
            && (1..=3600).contains(&life)
    }

    fn token(&mut self, bare: &Bare) -> Said {
        let refused = |text: &str| {
            Said::json(
                400,
                json!({"error": "invalid_grant", "error_description": text}).to_string(),
            )
        };
        if self.refuses {
            return refused("Invalid JWT Signature.");
        }
        if !self.is_signed(&bare.body, bare.header("host").unwrap_or_default()) {
            return refused("the assertion is not signed");
        }
        self.given += 1;
        let answer = json!({"access_token": format!("token-{}", self.given), "expires_in": self.life, "token_type": "Bearer"});
        Said::json(200, answer.to_string())
    }
}

fn error(code: u16, status: &str, message: &str) -> Said {
    Said::json(
        code,
        json!({"error": {"code": code, "message": message, "status": status}}).to_string(),
    )
}

/// What it does not take, and tokens, which are all of an answer.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn rejected(tokens: &mut Tokens, bare: &Bare, models: &[String]) -> Result<Value, Said> {
    let path = bare.head.uri.path();
    if path == "/token" {
        return Err(tokens.token(bare));
    }
    if bare.header("authorization") != Some(format!("Bearer token-{}", tokens.given).as_str()) {
        return Err(error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        ));
    }
    let invalid = |text: &str| error(400, "INVALID_ARGUMENT", text);
    let missing = || error(404, "NOT_FOUND", "no such method");
    let mut body: Value =
        serde_json::from_slice(&bare.body).map_err(|_| invalid("Invalid JSON payload received"))?;
    let within = |version: &str, publisher: &str| {
        let begin =
            format!("/{version}/projects/my-project/locations/europe-west1/publishers/{publisher}/models/");
        path.strip_prefix(&begin)?.split_once(':')
    };
    let known = |model: &str| models.iter().any(|own| own.replace('@', "%40") == model);
    if let Some((model, "generateContent" | "streamGenerateContent")) = within("v1beta1", "google") {
        return match gemini::wrong(&body) {
            _ if !known(model) => Err(missing()),
            Some(text) => Err(invalid(&text)),
            None => Ok(body),
        };
    }
    if let Some((model, "countTokens")) = within("v1beta1", "google") {
        return match known_only(
            &body,
            &["contents", "systemInstruction", "tools", "generationConfig"],
        ) {
            _ if !known(model) => Err(missing()),
            Some(name) => Err(invalid(&format!("Unknown name \"{name}\""))),
            None if body["contents"].as_array().is_none_or(Vec::is_empty) => Err(invalid("no contents")),
            None => Ok(body),
        };
    }
    if let Some((model, "predict")) = within("v1", "google") {
        return match wrong_vectors(&body, model) {
            _ if !known(model) => Err(missing()),
            Some(text) => Err(invalid(&text)),
            None => Ok(body),
        };
    }
    if let Some(("count-tokens", "rawPredict")) = within("v1", "anthropic") {
        let model = body["model"].as_str().unwrap_or_default();
        return match known_only(
            &body,
            &["anthropic_version", "model", "messages", "system", "tools"],
        ) {
            _ if !models.iter().any(|own| own == model) => Err(missing()),
            Some(name) => Err(invalid(&format!("{name}: Extra inputs are not permitted"))),
            None => Ok(body),
        };
    }
    let Some((model, how @ ("rawPredict" | "streamRawPredict"))) = within("v1", "anthropic") else {
        return Err(missing());
    };
    let object = body.as_object_mut().ok_or_else(|| invalid("no object"))?;
    if object.remove("anthropic_version") != Some("vertex-2023-10-16".into()) {
        return Err(invalid("anthropic_version: Field required"));
    }
    if object.contains_key("model") {
        return Err(invalid("model: Extra inputs are not permitted"));
    }
    if !known(model) {
        return Err(missing());
    }
    object.insert("model".to_owned(), model.into());
    let streams = body["stream"] == true;
    match anthropic::wrong(&body, false) {
        Some(text) => Err(invalid(&text)),
        None if streams != (how == "streamRawPredict") => Err(invalid("stream and the method differ")),
        None => Ok(body),
    }
}

/// What is wrong with a request for vectors.
fn wrong_vectors(body: &Value, model: &str) -> Option<String> {
    if let Some(name) = known_only(body, &["instances", "parameters"]) {
        return Some(format!("Unknown name \"{name}\""));
    }
    if let Some(name) = known_only(&body["parameters"], &["outputDimensionality", "autoTruncate"]) {
        return Some(format!("Unknown parameter \"{name}\""));
    }
    let instances = body["instances"].as_array().filter(|own| !own.is_empty());
    let Some(instances) = instances else {
        return Some("instances must not be empty".to_owned());
    };
    if model.starts_with("gemini-embedding") && instances.len() > 1 {
        return Some("only one instance is supported".to_owned());
    }
    let is_one = |own: &Value| {
        known_only(own, &["content", "task_type", "title"]).is_none()
            && own["content"].as_str().is_some_and(|text| !text.is_empty())
    };
    (!instances.iter().all(is_one)).then(|| "an instance is none".to_owned())
}

/// What it says where no model says anything.
pub(super) fn unvoiced(path: &str, body: &Value) -> Option<Said> {
    if path.ends_with("/count-tokens:rawPredict") {
        return Some(Said::json(200, json!({"input_tokens": 31}).to_string()));
    }
    if path.ends_with(":predict") {
        let instances = body["instances"].as_array().cloned().unwrap_or_default();
        let of = |own: &Value| {
            let values = gemini::vector(&own["content"], &body["parameters"]["outputDimensionality"]);
            json!({"embeddings": {"values": values, "statistics": {"token_count": 3.0, "truncated": false}}})
        };
        let all: Vec<Value> = instances.iter().map(of).collect();
        return Some(Said::json(200, json!({ "predictions": all }).to_string()));
    }
    gemini::unvoiced(path, body)
}

/// Whether it is a model of Google's own.
pub(super) fn is_google(path: &str) -> bool {
    path.contains("/publishers/google/")
}
