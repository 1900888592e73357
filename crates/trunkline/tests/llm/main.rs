//! Models behind the gateway: scripted providers, the built binary, plain requests, OpenAI's own SDK and Anthropic's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod azure;
mod balance;
mod bedrock;
mod canaries;
mod clients;
mod cost;
mod dialects;
mod errors;
mod fallbacks;
mod forms;
mod keys;
mod limits;
mod others;
mod relay;
mod responses;
mod rests;
mod rounds;
mod routing;
mod sdk;
mod spend;
mod stored;
mod support;
mod through;
mod tool_rules;
mod tools;
mod vertex;
