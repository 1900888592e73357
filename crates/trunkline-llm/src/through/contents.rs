//! What of Google's and AWS's bodies counts, whose paths name the model: whether they name another one, ask for what tokens do not pay for, or
//! for what everybody with the credential keeps together.
//!
//! Google reads a member by either of two spellings (`generationConfig`, `generation_config`): names are compared without case and underscores.
//! What is not known here is taken for the worse.

use serde_json::value::RawValue;
use trunkline_mcp::edit::{RawObject, is_same_key};

use super::{Passage, Shape};
use crate::request::{bad, check_spelling, has_extras, refuse_models_of_tools, refuse_routes};
use crate::{BadRequest, Dialect};

/// What of a body counts, beside its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// It asks for more than tokens pay for.
    pub(super) has_extras: bool,
    /// It names what the account keeps.
    pub(super) names_kept: bool,
}

/// By what Google answers with another model than the path's.
const ROUTING: [&str; 3] = ["routingconfig", "modelselectionconfig", "modelconfig"];
/// Tools of Google's that touch nothing which the account keeps.
const OPEN: [&str; 8] = [
    "functiondeclarations",
    "googlesearch",
    "googlesearchretrieval",
    "enterprisewebsearch",
    "googlemaps",
    "urlcontext",
    "codeexecution",
    "computeruse",
];

/// Reads a body by its shape. Errors if something of it names another model.
pub(super) fn read(passage: &Passage, object: &RawObject<'_>) -> Result<Contents, BadRequest> {
    match passage.shape() {
        Some(Shape::Gemini) => googles(object),
        Some(Shape::Converse | Shape::Invoke) => awss(object),
        _ => Ok(Contents::default()),
    }
}

/// Members that say how much may be written, as they are compared, and those that they stand in.
const MOST_WRITTEN: [&str; 5] = [
    "maxoutputtokens",
    "maxtokens",
    "maxtokenstosample",
    "maxtokencount",
    "maxgenlen",
];
const CONFIGS: [&str; 3] = ["generationconfig", "inferenceconfig", "textgenerationconfig"];

/// How many tokens may be written, if the body says it.
pub(super) fn may_write(object: &RawObject<'_>) -> Option<u64> {
    let said = |object: &RawObject<'_>| {
        let mut members = object.members();
        members.find_map(|(name, json)| {
            let is_it = MOST_WRITTEN.contains(&plain(name).as_str());
            json.parse().ok().filter(|_| is_it)
        })
    };
    let mut members = object.members();
    said(object).or_else(|| {
        members.find_map(|(name, json)| {
            let is_config = CONFIGS.contains(&plain(name).as_str());
            said(&RawObject::parse(json).ok().filter(|_| is_config)?)
        })
    })
}

