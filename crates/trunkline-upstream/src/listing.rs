//! A server's lists over all pages, bounded against servers that never end (B14, S38).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::hidden::Removed;
use trunkline_mcp::list::{Item, Page, RejectedItem, Rules};
use trunkline_mcp::{Era, ListKind, rpc};
use trunkline_model::{Server, Step};

use crate::catalogue::{Catalogue, Names};
use crate::credential::Outgoing;
use crate::entry::{Ask, Entry, rpc_fault};
use crate::exchange::{Deadline, Frame};
use crate::fault::{Fault, printable};
use crate::pins::Pinning;
use crate::session::{Introduction, Session};
use crate::upstreams::Settings;

/// How often one cursor is followed: a server that repeats one by mistake may have more behind it, one that repeats it
/// for ever has not.
const MAX_VISITS: u8 = 2;
/// Items of one server's list.
const MAX_ITEMS: usize = 10_000;
/// Bytes of one server's definitions.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Lists one kind of a server's things. What the server says in a failure is without what it was sent.
pub(crate) async fn list_items(
    (kind, era): (ListKind, Era),
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    allowed: Duration,
) -> Result<Catalogue, Fault> {
    list_pages((kind, era), entry, out, allowed)
        .await
        .map_err(|fault| fault.without(out.secrets()))
}

