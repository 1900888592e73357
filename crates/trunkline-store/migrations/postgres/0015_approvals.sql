-- Calls that somebody has to say yes to. `binding` is the digest of what one is about; `arguments` are sealed. `expires_at` NULL: for
-- good. On a server: `tool_approval` is a JSON object of words by tool; `transport` ends in +rules where there is one.
CREATE TABLE call_approval (
    approval_id TEXT PRIMARY KEY NOT NULL,
    server_id TEXT NOT NULL DEFAULT '',
    tool TEXT NOT NULL DEFAULT '',
    principal TEXT NOT NULL DEFAULT '',
    mode TEXT NOT NULL DEFAULT 'always',
    binding TEXT NOT NULL DEFAULT '',
    arguments TEXT,
    state TEXT NOT NULL DEFAULT 'pending',
    created_at BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT,
    decided_at BIGINT,
    decided_by TEXT,
    used_at BIGINT
);

CREATE INDEX call_approval_binding ON call_approval (binding);
CREATE INDEX call_approval_principal ON call_approval (principal);
CREATE INDEX call_approval_expires_at ON call_approval (expires_at);

ALTER TABLE mcp_server ADD COLUMN tool_approval TEXT;
ALTER TABLE mcp_server ADD COLUMN approval_by_user BOOLEAN NOT NULL DEFAULT FALSE;
