//! Pages of tools: every tool has a name that can be exposed, and is otherwise what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::name;
use trunkline_mcp::tool::ToolPage;

fuzz_target!(|text: &str| {
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    let Ok(page) = ToolPage::parse(raw) else { return };
    for tool in page.tools {
        let exposed = name::exposed("server", &tool.name);
        assert!(name::is_legal(&exposed));
        if tool.is_rewritable() {
            let renamed = tool.renamed(&exposed);
            let renamed = RawObject::parse(&renamed).expect("a definition stays an object");
            assert_eq!(renamed.get_string("name").as_deref(), Some(&*exposed));
            let own = RawObject::parse(tool.raw.get()).expect("it is rewritable");
            for key in own.keys().filter(|key| *key != "name") {
                assert_eq!(own.get(key), renamed.get(key));
            }
        }
    }
});
