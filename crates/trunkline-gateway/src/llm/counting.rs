//! How many tokens a message would take, of models whose provider cannot say it: the gateway guesses, and says that it did. Clients ask it all
//! the time to know when a conversation has become too long, and an error would help none of them.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use trunkline_llm::{Dialect, Endpoint, count};

use super::ask::mark;
use super::{Asked, told};
use crate::answer;
use crate::record::Pending;

/// Says that the number is a guess.
static ESTIMATED: HeaderName = HeaderName::from_static("x-trunkline-estimated");

/// Whether none of the name that can be asked at all can count.
pub(super) fn is_guessed(asked: &Asked<'_>) -> bool {
    let members = asked.group.members.iter();
    let mut usable = members.filter(|own| own.defect.is_none()).peekable();
    usable.peek().is_some() && usable.all(|own| own.target(Endpoint::CountTokens, false).is_none())
}

/// The guess.
pub(super) fn guess(asked: &Asked<'_>, pending: Pending) -> Response {
    match asked.request.about_tokens() {
        Ok(tokens) => {
            pending.finish("ok", None);
            let mut response = answer::json(StatusCode::OK, count::told(tokens));
            let headers = response.headers_mut();
            headers.insert(ESTIMATED.clone(), HeaderValue::from_static("true"));
            mark(headers, "x-litellm-model-group", &asked.request.model);
            response
        }
        Err(error) => {
            let refused = told::bad(error);
            let response = refused.answer_in(Dialect::Anthropic, asked.request_id);
            pending.finish(refused.word, Some(refused.failure.message));
            response
        }
    }
}
