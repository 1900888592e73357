//! Vectors for texts, where the provider has another dialect for them than OpenAI's: requests and answers, from one to the other.
//!
//! Four forms: AI Studio's `batchEmbedContents`, Vertex's `predict`, and those of two kinds of models on Bedrock. Some take one text at a
//! time: then there are as many requests ([`Translated::more`]), whose answers are one for the client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use trunkline_mcp::edit::{RawObject, string};

use crate::request::bad;
use crate::translate::losses::Losses;
use crate::translate::{Drops, Target};
use crate::{BadRequest, Spoken, Usage};

/// Texts of one request: OpenAI's bound.
const MOST: usize = 2048;

/// A provider's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `requests` of `content`, `embeddings` of `values`.
    Gemini,
    /// `instances`, `predictions`.
    Vertex,
    /// `inputText`, `embedding`: one at a time.
    Titan,
    /// `texts`, `embeddings`.
    Cohere,
}

/// How answers are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    form: Form,
    /// The client wants each as the base64 of its numbers.
    is_base64: bool,
    /// How many there have to be.
    count: usize,
}

/// A request in the provider's form.
#[derive(Debug)]
pub struct Translated {
    /// The body.
    pub body: String,
    /// Bodies of requests that belong to it, in order.
    pub more: Vec<String>,
    /// What of the client's was left out.
    pub dropped: Vec<String>,
    /// How the answers are read.
    pub reading: Reading,
}

/// What a client asks for.
#[derive(Default)]
struct Asked {
    texts: Vec<String>,
    is_base64: bool,
    /// JSON text of a number.
    dimensions: Option<String>,
    /// What the vectors are for, by Cohere's word and by Google's.
    input_type: Option<String>,
    task_type: Option<String>,
}

/// Writes a request of OpenAI's dialect for a provider.
pub fn request(object: &RawObject<'_>, target: &Target<'_>, drops: &Drops) -> Result<Translated, BadRequest> {
    let form = form(target)?;
    let mut losses = Losses::default();
    let asked = read(object, form, &mut losses)?;
    let bodies = match form {
        Form::Gemini => vec![gemini(&asked, target)],
        // These take one text at a time.
        Form::Vertex if target.model.starts_with("gemini-embedding") => {
            asked.texts.iter().map(|text| vertex(&asked, &[text])).collect()
        }
        Form::Vertex => vec![vertex(&asked, &asked.texts.iter().collect::<Vec<_>>())],
        Form::Titan => titan(&asked, target, &mut losses),
        Form::Cohere => vec![cohere(&asked, target, &mut losses)],
    };
    let mut bodies = bodies.into_iter().map(|own| own.to_string());
    Ok(Translated {
        body: bodies.next().unwrap_or_default(),
        more: bodies.collect(),
        dropped: losses.settle(drops, (target.provider, target.model))?,
        reading: Reading {
            form,
            is_base64: asked.is_base64,
            count: asked.texts.len(),
        },
    })
}

fn form(target: &Target<'_>) -> Result<Form, BadRequest> {
    match target.dialect {
        Spoken::Gemini if target.provider == "vertex_ai" => Ok(Form::Vertex),
        Spoken::Gemini => Ok(Form::Gemini),
        Spoken::Bedrock if target.model.contains("titan-embed") => Ok(Form::Titan),
        Spoken::Bedrock if target.model.contains("cohere.embed") => Ok(Form::Cohere),
        _ => {
            let text = format!(
                "vectors of {} are not served: of Bedrock's models `amazon.titan-embed-text…` and `cohere.embed…` have them",
                target.model
            );
            Err(bad(Some("model"), text))
        }
    }
}

fn read(object: &RawObject<'_>, form: Form, losses: &mut Losses) -> Result<Asked, BadRequest> {
    let mut asked = Asked {
        texts: texts(object.get("input"))?,
        ..Asked::default()
    };
    let is_googles = matches!(form, Form::Gemini | Form::Vertex);
    for (name, json) in object.members().filter(|(_, json)| *json != "null") {
        match name {
            "model" | "input" => {}
            "encoding_format" => {
                asked.is_base64 = match json {
                    "\"float\"" => false,
                    "\"base64\"" => true,
                    _ => {
                        return Err(bad(
                            Some(name),
                            "`encoding_format` must be \"float\" or \"base64\"",
                        ));
                    }
                };
            }
            "dimensions" => {
                let number: Result<u32, _> = json.parse();
                if !number.is_ok_and(|own| own > 0) {
                    return Err(bad(Some(name), "`dimensions` must be a number above 0"));
                }
                asked.dimensions = Some(json.to_owned());
            }
            "input_type" if form == Form::Cohere => asked.input_type = object.get_string(name),
            "task_type" if is_googles => asked.task_type = object.get_string(name),
            // Without it the answer is the same.
            "user" => losses.hint(name),
            other => losses.wish(other),
        }
    }
    Ok(asked)
}

