-- Models of the API: LiteLLM's LiteLLM_ProxyModelTable. `litellm_params` is sealed JSON, because credentials are in it; `model_info` is JSON.
-- Row 5 of registry_revision counts their changes.
CREATE TABLE proxy_model (
    model_id TEXT PRIMARY KEY NOT NULL,
    model_name TEXT,
    litellm_params TEXT,
    model_info TEXT NOT NULL DEFAULT '{}',
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT
);

CREATE INDEX proxy_model_model_name ON proxy_model (model_name);
