"""The Python SDK 1.x over stdio: `stdio_client1.py PROGRAM ARG…`. Lists, calls with progress, is asked; then says `again`,
waits for a line, and does it once more in the same session. Prints a line of JSON for each round."""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

PREFIX = os.environ.get("PREFIX", "")


async def on_elicit(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ann", "sure": False})


async def one(session) -> dict:
    progress = []

    async def on_progress(done, total, message):
        progress.append(done)

    tools = await session.list_tools()
    echo = await session.call_tool(PREFIX + "echo", {"message": "hé\n\u2028"})
    steps = await session.call_tool(PREFIX + "steps", {"count": 3}, progress_callback=on_progress)
    who = await session.call_tool(PREFIX + "who", {})
    fail = await session.call_tool(PREFIX + "fail", {})
    return {
        "tools": sorted(tool.name for tool in tools.tools),
        "echo": echo.content[0].text,
        "steps": steps.content[0].text,
        "progress": progress,
        "who": who.content[0].text,
        "fail": fail.isError,
    }


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write, elicitation_callback=on_elicit) as session:
            begun = await session.initialize()
            first = await one(session)
            print(json.dumps(first | {"version": begun.protocolVersion}), flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                print(json.dumps(await one(session)), flush=True)


asyncio.run(main())
