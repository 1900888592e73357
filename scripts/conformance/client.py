#!/usr/bin/env python3
"""What `conformance client` runs in place of a client: a gateway before the suite's server, and behind it the official
Python client doing what the scenario is about.

    MCP_CONFORMANCE_SCENARIO=NAME client.py BINARY FOLDER VERSION URL    the suite adds the last one; VERSION: the gateway's
                                                                         `protocol_version` of the server

The suite looks at what reaches its server, so what it judges is the gateway as a client. TRUNKLINE_DIRECT=1 leaves the
gateway out: what fails then, too, is this script's fault.

To add a scenario: a function of its name, and the name in SCENARIOS of ../conformance.py.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import secrets
import sys

import httpx2
import pydantic
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from processes import Child, end_on_signals, stop_all  # noqa: E402

BINARY, FOLDER, VERSION, URL = sys.argv[1:]
SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
MODERN = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == "2026-07-28"
KEY = "sk-" + secrets.token_hex(24)


async def on_elicit(context, params):
    """Says yes, with the defaults of the form (SEP-1034)."""
    fields = params.requested_schema["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return types.ElicitResult(action="accept", content=defaults)


async def on_sample(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def on_roots(context):
    return types.ListRootsResult(roots=[])


async def list_tools(client):
    return (await client.list_tools()).tools


async def tools_call(client):
    await list_tools(client)
    result = await client.call_tool("add_numbers", {"a": 5, "b": 3})
    assert result.content[0].text == "The sum of 5 and 3 is 8", result


async def elicitation_sep1034_client_defaults(client):
    await list_tools(client)
    await client.call_tool("test_client_elicitation_defaults", {})


async def sse_retry(client):
    await list_tools(client)
    result = await client.call_tool("test_reconnection", {})
    assert result.content[0].text == "Reconnection test completed successfully", result


async def every_tool(client):
    for tool in await list_tools(client):
        arguments = {name: "value" for name in tool.input_schema.get("required", [])}
        await client.call_tool(tool.name, arguments)


async def http_standard_headers(client):
    await every_tool(client)
    for resource in (await client.list_resources()).resources:
        await client.read_resource(str(resource.uri))
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name, {})


async def http_custom_headers(client):
    await list_tools(client)
    for call in CONTEXT["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


async def sep_2322_client_request_state(client):
    await list_tools(client)
    # The unrelated one while the others wait for their second round.
    names = ["echo_state", "no_state", "unrelated"]
    results = await asyncio.gather(*(client.call_tool(f"test_mrtr_{name}", {}) for name in names))
    texts = [result.content[0].text for result in results]
    assert texts == ["echo-state-ok", "no-state-ok", "unrelated-ok"], texts
    # A result that does not say of which kind it is: this client wants it said, the scenario that nobody asks again.
    with contextlib.suppress(pydantic.ValidationError):
        await client.call_tool("test_mrtr_no_result_type", {})


async def json_schema_2020_12_preservation(client):
    tools = {tool.name: tool for tool in await list_tools(client)}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


ACTIONS = {
    "initialize": list_tools,
    "request-metadata": list_tools,
    "json-schema-ref-no-deref": list_tools,
    "http-invalid-tool-headers": every_tool,
}


def gateway():
    folder = pathlib.Path(FOLDER)
    folder.mkdir(parents=True)
    server = f"mcp_servers:\n  suite:\n    url: {URL}\n    prefix: never\n    protocol_version: {VERSION}\n"
    (folder / "config.yaml").write_text(server)
    child = Child(
        "trunkline",
        [
            *(BINARY, "serve", "--config", folder / "config.yaml", "--data-dir", folder / "data"),
            *("--host", "127.0.0.1", "--port", 0),
        ],
        env={"LITELLM_MASTER_KEY": KEY, "RUST_LOG": "warn"},
        cwd=folder,
    )
    return child, int(child.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])


async def act(url):
    action = ACTIONS.get(SCENARIO) or globals()[SCENARIO.replace("-", "_")]
    async with httpx2.AsyncClient(headers={"x-litellm-api-key": KEY}, timeout=20) as http:
        client = Client(
            streamable_http_client(url, http_client=http),
            mode="2026-07-28" if MODERN else "legacy",
            elicitation_callback=on_elicit,
            sampling_callback=on_sample,
            list_roots_callback=on_roots,
        )
        async with client:
            await action(client)


def main():
    end_on_signals()
    if os.environ.get("TRUNKLINE_DIRECT"):
        asyncio.run(act(URL))
        return
    child, port = gateway()
    try:
        asyncio.run(act(f"http://127.0.0.1:{port}/suite/mcp"))
    except BaseException:
        print(child.output, file=sys.stderr)
        raise
    finally:
        stop_all()


main()
