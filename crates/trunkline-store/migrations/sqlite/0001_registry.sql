-- The registry: LiteLLM's 56 columns of an MCP server under their names, then Trunkline's own.
-- Times are microseconds since 1970 UTC. Lists and maps are JSON texts.
-- credentials, static_headers, env_vars and env are sealed with a key that is not in the database.
CREATE TABLE mcp_server (
    server_id TEXT PRIMARY KEY NOT NULL,
    server_name TEXT,
    alias TEXT,
    description TEXT,
    instructions TEXT,
    url TEXT,
    spec_path TEXT,
    transport TEXT NOT NULL DEFAULT 'sse',
    auth_type TEXT,
    credentials TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    mcp_info TEXT,
    mcp_access_groups TEXT NOT NULL DEFAULT '[]',
    allowed_tools TEXT,
    tool_name_to_display_name TEXT NOT NULL DEFAULT '{}',
    tool_name_to_description TEXT NOT NULL DEFAULT '{}',
    pinned_tools TEXT,
    extra_headers TEXT NOT NULL DEFAULT '[]',
    static_headers TEXT,
    env_vars TEXT,
    status TEXT NOT NULL DEFAULT 'unknown',
    last_health_check BIGINT,
    health_check_error TEXT,
    command TEXT,
    args TEXT NOT NULL DEFAULT '[]',
    env TEXT,
    issuer TEXT,
    authorization_url TEXT,
    token_url TEXT,
    registration_url TEXT,
    oauth2_flow TEXT,
    token_exchange_endpoint TEXT,
    audience TEXT,
    subject_token_type TEXT,
    token_exchange_profile TEXT,
    allow_all_keys BOOLEAN NOT NULL DEFAULT FALSE,
    available_on_public_internet BOOLEAN NOT NULL DEFAULT TRUE,
    delegate_auth_to_upstream BOOLEAN NOT NULL DEFAULT FALSE,
    oauth_passthrough BOOLEAN NOT NULL DEFAULT FALSE,
    dcr_bridge BOOLEAN,
    per_server_oauth_discovery BOOLEAN NOT NULL DEFAULT FALSE,
    is_byok BOOLEAN NOT NULL DEFAULT FALSE,
    byok_description TEXT NOT NULL DEFAULT '[]',
    byok_api_key_help_url TEXT,
    source_url TEXT,
    timeout DOUBLE PRECISION,
    max_concurrent_requests BIGINT,
    rpm BIGINT,
    approval_status TEXT NOT NULL DEFAULT 'active',
    submitted_by TEXT,
    submitted_at BIGINT,
    reviewed_at BIGINT,
    review_notes TEXT,
    disallowed_tools TEXT NOT NULL DEFAULT '[]',
    allowed_params TEXT NOT NULL DEFAULT '{}',
    prefix TEXT NOT NULL DEFAULT 'always',
    session TEXT NOT NULL DEFAULT 'auto',
    protocol_version TEXT
);

CREATE INDEX mcp_server_approval_status ON mcp_server (approval_status);

-- The last good tool list of each server, of the file's, too; hence no foreign key.
CREATE TABLE mcp_catalogue (
    server_id TEXT PRIMARY KEY NOT NULL,
    fetched_at BIGINT NOT NULL DEFAULT 0,
    definition_digest TEXT NOT NULL DEFAULT '',
    protocol_version TEXT,
    server_info TEXT,
    instructions TEXT,
    tools TEXT NOT NULL DEFAULT '[]'
);

-- One row: counts the writes to mcp_server, so that every process sees that it has to read again.
CREATE TABLE registry_revision (
    id BIGINT PRIMARY KEY NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0
);

INSERT INTO registry_revision (id, revision) VALUES (1, 0);
