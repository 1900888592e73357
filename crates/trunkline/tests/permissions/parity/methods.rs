//! What is asked, of which server.

use serde_json::{Value, json};

use super::rows::Thing;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
    /// What it is about; `None`: it is a list.
    pub(crate) thing: Option<Thing>,
    /// Whether it names what it is about, so that there is the same request for what nobody has.
    pub(crate) named: bool,
}

/// The argument of every call.
pub(crate) const ARGUMENT: &str = "stray";

/// Requests of every kind for what a server has, lists first.
pub(crate) fn of(server: &str) -> Vec<Request> {
    let list = |method| Request {
        method,
        params: json!({}),
        thing: None,
        named: false,
    };
    let ask = |method, thing, params| Request {
        method,
        params,
        thing: Some(thing),
        named: true,
    };
    let named = |name: &str| json!({"name": format!("{server}-{name}"), "arguments": {ARGUMENT: "x"}});
    let uri = |end: &str| format!("memo://{server}/{end}");
    let argument = json!({"name": "id", "value": "o"});
    let unnamed = |method| Request {
        named: false,
        ..ask(method, Thing::Beyond, json!({}))
    };
    vec![
        list("tools/list"),
        list("prompts/list"),
        list("resources/list"),
        list("resources/templates/list"),
        ask("tools/call", Thing::Read, named("read")),
        ask("tools/call", Thing::Write, named("write")),
        ask("prompts/get", Thing::Beyond, named("greet")),
        ask("resources/read", Thing::Beyond, json!({"uri": uri("one")})),
        // By its template.
        ask("resources/read", Thing::Beyond, json!({"uri": uri("seven")})),
        ask("resources/subscribe", Thing::Beyond, json!({"uri": uri("one")})),
        ask(
            "completion/complete",
            Thing::Beyond,
            json!({"ref": {"type": "ref/prompt", "name": format!("{server}-greet")}, "argument": argument}),
        ),
        ask(
            "completion/complete",
            Thing::Beyond,
            json!({"ref": {"type": "ref/resource", "uri": uri("{id}")}, "argument": argument}),
        ),
        unnamed("experimental/thing"),
        unnamed("tasks/list"),
    ]
}
