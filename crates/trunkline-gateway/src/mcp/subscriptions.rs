//! `subscriptions/listen` (2026-07-28): one stream for what a client wants to hear of, from all servers of the request.
//! The acknowledgement comes first, with what is honoured; everything after it carries the id of the request.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline_mcp::{Era, ListKind, modern, rpc, sse, task};
use trunkline_model::Server;
use trunkline_upstream::{Hearer, Subscribed};

use crate::Gateway;
use crate::answer;
use crate::calling::{self, CallError};
use crate::caps::Place;
use crate::context::Context;
use crate::mcp::stream::Standing;
use crate::relay::error_message;
use crate::route;
use crate::tasks::{WatchedTasks, is_of_task};

#[derive(Deserialize)]
struct Params {
    notifications: Filter,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
    task_ids: Option<Vec<String>>,
}

/// Resources that one stream subscribes to.
const MAX_RESOURCES: usize = 200;
/// Tasks that one stream watches.
const MAX_TASKS: usize = 200;
/// Updates that may wait for a slow client.
const WAITING: usize = 256;

struct Listening {
    standing: Standing,
    /// Raw JSON of the request's id.
    id: String,
    wanted: Vec<ListKind>,
    updates: mpsc::Receiver<(Arc<Server>, String)>,
    /// A subscription could not be kept up.
    lost: CancellationToken,
    /// Kept, so that what is subscribed to stays so.
    _subscribed: Vec<Subscribed>,
    tasks: WatchedTasks,
    _place: Place,
}

/// Opens the stream.
pub async fn listen(
    gateway: &Arc<Gateway>,
    context: Arc<Context>,
    id: &str,
    params: Option<&str>,
) -> Response {
    let read = params.and_then(|params| serde_json::from_str::<Params>(params).ok());
    let Some(Params {
        notifications: filter,
    }) = read
    else {
        let text = "Invalid params: `notifications` must be an object that says what is wanted";
        return answer::rpc_error(StatusCode::BAD_REQUEST, id, rpc::INVALID_PARAMS, text);
    };
    if filter.resource_subscriptions.len() > MAX_RESOURCES {
        let text = format!("Invalid params: more than {MAX_RESOURCES} resources in one subscription");
        return answer::rpc_error(StatusCode::BAD_REQUEST, id, rpc::INVALID_PARAMS, &text);
    }
    let task_ids = filter.task_ids.as_deref();
    if let Some(refusal) = refuse_tasks(gateway, id, params.unwrap_or("{}"), task_ids) {
        return refusal;
    }
    let place = match gateway.caps.stream(context.principal.id()) {
        Ok(place) => place,
        Err(full) => return full.answer(id),
    };
    let mut wanted = Vec::new();
    if filter.tools_list_changed {
        wanted.push(ListKind::Tools);
    }
    if filter.prompts_list_changed {
        wanted.push(ListKind::Prompts);
    }
    if filter.resources_list_changed {
        wanted.extend([ListKind::Resources, ListKind::ResourceTemplates]);
    }
    let (messages, updates) = mpsc::channel(WAITING);
    let lost = CancellationToken::new();
    let hearer = Hearer {
        messages,
        lost: lost.clone(),
    };
    let (subscribed, honoured) = subscribe(gateway, &context, &filter, &hearer).await;
    let tasks = match task_ids {
        Some(ids) => WatchedTasks::begin(gateway, &context, (ids, params.unwrap_or("{}")), &hearer).await,
        None => WatchedTasks::default(),
    };
    let mut notifications = Map::new();
    for (name, flag) in [
        ("toolsListChanged", filter.tools_list_changed),
        ("promptsListChanged", filter.prompts_list_changed),
        ("resourcesListChanged", filter.resources_list_changed),
    ] {
        if flag {
            notifications.insert(name.to_owned(), true.into());
        }
    }
    if !filter.resource_subscriptions.is_empty() {
        notifications.insert("resourceSubscriptions".to_owned(), honoured.into());
    }
    if let Some(ids) = task_ids {
        let taken = ids.iter().filter(|id| tasks.has(id)).map(|id| Value::from(&**id));
        notifications.insert("taskIds".to_owned(), taken.collect());
    }
    let standing = Standing::of_request(gateway, &context, !wanted.is_empty()).await;
    let listening = Listening {
        standing,
        id: id.to_owned(),
        wanted,
        updates,
        lost,
        _subscribed: subscribed,
        tasks,
        _place: place,
    };
    let params = json!({"notifications": Value::Object(notifications)}).to_string();
    let first = rpc::notification("notifications/subscriptions/acknowledged", Some(&params));
    let first = modern::tagged(&first, id).map(|message| sse::encode_message(&message));
    let body = stream::unfold((Some(listening), first), |(listening, first)| async move {
        let mut listening = listening?;
        if let Some(first) = first {
            return Some((Bytes::from(first), (Some(listening), None)));
        }
        match listening.next().await {
            Some(text) => Some((Bytes::from(text), (Some(listening), None))),
            None => Some((Bytes::from(listening.end()), (None, None))),
        }
    });
    answer::event_stream(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>)))
}

