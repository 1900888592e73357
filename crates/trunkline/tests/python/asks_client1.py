"""The Python SDK 1.x as a client that answers everything: `asks_client1.py URL KEY TOOL…`. Prints what each tool said."""

import asyncio
import json
import sys

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client

URL, KEY, *TOOLS = sys.argv[1:]
asked = []


async def on_elicit(context, params):
    asked.append(params.mode)
    if params.mode == "url":
        return types.ElicitResult(action="accept")
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def on_sample(context, params):
    asked.append("sampling")
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="Paris"), model="m")


async def main():
    said = {}
    async with streamablehttp_client(URL, headers={"Authorization": f"Bearer {KEY}"}) as (read, write, _):
        async with ClientSession(
            read, write, elicitation_callback=on_elicit, sampling_callback=on_sample
        ) as session:
            await session.initialize()
            for tool in TOOLS:
                asked.clear()
                result = await session.call_tool(tool, {})
                said[tool] = {"text": result.content[0].text, "asked": sorted(asked), "error": result.isError}
    print(json.dumps(said))


asyncio.run(main())
