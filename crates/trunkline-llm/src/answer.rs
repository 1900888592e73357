//! A whole answer: the name of its model is the one that the client asked for, everything else is as it came.

use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;

use crate::{Endpoint, Measure, Service, Usage};

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

/// The same of one of [`Endpoint::OTHERS`]. There are services that call the results of a search otherwise than Cohere (Voyage): they
/// get its name.
pub fn renamed_other(json: &str, model: &str, endpoint: Endpoint) -> Result<(String, Measure), String> {
    let (text, _) = renamed(json, model)?;
    let measure = Measure::read(endpoint, &text);
    if endpoint != Endpoint::Rerank {
        return Ok((text, measure));
    }
    let mut object = RawObject::parse(&text).map_err(|error| format!("it is no JSON object: {error}"))?;
    let data = object.get("data").filter(|data| data.starts_with('['));
    if let (Some(data), None) = (data.map(str::to_owned), object.get("results")) {
        object.remove("data");
        object.set("results", data);
    }
    Ok((object.to_json(), measure))
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

    #[test]
    fn results_of_searches_have_one_name() {
        let voyage = r#"{"object":"list","data":[{"relevance_score":0.4,"index":0}],"model":"rerank-2","usage":{"total_tokens":26}}"#;
        let (out, measure) = renamed_other(voyage, "mine", Endpoint::Rerank).unwrap();
        assert_eq!(
            out,
            r#"{"object":"list","model":"mine","usage":{"total_tokens":26},"results":[{"relevance_score":0.4,"index":0}]}"#
        );
        assert_eq!(measure.tokens.unwrap().input, Some(26));
        let cohere = r#"{ "results" : [ ], "data": [1]}"#;
        assert_eq!(renamed_other(cohere, "m", Endpoint::Rerank).unwrap().0, cohere);
        let picture = r#"{"data":[{}]}"#;
        let (out, measure) = renamed_other(picture, "m", Endpoint::ImageGenerations).unwrap();
        assert_eq!((out.as_str(), measure.pictures), (picture, Some(1)));
    }
}
