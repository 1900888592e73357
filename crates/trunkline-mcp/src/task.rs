//! Tasks: requests whose result comes later. Of 2025-11-25, where they are part of the protocol and the client asks for
//! one, and of 2026-07-28, where they are an extension and the server decides.
//!
//! Here is what must be found and replaced in messages: the ids. What an id is replaced with is the caller's to say.

use serde_json::value::RawValue;

use crate::edit::{RawObject, Word, string};
use crate::modern::CLIENT_CAPABILITIES;

/// The extension of 2026-07-28.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// `_meta` of what is about a task (2025-11-25).
pub const RELATED: &str = "io.modelcontextprotocol/related-task";
/// A task's state has changed (2025-11-25).
pub const STATUS: &str = "notifications/tasks/status";
/// A task's state has changed (2026-07-28).
pub const CHANGED: &str = "notifications/tasks";
/// The request that gives a task up, of both.
pub const CANCEL: &str = "tasks/cancel";
/// The request for a task's result, which waits for it (2025-11-25).
pub const RESULT: &str = "tasks/result";

/// What the progress tokens of requests that become tasks begin with: they are good for longer than the request.
pub const TOKEN_PREFIX: &str = "task.";

/// `data` of the error for a request that needs the extension and does not declare it.
pub const MISSING_EXTENSION: &str =
    r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// What an id is replaced with; `None` leaves the message as it is.
pub type Rename<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether a request of 2026-07-28 declares the extension.
pub fn declares(params: &str) -> bool {
    let declared = || {
        let params = RawObject::parse(params).ok()?;
        let meta = RawObject::parse(params.get("_meta")?).ok()?;
        let capabilities = RawObject::parse(meta.get(CLIENT_CAPABILITIES)?).ok()?;
        let extensions = RawObject::parse(capabilities.get("extensions")?).ok()?;
        Some(extensions.get(EXTENSION)?.starts_with('{'))
    };
    declared().unwrap_or_default()
}

/// A task, or whatever else has its `taskId`, under another id.
pub fn renamed(object: &str, rename: Rename<'_>) -> Option<String> {
    let mut object = RawObject::parse(object).ok()?;
    let id = rename(&object.get_string("taskId")?)?;
    object.set_string("taskId", &id);
    Some(object.to_json())
}

/// The id of the task that a result of 2025-11-25 announces.
pub fn announced(result: &str) -> Option<String> {
    RawObject::parse(RawObject::parse(result).ok()?.get("task")?)
        .ok()?
        .get_string("taskId")
}

/// A result of 2025-11-25 that announces a task, under another id.
pub fn announced_as(result: &str, rename: Rename<'_>) -> Option<String> {
    within(result, "task", &|task| renamed(task, rename))
}

/// Whether an object may say which task it is about. Results can be large, and few do.
pub fn may_be_related(object: &str) -> bool {
    static RELATED_KEY: Word = Word::new(RELATED);
    RELATED_KEY.may_be_in(object)
}

/// Parameters or a result about a task, under another id.
pub fn related_as(object: &str, rename: Rename<'_>) -> Option<String> {
    if !may_be_related(object) {
        return None;
    }
    let mut object = RawObject::parse(object).ok()?;
    let meta = object.get("_meta")?.to_owned();
    let mut meta = RawObject::parse(&meta).ok()?;
    let task = renamed(meta.get(RELATED)?, rename)?;
    meta.set(RELATED, task);
    object.set("_meta", meta.to_json());
    Some(object.to_json())
}

/// The task that parameters or a result are about.
pub fn related(object: &str) -> Option<String> {
    if !may_be_related(object) {
        return None;
    }
    let object = RawObject::parse(object).ok()?;
    let meta = RawObject::parse(object.get("_meta")?).ok()?;
    RawObject::parse(meta.get(RELATED)?).ok()?.get_string("taskId")
}

/// Parameters or a result that do not say what task they are about.
pub fn unrelated(object: &str) -> Option<String> {
    if !may_be_related(object) {
        return None;
    }
    let mut object = RawObject::parse(object).ok()?;
    let meta = object.get("_meta")?.to_owned();
    let mut meta = RawObject::parse(&meta).ok()?;
    if !meta.remove(RELATED) {
        return None;
    }
    if meta.keys().next().is_none() {
        object.remove("_meta");
    } else {
        object.set("_meta", meta.to_json());
    }
    Some(object.to_json())
}

