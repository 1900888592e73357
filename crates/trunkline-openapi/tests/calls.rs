//! Documents to tools, arguments to requests and back, answers to results: tables of small cases, and everything at random.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_model::{OpenApiFilter, OperationMatch};
use trunkline_openapi::{Answer, Api, Request, read_value};

fn api(document: Value) -> Api {
    read_value(document, &OpenApiFilter::default(), &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// A document with one operation.
fn one(path: &str, method: &str, operation: &Value) -> Api {
    api(
        json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {path: {method: operation}}}),
    )
}

fn tools(api: &Api) -> Value {
    serde_json::from_str(&api.tools()).unwrap()
}

fn request(api: &Api, arguments: &Value) -> Result<Request, String> {
    let operation = api
        .operations()
        .first()
        .unwrap_or_else(|| panic!("{:?}", api.left_out));
    operation
        .request(Some(&arguments.to_string()))
        .map_err(|error| error.to_string())
}

#[test]
fn s35_an_argument_has_one_name_in_one_call() {
    let api = one(
        "/a",
        "post",
        &json!({
            "operationId": "a",
            "parameters": [parameter("pet/id", "query")],
            "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {"m n": {}}}}}},
        }),
    );
    let operation = api.operations().first().unwrap();
    let query = |arguments: &Value| {
        let request = operation.request(Some(&arguments.to_string()));
        request.map(|own| own.query.unwrap_or_default())
    };
    let strict = |arguments: &Value| {
        let request = operation.request_by_own_names(Some(&arguments.to_string()));
        request.map(|own| own.query.unwrap_or_default())
    };
    let (own, other) = (json!({"pet_id": "1"}), json!({"pet/id": "1"}));
    assert_eq!(query(&own).unwrap(), "pet%2Fid=1");
    assert_eq!(query(&other).unwrap(), "pet%2Fid=1");
    assert_eq!(strict(&own).unwrap(), "pet%2Fid=1");
    assert!(strict(&other).is_err());
    assert!(strict(&json!({"pet_id": "1", "m n": 1})).is_err());
    for twice in [
        json!({"pet/id": "2", "pet_id": "1"}),
        json!({"pet_id": "1", "pet/id": "2"}),
        json!({"pet_id": "1", "m n": 1, "m_n": 2}),
        json!({"pet_id": "1", "m_n": 1, "m n": 2}),
    ] {
        assert!(query(&twice).is_err() && strict(&twice).is_err(), "{twice}");
    }
}

fn parameter(name: &str, place: &str) -> Value {
    json!({"name": name, "in": place, "schema": {"type": "string"}, "required": true})
}

/// Names and values of a query, decoded.
fn decoded(query: &str) -> Vec<(String, String)> {
    let text = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into_owned();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (text(key), text(value))).collect()
}

