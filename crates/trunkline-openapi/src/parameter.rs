//! Parameters of operations, of every version of the specification.

use serde_json::Value;

use crate::document::{Document, Version, quoted};
use crate::mistake::{Mistake, join};
use crate::style::Style;

/// Parameters of one operation.
const MAX_PARAMETERS: usize = 500;
/// Bytes of a name.
const MAX_NAME: usize = 512;

/// Where a parameter stands in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "path" => Self::Path,
            "query" => Self::Query,
            "header" => Self::Header,
            "cookie" => Self::Cookie,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// A parameter as the document has it.
pub(crate) struct Parameter<'d> {
    /// As it is sent.
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) required: bool,
    pub(crate) wire: Wire,
    pub(crate) description: Option<&'d str>,
    pub(crate) deprecated: bool,
    /// Its schema and where that stands; any value without one.
    pub(crate) schema: Option<(&'d Value, String)>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) style: Style,
    pub(crate) explode: bool,
    pub(crate) reserved: bool,
    /// As JSON text (`content`).
    pub(crate) json: bool,
}

/// Headers that are not the model's to give: the specification has other words for the first three, the rest frames the
/// request or belongs to the connection.
const OWN_HEADERS: [&str; 17] = [
    "accept",
    "content-type",
    "authorization",
    "cookie",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "user-agent",
];

/// The parameters of an operation: its own over those of its path.
pub(crate) struct Parameters<'d> {
    pub(crate) all: Vec<Parameter<'d>>,
    /// Swagger 2: `in: body`, and where it stands.
    pub(crate) body: Option<(&'d Value, String)>,
    /// Swagger 2: `in: formData`.
    pub(crate) form: Vec<(&'d Value, String)>,
}

/// Reads them.
pub(crate) fn read<'d>(
    document: &'d Document,
    (item, item_at): (&'d Value, &str),
    (operation, at): (&'d Value, &str),
    supplied: &[String],
) -> Result<Parameters<'d>, Mistake> {
    let mut found = Parameters {
        all: Vec::new(),
        body: None,
        form: Vec::new(),
    };
    for (holder, place) in [(operation, at), (item, item_at)] {
        let list_at = join(place, "parameters");
        let list = match holder.get("parameters") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) if list.len() <= MAX_PARAMETERS => list,
            Some(Value::Array(_)) => {
                return Err(Mistake::new(
                    list_at,
                    format!("there are more than {MAX_PARAMETERS} parameters"),
                ));
            }
            Some(_) => return Err(Mistake::new(list_at, "`parameters` must be a list")),
        };
        for (index, parameter) in list.iter().enumerate() {
            let (parameter, at) = document.resolve(parameter, &join(&list_at, &index.to_string()))?;
            one(document, parameter, at, supplied, &mut found)?;
        }
    }
    // In the order of the document: the path's own come last above, and belong first.
    found.all.sort_by_key(|parameter| parameter.place);
    Ok(found)
}

fn one<'d>(
    document: &'d Document,
    parameter: &'d Value,
    at: String,
    supplied: &[String],
    found: &mut Parameters<'d>,
) -> Result<(), Mistake> {
    let text = |key: &str| parameter.get(key).and_then(Value::as_str);
    let flag = |key: &str| parameter.get(key) == Some(&Value::Bool(true));
    let (Some(name), Some(place)) = (text("name"), text("in")) else {
        return Err(Mistake::new(at, "a parameter needs `name` and `in`"));
    };
    if document.version == Version::Swagger2 {
        match place {
            "body" => {
                found.body.get_or_insert((parameter, at));
                return Ok(());
            }
            "formData" => {
                let again =
                    |(own, _): &(&Value, String)| own.get("name").and_then(Value::as_str) == Some(name);
                if !found.form.iter().any(again) {
                    found.form.push((parameter, at));
                }
                return Ok(());
            }
            _ => {}
        }
    }
    let Some(place) = Place::parse(place) else {
        return Err(Mistake::new(
            at,
            format!("parameters are not sent in {}", quoted(place)),
        ));
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Mistake::new(
            at,
            format!("a parameter's name has 1 to {MAX_NAME} bytes"),
        ));
    }
    if matches!(place, Place::Header | Place::Cookie) && !name.bytes().all(is_token) {
        return Err(Mistake::new(
            at,
            format!("{} cannot be the name of a {}", quoted(name), place.as_str()),
        ));
    }
    let same = |own: &Parameter<'_>| own.place == place && own.name == name;
    // Of two, that of the operation.
    if found.all.iter().any(same) {
        return Ok(());
    }
    if place == Place::Header {
        let own = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&own.as_str()) || supplied.contains(&own) {
            return Ok(());
        }
    }
    let (wire, schema) = wire(document, parameter, place, &at)?;
    found.all.push(Parameter {
        name: name.to_owned(),
        place,
        required: place == Place::Path || flag("required"),
        wire,
        description: text("description"),
        deprecated: flag("deprecated"),
        schema,
    });
    Ok(())
}

