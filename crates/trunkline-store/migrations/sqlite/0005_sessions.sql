-- Sessions of clients go on after a restart and on another replica: what is kept for them beside what their ids hold.
-- upstream_session is sealed with a key that is not in the database. upstream_digest tells two of them apart.
CREATE TABLE session_upstream (
    session_key TEXT NOT NULL,
    server_id TEXT NOT NULL,
    credential TEXT NOT NULL,
    declared BIGINT NOT NULL,
    definition TEXT NOT NULL DEFAULT '',
    upstream_session TEXT NOT NULL DEFAULT '',
    upstream_digest TEXT NOT NULL DEFAULT '',
    revision TEXT NOT NULL DEFAULT '',
    opened_at BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (session_key, server_id, credential, declared)
);

CREATE INDEX session_upstream_opened_at ON session_upstream (opened_at);
CREATE INDEX session_upstream_last_used_at ON session_upstream (last_used_at);

CREATE TABLE session_state (
    session_key TEXT PRIMARY KEY NOT NULL,
    log_level TEXT,
    subscriptions TEXT NOT NULL DEFAULT '[]',
    listener TEXT,
    listened_until BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX session_state_updated_at ON session_state (updated_at);
CREATE INDEX session_state_expires_at ON session_state (expires_at);

-- When a session ended, so that other replicas find out what is new.
ALTER TABLE session_ended ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX session_ended_ended_at ON session_ended (ended_at);
