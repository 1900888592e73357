//! The way to providers of models: the same client as to MCP servers, with the same rules of egress, proxies and TLS.
//!
//! Nothing is followed and nothing is tried again here: an answer that leads elsewhere is an answer, and whether a request may
//! be sent once more is for whoever knows what it is.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use trunkline_model::Step;
use url::Url;

use crate::Upstreams;
use crate::fault::Fault;
use crate::http::Target;
use crate::pool::ResponseBody;
use crate::route::Route;

/// Where requests go, made ready once.
pub fn target(url: &str) -> Result<Target, Fault> {
    let url = Url::parse(url).map_err(|error| Fault::misconfigured(format!("api_base: {error}")))?;
    Target::new(url, &Arc::new(Route::default()))
}

/// Something below an address, whose names are escaped. What the address has for a query stays in it.
pub fn target_below(url: &str, segments: &[String], query: Option<&str>) -> Result<Target, Fault> {
    let mut url = Url::parse(url).map_err(|error| Fault::misconfigured(format!("api_base: {error}")))?;
    url.path_segments_mut()
        .map_err(|()| Fault::misconfigured("api_base: it can have no path"))?
        .extend(segments);
    let own = url.query().filter(|own| !own.is_empty()).map(str::to_owned);
    let whole: Vec<&str> = own.as_deref().into_iter().chain(query).collect();
    url.set_query((!whole.is_empty()).then(|| whole.join("&")).as_deref());
    Target::new(url, &Arc::new(Route::default()))
}

/// Whether the provider may have seen something of the request that ended in this fault.
pub fn may_have_been_sent(fault: &Fault) -> bool {
    // What TLS says may come after the request: an alert in the middle of it reads like one at the start.
    !matches!(
        fault.step,
        Step::Configuration | Step::Dns | Step::Tcp | Step::Proxy
    )
}

impl Upstreams {
    /// Sends a body, and returns when the head of the answer is there, whatever it says. Dropping the answer's body before its
    /// end closes the connection, which is how a provider hears that nobody waits any more.
    pub async fn ask_provider(
        &self,
        (method, target): (&Method, &Target),
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, Fault> {
        let follows = &|_| false;
        let http = self.shared().http();
        let sent = http.send_following(method, target, || headers.clone(), body, (Step::Call, follows));
        sent.await.map(|(response, _)| response)
    }
}
