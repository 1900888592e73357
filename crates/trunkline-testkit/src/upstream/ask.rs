//! A tool that asks its client in the middle of a call, on the call's own stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, stream as streams};
use http::Response;
use serde_json::{Value, json};

use super::State;
use super::answer::events;
use super::stream::{self, Body};

/// Keeps a client's answer to a question; whether the message is one.
pub(crate) fn keep(state: &State, message: &Value) -> bool {
    let Some(id) = message.get("id").filter(|_| message.get("method").is_none()) else {
        return false;
    };
    let mut live = state.live();
    live.answers.insert(id.to_string(), message.clone());
    drop(live);
    state.answered.notify_waiters();
    true
}

/// The questions, `method` and `params` each, one after the other; then a result whose text is the last answer as JSON.
pub(crate) fn ask(state: &Arc<State>, id: String, questions: Vec<Value>) -> Response<Body> {
    let asking = streams::unfold(
        (Arc::clone(state), questions.into_iter(), None::<String>, Some(id)),
        |(state, mut questions, asked, id)| async move {
            let id = id?;
            let last = match &asked {
                Some(asked) => answer_to(&state, asked).await,
                None => Value::Null,
            };
            if let Some(mut question) = questions.next() {
                let number = state.counter.fetch_add(1, Ordering::Relaxed);
                let own = json!(format!("ask-{number}"));
                question["jsonrpc"] = json!("2.0");
                question["id"] = own.clone();
                let event = stream::event(&question.to_string());
                return Some((
                    Ok::<_, io::Error>(event),
                    (state, questions, Some(own.to_string()), Some(id)),
                ));
            }
            let text = json!(
                last.get("result")
                    .or(last.get("error"))
                    .unwrap_or(&last)
                    .to_string()
            );
            let result = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":{text}}}],"isError":false}}}}"#
            );
            Some((Ok(stream::event(&result)), (state, questions, None, None)))
        },
    );
    events(stream::pieces(asking.boxed()))
}

async fn answer_to(state: &State, id: &str) -> Value {
    loop {
        let told = state.answered.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        let answer = state.live().answers.get(id).cloned();
        if let Some(answer) = answer {
            return answer;
        }
        told.await;
    }
}
