//! Pure MCP protocol: what a message is, what must be read and rewritten in it, and nothing else. **No sockets.**
//!
//! Everything that need not change stays raw JSON ([`serde_json::value::RawValue`]) from the wire to the wire: key order,
//! number spelling and unknown fields survive. Only the object level that must change is taken apart ([`edit`]).
//!
//! - [`envelope`]: JSON-RPC messages, borrowed from the body.
//! - [`revision`]: protocol revisions and their negotiation.
//! - [`sse`]: event streams, incremental and bounded.
//! - [`canonical`]: one spelling of JSON, for comparing.
//! - [`capability`]: what clients and servers declare.
//! - [`list`]: pages of tools, prompts, resources and templates.
//! - [`header`]: headers that mirror the body.
//! - [`uri`]: resource URIs of several servers under one endpoint.
//! - [`modern`]: the metadata of requests and results since 2026-07-28, and what of it other revisions do not have.
//! - [`name`]: exposed tool names.
//! - [`task`]: requests whose result comes later.
//! - [`rpc`]: error codes and building messages.

mod bounded;
pub mod canonical;
pub mod capability;
pub mod depth;
pub mod edit;
pub mod envelope;
pub mod header;
pub mod list;
pub mod modern;
pub mod name;
pub mod revision;
pub mod rpc;
pub mod sse;
pub mod task;
pub mod uri;

pub use capability::{ClientCapabilities, ServerCapabilities};
pub use envelope::{EnvelopeError, Message};
pub use list::ListKind;
pub use revision::{Era, Revision};
