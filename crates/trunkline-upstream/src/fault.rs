//! What went wrong with an upstream: where, whose fault, what next. Made where it happens, turned into an
//! [`Outcome`] where it is shown.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use trunkline_model::{AuthType, Outcome, OutcomeStatus, Rejected, Server, Step};

/// A failed attempt to use a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at {}: {message}", status.as_str(), step.as_str())]
pub struct Fault {
    /// The kind.
    pub status: OutcomeStatus,
    /// Where.
    pub step: Step,
    /// HTTP status of the upstream's answer.
    pub http_status: Option<u16>,
    /// What happened, with the upstream's words: bounded, printable, without what we sent as a credential.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The upstream's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The upstream's `WWW-Authenticate`, for the log and `doctor`.
    pub www_authenticate: Option<String>,
}

/// Longest piece of an upstream's text that is repeated.
const MAX_WORDS: usize = 300;

impl Fault {
    /// A fault without an HTTP answer. What to do is what its kind says, unless [`Fault::hint`] knows better.
    pub fn new(status: OutcomeStatus, step: Step, message: impl Into<String>) -> Self {
        Self {
            status,
            step,
            http_status: None,
            message: message.into(),
            hint: usual_hint(status, step).map(str::to_owned),
            retry_after: None,
            www_authenticate: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The registration cannot work; nothing was sent.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(OutcomeStatus::Misconfigured, Step::Configuration, message)
    }

    /// A deadline passed.
    pub fn timeout(step: Step, after: Duration) -> Self {
        Self::new(
            OutcomeStatus::Timeout,
            step,
            format!("no answer within {:.1} s", after.as_secs_f64()),
        )
    }

    /// An answer that is not MCP.
    pub fn protocol(step: Step, message: impl Into<String>) -> Self {
        Self::new(OutcomeStatus::ProtocolError, step, message)
            .hint("check that the URL is the server's MCP endpoint (often it ends in /mcp)")
    }

    /// An HTTP status that is no success. `body` is the beginning of the answer's text.
    pub fn http(server: &Server, step: Step, status: StatusCode, body: &str) -> Self {
        let (kind, hint) = match status.as_u16() {
            401 => (OutcomeStatus::AuthRequired, Some(credential_hint(server))),
            // 421: the Python SDK's answer to a Host that it does not expect.
            403 | 421 => (
                OutcomeStatus::Forbidden,
                Some("the server refuses this credential: check its rights, and whether the server expects another Host or Origin".to_owned()),
            ),
            404 => (
                OutcomeStatus::Misconfigured,
                Some("there is no MCP endpoint at this URL: check the path (often /mcp)".to_owned()),
            ),
            405 | 406 | 415 => (
                OutcomeStatus::Misconfigured,
                Some("the URL does not accept MCP's POST requests: check the path, or whether it is a legacy HTTP+SSE server".to_owned()),
            ),
            429 => (OutcomeStatus::RateLimited, Some("the server limits how often it may be called".to_owned())),
            500..=599 => (OutcomeStatus::UpstreamError, Some("look at the server's own log".to_owned())),
            _ => (
                OutcomeStatus::ProtocolError,
                Some("that is no answer of MCP's: check that the URL is the server's MCP endpoint, and what stands between".to_owned()),
            ),
        };
        let words = printable(body);
        let message = if words.is_empty() {
            format!("the server answered HTTP {}", status.as_u16())
        } else {
            format!("the server answered HTTP {}: {words}", status.as_u16())
        };
        Self {
            http_status: Some(status.as_u16()),
            hint,
            ..Self::new(kind, step, message)
        }
    }

    /// The same as a value to show.
    pub fn outcome(&self, at: Timestamp, took: Duration) -> Outcome {
        Outcome {
            status: self.status,
            step: self.step,
            http_status: self.http_status,
            message: self.message.clone(),
            hint: self.hint.clone(),
            at,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            retry_after_s: self.retry_after.map(|after| after.as_secs()),
            rejected: Rejected::default(),
        }
    }

    /// Takes out of the texts what we sent as a credential: an upstream may repeat it (B48, S13).
    #[must_use]
    pub fn without<'a>(mut self, secrets: impl Iterator<Item = &'a str>) -> Self {
        let secrets: Vec<&str> = secrets.collect();
        self.message = redacted(&self.message, &secrets);
        self.www_authenticate = self.www_authenticate.map(|text| redacted(&text, &secrets));
        self
    }
}

/// Shorter values are no secrets, and taking them out would make texts unreadable.
const SHORTEST_SECRET: usize = 4;

/// `text` without the secrets, and without the beginning of one where the text was cut in the middle of it.
pub fn redacted(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
        if text.contains(secret) {
            text = text.replace(secret, REDACTED);
        }
    }
    if let Some(whole) = text.strip_suffix('…') {
        let longest = secrets
            .iter()
            .flat_map(|secret| secret.char_indices().map(|(at, c)| &secret[..at + c.len_utf8()]))
            .filter(|start| start.len() >= SHORTEST_SECRET && whole.ends_with(start))
            .map(str::len)
            .max();
        if let Some(length) = longest {
            text = format!("{}{REDACTED}…", &whole[..whole.len() - length]);
        }
    }
    text
}

