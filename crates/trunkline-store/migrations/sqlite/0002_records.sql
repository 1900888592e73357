-- What is kept about requests and sessions.
CREATE TABLE call_record (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    request_id TEXT NOT NULL DEFAULT '',
    started_at BIGINT NOT NULL DEFAULT 0,
    duration_us BIGINT NOT NULL DEFAULT 0,
    kind TEXT NOT NULL DEFAULT '',
    principal TEXT NOT NULL DEFAULT '',
    session TEXT,
    server_id TEXT,
    tool TEXT,
    outcome TEXT NOT NULL DEFAULT '',
    error TEXT,
    request_bytes BIGINT NOT NULL DEFAULT 0,
    response_bytes BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX call_record_started_at ON call_record (started_at);

-- Sessions that a client ended before they expired.
CREATE TABLE session_ended (
    session_key TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX session_ended_expires_at ON session_ended (expires_at);
