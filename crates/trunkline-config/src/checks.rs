//! Checks of single values. Each answers with what is wrong, never with the value.

use trunkline_model::{IpNetwork, NotANetwork};
use url::Url;

/// Checks an address that is fetched: `http` or `https`, a host, and no user name or password in it.
pub(crate) fn url(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds a blank or a control character".into());
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "must begin with http:// or https://".to_owned(),
        other => format!("is not a valid URL: {other}"),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http:// and https:// are served".into());
    }
    if !text[url.scheme().len()..].starts_with("://") || url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a user name or password; use `auth_type: basic` with `authentication_token: os.environ/NAME` (`user:password`)"
                .into(),
        );
    }
    Ok(())
}

/// Checks an OpenAPI document's place: an `http(s)` URL or a path without a scheme.
pub(crate) fn document(text: &str) -> Result<(), String> {
    if has_scheme(text) { url(text) } else { Ok(()) }
}

/// Whether a place is a URL rather than a path. A single letter before the colon is a Windows drive.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Checks the name of a header. `wildcard` allows a trailing `*`.
pub(crate) fn header_name(name: &str, wildcard: bool) -> Result<(), &'static str> {
    let bare = if wildcard {
        name.strip_suffix('*').unwrap_or(name)
    } else {
        name
    };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'+-.^_`|~".contains(c);
    if name.is_empty() || !bare.chars().all(is_token) {
        return Err("is not the name of a header");
    }
    if ["x-litellm-api-key", "x-litellm-key"].contains(&bare.to_ascii_lowercase().as_str()) {
        return Err("carries the gateway's own key, which is never sent to a server");
    }
    Ok(())
}

/// Checks a value that becomes part of a header: a line break in it would begin another one.
pub(crate) fn header_value(value: &str) -> Result<(), &'static str> {
    if value.contains(['\r', '\n']) {
        return Err(
            "holds a line break, which no header can; a trailing one often comes from a file or a `|` block",
        );
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("holds a control character");
    }
    Ok(())
}

/// Checks the name that `Host` holds before its port.
pub(crate) fn host(text: &str) -> Result<(), &'static str> {
    let has_port = !text.ends_with(']') && text.contains(':');
    if has_port || !is_authority(text) {
        return Err("must be the name of a host, without port");
    }
    Ok(())
}

/// Checks `scheme://host[:port]` as in `Origin`.
pub(crate) fn origin(text: &str) -> Result<(), &'static str> {
    const WANTED: &str = "must be an origin, as `https://name` or `https://name:port`";
    let (_, authority) = text.split_once("://").ok_or(WANTED)?;
    if !is_authority(authority) {
        return Err(WANTED);
    }
    Url::parse(text).map(|_| ()).map_err(|_| WANTED)
}

fn is_authority(text: &str) -> bool {
    let plain = !text.is_empty() && !text.contains(['/', '@', '?', '#', '\\', '*']);
    plain && !text.contains(char::is_whitespace) && Url::parse(&format!("http://{text}/")).is_ok()
}

/// Words of `mcp_egress_allow`.
const EGRESS_WORDS: [&str; 3] = ["public", "private", "loopback"];

/// Checks a member of `mcp_egress_allow`.
pub(crate) fn egress(text: &str) -> Result<(), &'static str> {
    const WANTED: &str =
        "must be a network such as 10.0.0.0/8, an address, or one of the words public, private, loopback";
    if EGRESS_WORDS.contains(&text) {
        return Ok(());
    }
    text.parse::<IpNetwork>().map(|_| ()).map_err(|_| WANTED)
}

/// A network in CIDR form, or an address.
pub(crate) fn network(text: &str) -> Result<(), &'static str> {
    text.parse::<IpNetwork>()
        .map(|_| ())
        .map_err(|_| NotANetwork::MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_only_http_without_credentials() {
        for good in [
            "http://a",
            "https://a.example:8443/mcp?x=1",
            "http://[::1]:9/mcp",
            "http://127.0.0.1/",
        ] {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in [
            "file:///etc/passwd",
            "gopher://a/",
            "a.example/mcp",
            "http:a",
            "http://",
            "http://user@a/",
            "http://u:p@a/",
            "http://a/\nb",
            "ftp://a",
            "javascript:alert(1)",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert_eq!(document("specs/petstore.yaml"), Ok(()));
        assert_eq!(document("https://a/openapi.json"), Ok(()));
        assert!(document("file:///etc/passwd").is_err());
        assert!(document("gopher://a/1").is_err());
    }

    #[test]
    fn headers() {
        assert_eq!(header_name("X-Tenant", false), Ok(()));
        assert_eq!(header_name("x-*", true), Ok(()));
        assert!(header_name("x-*", false).is_err());
        assert!(header_name("a b", true).is_err());
        assert!(header_name("X-LiteLLM-API-Key", true).is_err());
        assert!(header_value("a\r\nEvil: 1").is_err());
        assert_eq!(header_value("ordinary value"), Ok(()));
    }

    #[test]
    fn hosts_origins_and_networks() {
        assert_eq!(host("gateway.example"), Ok(()));
        assert_eq!(host("[::1]"), Ok(()));
        assert!(
            host("gateway.example:4000").is_err(),
            "`Host` is compared without its port"
        );
        assert!(host("http://gateway.example").is_err());
        assert!(host("a@b").is_err());
        assert_eq!(origin("https://app.example"), Ok(()));
        assert!(origin("https://app.example/path").is_err());
        assert!(origin("*").is_err());
        for good in [
            "10.0.0.0/8",
            "fd00::/8",
            "192.0.2.1",
            "public",
            "private",
            "loopback",
        ] {
            assert_eq!(egress(good), Ok(()), "{good}");
        }
        for bad in ["10.0.0.0/33", "everything", "10.0.0/8", ""] {
            assert!(egress(bad).is_err(), "{bad}");
        }
    }
}