/// A result that says what task it is about.
pub fn related_to(result: &str, task: &str) -> Option<String> {
    let mut object = RawObject::parse(result).ok()?;
    let meta = object.get("_meta").unwrap_or("{}").to_owned();
    let mut meta = RawObject::parse(&meta).ok()?;
    meta.set(RELATED, format!(r#"{{"taskId":{}}}"#, string(task)));
    object.set("_meta", meta.to_json());
    Some(object.to_json())
}

/// An object with one of its members changed, if that changes.
pub fn within(object: &str, member: &str, change: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut object = RawObject::parse(object).ok()?;
    let changed = change(object.get(member)?)?;
    object.set(member, changed);
    Some(object.to_json())
}

/// One page of `tasks/list`: the tasks, under other ids, and where the next page begins. `None` if it is none.
pub fn listed(result: &str, rename: Rename<'_>) -> Option<(Vec<String>, Option<String>)> {
    let object = RawObject::parse(result).ok()?;
    let tasks: Vec<&RawValue> = serde_json::from_str(object.get("tasks")?).ok()?;
    let tasks = tasks.iter().filter_map(|task| renamed(task.get(), rename));
    Some((tasks.collect(), object.get_string("nextCursor")))
}

/// Whether a tool's `execution` says that it can be called as a task only.
pub fn is_required(execution: &str) -> bool {
    RawObject::parse(execution)
        .ok()
        .and_then(|execution| execution.get_string("taskSupport"))
        .is_some_and(|support| support == "required")
}

/// A tool's definition without what only 2025-11-25 has.
pub fn without_execution(tool: &str) -> Option<String> {
    if !tool.contains("\"execution\"") {
        return None;
    }
    let mut tool = RawObject::parse(tool).ok()?;
    tool.remove("execution").then(|| tool.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPPER: Rename<'static> = &|id| Some(id.to_uppercase());
    const NONE: Rename<'static> = &|_| None;

    #[test]
    fn s22_only_ids_change() {
        let task = r#"{"resultType":"task","taskId":"a","ttlMs":1.0,"z":{"taskId":"a"}}"#;
        assert_eq!(
            renamed(task, UPPER).as_deref(),
            Some(r#"{"resultType":"task","taskId":"A","ttlMs":1.0,"z":{"taskId":"a"}}"#)
        );
        assert_eq!(renamed(task, NONE), None);
        assert_eq!(renamed(r#"{"taskId":7}"#, UPPER), None);
        let created = r#"{"task":{"taskId":"a","ttl":null},"x":1e2}"#;
        assert_eq!(announced(created).as_deref(), Some("a"));
        assert_eq!(
            announced_as(created, UPPER).as_deref(),
            Some(r#"{"task":{"taskId":"A","ttl":null},"x":1e2}"#)
        );
        assert_eq!(announced(r#"{"content":[]}"#), None);
    }

    #[test]
    fn what_is_about_a_task() {
        let message = r#"{"method":"m","params":{"_meta":{"p":1,"io.modelcontextprotocol/related-task":{"taskId":"a"}},"x":1.0}}"#;
        let change = |params: &str| related_as(params, UPPER);
        assert_eq!(
            within(message, "params", &change).as_deref(),
            Some(
                r#"{"method":"m","params":{"_meta":{"p":1,"io.modelcontextprotocol/related-task":{"taskId":"A"}},"x":1.0}}"#
            )
        );
        let result = related_to(r#"{"action":"accept"}"#, "a").unwrap();
        assert_eq!(
            result,
            r#"{"action":"accept","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}}}"#
        );
        assert_eq!(related(&result).as_deref(), Some("a"));
        assert_eq!(unrelated(&result).as_deref(), Some(r#"{"action":"accept"}"#));
        assert_eq!(unrelated(r#"{"action":"accept","_meta":{}}"#), None);
    }

    #[test]
    fn a_page_of_tasks() {
        let page = r#"{"tasks":[{"taskId":"a","status":"working"},{"status":"?"}],"nextCursor":""}"#;
        let (tasks, next) = listed(page, UPPER).unwrap();
        assert_eq!(tasks, [r#"{"taskId":"A","status":"working"}"#]);
        assert_eq!(next.as_deref(), Some(""));
        assert_eq!(listed(r#"{"tasks":{}}"#, UPPER), None);
        assert_eq!(listed(r#"{"tasks":[]}"#, UPPER), Some((Vec::new(), None)));
    }

    #[test]
    fn who_declares_what() {
        let params = |extensions: &str| {
            format!(r#"{{"_meta":{{"{CLIENT_CAPABILITIES}":{{"extensions":{extensions}}}}}}}"#)
        };
        assert!(declares(&params(r#"{"io.modelcontextprotocol/tasks":{}}"#)));
        assert!(!declares(&params(r#"{"io.modelcontextprotocol/tasks":null}"#)));
        assert!(!declares(&params("{}")));
        assert!(!declares("{}"));
        assert!(is_required(r#"{"taskSupport":"required"}"#));
        assert!(!is_required(r#"{"taskSupport":"optional"}"#));
        assert!(!is_required("null"));
        assert_eq!(
            without_execution(r#"{"name":"execution","execution":{"taskSupport":"required"},"z":1.0}"#)
                .as_deref(),
            Some(r#"{"name":"execution","z":1.0}"#)
        );
        assert_eq!(without_execution(r#"{"name":"execution"}"#), None);
        let data: serde_json::Value = serde_json::from_str(MISSING_EXTENSION).unwrap();
        assert!(data["requiredCapabilities"]["extensions"][EXTENSION].is_object());
    }
}
