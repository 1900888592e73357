//! OpenAPI 3.0, 3.1 and Swagger 2.0 documents as tools: document in, tools out; a tool and its arguments in, an HTTP request
//! out; an HTTP answer in, a result out. **No sockets, no runtime**, and nothing that is run: names and values of a document
//! are data.
//!
//! The path of a document: `document` makes a tree of its text and follows references within it; [`read`] goes over the
//! operations; `parameter`, `body` and `response` read what one has, in any version; `schema` makes JSON Schema of it;
//! `operation` puts tool and plan together. The path of a call: `request` (with `style` and `body`), then `result`.
//!
//! What is wrong with one operation leaves that one out, with its place and the reason; the others are served.

mod api;
mod body;
mod document;
mod filter;
mod mistake;
mod names;
mod operation;
mod parameter;
mod request;
mod response;
mod result;
mod schema;
mod security;
mod server;
mod style;

pub use api::{Api, LeftOut, read, read_value};
pub use document::{MAX_BYTES, Version};
pub use mistake::Mistake;
pub use operation::Operation;
pub use request::{ArgumentError, Request, pair};
pub use result::{Answer, error};
pub use security::KeyPlace;
