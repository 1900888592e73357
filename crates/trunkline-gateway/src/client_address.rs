//! Where a client is: the address that its request came from, through proxies that are known or none at all.
//!
//! A header that a client can write is believed only as far as proxies of ours have written it. What is not known for certain is
//! outside (B49, S33).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use trunkline_model::{ClientAddress, ClientNetwork, IpNetwork};

/// Entries of `X-Forwarded-For` that are looked at.
const MAX_ENTRIES: usize = 64;

/// Headers by which a proxy says for whom a request is.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// How addresses are found out, and which are inside: `general_settings`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientAddresses {
    /// `mcp_internal_ip_ranges`
    pub internal: Vec<IpNetwork>,
    /// `allowed_ips`: the only clients that get in; `None`: everybody.
    pub allowed: Option<Vec<IpNetwork>>,
    /// `use_x_forwarded_for`
    pub use_x_forwarded_for: bool,
    /// `mcp_trusted_proxy_ranges`: from whom `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNetwork>,
    /// `mcp_xff_num_trusted_hops`: which entry from the right is the client; else the first one from the right that is no trusted proxy.
    pub trusted_hops: Option<u32>,
}

impl ClientAddresses {
    /// Where a request is from that came over a connection from `peer`.
    pub fn of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let address = self.address(peer.to_canonical(), headers);
        let is_internal = address.is_some_and(|address| contains(&self.internal, address));
        ClientAddress {
            address,
            network: if is_internal {
                ClientNetwork::Internal
            } else {
                ClientNetwork::External
            },
        }
    }

    /// Whether a client gets in. Of whom it is not known where it is, it is not known that it may.
    pub fn admits(&self, client: ClientAddress) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| client.address.is_some_and(|address| contains(allowed, address)))
    }

    fn address(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let is_proxy = self.use_x_forwarded_for && contains(&self.trusted_proxies, peer);
        if !is_proxy {
            // Somebody else forwarded it: the peer is not the client, and who is cannot be known.
            let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
            return (!is_forwarded).then_some(peer);
        }
        // A proxy of ours that does not say for whom it asks may have been talked out of it (`Connection: X-Forwarded-For`): then there is no
        // entry, and nobody is found.
        let mut entries = Vec::new();
        for value in headers.get_all("x-forwarded-for") {
            entries.extend(value.to_str().ok()?.split(','));
            if entries.len() > MAX_ENTRIES {
                return None;
            }
        }
        match self.trusted_hops {
            Some(hops) => {
                let from_the_right = usize::try_from(hops).ok()?.checked_sub(1)?;
                entry(entries.iter().rev().nth(from_the_right)?)
            }
            None => self.first_stranger(&entries),
        }
    }

    /// What the outermost trusted proxy saw: everything to the left of it is the client's own word.
    fn first_stranger(&self, entries: &[&str]) -> Option<IpAddr> {
        let mut leftmost = None;
        for text in entries.iter().rev() {
            let address = entry(text)?;
            if !contains(&self.trusted_proxies, address) {
                return Some(address);
            }
            leftmost = Some(address);
        }
        leftmost
    }
}

