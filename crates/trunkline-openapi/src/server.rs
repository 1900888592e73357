//! Where the API is, as the document says it.

use serde_json::Value;

use crate::document::{Document, Version};

/// The first address of `servers`, its variables filled with their defaults.
pub(crate) fn first(holder: &Value) -> Option<String> {
    let server = holder.get("servers")?.as_array()?.first()?;
    let mut url = server.get("url")?.as_str()?.to_owned();
    for (name, variable) in server
        .get("variables")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .take(50)
    {
        let default = variable
            .get("default")
            .and_then(Value::as_str)
            .unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    (url.len() <= 2048).then_some(url)
}

/// The address of the whole document; it may be relative to where the document is.
pub(crate) fn of(document: &Document) -> Option<String> {
    if document.version != Version::Swagger2 {
        return first(&document.root);
    }
    let text = |key: &str| document.root.get(key).and_then(Value::as_str);
    let base = text("basePath").unwrap_or("/");
    let Some(host) = text("host") else {
        return text("basePath").map(ToOwned::to_owned);
    };
    let schemes = document.root.get("schemes").and_then(Value::as_array);
    let schemes: Vec<&str> = schemes.into_iter().flatten().filter_map(Value::as_str).collect();
    let scheme = if schemes.contains(&"https") || !schemes.contains(&"http") {
        "https"
    } else {
        "http"
    };
    Some(format!("{scheme}://{host}{base}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses() {
        for (root, expected) in [
            (
                json!({"openapi": "3.0.0", "servers": [{"url": "https://{region}.x/v{n}", "variables": {"region": {"default": "eu"}, "n": {"default": "1"}}}, {"url": "/b"}]}),
                Some("https://eu.x/v1"),
            ),
            (
                json!({"openapi": "3.0.0", "servers": [{"url": "/v1"}]}),
                Some("/v1"),
            ),
            (json!({"openapi": "3.0.0", "servers": []}), None),
            (
                json!({"swagger": "2.0", "host": "x:8", "basePath": "/a", "schemes": ["http"]}),
                Some("http://x:8/a"),
            ),
            (
                json!({"swagger": "2.0", "host": "x", "schemes": ["http", "https"]}),
                Some("https://x/"),
            ),
            (json!({"swagger": "2.0", "basePath": "/a"}), Some("/a")),
            (json!({"swagger": "2.0"}), None),
        ] {
            assert_eq!(
                of(&Document::new(root.clone()).unwrap()).as_deref(),
                expected,
                "{root}"
            );
        }
    }
}
