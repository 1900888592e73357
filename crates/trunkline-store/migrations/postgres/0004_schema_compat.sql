-- Whether alternatives at the root of a server's schemas are made one object, for clients that refuse them.
ALTER TABLE mcp_server ADD COLUMN schema_compat BOOLEAN NOT NULL DEFAULT FALSE;
