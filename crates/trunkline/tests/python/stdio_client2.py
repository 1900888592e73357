"""The same with the Python SDK 2.x: `stdio_client2.py MODE PROGRAM ARG…`. See stdio_client1.py."""

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters, types
from mcp.client.stdio import stdio_client

PREFIX = os.environ.get("PREFIX", "")


async def on_elicit(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ann", "sure": False})


async def one(client) -> dict:
    progress = []

    async def on_progress(done, total, message):
        progress.append(done)

    tools = await client.list_tools()
    echo = await client.call_tool(PREFIX + "echo", {"message": "hé\n\u2028"})
    steps = await client.call_tool(PREFIX + "steps", {"count": 3}, progress_callback=on_progress)
    who = await client.call_tool(PREFIX + "who", {})
    fail = await client.call_tool(PREFIX + "fail", {})
    return {
        "tools": sorted(tool.name for tool in tools.tools),
        "echo": echo.content[0].text,
        "steps": steps.content[0].text,
        "progress": progress,
        "who": who.content[0].text,
        "fail": bool(fail.is_error),
    }


async def main():
    mode, program, *args = sys.argv[1:]
    server = StdioServerParameters(command=program, args=args, env=dict(os.environ))
    async with Client(stdio_client(server), mode=mode, elicitation_callback=on_elicit) as client:
        first = await one(client)
        print(json.dumps(first | {"version": client.protocol_version}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await one(client)), flush=True)


asyncio.run(main())
