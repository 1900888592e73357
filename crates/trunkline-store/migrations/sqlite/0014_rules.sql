-- Rules about calls of a server's tools. `tool_arguments` is a JSON object {tool: {argument: {"value"|"value_from"|"default"|
-- "default_from": ...}}}, `tool_conditions` a JSON list of {"tools", "when", "reason"}. `transport` ends in +rules where there are
-- any, or `allowed_params`, or the server is not available on the public internet: older versions do not know the word, and leave the
-- server alone. They would write it back without the word, and with the rules that they do not know: that is refused.
ALTER TABLE mcp_server ADD COLUMN tool_arguments TEXT;
ALTER TABLE mcp_server ADD COLUMN tool_conditions TEXT;

CREATE TRIGGER mcp_server_rules_insert BEFORE INSERT ON mcp_server
WHEN NEW.transport NOT LIKE '%+rules' AND (NEW.tool_arguments IS NOT NULL OR NEW.tool_conditions IS NOT NULL
    OR COALESCE(NEW.allowed_params, '{}') <> '{}' OR NOT COALESCE(NEW.available_on_public_internet, TRUE))
BEGIN SELECT RAISE(ABORT, 'this server has rules that this version of the gateway does not keep: change it with a newer one'); END;

CREATE TRIGGER mcp_server_rules_update BEFORE UPDATE ON mcp_server
WHEN NEW.transport NOT LIKE '%+rules' AND (NEW.tool_arguments IS NOT NULL OR NEW.tool_conditions IS NOT NULL
    OR COALESCE(NEW.allowed_params, '{}') <> '{}' OR NOT COALESCE(NEW.available_on_public_internet, TRUE))
BEGIN SELECT RAISE(ABORT, 'this server has rules that this version of the gateway does not keep: change it with a newer one'); END;
