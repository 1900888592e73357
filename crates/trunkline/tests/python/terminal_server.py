"""A server of the Python SDK 1.x for the command line: types, failures, progress, a question. Prints its port."""

import asyncio
import socket

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

mcp = FastMCP("terminal")


class Who(BaseModel):
    name: str
    sure: bool = True


@mcp.tool()
async def echo(message: str) -> str:
    """Says it again."""
    return message


@mcp.tool()
async def repeat(words: list[str], times: int, loud: bool = False) -> str:
    """Says words several times."""
    text = " ".join(words * times)
    return text.upper() if loud else text


@mcp.tool()
async def fail() -> str:
    raise ValueError("it did not work")


@mcp.tool()
async def steps(count: int, ctx: Context) -> str:
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step + 1}")
        await asyncio.sleep(0.05)
    return "done"


@mcp.tool()
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@mcp.tool()
async def who(ctx: Context) -> str:
    answer = await ctx.elicit("who is there?", Who)
    if answer.action != "accept":
        return answer.action
    return f"{answer.data.name} {answer.data.sure}"


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="warning")).run(sockets=[listener])
