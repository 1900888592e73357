-- The OpenAPI document of an HTTP API, where it is part of the declaration, and which of its operations are tools.
ALTER TABLE mcp_server ADD COLUMN spec TEXT;
ALTER TABLE mcp_server ADD COLUMN openapi TEXT;
