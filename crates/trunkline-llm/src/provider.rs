//! The services that are served, by LiteLLM's prefixes: Anthropic, and those that speak OpenAI's dialect. A row is what differs:
//! where it is, how it is told who asks, which variables of the environment LiteLLM takes its key and its address from, what it serves, and how it spells
//! things.

use crate::place::Paths;
use crate::{Dialect, Endpoint, Place, Spoken};

/// One service, or kind of server.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// What stands before the first `/` of `litellm_params.model`.
    pub prefix: &'static str,
    /// What it speaks.
    pub dialect: Spoken,
    /// Its address, without a slash at its end; `None`: it has to be given.
    pub api_base: Option<&'static str>,
    /// Variables that may hold its key; the first that is set counts.
    pub key_variables: &'static [&'static str],
    /// Variables that may hold its address.
    pub base_variables: &'static [&'static str],
    /// Nothing works without a key.
    pub needs_key: bool,
    /// What it serves.
    pub endpoints: &'static [Endpoint],
    /// What an address ends in, and people leave out: added where it is missing.
    pub base_suffix: &'static str,
    /// What its names for models begin with, and people leave out.
    pub model_prefix: &'static str,
    /// Members of a request that it knows by another name.
    pub renames: &'static [(&'static str, &'static str)],
    /// How its addresses are made.
    pub paths: Paths,
    /// How it is told who asks.
    pub credential: Credential,
    /// Variables that may hold the revision of its API.
    pub version_variables: &'static [&'static str],
    /// Its streams say what they took if `stream_options` asks for it. Others say it anyway, and take no such member.
    pub asks_usage: bool,
}

/// How a service is told who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`
    Bearer,
    /// `x-api-key`; keys of another kind as `Authorization`.
    Anthropic,
    /// `x-goog-api-key`
    Google,
    /// `api-key`, or a token of the operator's directory as `Authorization`.
    Azure,
    /// The same at addresses of Azure's own, and `Authorization` elsewhere.
    AzureAi,
    /// AWS's signature of each request, or a token as `Authorization`.
    Aws,
    /// A token for a service account of Google's, as `Authorization`.
    GoogleAccount,
}

const EVERYTHING: &[Endpoint] = &Endpoint::OPENAI;
const CHAT: &[Endpoint] = &[Endpoint::ChatCompletions];
/// Of dialects of their own.
const CHAT_VECTORS_AND_COUNT: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Embeddings,
    Endpoint::CountTokens,
];
const CHAT_AND_TEXT: &[Endpoint] = &[Endpoint::ChatCompletions, Endpoint::Completions];
const XAIS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::ImageGenerations,
];
const CHAT_AND_EMBEDDINGS: &[Endpoint] = &[Endpoint::ChatCompletions, Endpoint::Embeddings];
const EMBEDDINGS_AND_RERANK: &[Endpoint] = &[Endpoint::Embeddings, Endpoint::Rerank];
const CHAT_EMBEDDINGS_AND_RERANK: &[Endpoint] =
    &[Endpoint::ChatCompletions, Endpoint::Embeddings, Endpoint::Rerank];
/// What OpenAI itself has.
const OPENAIS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Moderations,
    Endpoint::ImageGenerations,
    Endpoint::Speech,
    Endpoint::Transcriptions,
];
/// And what Azure has of it.
const AZURES: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::ImageGenerations,
    Endpoint::Speech,
    Endpoint::Transcriptions,
];
/// Of another gateway, which may have anything.
const OF_PROXIES: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Rerank,
    Endpoint::Moderations,
    Endpoint::ImageGenerations,
    Endpoint::Speech,
    Endpoint::Transcriptions,
];
/// Of services that run models of all kinds.
const ALL_KINDS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Rerank,
    Endpoint::ImageGenerations,
    Endpoint::Speech,
    Endpoint::Transcriptions,
];
const VLLMS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Rerank,
    Endpoint::Transcriptions,
];
const CHAT_AND_SOUND: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Speech,
    Endpoint::Transcriptions,
];
const MISTRALS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Embeddings,
    Endpoint::Moderations,
    Endpoint::Transcriptions,
];
/// Names of models begin with it in LiteLLM's files, where it says which API is meant.
const AZURES_KINDS: [&str; 3] = ["o_series/", "gpt5_series/", "responses/"];
/// The newer name of a limit, to the older one.
const OLD_LIMIT: &[(&str, &str)] = &[("max_completion_tokens", "max_tokens")];

