-- Budgets: LiteLLM's LiteLLM_BudgetTable. Amounts are billionths of a dollar, so that none is rounded. `revision` is that of
-- registry_revision's row 2 when the row was written, as in verification_token.
CREATE TABLE budget_table (
    budget_id TEXT PRIMARY KEY NOT NULL,
    max_budget BIGINT,
    soft_budget BIGINT,
    max_parallel_requests BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    tpd_limit BIGINT,
    model_max_budget TEXT NOT NULL DEFAULT '{}',
    budget_duration TEXT,
    budget_reset_at BIGINT,
    created_at BIGINT,
    created_by TEXT,
    updated_at BIGINT,
    updated_by TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX budget_table_revision ON budget_table (revision);

-- Who has one.
ALTER TABLE verification_token ADD COLUMN budget_id TEXT;
ALTER TABLE organization_table ADD COLUMN budget_id TEXT;
ALTER TABLE end_user_table ADD COLUMN budget_id TEXT;

-- How much all keys of a team, or of a user, may call together. `mcp_rpm_limit` is a JSON object of numbers by server.
ALTER TABLE team_table ADD COLUMN rpm_limit BIGINT;
ALTER TABLE team_table ADD COLUMN max_parallel_requests BIGINT;
ALTER TABLE team_table ADD COLUMN mcp_rpm_limit TEXT;
ALTER TABLE user_table ADD COLUMN rpm_limit BIGINT;
ALTER TABLE user_table ADD COLUMN max_parallel_requests BIGINT;

-- Secrets that a key had before and that are good for a while: a JSON list of {"token", "until"}, the digest and microseconds.
ALTER TABLE verification_token ADD COLUMN previous_tokens TEXT;
