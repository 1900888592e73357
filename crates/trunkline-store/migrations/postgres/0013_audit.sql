-- The audit log: one row for each change that was made and each request that was refused. `seq` counts up without gaps, in the order
-- of commits: row 4 of registry_revision is what it is taken from. Nothing changes a row, and nothing deletes one that is not older
-- than `audit_retention.before_at`.
CREATE TABLE audit_log (
    seq BIGINT PRIMARY KEY NOT NULL,
    updated_at BIGINT,
    changed_by TEXT NOT NULL DEFAULT '',
    changed_by_api_key TEXT NOT NULL DEFAULT '',
    action TEXT NOT NULL DEFAULT '',
    table_name TEXT NOT NULL DEFAULT '',
    object_id TEXT NOT NULL DEFAULT '',
    before_value TEXT,
    updated_values TEXT,
    request_id TEXT,
    details TEXT
);

CREATE INDEX audit_log_updated_at ON audit_log (updated_at);
CREATE INDEX audit_log_object_id ON audit_log (object_id);
CREATE INDEX audit_log_request_id ON audit_log (request_id);

-- One row: until when rows may be deleted, and when a replica looked for some last.
CREATE TABLE audit_retention (
    id BIGINT PRIMARY KEY NOT NULL,
    before_at BIGINT,
    looked_at BIGINT
);

-- A line that ends in a semicolon ends a statement of this file: those within the function end in two dashes.
CREATE OR REPLACE FUNCTION trunkline_audit_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM audit_retention WHERE id = 1 AND OLD.updated_at < before_at) THEN RETURN OLD; END IF; --
    END IF; --
    RAISE EXCEPTION 'audit_log is append-only: rows are not changed, and retention alone deletes, what is old enough'; --
END $$;

CREATE TRIGGER audit_log_update BEFORE UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION trunkline_audit_append_only();

CREATE TRIGGER audit_log_delete BEFORE DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION trunkline_audit_append_only();

CREATE TRIGGER audit_log_truncate BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION trunkline_audit_append_only();
