"""The same with the Python SDK 2.x: `asks_client2.py URL KEY MODE TOOL…`. See asks_client1.py."""

import asyncio
import json
import sys

import httpx2
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client

URL, KEY, MODE, *TOOLS = sys.argv[1:]
asked = []


async def on_elicit(context, params):
    asked.append(params.mode or "form")
    if params.mode == "url":
        return types.ElicitResult(action="accept")
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def on_sample(context, params):
    asked.append("sampling")
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="Paris"), model="m")


async def main():
    said = {}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=MODE, elicitation_callback=on_elicit, sampling_callback=on_sample) as client:
            for tool in TOOLS:
                asked.clear()
                result = await client.call_tool(tool, {})
                said[tool] = {"text": result.content[0].text, "asked": sorted(asked), "error": bool(result.is_error)}
    print(json.dumps(said))


asyncio.run(main())
