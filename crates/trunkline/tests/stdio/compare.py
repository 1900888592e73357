"""The Python SDK 1.x before a server directly, over the transport that the server has, and before the gateway.

Reads one JSON object: {"direct": {"command", "args", "env"} or {"sse": URL} or
{"http": URL}, "gateway": URL, "all": URL, "headers": {…}, "steps": [[method, …], …]}; prints {"direct": [answer, …], "gateway": [answer, …], "all": [answer, …]}, the answers as the client's types have them, with what was on the
wire. "all" is the endpoint of all servers, where only what takes no arguments is asked.
"""
import asyncio
import contextlib
import json
import sys

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def perform(session, step):
    what, rest = step[0], step[1:]
    call = {
        "tools": session.list_tools,
        "prompts": session.list_prompts,
        "resources": session.list_resources,
        "templates": session.list_resource_templates,
        "call": session.call_tool,
        "prompt": session.get_prompt,
        "read": session.read_resource,
    }[what]
    progress = []

    async def on_progress(value, total, message):
        progress.append([value, total, message])

    more = {"progress_callback": on_progress} if what == "call" else {}
    try:
        answer = {"result": dump(await call(*rest, **more))}
    except McpError as error:
        answer = {"error": dump(error.error)}
    return {**answer, "progress": progress}


async def answers(transport, steps):
    async with contextlib.AsyncExitStack() as stack:
        streams = await stack.enter_async_context(transport)
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        await session.initialize()
        # Some servers announce their lists again right after the hand-shake.
        await asyncio.sleep(0.5)
        return [await perform(session, step) for step in steps]


def through(plan, url):
    return streamablehttp_client(url, headers=plan["headers"])


async def main():
    plan = json.load(sys.stdin)
    direct, steps = plan["direct"], plan["steps"]
    if "sse" in direct:
        transport = sse_client(direct["sse"])
    elif "http" in direct:
        transport = streamablehttp_client(direct["http"])
    else:
        transport = stdio_client(StdioServerParameters(command=direct["command"], args=direct["args"], env=direct["env"]))
    print(json.dumps({
        "direct": await answers(transport, steps),
        "gateway": await answers(through(plan, plan["gateway"]), steps),
        "all": await answers(through(plan, plan["all"]), [step for step in steps if len(step) == 1]),
    }))


asyncio.run(main())
