//! The document of an HTTP API: fetched or read when it is needed first, looked at again when it is old, and kept when its
//! successor cannot be used.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, USER_AGENT,
};
use http::{Method, StatusCode};
use tokio::time::Instant;
use trunkline_mcp::{Era, ListKind};
use trunkline_model::{OutcomeStatus, Step, count};
use trunkline_openapi::{Api, MAX_BYTES, Mistake};
use url::Url;

use super::{Place, Site, supplied};
use crate::credential::{Outgoing, Reach, web_address};
use crate::entry::Entry;
use crate::fault::{Fault, printable};
use crate::http::{Target, read_body, status_fault};

/// Between looks at a file.
const FILE_EVERY: Duration = Duration::from_secs(2);
/// Between looks at a document on the web.
const WEB_EVERY: Duration = Duration::from_mins(5);
/// The same after a look that went wrong.
const WEB_AGAIN: Duration = Duration::from_secs(30);
/// Time for fetching a document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// A document in use.
pub(crate) struct Loaded {
    /// What it says.
    pub(crate) api: Api,
    /// The definitions of its tools, a JSON array.
    pub(crate) tools: String,
    /// Where the API is.
    pub(crate) base: Url,
    /// The operator says where; what the document says of it does not count.
    pub(crate) moved: bool,
    print: [u8; 16],
    stamp: Stamp,
}

/// The text of a document, not read yet.
pub(crate) struct Text {
    bytes: Vec<u8>,
    stamp: Stamp,
}

impl Text {
    /// How long it is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// How a later document is told from this one without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
    file: Option<(SystemTime, u64)>,
}

/// The document that is kept, and what became of the last look.
#[derive(Default)]
pub(crate) struct Kept {
    current: ArcSwapOption<Loaded>,
    /// Held while looking, so that it happens once however many wait.
    looking: tokio::sync::Mutex<()>,
    refreshing: AtomicBool,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    looked: Option<Instant>,
    trouble: Option<Fault>,
}

impl Kept {
    pub(crate) fn current(&self) -> Option<Arc<Loaded>> {
        self.current.load_full()
    }

