"""The Python SDK, 1.x. MODE `sse` is the transport of 2024-11-05, any other Streamable HTTP. See report.py."""

from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

from report import HEADERS, main, run, text_of


@asynccontextmanager
async def connected(mode: str, url: str):
    if mode == "sse":
        async with sse_client(url, headers=HEADERS) as (read, write):
            yield read, write
    else:
        async with streamablehttp_client(url, headers=HEADERS) as (read, write, _):
            yield read, write


async def one(mode: str, prefix: str, url: str) -> dict:
    logged: list = []

    async def on_log(params) -> None:
        logged.append(params.data)

    async with connected(mode, url) as (read, write):
        async with ClientSession(read, write, logging_callback=on_log) as session:
            begun = await session.initialize()

            async def list_names():
                names, cursor = [], None
                while True:
                    page = await session.list_tools(cursor)
                    names += [tool.name for tool in page.tools]
                    cursor = page.nextCursor
                    if cursor is None:
                        return names

            async def call(name, arguments, on_progress):
                result = await session.call_tool(name, arguments, progress_callback=on_progress)
                return result.isError, text_of(result.content)

            return await run(prefix, begun.protocolVersion, logged, list_names, call)


main(one)
