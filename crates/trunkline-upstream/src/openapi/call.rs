//! One call: arguments to a request, the request to the API, the answer to a result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response};
use tokio::time::Instant;
use trunkline_mcp::Era;
use trunkline_mcp::edit::RawObject;
use trunkline_model::{OutcomeStatus, Step};
use trunkline_openapi::{Answer, KeyPlace, Operation, Request, error};
use url::Url;

use super::{Loaded, Site};
use crate::credential::Outgoing;
use crate::entry::Entry;
use crate::fault::{Fault, redacted};
use crate::http::{Target, first_bytes, read_body};
use crate::pool::ResponseBody;
use crate::route::Route;

/// Bytes that are read of an answer that is an error.
const MAX_ERROR: usize = 64 * 1024;
/// Headers that say something where there is no body.
const TELLING: [&str; 5] = [
    "location",
    "etag",
    "last-modified",
    "content-length",
    "retry-after",
];

/// The result of a call, JSON text; an inner error is one of the protocol.
pub(super) async fn call(
    entry: &Entry,
    (out, site): (&Outgoing, &Site),
    loaded: &Loaded,
    params: &str,
    era: Era,
) -> Result<Result<String, String>, Fault> {
    let unreadable = || "the parameters are no object, or have a key twice".to_owned();
    let Ok(params) = RawObject::parse(params) else {
        return Ok(Err(unreadable()));
    };
    let name = params.get_string("name").unwrap_or_default();
    let Some(operation) = loaded.api.operation(&name) else {
        return Ok(Err(format!("Unknown tool: {}", crate::fault::printable(&name))));
    };
    let arguments = params.get("arguments").filter(|arguments| *arguments != "null");
    // What the model can mend is said to the model.
    let request = if entry.server.load().definition.has_call_rules() {
        operation.request_by_own_names(arguments)
    } else {
        operation.request(arguments)
    };
    let request = match request {
        Ok(request) => request,
        Err(mistake) => return Ok(Ok(error(&mistake.to_string()))),
    };
    let base = match own_base(loaded, operation) {
        Ok(base) => base,
        Err(why) => return Ok(Ok(error(&why))),
    };
    let key = key_in_query(operation, site, out);
    let target = match target(&base, &request, key.as_deref(), &site.route) {
        Ok(target) => target,
        Err(why) => return Ok(Ok(error(&why))),
    };
    let headers = headers(operation, site, out, &request);
    send(entry, out, operation, (target, headers, request), era)
        .await
        .map(Ok)
}

async fn send(
    entry: &Entry,
    out: &Outgoing,
    operation: &Operation,
    (target, headers, request): (Target, HeaderMap, Request),
    era: Era,
) -> Result<String, Fault> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|error| Fault::new(OutcomeStatus::Internal, Step::Call, error.to_string()))?;
    let body = Bytes::from(request.body.map(|(_, bytes)| bytes).unwrap_or_default());
    let safe = matches!(method, Method::GET | Method::HEAD);
    // What changes something is not sent a second time, unless it is certain that it was not done the first time.
    let follows = move |status: u16| match status {
        301 | 302 => safe,
        307 | 308 => true,
        _ => false,
    };
    let http = entry.shared.http();
    let mut watch = Watch::begin(entry, out);
    let sent = http.send_following(&method, &target, || headers.clone(), body, (Step::Call, &follows));
    let (response, _) = match sent.await {
        Ok(sent) => sent,
        Err(fault) => {
            let fault = fault.without(out.secrets());
            watch.end(Some(fault.clone()));
            return Err(fault);
        }
    };
    watch.end(trouble(entry, operation, &response));
    let status = response.status();
    let kept: Vec<(&str, String)> = TELLING
        .into_iter()
        .filter_map(|name| Some((name, response.headers().get(name)?.to_str().ok()?.to_owned())))
        .collect();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let most = entry.shared.settings().max_message_bytes;
    let body = if status.is_success() {
        read_body(response, most, Step::Call).await?
    } else {
        first_bytes(response, MAX_ERROR).await
    };
    let telling: Vec<(&str, &str)> = kept.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut uri = target.url.clone();
    uri.set_query(None);
    let answer = Answer {
        status: status.as_u16(),
        content_type: &content_type,
        body: &body,
        headers: &telling,
        uri: uri.as_str(),
        any_structure: era == Era::Modern,
    };
    let secrets: Vec<&str> = out.secrets().collect();
    Ok(operation.result(&answer, |text| redacted(text, &secrets)))
}

/// Notes how the API was used with the server's own credential; also when nobody waited for the answer to its end, if that
/// was as long as a call may take.
struct Watch<'a> {
    entry: &'a Entry,
    own: bool,
    began: Instant,
    ended: bool,
}

impl<'a> Watch<'a> {
    fn begin(entry: &'a Entry, out: &Outgoing) -> Self {
        Self {
            entry,
            own: entry.own_fingerprint() == Some(out.fingerprint),
            began: Instant::now(),
            ended: false,
        }
    }

