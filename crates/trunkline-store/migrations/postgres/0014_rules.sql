-- Rules about calls of a server's tools. `tool_arguments` is a JSON object {tool: {argument: {"value"|"value_from"|"default"|
-- "default_from": ...}}}, `tool_conditions` a JSON list of {"tools", "when", "reason"}. `transport` ends in +rules where there are
-- any, or `allowed_params`: older versions do not know the word, and leave the server alone.
ALTER TABLE mcp_server ADD COLUMN tool_arguments TEXT;
ALTER TABLE mcp_server ADD COLUMN tool_conditions TEXT;
