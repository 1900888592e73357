//! Bedrock's Converse. Providers speak it; no client does here.

pub(super) mod answer_in;
mod blocks_out;
pub(super) mod request_out;
pub(super) mod stream_in;
