"""The Python SDK, 2.x. `mode`: `auto` asks for the modern protocol first, `legacy` does not. See plan.py."""

import contextlib

import httpx2
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client
from plan import main, pages
from pydantic import TypeAdapter

REF = TypeAdapter(types.PromptReference | types.ResourceTemplateReference)


@contextlib.asynccontextmanager
async def opened(target: dict, log: list):
    async def on_log(params) -> None:
        log.append(params.data)

    async with httpx2.AsyncClient(headers=target["headers"], timeout=30) as http:
        transport = streamable_http_client(target["url"], http_client=http)
        async with Client(transport, mode=target["mode"], logging_callback=on_log, log_level="debug") as client:

            async def perform(step: dict, on_progress):
                match step["do"]:
                    case "tools":
                        return await pages("tools", lambda cursor: client.list_tools(cursor=cursor))
                    case "prompts":
                        return await pages("prompts", lambda cursor: client.list_prompts(cursor=cursor))
                    case "resources":
                        return await pages("resources", lambda cursor: client.list_resources(cursor=cursor))
                    case "templates":
                        return await pages(
                            "resourceTemplates", lambda cursor: client.list_resource_templates(cursor=cursor)
                        )
                    case "call":
                        return await client.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
                    case "prompt":
                        return await client.get_prompt(step["name"], step["arguments"])
                    case "read":
                        return await client.read_resource(step["uri"])
                    case "complete":
                        return await client.complete(REF.validate_python(step["ref"]), step["argument"])

            yield client.protocol_version, perform


main(opened)
