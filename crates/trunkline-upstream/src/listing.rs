//! `tools/list` over all pages, bounded against servers that never end (B14, S38).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use trunkline_mcp::edit;
use trunkline_mcp::tool::{RejectedTool, Tool, ToolPage};
use trunkline_model::Step;

use crate::catalogue::Catalogue;
use crate::credential::Outgoing;
use crate::entry::{Ask, Entry, rpc_fault};
use crate::exchange::{Deadline, Frame};
use crate::fault::{Fault, printable};

/// How often one cursor is followed: a server that repeats one by mistake may have more behind it, one that repeats it
/// for ever has not.
const MAX_VISITS: u8 = 2;
/// Tools of one server.
const MAX_TOOLS: usize = 10_000;
/// Bytes of one server's definitions.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Lists all tools of a server. What the server says in a failure is without what it was sent.
pub(crate) async fn list_tools(
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    allowed: Duration,
) -> Result<Catalogue, Fault> {
    list_pages(entry, out, allowed)
        .await
        .map_err(|fault| fault.without(out.secrets()))
}

async fn list_pages(entry: &Arc<Entry>, out: &Arc<Outgoing>, allowed: Duration) -> Result<Catalogue, Fault> {
    let deadline = Deadline::after(allowed);
    let mut pages = Pages::new(entry.shared.settings.list_max_pages);
    let mut cursor: Option<String> = None;
    loop {
        let params = cursor
            .as_deref()
            .map(|cursor| format!(r#"{{"cursor":{}}}"#, edit::string(cursor)));
        let ask = Ask {
            client: None,
            method: "tools/list",
            params: params.as_deref(),
            progress: None,
        };
        let mut exchange = entry.request(out, ask, deadline).await?;
        let result = loop {
            match exchange.next().await? {
                Frame::Notification { .. } => {}
                Frame::Result(result) => break result,
                Frame::Error(error) => return Err(rpc_fault(Step::List, &error)),
            }
        };
        let session = exchange.session().clone();
        cursor = pages.add(&entry.prefix, result)?;
        if cursor.is_none() {
            return Ok(pages.finish(
                session.server_info.clone(),
                session.instructions.clone(),
                Some(session.revision.as_str().to_owned()),
                entry.shared.clock.now(),
            ));
        }
    }
}

struct Pages {
    tools: Vec<Tool>,
    by_name: HashMap<String, usize>,
    rejected: Vec<RejectedTool>,
    /// How often each was followed.
    cursors: HashMap<String, u8>,
    count: usize,
    bytes: usize,
    /// Pages of one listing.
    max: usize,
}

impl Pages {
    fn new(max: usize) -> Self {
        Self {
            tools: Vec::new(),
            by_name: HashMap::new(),
            rejected: Vec::new(),
            cursors: HashMap::new(),
            count: 0,
            bytes: 0,
            max,
        }
    }

    /// Takes a page in; the cursor of the next one, unless it was followed too often.
    fn add(&mut self, prefix: &str, result: String) -> Result<Option<String>, Fault> {
        self.count += 1;
        self.bytes += result.len();
        let raw: Box<RawValue> = RawValue::from_string(result)
            .map_err(|error| Fault::protocol(Step::List, printable(&error.to_string())))?;
        let page = ToolPage::parse(&raw).map_err(|error| {
            Fault::protocol(
                Step::List,
                format!(
                    "the tools/list result cannot be read: {}",
                    printable(&error.to_string())
                ),
            )
        })?;
        self.rejected.extend(page.rejected);
        for tool in page.tools {
            if !tool.is_rewritable() {
                self.rejected.push(RejectedTool {
                    name: Some(tool.name),
                    reason: "the definition has a key twice",
                });
            } else if !self.by_name.contains_key(&tool.name) {
                // A name that comes again, in a page that comes again, is listed once.
                self.by_name.insert(tool.name.clone(), self.tools.len());
                self.tools.push(tool);
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
        if (more && self.count >= self.max) || self.tools.len() > MAX_TOOLS || self.bytes > MAX_BYTES {
            return Err(Fault::protocol(
                Step::List,
                format!(
                    "the tool list does not end: {} tools on {} pages so far",
                    self.tools.len(),
                    self.count
                ),
            ));
        }
        Ok(())
    }

    fn finish(
        self,
        server_info: Option<String>,
        instructions: Option<String>,
        revision: Option<String>,
        fetched_at: jiff::Timestamp,
    ) -> Catalogue {
        Catalogue {
            tools: self.tools,
            by_name: self.by_name,
            rejected: self.rejected,
            server_info,
            instructions,
            revision,
            fetched_at,
        }
    }
}

impl Catalogue {
    /// A catalogue from the database: `tools` is a JSON array of definitions.
    pub(crate) fn stored(
        tools: &str,
        server_info: Option<String>,
        instructions: Option<String>,
        revision: Option<String>,
        fetched_at: jiff::Timestamp,
    ) -> Option<Self> {
        let mut pages = Pages::new(1);
        pages.add("", format!(r#"{{"tools":{tools}}}"#)).ok()?;
        Some(pages.finish(server_info, instructions, revision, fetched_at))
    }
}
