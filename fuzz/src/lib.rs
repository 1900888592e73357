//! What is fuzzed: everything that reads strangers' bytes, one function a target. They are driven by libFuzzer
//! (`scripts/fuzz.sh`) and, with inputs made from a seed, by the test suite (`crates/trunkline/tests/fuzzed.rs`).
//!
//! To add a target: a function here, its line in [`TARGETS`], a file in `fuzz_targets`, a `[[bin]]` in `Cargo.toml`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_auth::{SessionClaims, SessionSealer, TokenSealer};
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::list::{Page, Rules};
use trunkline_mcp::sse::{Decoder, Event};
use trunkline_mcp::{ListKind, Message, canonical, depth, envelope, header, modern, name, uri};
use trunkline_model::{Principal, Secret, SessionKey};

/// A target: takes any bytes, and panics when something is wrong.
pub type Target = fn(&[u8]);

/// All of them, with inputs to begin from.
pub const TARGETS: [(&str, Target, &[&str]); 12] = [
    (
        "envelope",
        envelope,
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[1e400,"\ud800"]}}}"#,
            r#"[{"jsonrpc":"2.0","id":"a","result":{}},{"jsonrpc":"2.0","method":"notifications/cancelled"}]"#,
        ],
    ),
    (
        "sse",
        sse,
        &[
            "\u{3}\u{feff}: hi\r\nid: 1\r\ndata:\r\n\r\nevent: message\rdata: {\"a\":\rdata: 1}\r\rretry: 5\n\ndata: x\n\n",
        ],
    ),
    (
        "frames",
        frames,
        &[
            "{\"role\":\"assistant\"}",
            "\u{0}\u{0}\u{0}\u{10}\u{0}\u{0}\u{0}\u{0}",
        ],
    ),
    (
        "form",
        form,
        &[
            "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nmine\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\r\n--x--\r\n",
        ],
    ),
    (
        "edit",
        edit,
        &["a\u{0}v\u{0} { \"a\" : 1e400 ,\n\"\\u0062\":[ 1 , {} ], \"\\ud800\" : null } "],
    ),
    (
        "canonical",
        canonical,
        &[r#" {"b" : [1, 2.0 ,"\u00e9\"\\"], "a":{"z":null,"y":{}} } "#],
    ),
    (
        "list",
        list,
        &[
            r#"{"tools":[{"name":"a","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"R"}}}}],"nextCursor":"","ttlMs":5}"#,
            r#"{"resources":[{"uri":"file:///a","name":"a"}],"resourceTemplates":[{"uriTemplate":"x://{+id}/{a}","name":"b"}]}"#,
        ],
    ),
    (
        "header",
        header,
        &[
            "=?base64?w6Q=?=",
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":1},"name":"a","arguments":{"n":1.0}}"#,
            r#"{"properties":{"a":{"type":"integer","x-mcp-header":"A","maximum":1e400}}}"#,
            "x://{a}/{+b}x://1/2/3",
        ],
    ),
    ("session", session, &["\u{7}abcdefghijklmnopqrstuvwxyz0123456789"]),
    (
        "token",
        token,
        &["\u{2}one\u{0}two\u{0}body of the token", "AAAA_-"],
    ),
    (
        "openapi",
        openapi,
        &[
            r##"{"openapi":"3.0.0","info":{"title":"t"},"paths":{"/a/{b}":{"post":{"operationId":"x","parameters":[{"name":"b","in":"path","style":"matrix"},{"name":"q","in":"query","style":"deepObject","schema":{"type":"object"}}],"requestBody":{"content":{"multipart/form-data":{"schema":{"$ref":"#/components/schemas/S"}}}}}}},"components":{"schemas":{"S":{"type":"object","properties":{"s":{"$ref":"#/components/schemas/S"},"f":{"type":"string","format":"binary"}}}}}}"##,
            "swagger: '2.0'\nbasePath: /v1\npaths:\n  /a:\n    get: &o\n      parameters: [{name: t, in: query, type: array, collectionFormat: multi}, {name: b, in: body, schema: {type: object}}]\n      responses: {200: {schema: {type: object}}}\n    post: *o\n",
        ],
    ),
    (
        "config",
        config,
        &[
            "mcp_servers:\n  a:\n    url: https://example.com/mcp\n    auth_type: api_key\n    extra_headers: [x-a, 'B: c']\ngeneral_settings:\n  mcp_call_timeout_ms: 5\n",
        ],
    ),
];

