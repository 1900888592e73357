//! The header of requests that another replica handed on. It says two things: do not hand this on again, and where the client is, whom
//! only the replica before has seen. Who asks, and whether they may, is found out from the request itself, as always.
//!
//! It is sealed, for one replica, method and path, and for a minute. A client that makes one up sends a header that is
//! ignored; one that gets hold of a genuine one has a request that only that replica takes, with the rights of its own
//! credentials. Neither the header nor its value goes any further.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use trunkline_model::{ClientAddress, ClientNetwork, ReplicaId};

use crate::answer;
use crate::peers::Peers;

pub(super) static HOP: HeaderName = HeaderName::from_static("x-trunkline-hop");
/// Where a replica shows that it is the one that is meant, before it is sent anybody's request.
pub(super) const HELLO: &str = "/health/replica";
/// How long a hop is good for: what clocks of two machines may differ, and a hop takes nothing.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(1);

/// Mark of a request that was handed on.
#[derive(Clone, Copy, Debug)]
pub struct HandedOn;

/// The target of a request before a root path was taken off it.
#[derive(Clone, Debug)]
pub struct Unstripped(pub Uri);

/// What a hop says.
struct Hop {
    to: ReplicaId,
    until: Timestamp,
    client: ClientAddress,
}

/// How a request came.
pub enum Arrival {
    /// From a client, or somebody who pretends to be a replica.
    Client,
    /// From another replica, which got it from a client there and looked at its Host and Origin.
    Peer(ClientAddress),
    /// It is for nobody further: the answer.
    Answered(Response),
}

/// Path and query as they came.
pub fn target(uri: &Uri, extensions: &axum::http::Extensions) -> Uri {
    extensions
        .get::<Unstripped>()
        .map_or_else(|| uri.clone(), |unstripped| unstripped.0.clone())
}

fn path(uri: &Uri) -> &str {
    uri.path_and_query()
        .map_or("/", axum::http::uri::PathAndQuery::as_str)
}

impl Peers {
    /// The value of the header for a request to the replica `to`.
    pub(super) fn hop_to(
        &self,
        to: ReplicaId,
        (method, uri): (&Method, &Uri),
        client: ClientAddress,
        now: Timestamp,
    ) -> String {
        let until = now.checked_add(GOOD_FOR).unwrap_or(Timestamp::MAX);
        let mut body = Vec::with_capacity(41);
        body.extend(to.0);
        body.extend(until.as_second().to_be_bytes());
        body.push(u8::from(client.network == ClientNetwork::Internal));
        match client.address {
            Some(IpAddr::V4(address)) => body.extend(address.octets()),
            Some(IpAddr::V6(address)) => body.extend(address.octets()),
            None => {}
        }
        self.hop.seal(&["hop", method.as_str(), path(uri)], &body)
    }

    /// What a hop says; `None` if no replica made it for this request.
    fn hop_of(&self, value: &HeaderValue, method: &Method, uri: &Uri) -> Option<Hop> {
        let context = ["hop", method.as_str(), path(uri)];
        let body = self.hop.open(&context, value.to_str().ok()?)?;
        let (to, rest) = body.split_first_chunk::<16>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        // Versions that did not say it end here, and are believed nothing about it.
        let (network, address) = rest.split_first().unwrap_or((&0, &[]));
        let address = match address.len() {
            0 => None,
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(address).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(address).ok()?)),
        };
        let network = match network {
            1 => ClientNetwork::Internal,
            _ => ClientNetwork::External,
        };
        Some(Hop {
            to: ReplicaId(*to),
            until: Timestamp::from_second(i64::from_be_bytes(*until)).ok()?,
            client: ClientAddress { address, network },
        })
    }

    /// Takes the header off a request, and says how the request came.
    pub fn arrival(&self, request: &mut Request, now: Timestamp) -> Arrival {
        let Some(value) = request.headers_mut().remove(&HOP) else {
            return Arrival::Client;
        };
        let uri = target(request.uri(), request.extensions());
        let Some(Hop { to, until, client }) = self.hop_of(&value, request.method(), &uri) else {
            return Arrival::Client;
        };
        if to != self.own || until <= now {
            // Whoever handed it on took us for another, or its clock is wrong. Handing it on again could go on for ever.
            let text = "this is not the replica that the request was handed to";
            return Arrival::Answered(answer::detail(StatusCode::MISDIRECTED_REQUEST, text));
        }
        if uri.path() == HELLO {
            return Arrival::Answered(self.welcome(&value));
        }
        request.extensions_mut().insert(HandedOn);
        Arrival::Peer(client)
    }

    /// Shows who we are: only somebody with the root secret can answer to just this hop.
    fn welcome(&self, hop: &HeaderValue) -> Response {
        let proof = self
            .hop
            .seal(&["welcome", hop.to_str().unwrap_or_default()], &self.own.0);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if let Ok(value) = HeaderValue::from_str(&proof) {
            response.headers_mut().insert(HOP.clone(), value);
        }
        response
    }

    /// Whether an answer to `hop` is the one of the replica `to`.
    pub(super) fn is_welcome(&self, to: ReplicaId, hop: &str, headers: &HeaderMap) -> bool {
        let shown = headers.get(&HOP).and_then(|value| value.to_str().ok());
        shown.and_then(|proof| self.hop.open(&["welcome", hop], proof)) == Some(to.0.to_vec())
    }
}

