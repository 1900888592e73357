//! Programs of others that speak to models, against the gateway: SDKs, libraries of agents, agents.
//!
//! - [`matrix`]: OpenAI's and Anthropic's SDKs for Python and TypeScript, each dialect with each provider
//! - [`libraries`]: LiteLLM as a library, `LangChain`
//! - [`agents`]: Claude Code and Codex, which finish a task with a tool of the gateway's
//!
//! To add a provider: a row in [`matrix::world`]. To add an SDK: a program that plays the plan of `python/client_models.py`.

mod agents;
mod libraries;
mod matrix;
mod world;