/// Messages and batches: never a panic, and what is read is in the text that was read.
pub fn envelope(body: &[u8]) {
    if let Ok(message) = Message::parse(body) {
        assert!(depth::within(body, depth::MAX_DEPTH));
        assert!(std::str::from_utf8(body).is_ok());
        // Numbers beyond the parser's reach are legal where nobody looks.
        let Ok(whole) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        match message {
            Message::Request { method, .. } | Message::Notification { method, .. } => {
                assert_eq!(whole["method"], *method);
            }
            Message::Response { id, .. } => {
                let id: Value = serde_json::from_str(id.get()).expect("an id is JSON");
                assert_eq!(whole["id"], id);
            }
        }
    }
    if let Ok(messages) = envelope::split_batch(body, 50) {
        assert!(envelope::is_batch(body));
        assert!((1..=50).contains(&messages.len()));
        for message in messages {
            let _ = Message::parse(message.get().as_bytes());
        }
    }
}

/// Event streams: the same events however the stream is cut, and never more than the bound is kept.
pub fn sse(input: &[u8]) {
    const LIMIT: usize = 256;
    let decode = |chunks: &mut dyn Iterator<Item = &[u8]>| -> (Vec<Event>, bool) {
        let mut decoder = Decoder::new(LIMIT);
        let mut events = Vec::new();
        for chunk in chunks {
            if decoder.feed(chunk, &mut events).is_err() {
                return (events, false);
            }
        }
        (events, true)
    };
    let Some((cut, text)) = input.split_first() else {
        return;
    };
    let (whole, whole_fits) = decode(&mut std::iter::once(text));
    let (parts, parts_fit) = decode(&mut text.chunks(usize::from(*cut) + 1));
    for event in whole.iter().chain(&parts) {
        assert!(event.data.as_ref().is_none_or(|data| data.len() <= LIMIT));
    }
    if whole_fits && parts_fit {
        assert_eq!(whole, parts);
    }
}

/// Objects taken apart and put together: what is not set stays byte for byte.
pub fn edit(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    let mut parts = input.splitn(3, '\0');
    let (Some(key), Some(value), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Ok(mut object) = RawObject::parse(text) else {
        return;
    };
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    assert_eq!(object.to_json(), trimmed, "nothing was changed");
    let had = object.get(key).is_some();
    object.set_string(key, value);
    let changed = object.to_json();
    // Numbers beyond the parser's reach, and half surrogate pairs, are legal where nobody looks.
    if let Ok(parsed) = serde_json::from_str::<Value>(&changed) {
        assert_eq!(parsed[key], value);
    }
    let again = RawObject::parse(&changed).expect("what was put together can be taken apart");
    assert!(object.keys().eq(again.keys()));
    for own in object.keys() {
        assert_eq!(object.get(own), again.get(own));
    }
    assert_eq!(again.get_string(key).as_deref(), Some(value));
    assert!(object.remove(key));
    assert!(object.get(key).is_none());
    let without = object.to_json();
    assert!(RawObject::parse(&without).is_ok(), "{without}");
    if !had {
        assert_eq!(without, trimmed, "there and back");
    }
}

/// One spelling for all of the same: stable, and told apart from others.
pub fn canonical(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Some(once) = canonical::canonical(text) else {
        return;
    };
    assert!(depth::within(input, depth::MAX_DEPTH));
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // Numbers keep their spelling, which a parser changes.
        let has_numbers = |text: &str| text.bytes().any(|b| b.is_ascii_digit());
        if !has_numbers(&once) && RawObject::parse(text).is_ok() {
            let pretty = serde_json::to_string_pretty(&value).expect("a value is JSON");
            let again = canonical::canonical(&pretty);
            // Of a key that is there twice, further down, the parser keeps one.
            assert!(again.is_some_and(|again| again.len() <= once.len()));
        }
    }
}

