//! Gemini's `generateContent`, of Google's AI Studio. Providers speak it; no client does here.

pub(super) mod answer_in;
mod parts_out;
pub(super) mod request_out;
pub(super) mod stream_in;