const REDACTED: &str = "[redacted]";

/// What to do where nothing more is known than the kind and the step: no failure leaves people without a next thing to try.
fn usual_hint(status: OutcomeStatus, step: Step) -> Option<&'static str> {
    Some(match status {
        OutcomeStatus::Timeout => "the server is slow or hangs: look at its own log",
        OutcomeStatus::Unreachable if matches!(step, Step::Dns | Step::Tcp | Step::Tls) => {
            "check that the server runs, its host and port, and the network between"
        }
        OutcomeStatus::Unreachable | OutcomeStatus::UpstreamError => "look at the server's own log",
        OutcomeStatus::ProtocolError => {
            "the server does not keep to the protocol: look at its own log, and whether it is an MCP server at all"
        }
        OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden => {
            "check the server's auth_type and credentials, and what they may do there"
        }
        OutcomeStatus::RateLimited => "call again later",
        OutcomeStatus::Misconfigured => "change the server's registration as the message says",
        OutcomeStatus::Internal => "report it, with the request id",
        OutcomeStatus::Ok
        | OutcomeStatus::Pending
        | OutcomeStatus::Quarantined
        | OutcomeStatus::NoGrant
        | OutcomeStatus::PendingReview => return None,
    })
}

/// What to set when the upstream answers 401, from what is set now.
fn credential_hint(server: &Server) -> String {
    let definition = &server.definition;
    let has_value = definition
        .credentials
        .auth_value
        .as_ref()
        .is_some_and(|value| !value.is_empty());
    let header = definition
        .static_headers
        .keys()
        .find(|name| name.eq_ignore_ascii_case("authorization"));
    match (definition.auth_type, has_value, header) {
        (_, _, Some(_)) => {
            "the server does not accept the Authorization header that static_headers sends: check the key in it".to_owned()
        }
        (Some(kind), true, None) if kind != AuthType::None => format!(
            "the server does not accept the credential: check credentials.auth_value (in the file: authentication_token), and whether auth_type {} is the form it expects",
            kind.as_str()
        ),
        (Some(kind), false, None) if kind != AuthType::None => format!(
            "auth_type is {} but no value is set: set credentials.auth_value (in the file: authentication_token)",
            kind.as_str()
        ),
        _ => "the server wants a credential and none is configured: set auth_type (for example bearer_token) and credentials.auth_value (in the file: authentication_token), or let clients send x-mcp-{alias}-authorization".to_owned(),
    }
}

/// An upstream's text made fit for a log line: bounded, one line, no control or invisible characters (S37).
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() || is_invisible(c) {
            blank = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
        }
        out.push(c);
        if out.len() >= MAX_WORDS {
            out.push('…');
            break;
        }
    }
    out
}

/// Characters that do not show but change what is read: bidi controls, zero-width, tags, line separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s37_texts_are_one_printable_line() {
        assert_eq!(printable("a\r\nb\u{1b}[31m\u{202e}c\t\u{0}"), "a b [31m c");
        assert!(printable(&"é".repeat(10_000)).len() <= MAX_WORDS + 4);
    }

    #[test]
    fn s13_credentials_are_taken_out() {
        let fault = Fault::new(
            OutcomeStatus::AuthRequired,
            Step::Initialize,
            "bad key canary-key-1",
        )
        .without(["canary-key-1", ""].into_iter());
        assert_eq!(fault.message, "bad key [redacted]");
        let cut = printable(&format!("{} Bearer canary-key-1", "x".repeat(MAX_WORDS - 15)));
        assert!(cut.ends_with("canary-…"), "{cut}");
        let cut = redacted(&cut, &["Bearer canary-key-1", "canary-key-1"]);
        assert!(cut.ends_with("x [redacted]…"), "{cut}");
    }

    #[test]
    fn a_host_that_the_server_does_not_expect_is_said_so() {
        let server = Server {
            id: trunkline_model::ServerId::new("s"),
            origin: trunkline_model::Origin::File,
            definition: trunkline_model::ServerDefinition::default(),
            approval: trunkline_model::Approval::default(),
            stamps: trunkline_model::Stamps::default(),
            defect: None,
        };
        let answered = |status| Fault::http(&server, Step::Initialize, status, "Invalid Host header");
        for status in [StatusCode::FORBIDDEN, StatusCode::MISDIRECTED_REQUEST] {
            let fault = answered(status);
            assert_eq!(fault.status, OutcomeStatus::Forbidden);
            assert!(fault.hint.unwrap().contains("Host"));
        }
    }

    proptest! {
        #[test]
        fn s37_any_text_is_one_bounded_printable_line(text in ".{0,400}") {
            let line = printable(&text);
            prop_assert!(line.len() <= MAX_WORDS + 8);
            prop_assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)));
        }

        #[test]
        fn s13_a_secret_is_found_wherever_it_stands(before in "[a-z ]{0,320}", secret in "[A-Z0-9]{12,40}", after in "[a-z ]{0,40}") {
            let line = redacted(&printable(&format!("{before}{secret}{after}")), &[&secret]);
            // No part of it that would help anybody.
            prop_assert!(!line.contains(&secret[..4]), "{line}");
        }
    }
}
