"""A Streamable HTTP server as people really deploy it: FastMCP of mcp 1.16.0, mounted in FastAPI, behind a bearer key.

Its twelve tools keep mirrors of repositories in memory. The demo registers it and the tests run against it, because
its odd sides are what a gateway must live with: no session id it knows is 400 (not 404), `POST /mcp` may be
answered with a redirect to `/mcp/`, a missing key is a 401 before the protocol is reached.

    scripts/python-env.sh backend
    MCP_KEY=... .tools/py-backend/bin/uvicorn --app-dir demo/backend app:app --host 127.0.0.1 --port 9216

Environment:
    MCP_KEY         the bearer key that /mcp asks for (default: demo-key)
    MCP_JSON=1      JSON answers (default: SSE)
    MCP_STATELESS=1 no sessions
    MCP_MOUNT       `root`: mounted at /, path /mcp (default); `mcp`: mounted at /mcp, so that POST /mcp is a 307
    MCP_LOG         a file that gets one JSON line for each request, when its answer is complete:
                    {"time", "method", "path", "rpc", "session", "auth", "status", "ms"}
                    rpc: JSON-RPC method or null; session: the request had a session id; auth: none, ok or wrong
"""

import asyncio
import contextlib
import json
import os
import threading
import time

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from mcp.server.fastmcp import Context, FastMCP

KEY = os.environ.get("MCP_KEY", "demo-key")
MOUNT = os.environ.get("MCP_MOUNT", "root")
LOG = os.environ.get("MCP_LOG")

mcp = FastMCP(
    "git-mirror",
    json_response=os.environ.get("MCP_JSON") == "1",
    stateless_http=os.environ.get("MCP_STATELESS") == "1",
    streamable_http_path="/" if MOUNT == "mcp" else "/mcp",
)
mirrors: dict[str, dict] = {}


def known(name: str) -> dict:
    if name not in mirrors:
        raise ValueError(f"no mirror named {name}")
    return mirrors[name]


@mcp.tool()
def list_mirrors() -> list[dict]:
    """List all the repository mirrors."""
    return list(mirrors.values())


@mcp.tool()
def create_mirror(name: str, source_url: str, branch: str = "main") -> dict:
    """Create a mirror of a repository."""
    mirrors[name] = {
        "name": name,
        "source_url": source_url,
        "branch": branch,
        "synced_at": None,
        "paused": False,
    }
    return mirrors[name]


@mcp.tool()
def get_mirror(name: str) -> dict:
    """One mirror's state."""
    return known(name)


@mcp.tool()
def delete_mirror(name: str) -> bool:
    """Delete a mirror."""
    return mirrors.pop(name, None) is not None


@mcp.tool()
async def sync_mirror(name: str, ctx: Context) -> dict:
    """Synchronise a mirror with its source."""
    mirror = known(name)
    await ctx.info(f"syncing {name}")
    await asyncio.sleep(0.05)
    mirror["synced_at"] = time.time()
    return mirror


@mcp.tool()
def mirror_status(name: str) -> str:
    """State of a mirror, in words."""
    mirror = known(name)
    if mirror["paused"]:
        return "paused"
    return "synced" if mirror["synced_at"] else "new"


@mcp.tool()
def pause_mirror(name: str) -> dict:
    """Pause a mirror."""
    known(name)["paused"] = True
    return known(name)


@mcp.tool()
def resume_mirror(name: str) -> dict:
    """Resume a mirror."""
    known(name)["paused"] = False
    return known(name)


@mcp.tool()
def list_branches(name: str) -> list[str]:
    """Branches of a mirror."""
    return [known(name)["branch"]]


@mcp.tool()
def echo(message: str) -> str:
    """Return the message unchanged."""
    return message


@mcp.tool()
async def slow(ctx: Context, ms: int = 1000, steps: int = 5) -> str:
    """Wait ms milliseconds, with a progress notification after each step."""
    for step in range(steps):
        await asyncio.sleep(ms / steps / 1000)
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "done"


@mcp.tool()
def fail() -> str:
    """Always fails."""
    raise RuntimeError("this tool always fails")


def header(scope, name: bytes) -> str:
    return dict(scope["headers"]).get(name, b"").decode("latin-1")


def auth_of(scope) -> str:
    given = header(scope, b"authorization")
    if not given:
        return "none"
    return "ok" if given == f"Bearer {KEY}" else "wrong"


class Bearer:
    """Plain ASGI, since Starlette's BaseHTTPMiddleware would buffer and cancel streams."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith("/mcp") and auth_of(scope) != "ok":
            refusal = JSONResponse({"error": "unauthorized"}, 401, headers={"WWW-Authenticate": "Bearer"})
            return await refusal(scope, receive, send)
        await self.app(scope, receive, send)


class RequestLog:
    """Writes the line that MCP_LOG asks for. Passes every frame of the answer on as it comes."""

    lock = threading.Lock()

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.time()
        status = None
        # The whole request is read first, so that the line names the method also when the answer did not need it.
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            return unread.pop() if unread else await receive()

        async def recording_send(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, replay, recording_send)
        finally:
            line = {
                "time": began,
                "method": scope["method"],
                "path": scope["path"],
                "rpc": rpc_method(body),
                "session": bool(header(scope, b"mcp-session-id")),
                "auth": auth_of(scope),
                "status": status,
                "ms": round((time.time() - began) * 1000, 1),
            }
            with self.lock, open(LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")


def rpc_method(body: bytes):
    try:
        message = json.loads(body)
    except ValueError:
        return None
    return message.get("method") if isinstance(message, dict) else None


streamable_http = mcp.streamable_http_app()


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI):
    async with mcp.session_manager.run():
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(Bearer)
if LOG:
    # Added last is outermost: what the key check refuses is logged too.
    app.add_middleware(RequestLog)


@app.get("/health")
def health():
    return {"ok": True}


app.mount("/mcp" if MOUNT == "mcp" else "/", streamable_http)
