//! Anthropic's messages.

pub(super) mod answer_in;
pub(super) mod answer_out;
mod blocks_in;
mod blocks_out;
pub(in crate::translate) mod models;
pub(super) mod request_in;
pub(super) mod request_out;
pub(super) mod stream_in;
pub(super) mod stream_out;
pub(super) mod usage;
