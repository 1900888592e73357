//! What the command line speaks to a running gateway with: over its public wire, as any other client does, and nothing else.
//!
//! - [`Gateway`]: where it is and the key, one request, one JSON answer.
//! - [`exchange`]: one POST of MCP and what answers it, an event stream too, which is read on when it breaks.
//! - [`Session`]: an MCP client of the era with sessions, for a command that lists and calls.
//! - [`Bridge`]: standard input and output of a client that speaks nothing else, on one side; the gateway on the other.
//!
//! It is a crate of its own because requests to other machines leave through few doors (see ARCHITECTURE.md): this one
//! leads to the gateway that the user names, with the user's key, and to nowhere else. Redirects are not followed.

mod bridge;
pub mod exchange;
mod gateway;
mod session;

pub use bridge::{Bridge, Relocate};
pub use gateway::{ClientError, Gateway};
pub use session::{Event, RpcError, Session};
