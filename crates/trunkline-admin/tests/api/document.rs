//! `docs/openapi.json` is what the code says.

use std::path::Path;

#[test]
fn the_committed_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let mut document = trunkline_admin::openapi().to_pretty_json().unwrap();
    document.push('\n');
    if std::env::var_os("TRUNKLINE_UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == document,
        "docs/openapi.json is out of date: run `TRUNKLINE_UPDATE_OPENAPI=1 cargo test -p trunkline-admin --test api` and commit it"
    );
}

#[test]
fn every_operation_says_what_it_needs_and_how_it_fails() {
    let document = serde_json::to_value(trunkline_admin::openapi()).unwrap();
    let mut public = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let security = operation["security"].as_array().unwrap();
            if security.iter().all(|way| way.as_object().unwrap().is_empty()) {
                public.push(path.as_str());
            } else {
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
        }
    }
    assert_eq!(public, ["/health/liveliness", "/health/readiness"]);
}

#[test]
fn every_reference_is_there() {
    let document = serde_json::to_value(trunkline_admin::openapi()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name} is not in the document"
        );
    }
}
