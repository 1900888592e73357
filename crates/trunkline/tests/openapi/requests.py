"""Arguments for tools, and whether requests are what a document says. Knows nothing of the gateway: it reads the document in
its own way, with jsonschema for what values must be.

    requests.py arguments DOCUMENT < tools.json          > {tool: arguments}
    requests.py check DOCUMENT < requests.jsonl          > what is wrong, a line each

DOCUMENT is JSON or YAML, perhaps with gzip. A request: {tool, method, target, headers: [[name, value]], body: base64}.
"""

import base64
import email.parser
import email.policy
import gzip
import json
import re
import sys
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema
import yaml

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")


class StringKeys(yaml.CSafeLoader):
    """Keys are text, and times are none."""


StringKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def text_keys(value):
    if isinstance(value, dict):
        return {str(key): text_keys(inner) for key, inner in value.items()}
    return [text_keys(inner) for inner in value] if isinstance(value, list) else value


def load(path):
    data = open(path, "rb").read()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return json.loads(data) if data.lstrip()[:1] == b"{" else text_keys(yaml.load(data, StringKeys))


class Document:
    def __init__(self, path):
        self.root = load(path)
        self.swagger = "swagger" in self.root
        self.made = {}
        self.paths = []
        for template, item in self.root["paths"].items():
            names = re.findall(r"{([^}]+)}", template)
            pattern = re.sub(r"\\{[^}]+\\}", "([^/]+)", re.escape(template.partition("?")[0]))
            self.paths.append((template, self.resolve(item), names, re.compile(pattern)))

    def at(self, pointer):
        value = self.root
        for part in pointer.lstrip("#/").split("/"):
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            value = value[int(part)] if isinstance(value, list) else value[part]
        return value

    def resolve(self, value):
        while isinstance(value, dict) and "$ref" in value:
            value = self.at(value["$ref"])
        return value

    def plain(self, schema):
        """JSON Schema 2020-12 of a schema, references taken out as far as it is worth."""
        if id(schema) not in self.made:
            self.made[id(schema)] = (self.made_plain(schema), schema)
        return self.made[id(schema)][0]

    def made_plain(self, schema, depth=0):
        if depth > 9 or not isinstance(schema, dict):
            return {} if not isinstance(schema, bool) else schema
        schema = self.resolve(schema)
        out = {}
        for key, value in schema.items():
            if key in ("properties", "patternProperties"):
                out[key] = {name: self.made_plain(inner, depth + 1) for name, inner in value.items()}
            elif key in ("items", "additionalProperties", "not") and isinstance(value, (dict, bool)):
                out[key] = self.made_plain(value, depth + 1)
            elif key in ("allOf", "anyOf", "oneOf"):
                # What is cut off above fits more than one alternative.
                name = "anyOf" if key == "oneOf" else key
                out[name] = [self.made_plain(inner, depth + 1) for inner in value]
            elif key in ("type", "enum", "const", "required", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems"):
                if not (key == "required" and not isinstance(value, list)):
                    out[key] = value
        properties = schema.get("properties", {})
        hidden = [name for name, inner in properties.items() if self.resolve(inner).get("readOnly")]
        if "required" in out:
            out["required"] = [name for name in out["required"] if name not in hidden]
        if out.get("type") == "file":
            out["type"] = "string"
        if schema.get("nullable") and "type" in out:
            out = {"anyOf": [out, {"type": "null"}]}
        return out


# --- arguments ---


def sample(schema, root, depth=0, seed=0):
    if schema is True or not schema:
        return "x y&/?"
    if "$ref" in schema:
        inner = root
        for part in schema["$ref"].lstrip("#/").split("/"):
            inner = inner[part.replace("~1", "/").replace("~0", "~")]
        return sample(inner, root, depth + 1, seed)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            base = {k: v for k, v in schema.items() if k != key}
            kinds = [one for one in schema[key] if one.get("type") != "null"] or schema[key]
            last = None
            for one in kinds:
                last = sample(merged([base, one], root), root, depth + 1, seed)
                if fits(last, schema, root):
                    break
            return last
    if "allOf" in schema:
        rest = {k: v for k, v in schema.items() if k != "allOf"}
        return sample(merged([rest, *schema["allOf"]], root), root, depth + 1, seed)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        required = schema.get("required", [])
        out = {}
        for name, inner in schema.get("properties", {}).items():
            if name in required or (depth < 2 and seed % 2 == 0):
                out[name] = sample(inner, root, depth + 1, seed)
        for name in required:
            out.setdefault(name, "x")
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and not out and depth < 4:
            out["some key"] = sample(more, root, depth + 1, seed)
        return out
    if kind == "array":
        count = max(schema.get("minItems", 1), 1)
        count = min(max(count, 2 if seed % 2 == 0 and not schema.get("uniqueItems") else count), schema.get("maxItems", count + 1))
        return [sample(schema.get("items", {}), root, depth + 1, seed) for _ in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", max(low, 0))
        return min(max(0, low), high) if kind == "number" else int(min(max(0, low), high))
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    if schema.get("contentEncoding") == "base64":
        return base64.b64encode(b"\x00\xff bytes").decode()
    for given in (*schema.get("examples", []), schema.get("default")):
        if isinstance(given, str) and given:
            return given
    text = {"date": "2026-07-28", "date-time": "2026-07-28T01:02:03Z", "uri": "https://x.example/a?b=c", "email": "a@b.example", "uuid": "00000000-0000-4000-8000-000000000000"}.get(schema.get("format"))
    text = text or "a b/?&=ä"
    pattern = schema.get("pattern")
    if pattern:
        text = next((t for t in (text, "a", "A", "0", "abc", "abcdefgh", "0" * 40, "#abc", "abcdef") if re.search(pattern, t)), text)
    low, high = schema.get("minLength", 0), schema.get("maxLength", 10**6)
    return (text + "x" * max(0, low - len(text)))[:high]


def merged(schemas, root):
    out = {}
    for schema in schemas:
        while isinstance(schema, dict) and "$ref" in schema:
            inner = root
            for part in schema["$ref"].lstrip("#/").split("/"):
                inner = inner[part.replace("~1", "/").replace("~0", "~")]
            schema = inner
        if not isinstance(schema, dict):
            continue
        if "allOf" in schema:
            schema = merged([{k: v for k, v in schema.items() if k != "allOf"}, *schema["allOf"]], root)
        for key, value in schema.items():
            if key == "properties":
                out[key] = {**out.get(key, {}), **value}
            elif key == "required":
                out[key] = sorted({*out.get(key, []), *value})
            else:
                out.setdefault(key, value)
    return out


def fits(value, schema, root):
    if "$defs" in root:
        schema = {**schema, "$defs": root["$defs"]}
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def arguments(tools):
    out = {}
    # Looking at every schema of a thousand large ones takes minutes.
    many = len(tools) > 600
    for index, tool in enumerate(tools):
        schema = tool["inputSchema"]
        if not many or index % 10 == 0:
            jsonschema.Draft202012Validator.check_schema(schema)
            jsonschema.Draft202012Validator.check_schema(tool.get("outputSchema", {}))
        made = []
        for seed in (0,) if many else (0, 1):
            one = sample(schema, schema, 0, seed)
            if fits(one, schema, schema):
                made.append(one)
        out[tool["name"]] = made
    return out


# --- requests ---


def match(document, method, path, base):
    best = None
    if not path.startswith(base):
        return None
    for template, item, names, pattern in document.paths:
        found = pattern.fullmatch(path, len(base))
        operation = item.get(method)
        if found and operation is not None and (best is None or len(names) < len(best[3])):
            best = (template, item, operation, dict(zip(names, found.groups())))
    return best


def typed(text, schema):
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    for one in schema.get("anyOf", []) + schema.get("allOf", []):
        inner = one.get("type")
        kinds = kinds + (inner if isinstance(inner, list) else [inner])
    if "integer" in kinds and re.fullmatch(r"-?\d+", text):
        return int(text)
    if ("number" in kinds or "integer" in kinds) and re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text):
        return float(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    return text


def is_a(kind, schema):
    own = schema.get("type")
    if own == kind or isinstance(own, list) and kind in own:
        return True
    return any(is_a(kind, one) for key in ("anyOf", "allOf") for one in schema.get(key, []))


def items_of(schema):
    if "items" in schema:
        return schema["items"]
    for key in ("anyOf", "allOf"):
        for one in schema.get(key, []):
            found = items_of(one)
            if found is not None:
                return found
    return None


def listed(text, schema, by):
    items = items_of(schema) or {}
    return [typed(unquote(part), items) for part in text.split(by)]


def nested(pairs, name):
    """deepObject, with any number of brackets."""
    out = {}
    for key, value in pairs:
        found = re.fullmatch(re.escape(name) + r"((?:\[[^\]]*\])+)", key)
        if not found:
            continue
        steps = re.findall(r"\[([^\]]*)\]", found[1])
        at = out
        for step in steps[:-1]:
            at = at.setdefault(step, {})
        at[steps[-1]] = value
    return out


def lists(value):
    if isinstance(value, dict):
        inner = {key: lists(one) for key, one in value.items()}
        return list(inner.values()) if inner and all(re.fullmatch(r"\d+", key) for key in inner) else inner
    return value


def loosely(value, schema):
    """Text of a form in the types of its schema."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for key in ("anyOf", "allOf"):
            for one in schema.get(key, []):
                properties = {**one.get("properties", {}), **properties}
        return {key: loosely(one, properties.get(key, {})) for key, one in value.items()}
    if isinstance(value, list):
        return [loosely(one, items_of(schema) or {}) for one in value]
    return typed(value, schema) if isinstance(value, str) else value


def parameter_value(document, parameter, request, path_values):
    place, name = parameter["in"], parameter["name"]
    schema = document.plain(parameter if document.swagger else parameter.get("schema", {}))
    if place == "path":
        raw = path_values.get(name)
        if raw is None:
            return None, schema
        return (listed(raw, schema, ",") if is_a("array", schema) else typed(unquote(raw), schema)), schema
    if place == "header":
        values = [value for key, value in request["headers"] if key.lower() == name.lower()]
        if not values:
            return None, schema
        value = values[0]
        return ([typed(part, items_of(schema) or {}) for part in value.split(",")] if is_a("array", schema) else typed(value, schema)), schema
    raw_pairs = [pair.partition("=") for pair in request["query"].split("&") if pair] if place == "query" else []
    pairs = [(unquote(key), value) for key, _, value in raw_pairs]
    if "content" in parameter:
        media, holder = next(iter(parameter["content"].items()))
        found = [unquote(value) for key, value in pairs if key == name]
        return (json.loads(found[0]) if found else None), document.plain(holder.get("schema", {}))
    style = parameter.get("style", "form")
    explode = parameter.get("explode", style == "form")
    if document.swagger:
        explode = parameter.get("collectionFormat") == "multi"
        style = {"ssv": "spaceDelimited", "pipes": "pipeDelimited"}.get(parameter.get("collectionFormat"), "form")
    if style == "deepObject":
        found = lists(nested([(key, unquote(value)) for key, value in pairs], name))
        if not found:
            return None, schema
        return loosely(found, schema), schema
    found = [value for key, value in pairs if key == name]
    if is_a("object", schema) and explode and not found:
        properties = schema.get("properties", {})
        own = {key: typed(unquote(value), properties.get(key, {})) for key, value in pairs if key in properties}
        return own or None, schema
    if not found:
        return None, schema
    if is_a("array", schema) and not (len(found) == 1 and not explode and not is_a("array", schema)):
        if explode:
            return [typed(unquote(value), items_of(schema) or {}) for value in found], schema
        by = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}.get(style, ",")
        return listed(found[0], schema, by), schema
    return typed(unquote(found[0]), schema), schema


def body_value(document, operation, parameters, request):
    """What the body says, and what it must be; (None, None) without one."""
    kind = next((value for key, value in request["headers"] if key.lower() == "content-type"), "")
    bare = kind.split(";")[0].strip()
    data = base64.b64decode(request["body"])
    if document.swagger:
        own = [parameter for parameter in parameters if parameter["in"] == "body"]
        form = [parameter for parameter in parameters if parameter["in"] == "formData"]
        if own:
            schema = document.plain(own[0].get("schema", {}))
            required = own[0].get("required", False)
        elif form:
            schema = {"type": "object", "properties": {one["name"]: document.plain(one) for one in form}, "required": [one["name"] for one in form if one.get("required")]}
            required = bool(schema["required"])
        else:
            return None, None, bool(data)
    else:
        declared = document.resolve(operation.get("requestBody") or {})
        content = declared.get("content", {})
        if not content:
            return None, None, bool(data)
        required = declared.get("required", False)
        if not data and not kind:
            return None, None, required
        holder = content.get(bare) or content.get(kind) or next((one for media, one in content.items() if "*" in media), None)
        if holder is None:
            return None, None, f"{kind!r} is none of {list(content)}"
        schema = document.plain(holder.get("schema", {}))
    if not data and not kind:
        return None, None, required
    if bare.endswith("json"):
        return json.loads(data), schema, False
    if bare == "application/x-www-form-urlencoded":
        pairs = parse_qsl(data.decode(), keep_blank_values=True)
        out = {}
        for key, value in pairs:
            if "[" in key:
                continue
            inner = schema.get("properties", {}).get(key, {})
            if is_a("array", inner):
                out.setdefault(key, []).append(typed(value, items_of(inner) or {}))
            elif is_a("object", inner) and value.startswith("{"):
                out[key] = json.loads(value)
            else:
                out[key] = typed(value, inner)
        for key in {key.split("[")[0] for key, _ in pairs if "[" in key}:
            out[key] = loosely(lists(nested(pairs, key)), schema.get("properties", {}).get(key, {}))
        return out, schema, False
    if bare == "multipart/form-data":
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + data)
        if not message.is_multipart():
            return None, None, "it has no parts"
        out = {}
        properties = dict(schema.get("properties", {}))
        for key in ("anyOf", "allOf"):
            for one in schema.get(key, []):
                properties = {**one.get("properties", {}), **properties}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            payload = part.get_payload(decode=True)
            inner = properties.get(name, {})
            if part.get_filename():
                value = payload.decode("latin-1")
            elif part.get_content_type() == "application/json":
                value = json.loads(payload)
            else:
                value = typed(payload.decode().removesuffix("\r\n"), items_of(inner) or inner)
                if isinstance(value, str) and value[:1] in "{[" and (is_a("object", inner) or is_a("array", inner)):
                    value = json.loads(value)
            if is_a("array", inner) and not isinstance(value, list):
                out.setdefault(name, []).append(value)
            else:
                out[name] = value
        return out, schema, False
    return data.decode("latin-1"), {}, False


def check(document, request, base):
    parts = urlsplit(request["target"])
    request["query"] = parts.query
    found = match(document, request["method"].lower(), parts.path, base)
    if found is None:
        return ["no operation has this method and path"]
    template, item, operation, path_values = found
    own = [document.resolve(one) for one in operation.get("parameters", [])]
    names = {(one["name"], one["in"]) for one in own}
    own += [one for one in map(document.resolve, item.get("parameters", [])) if (one["name"], one["in"]) not in names]
    wrong = []

    def validate(what, value, schema):
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
            wrong.append(f"{what}: {error.message[:300]}")
            break

    known, brackets, any_name = set(), set(), False
    for parameter in own:
        if parameter["in"] in ("body", "formData"):
            continue
        known.add(parameter["name"])
        if parameter["in"] == "header" and parameter["name"].lower() in ("accept", "authorization", "content-type"):
            continue
        value, schema = parameter_value(document, parameter, request, path_values)
        if parameter["in"] == "query" and parameter.get("style") == "deepObject":
            brackets.add(parameter["name"])
        elif parameter["in"] == "query":
            # The members of an exploded object stand in the query by themselves, those too that it does not name.
            options = (schema, *schema.get("anyOf", []), *schema.get("oneOf", []))
            for one in filter(lambda one: is_a("object", one), options):
                known.update(one.get("properties", {}))
                any_name |= bool(one.get("additionalProperties"))
        if value is None:
            if parameter.get("required"):
                wrong.append(f"{parameter['in']} {parameter['name']} is missing")
            continue
        validate(f"{parameter['in']} {parameter['name']}", value, schema)
    for pair in filter(None, request["query"].split("&")):
        key = unquote(pair.partition("=")[0])
        if key not in known and key.split("[")[0] not in brackets and not any_name:
            wrong.append(f"the query has {key!r}, which nobody declared")
    value, schema, missing = body_value(document, operation, own, request)
    if missing:
        wrong.append(f"the body: {missing if isinstance(missing, str) else 'missing, or not declared'}")
    elif schema is not None:
        validate("the body", value, schema)
    return wrong


def main():
    command, path, *base = sys.argv[1:]
    if command == "arguments":
        json.dump(arguments(json.load(sys.stdin)), sys.stdout)
        return
    document = Document(path)
    for line in filter(str.strip, sys.stdin):
        request = json.loads(line)
        for wrong in check(document, request, base[0] if base else ""):
            print(f"{request['tool']}: {request['method']} {request['target'][:200]}: {wrong}")


main()
