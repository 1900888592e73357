-- How many tokens of models a key, all keys of a team or of a user may take in a minute, and requests and tokens of single models by the
-- name that clients ask for: JSON objects of numbers. Versions before this one refuse whoever has any (`restricted_by`).
ALTER TABLE verification_token ADD COLUMN tpm_limit BIGINT;
ALTER TABLE verification_token ADD COLUMN model_rpm_limit TEXT;
ALTER TABLE verification_token ADD COLUMN model_tpm_limit TEXT;
ALTER TABLE team_table ADD COLUMN tpm_limit BIGINT;
ALTER TABLE team_table ADD COLUMN model_rpm_limit TEXT;
ALTER TABLE team_table ADD COLUMN model_tpm_limit TEXT;
ALTER TABLE user_table ADD COLUMN tpm_limit BIGINT;
