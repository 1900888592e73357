-- What is special about TLS with a server, and its own deadlines, in seconds. The key is sealed.
ALTER TABLE mcp_server ADD COLUMN tls_ca TEXT;
ALTER TABLE mcp_server ADD COLUMN tls_client_cert TEXT;
ALTER TABLE mcp_server ADD COLUMN tls_client_key TEXT;
ALTER TABLE mcp_server ADD COLUMN tls_server_name TEXT;
ALTER TABLE mcp_server ADD COLUMN tls_min_version TEXT;
ALTER TABLE mcp_server ADD COLUMN connect_timeout DOUBLE PRECISION;
ALTER TABLE mcp_server ADD COLUMN list_timeout DOUBLE PRECISION;
