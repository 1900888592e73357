//! Service accounts of Google's: the file that an operator has, and the signed request for a token that is made of it (RFC 7523).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

/// What a token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Where tokens are, if the file does not say it.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Seconds for which a request for a token holds.
const LIFE: i64 = 3600;

/// A service account.
pub struct Account {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    /// Where tokens are. The operator's file says it, and the operator is believed.
    pub token_uri: String,
    /// The project that it belongs to.
    pub project: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    project_id: Option<String>,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default)]
    private_key: Option<String>,
    #[serde(default)]
    client_email: Option<String>,
    #[serde(default)]
    token_uri: Option<String>,
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Sent as `Authorization: Bearer`.
    pub value: String,
    /// Seconds from now on.
    pub expires_in: u64,
}

impl Account {
    /// Reads the text of a file. Errors say what is wrong with it, and nothing of what is in it.
    pub fn read(json: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(json)
            .map_err(|error| format!("the credentials are no service account: {}", wrong(&error)))?;
        if let Some(wrong) = not_an_accounts(&file.kind) {
            return Err(wrong);
        }
        let missing = |name: &str| format!("the credentials have no {name}");
        let key = file.private_key.ok_or_else(|| missing("private_key"))?;
        Ok(Self {
            email: file.client_email.ok_or_else(|| missing("client_email"))?,
            key_id: file.private_key_id,
            key: key_pair(&key).ok_or("the private_key of the credentials is no RSA key in PKCS #8")?,
            token_uri: file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()),
            project: file.project_id,
        })
    }

    /// The body of a request for a token, at a time in seconds. It is a form.
    pub fn request(&self, now: i64) -> Result<String, String> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + LIFE,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| "the private_key of the credentials cannot sign".to_owned())?;
        let assertion = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
        Ok(format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
        ))
    }
}

impl Token {
    /// Reads the answer to a request for one.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire {
            access_token: String,
            #[serde(default)]
            expires_in: Option<u64>,
        }
        let wire: Wire = serde_json::from_slice(json)
            .map_err(|_| "the answer to the request for a token has none".to_owned())?;
        Ok(Self {
            value: wire.access_token,
            expires_in: wire.expires_in.unwrap_or(0),
        })
    }
}

/// What is wrong with credentials that say of themselves that they are of another kind, if these do.
pub fn of_another_kind(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let file: Kind = serde_json::from_str(json).ok()?;
    not_an_accounts(&file.kind)
}

fn not_an_accounts(kind: &str) -> Option<String> {
    let whose = match kind {
        "service_account" => return None,
        "authorized_user" => ", and are a person's (`gcloud auth application-default login`)",
        "external_account" => ", and are a workload identity's",
        "impersonated_service_account" => ", and are those of somebody who stands for one",
        _ => "",
    };
    Some(format!(
        "the credentials must be those of a service account (`type`: `service_account`){whose}"
    ))
}

/// What is wrong with JSON, without what is in it.
fn wrong(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "it has not the members of one".to_owned(),
        _ => format!("it is no JSON (line {}, column {})", error.line(), error.column()),
    }
}

fn key_pair(pem: &str) -> Option<RsaKeyPair> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body.trim()).ok()?;
    RsaKeyPair::from_pkcs8(&der).ok()
}

/// A body of Anthropic's dialect as Vertex takes it: the model is in the address, the revision in the body. Where tokens are counted, the
/// model stays in the body (`names_model`).
pub fn vertex_message(body: &[u8], names_model: bool) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut object = trunkline_mcp::edit::RawObject::parse(text).ok()?;
    if !names_model {
        object.remove("model");
    }
    object.set_string("anthropic_version", "vertex-2023-10-16");
    Some(object.to_json().into_bytes())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_request_for_a_token_is_signed_by_the_account() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'static> = pair.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let file = json!({"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem,
            "client_email": "a@p.iam.gserviceaccount.com", "token_uri": "http://t/token"});
        let account = Account::read(&file.to_string()).unwrap();
        assert_eq!(account.project.as_deref(), Some("p"));
        let body = account.request(1_000_000).unwrap();
        let assertion = body.split_once("&assertion=").unwrap().1;
        let (text, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        public
            .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let claims = URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["aud"], &claims["exp"]),
            (&json!("http://t/token"), &json!(1_003_600))
        );
    }

    #[test]
    fn what_is_no_account_is_said_without_what_is_in_it() {
        for text in [
            "{\"type\":\"authorized_user\",\"client_secret\":\"hidden\"}",
            "{\"type\":\"service_account\",\"client_email\":\"hidden\"}",
            "{\"type\":\"service_account\",\"client_email\":\"hidden\",\"private_key\":\"hidden\"}",
            "{\"hidden\":1}",
            "{\"type\":\"hidden",
        ] {
            let Err(error) = Account::read(text) else {
                panic!("{text} is none")
            };
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(Token::read(b"{\"error\":\"hidden\"}").is_err());
        assert_eq!(
            Token::read(b"{\"access_token\":\"t\",\"expires_in\":9}")
                .unwrap()
                .expires_in,
            9
        );
    }

    #[test]
    fn a_message_for_vertex_names_no_model() {
        let body = br#"{"model":"m","max_tokens":1, "x":1e5}"#;
        let out = vertex_message(body, false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"max_tokens":1, "x":1e5,"anthropic_version":"vertex-2023-10-16"}"#
        );
    }
}