fn contains(networks: &[IpNetwork], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// An entry: an address, with a port or in brackets as proxies write them.
fn entry(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()?
        .to_canonical();
    // No client has it, and a range that is written carelessly may.
    (address != IpAddr::V4(Ipv4Addr::UNSPECIFIED)).then_some(address)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn behind(hops: Option<u32>) -> ClientAddresses {
        ClientAddresses {
            internal: networks(&["10.0.0.0/8", "127.0.0.0/8", "fc00::/7"]),
            allowed: None,
            use_x_forwarded_for: true,
            trusted_proxies: networks(&["10.9.0.0/16"]),
            trusted_hops: hops,
        }
    }

    fn direct() -> ClientAddresses {
        ClientAddresses {
            use_x_forwarded_for: false,
            trusted_proxies: Vec::new(),
            ..behind(None)
        }
    }

    fn of(rule: &ClientAddresses, peer: &str, headers: &[(&'static str, &str)]) -> (Option<String>, bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let found = rule.of(peer.parse().unwrap(), &map);
        (
            found.address.map(|address| address.to_string()),
            found.network == ClientNetwork::Internal,
        )
    }

    #[test]
    fn s33_a_peer_is_itself_and_a_header_makes_nobody_internal() {
        assert_eq!(of(&direct(), "10.1.1.1", &[]), (Some("10.1.1.1".into()), true));
        assert_eq!(
            of(&direct(), "::ffff:10.1.1.1", &[]),
            (Some("10.1.1.1".into()), true)
        );
        assert_eq!(of(&direct(), "192.0.2.1", &[]), (Some("192.0.2.1".into()), false));
        for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            let spoofed = [(header, "10.0.0.1")];
            assert_eq!(of(&direct(), "192.0.2.1", &spoofed), (None, false), "{header}");
            assert_eq!(of(&direct(), "10.1.1.1", &spoofed), (None, false), "{header}");
            assert_eq!(
                of(&behind(None), "192.0.2.1", &spoofed),
                (None, false),
                "{header}"
            );
        }
        // The proxy did not say it in the header that is believed.
        assert_eq!(
            of(&behind(None), "10.9.0.1", &[("forwarded", "for=10.0.0.1")]),
            (None, false)
        );
        assert_eq!(of(&behind(None), "10.9.0.1", &[]), (None, false));
        assert_eq!(of(&behind(Some(1)), "10.9.0.1", &[]), (None, false));
        assert_eq!(
            of(&behind(None), "10.1.1.1", &[]),
            (Some("10.1.1.1".into()), true)
        );
    }

    #[test]
    fn s33_what_trusted_proxies_saw_is_the_client() {
        let client = |hops, values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            of(&behind(hops), "10.9.0.1", &headers)
        };
        let outside = (Some("192.0.2.1".to_owned()), false);
        let inside = (Some("10.1.1.1".to_owned()), true);
        assert_eq!(client(None, &["192.0.2.1"]), outside);
        assert_eq!(client(None, &["10.1.1.1"]), inside);
        // What the client wrote itself stands to the left.
        assert_eq!(client(None, &["10.0.0.1, 192.0.2.1"]), outside);
        assert_eq!(client(None, &["10.0.0.1", "192.0.2.1, 10.9.0.2"]), outside);
        assert_eq!(client(None, &["192.0.2.1:4711"]), outside);
        assert_eq!(client(None, &["::ffff:192.0.2.1"]), outside);
        assert_eq!(client(None, &["[fd00::1]:80"]), (Some("fd00::1".into()), true));
        assert_eq!(client(None, &["[fd00::1]"]), (Some("fd00::1".into()), true));
        assert_eq!(
            client(None, &["10.9.0.3, 10.9.0.2"]),
            (Some("10.9.0.3".into()), true)
        );
        assert_eq!(client(Some(2), &["10.0.0.1, 192.0.2.1, 172.16.0.1"]), outside);
        assert_eq!(client(Some(1), &["192.0.2.1, 10.1.1.1"]), inside);
        for odd in [
            "",
            "unknown",
            "10.0.0.1, ",
            "0.0.0.0",
            "10.0.0.1.",
            "10.0.0.1 192.0.2.1",
            "_hidden",
        ] {
            assert_eq!(client(None, &[odd]), (None, false), "{odd:?}");
            assert_eq!(client(Some(1), &[odd]), (None, false), "{odd:?}");
        }
        assert_eq!(
            client(Some(2), &["10.1.1.1"]),
            (None, false),
            "fewer than there have to be"
        );
        assert_eq!(client(Some(0), &["10.1.1.1"]), (None, false));
        let many = vec!["10.9.0.1"; MAX_ENTRIES + 1].join(",");
        assert_eq!(client(None, &[&many]), (None, false));
    }

    #[test]
    fn s33_who_is_not_known_to_be_allowed_is_not() {
        let rule = ClientAddresses {
            allowed: Some(networks(&["192.0.2.1", "fd00::/8"])),
            ..behind(None)
        };
        let admits = |rule: &ClientAddresses, peer: &str, forwarded: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(forwarded.map(|value| {
                let name = HeaderName::from_static("x-forwarded-for");
                (name, HeaderValue::from_static(value))
            }));
            rule.admits(rule.of(peer.parse().unwrap(), &headers))
        };
        for (peer, forwarded, expected) in [
            ("192.0.2.1", None, true),
            ("::ffff:192.0.2.1", None, true),
            ("fd00::7", None, true),
            ("192.0.2.2", None, false),
            ("10.9.0.1", Some("192.0.2.1"), true),
            ("10.9.0.1", Some("192.0.2.1, 198.51.100.1"), false),
            // Nobody that is known has written it.
            ("192.0.2.1", Some("192.0.2.1"), false),
            ("10.9.0.1", None, false),
        ] {
            assert_eq!(admits(&rule, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
        assert!(
            admits(&behind(None), "198.51.100.1", Some("x")),
            "nobody is kept out without a list"
        );
    }

    proptest! {
        /// Whatever a client outside writes, in as many headers as it likes, before a trusted proxy adds what it saw.
        #[test]
        fn s33_nobody_outside_becomes_internal(
            written in prop::collection::vec("[ -~]{0,40}|10\\.[0-9]\\.0\\.1(, ?10\\.9\\.0\\.[0-9])?", 0..5),
            appended in any::<bool>(),
        ) {
            let mut headers = HeaderMap::new();
            for value in &written {
                headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
            }
            // Proxies append to the last header, or add one.
            let seen = match written.last().filter(|_| appended) {
                Some(last) => {
                    let mut all: Vec<_> = headers.get_all("x-forwarded-for").iter().cloned().collect();
                    all.pop();
                    headers.remove("x-forwarded-for");
                    for value in all {
                        headers.append("x-forwarded-for", value);
                    }
                    format!("{last}, 192.0.2.1")
                }
                None => "192.0.2.1".to_owned(),
            };
            headers.append("x-forwarded-for", HeaderValue::from_str(&seen).unwrap());
            for hops in [None, Some(1)] {
                let found = behind(hops).of("10.9.0.1".parse().unwrap(), &headers);
                prop_assert_eq!(found.network, ClientNetwork::External);
                prop_assert!(found.address.is_none_or(|address| address == "192.0.2.1".parse::<IpAddr>().unwrap()));
            }
            prop_assert_eq!(behind(None).of("192.0.2.1".parse().unwrap(), &headers).network, ClientNetwork::External);
            prop_assert_eq!(direct().of("10.1.1.1".parse().unwrap(), &headers).network, ClientNetwork::External);
        }
    }
}
