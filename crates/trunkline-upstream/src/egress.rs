//! Where connections may go (S11, S12).
//!
//! Every connection of the gateway is made where each address is checked *after* resolution (`connect`), and goes to the
//! checked address, so that a name cannot be re-bound in between. Where a proxy makes the connection, all that the name
//! resolves to here has to be allowed (ADR 0024). What is not known to be a normal unicast address is
//! denied: link-local (cloud metadata), multicast, reserved and transition ranges (6to4, NAT64, Teredo), and the
//! metadata addresses that hide in other ranges. Loopback and private networks are where MCP servers usually live, and
//! only administrators register servers, so they are allowed unless the configuration narrows it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use trunkline_model::IpNetwork;

/// What an address is, as far as egress is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// Global unicast.
    Public,
    /// Everything else, with its name.
    Special(&'static str),
}

/// The rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    loopback: bool,
    private: bool,
    public: bool,
    networks: Arc<[IpNetwork]>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            loopback: true,
            private: true,
            public: true,
            networks: Arc::new([]),
        }
    }
}

/// A connection that the rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "connections to {address} are not allowed ({class}); an administrator can allow the network with general_settings.mcp_egress_allow"
)]
pub struct EgressDenied {
    /// Where it would have gone.
    pub address: IpAddr,
    /// What that is.
    pub class: &'static str,
}

/// An entry of the allow-list that is neither a word nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is neither `public`, `private`, `loopback` nor a network such as 10.0.0.0/8")]
pub struct BadEgressEntry {
    /// The entry.
    pub entry: String,
}

impl Egress {
    /// From the configuration's list; an empty list is the default.
    pub fn parse(entries: &[String]) -> Result<Self, BadEgressEntry> {
        if entries.is_empty() {
            return Ok(Self::default());
        }
        let mut egress = Self {
            loopback: false,
            private: false,
            public: false,
            networks: Arc::new([]),
        };
        let mut networks = Vec::new();
        for entry in entries {
            match entry.as_str() {
                "loopback" => egress.loopback = true,
                "private" => egress.private = true,
                "public" => egress.public = true,
                text => networks.push(text.parse().map_err(|_| BadEgressEntry {
                    entry: text.to_owned(),
                })?),
            }
        }
        egress.networks = networks.into();
        Ok(egress)
    }

    /// Whether the public internet is allowed, whatever else is.
    pub(crate) fn allows_public(&self) -> bool {
        self.public
    }

    /// Whether a connection to `address` is allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), EgressDenied> {
        let address = address.to_canonical();
        if self.networks.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        let (allowed, class) = match classify(address) {
            AddressClass::Loopback => (self.loopback, "loopback"),
            AddressClass::Private => (self.private, "a private network"),
            AddressClass::Public => (self.public, "the public internet"),
            AddressClass::Special(class) => (false, class),
        };
        if allowed {
            Ok(())
        } else {
            Err(EgressDenied { address, class })
        }
    }
}

/// What an address is. Deny by default: only ranges known to be normal unicast are classed as such.
pub fn classify(address: IpAddr) -> AddressClass {
    match address.to_canonical() {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    use AddressClass::{Loopback, Private, Public, Special};
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Special("this network, 0.0.0.0/8"),
        (127, ..) => Loopback,
        (169, 254, ..) => Special("link-local and cloud metadata, 169.254.0.0/16"),
        (100, 100, 100, 200) | (168, 63, 129, 16) | (192, 0, 0, 192) => Special("a cloud metadata address"),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) | (100, 64..=127, ..) => Private,
        (192, 0, 0, _) => Special("IETF protocol assignments, 192.0.0.0/24"),
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => Special("documentation addresses"),
        (192, 88, 99, _) => Special("6to4 relay, 192.88.99.0/24"),
        (198, 18..=19, ..) => Special("benchmarking, 198.18.0.0/15"),
        (224..=239, ..) => Special("multicast"),
        (240..=255, ..) => Special("reserved, 240.0.0.0/4"),
        _ => Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    use AddressClass::{Loopback, Private, Public, Special};
    if address == Ipv6Addr::LOCALHOST {
        return Loopback;
    }
    let segments = address.segments();
    match segments {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Special("a cloud metadata address")
        }
        [0xfc00..=0xfdff, ..] => Private,
        [0xfe80..=0xfebf, ..] => Special("link-local, fe80::/10"),
        [0x2001, 0..=0x1ff, ..] => Special("IETF protocol assignments and Teredo, 2001::/23"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Special("documentation addresses"),
        [0x2002, ..] => Special("6to4, 2002::/16"),
        [0x64, 0xff9b, ..] => Special("NAT64, 64:ff9b::/96"),
        [0xff00..=0xffff, ..] => Special("multicast"),
        [0x2000..=0x3fff, ..] => Public,
        _ => Special("not global unicast"),
    }
}

/// Every address of `host`, unchecked.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) => Ok(tokio::net::lookup_host((bare, port)).await?.collect()),
    }
}

/// Resolves `host` and checks every address. At least one must be allowed; denied ones are left out.
pub async fn resolve(egress: &Egress, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = addresses(host, port).await?;
    let mut denied = None;
    let mut allowed = Vec::with_capacity(addresses.len());
    for address in addresses {
        match egress.check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(why) => denied = Some(why),
        }
    }
    match (allowed.is_empty(), denied) {
        (false, _) => Ok(allowed),
        (true, Some(why)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
        (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str) -> bool {
        Egress::default().check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn s12_special_purpose_ranges_are_denied() {
        for denied in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.9",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100::1",
            "5f00::1",
        ] {
            assert!(!check(denied), "{denied} must be denied");
        }
        for allowed in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "fd12::1",
            "1.1.1.1",
            "2606:4700::1111",
            "100.64.0.1",
        ] {
            assert!(check(allowed), "{allowed} must be allowed");
        }
    }

    #[test]
    fn an_administrator_narrows_or_widens() {
        let egress = Egress::parse(&["public".into(), "10.2.0.0/16".into(), "169.254.7.7".into()]).unwrap();
        let check = |text: &str| egress.check(text.parse().unwrap()).is_ok();
        assert!(check("8.8.8.8") && check("10.2.9.9") && check("169.254.7.7"));
        assert!(!check("127.0.0.1") && !check("10.3.0.1") && !check("169.254.169.254"));
        assert!(!check("::ffff:127.0.0.1"));
        assert!(Egress::parse(&["internal".into()]).is_err());
        assert!(Egress::parse(&["10.0.0.0/33".into()]).is_err());
        assert!(
            Egress::parse(&["0.0.0.0/0".into()])
                .unwrap()
                .check("127.0.0.1".parse().unwrap())
                .is_ok()
        );
    }
}