fn googles(object: &RawObject<'_>) -> Result<Contents, BadRequest> {
    let mut found = Contents::default();
    for (name, json) in object.members().filter(|(_, json)| *json != "null") {
        match plain(name).as_str() {
            "generationconfig" => check_routing(name, json)?,
            "cachedcontent" => found.names_kept = true,
            "tools" => {
                let own = googles_tools(json);
                found.has_extras |= own.has_extras;
                found.names_kept |= own.names_kept;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// As Google reads it.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|own| *own != '_');
    letters.flat_map(char::to_lowercase).collect()
}

fn check_routing(name: &str, json: &str) -> Result<(), BadRequest> {
    let config = RawObject::parse(json)
        .map_err(|error| bad(Some(name), format!("`{name}` must be an object: {error}")))?;
    let mut members = config.members().filter(|(_, json)| *json != "null");
    match members.find(|(own, _)| ROUTING.contains(&plain(own).as_str())) {
        None => Ok(()),
        Some((own, _)) => {
            let text = format!(
                "`{name}.{own}` may have another model answer than the one that this key is asked about: leave it out"
            );
            Err(bad(Some(name), text))
        }
    }
}

/// What is no list of objects may be one to Google.
fn googles_tools(json: &str) -> Contents {
    let worst = Contents {
        has_extras: true,
        names_kept: true,
    };
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(json) else {
        return worst;
    };
    let mut found = Contents::default();
    for tool in tools {
        let Ok(tool) = RawObject::parse(tool.get()) else {
            return worst;
        };
        for name in tool.all_keys().map(|own| plain(&own)) {
            found.has_extras |= name != "functiondeclarations";
            found.names_kept |= !OPEN.contains(&name.as_str());
        }
    }
    found
}

/// Of Converse, and of the bodies of models: Anthropic's and Nova's have tools.
fn awss(object: &RawObject<'_>) -> Result<Contents, BadRequest> {
    let mut found = Contents {
        has_extras: object.get("toolConfig").is_some_and(has_awss_tools) || is_dearer(object),
        names_kept: false,
    };
    let more = object.get("additionalModelRequestFields");
    let more = more.and_then(|json| RawObject::parse(json).ok());
    for own in std::iter::once(object).chain(&more) {
        check_spelling(own)?;
        refuse_routes(own)?;
        refuse_models_of_tools(own)?;
        found.has_extras |= has_extras(own, Dialect::Anthropic);
    }
    let mut keys = more.iter().flat_map(RawObject::all_keys);
    if keys.any(|own| is_same_key("model", &own)) {
        let text = "`additionalModelRequestFields.model` is not the model that the path names: leave it out";
        return Err(bad(Some("additionalModelRequestFields"), text));
    }
    Ok(found)
}

/// Whether tokens have another price than the usual one: answers that come sooner, or later.
fn is_dearer(object: &RawObject<'_>) -> bool {
    let said = [("serviceTier", "type"), ("performanceConfig", "latency")];
    said.into_iter().any(|(name, member)| {
        let json = object.get(name).filter(|json| *json != "null");
        json.is_some_and(|json| {
            let own = RawObject::parse(json).ok().and_then(|own| own.get_string(member));
            !own.is_some_and(|own| is_usual(&own))
        })
    })
}

/// Whether a word of AWS's for how soon an answer comes is the one for the usual price.
pub fn is_usual(word: &str) -> bool {
    matches!(word, "default" | "standard")
}

/// Whether AWS itself does something beside writing.
fn has_awss_tools(json: &str) -> bool {
    if json == "null" {
        return false;
    }
    let Ok(config) = RawObject::parse(json) else {
        return true;
    };
    let tools = config.get("tools").unwrap_or("[]");
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(tools) else {
        return tools != "null";
    };
    tools.iter().any(|tool| {
        !RawObject::parse(tool.get()).is_ok_and(|tool| {
            let mut names = tool.all_keys();
            names.all(|own| matches!(&*own, "toolSpec" | "cachePoint"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(read: fn(&RawObject<'_>) -> Result<Contents, BadRequest>, body: &str) -> Option<(bool, bool)> {
        let found = read(&RawObject::parse(body).unwrap()).ok()?;
        Some((found.has_extras, found.names_kept))
    }

    #[test]
    fn what_googles_bodies_ask_for_beside_a_text_is_seen() {
        for (body, wanted) in [
            (r#"{"contents":[]}"#, Some((false, false))),
            (
                r#"{"generationConfig":{"temperature":1,"routingConfig":null}}"#,
                Some((false, false)),
            ),
            (
                r#"{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"x"}}}}"#,
                None,
            ),
            (
                r#"{"generation_config":{"routing_config":{"autoMode":{}}}}"#,
                None,
            ),
            (r#"{"generationConfig":{"modelSelectionConfig":{}}}"#, None),
            (r#"{"generationConfig":[{"routingConfig":{}}]}"#, None),
            (
                r#"{"generationConfig":{"routingConfig":{},"routingConfig":{}}}"#,
                None,
            ),
            (
                r#"{"tools":[{"functionDeclarations":[]},{"function_declarations":[]}]}"#,
                Some((false, false)),
            ),
            (r#"{"tools":null}"#, Some((false, false))),
            (r#"{"tools":[]}"#, Some((false, false))),
            (r#"{"tools":[{"googleSearch":{}}]}"#, Some((true, false))),
            (r#"{"tools":{"googleSearch":{}}}"#, Some((true, true))),
            (r#"{"tools":["x"]}"#, Some((true, true))),
            (r#"{"tools":[{"a":1,"a":2}]}"#, Some((true, true))),
            (r#"{"tools":[{"retrieval":{}}]}"#, Some((true, true))),
            (r#"{"tools":[{"file_search":{}}]}"#, Some((true, true))),
            (r#"{"tools":[{"somethingNew":{}}]}"#, Some((true, true))),
            (r#"{"cachedContent":"cachedContents/a"}"#, Some((false, true))),
            (r#"{"cached_content":"cachedContents/a"}"#, Some((false, true))),
        ] {
            assert_eq!(of(googles, body), wanted, "{body}");
        }
    }

    #[test]
    fn what_awss_bodies_ask_for_beside_a_text_is_seen() {
        for (body, wanted) in [
            (r#"{"messages":[],"toolConfig":null}"#, Some((false, false))),
            (
                r#"{"toolConfig":{"tools":[{"toolSpec":{}},{"cachePoint":{}}]}}"#,
                Some((false, false)),
            ),
            (
                r#"{"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]}}"#,
                Some((true, false)),
            ),
            (
                r#"{"toolConfig":{"tools":{"systemTool":{}}}}"#,
                Some((true, false)),
            ),
            (r#"{"toolConfig":[]}"#, Some((true, false))),
            (r#"{"serviceTier":{"type":"default"}}"#, Some((false, false))),
            (r#"{"serviceTier":{"type":"priority"}}"#, Some((true, false))),
            (
                r#"{"performanceConfig":{"latency":"standard"}}"#,
                Some((false, false)),
            ),
            (
                r#"{"performanceConfig":{"latency":"optimized"}}"#,
                Some((true, false)),
            ),
            (r#"{"tools":[{"name":"a"}]}"#, Some((false, false))),
            (
                r#"{"tools":[{"type":"web_search_20250305"}]}"#,
                Some((true, false)),
            ),
            (r#"{"tools":[{"type":"advisor","model":"x"}]}"#, None),
            (r#"{"models":["x"]}"#, None),
            (
                r#"{"additionalModelRequestFields":{"top_k":1}}"#,
                Some((false, false)),
            ),
            (r#"{"additionalModelRequestFields":{"Model":"x"}}"#, None),
            (
                r#"{"additionalModelRequestFields":{"tools":[{"model":"x"}]}}"#,
                None,
            ),
        ] {
            assert_eq!(of(awss, body), wanted, "{body}");
        }
    }
}
