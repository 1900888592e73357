//! A call that the model asks for: made as for every other client, and what came of it for the model and for the client.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_llm::translate::conversation::{Block, Kind, Served, ServedCall, Source};
use trunkline_llm::translate::dialogue::{Given, Wanted};
use trunkline_mcp::edit::RawObject;
use trunkline_model::CallKind;
use trunkline_upstream::Frame;
use trunkline_upstream::fault::printable;

use super::offer::Function;
use crate::calling::{self, Operation};
use crate::context::Context;
use crate::record::Pending;
use crate::relay::Relay;
use crate::{Gateway, denied};

/// What came of a call.
pub(super) struct Came {
    /// For the model.
    pub(super) given: Given,
    /// For the client.
    pub(super) served: Served,
}

impl Came {
    /// Bytes, about.
    pub(super) fn size(&self) -> usize {
        let whole = match &self.served {
            Served::Called { output, result, .. } => output.len() + result.as_ref().map_or(0, String::len),
            Served::Listed { .. } | Served::Asked(_) => 0,
        };
        self.given.size() + whole
    }
}

/// How a call ended.
enum Ended {
    /// JSON text of the tool's result.
    Result(String),
    /// It was not made, or failed: why.
    Failed(String),
}

/// The call as the client is shown it.
pub(super) fn shown(wanted: &Wanted, label: &str) -> ServedCall {
    ServedCall {
        id: wanted.id.clone(),
        label: label.to_owned(),
        name: wanted.name.clone(),
        arguments: if wanted.input.trim().is_empty() {
            "{}".to_owned()
        } else {
            wanted.input.clone()
        },
    }
}

/// A call that is not made.
pub(super) fn not_made(wanted: &Wanted, label: &str, why: &str) -> Came {
    came(wanted, label, Ended::Failed(why.to_owned()))
}

/// Makes a call.
pub(super) async fn make(
    gateway: &Arc<Gateway>,
    context: Context,
    (wanted, label): (&Wanted, &str),
    function: &Function,
) -> Came {
    let Some(params) = params(function, &wanted.input) else {
        return not_made(wanted, label, "the arguments are no JSON object");
    };
    let ended = called(gateway, Arc::new(context), function, &params).await;
    came(wanted, label, ended)
}

/// The parameters of `tools/call`; none if the arguments are no object.
fn params(function: &Function, input: &str) -> Option<String> {
    let arguments = match input.trim() {
        "" => "{}",
        input => input,
    };
    let is_object =
        serde_json::from_str::<&RawValue>(arguments).is_ok() && RawObject::parse(arguments).is_ok();
    let mut params = RawObject::default();
    params.set_string("name", &function.exposed);
    params.set("arguments", arguments.to_owned());
    is_object.then(|| params.to_json())
}

async fn called(gateway: &Arc<Gateway>, context: Arc<Context>, function: &Function, params: &str) -> Ended {
    let mut pending = Pending::begin(gateway, &context, CallKind::CallTool, params.len());
    let only = Some(&function.server);
    let begun = calling::begin(gateway, &context, Operation::CallTool, params, only, &mut pending).await;
    let frame = match begun {
        Ok(call) => {
            let relay = Box::new(Relay {
                gateway: gateway.clone(),
                context,
                call,
                id: "0".to_owned(),
                pending,
                cancelled: None,
                asking: None,
            });
            relay.result().await
        }
        Err(error) => {
            let refused = (&error, StatusCode::FORBIDDEN);
            denied::call(gateway, &context, &mut pending, refused, "llm");
            pending.finish(error.outcome_word(), Some(error.to_string()));
            Err(error)
        }
    };
    match frame {
        Ok(Frame::Result(result)) => Ended::Result(result),
        Ok(Frame::Error(error)) => Ended::Failed(message(&error)),
        // `Relay::result` waits for the last frame.
        Ok(Frame::Notification { .. } | Frame::Request { .. }) => Ended::Failed("no result".to_owned()),
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// The words of a JSON-RPC error.
fn message(error: &str) -> String {
    let object = RawObject::parse(error).ok();
    let words = object.and_then(|object| object.get_string("message"));
    words.map_or_else(|| printable(error), |words| printable(&words))
}

#[derive(Default, Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

/// A part of a result.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    Text {
        text: String,
    },
    Image {
        data: String,
        #[serde(rename = "mimeType")]
        media_type: String,
    },
    Audio {
        data: String,
        #[serde(rename = "mimeType")]
        media_type: String,
    },
    Resource {
        resource: Resource,
    },
}

#[derive(Deserialize)]
struct Resource {
    uri: String,
    #[serde(default, rename = "mimeType")]
    media_type: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    blob: Option<String>,
}

