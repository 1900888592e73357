-- Toolsets: LiteLLM's LiteLLM_MCPToolsetTable. `tools` is a JSON list of {"server_id", "tool_name"}.
-- Row 3 of registry_revision counts their changes.
CREATE TABLE mcp_toolset (
    toolset_id TEXT PRIMARY KEY NOT NULL,
    toolset_name TEXT,
    description TEXT,
    tools TEXT NOT NULL DEFAULT '[]',
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT
);

CREATE INDEX mcp_toolset_toolset_name ON mcp_toolset (toolset_name);

-- What a key may do in a minute, and at the same time. `mcp_rpm_limit` is a JSON object of numbers by server.
ALTER TABLE verification_token ADD COLUMN rpm_limit BIGINT;
ALTER TABLE verification_token ADD COLUMN max_parallel_requests BIGINT;
ALTER TABLE verification_token ADD COLUMN mcp_rpm_limit TEXT;
