"""The same few things with FastMCP of any generation: `fastmcp` if it is there, else that of the Python SDK 1.x. `sse PORT` serves over
HTTP+SSE, `http PORT` over Streamable HTTP."""
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


of_the_sdk = not FastMCP.__module__.startswith("fastmcp")
if len(sys.argv) == 3:
    transport, port = sys.argv[1], int(sys.argv[2])
    if of_the_sdk:
        server.settings.port = port
        server.run("streamable-http" if transport == "http" else transport)
    else:
        server.run(transport, host="127.0.0.1", port=port)
elif of_the_sdk:
    server.run("stdio")
else:
    server.run("stdio", show_banner=False)
