//! Members of a request by which LiteLLM's clients say where it may go and how often it is tried. No provider knows them: they are
//! taken out.

use std::time::Duration;

use trunkline_mcp::edit::RawObject;

use crate::request::{BadRequest, bad};

/// Names that a request may fall back to.
const MOST_FALLBACKS: usize = 20;
/// Tags of a request.
const MOST_TAGS: usize = 100;
/// How often a request may want to be tried again.
pub const MOST_RETRIES: u32 = 100;

/// Their names.
pub(crate) const MEMBERS: [&str; 5] = ["fallbacks", "disable_fallbacks", "num_retries", "timeout", "tags"];

/// What they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// Names of models that are asked instead of those of the configuration, when the first fails.
    pub fallbacks: Option<Vec<String>>,
    /// No other name is asked.
    pub disable_fallbacks: bool,
    /// How often it is tried again.
    pub num_retries: Option<u32>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Which deployments it is for, and by what else it is found: also `metadata.tags`.
    pub tags: Vec<String>,
}

/// Takes them out of a body. Errors name the member.
pub(crate) fn take(object: &mut RawObject<'_>) -> Result<Routing, BadRequest> {
    let mut routing = Routing::default();
    if let Some(json) = taken(object, "fallbacks") {
        // Objects would bring parameters of their own, about which nobody decided.
        let names = texts(&json);
        let names = names.filter(|own| own.len() <= MOST_FALLBACKS);
        routing.fallbacks = Some(names.ok_or_else(|| {
            let text = format!("`fallbacks` must be a list of names of models, {MOST_FALLBACKS} at most");
            bad(Some("fallbacks"), text)
        })?);
    }
    match taken(object, "disable_fallbacks").as_deref() {
        None | Some("false") => {}
        Some("true") => routing.disable_fallbacks = true,
        Some(_) => {
            let text = "`disable_fallbacks` must be true or false";
            return Err(bad(Some("disable_fallbacks"), text));
        }
    }
    if let Some(json) = taken(object, "num_retries") {
        let number = json.parse().ok().filter(|own| *own <= MOST_RETRIES);
        routing.num_retries = Some(number.ok_or_else(|| {
            let text = format!("`num_retries` must be a whole number, up to {MOST_RETRIES}");
            bad(Some("num_retries"), text)
        })?);
    }
    if let Some(json) = taken(object, "timeout") {
        let seconds: Option<f64> = json.parse().ok();
        let time = seconds.and_then(|own| Duration::try_from_secs_f64(own).ok());
        let time = time.filter(|own| !own.is_zero());
        let text = "`timeout` must be a number of seconds, greater than 0";
        routing.timeout = Some(time.ok_or_else(|| bad(Some("timeout"), text))?);
    }
    if let Some(json) = taken(object, "tags") {
        routing.tags = texts(&json).ok_or_else(|| bad(Some("tags"), "`tags` must be a list of text"))?;
    }
    let more = tags_of_metadata(object);
    routing.tags.extend(more);
    routing.tags.truncate(MOST_TAGS);
    Ok(routing)
}

/// A member that says something, taken out; one that says nothing goes, too.
fn taken(object: &mut RawObject<'_>, name: &str) -> Option<String> {
    let json = object.get(name)?.to_owned();
    object.remove(name);
    (json != "null").then_some(json)
}

fn texts(json: &str) -> Option<Vec<String>> {
    serde_json::from_str(json).ok()
}

/// A list of text in `metadata.tags` is LiteLLM's: providers have text there alone, or nothing at all.
fn tags_of_metadata(object: &mut RawObject<'_>) -> Vec<String> {
    // What cannot be read is the provider's to refuse.
    let Some(json) = object
        .get("metadata")
        .filter(|own| own.contains("tags"))
        .map(str::to_owned)
    else {
        return Vec::new();
    };
    let Ok(mut metadata) = RawObject::parse(&json) else {
        return Vec::new();
    };
    let Some(tags) = metadata.get("tags").and_then(texts) else {
        return Vec::new();
    };
    metadata.remove("tags");
    if metadata.is_empty() {
        object.remove("metadata");
    } else {
        object.set("metadata", metadata.to_json());
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(Routing, String), BadRequest> {
        let mut object = RawObject::parse(body).unwrap();
        let routing = take(&mut object)?;
        Ok((routing, object.to_json()))
    }

    #[test]
    fn they_are_read_and_go_nowhere() {
        let (routing, rest) = read(
            r#"{"model":"m","fallbacks":["a","b"],"disable_fallbacks":false,"num_retries":3,"timeout":1.5,"tags":["x"],"metadata":{"tags":["y"],"k":"v"}}"#,
        )
        .unwrap();
        assert_eq!(rest, r#"{"model":"m","metadata":{"k":"v"}}"#);
        assert_eq!(
            routing,
            Routing {
                fallbacks: Some(vec!["a".to_owned(), "b".to_owned()]),
                disable_fallbacks: false,
                num_retries: Some(3),
                timeout: Some(Duration::from_millis(1500)),
                tags: vec!["x".to_owned(), "y".to_owned()],
            }
        );
        let (routing, rest) = read(r#"{"model":"m","fallbacks":null,"metadata":{"tags":["y"]}}"#).unwrap();
        assert_eq!((routing.fallbacks, rest.as_str()), (None, r#"{"model":"m"}"#));
        // Text of the client's own stays.
        let own = r#"{"model":"m","metadata":{"tags":"y"}}"#;
        assert_eq!(read(own).unwrap(), (Routing::default(), own.to_owned()));
    }

    #[test]
    fn what_is_none_is_refused_by_name() {
        for (body, param) in [
            (r#"{"fallbacks":[{"model":"a"}]}"#, "fallbacks"),
            (r#"{"fallbacks":"a"}"#, "fallbacks"),
            (r#"{"disable_fallbacks":1}"#, "disable_fallbacks"),
            (r#"{"num_retries":-1}"#, "num_retries"),
            (r#"{"num_retries":101}"#, "num_retries"),
            (r#"{"timeout":0}"#, "timeout"),
            (r#"{"timeout":"soon"}"#, "timeout"),
            (r#"{"tags":"a"}"#, "tags"),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
