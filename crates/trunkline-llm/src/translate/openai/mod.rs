//! OpenAI's chat completions, with LiteLLM's members for what others have (`thinking_blocks`, `reasoning_content`, `cache_control`).

pub(super) mod answer_in;
pub(super) mod answer_out;
pub(super) mod messages_in;
mod messages_out;
pub(super) mod request_in;
pub(super) mod request_out;
pub(super) mod stream_in;
pub(super) mod stream_out;
