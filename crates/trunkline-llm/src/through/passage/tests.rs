use super::*;

fn read(api: Api, path: &str) -> Passage {
    Passage::read(api, path, true).unwrap()
}

fn url(api: Api, base: &str, path: &str) -> String {
    let place = Place {
        api_base: base,
        project: Some("ours"),
        location: Some("eu"),
        ..Place::default()
    };
    read(api, path).url(&place, None, None)
}

#[test]
fn paths_are_below_the_address_of_the_provider() {
    for (api, base, path, wanted) in [
        (
            Api::OpenAi,
            "https://a/v1",
            "v1/chat/completions",
            "https://a/v1/chat/completions",
        ),
        (
            Api::OpenAi,
            "https://a/v1/",
            "chat/completions",
            "https://a/v1/chat/completions",
        ),
        (
            Api::OpenAi,
            "https://a/x",
            "v1/files/f-1/content",
            "https://a/x/files/f-1/content",
        ),
        (
            Api::Anthropic,
            "https://a",
            "v1/messages/batches",
            "https://a/v1/messages/batches",
        ),
        (Api::Anthropic, "https://a/v1", "models", "https://a/v1/models"),
        (
            Api::Gemini,
            "https://a/v1beta",
            "v1beta/models/gemini-x:generateContent",
            "https://a/v1beta/models/gemini-x:generateContent",
        ),
        (
            Api::Gemini,
            "https://a",
            "upload/v1beta/files",
            "https://a/upload/v1beta/files",
        ),
        (
            Api::Vllm,
            "http://a:8000/v1",
            "tokenize",
            "http://a:8000/tokenize",
        ),
        (
            Api::Vllm,
            "http://a:8000/v1",
            "v1/completions",
            "http://a:8000/v1/completions",
        ),
        (Api::Cohere, "https://a/v2/rerank", "v2/chat", "https://a/v2/chat"),
        (
            Api::Azure,
            "https://a/openai/v1",
            "openai/deployments/d%20e/chat/completions",
            "https://a/openai/deployments/d%20e/chat/completions",
        ),
        (
            Api::Bedrock,
            "https://a",
            "model/arn:aws:bedrock:us-east-1:1:inference-profile%2Fus.x/converse",
            "https://a/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse",
        ),
        (
            Api::Bedrock,
            "https://a",
            "async-invoke/arn:aws:bedrock:us-east-1:1:async-invoke%2Fx",
            "https://a/async-invoke/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aasync-invoke%2Fx",
        ),
        (
            Api::Vertex,
            "https://a",
            "v1beta1/projects/theirs/locations/us/publishers/google/models/g:countTokens",
            "https://a/v1beta1/projects/ours/locations/eu/publishers/google/models/g:countTokens",
        ),
        (
            Api::Vertex,
            "https://a",
            "publishers/anthropic/models/c@1:rawPredict",
            "https://a/v1/projects/ours/locations/eu/publishers/anthropic/models/c%401:rawPredict",
        ),
        (
            Api::OpenAi,
            "https://a/v1",
            "user:x@evil.example:80",
            "https://a/v1/user:x%40evil.example:80",
        ),
    ] {
        assert_eq!(url(api, base, path), wanted);
    }
}

#[test]
fn nothing_leads_out() {
    for path in [
        "",
        "v1",
        "v1/",
        "/v1/models",
        "v1//models",
        "v1/../models",
        "v1/./models",
        "v1/%2e%2E/models",
        "v1/%2e/models",
        "v1/a%2fb",
        "v1/..%2f..%2fadmin",
        "v1/a\\b",
        "v1/a%5cb",
        "v1/%252e%252e/x",
        "v1/a%0d%0aHost:x",
        "v1/a%00",
        "v1/a%3Fkey=x",
        "v1/a%23b",
        "v1/%ff",
        "https://evil.example/v1",
        "//evil.example/v1",
    ] {
        assert!(Passage::read(Api::OpenAi, path, true).is_err(), "{path}");
    }
    for path in [
        "model/a%2F..%2Fb/converse",
        "model/%2Fa/converse",
        "x/a%2Fb/converse",
        "model/a/b%2Fc",
    ] {
        assert!(Passage::read(Api::Bedrock, path, true).is_err(), "{path}");
    }
    for path in [
        "v1/projects/p/secrets/s",
        "v1/projects",
        "v2/projects/p/locations/l/x",
        "v1",
    ] {
        assert!(Passage::read(Api::Vertex, path, true).is_err(), "{path}");
    }
    for (api, path) in [
        (Api::OpenAi, "v1/responses/resp_1"),
        (Api::OpenAi, "v1/%72esponses"),
        (Api::OpenAi, "Responses"),
        (Api::Azure, "openai/Responses"),
        (Api::Azure, "openai/v1/responses"),
        (Api::Azure, "OpenAI/v1/Responses/resp_1"),
        (Api::Vllm, "v1/responses"),
        (Api::Anthropic, "messages"),
        (Api::Anthropic, "v1/%6dessages"),
    ] {
        assert!(Passage::read(api, path, true).is_err(), "{path}");
    }
}