/// RFC 9110, 5.6.2.
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

type Schema<'d> = Option<(&'d Value, String)>;

fn wire<'d>(
    document: &Document,
    parameter: &'d Value,
    place: Place,
    at: &str,
) -> Result<(Wire, Schema<'d>), Mistake> {
    let flag = |key: &str| parameter.get(key).and_then(Value::as_bool);
    let usual = match place {
        Place::Path | Place::Header => Style::Simple,
        Place::Query | Place::Cookie => Style::Form,
    };
    if document.version == Version::Swagger2 {
        let (style, explode) = collection(parameter, usual);
        let wire = Wire {
            style,
            explode,
            reserved: false,
            json: false,
        };
        return Ok((wire, Some((parameter, at.to_owned()))));
    }
    if let Some(content) = parameter.get("content").and_then(Value::as_object) {
        let content_at = join(at, "content");
        let Some((media, holder)) = content.iter().next() else {
            return Err(Mistake::new(
                content_at,
                "`content` of a parameter has one media type",
            ));
        };
        let wire = Wire {
            style: usual,
            explode: false,
            reserved: false,
            json: media.contains("json"),
        };
        let schema_at = join(&join(&content_at, media), "schema");
        return Ok((wire, holder.get("schema").map(|schema| (schema, schema_at))));
    }
    let style = match parameter.get("style").and_then(Value::as_str) {
        None => usual,
        Some(word) => style_of(word, place).ok_or_else(|| {
            Mistake::new(
                at,
                format!("the style {} does not exist in {}", quoted(word), place.as_str()),
            )
        })?,
    };
    let wire = Wire {
        style,
        explode: flag("explode").unwrap_or(style == Style::Form),
        reserved: flag("allowReserved").unwrap_or(false) && place == Place::Query,
        json: false,
    };
    let schema = parameter.get("schema").map(|schema| (schema, join(at, "schema")));
    Ok((wire, schema))
}

pub(crate) fn style_of(word: &str, place: Place) -> Option<Style> {
    Some(match (word, place) {
        ("simple", Place::Path | Place::Header) => Style::Simple,
        ("label", Place::Path) => Style::Label,
        ("matrix", Place::Path) => Style::Matrix,
        // `cookie` is 3.2's.
        ("form", Place::Query | Place::Cookie) | ("cookie", Place::Cookie) => Style::Form,
        ("spaceDelimited", Place::Query) => Style::Space,
        ("pipeDelimited", Place::Query) => Style::Pipe,
        ("deepObject", Place::Query) => Style::Deep,
        _ => return None,
    })
}

/// Swagger 2's `collectionFormat`.
pub(crate) fn collection(parameter: &Value, usual: Style) -> (Style, bool) {
    match parameter.get("collectionFormat").and_then(Value::as_str) {
        Some("multi") => (usual, true),
        Some("ssv") => (Style::Space, false),
        Some("tsv") => (Style::Tab, false),
        Some("pipes") => (Style::Pipe, false),
        _ => (usual, false),
    }
}
