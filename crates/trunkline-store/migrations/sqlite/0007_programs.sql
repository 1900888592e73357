-- Where the program of a stdio server starts, and what it may do (NULL: the default sandbox).
ALTER TABLE mcp_server ADD COLUMN cwd TEXT;
ALTER TABLE mcp_server ADD COLUMN sandbox TEXT;
