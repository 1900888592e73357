"""FastMCP's own client. MODE: as for the Python SDK 2.x. See report.py."""

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from report import HEADERS, main, run, text_of


async def one(mode: str, prefix: str, url: str) -> dict:
    logged: list = []

    async def on_log(message) -> None:
        logged.append(message.data)

    transport = StreamableHttpTransport(url, headers=HEADERS)
    async with Client(transport, mode=mode, log_handler=on_log, timeout=30) as client:

        async def list_names():
            return [tool.name for tool in await client.list_tools()]

        async def call(name, arguments, on_progress):
            result = await client.call_tool(
                name, arguments, progress_handler=on_progress, raise_on_error=False
            )
            return bool(result.is_error), text_of(result.content)

        # Without a hand-shake there is no result of one.
        opened = client.initialize_result
        protocol = opened.protocol_version if opened else "2026-07-28"
        return await run(prefix, protocol, logged, list_names, call)


main(one)