    fn end(&mut self, fault: Option<Fault>) {
        self.ended = true;
        if !self.own {
            return;
        }
        let used = &self.entry.described.used;
        match fault {
            None => used.well(),
            Some(fault) => used.badly(fault, self.entry.shared.clock.now(), self.began.elapsed()),
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let own = self.entry.server.load().definition.timeout;
        let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let allowed = own.unwrap_or(self.entry.shared.settings().call_timeout);
        let waited = self.began.elapsed();
        if waited + Duration::from_millis(100) >= allowed {
            let fault = Fault::timeout(Step::Call, waited).hint("the API is slow or hangs");
            self.end(Some(fault));
        }
    }
}

/// What an answer says about the server, rather than about this call.
fn trouble(entry: &Entry, operation: &Operation, response: &Response<ResponseBody>) -> Option<Fault> {
    let status = response.status();
    if !matches!(status.as_u16(), 401 | 403 | 502..=504) {
        return None;
    }
    let mut fault = Fault::http(&entry.server.load(), Step::Call, status, "");
    fault.message = format!(
        "{} ({} answered HTTP {})",
        fault.message,
        operation.name,
        status.as_u16()
    );
    let wants = || {
        let loaded = entry.described.document().current()?;
        loaded.api.wants.clone()
    };
    if let (401, Some(wants)) = (status.as_u16(), wants()) {
        let hint = fault.hint.take().unwrap_or_default();
        fault.hint = Some(format!("{hint}; the document asks for {wants}"));
    }
    Some(fault)
}

/// Where this operation is: an address of its own in the document counts where the server has no `url`, and within the origin.
fn own_base(loaded: &Loaded, operation: &Operation) -> Result<Url, String> {
    // A server that is declared somewhere else than the document says is there with all of its operations.
    let Some(own) = operation.own_server().filter(|_| !loaded.moved) else {
        return Ok(loaded.base.clone());
    };
    let joined = loaded
        .base
        .join(own)
        .map_err(|_| "the address of this operation cannot be read".to_owned())?;
    if joined.origin() == loaded.base.origin() {
        return Ok(joined);
    }
    Err(format!(
        "this operation is at {}, another origin than the rest of the API: register it as a server of its own",
        joined.origin().ascii_serialization()
    ))
}

/// The address of a request. It is taken apart again: what is sent is below the address of the API, as the plan has it.
fn target(base: &Url, request: &Request, key: Option<&str>, route: &Arc<Route>) -> Result<Target, String> {
    let path = format!("{}{}", base.path().trim_end_matches('/'), request.path);
    let mut url = base.clone();
    url.set_path(&path);
    let queries = [base.query(), request.query.as_deref(), key];
    let query: Vec<&str> = queries
        .into_iter()
        .flatten()
        .filter(|query| !query.is_empty())
        .collect();
    url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
    if url.path() != path {
        return Err("the arguments would lead out of the path of this tool".to_owned());
    }
    Target::new(url, route).map_err(|fault| fault.message)
}

/// The API key where it is neither in the header that `auth_type` names, nor set another way.
fn own_key<'s>(
    operation: &Operation,
    site: &'s Site,
    out: &Outgoing,
) -> Option<(KeyPlace, &'s HeaderName, &'s str)> {
    let (name, value) = site.key.as_ref()?;
    // `static_headers` and the client's own headers come before it.
    if out.headers.get(name) != Some(value) {
        return None;
    }
    Some((operation.key.clone()?, name, value.to_str().ok()?))
}

fn key_in_query(operation: &Operation, site: &Site, out: &Outgoing) -> Option<String> {
    match own_key(operation, site, out)? {
        (KeyPlace::Query(name), _, value) => Some(trunkline_openapi::pair(&name, value)),
        _ => None,
    }
}

/// The headers: those of the arguments, those of the credential over them, and what the body says.
fn headers(operation: &Operation, site: &Site, out: &Outgoing, request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(out.headers.len() + request.headers.len() + 4);
    for (name, value) in &request.headers {
        // Checked when the document and the arguments were read.
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.insert(name, value);
        }
    }
    for (name, value) in &out.headers {
        if !matches!(*name, ACCEPT | CONTENT_TYPE) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let mut cookies: Vec<String> = Vec::new();
    if let Some(cookie) = headers.get(COOKIE).and_then(|value| value.to_str().ok()) {
        cookies.push(cookie.to_owned());
    }
    cookies.extend(request.cookie.clone());
    if let Some((place, name, value)) = own_key(operation, site, out) {
        let own = match &place {
            KeyPlace::Header(wanted) => wanted == name.as_str(),
            KeyPlace::Query(_) | KeyPlace::Cookie(_) => false,
        };
        if !own {
            headers.remove(name);
        }
        match place {
            KeyPlace::Header(wanted) => {
                if let (Ok(name), Ok(mut value)) =
                    (HeaderName::try_from(wanted), HeaderValue::from_str(value))
                {
                    value.set_sensitive(true);
                    // A header of this name that was set on purpose stays; an argument's does not.
                    if own || !out.headers.contains_key(&name) {
                        headers.insert(name, value);
                    }
                }
            }
            KeyPlace::Cookie(name) => cookies.push(trunkline_openapi::pair(&name, value)),
            KeyPlace::Query(_) => {}
        }
    }
    if !cookies.is_empty()
        && let Ok(mut value) = HeaderValue::from_str(&cookies.join("; "))
    {
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&operation.accept) {
        headers.insert(ACCEPT, value);
    }
    if let Some((media, _)) = &request.body
        && let Ok(value) = HeaderValue::from_str(media)
    {
        headers.insert(CONTENT_TYPE, value);
    }
    headers
}
