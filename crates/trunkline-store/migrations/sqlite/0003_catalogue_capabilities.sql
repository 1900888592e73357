-- What a server said that it can do, so that clients are told the same before it is asked again.
ALTER TABLE mcp_catalogue ADD COLUMN capabilities TEXT;