#[test]
fn a_model_is_named_where_it_alone_does_what_is_asked() {
    for (api, path, model) in [
        (
            Api::Gemini,
            "v1beta/models/gemini-x:streamGenerateContent",
            Some("gemini-x"),
        ),
        (Api::Gemini, "v1beta/models/gemini-x", None),
        (Api::Gemini, "v1beta/tunedModels/x:generateContent", None),
        (Api::Gemini, "v1beta/models/gemini-x:somethingNew", None),
        (Api::Gemini, "v1beta/models/gemini-x:batchGenerateContent", None),
        (Api::Gemini, "v1beta/models/gemini-x:asyncBatchEmbedContent", None),
        (Api::Bedrock, "model/a.b-v1:0/invoke", Some("a.b-v1:0")),
        (Api::Bedrock, "model/a/other", None),
        (Api::Azure, "openai/deployments/gpt/embeddings", Some("gpt")),
        (Api::Azure, "openai/files", None),
        (
            Api::Vertex,
            "publishers/google/models/g:generateContent",
            Some("g"),
        ),
    ] {
        assert_eq!(read(api, path).model(), model, "{path}");
    }
    for (api, path, by_body) in [
        (Api::OpenAi, "v1/chat/completions", true),
        (Api::OpenAi, "v1/files", false),
        (Api::OpenAi, "v1/fine_tuning/jobs", false),
        (Api::OpenAi, "v1/threads/t/runs", false),
        (Api::OpenAi, "v1/batches", false),
        (Api::OpenAi, "v1/assistants", false),
        (Api::Anthropic, "v1/messages/batches", false),
        (Api::Gemini, "v1beta/openai/chat/completions", true),
        (Api::Mistral, "v1/fim/completions", true),
        (Api::Cohere, "v2/chat", true),
        (Api::Cohere, "v1/datasets", false),
        (Api::Vllm, "tokenize", true),
        (
            Api::Vertex,
            "publishers/anthropic/models/count-tokens:rawPredict",
            true,
        ),
        (
            Api::Vertex,
            "publishers/anthropic/models/count-tokens:streamRawPredict",
            false,
        ),
    ] {
        assert_eq!(read(api, path).is_named_by_body(), by_body, "{path}");
    }
    // What is only shown names none: it may be anybody's.
    assert!(
        !Passage::read(Api::OpenAi, "v1/chat/completions", false)
            .unwrap()
            .is_named_by_body()
    );
}

#[test]
fn the_query_has_no_credential() {
    let of = |api, raw| {
        let path = if api == Api::Vertex {
            "publishers/x"
        } else {
            "v1beta/models"
        };
        read(api, path).query(Some(raw), |own| own == "sk-mine")
    };
    for (raw, wanted) in [
        ("key=sk-mine&alt=sse", Some("alt=sse")),
        ("%6Bey=x&KEY=y&pageSize=2", Some("pageSize=2")),
        ("a=sk%2Dmine&b=1", Some("b=1")),
        ("sk-mine", None),
        ("", None),
    ] {
        assert_eq!(of(Api::Gemini, raw).unwrap().as_deref(), wanted, "{raw}");
    }
    for raw in [
        "$httpHeaders=x",
        "%24userProject=p",
        "userProject=p",
        "callback=f",
        "alt=proto",
        "alt=sse&%61lt=proto",
    ] {
        assert!(of(Api::Vertex, raw).is_err(), "{raw}");
    }
    assert_eq!(
        of(Api::Gemini, "oauth_token=t&alt=sse").unwrap().as_deref(),
        Some("alt=sse")
    );
    // What it took is not to be left out; of what is paid by nobody anything may be.
    let generate = read(Api::Gemini, "v1beta/models/g:generateContent");
    assert!(generate.query(Some("fields=candidates"), |_| false).is_err());
    assert!(of(Api::Gemini, "fields=models").is_ok());
    // As it is signed.
    let aws = read(Api::Bedrock, "async-invoke").query(Some("b&a=1"), |_| false);
    assert_eq!(aws.unwrap().as_deref(), Some("a=1&b="));
}
