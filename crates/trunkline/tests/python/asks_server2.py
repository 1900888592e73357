"""The same with the Python SDK 2.x and results that ask: two questions in one round, then another. See asks_server1.py."""

import json
import socket

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
)

mcp = MCPServer("asks")
done = 0


@mcp.tool()
async def ask(ctx: Context) -> str | InputRequiredResult:
    global done
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    responses = ctx.input_responses or {}
    if "page" in responses:
        done += 1
        return json.dumps({**json.loads(ctx.request_state), "page": responses["page"].action})
    if {"form", "sampling"} <= responses.keys():
        so_far = {"form": responses["form"].content["name"], "sampling": responses["sampling"].content.text}
        params = ElicitRequestURLParams(message="sign in", url="https://example.com/in")
        return InputRequiredResult(input_requests={"page": ElicitRequest(params=params)}, request_state=json.dumps(so_far))
    question = SamplingMessage(role="user", content=TextContent(type="text", text="capital?"))
    return InputRequiredResult(
        input_requests={
            "form": ElicitRequest(params=ElicitRequestFormParams(message="who?", requested_schema=schema)),
            "sampling": CreateMessageRequest(params=CreateMessageRequestParams(messages=[question], max_tokens=5)),
        }
    )


@mcp.tool()
async def count() -> str:
    return str(done)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="warning")).run(sockets=[listener])
