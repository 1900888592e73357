//! LiteLLM's own client library and command line (`litellm.proxy.client`, `lite`, `litellm-proxy`), as published, before the real
//! binary: whoever scripts a LiteLLM with them scripts this gateway, unchanged.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod command_line;
mod library;
mod support;
