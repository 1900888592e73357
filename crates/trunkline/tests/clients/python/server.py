"""A server as FastMCP's users write it, with one of everything:   server.py PORT"""

import base64
import sys

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.types import Image

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
server = FastMCP("fast", instructions="Everything once.")


@server.tool(annotations={"readOnlyHint": True}, tags={"numbers"})
def add(a: float, b: float = 1.0) -> dict[str, float]:
    """Adds two numbers."""
    return {"sum": a + b}


@server.tool
def pixel() -> Image:
    """One pixel."""
    return Image(data=PIXEL, format="png")


@server.tool
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(f"because of {why}")


@server.tool
async def steps(count: int, ctx: Context) -> str:
    """Tells how far it is, and logs."""
    for step in range(1, count + 1):
        await ctx.report_progress(step, count, f"step {step}")
        await ctx.info(f"log {step}")
    return "dönè"


@server.resource("notes://today", mime_type="text/markdown", description="A text.")
def today() -> str:
    return "# Today\nnothing"


@server.resource("notes://pixel", mime_type="image/png")
def picture() -> bytes:
    return PIXEL


@server.resource("notes://day/{day}", mime_type="application/json")
def day(day: str) -> dict:
    return {"day": day, "notes": [1.0, None, True]}


@server.prompt
def summarise(topic: str, words: str = "100") -> str:
    """Asks for a summary."""
    return f"Summarise {topic} in {words} words."


server.run("http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", show_banner=False)
