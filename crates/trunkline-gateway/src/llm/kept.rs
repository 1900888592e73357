//! Responses that providers keep: `GET`, `DELETE`, `cancel` and `input_items` of one, and `previous_response_id`.
//!
//! The id that a client has is a sealed handle: the model, the deployment, the provider's own id, bound to the caller. Any replica finds
//! the deployment from that alone, nothing is kept here, and another caller's id is an unknown one. Whether the caller may use the model
//! is decided again each time. What is asked goes the way of every request to a model ([`super::let_in`], [`super::ask`]), to the one
//! deployment that has the response.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde::{Deserialize, Serialize};
use trunkline_llm::responses::Ids;
use trunkline_llm::{Dialect, Endpoint};
use trunkline_model::{CallKind, Principal};
use trunkline_upstream::fault::printable;

use super::told::{self, Refused};
use super::{Caller, enter, fallback, let_in, request_id, tags};
use crate::accept::Arrived;
use crate::record::Pending;
use crate::{Gateway, callers};

/// What ids are sealed for, beside whom.
const PURPOSE: &str = "response id";
/// What they begin with, as OpenAI's do.
const PREFIX: &str = "resp_";
/// Members of a query that a provider may be told.
const QUERY: [&str; 9] = [
    "after",
    "before",
    "include",
    "include[]",
    "include_obfuscation",
    "limit",
    "order",
    "starting_after",
    "stream",
];

#[derive(Serialize, Deserialize)]
struct Handle {
    model: String,
    deployment: String,
    id: String,
    /// The name that the client asked for, where another one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
}

/// The deployment that has a response, and what is asked about it.
pub(crate) struct Kept {
    /// Its deployment.
    pub(super) deployment: String,
    /// None: a new response goes on from it.
    pub(super) errand: Option<Errand>,
}

/// A request about a response.
pub(crate) struct Errand {
    pub(super) method: Method,
    /// Of its path, below the endpoint's.
    pub(super) segments: Vec<String>,
    pub(super) query: Option<String>,
}

/// What becomes of a deployment's ids for a caller who asked for a name.
pub(super) fn ids(
    gateway: &Arc<Gateway>,
    principal: &str,
    (model, deployment): (&str, &str),
    asked: &str,
) -> Ids {
    let gateway = gateway.clone();
    let asked = (asked != model).then(|| asked.to_owned());
    let (principal, model, deployment) = (principal.to_owned(), model.to_owned(), deployment.to_owned());
    Ids::new(move |id| {
        let handle = Handle {
            model: model.clone(),
            deployment: deployment.clone(),
            id: id.to_owned(),
            asked: asked.clone(),
        };
        let body = serde_json::to_vec(&handle).unwrap_or_default();
        format!("{PREFIX}{}", gateway.tasks.seal(&[PURPOSE, &principal], &body))
    })
}

fn open(gateway: &Gateway, principal: &Principal, id: &str) -> Option<Handle> {
    let sealed = id.strip_prefix(PREFIX)?;
    let body = gateway.tasks.open(&[PURPOSE, principal.id()], sealed)?;
    serde_json::from_slice(&body)
        .ok()
        .filter(|own: &Handle| !own.id.is_empty())
}

/// The response that a request goes on from: its deployment, whose own id is put in the request.
pub(super) fn previous(
    gateway: &Gateway,
    principal: &Principal,
    request: &mut trunkline_llm::Request<'_>,
) -> Result<Option<Kept>, Box<Refused>> {
    let Some(id) = request.previous.clone() else {
        return Ok(None);
    };
    let is_of = |own: &Handle| own.model == request.model || own.asked.as_ref() == Some(&request.model);
    let handle = open(gateway, principal, &id).filter(is_of);
    let Some(handle) = handle else {
        let text = format!(
            "Previous response with id '{}' not found: it is another key's or another model's, or of a model whose provider keeps no responses. Send the conversation itself in `input`.",
            printable(&id)
        );
        return Err(Box::new(
            Refused::new(400, text).param(Some("previous_response_id".to_owned())),
        ));
    };
    request.go_on_from(&handle.id);
    // Where another name answered, that one has it, and is what the caller has to be allowed.
    request.model = handle.model;
    Ok(Some(Kept {
        deployment: handle.deployment,
        errand: None,
    }))
}

/// What is asked about a response.
#[derive(Clone, Copy)]
enum Wish {
    Get,
    Delete,
    Cancel,
    Items,
}