    /// Why the document that is there now is not the one in use.
    pub(crate) fn trouble(&self) -> Option<Fault> {
        self.last().trouble.clone()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a look; whether what is known of the server's health changed by it.
    fn looked(&self, trouble: Option<Fault>) -> bool {
        let mut last = self.last();
        last.looked = Some(Instant::now());
        let changed = last.trouble != trouble;
        last.trouble = trouble;
        changed
    }

    fn is_due(&self, place: &Place) -> bool {
        let last = self.last();
        let every = match place {
            Place::File(_) => FILE_EVERY,
            Place::Web(_) if last.trouble.is_some() || self.current.load().is_none() => WEB_AGAIN,
            Place::Web(_) => WEB_EVERY,
            Place::Declared => return false,
        };
        // What nobody has asked for yet is not looked at.
        last.looked.is_some_and(|at| at.elapsed() >= every)
    }
}

/// The document in use; fetched or read if there is none yet. In a task: a large document may take longer than the first who
/// wants it can wait, and the next one must not begin anew.
pub(super) async fn loaded(entry: &Entry, site: &Site) -> Result<Arc<Loaded>, Fault> {
    if let Some(loaded) = entry.described.document().current() {
        return Ok(loaded);
    }
    let (Ok(me), Some(own)) = (entry.myself(), entry.own().cloned()) else {
        return load(entry, site).await;
    };
    let loading = entry.tasks.spawn(async move {
        match &own.reach {
            Reach::OpenApi(site) => load(&me, site).await,
            _ => Err(Fault::misconfigured("the server has no OpenAPI document")),
        }
    });
    loading.await.unwrap_or_else(|error| {
        Err(Fault::new(
            OutcomeStatus::Internal,
            Step::Document,
            error.to_string(),
        ))
    })
}

async fn load(entry: &Entry, site: &Site) -> Result<Arc<Loaded>, Fault> {
    let kept = entry.described.document();
    if let Some(loaded) = kept.current() {
        return Ok(loaded);
    }
    let _looking = kept.looking.lock().await;
    if let Some(loaded) = kept.current() {
        return Ok(loaded);
    }
    let looked = look(entry, site, None).await;
    match looked {
        Ok(Some(loaded)) => {
            kept.looked(None);
            let loaded = Arc::new(loaded);
            kept.current.store(Some(loaded.clone()));
            log(entry, site, &loaded);
            Ok(loaded)
        }
        // Nothing was there that it could be the same as.
        Ok(None) => Err(Fault::protocol(
            Step::Document,
            "the document is not sent: HTTP 304",
        )),
        Err(fault) => {
            kept.looked(Some(fault.clone()));
            Err(fault)
        }
    }
}

/// Looks at the document again if it is old enough. Called every second.
pub(crate) fn refresh(entry: &Arc<Entry>, out: &Arc<Outgoing>) {
    let Reach::OpenApi(site) = &out.reach else { return };
    let kept = entry.described.document();
    if !kept.is_due(&site.place) || kept.refreshing.swap(true, Ordering::AcqRel) {
        return;
    }
    let (entry, out) = (entry.clone(), out.clone());
    entry.tasks.clone().spawn(async move {
        let changed = look_again(&entry, &out).await;
        entry
            .described
            .document()
            .refreshing
            .store(false, Ordering::Release);
        if changed && !entry.retired.load(Ordering::Relaxed) {
            for era in [Era::Legacy, Era::Modern] {
                let (slot, out) = entry.list_of((ListKind::Tools, era), out.clone());
                slot.announce(&entry, &out);
            }
        }
    });
}

/// Whether tools or health may have changed.
async fn look_again(entry: &Entry, out: &Outgoing) -> bool {
    let Reach::OpenApi(site) = &out.reach else {
        return false;
    };
    let kept = entry.described.document();
    let _looking = kept.looking.lock().await;
    let before = kept.current();
    match look(entry, site, before.as_deref()).await {
        Ok(None) => kept.looked(None),
        Ok(Some(loaded)) => {
            let same = before.is_some_and(|before| {
                before.tools == loaded.tools && before.api.left_out == loaded.api.left_out
            });
            let loaded = Arc::new(loaded);
            kept.current.store(Some(loaded.clone()));
            let recovered = kept.looked(None);
            if !same {
                log(entry, site, &loaded);
            }
            recovered || !same
        }
        Err(fault) => {
            let fault = if before.is_some() { kept_on(fault) } else { fault };
            let changed = kept.looked(Some(fault.clone()));
            if changed {
                tracing::warn!(server = %entry.prefix, document = %site.describe(), %fault, "the document cannot be used");
            }
            changed
        }
    }
}

/// The same fault of a server whose tools are served on from the last good document.
fn kept_on(fault: Fault) -> Fault {
    // Where the document is refused, the API need not be.
    let status = match fault.status {
        OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden | OutcomeStatus::Misconfigured => {
            OutcomeStatus::ProtocolError
        }
        other => other,
    };
    Fault {
        status,
        message: format!(
            "{}; the tools of the last good document are served on",
            fault.message
        ),
        ..fault
    }
}

fn log(entry: &Entry, site: &Site, loaded: &Loaded) {
    tracing::info!(
        server = %entry.prefix,
        document = %site.describe(),
        operations = loaded.api.total,
        tools = loaded.api.operations().len(),
        left_out = loaded.api.left_out.len(),
        filtered = loaded.api.filtered,
        "OpenAPI document read"
    );
}

/// Looks at the document: `None` if it is the same as before.
async fn look(entry: &Entry, site: &Site, before: Option<&Loaded>) -> Result<Option<Loaded>, Fault> {
    let Some(text) = fetch(entry, site, before).await? else {
        return Ok(None);
    };
    if before.is_some_and(|before| before.print == print(entry, &text)) {
        return Ok(None);
    }
    parse(entry, site, text, before).await.map(Some)
}

fn print(entry: &Entry, text: &Text) -> [u8; 16] {
    entry.shared.vault.fingerprint(&[b"document", &text.bytes])
}

/// The text of the document.
pub(crate) async fn fetched(entry: &Entry, site: &Site) -> Result<Text, Fault> {
    let found = fetch(entry, site, None).await?;
    found.ok_or_else(|| Fault::protocol(Step::Document, "the document is not sent: HTTP 304"))
}

/// Reads the text, and has it used.
pub(crate) async fn taken(entry: &Entry, site: &Site, text: Text) -> Result<Arc<Loaded>, Fault> {
    let loaded = Arc::new(parse(entry, site, text, None).await?);
    entry.described.document().current.store(Some(loaded.clone()));
    Ok(loaded)
}

async fn fetch(entry: &Entry, site: &Site, before: Option<&Loaded>) -> Result<Option<Text>, Fault> {
    match &site.place {
        Place::Declared => Ok(Some(Text {
            bytes: Vec::new(),
            stamp: Stamp::default(),
        })),
        Place::File(path) => read_file(path, before).await,
        Place::Web(target) => {
            let fetched = fetch_web(entry, site, target, before);
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetched).await;
            let found = fetched.unwrap_or_else(|_| {
                Err(Fault::timeout(Step::Document, FETCH_TIMEOUT)
                    .hint("the document comes too slowly, or not at all"))
            });
            found.map_err(|fault| match entry.own() {
                Some(own) => fault.without(own.secrets()),
                None => fault,
            })
        }
    }
}

