"""FastMCP's own client. `mode`: as for the Python SDK 2.x. See plan.py."""

import contextlib

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp import types
from plan import main, pages
from pydantic import TypeAdapter

REF = TypeAdapter(types.PromptReference | types.ResourceTemplateReference)


@contextlib.asynccontextmanager
async def opened(target: dict, log: list):
    async def on_log(message) -> None:
        log.append(message.data)

    transport = StreamableHttpTransport(target["url"], headers=target["headers"])
    async with Client(transport, mode=target["mode"], log_handler=on_log, timeout=30) as client:

        async def perform(step: dict, on_progress):
            match step["do"]:
                case "tools":
                    return await pages("tools", lambda cursor: client.list_tools_mcp(cursor=cursor))
                case "prompts":
                    return await pages("prompts", lambda cursor: client.list_prompts_mcp(cursor=cursor))
                case "resources":
                    return await pages("resources", lambda cursor: client.list_resources_mcp(cursor=cursor))
                case "templates":
                    return await pages(
                        "resourceTemplates", lambda cursor: client.list_resource_templates_mcp(cursor=cursor)
                    )
                case "call":
                    return await client.call_tool_mcp(step["name"], step["arguments"], progress_handler=on_progress)
                case "prompt":
                    return await client.get_prompt_mcp(step["name"], step["arguments"])
                case "read":
                    return await client.read_resource_mcp(step["uri"])
                case "complete":
                    return await client.complete_mcp(REF.validate_python(step["ref"]), step["argument"])

        yield client.protocol_version, perform


main(opened)
