//! A whole answer: the name of its model is the one that the client asked for, everything else is as it came.

use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;

use crate::{Service, Usage};

/// The answer for the client, and what it took. Errors if it is no JSON object that can be read in one way only.
pub fn renamed(json: &str, model: &str) -> Result<(String, Option<Usage>), String> {
    if !depth::within(json.as_bytes(), depth::MAX_DEPTH) {
        return Err("its JSON is nested too deep".to_owned());
    }
    let mut object = RawObject::parse(json).map_err(|error| format!("it is no JSON object: {error}"))?;
    let usage = object.get("usage").and_then(Usage::read).map(|usage| Usage {
        service: Service::of_tier(object.get_string("service_tier").as_deref()),
        ..usage
    });
    if object.get("model").is_some() {
        object.set_string("model", model);
    }
    Ok((object.to_json(), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_name_of_the_model_changes() {
        let json = "{ \"id\" : \"x\",\n \"model\":\"gpt-4o-2024\" , \"choices\": [ {\"a\": 1.0e2 } ],\"usage\":{\"prompt_tokens\":1} }";
        let (out, usage) = renamed(json, "my \"model\"").unwrap();
        assert_eq!(
            out,
            "{ \"id\" : \"x\",\n \"model\":\"my \\\"model\\\"\" , \"choices\": [ {\"a\": 1.0e2 } ],\"usage\":{\"prompt_tokens\":1} }"
        );
        assert_eq!(usage.unwrap().input, Some(1));
        // None is added where there was none.
        assert_eq!(renamed("{\"a\":1}", "m").unwrap().0, "{\"a\":1}");
        assert!(renamed("[]", "m").is_err());
        assert!(renamed("{\"model\":1,\"model\":2}", "m").is_err());
    }
}
