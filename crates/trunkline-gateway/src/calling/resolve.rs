//! Where a request goes, by what its parameters name.

use std::sync::Arc;

use trunkline_mcp::edit::{RawObject, is_same_key};
use trunkline_mcp::{Era, ListKind, header};
use trunkline_model::Server;
use trunkline_policy::Decision;

use super::{CallError, Denied, Operation};
use crate::Gateway;
use crate::context::Context;
use crate::route::{self, Target};
use crate::tasks;

/// Where a request goes, after its parameters were read and the policy asked; puts the server's own name or URI in them.
pub(super) async fn resolve(
    gateway: &Gateway,
    context: &Context,
    operation: &Operation,
    params: &mut RawObject<'_>,
    only: Option<&Arc<Server>>,
) -> Result<Target, CallError> {
    if !matches!(operation, Operation::Other(_)) {
        check_spelling(params, &MEANT)?;
    }
    let string = |params: &RawObject<'_>, key: &str| {
        params
            .get_string(key)
            .ok_or_else(|| CallError::Params(format!("`{key}` must be a string")))
    };
    match operation {
        Operation::CallTool | Operation::GetPrompt => {
            let name = string(params, "name")?;
            if params
                .get("arguments")
                .is_some_and(|arguments| !matches!(arguments.as_bytes().first(), Some(b'{' | b'n')))
            {
                return Err(CallError::Params("`arguments` must be an object".to_owned()));
            }
            if params.get("arguments") == Some("null") {
                params.remove("arguments");
            }
            let kind = if *operation == Operation::CallTool {
                ListKind::Tools
            } else {
                ListKind::Prompts
            };
            let target = named(gateway, context, kind, &name, only).await?;
            if target.name != name {
                params.set_string("name", &target.name);
            }
            Ok(target)
        }
        Operation::ReadResource | Operation::Subscribe | Operation::Unsubscribe => {
            let uri = string(params, "uri")?;
            let target = located(gateway, context, &uri).await?;
            if target.name != uri {
                params.set_string("uri", &target.name);
            }
            Ok(target)
        }
        Operation::Complete => {
            let reference = params
                .get("ref")
                .ok_or_else(|| CallError::Params("`ref` is missing".to_owned()))?
                .to_owned();
            let mut reference =
                RawObject::parse(&reference).map_err(|error| CallError::Params(error.to_string()))?;
            check_spelling(&reference, &["type", "name", "uri"])?;
            let target = match reference.get_string("type").as_deref() {
                Some("ref/prompt") => {
                    let name = string(&reference, "name")?;
                    let target = named(gateway, context, ListKind::Prompts, &name, only).await?;
                    reference.set_string("name", &target.name);
                    target
                }
                Some("ref/resource") => {
                    let uri = string(&reference, "uri")?;
                    let target = located(gateway, context, &uri).await?;
                    reference.set_string("uri", &target.name);
                    target
                }
                _ => {
                    let text = "`ref.type` must be \"ref/prompt\" or \"ref/resource\"";
                    return Err(CallError::Params(text.to_owned()));
                }
            };
            params.set("ref", reference.to_json());
            Ok(target)
        }
        Operation::GetTask | Operation::UpdateTask | Operation::CancelTask | Operation::TaskResult => {
            tasks::target(gateway, context, operation, params)
        }
        // The list of all servers is not asked for here.
        Operation::ListTasks => Err(CallError::Method(operation.method().to_owned())),
        Operation::Other(method) => (!is_known_otherwise(method))
            .then(|| route::of_method(gateway, context, method))
            .flatten()
            .ok_or_else(|| CallError::Method(trunkline_upstream::fault::printable(method))),
    }
}

/// What of parameters says where a request goes and with what, and what else most have.
const MEANT: [&str; 9] = [
    "name",
    "arguments",
    "_meta",
    "uri",
    "ref",
    "taskId",
    "task",
    "inputResponses",
    "requestState",
];

/// A key that is one of these but for the case of its letters. There are servers to which it is the same, and that would read it instead of
/// the one that was decided about (S23).
fn check_spelling(object: &RawObject<'_>, meant: &[&str]) -> Result<(), CallError> {
    for key in object.all_keys() {
        if meant.contains(&&*key) {
            continue;
        }
        if let Some(own) = meant.iter().find(|own| is_same_key(own, &key)) {
            let key = trunkline_upstream::fault::printable(&key);
            return Err(CallError::Params(format!(
                "`{key}` is `{own}` to some servers and not to others: leave it out"
            )));
        }
    }
    Ok(())
}

/// A method that is known, spelled as only some servers read it: what is decided about the known one would not be about this.
fn is_known_otherwise(method: &str) -> bool {
    let plain = method.trim().to_ascii_lowercase();
    Operation::of_method(&plain).is_some() || ListKind::of_method(&plain).is_some()
}

/// In the new era, `Mcp-Param-*` must say what the arguments say (S23). Of others, unknown ones included, nothing is asked.
pub(super) fn check_param_headers(
    context: &Context,
    target: &Target,
    params: &RawObject<'_>,
) -> Result<(), CallError> {
    if context.era == Era::Legacy || target.header_params.is_empty() {
        return Ok(());
    }
    let arguments = params.get("arguments").unwrap_or("{}");
    for param in &target.header_params {
        let name = format!("{}{}", header::PARAM_PREFIX, param.name);
        let value = context.headers.get(&name).map(axum::http::HeaderValue::as_bytes);
        if !param.agrees(value, arguments) {
            return Err(CallError::HeaderMismatch(format!(
                "{name} and the argument {} differ",
                trunkline_upstream::fault::printable(&param.path.join("."))
            )));
        }
    }
    Ok(())
}

async fn named(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    name: &str,
    only: Option<&Arc<Server>>,
) -> Result<Target, CallError> {
    let target = route::find(gateway, context, kind, name, only).await?;
    allowed(context, kind, &target, name)?;
    Ok(target)
}

async fn located(gateway: &Gateway, context: &Context, uri: &str) -> Result<Target, CallError> {
    // Boxed: it may list, and every call would carry room for it.
    let target = Box::pin(route::resource(gateway, context, uri)).await?;
    allowed(context, ListKind::Resources, &target, uri)?;
    Ok(target)
}

fn allowed(context: &Context, kind: ListKind, target: &Target, written: &str) -> Result<(), CallError> {
    let annotations = target.annotations.as_deref();
    match context.may_use_as(&target.server, kind, &target.name, annotations) {
        Decision::Allow => Ok(()),
        Decision::Deny(denial) => Err(CallError::Denied(Box::new(Denied {
            kind,
            name: trunkline_upstream::fault::printable(written),
            server: target.server.id.clone(),
            own: target.name.clone(),
            denial,
        }))),
    }
}
