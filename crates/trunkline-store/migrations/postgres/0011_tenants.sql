-- Whom keys belong to: teams, users, organisations, and the end users that requests are made for, with LiteLLM's names of what is
-- served so far. `revision` is that of registry_revision's row 2 when the row was written, as in verification_token.
CREATE TABLE team_table (
    team_id TEXT PRIMARY KEY NOT NULL,
    team_alias TEXT,
    organization_id TEXT,
    members_with_roles TEXT NOT NULL DEFAULT '[]',
    blocked BOOLEAN,
    metadata TEXT NOT NULL DEFAULT '{}',
    object_permission TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX team_table_revision ON team_table (revision);

CREATE TABLE user_table (
    user_id TEXT PRIMARY KEY NOT NULL,
    user_email TEXT,
    user_alias TEXT,
    user_role TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    object_permission TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX user_table_revision ON user_table (revision);

CREATE TABLE organization_table (
    organization_id TEXT PRIMARY KEY NOT NULL,
    organization_alias TEXT,
    members TEXT NOT NULL DEFAULT '[]',
    metadata TEXT NOT NULL DEFAULT '{}',
    object_permission TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX organization_table_revision ON organization_table (revision);

CREATE TABLE end_user_table (
    user_id TEXT PRIMARY KEY NOT NULL,
    alias TEXT,
    blocked BOOLEAN,
    object_permission TEXT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX end_user_table_revision ON end_user_table (revision);
