//! Networks, and on which side of the organisation's edge a client is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network in CIDR form; an address alone is the network of it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    bits: u8,
}

/// What is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl NotANetwork {
    /// For people.
    pub const MESSAGE: &str = "must be a network such as 10.0.0.0/8, or an address";
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MESSAGE)
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for IpNetwork {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            // `+8` is a number to Rust, and to nobody else.
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().map_err(|_| NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
        };
        if bits > most {
            return Err(NotANetwork);
        }
        Ok(Self { address, bits })
    }
}

impl IpNetwork {
    /// Whether an address is in it. An IPv4-mapped address is the IPv4 address that it means.
    pub fn contains(self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let shift = width - u32::from(self.bits);
        shift >= 128 || own >> shift == other >> shift
    }
}

/// Where a client is. What is not known for certain is outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// In one of `mcp_internal_ip_ranges`.
    Internal,
    /// Anywhere else, or nobody knows.
    #[default]
    External,
}

/// Where a request came from, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's own address, without a port; an IPv4-mapped one is the IPv4 address that it means.
    pub address: Option<IpAddr>,
    /// On which side of the edge that is.
    pub network: ClientNetwork,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(network: &str, address: &str) -> bool {
        network
            .parse::<IpNetwork>()
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn networks_have_addresses() {
        assert!(is_in("10.0.0.0/8", "10.255.0.1"));
        assert!(is_in("10.0.0.0/8", "::ffff:10.1.2.3"), "mapped");
        assert!(!is_in("10.0.0.0/8", "11.0.0.1"));
        assert!(is_in("192.0.2.7", "192.0.2.7") && !is_in("192.0.2.7", "192.0.2.8"));
        assert!(is_in("fc00::/7", "fd00::1") && !is_in("fc00::/7", "fe80::1"));
        assert!(is_in("::/0", "2001:db8::1") && !is_in("::/0", "10.0.0.1"));
        assert!(is_in("0.0.0.0/0", "10.0.0.1"));
        assert!(
            is_in("10.1.2.3/8", "10.9.9.9"),
            "what is beyond the bits says nothing"
        );
    }

    #[test]
    fn what_is_no_network_is_said() {
        for text in [
            "",
            "10.0.0.0/33",
            "fc00::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "a",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(text.parse::<IpNetwork>(), Err(NotANetwork), "{text:?}");
        }
    }
}