impl Wish {
    fn kind(self) -> CallKind {
        match self {
            Self::Get => CallKind::GetResponse,
            Self::Delete => CallKind::DeleteResponse,
            Self::Cancel => CallKind::CancelResponse,
            Self::Items => CallKind::ListResponseItems,
        }
    }

    fn errand(self, id: String, query: Option<String>) -> Errand {
        let (method, rest) = match self {
            Self::Get => (Method::GET, None),
            Self::Delete => (Method::DELETE, None),
            Self::Cancel => (Method::POST, Some("cancel")),
            Self::Items => (Method::GET, Some("input_items")),
        };
        let segments = std::iter::once(id).chain(rest.map(str::to_owned)).collect();
        Errand {
            method,
            segments,
            query,
        }
    }
}

/// The routes below each path of responses.
pub(super) fn routes(router: Router<Arc<Gateway>>, path: &str) -> Router<Arc<Gateway>> {
    let on = |wish: Wish| {
        move |State(gateway): State<Arc<Gateway>>, Path(id): Path<String>, request: Request| {
            handle(gateway, wish, id, request)
        }
    };
    let one: MethodRouter<Arc<Gateway>> = get(on(Wish::Get)).delete(on(Wish::Delete));
    router
        .route(&format!("{path}/{{response_id}}"), one)
        .route(&format!("{path}/{{response_id}}/cancel"), post(on(Wish::Cancel)))
        .route(
            &format!("{path}/{{response_id}}/input_items"),
            get(on(Wish::Items)),
        )
}

async fn handle(gateway: Arc<Gateway>, wish: Wish, id: String, request: Request) -> Response {
    // None of these has a body that anybody reads.
    let (parts, _) = request.into_parts();
    let arrived = parts.extensions.get::<Arrived>();
    let mut caller = match enter(&gateway, arrived, &parts.headers, parts.uri.path()) {
        Ok(caller) => caller,
        Err(error) => return told::unauthorized(error, Dialect::Responses, &request_id(arrived)),
    };
    if let Err(answer) = on_behalf(&gateway, &mut caller) {
        return answer;
    }
    let query = match query(parts.uri.query()) {
        Ok(query) => query,
        Err(refused) => return refused.answer(),
    };
    let Some(handle) = open(&gateway, &caller.principal, &id) else {
        let text = format!(
            "Response with id '{}' not found: there is none, it is another key's, or its provider keeps none",
            printable(&id)
        );
        return Refused::new(404, text).answer();
    };
    let stream = query
        .as_deref()
        .is_some_and(|own| own.split('&').any(|own| own == "stream=true"));
    let kept = Kept {
        deployment: handle.deployment,
        errand: Some(wish.errand(handle.id, query)),
    };
    let name = handle.model.clone();
    let request = trunkline_llm::Request::about_kept(handle.model, stream);
    let who = (&caller.request_id, &caller.principal);
    let mut pending = Pending::of(&gateway, who, wish.kind(), 0);
    pending.model(&request.model);
    pending.tagged(tags::of(&parts.headers, &[], &caller.principal));
    let what = (Endpoint::Responses, wish.kind());
    let asked = match let_in(
        &gateway,
        &caller,
        what,
        (&parts.headers, 0),
        (request, Some(kept)),
        &name,
    )
    .await
    {
        Ok(asked) => asked,
        Err(refused) => {
            pending.finish(refused.word, Some(refused.failure.message.clone()));
            return refused.answer();
        }
    };
    let response = Box::pin(fallback::run(asked, pending)).await;
    callers::bound(&gateway, &caller.principal, response)
}

/// For whom the key asks, as far as headers say it.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn on_behalf(gateway: &Gateway, caller: &mut Caller) -> Result<(), Response> {
    let own = gateway.authenticator.on_behalf_of(caller.principal.clone(), None);
    caller.principal =
        own.map_err(|error| told::unauthorized(error, Dialect::Responses, &caller.request_id))?;
    Ok(())
}

/// A query of nothing but what a provider may be told.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn query(own: Option<&str>) -> Result<Option<String>, Refused> {
    let Some(own) = own.filter(|own| !own.is_empty()) else {
        return Ok(None);
    };
    for part in own.split('&') {
        let name = part.split('=').next().unwrap_or_default();
        let name = name.replace("%5B", "[").replace("%5D", "]");
        let name = name.replace("%5b", "[").replace("%5d", "]");
        if !QUERY.contains(&name.as_str()) {
            let text = format!("the query has `{}`, which is not known here", printable(&name));
            return Err(Refused::new(400, text));
        }
    }
    Ok(Some(own.to_owned()))
}
