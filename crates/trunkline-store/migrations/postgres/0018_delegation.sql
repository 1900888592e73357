-- What of a key those have done who are no proxy admins: a JSON object of `by`, the user that has seen its secret, and `words`, the
-- columns whose value such a user has chosen. `delegated_revision` is the row's `revision` if such a user has made the key and nobody
-- else has written it since: a version that does not know the column writes another `revision`.
ALTER TABLE verification_token ADD COLUMN delegation TEXT;
ALTER TABLE verification_token ADD COLUMN delegated_revision BIGINT;

-- What members of a team that are no admins may do with their own keys of the team: a JSON list of LiteLLM's words.
ALTER TABLE team_table ADD COLUMN team_member_permissions TEXT;

-- Who approved or rejected a submission.
ALTER TABLE mcp_server ADD COLUMN reviewed_by TEXT;
