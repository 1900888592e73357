//! AWS's signature of requests, version 4: who asks is proved by a sum over what is asked, and the secret is not sent.
//!
//! Of a request the method, the path, the query, the headers that are named, and the body are signed. The path is that of the request as
//! it is sent; it is escaped once more, as every service but S3 wants it.

use std::fmt::Write as _;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The name of the key.
    pub access_key_id: &'a str,
    /// The key.
    pub secret_access_key: &'a str,
    /// What a key for some time has beside it.
    pub session_token: Option<&'a str>,
    /// As `us-east-1`.
    pub region: &'a str,
    /// As `bedrock`.
    pub service: &'a str,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// `POST`
    pub method: &'a str,
    /// With its port, if it is not the usual one.
    pub host: &'a str,
    /// As it is sent.
    pub path: &'a str,
    /// As it is sent, in the order of names.
    pub query: &'a str,
    /// `application/json`; empty if none is sent.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// When, as `20150830T123600Z`.
    pub time: &'a str,
}

impl Signer<'_> {
    /// The headers to be added, the secret ones last.
    pub fn headers(&self, what: &ToSign<'_>) -> Vec<(&'static str, String)> {
        // A header that is signed has to be there.
        let kind = Some(what.content_type).filter(|own| !own.is_empty());
        let kind = kind.map(|own| ("content-type", own.to_owned()));
        let mut signed: Vec<(&'static str, String)> = kind.into_iter().collect();
        signed.extend([
            ("host", what.host.to_owned()),
            ("x-amz-date", what.time.to_owned()),
        ]);
        let token = self
            .session_token
            .map(|token| ("x-amz-security-token", token.to_owned()));
        signed.extend(token.clone());
        let lines: Vec<String> = signed
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = format!(
            "{}\n{}\n{}\n{}\n{names}\n{}",
            what.method,
            escaped(what.path),
            what.query,
            lines.concat(),
            hex(Sha256::digest(what.body).as_slice())
        );
        let day = what.time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            what.time,
            hex(Sha256::digest(&canonical).as_slice())
        );
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [day, self.region, self.service, "aws4_request"] {
            key = sum(&key, part.as_bytes());
        }
        let signature = hex(&sum(&key, text.as_bytes()));
        let credential = format!("{}/{scope}", self.access_key_id);
        let authorization =
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}");
        let mut headers = vec![("x-amz-date", what.time.to_owned())];
        headers.extend(token);
        headers.push(("authorization", authorization));
        headers
    }
}

fn sum(key: &[u8], text: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Segment by segment; an empty path is `/`.
fn escaped(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let segments: Vec<String> = path.split('/').map(crate::place::segment).collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: Signer<'static> = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
        region: "us-east-1",
        service: "iam",
    };

    #[test]
    fn the_example_of_awss_documentation() {
        let what = ToSign {
            method: "GET",
            host: "iam.amazonaws.com",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            body: b"",
            time: "20150830T123600Z",
        };
        let headers = SIGNER.headers(&what);
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        assert_eq!(
            headers[1].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn names_are_escaped_twice_and_tokens_are_signed() {
        assert_eq!(
            escaped("/model/a.b-v1%3A0/converse"),
            "/model/a.b-v1%253A0/converse"
        );
        let what = ToSign {
            method: "POST",
            host: "h",
            path: "/model/a/converse",
            query: "",
            content_type: "application/json",
            body: b"{}",
            time: "20150830T123600Z",
        };
        let signer = Signer {
            session_token: Some("token"),
            ..SIGNER
        };
        let headers = signer.headers(&what);
        assert_eq!(headers[1], ("x-amz-security-token", "token".to_owned()));
        assert!(
            headers[2]
                .1
                .contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token")
        );
        assert_ne!(headers[2].1, SIGNER.headers(&what)[1].1);
        // What is not sent is not signed.
        let shown = ToSign {
            method: "GET",
            content_type: "",
            body: b"",
            ..what
        };
        assert!(
            SIGNER.headers(&shown)[1]
                .1
                .contains("SignedHeaders=host;x-amz-date,")
        );
    }
}
