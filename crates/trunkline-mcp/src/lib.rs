//! Pure MCP protocol: what a message is, what must be read and rewritten in it, and nothing else. **No sockets.**
//!
//! Everything that need not change stays raw JSON ([`serde_json::value::RawValue`]) from the wire to the wire: key order,
//! number spelling and unknown fields survive. Only the object level that must change is taken apart ([`edit`]).
//!
//! - [`envelope`]: JSON-RPC messages, borrowed from the body.
//! - [`revision`]: protocol revisions and their negotiation.
//! - [`sse`]: event streams, incremental and bounded.
//! - [`tool`]: pages of `tools/list`.
//! - [`name`]: exposed tool names.
//! - [`rpc`]: error codes and building messages.

mod bounded;
pub mod depth;
pub mod edit;
pub mod envelope;
pub mod name;
pub mod revision;
pub mod rpc;
pub mod sse;
pub mod tool;

pub use envelope::{EnvelopeError, Message};
pub use revision::Revision;