impl Provider {
    const fn at(
        prefix: &'static str,
        api_base: &'static str,
        key_variables: &'static [&'static str],
        endpoints: &'static [Endpoint],
    ) -> Self {
        Self {
            prefix,
            dialect: Spoken::By(Dialect::OpenAi),
            api_base: Some(api_base),
            key_variables,
            base_variables: &[],
            needs_key: true,
            endpoints,
            base_suffix: "",
            model_prefix: "",
            renames: &[],
            paths: Paths::Below,
            credential: Credential::Bearer,
            version_variables: &[],
            asks_usage: true,
        }
    }

    /// Its streams say what they took, and it takes no `stream_options`.
    const fn says_usage(self) -> Self {
        Self {
            asks_usage: false,
            ..self
        }
    }

    /// A server of one's own: no address is known, and it may want no key.
    const fn own(
        prefix: &'static str,
        key_variables: &'static [&'static str],
        base_variables: &'static [&'static str],
    ) -> Self {
        Self {
            api_base: None,
            base_variables,
            needs_key: false,
            ..Self::at(prefix, "", key_variables, EVERYTHING)
        }
    }

    const fn base_variables(self, base_variables: &'static [&'static str]) -> Self {
        Self {
            base_variables,
            ..self
        }
    }

    const fn renames(self, renames: &'static [(&'static str, &'static str)]) -> Self {
        Self { renames, ..self }
    }

    /// By which of its endpoints a request for one is answered: the same, or another dialect's that does the same.
    pub fn serving(&self, endpoint: Endpoint) -> Option<Endpoint> {
        let mut own = std::iter::once(endpoint).chain(endpoint.others().iter().copied());
        own.find(|own| self.endpoints.contains(own))
    }

    /// How a request for an endpoint is written for it.
    pub fn spoken(&self, endpoint: Endpoint) -> Spoken {
        match self.dialect {
            Spoken::Gemini | Spoken::Bedrock => self.dialect,
            Spoken::By(_) => Spoken::By(self.serving(endpoint).unwrap_or(endpoint).dialect()),
        }
    }

    /// The name of a model as the service knows it.
    pub fn model(&self, name: &str) -> String {
        if self.paths == Paths::Azure {
            let own = AZURES_KINDS.iter().find_map(|kind| name.strip_prefix(kind));
            return own.unwrap_or(name).to_owned();
        }
        if self.paths == Paths::Bedrock {
            return bedrocks(name).1.to_owned();
        }
        // A name with its owner is whole.
        if self.model_prefix.is_empty() || name.starts_with("accounts/") || name.contains('#') {
            name.to_owned()
        } else {
            format!("{}{name}", self.model_prefix)
        }
    }

    /// The address of an endpoint.
    pub fn url(&self, place: Place<'_>, endpoint: Endpoint) -> String {
        place.url(self, endpoint)
    }
}

