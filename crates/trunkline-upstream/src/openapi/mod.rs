//! A server that is an HTTP API: its OpenAPI document is fetched or read here, and answered from as a server would that
//! speaks Streamable HTTP. What a document means is `trunkline_openapi`'s; what is here is its age, and the way to the API.
//!
//! - `document`: the document, kept and looked at again.
//! - `call`: one call.
//! - `used`: how the last calls went. A server of this kind has nothing that could be asked whether it is well.

mod call;
mod document;
mod used;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::Value;
use trunkline_auth::Vault;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::list::RejectedItem;
use trunkline_mcp::{Era, Message, Revision, modern, rpc};
use trunkline_model::{AuthType, Origin, Outcome, Secret, Server, ServerDefinition, Step};
use url::Url;

use crate::credential::{Outgoing, web_address};
use crate::entry::Entry;
use crate::fault::Fault;
use crate::http::Target;
use crate::pool::ResponseBody;
use crate::route::Route;
use crate::session::Session;

pub(crate) use document::{Loaded, fetched, refresh, taken};

/// Where the document and the API are.
pub struct Site {
    place: Place,
    /// `url`: the address of the API.
    base: Option<Url>,
    /// How connections to the API are made.
    route: Arc<Route>,
    /// The header that `auth_type: api_key` makes; the document may want it elsewhere.
    key: Option<(HeaderName, HeaderValue)>,
}

/// Where the document is.
pub(crate) enum Place {
    /// The web.
    Web(Box<Target>),
    /// A file that the configuration file names.
    File(PathBuf),
    /// The declaration itself.
    Declared,
}

/// Whether a server is an HTTP API.
pub(crate) fn is_one(definition: &ServerDefinition) -> bool {
    definition.spec_path.is_some() || definition.spec.is_some()
}

impl Site {
    /// The site of a server, and a text that names it.
    pub(crate) fn of(server: &Server, vault: &Vault, route: &Arc<Route>) -> Result<(Self, String), Fault> {
        let definition = &server.definition;
        let base = definition.url.as_deref().filter(|url| !url.is_empty());
        let base = base.map(|url| web_address("url", url)).transpose()?;
        let place = match (&definition.spec, definition.spec_path.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(
                    Fault::misconfigured("both spec and spec_path are set").hint("remove one of them")
                );
            }
            (Some(_), None) => Place::Declared,
            (None, path) => place(server, path.unwrap_or_default(), base.as_ref(), (vault, route))?,
        };
        let spec = definition.spec.clone().map(Value::from);
        let filter = definition.openapi.to_json();
        let identity = format!(
            "openapi\n{}\n{}\n{}\n{}",
            definition.spec_path.as_deref().unwrap_or_default(),
            base.as_ref().map(Url::as_str).unwrap_or_default(),
            spec.map(|spec| spec.to_string()).unwrap_or_default(),
            filter.map(|filter| filter.to_string()).unwrap_or_default(),
        );
        let site = Self {
            place,
            base,
            route: route.clone(),
            key: None,
        };
        Ok((site, identity))
    }

    /// Notes the header that `auth_type` makes, and what servers may repeat of it.
    pub(crate) fn has_credential(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
        secrets: &mut Vec<Secret>,
    ) {
        if name.as_str() != "x-api-key" {
            return;
        }
        if let Ok(text) = value.to_str() {
            // As it stands in a query.
            let pair = trunkline_openapi::pair("", text);
            secrets.push(Secret::new(pair.trim_start_matches('=')));
        }
        self.key = Some((name.clone(), value.clone()));
    }

    /// An address to show: that of the API, else of the document.
    pub(crate) fn url(&self) -> Option<&Url> {
        self.base.as_ref().or(match &self.place {
            Place::Web(target) => Some(&target.url),
            Place::File(_) | Place::Declared => None,
        })
    }

    /// The address that the document is fetched from.
    pub(crate) fn document_url(&self) -> Option<&Url> {
        self.document_target().map(|target| &target.url)
    }

    /// The same as connections are made to it.
    pub(crate) fn document_target(&self) -> Option<&Target> {
        match &self.place {
            Place::Web(target) => Some(target),
            Place::File(_) | Place::Declared => None,
        }
    }

    /// How connections to the API are made.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Where the document is, for people.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Place::Web(target) => {
                let url = &target.url;
                format!("{}{}", url.origin().ascii_serialization(), url.path())
            }
            Place::File(path) => path.display().to_string(),
            Place::Declared => "spec".to_owned(),
        }
    }
}

