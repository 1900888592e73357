"""The Python SDK, 1.x. `mode` has no meaning here. See plan.py."""

import contextlib

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client
from plan import main, pages
from pydantic import TypeAdapter

REF = TypeAdapter(types.PromptReference | types.ResourceTemplateReference)


@contextlib.asynccontextmanager
async def opened(target: dict, log: list):
    async def on_log(params) -> None:
        log.append(params.data)

    async with streamablehttp_client(target["url"], headers=target["headers"]) as (read, write, _):
        async with ClientSession(read, write, logging_callback=on_log) as session:
            begun = await session.initialize()

            async def perform(step: dict, on_progress):
                match step["do"]:
                    case "tools":
                        return await pages("tools", session.list_tools)
                    case "prompts":
                        return await pages("prompts", session.list_prompts)
                    case "resources":
                        return await pages("resources", session.list_resources)
                    case "templates":
                        return await pages("resourceTemplates", session.list_resource_templates)
                    case "call":
                        return await session.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
                    case "prompt":
                        return await session.get_prompt(step["name"], step["arguments"])
                    case "read":
                        return await session.read_resource(step["uri"])
                    case "complete":
                        return await session.complete(REF.validate_python(step["ref"]), step["argument"])

            yield begun.protocolVersion, perform


main(opened)
