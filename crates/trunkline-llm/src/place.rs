//! Where an endpoint of a service is: its address, and what of the path depends on the model, the revision of the API, and whether the
//! answer comes in pieces.

use crate::{Dialect, Endpoint, Provider, Spoken};

/// What an address is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The service's address.
    pub api_base: &'a str,
    /// The provider's name for the model.
    pub model: &'a str,
    /// The revision of its API, where it has one in its addresses.
    pub api_version: Option<&'a str>,
    /// Whose it is, where the address says that.
    pub project: Option<&'a str>,
    /// Where it is, where the path says that.
    pub location: Option<&'a str>,
    /// The answer comes in pieces.
    pub stream: bool,
}

/// How addresses are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// The path of the endpoint, after the address.
    Below,
    /// The name of the model is in the path.
    Gemini,
    /// `/openai/deployments/{model}/…?api-version=…`, or `/openai/v1/…`.
    Azure,
    /// Azure's AI services: `/models/…?api-version=…`; elsewhere as others.
    AzureAi,
    /// `/model/{model}/converse`
    Bedrock,
    /// Gemini's, within a project of Google's cloud.
    VertexGemini,
    /// The same for Anthropic's models.
    VertexAnthropic,
    /// `/compatibility/v1/…`, and Cohere's own for what OpenAI does not have.
    Cohere,
}

/// Azure's revision if the operator says none, as LiteLLM has it.
pub const AZURE_VERSION: &str = "2025-02-01-preview";
/// The same for its AI services.
const AZURE_AI_VERSION: &str = "2024-05-01-preview";
/// Names of the revision whose addresses are `/openai/v1/…`.
const AZURE_NEXT: [&str; 3] = ["v1", "preview", "latest"];

