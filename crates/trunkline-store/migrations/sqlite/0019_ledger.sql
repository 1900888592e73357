-- The ledger: what each call took and cost, and sums of it. Amounts are billionths of a dollar, so that none is rounded again; NULL is
-- what nobody knows. Versions before this one write their records without.
ALTER TABLE call_record ADD COLUMN api_key TEXT;
ALTER TABLE call_record ADD COLUMN user_id TEXT;
ALTER TABLE call_record ADD COLUMN team_id TEXT;
ALTER TABLE call_record ADD COLUMN organization_id TEXT;
ALTER TABLE call_record ADD COLUMN end_user TEXT;
ALTER TABLE call_record ADD COLUMN provider TEXT;
ALTER TABLE call_record ADD COLUMN model TEXT;
ALTER TABLE call_record ADD COLUMN api_base TEXT;
ALTER TABLE call_record ADD COLUMN input_tokens BIGINT;
ALTER TABLE call_record ADD COLUMN output_tokens BIGINT;
ALTER TABLE call_record ADD COLUMN cache_read_tokens BIGINT;
ALTER TABLE call_record ADD COLUMN cache_write_tokens BIGINT;
ALTER TABLE call_record ADD COLUMN reasoning_tokens BIGINT;
ALTER TABLE call_record ADD COLUMN is_estimated BOOLEAN;
ALTER TABLE call_record ADD COLUMN cost BIGINT;
ALTER TABLE call_record ADD COLUMN tags TEXT;
ALTER TABLE call_record ADD COLUMN client_ip TEXT;

CREATE INDEX call_record_request_id ON call_record (request_id);

-- What somebody has spent since `period_at` (0: ever), and ever. `kind` is key, team, user, organization or end_user.
CREATE TABLE spend (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    spend BIGINT NOT NULL DEFAULT 0,
    total_spend BIGINT NOT NULL DEFAULT 0,
    period_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
);

CREATE INDEX spend_updated_at ON spend (updated_at);

-- Sums of a day in UTC (days since 1970). Rows without a tag are everything; those with one are what has the tag, once more.
CREATE TABLE spend_daily (
    day BIGINT NOT NULL,
    tag TEXT NOT NULL,
    api_key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    end_user TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    model_group TEXT NOT NULL,
    tool TEXT NOT NULL,
    kind TEXT NOT NULL,
    spend BIGINT NOT NULL DEFAULT 0,
    input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    succeeded BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    unpriced BIGINT NOT NULL DEFAULT 0,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (day, tag, api_key, user_id, team_id, organization_id, end_user, provider, model, model_group, tool, kind)
);

-- Which batches of records are in: one that is written again after a connection broke at its commit is not counted twice.
CREATE TABLE spend_batch (
    batch_id TEXT PRIMARY KEY NOT NULL,
    written_at BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX spend_batch_written_at ON spend_batch (written_at);

-- What keys, teams and users may spend, beside budgets.
ALTER TABLE verification_token ADD COLUMN max_budget BIGINT;
ALTER TABLE verification_token ADD COLUMN soft_budget BIGINT;
ALTER TABLE verification_token ADD COLUMN budget_duration TEXT;
ALTER TABLE verification_token ADD COLUMN budget_reset_at BIGINT;
ALTER TABLE team_table ADD COLUMN max_budget BIGINT;
ALTER TABLE team_table ADD COLUMN soft_budget BIGINT;
ALTER TABLE team_table ADD COLUMN budget_duration TEXT;
ALTER TABLE team_table ADD COLUMN budget_reset_at BIGINT;
ALTER TABLE user_table ADD COLUMN max_budget BIGINT;
ALTER TABLE user_table ADD COLUMN soft_budget BIGINT;
ALTER TABLE user_table ADD COLUMN budget_duration TEXT;
ALTER TABLE user_table ADD COLUMN budget_reset_at BIGINT;
