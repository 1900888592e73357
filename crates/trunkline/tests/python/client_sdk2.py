"""The Python SDK, 2.x. MODE: `auto` asks for the modern protocol first, `legacy` does not. See report.py."""

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from report import HEADERS, main, run, text_of


async def one(mode: str, prefix: str, url: str) -> dict:
    logged: list = []

    async def on_log(params) -> None:
        logged.append(params.data)

    async with httpx2.AsyncClient(headers=HEADERS, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, logging_callback=on_log) as client:

            async def list_names():
                names, cursor = [], None
                while True:
                    page = await client.list_tools(cursor=cursor)
                    names += [tool.name for tool in page.tools]
                    cursor = page.next_cursor
                    if cursor is None:
                        return names

            async def call(name, arguments, on_progress):
                result = await client.call_tool(name, arguments, progress_callback=on_progress)
                return bool(result.is_error), text_of(result.content)

            return await run(prefix, client.protocol_version, logged, list_names, call)


main(one)