impl Place<'_> {
    /// The address of an endpoint.
    pub(crate) fn url(&self, provider: &Provider, endpoint: Endpoint) -> String {
        let base = self.api_base.trim_end_matches('/');
        // LiteLLM takes the whole address too.
        let base = match provider.dialect {
            Spoken::By(Dialect::Anthropic) => base.strip_suffix("/messages").unwrap_or(base),
            Spoken::By(Dialect::OpenAi | Dialect::Responses) | Spoken::Gemini | Spoken::Bedrock => base,
        };
        let suffix = if base.ends_with(provider.base_suffix) {
            ""
        } else {
            provider.base_suffix
        };
        match provider.paths {
            Paths::Below => format!("{base}{suffix}/{}", endpoint.path()),
            Paths::Gemini => {
                let how = match endpoint {
                    Endpoint::Embeddings => "batchEmbedContents",
                    Endpoint::CountTokens => "countTokens",
                    _ if self.stream => "streamGenerateContent?alt=sse",
                    _ => "generateContent",
                };
                format!("{base}{suffix}/models/{}:{how}", segment(self.model))
            }
            Paths::Azure => self.azure(base, endpoint),
            Paths::AzureAi => self.azure_ai(base, endpoint),
            Paths::Cohere => cohere(base, endpoint),
            Paths::Bedrock => {
                let how = match endpoint {
                    Endpoint::Embeddings => "invoke",
                    Endpoint::CountTokens => "count-tokens",
                    _ if self.stream => "converse-stream",
                    _ => "converse",
                };
                // Only models themselves count, and no profile of several regions does.
                let model = match endpoint {
                    Endpoint::CountTokens => without_region(self.model),
                    _ => self.model,
                };
                format!("{base}/model/{}/{how}", segment(model))
            }
            Paths::VertexGemini if endpoint == Endpoint::Embeddings => {
                self.vertex(base, "v1", ("google", "predict"))
            }
            Paths::VertexGemini if endpoint == Endpoint::CountTokens => {
                self.vertex(base, "v1beta1", ("google", "countTokens"))
            }
            Paths::VertexAnthropic if endpoint == Endpoint::CountTokens => {
                let counting = Place {
                    model: "count-tokens",
                    ..*self
                };
                counting.vertex(base, "v1", ("anthropic", "rawPredict"))
            }
            // What is said in schemas is in this revision.
            Paths::VertexGemini if self.stream => {
                self.vertex(base, "v1beta1", ("google", "streamGenerateContent?alt=sse"))
            }
            Paths::VertexGemini => self.vertex(base, "v1beta1", ("google", "generateContent")),
            Paths::VertexAnthropic if self.stream => {
                self.vertex(base, "v1", ("anthropic", "streamRawPredict"))
            }
            Paths::VertexAnthropic => self.vertex(base, "v1", ("anthropic", "rawPredict")),
        }
    }

    fn azure(&self, base: &str, endpoint: Endpoint) -> String {
        let path = endpoint.path();
        let given = self.api_version;
        let next = base.strip_suffix("/openai/v1");
        let root = next.unwrap_or_else(|| base.strip_suffix("/openai").unwrap_or(base));
        // It came with the next revision: without a name of one it is asked there.
        let is_new = endpoint == Endpoint::Responses && given.is_none();
        if next.is_some() || is_new || given.is_some_and(|own| AZURE_NEXT.contains(&own)) {
            // The usual revision of these addresses needs no name.
            let preview = if is_new && next.is_none() || given == Some("preview") {
                "?api-version=preview"
            } else {
                ""
            };
            return format!("{root}/openai/v1/{path}{preview}");
        }
        let version = segment(given.unwrap_or(AZURE_VERSION));
        if endpoint == Endpoint::Responses {
            let root = root.split("/openai/deployments/").next().unwrap_or(root);
            return format!("{root}/openai/{path}?api-version={version}");
        }
        // The whole address of a deployment is taken, too.
        if base.contains("/openai/deployments/") {
            return format!("{base}/{path}?api-version={version}");
        }
        let deployment = segment(self.model);
        format!("{root}/openai/deployments/{deployment}/{path}?api-version={version}")
    }

    fn vertex(&self, base: &str, version: &str, (publisher, how): (&str, &str)) -> String {
        let project = segment(self.project.unwrap_or_default());
        let location = segment(self.location.unwrap_or_default());
        let model = segment(self.model);
        format!(
            "{base}/{version}/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}:{how}"
        )
    }

    fn azure_ai(&self, base: &str, endpoint: Endpoint) -> String {
        let path = endpoint.path();
        let version = self.api_version.map(segment);
        if is_azures(base) && endpoint != Endpoint::Rerank {
            let version = version.unwrap_or_else(|| AZURE_AI_VERSION.to_owned());
            let base = base.strip_suffix("/models").unwrap_or(base);
            return format!("{base}/models/{path}?api-version={version}");
        }
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let version = version.map_or_else(String::new, |own| format!("?api-version={own}"));
        format!("{base}/v1/{path}{version}")
    }
}

/// A name of Bedrock's without the regions that it stands for.
fn without_region(model: &str) -> &str {
    let known = ["us.", "eu.", "apac.", "au.", "jp.", "us-gov.", "global."];
    let own = known.iter().find_map(|begin| model.strip_prefix(begin));
    own.unwrap_or(model)
}

/// Whether an address is one of Azure's own, which take the key in a header of theirs.
pub fn is_azures(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    let host = host.split(['/', ':', '?']).next().unwrap_or_default();
    [
        ".services.ai.azure.com",
        ".openai.azure.com",
        ".cognitiveservices.azure.com",
    ]
    .iter()
    .any(|end| host.ends_with(end))
}

