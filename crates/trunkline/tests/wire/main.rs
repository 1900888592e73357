//! The protocol itself, message by message: the real binary between clients and servers of both eras that show and say
//! exactly what a test gives them.
//!
//! - [`bytes`]: nothing is lost. Arbitrary JSON through every cell of client era and server era
//! - [`questions`]: what a server asks in the middle of a call, in every cell, and that the tool runs once
//! - [`translation`]: the rest of what is translated between the eras, row by row
//! - [`official`]: the same with the official SDKs on both sides
//! - [`legacy`], [`modern`]: what is refused on the wire of each era, and how
//! - [`smuggling`]: the decision and the forwarded call agree, whatever the spelling (S23)
//!
//! To add a row: a line in its table. To add a table: a test in the file of its wire.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bytes;
mod legacy;
mod modern;
mod official;
mod questions;
mod servers;
mod smuggling;
mod support;
mod translation;