async fn read_file(path: &Path, before: Option<&Loaded>) -> Result<Option<Text>, Fault> {
    let fail = |error: std::io::Error| {
        Fault::new(
            OutcomeStatus::Misconfigured,
            Step::Document,
            format!("the document {} cannot be read: {error}", path.display()),
        )
        .hint("check spec_path: a path is relative to the configuration file")
    };
    let metadata = tokio::fs::metadata(path).await.map_err(fail)?;
    if !metadata.is_file() {
        return Err(fail(std::io::Error::other("it is no file")));
    }
    let file = metadata.modified().ok().map(|at| (at, metadata.len()));
    if file.is_some() && before.is_some_and(|before| before.stamp.file == file) {
        return Ok(None);
    }
    if metadata.len() > MAX_BYTES as u64 {
        return Err(fail(std::io::Error::other(format!(
            "it is larger than {} MiB",
            MAX_BYTES / 1024 / 1024
        ))));
    }
    let bytes = tokio::fs::read(path).await.map_err(fail)?;
    let stamp = Stamp {
        file,
        ..Stamp::default()
    };
    Ok(Some(Text { bytes, stamp }))
}

async fn fetch_web(
    entry: &Entry,
    site: &Site,
    target: &Target,
    before: Option<&Loaded>,
) -> Result<Option<Text>, Fault> {
    let with_credential = site
        .base
        .as_ref()
        .is_some_and(|base| base.origin() == target.url.origin());
    let headers = || {
        // The credential is for the API; where the document is somewhere else, it is nobody's there.
        let mut headers = match entry.own().filter(|_| with_credential) {
            Some(own) => own.headers.clone(),
            None => HeaderMap::new(),
        };
        headers.remove(CONTENT_TYPE);
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/yaml;q=0.9, */*;q=0.5"),
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(stamp) = before.map(|before| &before.stamp) {
            let known: [(HeaderName, &Option<HeaderValue>); 2] =
                [(IF_NONE_MATCH, &stamp.etag), (IF_MODIFIED_SINCE, &stamp.modified)];
            for (name, value) in known {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
        }
        headers
    };
    let http = entry.shared.http();
    let sent = http.send(&Method::GET, target, headers, Bytes::new(), Step::Document);
    let (response, _) = sent.await.map_err(|fault| match fault.http_status {
        Some(300..400) => fault.hint("if it is the right place, set spec_path to that address"),
        _ => fault,
    })?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if before.is_some() => return Ok(None),
        _ => {
            return Err(refused(
                status_fault(&entry.server.load(), Step::Document, response).await,
                with_credential,
            ));
        }
    }
    let header = |name: HeaderName| response.headers().get(name).cloned();
    let stamp = Stamp {
        etag: header(ETAG),
        modified: header(LAST_MODIFIED),
        file: None,
    };
    let bytes = read_body(response, MAX_BYTES, Step::Document).await?.to_vec();
    Ok(Some(Text { bytes, stamp }))
}

/// The document is not given out.
fn refused(fault: Fault, with_credential: bool) -> Fault {
    let hint = match fault.status {
        OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden if with_credential => {
            "the document is not given out for this credential: check it"
        }
        OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden => {
            "the document is given out with a credential only, and one is sent to the origin of `url` alone: set url to the API's address"
        }
        OutcomeStatus::Misconfigured => "check spec_path: there is no document",
        OutcomeStatus::ProtocolError => "check spec_path",
        _ => return fault,
    };
    fault.hint(hint)
}

/// Reads a text. Elsewhere than where requests are answered: it may take seconds.
async fn parse(entry: &Entry, site: &Site, text: Text, before: Option<&Loaded>) -> Result<Loaded, Fault> {
    let print = print(entry, &text);
    let (server, declared) = (entry.server.load_full(), matches!(site.place, Place::Declared));
    let Text { bytes, stamp } = text;
    let read = tokio::task::spawn_blocking(move || {
        let definition = &server.definition;
        let (filter, supplied) = (&definition.openapi, supplied(definition));
        let api = match definition.spec.as_ref().filter(|_| declared) {
            Some(spec) => trunkline_openapi::read_value(spec.clone().into(), filter, &supplied)?,
            None => trunkline_openapi::read(&bytes, filter, &supplied)?,
        };
        let tools = api.tools();
        Ok::<_, Mistake>((api, tools))
    });
    let read = read.await.map_err(|_| {
        Fault::new(
            OutcomeStatus::Internal,
            Step::Parse,
            "the document was not read to its end",
        )
    })?;
    let (api, tools) = read.map_err(|mistake| {
        Fault::new(
            OutcomeStatus::ProtocolError,
            Step::Parse,
            format!(
                "the document {}: {}",
                site.describe(),
                printable(&mistake.to_string())
            ),
        )
        .hint("mend the document at the place that is named, or set spec_path to another one")
    })?;
    let base = base(site, &api)?;
    if let Some(before) = before
        && site.base.is_none()
        && before.base.origin() != base.origin()
    {
        // A document that changes must not take the credential elsewhere.
        return Err(Fault::new(
            OutcomeStatus::ProtocolError,
            Step::Parse,
            format!(
                "the document names another server than before: {}",
                base.origin().ascii_serialization()
            ),
        )
        .hint("if that is right, set url to its address"));
    }
    Ok(Loaded {
        api,
        tools,
        base,
        moved: site.base.is_some(),
        print,
        stamp,
    })
}

/// Where the API is: `url`, else what the document says, which may be relative to where it is.
fn base(site: &Site, api: &Api) -> Result<Url, Fault> {
    if let Some(base) = &site.base {
        return Ok(base.clone());
    }
    let unknown = |text: &str| {
        let fault = Fault::new(OutcomeStatus::Misconfigured, Step::Parse, text);
        fault.hint("set url to the address of the API")
    };
    let here = site.document_url();
    let text = match (api.server.as_deref(), here) {
        (Some(text), _) => text,
        (None, Some(_)) => "/",
        (None, None) => return Err(unknown("the document does not say where the API is")),
    };
    let joined = match here {
        Some(here) => here.join(text).ok(),
        None => Url::parse(text).ok(),
    };
    let Some(url) = joined else {
        return Err(unknown("the document says only a path of where the API is"));
    };
    let mut checked = web_address("address of the API in the document", url.as_str())?;
    checked.set_fragment(None);
    Ok(checked)
}

impl Loaded {
    /// Counts for people.
    pub(crate) fn describe(&self) -> String {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let api = &self.api;
        let mut text = format!(
            "{}, {}, {}",
            api.version.as_str(),
            count(api.total, "operation"),
            count(api.operations().len(), "tool")
        );
        if api.filtered > 0 {
            let _ = write!(text, ", {} left out by `openapi`", api.filtered);
        }
        if !api.left_out.is_empty() {
            let _ = write!(text, ", {} left out with reasons", api.left_out.len());
        }
        let place = self.base.origin().ascii_serialization();
        let _ = write!(text, "; the API is at {place}{}", self.base.path());
        text
    }
}
