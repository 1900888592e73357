//! Which definitions can be shown. Clients read a list as a whole, so one that a client cannot read takes the others with it:
//! it is left out, with the reason, and the others are listed.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::depth;
use crate::edit::RawObject;
use crate::envelope::raw_str;
use crate::flatten;
use crate::header;
use crate::hidden::{self, Removed};
use crate::hidden_in;
use crate::list::{Item, ListKind, RejectedItem, Rules};
use crate::schema;
use crate::task;

/// Bytes of a definition.
const MAX_DEFINITION: usize = 1024 * 1024;
/// Bytes of a name of a tool or prompt: sixteen times what any client takes, and still fit for a cursor.
const MAX_NAME: usize = 1024;
/// Bytes of a URI or a template.
const MAX_URI: usize = 8 * 1024;

/// Reads a definition, or says why it cannot be shown; with the hidden text that was found in it, and taken out if the rules say so.
pub(crate) fn read(kind: ListKind, raw: &RawValue, rules: Rules) -> Result<(Item, Removed), RejectedItem> {
    let nameless = |reason: &'static str| RejectedItem {
        name: None,
        reason: reason.into(),
    };
    // Before anything looks into it.
    if !depth::within(raw.get().as_bytes(), depth::MAX_DEPTH) {
        return Err(nameless("the definition is nested too deep"));
    }
    let object = RawObject::parse(raw.get())
        .map_err(|_| nameless("the definition is no object, or has a key twice"))?;
    let key = object.get(kind.key()).unwrap_or_default();
    let name = serde_json::from_str::<&RawValue>(key)
        .ok()
        .and_then(raw_str)
        .map(Cow::into_owned)
        .ok_or_else(|| nameless("the definition has no name that is a string"))?;
    let read = if rules.strip_hidden {
        without_hidden(key, raw).and_then(|(text, removed)| {
            let text = text.as_deref().unwrap_or(raw.get());
            Ok((checked(kind, &name, text, rules)?, removed))
        })
    } else {
        checked(kind, &name, raw.get(), rules).map(|item| (item, hidden_in::count(raw.get())))
    };
    read.map_err(|reason| RejectedItem {
        name: Some(name),
        reason,
    })
}

/// A definition without hidden text. Its name stays what it is: the server knows no other.
fn without_hidden(key: &str, raw: &RawValue) -> Result<(Option<String>, Removed), Cow<'static, str>> {
    if hidden::strip(key).is_some() {
        return Err("the name has characters in it that do not show".into());
    }
    Ok(
        hidden::strip(raw.get()).map_or((None, Removed::default()), |(text, removed)| {
            (Some(text), removed)
        }),
    )
}

/// What can be listed so that every client can read the whole list.
fn checked(kind: ListKind, name: &str, text: &str, rules: Rules) -> Result<Item, Cow<'static, str>> {
    let mut object =
        RawObject::parse(text).map_err(|_| "the definition has a key twice without its hidden text")?;
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    let longest = if kind.by_uri() { MAX_URI } else { MAX_NAME };
    if name.len() > longest {
        return Err(format!("the name is longer than {longest} bytes").into());
    }
    if text.len() > MAX_DEFINITION {
        return Err(format!("the definition is larger than {} KiB", MAX_DEFINITION / 1024).into());
    }
    let changed = check_members(kind, &mut object)?;
    let (mut header_params, mut wraps, mut needs_task) = (Vec::new(), false, false);
    if kind == ListKind::Tools {
        let own = object.get("inputSchema").unwrap_or_default();
        if !own.starts_with('{') {
            return Err("the inputSchema is missing or no object".into());
        }
        let flat = (rules.schema_compat && own.len() <= schema::MAX_BYTES)
            .then(|| flatten::flatten(own))
            .flatten();
        schema::check_input(flat.as_deref().unwrap_or(own))
            .map_err(|why| format!("the inputSchema: {why}"))?;
        header_params = header::params_of(own)?;
        needs_task = object.get("execution").is_some_and(task::is_required);
        if let Some(output) = object.get("outputSchema") {
            wraps = !schema::check_output(output).map_err(|why| format!("the outputSchema: {why}"))?;
        }
    }
    let text = changed.unwrap_or_else(|| text.to_owned());
    Ok(Item {
        name: name.to_owned(),
        raw: RawValue::from_string(text).map_err(|_| "the definition cannot be read")?,
        header_params,
        wraps,
        needs_task,
    })
}

/// What some member holds: the first byte of its JSON text.
fn is_of(form: &str, json: &str) -> bool {
    match form {
        "a string" => json.starts_with('"'),
        "an object" => json.starts_with('{'),
        "a list" => json.starts_with('['),
        _ => json.starts_with(|c: char| c == '-' || c.is_ascii_digit()),
    }
}

/// Members that clients look at: one of another type, and some of them drop the whole list. `null` means that there is none,
/// and not all clients know that, so it goes; then the definition's new text is given.
fn check_members(kind: ListKind, object: &mut RawObject<'_>) -> Result<Option<String>, Cow<'static, str>> {
    let own: &[(&str, &str)] = match kind {
        ListKind::Tools => &[("execution", "an object"), ("outputSchema", "an object")],
        ListKind::Prompts => &[("arguments", "a list")],
        ListKind::Resources => &[("mimeType", "a string"), ("size", "a number")],
        ListKind::ResourceTemplates => &[("mimeType", "a string")],
    };
    let all: &[(&str, &str)] = &[
        ("title", "a string"),
        ("description", "a string"),
        ("annotations", "an object"),
        ("icons", "a list"),
        ("_meta", "an object"),
    ];
    let mut changed = false;
    for (member, form) in all.iter().chain(own) {
        match object.get(member) {
            Some("null") => changed |= object.remove(member),
            Some(json) if !is_of(form, json) => return Err(format!("its `{member}` is not {form}").into()),
            _ => {}
        }
    }
    if kind.by_uri() && !object.get("name").is_some_and(|name| name.starts_with('"')) {
        return Err("it has no `name` that is a string".into());
    }
    Ok(changed.then(|| object.to_json()))
}