/// A text or a list of texts. Lists of tokens are of a model that this provider does not have.
fn texts(input: Option<&str>) -> Result<Vec<String>, BadRequest> {
    let invalid = |text: &str| bad(Some("input"), text);
    let input = input.ok_or_else(|| invalid("you must provide `input`: a text, or a list of texts"))?;
    let value: Value = serde_json::from_str(input).map_err(|_| invalid("`input` cannot be read"))?;
    let texts = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => {
            let is_text = |item: Value| match item {
                Value::String(text) => Ok(text),
                Value::Number(_) | Value::Array(_) => Err(invalid(
                    "`input` has tokens, which mean something to OpenAI's models alone: send the text",
                )),
                _ => Err(invalid("`input` must be a text, or a list of texts")),
            };
            items.into_iter().map(is_text).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(invalid("`input` must be a text, or a list of texts")),
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(invalid("`input` must not be empty, nor have an empty text"));
    }
    if texts.len() > MOST {
        return Err(invalid(&format!("`input` has more than {MOST} texts")));
    }
    Ok(texts)
}

fn number(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

fn gemini(asked: &Asked, target: &Target<'_>) -> Value {
    let of = |text: &String| {
        let mut own = json!({
            "model": format!("models/{}", target.model),
            "content": {"parts": [{"text": text}]},
        });
        if let Some(dimensions) = &asked.dimensions {
            own["outputDimensionality"] = number(dimensions);
        }
        if let Some(task) = &asked.task_type {
            own["taskType"] = task.as_str().into();
        }
        own
    };
    json!({"requests": asked.texts.iter().map(of).collect::<Vec<_>>()})
}

fn vertex(asked: &Asked, texts: &[&String]) -> Value {
    let of = |text: &&String| {
        let mut own = json!({"content": text});
        if let Some(task) = &asked.task_type {
            own["task_type"] = task.as_str().into();
        }
        own
    };
    let mut body = json!({"instances": texts.iter().map(of).collect::<Vec<_>>()});
    if let Some(dimensions) = &asked.dimensions {
        body["parameters"] = json!({"outputDimensionality": number(dimensions)});
    }
    body
}

fn titan(asked: &Asked, target: &Target<'_>, losses: &mut Losses) -> Vec<Value> {
    let is_second = target.model.contains("titan-embed-text-v2");
    if asked.dimensions.is_some() && !is_second {
        losses.wish("dimensions");
    }
    let of = |text: &String| {
        let mut own = json!({"inputText": text});
        if let Some(dimensions) = asked.dimensions.as_ref().filter(|_| is_second) {
            own["dimensions"] = number(dimensions);
        }
        own
    };
    asked.texts.iter().map(of).collect()
}

fn cohere(asked: &Asked, target: &Target<'_>, losses: &mut Losses) -> Value {
    let is_fourth = target.model.contains("embed-v4");
    // It has to be said: LiteLLM's.
    let kind = asked.input_type.as_deref().unwrap_or("search_document");
    let mut body = json!({"texts": asked.texts, "input_type": kind});
    match &asked.dimensions {
        Some(dimensions) if is_fourth => body["output_dimension"] = number(dimensions),
        Some(_) => losses.wish("dimensions"),
        None => {}
    }
    if is_fourth {
        body["embedding_types"] = json!(["float"]);
    }
    body
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Geminis {
    embeddings: Vec<Values>,
    #[serde(default)]
    usage_metadata: Option<GeminisUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminisUsage {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct Values {
    values: Box<RawValue>,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    token_count: Option<f64>,
}

#[derive(Deserialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Values,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titans {
    embedding: Box<RawValue>,
    #[serde(default)]
    input_text_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct Coheres {
    embeddings: Box<RawValue>,
}

/// Where there are several kinds.
#[derive(Deserialize)]
struct CoheresKinds {
    float: Vec<Box<RawValue>>,
}

/// JSON texts of the vectors, and how many tokens they took, if every answer says it.
type Found = (Vec<String>, Option<u64>);

impl Reading {
    /// The answer for the client, of all answers of the provider's in order. `counted`: tokens as a header says them; `about`: how many it
    /// is told if nobody says it, for its readers want a number there. Nothing is returned of those.
    pub fn answer(
        &self,
        texts: &[&str],
        model: &str,
        (counted, about): (Option<u64>, u64),
    ) -> Result<(String, Option<Usage>), String> {
        let mut vectors = Vec::with_capacity(self.count);
        let mut tokens = Some(0u64);
        for text in texts {
            let (found, took) = self
                .read(text)
                .map_err(|error| format!("it has no vectors: {error}"))?;
            vectors.extend(found);
            tokens = tokens.zip(took).map(|(sum, more)| sum.saturating_add(more));
        }
        if vectors.len() != self.count {
            return Err(format!(
                "it has {} vectors for {} texts",
                vectors.len(),
                self.count
            ));
        }
        let tokens = tokens.or(counted);
        let mut data = Vec::with_capacity(vectors.len());
        for (index, own) in vectors.iter().enumerate() {
            let own = if self.is_base64 { packed(own)? } else { own.clone() };
            data.push(format!(
                "{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{own}}}"
            ));
        }
        let told = tokens.unwrap_or(about);
        let usage = json!({"prompt_tokens": told, "total_tokens": told});
        let answer = format!(
            "{{\"object\":\"list\",\"data\":[{}],\"model\":{},\"usage\":{usage}}}",
            data.join(","),
            string(model)
        );
        let took = tokens.map(|tokens| Usage {
            input: Some(tokens),
            output: Some(0),
            ..Usage::default()
        });
        Ok((answer, took))
    }

    fn read(&self, text: &str) -> Result<Found, serde_json::Error> {
        let own = |own: &RawValue| own.get().to_owned();
        Ok(match self.form {
            Form::Gemini => {
                let wire: Geminis = serde_json::from_str(text)?;
                let took = wire.usage_metadata.and_then(|own| own.prompt_token_count);
                (wire.embeddings.iter().map(|one| own(&one.values)).collect(), took)
            }
            Form::Vertex => {
                let wire: Predictions = serde_json::from_str(text)?;
                let counts = wire.predictions.iter().map(|own| {
                    let count = own.embeddings.statistics.as_ref()?.token_count?;
                    whole(count)
                });
                let took: Option<u64> = counts.sum();
                let vectors = wire.predictions.iter().map(|one| own(&one.embeddings.values));
                (vectors.collect(), took)
            }
            Form::Titan => {
                let wire: Titans = serde_json::from_str(text)?;
                (vec![own(&wire.embedding)], wire.input_text_token_count)
            }
            Form::Cohere => {
                let wire: Coheres = serde_json::from_str(text)?;
                let all = wire.embeddings.get();
                let all: Vec<Box<RawValue>> = if all.starts_with('{') {
                    serde_json::from_str::<CoheresKinds>(all)?.float
                } else {
                    serde_json::from_str(all)?
                };
                (all.iter().map(|one| own(one)).collect(), None)
            }
        })
    }
}

/// A count that is written as any number.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within the bounds"
    )]
    (0.0..=1e12).contains(&number).then_some(number.ceil() as u64)
}

/// JSON text of the base64 of the numbers, as OpenAI packs them: four bytes each, the least first.
fn packed(vector: &str) -> Result<String, String> {
    let numbers: Vec<f32> =
        serde_json::from_str(vector).map_err(|error| format!("a vector is no list of numbers: {error}"))?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|own| own.to_le_bytes()).collect();
    Ok(string(&STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(provider: &'static str, dialect: Spoken, model: &'static str) -> Target<'static> {
        Target {
            dialect,
            provider,
            model,
            max_tokens: None,
            asks_usage: false,
        }
    }

    fn written(target: &Target<'_>, body: &str) -> Result<Translated, BadRequest> {
        request(&RawObject::parse(body).unwrap(), target, &Drops::default())
    }

    #[test]
    fn every_form_has_the_texts_and_their_size() {
        let two = r#"{"model":"m","input":["a","b"],"dimensions":8,"user":"u"}"#;
        let gemini = target("gemini", Spoken::Gemini, "g");
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let own = written(&gemini, two).unwrap();
        let of = |text: &str| json!({"model": "models/g", "content": {"parts": [{"text": text}]}, "outputDimensionality": 8});
        assert_eq!(json(&own.body), json!({"requests": [of("a"), of("b")]}));
        assert_eq!((own.dropped, own.more.len()), (vec!["user".to_owned()], 0));
        let vertex = target("vertex_ai", Spoken::Gemini, "text-embedding-005");
        let instances = json!([{"content": "a"}, {"content": "b"}]);
        assert_eq!(
            json(&written(&vertex, two).unwrap().body),
            json!({"instances": instances, "parameters": {"outputDimensionality": 8}})
        );
        let alone = target("vertex_ai", Spoken::Gemini, "gemini-embedding-001");
        let own = written(&alone, r#"{"input":["a","b"]}"#).unwrap();
        assert_eq!(own.more, [r#"{"instances":[{"content":"b"}]}"#]);
        let titan = target("bedrock", Spoken::Bedrock, "amazon.titan-embed-text-v2:0");
        let own = written(&titan, two).unwrap();
        assert_eq!(json(&own.body), json!({"inputText": "a", "dimensions": 8}));
        assert_eq!(json(&own.more[0]), json!({"inputText": "b", "dimensions": 8}));
        let cohere = target("bedrock", Spoken::Bedrock, "cohere.embed-english-v3");
        let own = written(&cohere, r#"{"input":"a","input_type":"search_query"}"#).unwrap();
        assert_eq!(
            json(&own.body),
            json!({"texts": ["a"], "input_type": "search_query"})
        );
        for (target, body, param) in [
            (&cohere, two, "dimensions"),
            (
                &target("bedrock", Spoken::Bedrock, "amazon.titan-embed-text-v1"),
                two,
                "dimensions",
            ),
            (&gemini, r#"{"input":[1,2]}"#, "input"),
            (&gemini, r#"{"input":[[1]]}"#, "input"),
            (&gemini, r#"{"input":[]}"#, "input"),
            (&gemini, r#"{"input":["a",""]}"#, "input"),
            (&gemini, r#"{"model":"m"}"#, "input"),
            (&gemini, r#"{"input":"a","dimensions":0}"#, "dimensions"),
            (
                &gemini,
                r#"{"input":"a","encoding_format":"ubinary"}"#,
                "encoding_format",
            ),
            (&gemini, r#"{"input":"a","input_type":"x"}"#, "input_type"),
            (
                &target("bedrock", Spoken::Bedrock, "meta.llama"),
                r#"{"input":"a"}"#,
                "model",
            ),
        ] {
            let refused = written(target, body).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn answers_are_lists_in_order() {
        let reading = |form, count| Reading {
            form,
            is_base64: false,
            count,
        };
        let (answer, usage) = reading(Form::Titan, 2)
            .answer(
                &[
                    r#"{"embedding":[0.10, 2e-1],"inputTextTokenCount":3}"#,
                    r#"{"embedding":[1],"inputTextTokenCount":4}"#,
                ],
                "m",
                (None, 1),
            )
            .unwrap();
        assert_eq!(
            answer,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10, 2e-1]},{"object":"embedding","index":1,"embedding":[1]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        assert_eq!(usage.unwrap().input, Some(7));
        for (form, text, counted, took) in [
            (Form::Gemini, r#"{"embeddings":[{"values":[1.5]}]}"#, None, None),
            (
                Form::Gemini,
                r#"{"embeddings":[{"values":[1.5]}],"usageMetadata":{"promptTokenCount":2}}"#,
                None,
                Some(2),
            ),
            (
                Form::Vertex,
                r#"{"predictions":[{"embeddings":{"values":[1.5],"statistics":{"token_count":2.0,"truncated":false}}}]}"#,
                None,
                Some(2),
            ),
            (
                Form::Cohere,
                r#"{"embeddings":[[1.5]],"id":"x"}"#,
                Some(2),
                Some(2),
            ),
            (Form::Cohere, r#"{"embeddings":{"float":[[1.5]]}}"#, None, None),
        ] {
            let (answer, usage) = reading(form, 1).answer(&[text], "m", (counted, 5)).unwrap();
            assert!(answer.contains("\"embedding\":[1.5]"), "{answer}");
            let told = took.unwrap_or(5);
            let told = format!("\"usage\":{{\"prompt_tokens\":{told},\"total_tokens\":{told}}}");
            assert!(answer.contains(&told), "{answer}");
            assert_eq!(usage.and_then(|own| own.input), took, "{text}");
        }
        assert!(
            reading(Form::Gemini, 2)
                .answer(&[r#"{"embeddings":[{"values":[1]}]}"#], "m", (None, 1))
                .is_err()
        );
        assert!(reading(Form::Gemini, 1).answer(&["{}"], "m", (None, 1)).is_err());
        let packed = Reading {
            form: Form::Gemini,
            is_base64: true,
            count: 1,
        };
        let (answer, _) = packed
            .answer(&[r#"{"embeddings":[{"values":[1,-2.5]}]}"#], "m", (None, 1))
            .unwrap();
        assert!(answer.contains("\"embedding\":\"AACAPwAAIMA=\""), "{answer}");
    }
}