fn came(wanted: &Wanted, label: &str, ended: Ended) -> Came {
    let call = shown(wanted, label);
    let (blocks, output, error, result) = match ended {
        Ended::Failed(why) => (
            vec![text(format!("The call failed: {why}"))],
            String::new(),
            Some(why),
            None,
        ),
        Ended::Result(result) => {
            let Ok(wire) = serde_json::from_str::<Wire<'_>>(&result) else {
                let why = "the tool's result is none of MCP's".to_owned();
                return came(wanted, label, Ended::Failed(why));
            };
            let mut blocks: Vec<Block> = wire.content.iter().map(|json| block(json.get())).collect();
            let has_text = blocks.iter().any(|own| matches!(own.kind, Kind::Text(_)));
            if let (Some(structured), false) = (wire.structured, has_text) {
                blocks.push(text(structured.get().to_owned()));
            }
            let output = words(&blocks);
            let error = wire.is_error.then(|| output.clone());
            if wire.is_error {
                // There are dialects that have no other word for it.
                blocks.insert(0, text("The tool says that it failed:".to_owned()));
            }
            (blocks, output, error, Some(result))
        }
    };
    Came {
        given: Given {
            id: wanted.id.clone(),
            blocks,
            is_error: error.is_some(),
        },
        served: Served::Called {
            call,
            output,
            error,
            result,
        },
    }
}

fn text(text: String) -> Block {
    Block::new(Kind::Text(text), "tools")
}

/// What the texts say; what is no text is named.
fn words(blocks: &[Block]) -> String {
    let words = blocks.iter().map(|block| match &block.kind {
        Kind::Text(text) => text.clone(),
        kind => format!("[{}]", kind.name()),
    });
    words.collect::<Vec<_>>().join("\n")
}

/// A part of a result as a model can be given it. What no model is given is named, so that it knows that it is there.
fn block(json: &str) -> Block {
    let data = |media_type: &str, data: String| Source::Data {
        media_type: media_type.to_owned(),
        data,
    };
    let named = |media_type: &str, what: &str, bytes: usize| {
        text(format!(
            "[{what} of type {media_type}, {bytes} bytes, which the model cannot be given]"
        ))
    };
    let picture = |media_type: &str| media_type.starts_with("image/");
    match serde_json::from_str::<Content>(json) {
        Ok(Content::Text { text }) => self::text(text),
        Ok(Content::Image {
            data: own,
            media_type,
        }) => Block::new(Kind::Image(data(&media_type, own)), "tools"),
        Ok(Content::Audio {
            data: own,
            media_type,
        }) => named(&media_type, "a sound", own.len() / 4 * 3),
        Ok(Content::Resource { resource }) => match (resource.text, resource.blob) {
            (Some(text), _) => self::text(format!("{}\n\n{text}", resource.uri)),
            (None, Some(blob)) => {
                let media_type = resource
                    .media_type
                    .as_deref()
                    .unwrap_or("application/octet-stream");
                match media_type {
                    "application/pdf" => Block::new(
                        Kind::Document {
                            source: data(media_type, blob),
                            title: Some(resource.uri),
                            context: None,
                            citations: None,
                        },
                        "tools",
                    ),
                    media_type if picture(media_type) => {
                        Block::new(Kind::Image(data(media_type, blob)), "tools")
                    }
                    media_type => named(
                        media_type,
                        &format!("{}: a file", resource.uri),
                        blob.len() / 4 * 3,
                    ),
                }
            }
            (None, None) => self::text(resource.uri),
        },
        // A link, and what nobody knows yet: its JSON says what it is.
        Err(_) => self::text(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &str) -> Came {
        let wanted = Wanted {
            id: "c".to_owned(),
            name: "s-t".to_owned(),
            input: String::new(),
        };
        came(&wanted, "s", Ended::Result(result.to_owned()))
    }

    fn kinds(came: &Came) -> Vec<String> {
        let blocks = came.given.blocks.iter();
        blocks
            .map(|own| match &own.kind {
                Kind::Text(text) => text.clone(),
                kind => kind.name(),
            })
            .collect()
    }

    #[test]
    fn results_are_given_as_they_are() {
        let came = of(
            r#"{"content":[{"type":"text","text":"a"},{"type":"image","data":"aGk=","mimeType":"image/png"},
            {"type":"audio","data":"aGkh","mimeType":"audio/wav"},{"type":"resource","resource":{"uri":"x://a","text":"t"}},
            {"type":"resource","resource":{"uri":"x://b","blob":"aGk=","mimeType":"application/pdf"}},
            {"type":"resource_link","uri":"x://c","name":"c"}],"structuredContent":{"a":1}}"#,
        );
        assert_eq!(
            kinds(&came),
            [
                "a",
                "a picture of type image/png",
                "[a sound of type audio/wav, 3 bytes, which the model cannot be given]",
                "x://a\n\nt",
                "a document of type application/pdf",
                r#"{"type":"resource_link","uri":"x://c","name":"c"}"#,
            ]
        );
        assert!(!came.given.is_error);
        assert_eq!(
            kinds(&of(r#"{"content":[],"structuredContent":{"a": 1}}"#)),
            [r#"{"a": 1}"#]
        );
        let unreadable = of(r#"{"content":"text"}"#);
        assert!(unreadable.given.is_error, "it is no empty result");
        let failed = of(r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#);
        assert!(failed.given.is_error);
        assert_eq!(kinds(&failed), ["The tool says that it failed:", "no"]);
        let Served::Called { output, error, .. } = failed.served else {
            panic!("it was called");
        };
        assert_eq!((output.as_str(), error.as_deref()), ("no", Some("no")));
    }
}
