"""A server of the Python SDK 1.x that asks its client everything in the middle of one call, and counts what it did.

Prints its port.
"""

import json
import socket

import uvicorn
from mcp import UrlElicitationRequiredError
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import ElicitRequestURLParams, SamplingMessage, TextContent
from pydantic import BaseModel

mcp = FastMCP("asks")
done = 0
signed_in = False


class Who(BaseModel):
    name: str


@mcp.tool()
async def ask(ctx: Context) -> str:
    global done
    form = await ctx.elicit("who?", Who)
    page = await ctx.elicit_url("sign in", "https://example.com/in", "e-1")
    await ctx.session.send_elicit_complete("e-1", related_request_id=ctx.request_id)
    question = SamplingMessage(role="user", content=TextContent(type="text", text="capital?"))
    sampled = await ctx.session.create_message([question], max_tokens=5, related_request_id=ctx.request_id)
    done += 1
    return json.dumps({"form": form.data.name, "page": page.action, "sampling": sampled.content.text})


@mcp.tool()
async def sign_in() -> str:
    global signed_in
    if not signed_in:
        signed_in = True
        params = ElicitRequestURLParams(mode="url", message="sign in", url="https://example.com/in", elicitationId="e-2")
        raise UrlElicitationRequiredError([params])
    signed_in = False
    return "signed in"


@mcp.tool()
async def count() -> str:
    return str(done)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="warning")).run(sockets=[listener])
