//! MCP Apps: tools that point at a resource to be shown with their results. Where the resource goes by another URI here, the
//! tools that point at it say so.

use crate::edit::RawObject;

/// Members of `_meta` that are such a URI themselves: as the extension had it first, and as another interface has it.
const FLAT: [&str; 2] = ["ui/resourceUri", "openai/outputTemplate"];

/// Whether a definition may point at a resource.
pub fn may_point(json: &str) -> bool {
    json.contains("_meta") && (json.contains("resourceUri") || json.contains("openai/outputTemplate"))
}

/// A tool (or a tool's result) with what it points at under the URIs that `expose` gives; `None` if nothing changes.
pub fn repointed(json: &str, expose: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut object = RawObject::parse(json).ok()?;
    let own = object.get("_meta")?.to_owned();
    let mut meta = RawObject::parse(&own).ok()?;
    let mut any = false;
    for key in FLAT {
        if let Some(uri) = meta.get_string(key).and_then(|own| expose(&own)) {
            meta.set_string(key, &uri);
            any = true;
        }
    }
    let ui = meta.get("ui").map(ToOwned::to_owned);
    if let Some(mut ui) = ui.as_deref().and_then(|ui| RawObject::parse(ui).ok())
        && let Some(uri) = ui.get_string("resourceUri").and_then(|own| expose(&own))
    {
        ui.set_string("resourceUri", &uri);
        meta.set("ui", ui.to_json());
        any = true;
    }
    any.then(|| {
        object.set("_meta", meta.to_json());
        object.to_json()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_pointer_is_led_along() {
        let expose = |own: &str| own.strip_prefix("ui://").map(|rest| format!("ui://s+{rest}"));
        for (own, there) in [
            (
                r#"{"name":"a","_meta":{"ui":{"resourceUri":"ui://x/1","visibility":["model"]},"ui/resourceUri":"ui://x/1","z":1.0}}"#,
                Some(
                    r#"{"name":"a","_meta":{"ui":{"resourceUri":"ui://s+x/1","visibility":["model"]},"ui/resourceUri":"ui://s+x/1","z":1.0}}"#,
                ),
            ),
            (
                r#"{"_meta":{"openai/outputTemplate":"ui://x/1"}}"#,
                Some(r#"{"_meta":{"openai/outputTemplate":"ui://s+x/1"}}"#),
            ),
            (r#"{"_meta":{"ui":{"resourceUri":"http://x"}}}"#, None),
            (r#"{"_meta":{"ui":"ui://x"}}"#, None),
            (r#"{"name":"resourceUri"}"#, None),
        ] {
            assert_eq!(repointed(own, &expose).as_deref(), there, "{own}");
            assert!(there.is_none() || may_point(own));
        }
    }
}
