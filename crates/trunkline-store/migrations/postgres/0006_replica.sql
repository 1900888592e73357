-- The gateways that share this database, and where they reach each other.
CREATE TABLE replica (
    id TEXT PRIMARY KEY NOT NULL,
    address TEXT,
    proof TEXT,
    started_at BIGINT NOT NULL DEFAULT 0,
    seen_at BIGINT NOT NULL DEFAULT 0
);