/// The refusal of a client that wants to hear of tasks and does not say that it knows them, or of too many.
fn refuse_tasks(gateway: &Gateway, id: &str, params: &str, ids: Option<&[String]>) -> Option<Response> {
    let ids = ids?;
    let error = if !task::declares(params) {
        CallError::NeedsTasks
    } else if ids.len() > MAX_TASKS {
        CallError::Params(format!("more than {MAX_TASKS} tasks in one subscription"))
    } else {
        return None;
    };
    let text = error_message(gateway, id, &error, Era::Modern);
    Some(answer::json(StatusCode::BAD_REQUEST, text))
}

/// A URI as the client wrote it, and the server's own.
type Resource = (String, String);

/// Subscribes to each resource with the server that has it; what was taken, under the names that the client used.
async fn subscribe(
    gateway: &Gateway,
    context: &Context,
    filter: &Filter,
    hearer: &Hearer,
) -> (Vec<Subscribed>, Vec<Value>) {
    let mut by_server: Vec<(Arc<Server>, Vec<Resource>)> = Vec::new();
    for uri in &filter.resource_subscriptions {
        let Ok(target) = route::resource(gateway, context, uri).await else {
            continue;
        };
        let decision = context.may_use(&target.server, ListKind::Resources, &target.name);
        if !decision.is_allow() {
            // Not honoured, as if it were not there: the same as for reading it.
            continue;
        }
        let pair: Resource = (uri.clone(), target.name);
        match by_server
            .iter_mut()
            .find(|(server, _)| server.id == target.server.id)
        {
            Some((_, uris)) => uris.push(pair),
            None => by_server.push((target.server, vec![pair])),
        }
    }
    let mut subscribed = Vec::new();
    let mut honoured = Vec::new();
    for (server, uris) in by_server {
        let own: Vec<String> = uris.iter().map(|(_, own)| own.clone()).collect();
        let client = context.client_headers();
        match gateway
            .upstreams
            .subscribe(&server, &client, &own, hearer.clone())
            .await
        {
            Ok(taken) => {
                let named = uris.iter().filter(|(_, own)| taken.uris.contains(own));
                honoured.extend(named.map(|(written, _)| Value::from(written.as_str())));
                subscribed.push(taken);
            }
            Err(fault) => {
                tracing::info!(server = %server.prefix(), %fault, "resources were not subscribed to");
            }
        }
    }
    (subscribed, honoured)
}

impl Listening {
    /// The next thing to send; `None` when the gateway ends the subscription.
    async fn next(&mut self) -> Option<String> {
        loop {
            let message = tokio::select! {
                Some((server, message)) = self.updates.recv() => {
                    let (gateway, context) = self.standing.at();
                    if !context.servers().any(|own| own.id == server.id) {
                        // It was taken away from this client since.
                        continue;
                    }
                    let told = if is_of_task(&message) {
                        self.tasks.told(gateway, context, &server, &message)
                    } else {
                        calling::outside(gateway, context, &server, "notifications/resources/updated", message)
                    };
                    match told {
                        Some(message) => message,
                        None => continue,
                    }
                }
                // The client subscribes again, and learns what is honoured now.
                () = self.lost.cancelled() => return None,
                due = self.standing.due(&self.wanted) => match due? {
                    None => return Some(sse::KEEP_ALIVE.to_owned()),
                    Some(message) => message,
                },
            };
            if let Some(message) = modern::tagged(&message, &self.id) {
                return Some(sse::encode_message(&message));
            }
        }
    }

    /// The result that ends it.
    fn end(&self) -> String {
        let result = format!(
            r#"{{"resultType":"complete","_meta":{{"{}":{}}}}}"#,
            modern::SUBSCRIPTION_ID,
            self.id
        );
        sse::encode_message(&rpc::response(&self.id, &result))
    }
}
