//! Models behind the gateway, as bytes: who the providers are, what of a request and of an answer is edited, and what
//! errors look like. **No sockets, no runtime.**
//!
//! Where client and provider speak the same dialect, nothing is translated: of a request the member `model` is replaced, of an
//! answer the same member, and every other byte stays as it came. Where they do not, [`translate`] does it.
//!
//! - [`dialect`]: the dialects.
//! - [`provider`]: the table of services, and in what they differ.
//! - [`endpoint`]: the operations, and the paths that clients know them by.
//! - [`place`]: where an endpoint of a service is.
//! - [`request`]: a request, read as far as the gateway has to know it.
//! - [`routing`]: what of it says where it may go, and how often.
//! - [`form`]: a request that is a form, with a file in it.
//! - [`answer`]: a whole answer.
//! - [`stream`]: an answer in pieces.
//! - [`messages`]: the same two in Anthropic's dialect.
//! - [`responses`]: the same two in OpenAI's newer one.
//! - [`mcp_tool`]: tools of the gateway's own servers in a request.
//! - [`translate`]: requests and answers from one dialect to another.
//! - [`vectors`], [`texts`] and [`count`]: the same of what is no conversation.
//! - [`frames`]: the frames of AWS's event streams.
//! - [`sigv4`] and [`google`]: credentials that are made for each request, or for an hour.
//! - [`through`]: APIs of providers that are relayed as they are.
//! - [`usage`]: the tokens that an answer says it took.
//! - [`estimate`]: about how many a request may take.
//! - [`measure`]: what else an answer takes: pictures, searches, seconds, characters.
//! - [`price`]: what they cost.
//! - [`wildcard`]: names with `*`.
//! - [`error`]: what went wrong, in the envelope of a dialect.
//!
//! Another OpenAI-compatible service is a row in [`provider`], and no code.

pub mod answer;
pub mod count;
pub mod dialect;
pub mod endpoint;
pub mod error;
pub mod estimate;
pub mod form;
pub mod frames;
pub mod google;
pub mod mcp_tool;
pub mod measure;
pub mod messages;
pub mod place;
pub mod price;
pub mod provider;
pub mod request;
pub mod responses;
pub mod routing;
pub mod sigv4;
pub mod stream;
pub mod texts;
pub mod through;
pub mod translate;
pub mod usage;
pub mod vectors;
pub mod wildcard;

pub use dialect::{Dialect, Spoken};
pub use endpoint::Endpoint;
pub use error::{Cause, Failure, ProviderError};
pub use mcp_tool::McpTool;
pub use measure::Measure;
pub use place::Place;
pub use provider::{Named, Provider};
pub use request::{BadRequest, Request, Sent, Task};
pub use routing::Routing;
pub use usage::{Service, Usage};