async fn list_pages(
    (kind, era): (ListKind, Era),
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    allowed: Duration,
) -> Result<Catalogue, Fault> {
    let deadline = Deadline::after(allowed);
    let rules = rules(&entry.server.load(), &entry.shared.settings());
    let mut pages = Pages::new(kind, rules, entry.shared.settings().list_max_pages);
    let mut cursor: Option<String> = None;
    if kind != ListKind::Tools {
        // A server without the capability has nothing to list, and need not be asked. Tools are asked for all the same:
        // some servers have them and forget to say so.
        let session = entry.introduction(era, out).await?;
        if !session.introduction.capabilities.has(kind.capability()) {
            return Ok(pages.finish(&session, entry.shared.clock.now()));
        }
    }
    loop {
        let params = cursor
            .as_deref()
            .map(|cursor| format!(r#"{{"cursor":{}}}"#, edit::string(cursor)));
        let ask = Ask::list(kind, era, params.as_deref());
        let mut exchange = entry.request(out, &ask, deadline).await?;
        let answer = loop {
            match exchange.next().await? {
                Frame::Notification { .. } | Frame::Request { .. } => {}
                answer => break answer,
            }
        };
        let session = exchange.session().clone();
        let result = match answer {
            Frame::Error(error) if pages.count == 0 && has_no_list(kind, &session, &error) => {
                return Ok(pages.finish(&session, entry.shared.clock.now()));
            }
            Frame::Error(error) => return Err(rpc_fault(Step::List, &error)),
            Frame::Result(result) => result,
            Frame::Notification { .. } | Frame::Request { .. } => continue,
        };
        cursor = pages.add(&entry.prefix, result)?;
        if cursor.is_none() {
            if kind == ListKind::Tools {
                pages.rejected.extend(entry.described.left_out());
            }
            return Ok(pages.finish(&session, entry.shared.clock.now()));
        }
    }
}

/// Whether the error says that the server has no such list: templates come with the capability of resources, and not
/// every server that has the one knows the other's method; and a server without tools need not know theirs.
fn has_no_list(kind: ListKind, session: &Session, error: &str) -> bool {
    let code = RawObject::parse(error)
        .ok()
        .and_then(|error| error.get("code")?.parse::<i64>().ok());
    let declared = session.introduction.capabilities.has(kind.capability());
    code == Some(rpc::METHOD_NOT_FOUND) && (kind == ListKind::ResourceTemplates || !declared)
}

/// What is done with a server's definitions.
pub(crate) fn rules(server: &Server, settings: &Settings) -> Rules {
    Rules {
        schema_compat: server.definition.schema_compat,
        strip_hidden: settings.strip_hidden_text,
    }
}

struct Pages {
    kind: ListKind,
    rules: Rules,
    items: Vec<Item>,
    /// The names of these items.
    names: HashSet<String>,
    rejected: Vec<RejectedItem>,
    /// How often each was followed.
    cursors: HashMap<String, u8>,
    count: usize,
    bytes: usize,
    ttl_ms: Option<u64>,
    /// Every page is.
    public: bool,
    removed: Removed,
    hidden: Removed,
    /// Pages of one listing.
    max: usize,
}

impl Pages {
    fn new(kind: ListKind, rules: Rules, max: usize) -> Self {
        Self {
            kind,
            rules,
            items: Vec::new(),
            names: HashSet::new(),
            rejected: Vec::new(),
            cursors: HashMap::new(),
            count: 0,
            bytes: 0,
            ttl_ms: None,
            public: true,
            removed: Removed::default(),
            hidden: Removed::default(),
            max,
        }
    }

    /// Takes a page in; the cursor of the next one, unless it was followed too often.
    fn add(&mut self, prefix: &str, result: String) -> Result<Option<String>, Fault> {
        self.count += 1;
        self.bytes += result.len();
        let raw: Box<RawValue> = RawValue::from_string(result)
            .map_err(|error| Fault::protocol(Step::List, printable(&error.to_string())))?;
        let page = Page::parse(self.kind, &raw, self.rules).map_err(|error| {
            Fault::protocol(
                Step::List,
                format!(
                    "the {} result cannot be read: {}",
                    self.kind.method(),
                    printable(&error.to_string())
                ),
            )
        })?;
        self.rejected.extend(page.rejected);
        // The shortest time and the narrowest scope of all pages.
        self.ttl_ms = match (self.ttl_ms, page.ttl_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.public &= page.public;
        self.removed = self.removed.and(page.removed);
        self.hidden = self.hidden.and(page.hidden);
        for item in page.items {
            // A name that comes again, in a page that comes again, is listed once.
            if self.names.insert(item.name.clone()) {
                self.items.push(item);
            }
        }
        let Some(next) = page.next_cursor else {
            return self.bounded(false).map(|()| None);
        };
        self.bounded(true)?;
        let visits = self.cursors.entry(next.clone()).or_default();
        *visits += 1;
        if *visits <= MAX_VISITS {
            return Ok(Some(next));
        }
        tracing::warn!(server = %prefix, pages = self.count, "the server repeats a cursor; the list is taken as complete");
        Ok(None)
    }

    /// Whether the list stays within its bounds; `more`: another page is due.
    fn bounded(&self, more: bool) -> Result<(), Fault> {
        if (more && self.count >= self.max) || self.items.len() > MAX_ITEMS || self.bytes > MAX_BYTES {
            return Err(Fault::protocol(
                Step::List,
                format!(
                    "the list does not end: {} {} on {} pages so far",
                    self.items.len(),
                    self.kind.member(),
                    self.count
                ),
            ));
        }
        Ok(())
    }

    fn finish(self, session: &Session, fetched_at: jiff::Timestamp) -> Catalogue {
        let revision = Some(session.revision.as_str().to_owned());
        self.introduced(session.introduction.clone(), revision, fetched_at)
    }

    fn introduced(
        mut self,
        introduction: Introduction,
        revision: Option<String>,
        fetched_at: jiff::Timestamp,
    ) -> Catalogue {
        // It is kept for long.
        self.items.shrink_to_fit();
        Catalogue {
            kind: self.kind,
            names: Names::of(&self.items, |item| &item.name),
            wraps: self.items.iter().any(|item| item.wraps),
            items: self.items,
            rejected: self.rejected,
            introduction,
            ttl_ms: self.ttl_ms,
            // A list without pages is none that anybody said anything about.
            public: self.public && self.count > 0,
            removed: self.removed,
            hidden: self.hidden,
            pinning: Pinning::default(),
            revision,
            fetched_at,
        }
    }
}

impl Catalogue {
    /// A catalogue of tools from the database: `tools` is a JSON array of definitions.
    pub(crate) fn stored(
        tools: &str,
        rules: Rules,
        introduction: Introduction,
        revision: Option<String>,
        fetched_at: jiff::Timestamp,
    ) -> Option<Self> {
        let mut pages = Pages::new(ListKind::Tools, rules, 1);
        pages.add("", format!(r#"{{"tools":{tools}}}"#)).ok()?;
        Some(pages.introduced(introduction, revision, fetched_at))
    }
}
