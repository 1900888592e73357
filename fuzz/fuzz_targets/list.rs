//! Pages of a server's four lists: read, renamed, and still what they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_mcp::list::{Page, Rules};
use trunkline_mcp::{ListKind, header, name, uri};

fuzz_target!(|text: &str| {
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return };
    for kind in ListKind::ALL {
        let Ok(page) = Page::parse(kind, raw, Rules { schema_compat: true, strip_hidden: true }) else { continue };
        for item in &page.items {
            let exposed = if kind.by_uri() {
                uri::qualified("server", &item.name)
            } else {
                name::exposed("server", &item.name)
            };
            let renamed = item.renamed(kind, &exposed);
            let renamed: Value = serde_json::from_str(&renamed).expect("what is renamed is JSON");
            assert_eq!(renamed[kind.key()], exposed.as_str());
            for param in &item.header_params {
                let _ = param.agrees(Some(header::encode(&item.name).as_bytes()), &renamed);
            }
        }
    }
});
