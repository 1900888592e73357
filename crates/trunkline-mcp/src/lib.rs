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
//! - `definition`: which of what is listed can be shown.
//! - [`schema`], [`mod@flatten`], [`wrap`]: whether a schema is one, and what it is for clients that take less.
//! - [`hidden`], [`hidden_in`]: text that people do not see, taken out and found.
//! - [`pinned`], [`drift`]: what of a tool's definition is accepted, and how another differs from it.
//! - [`apps`]: tools that point at resources.
//! - [`header`]: headers that mirror the body.
//! - [`uri`]: resource URIs of several servers under one endpoint.
//! - [`modern`]: the metadata of requests and results since 2026-07-28, and what of it other revisions do not have.
//! - [`name`]: exposed tool names.
//! - [`narrow`]: tools without the arguments that callers may not give.
//! - [`task`]: requests whose result comes later.
//! - [`rpc`]: error codes and building messages.

pub mod apps;
mod bounded;
pub mod canonical;
pub mod capability;
mod definition;
pub mod depth;
pub mod drift;
pub mod edit;
pub mod envelope;
pub mod flatten;
pub mod header;
pub mod hidden;
pub mod hidden_in;
pub mod list;
pub mod modern;
pub mod name;
pub mod narrow;
pub mod pinned;
pub mod revision;
pub mod rpc;
pub mod schema;
pub mod sse;
pub mod task;
pub mod uri;
pub mod wrap;

pub use capability::{ClientCapabilities, ServerCapabilities};
pub use envelope::{EnvelopeError, Message};
pub use list::ListKind;
pub use revision::{Era, Revision};