/// All of them.
pub const PROVIDERS: &[Provider] = &[
    Provider::at(
        "openai",
        "https://api.openai.com/v1",
        &["OPENAI_API_KEY"],
        OPENAIS,
    )
    .base_variables(&["OPENAI_BASE_URL", "OPENAI_API_BASE"]),
    Provider {
        endpoints: &[Endpoint::Completions],
        ..Provider::at(
            "text-completion-openai",
            "https://api.openai.com/v1",
            &["OPENAI_API_KEY"],
            EVERYTHING,
        )
        .base_variables(&["OPENAI_BASE_URL", "OPENAI_API_BASE"])
    },
    Provider {
        dialect: Spoken::By(Dialect::Anthropic),
        credential: Credential::Anthropic,
        base_suffix: "/v1",
        ..Provider::at(
            "anthropic",
            "https://api.anthropic.com",
            &["ANTHROPIC_API_KEY"],
            &Endpoint::ANTHROPIC,
        )
        .base_variables(&["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"])
    },
    Provider {
        dialect: Spoken::Gemini,
        paths: Paths::Gemini,
        credential: Credential::Google,
        base_suffix: "/v1beta",
        ..Provider::at(
            "gemini",
            "https://generativelanguage.googleapis.com",
            &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
            CHAT_VECTORS_AND_COUNT,
        )
        .base_variables(&["GEMINI_API_BASE"])
    },
    Provider {
        paths: Paths::Azure,
        credential: Credential::Azure,
        endpoints: AZURES,
        needs_key: true,
        version_variables: &["AZURE_API_VERSION"],
        ..Provider::own(
            "azure",
            &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"],
            &["AZURE_API_BASE"],
        )
    },
    Provider {
        paths: Paths::AzureAi,
        credential: Credential::AzureAi,
        endpoints: CHAT_EMBEDDINGS_AND_RERANK,
        version_variables: &["AZURE_AI_API_VERSION"],
        ..Provider::own("azure_ai", &["AZURE_AI_API_KEY"], &["AZURE_AI_API_BASE"])
    },
    Provider {
        dialect: Spoken::Bedrock,
        paths: Paths::Bedrock,
        credential: Credential::Aws,
        endpoints: CHAT_VECTORS_AND_COUNT,
        ..Provider::own(
            "bedrock",
            &["AWS_BEARER_TOKEN_BEDROCK"],
            &["AWS_BEDROCK_RUNTIME_ENDPOINT"],
        )
    },
    Provider {
        dialect: Spoken::Gemini,
        paths: Paths::VertexGemini,
        credential: Credential::GoogleAccount,
        endpoints: CHAT_VECTORS_AND_COUNT,
        ..Provider::own("vertex_ai", &["VERTEXAI_API_KEY"], &["VERTEXAI_API_BASE"])
    },
    Provider {
        dialect: Spoken::By(Dialect::Anthropic),
        paths: Paths::VertexAnthropic,
        credential: Credential::GoogleAccount,
        endpoints: &Endpoint::ANTHROPIC,
        ..Provider::own(VERTEX_ANTHROPIC, &["VERTEXAI_API_KEY"], &["VERTEXAI_API_BASE"])
    },
    Provider {
        paths: Paths::Cohere,
        ..Provider::at(
            "cohere",
            "https://api.cohere.com",
            &["COHERE_API_KEY", "CO_API_KEY"],
            CHAT_EMBEDDINGS_AND_RERANK,
        )
        .base_variables(&["COHERE_API_BASE"])
        .says_usage()
        .renames(OLD_LIMIT)
    },
    Provider {
        paths: Paths::Cohere,
        ..Provider::at(
            "cohere_chat",
            "https://api.cohere.com",
            &["COHERE_API_KEY", "CO_API_KEY"],
            CHAT,
        )
        .base_variables(&["COHERE_API_BASE"])
        .says_usage()
        .renames(OLD_LIMIT)
    },
    Provider::at(
        "jina_ai",
        "https://api.jina.ai/v1",
        &["JINA_AI_API_KEY", "JINA_AI_TOKEN"],
        EMBEDDINGS_AND_RERANK,
    )
    .base_variables(&["JINA_AI_API_BASE"]),
    Provider::at(
        "voyage",
        "https://api.voyageai.com/v1",
        &["VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"],
        EMBEDDINGS_AND_RERANK,
    )
    .base_variables(&["VOYAGE_API_BASE"])
    .renames(&[("top_n", "top_k"), ("dimensions", "output_dimension")]),
    // Servers of one's own.
    Provider::own(
        "custom_openai",
        &["OPENAI_LIKE_API_KEY"],
        &["OPENAI_LIKE_API_BASE"],
    ),
    Provider::own("openai_like", &["OPENAI_LIKE_API_KEY"], &["OPENAI_LIKE_API_BASE"]),
    Provider {
        endpoints: VLLMS,
        ..Provider::own("hosted_vllm", &["HOSTED_VLLM_API_KEY"], &["HOSTED_VLLM_API_BASE"])
    },
    Provider::own("lm_studio", &["LM_STUDIO_API_KEY"], &["LM_STUDIO_API_BASE"]),
    Provider {
        endpoints: OF_PROXIES,
        ..Provider::own(
            "litellm_proxy",
            &["LITELLM_PROXY_API_KEY"],
            &["LITELLM_PROXY_API_BASE"],
        )
    },
    Provider {
        endpoints: ALL_KINDS,
        ..Provider::own("xinference", &["XINFERENCE_API_KEY"], &["XINFERENCE_API_BASE"])
    },
    Provider::own("llamafile", &["LLAMAFILE_API_KEY"], &["LLAMAFILE_API_BASE"]),
    Provider {
        api_base: Some("http://localhost:11434"),
        base_suffix: "/v1",
        ..Provider::own("ollama", &["OLLAMA_API_KEY"], &["OLLAMA_API_BASE"])
    },
    Provider {
        api_base: Some("http://localhost:11434"),
        base_suffix: "/v1",
        ..Provider::own("ollama_chat", &["OLLAMA_API_KEY"], &["OLLAMA_API_BASE"])
    },
    // Services.
    Provider::at(
        "groq",
        "https://api.groq.com/openai/v1",
        &["GROQ_API_KEY"],
        CHAT_AND_SOUND,
    )
    .base_variables(&["GROQ_API_BASE"]),
    Provider::at(
        "together_ai",
        "https://api.together.xyz/v1",
        &[
            "TOGETHER_API_KEY",
            "TOGETHER_AI_API_KEY",
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_TOKEN",
        ],
        ALL_KINDS,
    )
    .base_variables(&["TOGETHER_AI_API_BASE"]),
    Provider {
        model_prefix: "accounts/fireworks/models/",
        ..Provider::at(
            "fireworks_ai",
            "https://api.fireworks.ai/inference/v1",
            &[
                "FIREWORKS_API_KEY",
                "FIREWORKS_AI_API_KEY",
                "FIREWORKSAI_API_KEY",
                "FIREWORKS_AI_TOKEN",
            ],
            CHAT_AND_TEXT,
        )
        .base_variables(&["FIREWORKS_API_BASE"])
    },
    Provider::at(
        "deepseek",
        "https://api.deepseek.com/v1",
        &["DEEPSEEK_API_KEY"],
        CHAT,
    )
    .base_variables(&["DEEPSEEK_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at("xai", "https://api.x.ai/v1", &["XAI_API_KEY"], XAIS).base_variables(&["XAI_API_BASE"]),
    Provider::at(
        "openrouter",
        "https://openrouter.ai/api/v1",
        &["OPENROUTER_API_KEY", "OR_API_KEY"],
        EVERYTHING,
    )
    .base_variables(&["OPENROUTER_API_BASE"]),
    Provider::at(
        "perplexity",
        "https://api.perplexity.ai",
        &["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"],
        CHAT,
    )
    .says_usage()
    .base_variables(&["PERPLEXITY_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at(
        "cerebras",
        "https://api.cerebras.ai/v1",
        &["CEREBRAS_API_KEY"],
        CHAT_AND_TEXT,
    )
    .base_variables(&["CEREBRAS_API_BASE"]),
    Provider::at(
        "nvidia_nim",
        "https://integrate.api.nvidia.com/v1",
        &["NVIDIA_NIM_API_KEY"],
        EVERYTHING,
    )
    .base_variables(&["NVIDIA_NIM_API_BASE"]),
    Provider::at(
        "mistral",
        "https://api.mistral.ai/v1",
        &["MISTRAL_API_KEY"],
        MISTRALS,
    )
    .says_usage()
    .base_variables(&["MISTRAL_API_BASE"])
    .renames(&[("max_completion_tokens", "max_tokens"), ("seed", "random_seed")]),
    Provider::at(
        "codestral",
        "https://codestral.mistral.ai/v1",
        &["CODESTRAL_API_KEY"],
        CHAT,
    )
    .says_usage()
    .base_variables(&["CODESTRAL_API_BASE"])
    .renames(&[("max_completion_tokens", "max_tokens"), ("seed", "random_seed")]),
    Provider::at(
        "sambanova",
        "https://api.sambanova.ai/v1",
        &["SAMBANOVA_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["SAMBANOVA_API_BASE"]),
    Provider::at(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        &["DEEPINFRA_API_KEY"],
        EVERYTHING,
    )
    .base_variables(&["DEEPINFRA_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at(
        "baseten",
        "https://inference.baseten.co/v1",
        &["BASETEN_API_KEY"],
        CHAT,
    ),
    Provider::at(
        "moonshot",
        "https://api.moonshot.ai/v1",
        &["MOONSHOT_API_KEY"],
        CHAT,
    )
    .base_variables(&["MOONSHOT_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        &["DASHSCOPE_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["DASHSCOPE_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        &["VOLCENGINE_API_KEY", "ARK_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["VOLCENGINE_API_BASE"]),
    Provider::at(
        "novita",
        "https://api.novita.ai/v3/openai",
        &["NOVITA_API_KEY"],
        CHAT_AND_TEXT,
    )
    .renames(OLD_LIMIT),
    Provider::at(
        "nebius",
        "https://api.studio.nebius.ai/v1",
        &["NEBIUS_API_KEY"],
        EVERYTHING,
    )
    .base_variables(&["NEBIUS_API_BASE"]),
    Provider::at(
        "hyperbolic",
        "https://api.hyperbolic.xyz/v1",
        &["HYPERBOLIC_API_KEY"],
        CHAT_AND_TEXT,
    )
    .base_variables(&["HYPERBOLIC_API_BASE"]),
    Provider::at(
        "featherless_ai",
        "https://api.featherless.ai/v1",
        &["FEATHERLESS_AI_API_KEY"],
        CHAT_AND_TEXT,
    )
    .base_variables(&["FEATHERLESS_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at(
        "friendliai",
        "https://api.friendli.ai/serverless/v1",
        &["FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"],
        CHAT_AND_TEXT,
    )
    .base_variables(&["FRIENDLI_API_BASE"]),
    Provider::at(
        "github",
        "https://models.inference.ai.azure.com",
        &["GITHUB_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["GITHUB_API_BASE"]),
    Provider::at(
        "meta_llama",
        "https://api.llama.com/compat/v1",
        &["LLAMA_API_KEY"],
        CHAT,
    )
    .base_variables(&["LLAMA_API_BASE"]),
    Provider::at(
        "lambda_ai",
        "https://api.lambda.ai/v1",
        &["LAMBDA_API_KEY"],
        CHAT_AND_TEXT,
    )
    .base_variables(&["LAMBDA_API_BASE"]),
    Provider::at(
        "nscale",
        "https://inference.api.nscale.com/v1",
        &["NSCALE_API_KEY"],
        CHAT,
    )
    .base_variables(&["NSCALE_API_BASE"]),
    Provider::at("v0", "https://api.v0.dev/v1", &["V0_API_KEY"], CHAT).base_variables(&["V0_API_BASE"]),
    Provider::at("morph", "https://api.morphllm.com/v1", &["MORPH_API_KEY"], CHAT)
        .base_variables(&["MORPH_API_BASE"]),
    Provider::at(
        "wandb",
        "https://api.inference.wandb.ai/v1",
        &["WANDB_API_KEY"],
        CHAT,
    )
    .base_variables(&["WANDB_API_BASE"]),
    Provider::at(
        "vercel_ai_gateway",
        "https://ai-gateway.vercel.sh/v1",
        &["VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["VERCEL_AI_GATEWAY_API_BASE"]),
    Provider::at(
        "aiml",
        "https://api.aimlapi.com/v1",
        &["AIML_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["AIML_API_BASE"]),
    Provider::at(
        "cometapi",
        "https://api.cometapi.com/v1",
        &["COMETAPI_KEY", "COMETAPI_API_KEY"],
        CHAT,
    )
    .base_variables(&["COMETAPI_API_BASE", "COMETAPI_BASE_URL"]),
    Provider::at(
        "scaleway",
        "https://api.scaleway.ai/v1",
        &["SCW_SECRET_KEY"],
        CHAT_AND_EMBEDDINGS,
    ),
    Provider::at(
        "veniceai",
        "https://api.venice.ai/api/v1",
        &["VENICE_AI_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    ),
    Provider::at("poe", "https://api.poe.com/v1", &["POE_API_KEY"], CHAT).renames(OLD_LIMIT),
    Provider::at(
        "chutes",
        "https://llm.chutes.ai/v1",
        &["CHUTES_API_KEY"],
        CHAT_AND_TEXT,
    )
    .renames(OLD_LIMIT),
    Provider::at(
        "nano-gpt",
        "https://nano-gpt.com/api/v1",
        &["NANOGPT_API_KEY"],
        CHAT,
    )
    .renames(OLD_LIMIT),
    Provider::at(
        "aihubmix",
        "https://aihubmix.com/v1",
        &["AIHUBMIX_API_KEY"],
        CHAT_AND_EMBEDDINGS,
    )
    .base_variables(&["AIHUBMIX_API_BASE"]),
    Provider::at(
        "synthetic",
        "https://api.synthetic.new/openai/v1",
        &["SYNTHETIC_API_KEY"],
        CHAT,
    )
    .renames(OLD_LIMIT),
    Provider::at(
        "publicai",
        "https://api.publicai.co/v1",
        &["PUBLICAI_API_KEY"],
        CHAT,
    )
    .base_variables(&["PUBLICAI_API_BASE"])
    .renames(OLD_LIMIT),
    Provider::at("gmi", "https://api.gmi-serving.com/v1", &["GMI_API_KEY"], CHAT),
    Provider::at(
        "crusoe",
        "https://managed-inference-api-proxy.crusoecloud.com/v1",
        &["CRUSOE_API_KEY"],
        CHAT,
    )
    .base_variables(&["CRUSOE_API_BASE"])
    .renames(OLD_LIMIT),
];

/// LiteLLM's other prefixes, which want another dialect and are not served yet.
pub const OTHERS: &[&str] = &[
    "a2a",
    "ai21",
    "ai21_chat",
    "aiohttp_openai",
    "aleph_alpha",
    "anthropic_text",
    "azure_text",
    "bedrock_converse",
    "bedrock_mantle",
    "bytez",
    "clarifai",
    "cloudflare",
    "custom",
    "databricks",
    "datarobot",
    "deepgram",
    "docker_model_runner",
    "elevenlabs",
    "empower",
    "fal_ai",
    "galadriel",
    "gigachat",
    "github_copilot",
    "google_ai_studio",
    "gradient_ai",
    "heroku",
    "huggingface",
    "inception",
    "infinity",
    "langgraph",
    "lemonade",
    "maritalk",
    "minimax",
    "nlp_cloud",
    "oci",
    "oobabooga",
    "ovhcloud",
    "palm",
    "petals",
    "predibase",
    "ragflow",
    "recraft",
    "replicate",
    "runwayml",
    "sagemaker",
    "sagemaker_chat",
    "sap",
    "snowflake",
    "stability",
    "text-completion-codestral",
    "topaz",
    "triton",
    "vertex_ai_beta",
    "vllm",
    "watsonx",
    "watsonx_text",
    "zai",
];

/// How the names begin that are OpenAI's own where no prefix says otherwise.
const OPENAI_NAMES: [&str; 14] = [
    "gpt-",
    "chatgpt-",
    "o1",
    "o3",
    "o4",
    "text-embedding-",
    "davinci-",
    "babbage-",
    "ft:gpt-",
    "ft:davinci-",
    "ft:babbage-",
    "codex-",
    "computer-use-",
    "ft:o",
];

/// What `litellm_params.model` says.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A service that is served, and its name for the model.
    Served(&'static Provider, &'a str),
    /// A provider of LiteLLM's that speaks another dialect.
    NotServed(&'a str),
    /// Nothing that LiteLLM knows either.
    Unknown,
}

/// The provider that a name of a model, or `custom_llm_provider`, means.
pub fn named<'a>(model: &'a str, custom: Option<&'a str>) -> Named<'a> {
    if let Some(custom) = custom {
        let own = model.strip_prefix(custom).and_then(|rest| rest.strip_prefix('/'));
        return by_prefix(custom, own.unwrap_or(model));
    }
    match model.split_once('/') {
        Some((prefix, rest)) if !rest.is_empty() => by_prefix(prefix, rest),
        None if OPENAI_NAMES.iter().any(|begin| model.starts_with(begin)) => by_prefix("openai", model),
        None if model.starts_with("claude-") => by_prefix("anthropic", model),
        _ => Named::Unknown,
    }
}

/// Anthropic's models within Google's cloud, which are `vertex_ai/claude-…` in files.
pub const VERTEX_ANTHROPIC: &str = "vertex_ai_anthropic";

/// A name of Bedrock's: the region that it names, and the name without LiteLLM's words for the way to it.
pub fn bedrocks(name: &str) -> (Option<&str>, &str) {
    let mut name = name;
    for way in ["converse/", "converse_like/", "invoke/"] {
        name = name.strip_prefix(way).unwrap_or(name);
    }
    let is_region = |own: &str| {
        let is_plain = |own: u8| own.is_ascii_lowercase() || own.is_ascii_digit() || own == b'-';
        let has_number = own.ends_with(|last: char| last.is_ascii_digit());
        has_number && own.split('-').count() >= 3 && own.bytes().all(is_plain)
    };
    match name.split_once('/') {
        Some((region, rest)) if is_region(region) => (Some(region), rest),
        // `arn:aws:bedrock:us-east-1:…`
        _ if name.starts_with("arn:") => (name.split(':').nth(3).filter(|own| is_region(own)), name),
        _ => (None, name),
    }
}

/// How names of Google's own models in its cloud begin.
const GOOGLES_NAMES: [&str; 4] = [
    "gemini",
    "text-embedding",
    "textembedding",
    "text-multilingual-embedding",
];

fn by_prefix<'a>(prefix: &'a str, model: &'a str) -> Named<'a> {
    let is_googles = GOOGLES_NAMES.iter().any(|begin| model.starts_with(begin));
    if prefix == "vertex_ai" && !is_googles {
        let own = PROVIDERS.iter().find(|own| own.prefix == VERTEX_ANTHROPIC);
        return match own.filter(|_| model.starts_with("claude")) {
            Some(provider) => Named::Served(provider, model),
            // Other publishers' models have dialects of their own.
            None => Named::NotServed(prefix),
        };
    }
    if let Some(provider) = PROVIDERS.iter().find(|own| own.prefix == prefix) {
        Named::Served(provider, model)
    } else if OTHERS.contains(&prefix) {
        Named::NotServed(prefix)
    } else {
        Named::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_prefix_is_one_row_and_each_address_is_https_or_here() {
        let prefixes: BTreeSet<_> = PROVIDERS
            .iter()
            .map(|own| own.prefix)
            .chain(OTHERS.iter().copied())
            .collect();
        assert_eq!(prefixes.len(), PROVIDERS.len() + OTHERS.len());
        assert!(PROVIDERS.len() >= 40);
        for own in PROVIDERS {
            assert!(
                !own.endpoints.is_empty() && !own.key_variables.is_empty(),
                "{}",
                own.prefix
            );
            if let Some(base) = own.api_base {
                assert!(
                    base.starts_with("https://") || base.starts_with("http://localhost"),
                    "{base}"
                );
                assert!(!base.ends_with('/'), "{base}");
            } else {
                assert!(!own.base_variables.is_empty(), "{}", own.prefix);
            }
        }
    }

    #[test]
    fn names_say_whose_they_are() {
        let served = |model, custom| match named(model, custom) {
            Named::Served(own, model) => Some((own.prefix, model)),
            _ => None,
        };
        assert_eq!(served("openai/gpt-4o", None), Some(("openai", "gpt-4o")));
        assert_eq!(served("gpt-4o-mini", None), Some(("openai", "gpt-4o-mini")));
        assert_eq!(
            served("openrouter/anthropic/claude", None),
            Some(("openrouter", "anthropic/claude"))
        );
        assert_eq!(
            served("my-model", Some("hosted_vllm")),
            Some(("hosted_vllm", "my-model"))
        );
        assert_eq!(served("groq/llama", Some("groq")), Some(("groq", "llama")));
        assert_eq!(
            served("anthropic/claude-sonnet-4-5", None),
            Some(("anthropic", "claude-sonnet-4-5"))
        );
        assert_eq!(
            served("claude-opus-4-1", None),
            Some(("anthropic", "claude-opus-4-1"))
        );
        assert_eq!(named("sagemaker/claude", None), Named::NotServed("sagemaker"));
        assert_eq!(named("vertex_ai/mistral-x", None), Named::NotServed("vertex_ai"));
        assert_eq!(
            served("vertex_ai/claude-x", None),
            Some((VERTEX_ANTHROPIC, "claude-x"))
        );
        assert_eq!(
            served("vertex_ai/gemini-x", None),
            Some(("vertex_ai", "gemini-x"))
        );
        for (name, region, model) in [
            ("converse/a.b-v1:0", None, "a.b-v1:0"),
            ("us-gov-west-1/a.b", Some("us-gov-west-1"), "a.b"),
            ("us.anthropic.claude", None, "us.anthropic.claude"),
            (
                "arn:aws:bedrock:eu-west-3:1:x/y",
                Some("eu-west-3"),
                "arn:aws:bedrock:eu-west-3:1:x/y",
            ),
        ] {
            assert_eq!(bedrocks(name), (region, model));
        }
        for unknown in ["my-model", "opanai/gpt-4o", "groq/", "*", ""] {
            assert_eq!(named(unknown, None), Named::Unknown, "{unknown}");
        }
    }

    #[test]
    fn addresses_and_names_are_completed() {
        let of = |prefix: &str| PROVIDERS.iter().find(|own| own.prefix == prefix).unwrap();
        let chat = Endpoint::ChatCompletions;
        let at = |own: &Provider, api_base: &str, endpoint, (model, stream): (&str, bool)| {
            let place = Place {
                api_base,
                model,
                stream,
                ..Place::default()
            };
            own.url(place, endpoint)
        };
        let ollama = of("ollama");
        for base in [
            "http://o:11434",
            "http://o:11434/",
            "http://o:11434/v1",
            "http://o:11434/v1/",
        ] {
            assert_eq!(
                at(ollama, base, chat, ("m", false)),
                "http://o:11434/v1/chat/completions"
            );
        }
        assert_eq!(
            at(of("openai"), "https://x/v1/", Endpoint::Embeddings, ("m", false)),
            "https://x/v1/embeddings"
        );
        let anthropic = of("anthropic");
        for base in ["https://a", "https://a/", "https://a/v1", "https://a/v1/messages"] {
            assert_eq!(
                at(anthropic, base, Endpoint::Messages, ("m", false)),
                "https://a/v1/messages",
                "{base}"
            );
        }
        assert_eq!(
            at(anthropic, "https://a", Endpoint::CountTokens, ("m", false)),
            "https://a/v1/messages/count_tokens"
        );
        let gemini = of("gemini");
        for (stream, wanted) in [
            (false, "https://g/v1beta/models/gemini-2.5-pro:generateContent"),
            (
                true,
                "https://g/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            ),
        ] {
            assert_eq!(at(gemini, "https://g", chat, ("gemini-2.5-pro", stream)), wanted);
        }
        assert!(
            at(gemini, "https://g", chat, ("a/../b?c", false))
                .ends_with("/models/a%2F..%2Fb%3Fc:generateContent")
        );
        for (own, asked, wanted) in [
            (anthropic, chat, Some(Endpoint::Messages)),
            (anthropic, Endpoint::CountTokens, Some(Endpoint::CountTokens)),
            (anthropic, Endpoint::Embeddings, None),
            (of("groq"), Endpoint::Messages, Some(chat)),
            (of("groq"), Endpoint::Responses, Some(chat)),
            (of("openai"), Endpoint::Responses, Some(Endpoint::Responses)),
            (anthropic, Endpoint::Responses, Some(Endpoint::Messages)),
            (of("groq"), Endpoint::CountTokens, None),
        ] {
            assert_eq!(own.serving(asked), wanted, "{} {asked:?}", own.prefix);
        }
        for (own, wanted) in [
            (gemini, Spoken::Gemini),
            (anthropic, Spoken::By(Dialect::Anthropic)),
            (of("groq"), Spoken::By(Dialect::OpenAi)),
            (of("openai"), Spoken::By(Dialect::Responses)),
        ] {
            assert_eq!(own.spoken(Endpoint::Responses), wanted, "{}", own.prefix);
        }
        assert_eq!(
            of("fireworks_ai").model("llama"),
            "accounts/fireworks/models/llama"
        );
        assert_eq!(
            of("fireworks_ai").model("accounts/me/models/x"),
            "accounts/me/models/x"
        );
    }
}
