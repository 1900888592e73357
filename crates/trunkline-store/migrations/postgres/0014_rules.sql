-- Rules about calls of a server's tools. `tool_arguments` is a JSON object {tool: {argument: {"value"|"value_from"|"default"|
-- "default_from": ...}}}, `tool_conditions` a JSON list of {"tools", "when", "reason"}. `transport` ends in +rules where there are
-- any, or `allowed_params`, or the server is not available on the public internet: older versions do not know the word, and leave the
-- server alone. They would write it back without the word, and with the rules that they do not know: that is refused.
ALTER TABLE mcp_server ADD COLUMN tool_arguments TEXT;
ALTER TABLE mcp_server ADD COLUMN tool_conditions TEXT;

-- A line that ends in a semicolon ends a statement of this file: those within the function end in two dashes.
CREATE OR REPLACE FUNCTION trunkline_server_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.transport NOT LIKE '%+rules' AND (NEW.tool_arguments IS NOT NULL OR NEW.tool_conditions IS NOT NULL
    OR COALESCE(NEW.allowed_params, '{}') <> '{}' OR NOT COALESCE(NEW.available_on_public_internet, TRUE)) THEN
        RAISE EXCEPTION 'this server has rules that this version of the gateway does not keep: change it with a newer one'; --
    END IF; --
    RETURN NEW; --
END $$;

CREATE TRIGGER mcp_server_rules BEFORE INSERT OR UPDATE ON mcp_server FOR EACH ROW EXECUTE FUNCTION trunkline_server_rules();
