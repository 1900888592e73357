-- Virtual keys: LiteLLM's names of what is served so far. `token` is the SHA-256 of a key; the key is nowhere.
-- `revision` is that of registry_revision's row 2 when the row was written, so that what is new can be read alone.
CREATE TABLE verification_token (
    token TEXT PRIMARY KEY NOT NULL,
    key_name TEXT,
    key_alias TEXT,
    key_type TEXT,
    user_id TEXT,
    team_id TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    expires BIGINT,
    blocked BOOLEAN,
    allowed_routes TEXT NOT NULL DEFAULT '[]',
    object_permission TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    rotation_count BIGINT,
    last_rotation_at BIGINT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX verification_token_key_alias ON verification_token (key_alias);
CREATE INDEX verification_token_revision ON verification_token (revision);
