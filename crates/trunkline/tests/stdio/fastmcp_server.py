"""The same few things with FastMCP of either generation: `fastmcp` if it is there, else that of the Python SDK 1.x. `sse PORT` serves over HTTP+SSE."""
import sys

try:
    from fastmcp import FastMCP
except ImportError:
    from mcp.server.fastmcp import FastMCP

server = FastMCP("few")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


@server.prompt()
def summarise(topic: str) -> str:
    """Asks for a summary."""
    return f"Summarise {topic}."


@server.resource("notes://today")
def today() -> str:
    """Notes."""
    return "rain"


@server.resource("notes://day/{day}")
def day(day: str) -> str:
    """Notes of a day."""
    return f"day {day}"


if sys.argv[1:2] == ["sse"]:
    port = int(sys.argv[2])
    if hasattr(server, "settings") and hasattr(server.settings, "port"):
        server.settings.port = port
        server.run("sse")
    else:
        server.run("sse", host="127.0.0.1", port=port)
elif FastMCP.__module__.startswith("fastmcp"):
    server.run("stdio", show_banner=False)
else:
    server.run("stdio")
