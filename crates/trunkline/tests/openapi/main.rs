//! Servers that are HTTP APIs, described by OpenAPI documents: the real binary between clients of both eras and an API that
//! notes every request.
//!
//! - [`documents`]: public documents of realistic size, every operation called, every request looked at by a program that
//!   reads the document in its own way
//! - [`calls`]: what is sent, and what becomes of the answers; credentials
//! - [`life`]: documents that change, break and move; health, doctor
//! - [`places`]: what a document, an argument or an API's caller must not reach
//!
//! To add a document: its file and a line in `documents/README.md`, a line in [`documents`].
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod documents;
mod life;
mod places;
mod support;
