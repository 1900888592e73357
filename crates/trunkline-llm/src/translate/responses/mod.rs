//! OpenAI's newer dialect, responses, as clients speak it. Providers that speak it are asked by such clients alone, and then nothing is
//! translated: requests of other clients go to their chat completions.
//!
//! Nothing is kept between requests: who goes on sends the conversation again, as with `store: false`.

mod answer_out;
mod items_in;
mod namespaces;
pub(super) mod request_in;
pub(super) mod stream_out;

pub(super) use answer_out::write as write_answer;
