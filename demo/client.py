"""What an AI client does, with the official Python SDK: connects to the gateway, lists, calls.

    TRUNKLINE_KEY=... .tools/py-sdk2/bin/python demo/client.py http://127.0.0.1:4000/mcp NAME-echo ...

Prints one line of JSON for each step. Exit code 1 when a call is an error.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url, calls):
    headers = {"Authorization": f"Bearer {os.environ['TRUNKLINE_KEY']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            listed = await client.list_tools()
            print(json.dumps({"tools": [tool.name for tool in listed.tools], "meta": listed.meta}), flush=True)
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)
                text = " ".join(getattr(part, "text", f"({part.type})") for part in result.content)
                print(json.dumps({"call": name, "text": text, "is_error": result.is_error}), flush=True)
                if result.is_error:
                    sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