fn place(
    server: &Server,
    path: &str,
    base: Option<&Url>,
    (vault, route): (&Vault, &Arc<Route>),
) -> Result<Place, Fault> {
    // A letter before a colon is a drive of Windows.
    let scheme = path
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .filter(|scheme| scheme.len() > 1);
    match scheme {
        Some(_) => {
            let url = web_address("spec_path", path)?;
            // What proves the gateway to the API is for the API, as its credential is.
            let route = match base {
                Some(base) if base.origin() != url.origin() => Arc::new(route.elsewhere(vault)?),
                _ => route.clone(),
            };
            Ok(Place::Web(Box::new(Target::new(url, &route)?)))
        }
        // Who may use the API must not read the gateway's files with it (S11).
        None if server.origin != Origin::File => Err(Fault::misconfigured(
            "spec_path is a path, which is read for servers of the configuration file only",
        )
        .hint("set spec_path to a URL, or spec to the document itself")),
        None => Ok(Place::File(PathBuf::from(path))),
    }
}

/// What the gateway keeps of a server that is an HTTP API.
#[derive(Default)]
pub(crate) struct Described {
    document: document::Kept,
    used: used::Used,
}

impl Described {
    /// The operations that are no tools, with the reasons.
    pub(crate) fn left_out(&self) -> Vec<RejectedItem> {
        let Some(loaded) = self.document.current() else {
            return Vec::new();
        };
        loaded
            .api
            .left_out
            .iter()
            .map(|own| RejectedItem {
                name: Some(own.name.clone()),
                reason: own.reason.clone().into(),
            })
            .collect()
    }

    /// What is known of the server: that of its list, unless its use says otherwise.
    pub(crate) fn outcome(&self, listed: Outcome) -> Outcome {
        self.used.outcome(listed)
    }

    /// What is kept of the document.
    pub(crate) fn document(&self) -> &document::Kept {
        &self.document
    }
}

/// Headers that every request to the server has: parameters of these names are not the model's.
pub(crate) fn supplied(definition: &ServerDefinition) -> Vec<String> {
    let mut names: Vec<String> = definition
        .static_headers
        .keys()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    if definition.auth_type == Some(AuthType::ApiKey) {
        names.push("x-api-key".to_owned());
    }
    names
}

/// An answer in the making. Its type is not told, or that of every request would have it in it.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Fault>> + Send + 'a>>;

/// Answers a message as a server would.
pub(crate) fn answer<'a>(
    entry: &'a Entry,
    reached: (&'a Outgoing, &'a Site),
    (method, session): (&'a Method, Option<&'a Session>),
    body: Bytes,
    step: Step,
) -> Answering<'a> {
    Box::pin(answered(entry, reached, (method, session), body, step))
}

