//! Where the other replicas reach this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::uri::Authority;
use trunkline_gateway::peers::Place;
use trunkline_store::Store;

/// `--advertise-url`: `http://HOST:PORT`, or without the scheme; as `HOST:PORT`.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    let said = "give http://HOST:PORT, where the other replicas reach this one without a proxy in between";
    let text = text.trim();
    let rest = text.strip_prefix("http://").unwrap_or(text);
    if rest.contains("://") {
        return Err(format!("replicas speak plain HTTP to each other; {said}"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let authority: Authority = rest.parse().map_err(|_| said.to_owned())?;
    if authority.host().is_empty() || rest.contains(['@', '/', '?']) {
        return Err(said.to_owned());
    }
    let port = authority.port_u16().unwrap_or(80);
    Ok(format!("{}:{port}", authority.host()))
}

/// As it was said, else as it is found out. With SQLite there are no others.
pub(crate) async fn of(advertised: Option<String>, listening: SocketAddr, store: &Store) -> Place {
    if store.backend() != "postgres" {
        return Place::Alone;
    }
    let address = match advertised {
        Some(address) => Some(address),
        None if !listening.ip().is_unspecified() => Some(listening.to_string()),
        None => towards(store.server_address())
            .await
            .map(|ip| SocketAddr::new(ip, listening.port()).to_string()),
    };
    if address.is_none() {
        tracing::warn!(
            "where other replicas reach this one is not known: with more than one, set --advertise-url \
             (TRUNKLINE_ADVERTISE_URL) to http://HOST:PORT of this one"
        );
    }
    Place::Shared { address }
}

/// The address that this machine has towards the database: replicas that share it are on the same network. Nothing is
/// sent for it.
async fn towards(server: Option<&str>) -> Option<IpAddr> {
    let mut found = tokio::net::lookup_host(server?).await.ok()?;
    let to = found.next()?;
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(to).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, address) in [
            ("http://10.0.0.5:4000", "10.0.0.5:4000"),
            ("http://gateway-0.gateways/", "gateway-0.gateways:80"),
            ("http://[fd00::1]:4000", "[fd00::1]:4000"),
            (" 10.0.0.5:4000 ", "10.0.0.5:4000"),
        ] {
            assert_eq!(advertised(text).as_deref(), Ok(address), "{text}");
        }
        for text in [
            "",
            "https://10.0.0.5:4000",
            "http://10.0.0.5:4000/gateway",
            "http://user@10.0.0.5",
            "http://",
            "a b",
        ] {
            assert!(advertised(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_address_towards_the_database_is_an_own_one() {
        assert_eq!(
            towards(Some("127.0.0.1:5432")).await,
            Some(Ipv4Addr::LOCALHOST.into())
        );
        assert_eq!(
            towards(Some("[::1]:5432")).await,
            Some(Ipv6Addr::LOCALHOST.into())
        );
        assert_eq!(towards(None).await, None);
    }
}