/// Pages of a server's four lists: read, renamed, and still what they were.
pub fn list(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    for kind in ListKind::ALL {
        let Ok(page) = Page::parse(kind, raw, Rules::default()) else {
            continue;
        };
        for item in &page.items {
            let exposed = if kind.by_uri() {
                uri::qualified("server", &item.name)
            } else {
                name::exposed("server", &item.name)
            };
            let renamed = item.renamed(kind, &exposed);
            let own = RawObject::parse(&renamed).expect("what is renamed is an object");
            assert_eq!(own.get_string(kind.key()).as_deref(), Some(exposed.as_str()));
            for param in &item.header_params {
                let _ = param.agrees(Some(header::encode(&item.name).as_bytes()), &renamed);
            }
        }
    }
}

/// Header values that mirror the body: what is encoded is decoded, and garbage is refused.
pub fn header(bytes: &[u8]) {
    let _ = header::decode(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let encoded = header::encode(text);
    assert_eq!(header::decode(encoded.as_bytes()).as_deref(), Some(text));
    if let Ok(params) = header::params_of(text) {
        for param in params {
            let value = param.value_in(text);
            if let Ok(Some(value)) = value {
                assert!(param.agrees(Some(header::encode(&value).as_bytes()), text));
            }
        }
    }
    let read = |text| modern::request_meta(&modern::request_params(text)?);
    if let Ok(meta) = read(text) {
        let legacy = modern::params_to_legacy(text);
        assert!(read(&legacy).is_err(), "{meta:?}");
    }
    let (one, other) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let _ = uri::matches_template(one, other);
    assert_eq!(
        uri::unqualified("server", &uri::qualified("server", text)).as_deref(),
        Some(text)
    );
}

/// Session ids: nobody else's text is one, and one that was changed is none.
pub fn session(input: &[u8]) {
    static SEALER: OnceLock<SessionSealer> = OnceLock::new();
    let sealer = SEALER.get_or_init(|| SessionSealer::derive(&Secret::new("root")));
    let principal = Principal::from_master_key();
    let now = Timestamp::UNIX_EPOCH;
    let text = String::from_utf8_lossy(input);
    assert!(sealer.open(&text, &principal, "/mcp", now).is_err());
    let Some((at, rest)) = input.split_first() else {
        return;
    };
    let mut key = [0; 16];
    for (own, byte) in key.iter_mut().zip(rest) {
        *own = *byte;
    }
    let claims = SessionClaims {
        key: SessionKey(key),
        revision: at % 5,
        capabilities: u16::from_be_bytes([key[0], key[1]]),
        expires_at: Timestamp::from_second(1 + i64::from(*at)).unwrap_or(Timestamp::MAX),
    };
    let id = sealer.seal(&claims, &principal, &text);
    assert_eq!(sealer.open(&id, &principal, &text, now), Ok(claims));
    assert!(sealer.open(&id, &principal, &format!("{text}/"), now).is_err());
    let mut changed = id.into_bytes();
    let at = usize::from(*at) % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8_lossy(&changed);
    assert!(sealer.open(&changed, &principal, &text, now).is_err());
}

/// Sealed tokens (ids of questions, states of parked calls, cursors): good in their own context only.
pub fn token(input: &[u8]) {
    static SEALER: OnceLock<TokenSealer> = OnceLock::new();
    let sealer = SEALER.get_or_init(|| TokenSealer::derive(&Secret::new("root"), "fuzz"));
    let text = String::from_utf8_lossy(input);
    assert!(sealer.open(&["a"], &text).is_none());
    let parts: Vec<&str> = text.splitn(3, '\0').collect();
    let (context, body) = parts.split_at(parts.len() - 1);
    let token = sealer.seal(context, body[0].as_bytes());
    assert_eq!(sealer.open(context, &token).as_deref(), Some(body[0].as_bytes()));
    let mut other = context.to_vec();
    other.push("");
    assert!(sealer.open(&other, &token).is_none());
    if context.len() == 2 {
        let joined = context.concat();
        assert!(sealer.open(&[&joined], &token).is_none());
    }
    let cut = usize::from(input.first().copied().unwrap_or_default()) % token.len();
    assert!(sealer.open(context, &token[..cut]).is_none());
}

/// Configuration files: any text is either understood or refused, in words without control characters.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let nothing = BTreeMap::<String, String>::new();
    if let Err(error) = trunkline_config::parse(text, "config.yaml", &nothing) {
        let said = error.to_string();
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
}

/// OpenAPI documents: every tool is one that clients take, and what a request is made of stays in its place.
pub fn openapi(input: &[u8]) {
    let filter = trunkline_model::OpenApiFilter::default();
    let Ok(api) = trunkline_openapi::read(input, &filter, &[]) else {
        return;
    };
    let text = format!(r#"{{"tools":{}}}"#, api.tools());
    let raw: &RawValue = serde_json::from_str(&text).expect("definitions are JSON");
    let page = Page::parse(ListKind::Tools, raw, Rules::default()).expect("a list of tools");
    for item in &page.items {
        assert!(name::is_legal(&item.name), "{}", item.name);
    }
    let arguments = String::from_utf8_lossy(input);
    for operation in api.operations().iter().take(20) {
        for given in [
            None,
            Some(&*arguments),
            Some(r#"{"a":"../x","b":"..","q":{"a":[1]},"t":["\u0000"],"f":"AA=="}"#),
        ] {
            let Ok(request) = operation.request(given) else {
                continue;
            };
            assert!(request.path.starts_with('/'));
            assert!(
                request
                    .path
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b)),
                "{}",
                request.path
            );
            assert!(
                request
                    .path
                    .split('/')
                    .all(|segment| !matches!(segment, "." | "..")),
                "{}",
                request.path
            );
            let query = request.query.unwrap_or_default();
            assert!(
                query.bytes().all(|b| b.is_ascii_graphic() && b != b'#'),
                "{query}"
            );
            for (_, value) in request.headers {
                assert!(!value.chars().any(char::is_control));
            }
        }
    }
}

/// Whatever comes is a frame or is not; and what was made a frame is read as it was, in two pieces, too.
pub fn frames(input: &[u8]) {
    use trunkline_llm::frames::{Frames, encode};
    let _ = Frames::new(4096).feed::<String>(input, |_| Ok(()));
    let frame = encode("event", "name", input);
    let at = input.first().map_or(0, |own| usize::from(*own)).min(frame.len());
    let mut found = Vec::new();
    let mut frames = Frames::new(usize::MAX);
    for piece in [&frame[..at], &frame[at..]] {
        let fed = frames.feed::<String>(piece, |own| {
            found.push(own);
            Ok(())
        });
        assert_eq!(fed, Ok(()));
    }
    assert!(frames.is_whole() && found.len() == 1);
    assert_eq!(
        (found[0].name.as_str(), found[0].payload.as_slice()),
        ("name", input)
    );
    let mut bad = frame.clone();
    let last = bad.len() - 1;
    bad[at.min(last)] ^= 1;
    let mut read = 0;
    let mut frames = Frames::new(usize::MAX);
    let fed = frames.feed::<String>(&bad, |_| {
        read += 1;
        Ok(())
    });
    assert!(fed.is_err() || read == 0, "a frame with a wrong byte was read");
}

/// A form that is read is one after its model was named anew, with the same parts.
pub fn form(input: &[u8]) {
    use trunkline_llm::form::Form;
    const KIND: &str = "multipart/form-data; boundary=x";
    let Ok(read) = Form::read(input, KIND) else {
        return;
    };
    let Ok(model) = read.text("model") else {
        return;
    };
    let out = read.with_model("another");
    let again = Form::read(&out, KIND).expect("it was a form");
    assert_eq!(again.text("model"), Ok(Some("another")));
    let parts = |form: &Form<'_>| {
        let mut names: Vec<String> = form.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    if let Some(model) = model {
        assert_eq!(parts(&read), parts(&again));
        assert_eq!(again.with_model(model), input);
    }
}
