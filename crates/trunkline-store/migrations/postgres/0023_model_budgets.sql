-- What keys, teams and users may spend on single models, by the name that clients ask for: a JSON object of {"max_budget", "budget_duration"}.
-- Versions before this one refuse whoever has any (`restricted_by`).
ALTER TABLE verification_token ADD COLUMN model_max_budget TEXT;
ALTER TABLE team_table ADD COLUMN model_max_budget TEXT;
ALTER TABLE user_table ADD COLUMN model_max_budget TEXT;

-- What they have spent on those, as in `spend`. It goes with the row of `spend` of the same `kind` and `id`, and is written after it, under its
-- lock.
CREATE TABLE spend_model (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    model TEXT NOT NULL,
    spend BIGINT NOT NULL DEFAULT 0,
    total_spend BIGINT NOT NULL DEFAULT 0,
    period_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id, model)
);

CREATE INDEX spend_model_updated_at ON spend_model (updated_at);