/// How long a replica may take to show who it is.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use trunkline_model::Secret;

    use super::*;
    use crate::peers::Place;

    fn peers(root: &str, number: u8) -> Peers {
        Peers::new(
            &Secret::new(root),
            ReplicaId([number; 16]),
            Place::Alone,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn request(method: Method, path: &str, hop: Option<&str>) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        if let Some(hop) = hop {
            request.headers_mut().insert(&HOP, hop.parse().unwrap());
        }
        request
    }

    fn inside() -> ClientAddress {
        ClientAddress {
            address: Some([10, 0, 0, 1].into()),
            network: ClientNetwork::Internal,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn s20_a_hop_is_good_for_one_replica_request_and_minute() {
        let (a, b, stranger) = (peers("root", 1), peers("root", 2), peers("other", 2));
        let uri: Uri = "/mcp?a=1".parse().unwrap();
        let hop = a.hop_to(b.own_id(), (&Method::POST, &uri), inside(), at(100));
        let arrives = |at_replica: &Peers, method: Method, path: &str, hop: Option<&str>, now: i64| {
            let mut request = request(method, path, hop);
            let arrival = match at_replica.arrival(&mut request, at(now)) {
                Arrival::Client => 0,
                Arrival::Peer(client) => {
                    assert_eq!(client, inside());
                    1
                }
                Arrival::Answered(response) => response.status().as_u16(),
            };
            assert!(
                !request.headers().contains_key(&HOP),
                "it is taken off in every case"
            );
            assert_eq!(request.extensions().get::<HandedOn>().is_some(), arrival == 1);
            arrival
        };
        assert_eq!(arrives(&b, Method::POST, "/mcp?a=1", Some(&hop), 100), 1);
        assert_eq!(arrives(&b, Method::POST, "/mcp?a=1", None, 100), 0);
        // Genuine, and for somebody else or too late: goes no further.
        assert_eq!(arrives(&a, Method::POST, "/mcp?a=1", Some(&hop), 100), 421);
        assert_eq!(arrives(&b, Method::POST, "/mcp?a=1", Some(&hop), 160), 421);
        // Not genuine: as if it were not there.
        assert_eq!(arrives(&stranger, Method::POST, "/mcp?a=1", Some(&hop), 100), 0);
        assert_eq!(arrives(&b, Method::GET, "/mcp?a=1", Some(&hop), 100), 0);
        assert_eq!(arrives(&b, Method::POST, "/mcp", Some(&hop), 100), 0);
        for made_up in ["", "x", "true", &hop[1..]] {
            assert_eq!(
                arrives(&b, Method::POST, "/mcp?a=1", Some(made_up), 100),
                0,
                "{made_up:?}"
            );
        }
    }

    #[test]
    fn s20_a_replica_shows_who_it_is_to_a_replica_only() {
        let (a, b) = (peers("root", 1), peers("root", 2));
        let uri: Uri = HELLO.parse().unwrap();
        let hop = a.hop_to(b.own_id(), (&Method::GET, &uri), inside(), at(100));
        let Arrival::Answered(response) = b.arrival(&mut request(Method::GET, HELLO, Some(&hop)), at(100))
        else {
            panic!("it is answered");
        };
        assert_eq!(response.status(), 204);
        assert!(a.is_welcome(b.own_id(), &hop, response.headers()));
        assert!(!a.is_welcome(a.own_id(), &hop, response.headers()));
        let other = a.hop_to(b.own_id(), (&Method::GET, &uri), inside(), at(100));
        assert!(
            !a.is_welcome(b.own_id(), &other, response.headers()),
            "an answer to another hop is none to this one"
        );
        assert!(!a.is_welcome(b.own_id(), &hop, &HeaderMap::new()));
    }

    #[test]
    fn s33_a_hop_says_where_the_client_is() {
        let (a, b) = (peers("root", 1), peers("root", 2));
        let uri: Uri = "/mcp".parse().unwrap();
        for address in [None, Some("192.0.2.1"), Some("2001:db8::1")] {
            for network in [ClientNetwork::Internal, ClientNetwork::External] {
                let address = address.map(|text| text.parse().unwrap());
                let client = ClientAddress { address, network };
                let hop = a.hop_to(b.own_id(), (&Method::POST, &uri), client, at(100));
                let arrival = b.arrival(&mut request(Method::POST, "/mcp", Some(&hop)), at(100));
                assert!(matches!(arrival, Arrival::Peer(found) if found == client));
            }
        }
    }
}