fn cohere(base: &str, endpoint: Endpoint) -> String {
    // LiteLLM's own addresses have a revision of the API in them.
    let mut base = base;
    for end in ["/rerank", "/chat", "/embed", "/v1", "/v2", "/compatibility"] {
        base = base.strip_suffix(end).unwrap_or(base);
    }
    let path = endpoint.path();
    if endpoint == Endpoint::Rerank {
        return format!("{base}/v2/{path}");
    }
    format!("{base}/compatibility/v1/{path}")
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::PROVIDERS;

    fn url(prefix: &str, api_base: &str, api_version: Option<&str>, endpoint: Endpoint) -> String {
        let own = PROVIDERS.iter().find(|own| own.prefix == prefix).unwrap();
        let place = Place {
            api_base,
            model: "my/model",
            api_version,
            ..Place::default()
        };
        own.url(place, endpoint)
    }

    #[test]
    fn azures_addresses_have_the_deployment_and_the_revision() {
        let chat = Endpoint::ChatCompletions;
        let responses = Endpoint::Responses;
        for (base, version, endpoint, wanted) in [
            (
                "https://a",
                None,
                chat,
                "https://a/openai/deployments/my%2Fmodel/chat/completions?api-version=2025-02-01-preview",
            ),
            (
                "https://a/openai/",
                Some("2024-10-21"),
                Endpoint::Speech,
                "https://a/openai/deployments/my%2Fmodel/audio/speech?api-version=2024-10-21",
            ),
            (
                "https://a/openai/deployments/d",
                Some("2024-10-21"),
                chat,
                "https://a/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://a/openai/v1/",
                None,
                chat,
                "https://a/openai/v1/chat/completions",
            ),
            (
                "https://a",
                Some("v1"),
                chat,
                "https://a/openai/v1/chat/completions",
            ),
            (
                "https://a",
                Some("preview"),
                responses,
                "https://a/openai/v1/responses?api-version=preview",
            ),
            (
                "https://a",
                Some("2025-03-01-preview"),
                responses,
                "https://a/openai/responses?api-version=2025-03-01-preview",
            ),
            (
                "https://a",
                None,
                responses,
                "https://a/openai/v1/responses?api-version=preview",
            ),
            (
                "https://a",
                Some("x&y=z"),
                responses,
                "https://a/openai/responses?api-version=x%26y%3Dz",
            ),
        ] {
            assert_eq!(url("azure", base, version, endpoint), wanted);
        }
        for (base, wanted) in [
            (
                "https://x.services.ai.azure.com",
                "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            ),
            (
                "https://x.services.ai.azure.com/models",
                "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            ),
            (
                "https://x.inference.ai.azure.com/v1",
                "https://x.inference.ai.azure.com/v1/chat/completions",
            ),
        ] {
            assert_eq!(url("azure_ai", base, None, chat), wanted);
        }
        assert!(
            is_azures("https://x.openai.azure.com:443/openai")
                && !is_azures("https://openai.azure.com.example/")
        );
    }

    #[test]
    fn clouds_have_the_model_in_their_addresses() {
        let url = |prefix: &str, model, stream| {
            let own = PROVIDERS.iter().find(|own| own.prefix == prefix).unwrap();
            let place = Place {
                api_base: "https://c/",
                model,
                project: Some("p"),
                location: Some("global"),
                stream,
                ..Place::default()
            };
            let endpoint = own.endpoints[0];
            own.url(place, endpoint)
        };
        let at = |rest: &str| format!("https://c/{rest}");
        for (prefix, model, stream, wanted) in [
            ("bedrock", "a.b-v1:0", false, "model/a.b-v1%3A0/converse"),
            (
                "bedrock",
                "arn:aws:bedrock:x/y",
                true,
                "model/arn%3Aaws%3Abedrock%3Ax%2Fy/converse-stream",
            ),
            (
                "vertex_ai",
                "gemini-2.5-pro",
                false,
                "v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-pro:generateContent",
            ),
            (
                "vertex_ai",
                "gemini-2.5-pro",
                true,
                "v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            ),
            (
                "vertex_ai_anthropic",
                "claude-x@1",
                false,
                "v1/projects/p/locations/global/publishers/anthropic/models/claude-x%401:rawPredict",
            ),
            (
                "vertex_ai_anthropic",
                "claude-x@1",
                true,
                "v1/projects/p/locations/global/publishers/anthropic/models/claude-x%401:streamRawPredict",
            ),
        ] {
            assert_eq!(url(prefix, model, stream), at(wanted));
        }
    }

    #[test]
    fn coheres_addresses_are_the_compatible_ones_and_its_own() {
        for base in [
            "https://api.cohere.com",
            "https://api.cohere.ai/v1/rerank",
            "https://c/compatibility/v1",
        ] {
            let root = base
                .split("/v1")
                .next()
                .unwrap()
                .trim_end_matches("/compatibility");
            assert_eq!(
                url("cohere", base, None, Endpoint::Rerank),
                format!("{root}/v2/rerank")
            );
            assert_eq!(
                url("cohere_chat", base, None, Endpoint::ChatCompletions),
                format!("{root}/compatibility/v1/chat/completions")
            );
        }
    }
}