#[test]
fn b67_names_of_parameters_are_data() {
    let long = "n".repeat(200);
    let names = [
        "repository-id",
        "class",
        "__import__('os').system('id')",
        "${jndi:x}",
        "a b",
        "filter[name]",
        "ä",
        &long,
    ];
    let parameters: Vec<Value> = names.iter().map(|name| parameter(name, "query")).collect();
    let api = one(
        "/a",
        "get",
        &json!({"operationId": "odd", "parameters": parameters}),
    );
    let listed = tools(&api);
    let keys: Vec<&String> = listed[0]["inputSchema"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(keys.len(), names.len());
    for key in &keys {
        assert!((1..=64).contains(&key.len()), "{key}");
        assert!(
            key.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)),
            "{key}"
        );
    }
    let by_key: Value = keys
        .iter()
        .map(|key| ((*key).clone(), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let by_name: Value = names
        .iter()
        .map(|name| ((*name).to_owned(), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for arguments in [by_key, by_name] {
        let sent = request(&api, &arguments).unwrap();
        let mut sent: Vec<String> = decoded(&sent.query.unwrap())
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let mut expected: Vec<String> = names.iter().map(ToString::to_string).collect();
        sent.sort();
        expected.sort();
        assert_eq!(sent, expected);
    }
}

#[test]
fn names_that_meet_are_told_apart() {
    let operation = json!({"operationId": "meet", "parameters": [
        parameter("id", "path"), parameter("id", "query"), parameter("id", "header"), parameter("id", "cookie")],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object", "properties": {"id": {"type": "string"}}}}}}});
    let api = one("/a/{id}", "post", &operation);
    let listed = tools(&api);
    let keys: Vec<&String> = listed[0]["inputSchema"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(keys, ["id", "query_id", "header_id", "cookie_id", "body"]);
    let sent = request(
        &api,
        &json!({"id": "p", "query_id": "q", "header_id": "h", "cookie_id": "c", "body": {"id": "b"}}),
    )
    .unwrap();
    assert_eq!(sent.path, "/a/p");
    assert_eq!(sent.query.as_deref(), Some("id=q"));
    assert_eq!(sent.headers, [("id".to_owned(), "h".to_owned())]);
    assert_eq!(sent.cookie.as_deref(), Some("id=c"));
    assert_eq!(
        sent.body.unwrap(),
        ("application/json".to_owned(), br#"{"id":"b"}"#.to_vec())
    );
}

#[test]
fn b68_s24_nothing_leaves_its_place() {
    let path = one(
        "/pets/{id}/toys",
        "get",
        &json!({"parameters": [parameter("id", "path")]}),
    );
    for value in [
        "../../admin?x=1#",
        "..",
        ".",
        "a/../../b",
        "%2e%2e",
        "%2E%2E/admin",
        "..%2fadmin",
        "%252e%252e%252f",
        "..\\admin",
        "a\r\nX: 1",
        "a\0b",
        "%0d%0aX",
        "%00",
        "..;/admin",
        "",
    ] {
        let refused = request(&path, &json!({"id": value})).unwrap_err();
        assert!(refused.starts_with("id "), "{value:?}: {refused}");
    }
    for (value, sent) in [
        ("a/b", "/pets/a%2Fb/toys"),
        ("x?y=1#z", "/pets/x%3Fy%3D1%23z/toys"),
        ("a b;c", "/pets/a%20b%3Bc/toys"),
        ("...", "/pets/.../toys"),
        ("v1..v2", "/pets/v1..v2/toys"),
        ("ä", "/pets/%C3%A4/toys"),
        ("100%", "/pets/100%25/toys"),
    ] {
        assert_eq!(request(&path, &json!({"id": value})).unwrap().path, sent);
    }
    // Dots of two arguments that meet.
    let two = one(
        "/{a}{b}",
        "get",
        &json!({"parameters": [parameter("a", "path"), parameter("b", "path")]}),
    );
    assert!(request(&two, &json!({"a": "..", "b": "x"})).is_err());
    let label = json!({"parameters": [{"name": "a", "in": "path", "required": true, "style": "label", "schema": {}}]});
    assert!(request(&one("/{a}", "get", &label), &json!({"a": "."})).is_err());

    let header = one("/a", "get", &json!({"parameters": [parameter("X-A", "header")]}));
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\u{7f}"] {
        assert!(
            request(&header, &json!({"X-A": value}))
                .unwrap_err()
                .contains("X-A"),
            "{value:?}"
        );
    }
    let query = one("/a", "get", &json!({"parameters": [parameter("q", "query")]}));
    let sent = request(&query, &json!({"q": "a\r\n&x=1#\0"})).unwrap();
    assert_eq!(sent.query.as_deref(), Some("q=a%0D%0A%26x%3D1%23%00"));
    let cookie = one("/a", "get", &json!({"parameters": [parameter("c", "cookie")]}));
    let sent = request(&cookie, &json!({"c": "a; admin=1\r\n"})).unwrap();
    assert_eq!(sent.cookie.as_deref(), Some("c=a%3B%20admin%3D1%0D%0A"));
}

#[test]
fn arguments_that_are_missing_or_unknown_are_named() {
    let api = one(
        "/a/{id}",
        "get",
        &json!({"parameters": [parameter("q", "query")]}),
    );
    assert_eq!(request(&api, &json!({})).unwrap_err(), "missing: id, q");
    let unknown = request(&api, &json!({"id": "1", "q": "2", "limit": 3})).unwrap_err();
    assert_eq!(unknown, "this tool has no argument \"limit\"; it has id, q");
    assert_eq!(tools(&api)[0]["inputSchema"]["additionalProperties"], false);
}

fn body(media: &str, schema: &Value, more: &Value) -> Value {
    let mut content = more.clone();
    content["schema"] = schema.clone();
    json!({"operationId": "b", "requestBody": {"required": true, "content": {media: content}}})
}

#[test]
fn bodies_of_every_kind() {
    let object = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {}}, "c": {"type": "object"}}});
    let given = json!({"a": 0, "b": ["x y", false], "c": {"d": ""}});
    for (media, schema, more, arguments, sent) in [
        (
            "application/json",
            object.clone(),
            json!({}),
            given.clone(),
            r#"{"a":0,"b":["x y",false],"c":{"d":""}}"#,
        ),
        (
            "application/vnd.api+json",
            json!({"type": "array"}),
            json!({}),
            json!({"body": [1.50]}),
            "[1.5]",
        ),
        (
            "application/json",
            json!({"type": "string"}),
            json!({}),
            json!({"body": ""}),
            r#""""#,
        ),
        (
            "application/json",
            json!({"oneOf": [{"type": "object"}]}),
            json!({}),
            json!({"body": {"x": null}}),
            r#"{"x":null}"#,
        ),
        (
            "application/x-www-form-urlencoded",
            object.clone(),
            json!({}),
            given.clone(),
            "a=0&b=x%20y&b=false&c=%7B%22d%22%3A%22%22%7D",
        ),
        (
            "application/x-www-form-urlencoded",
            object.clone(),
            json!({"encoding": {"b": {"style": "deepObject", "explode": true}, "c": {"style": "deepObject"}}}),
            given.clone(),
            "a=0&b%5B0%5D=x%20y&b%5B1%5D=false&c%5Bd%5D=",
        ),
        (
            "text/plain",
            json!({"type": "string"}),
            json!({}),
            json!({"body": "ä\n"}),
            "ä\n",
        ),
        (
            "application/octet-stream",
            json!({"type": "string", "format": "binary"}),
            json!({}),
            json!({"body": "AAEC"}),
            "\u{0}\u{1}\u{2}",
        ),
    ] {
        let api = one("/a", "post", &body(media, &schema, &more));
        let (own, bytes) = request(&api, &arguments)
            .unwrap_or_else(|error| panic!("{media}: {error}"))
            .body
            .unwrap();
        assert_eq!(
            (own.as_str(), String::from_utf8(bytes).unwrap().as_str()),
            (media, sent)
        );
    }
    let api = one(
        "/a",
        "post",
        &body("application/octet-stream", &json!({}), &json!({})),
    );
    assert!(
        request(&api, &json!({"body": "?"}))
            .unwrap_err()
            .contains("base64")
    );
}

#[test]
fn multipart_names_and_files_stay_in_their_parts() {
    let schema = json!({"type": "object", "properties": {
        "file": {"type": "string", "format": "binary"}, "note": {"type": "string"}, "meta": {"type": "object"}, "tags": {"type": "array", "items": {"type": "string"}}}});
    let api = one("/a", "post", &body("multipart/form-data", &schema, &json!({})));
    let arguments =
        json!({"file": "AP8=", "note": "--trunkline-boundary\r\nX: 1", "meta": {"a": 1}, "tags": ["x", ""]});
    let (media, bytes) = request(&api, &arguments).unwrap().body.unwrap();
    let boundary = media.strip_prefix("multipart/form-data; boundary=").unwrap();
    let parts = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(parts.matches(&format!("--{boundary}\r\n")).count(), 5, "{parts}");
    for piece in [
        "name=\"file\"; filename=\"file\"\r\nContent-Type: application/octet-stream\r\n\r\n",
        "name=\"note\"\r\n\r\n--trunkline-boundary\r\nX: 1\r\n",
        "name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n",
        "name=\"tags\"\r\n\r\nx\r\n",
    ] {
        assert!(parts.contains(piece), "{piece:?} in {parts}");
    }
    assert!(bytes.windows(4).any(|window| window == [b'\n', 0, 0xff, b'\r']));
    // A name that would end its quotes.
    let schema = json!({"type": "object", "properties": {"a\"\r\nX: 1": {"type": "string"}}});
    let api = one("/a", "post", &body("multipart/form-data", &schema, &json!({})));
    let (_, bytes) = request(&api, &json!({"body": {"a\"\r\nX: 1": "v"}}))
        .unwrap()
        .body
        .unwrap();
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("name=\"a%22%0D%0AX: 1\"")
    );
}

#[test]
fn bodies_that_may_be_left_out_have_no_members_that_must_be_there() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}});
    let mut operation = body("application/json", &schema, &json!({}));
    operation["requestBody"]["required"] = json!(false);
    let api = one("/a", "post", &operation);
    assert!(tools(&api)[0]["inputSchema"]["properties"]["body"]["properties"]["a"].is_object());
    assert_eq!(request(&api, &json!({})).unwrap().body, None);
    // Members that nobody named are allowed where the schema says so.
    let open =
        json!({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}});
    let api = one("/a", "post", &body("application/json", &open, &json!({})));
    assert_eq!(
        tools(&api)[0]["inputSchema"]["additionalProperties"],
        json!({"type": "integer"})
    );
    let (_, bytes) = request(&api, &json!({"a": 1, "z": 2})).unwrap().body.unwrap();
    assert_eq!(bytes, br#"{"a":1,"z":2}"#);
    // Composed of several.
    let parts = json!({"allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}}]});
    let document = json!({"openapi": "3.0.0", "info": {}, "components": {"schemas": {"Base": {"type": "object", "properties": {"id": {"type": "integer", "readOnly": true}, "a": {"type": "string"}}}}},
        "paths": {"/a": {"post": body("application/json", &parts, &json!({}))}}});
    let listed = tools(&self::api(document));
    let keys: Vec<&String> = listed[0]["inputSchema"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(listed[0]["inputSchema"]["required"], json!(["b"]));
}

#[test]
fn swagger_2() {
    let document = json!({"swagger": "2.0", "info": {"title": "t", "version": "1"}, "host": "x.example", "basePath": "/v1", "schemes": ["https"], "consumes": ["application/json"], "produces": ["application/json"],
        "securityDefinitions": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}},
        "definitions": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "tag": {"type": "string", "x-nullable": true}}}},
        "paths": {
            "/pets": {"get": {"operationId": "findPets", "parameters": [{"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "csv"}, {"name": "status", "in": "query", "type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "collectionFormat": "multi"}], "responses": {"200": {"description": "", "schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}}}}},
                      "post": {"operationId": "addPet", "parameters": [{"name": "pet", "in": "body", "required": true, "schema": {"$ref": "#/definitions/Pet"}}], "responses": {"200": {"description": "", "schema": {"$ref": "#/definitions/Pet"}}}}},
            "/pets/{id}/image": {"post": {"operationId": "upload", "consumes": ["multipart/form-data"], "parameters": [{"name": "id", "in": "path", "required": true, "type": "integer", "format": "int64"}, {"name": "file", "in": "formData", "type": "file", "required": true}, {"name": "note", "in": "formData", "type": "string"}]}}}});
    let api = api(document);
    assert_eq!(api.server.as_deref(), Some("https://x.example/v1"));
    assert!(api.wants.as_deref().unwrap().contains("api_key"));
    let listed = tools(&api);
    assert_eq!(
        listed[0]["inputSchema"]["properties"]["status"]["items"]["enum"],
        json!(["a", "b"])
    );
    assert_eq!(listed[1]["outputSchema"]["type"], "object");
    assert_eq!(listed[0]["outputSchema"], Value::Null, "a list is no object");
    let call = |tool: &str, arguments: Value| {
        api.operation(tool)
            .unwrap()
            .request(Some(&arguments.to_string()))
            .unwrap()
    };
    let found = call("findpets", json!({"tags": ["x", "y,z"], "status": ["a", "b"]}));
    assert_eq!(found.query.as_deref(), Some("tags=x,y%2Cz&status=a&status=b"));
    let added = call("addpet", json!({"name": "n", "tag": null}));
    assert_eq!(added.body.unwrap().1, br#"{"name":"n","tag":null}"#);
    let image = call("upload", json!({"id": 0, "file": "AA==", "note": ""}));
    assert_eq!(image.path, "/pets/0/image");
    assert!(image.body.unwrap().0.starts_with("multipart/form-data"));
}

#[test]
fn one_bad_operation_is_left_out_with_its_place() {
    let document = json!({"openapi": "3.0.0", "info": {}, "x-any": {"thing": [1]}, "paths": {
        "/good": {"get": {"operationId": "good", "x-more": true, "responses": {}}},
        "/remote": {"post": {"operationId": "remote", "requestBody": {"content": {"application/json": {"schema": {"$ref": "other.yaml#/A"}}}}}},
        "/nowhere": {"get": {"operationId": "nowhere", "parameters": [{"$ref": "#/components/parameters/none"}]}},
        "/nameless": {"get": {"operationId": "nameless", "parameters": [{"in": "query"}]}},
        "/brace/{x": {"get": {"operationId": "brace"}},
        "/item": {"$ref": "#/components/pathItems/none"},
        "/twice": {"get": {"operationId": "good"}, "post": {"operationId": "Good"}},
        "/undeclared/{id}": {"get": {"operationId": "undeclared"}}}});
    let api = api(document);
    let names: Vec<&str> = api
        .operations()
        .iter()
        .map(|operation| operation.name.as_str())
        .collect();
    assert_eq!(names, ["good", "good_2", "good_3", "undeclared"]);
    let reasons: Vec<String> = api
        .left_out
        .iter()
        .map(|out| format!("{}: {}", out.name, out.reason))
        .collect();
    for (expected, reason) in [
        "remote: the $ref \"other.yaml#/A\" leads out of the document: bundle the documents into one (at #/paths/~1remote/post/requestBody/content/application~1json/schema)",
        "nowhere: the $ref \"#/components/parameters/none\" leads nowhere (at #/paths/~1nowhere/get/parameters/0)",
        "nameless: a parameter needs `name` and `in` (at #/paths/~1nameless/get/parameters/0)",
        "brace: a brace stays open in the path \"/brace/{x\" (at #/paths/~1brace~1{x/get)",
        "/item: the $ref \"#/components/pathItems/none\" leads nowhere (at #/paths/~1item)",
    ]
    .iter()
    .zip(&reasons)
    {
        assert_eq!(reason, expected);
    }
    assert_eq!((api.left_out.len(), api.total), (5, 9));
}

#[test]
fn filters_leave_out_and_rename_nothing() {
    let document = json!({"openapi": "3.0.0", "info": {}, "paths": {
        "/a": {"get": {"operationId": "x", "tags": ["one"]}},
        "/b": {"get": {"operationId": "x", "tags": ["two"]}, "delete": {"operationId": "y", "tags": ["two"]}}}});
    let names = |filter: OpenApiFilter| {
        let api = read_value(document.clone(), &filter, &[]).unwrap();
        api.operations()
            .iter()
            .map(|operation| operation.name.clone())
            .collect::<Vec<_>>()
    };
    let tags = |tags: &[&str]| OperationMatch {
        tags: tags.iter().map(ToString::to_string).collect(),
        ..OperationMatch::default()
    };
    assert_eq!(names(OpenApiFilter::default()), ["x", "x_2", "y"]);
    let only_two = OpenApiFilter {
        include: tags(&["two"]),
        exclude: OperationMatch {
            methods: vec!["DELETE".to_owned()],
            ..OperationMatch::default()
        },
    };
    assert_eq!(names(only_two), ["x_2"]);
}

fn answer<'a>(status: u16, content_type: &'a str, body: &'a [u8]) -> Answer<'a> {
    Answer {
        status,
        content_type,
        body,
        headers: &[],
        uri: "http://x.example/a",
        any_structure: false,
    }
}

#[test]
fn answers() {
    let api = one("/a", "get", &json!({"operationId": "a"}));
    let operation = &api.operations()[0];
    let result = |answer: &Answer<'_>| -> Value {
        serde_json::from_str(&operation.result(answer, |text| text.replace("secret-key", "[redacted]")))
            .unwrap()
    };
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    for (status, media, body, expected) in [
        (
            200,
            "application/json",
            &br#"{ "a": 1.0 }"#[..],
            json!({"content": text(r#"{ "a": 1.0 }"#), "structuredContent": {"a": 1.0}}),
        ),
        (
            200,
            "application/problem+json; charset=utf-8",
            b"[1]",
            json!({"content": text("[1]"), "structuredContent": {"result": [1]}}),
        ),
        (
            200,
            "",
            b"7",
            json!({"content": text("7"), "structuredContent": {"result": 7}}),
        ),
        (
            200,
            "application/json",
            b"{broken",
            json!({"content": text("{broken")}),
        ),
        (
            200,
            "text/plain; charset=ISO-8859-1",
            b"\xe4",
            json!({"content": text("ä")}),
        ),
        (
            200,
            "image/png",
            b"\x89PNG",
            json!({"content": [{"type": "image", "data": "iVBORw==", "mimeType": "image/png"}]}),
        ),
        (
            200,
            "image/svg+xml",
            b"<svg/>",
            json!({"content": text("<svg/>")}),
        ),
        (
            200,
            "application/pdf",
            b"%PDF",
            json!({"content": [{"type": "resource", "resource": {"uri": "http://x.example/a", "mimeType": "application/pdf", "blob": "JVBERg=="}}]}),
        ),
        (204, "", b"", json!({"content": text("HTTP 204: no content")})),
        (
            404,
            "application/json",
            br#"{"message":"no secret-key pet"}"#,
            json!({"content": text(r#"HTTP 404 (Not Found): {"message":"no [redacted] pet"}"#), "isError": true}),
        ),
        (
            500,
            "text/html",
            b"<html>",
            json!({"content": text("HTTP 500 (Internal Server Error): (an HTML page)"), "isError": true}),
        ),
        (
            302,
            "",
            b"",
            json!({"content": text("HTTP 302: the answer leads elsewhere"), "isError": true}),
        ),
    ] {
        assert_eq!(result(&answer(status, media, body)), expected, "{status} {media}");
    }
    let modern = Answer {
        any_structure: true,
        ..answer(200, "application/json", b"[1]")
    };
    assert_eq!(result(&modern)["structuredContent"], json!([1]));
    let long = "x".repeat(100_000);
    let error = result(&answer(400, "text/plain", long.as_bytes()));
    assert!(error.to_string().len() < 9000);
}

#[test]
fn a_tool_with_an_output_schema_always_has_structure() {
    let operation = json!({"operationId": "a", "responses": {"200": {"description": "", "content": {"application/json": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}}}});
    let api = one("/a", "get", &operation);
    assert_eq!(tools(&api)[0]["outputSchema"]["type"], "object");
    for (media, body) in [("application/json", &b"[1]"[..]), ("text/plain", b"x"), ("", b"")] {
        let result: Value =
            serde_json::from_str(&api.operations()[0].result(&answer(200, media, body), str::to_owned))
                .unwrap();
        assert!(result["structuredContent"].is_object(), "{media} {result}");
    }
}

#[test]
fn definitions_say_what_the_document_says() {
    let operation = json!({"operationId": "a", "summary": "Adds one", "description": "More words", "deprecated": true, "parameters": [
        {"name": "kind", "in": "query", "description": "Which", "schema": {"type": "string", "enum": ["a", "b"], "default": "a", "format": "x"}}]});
    let listed = tools(&one("/a", "delete", &operation));
    assert_eq!(
        listed[0],
        json!({"name": "a", "title": "Adds one", "description": "(Deprecated.) Adds one\n\nMore words",
            "inputSchema": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["a", "b"], "default": "a", "format": "x", "description": "Which"}}, "additionalProperties": false},
            "annotations": {"title": "Adds one", "readOnlyHint": false, "destructiveHint": true, "idempotentHint": true, "openWorldHint": true}})
    );
    let hint =
        |method: &str, hint: &str| tools(&one("/a", method, &json!({})))[0]["annotations"][hint].clone();
    assert_eq!(
        (
            hint("get", "readOnlyHint"),
            hint("head", "readOnlyHint"),
            hint("put", "idempotentHint")
        ),
        (json!(true), json!(true), json!(true))
    );
}

/// Any JSON value that keeps its text.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("")),
        Just(json!(0)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    /// What goes into a request comes out of it, wherever it is put.
    #[test]
    fn b68_arguments_come_out_as_they_went_in(path in ".{1,20}", query in ".{0,20}", header in ".{0,20}", cookie in ".{0,20}", body in value()) {
        let operation = json!({"operationId": "a", "parameters": [parameter("p", "path"), parameter("q", "query"), parameter("h", "header"), parameter("c", "cookie")],
            "requestBody": {"required": true, "content": {"application/json": {"schema": {}}}}});
        let api = one("/base/{p}/end", "post", &operation);
        let arguments = json!({"p": path, "q": query, "h": header, "c": cookie, "body": body});
        match request(&api, &arguments) {
            Ok(sent) => {
                let inner = sent.path.strip_prefix("/base/").and_then(|rest| rest.strip_suffix("/end")).unwrap();
                prop_assert!(!inner.contains(['/', '?', '#', '\\', ';']), "{}", inner);
                prop_assert_eq!(percent_decode_str(inner).decode_utf8().unwrap(), path.as_str());
                prop_assert_eq!(decoded(&sent.query.unwrap()), [("q".to_owned(), query)]);
                prop_assert_eq!(decoded(&sent.cookie.unwrap()), [("c".to_owned(), cookie)]);
                prop_assert_eq!(sent.headers, [("h".to_owned(), header.clone())]);
                prop_assert!(!header.chars().any(char::is_control));
                prop_assert_eq!(serde_json::from_slice::<Value>(&sent.body.unwrap().1).unwrap(), body);
            }
            Err(why) => {
                let odd = |text: &str| text.chars().any(char::is_control);
                let dots = path.split(['/', '\\', ';']).any(|part| matches!(part.trim(), "." | ".."));
                prop_assert!(odd(&path) || odd(&header) || dots || path.contains('%'), "{}: {:?}", why, arguments);
            }
        }
    }

    /// Lists and objects in every style that keeps them apart.
    #[test]
    fn lists_come_out_as_they_went_in(items in prop::collection::vec("[^\u{0}]{0,8}", 1..5)) {
        for (style, explode, by) in [("form", true, None), ("form", false, Some(",")), ("pipeDelimited", false, Some("%7C")), ("spaceDelimited", false, Some("%20"))] {
            let parameters = json!([{"name": "q", "in": "query", "style": style, "explode": explode, "schema": {"type": "array", "items": {"type": "string"}}}]);
            let api = one("/a", "get", &json!({"parameters": parameters}));
            let query = request(&api, &json!({"q": items})).unwrap().query.unwrap();
            let text = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into_owned();
            // A delimiter that is encoded cannot be told from one that is in a value: servers have the same doubt.
            if by.is_some_and(|by| by != "," && items.iter().any(|item| item.contains([' ', '|']))) {
                continue;
            }
            let back: Vec<String> = match by {
                None => query.split('&').map(|pair| text(pair.strip_prefix("q=").unwrap())).collect(),
                Some(by) => query.strip_prefix("q=").unwrap().split(by).map(text).collect(),
            };
            prop_assert_eq!(&back, &items);
        }
    }

    /// Any operation is a tool that clients take, or is left out with a reason.
    #[test]
    fn s38_any_document_is_read_or_refused(operation in value(), schema in value(), path in "/[a-z{}?#./]{0,12}") {
        let document = json!({"openapi": "3.1.0", "info": {"title": 7}, "paths": {path: {"get": operation, "post": {"parameters": [{"name": "a", "in": "query", "schema": schema}, schema], "requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": {"200": schema}}}}});
        if let Ok(api) = read_value(document, &OpenApiFilter::default(), &[]) {
            for tool in tools(&api).as_array().unwrap() {
                prop_assert_eq!(&tool["inputSchema"]["type"], "object");
            }
            for operation in api.operations() {
                let _ = operation.request(Some(&schema.to_string()));
            }
        }
    }
}