async fn answered(
    entry: &Entry,
    (out, site): (&Outgoing, &Site),
    (method, session): (&Method, Option<&Session>),
    body: Bytes,
    step: Step,
) -> Result<Response<ResponseBody>, Fault> {
    if method != Method::POST {
        // It has no streams of its own, and no sessions.
        return Ok(reply(StatusCode::METHOD_NOT_ALLOWED, String::new()));
    }
    let (id, asked, params) = match Message::parse(&body) {
        Ok(Message::Request { id, method, params }) => (id.get().to_owned(), method.into_owned(), params),
        Ok(Message::Notification { .. } | Message::Response { .. }) => {
            return Ok(reply(StatusCode::ACCEPTED, String::new()));
        }
        Err(error) => return Err(Fault::protocol(step, error.to_string())),
    };
    let params = params.map_or("{}", |params| params.get());
    let era = match session {
        Some(session) => session.revision.era(),
        None => Era::Legacy,
    };
    let result = match asked.as_str() {
        // Both have deadlines that a document need not keep: it is fetched when it is needed.
        "initialize" => initialized(entry, params),
        "server/discover" => discovered(entry),
        "ping" => "{}".to_owned(),
        "tools/list" => listed(entry, out, &*document::loaded(entry, site).await?)?,
        "tools/call" => {
            let loaded = document::loaded(entry, site).await?;
            match call::call(entry, (out, site), &loaded, params, era).await? {
                Ok(result) => result,
                Err(error) => return Ok(failed(StatusCode::OK, &id, rpc::INVALID_PARAMS, &error)),
            }
        }
        _ => {
            let status = match era {
                Era::Legacy => StatusCode::OK,
                Era::Modern => StatusCode::NOT_FOUND,
            };
            return Ok(failed(status, &id, rpc::METHOD_NOT_FOUND, "Method not found"));
        }
    };
    let result = match era {
        // Results of calls are told apart there; a result that cannot be read would be an error of ours.
        Era::Modern if asked != "server/discover" => complete(result),
        _ => result,
    };
    Ok(reply(StatusCode::OK, rpc::response(&id, &result)))
}

fn complete(mut result: String) -> String {
    result.pop();
    let comma = if result.len() > 1 { "," } else { "" };
    result.push_str(comma);
    result.push_str(r#""resultType":"complete"}"#);
    result
}

fn server_info(entry: &Entry) -> String {
    let loaded = entry.described.document.current();
    let api = loaded.as_ref().map(|loaded| &loaded.api);
    let name = api
        .map(|api| api.title.as_str())
        .filter(|title| !title.is_empty());
    let version = api.map(|api| api.release.as_str()).unwrap_or_default();
    format!(
        r#"{{"name":{},"version":{}}}"#,
        edit::string(name.unwrap_or(&entry.prefix)),
        edit::string(version)
    )
}

fn initialized(entry: &Entry, params: &str) -> String {
    let wanted = RawObject::parse(params)
        .ok()
        .and_then(|params| params.get_string("protocolVersion"));
    let revision = Revision::negotiate(wanted.as_deref().unwrap_or_default());
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{{"tools":{{}}}},"serverInfo":{}}}"#,
        revision.as_str(),
        server_info(entry)
    )
}

fn discovered(entry: &Entry) -> String {
    format!(
        r#"{{"resultType":"complete","supportedVersions":["{}"],"capabilities":{{"tools":{{}}}},"_meta":{{"{}":{}}},"ttlMs":0,"cacheScope":"public"}}"#,
        modern::VERSION.as_str(),
        modern::SERVER_INFO,
        server_info(entry)
    )
}

/// The tools. They are the same for everybody; that a newer document cannot be used is said where the server is judged.
fn listed(entry: &Entry, out: &Outgoing, loaded: &Loaded) -> Result<String, Fault> {
    if entry.own_fingerprint() == Some(out.fingerprint)
        && let Some(trouble) = entry.described.document.trouble()
    {
        return Err(trouble);
    }
    let tools = &loaded.tools;
    Ok(format!(r#"{{"tools":{tools},"cacheScope":"public"}}"#))
}

fn failed(status: StatusCode, id: &str, code: i64, message: &str) -> Response<ResponseBody> {
    reply(
        status,
        rpc::error_response(id, &rpc::error_object(code, message, None)),
    )
}

fn reply(status: StatusCode, body: String) -> Response<ResponseBody> {
    let is_empty = body.is_empty();
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    if !is_empty {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}
