//! Models behind the gateway: a scripted provider, the built binary, plain requests and OpenAI's own SDK.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod errors;
mod keys;
mod relay;
mod routing;
mod sdk;
mod support;
