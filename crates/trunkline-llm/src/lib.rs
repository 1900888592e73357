//! Models behind the gateway, as bytes: who the providers are, what of a request and of an answer is edited, and what
//! errors look like. **No sockets, no runtime.**
//!
//! Client and provider speak the same dialect here, OpenAI's, so that nothing is translated: of a request the member
//! `model` is replaced, of an answer the same member, and every other byte stays as it came.
//!
//! - [`provider`]: the table of services that speak the dialect, and in what they differ.
//! - [`endpoint`]: the operations, and the paths that clients know them by.
//! - [`request`]: a request, read as far as the gateway has to know it.
//! - [`answer`]: a whole answer.
//! - [`stream`]: an answer in pieces.
//! - [`usage`]: the tokens that an answer says it took.
//! - [`error`]: what went wrong, in OpenAI's envelope.
//!
//! Another OpenAI-compatible service is a row in [`provider`], and no code.

pub mod answer;
pub mod endpoint;
pub mod error;
pub mod provider;
pub mod request;
pub mod stream;
pub mod usage;

pub use endpoint::Endpoint;
pub use error::{Failure, ProviderError};
pub use provider::{Named, Provider};
pub use request::{BadRequest, Request};
pub use usage::Usage;
