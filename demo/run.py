#!/usr/bin/env python3
"""The first ten minutes with Trunkline, with nothing simulated: real servers, real sockets, an official client.

    make demo                       # or: demo/run.py [--port 4000] [--once]

Builds the gateway, starts a server from a package registry and the FastMCP server of demo/backend, registers both
through the API, lists their tools, calls them through /mcp. On a terminal it then serves until Ctrl-C; without one,
or with --once, it ends after the walk-through. Exit code 1 when a step does not work, with the log that says why.
"""

import argparse
import json
import os
import pathlib
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import Child, Failed, end_on_signals, fail, free_port, run, target_folder, temporary_folder  # noqa: E402
from processes import wait_for_port  # noqa: E402


class Steps:
    """Numbers and times what happens."""

    def __init__(self):
        self.number = 0
        self.began = time.monotonic()

    def begin(self, what):
        self.number += 1
        self.began = time.monotonic()
        print(f"\n{self.number}. {what}", flush=True)

    def say(self, text):
        print(f"   {text}", flush=True)

    def done(self):
        print(f"   ({time.monotonic() - self.began:.1f} s)", flush=True)


def python(environment, program="python"):
    return ROOT / f".tools/py-{environment}/bin/{program}"


class Registry:
    """A server from a package registry: server-everything from npm, else mcp-server-time from PyPI."""

    def __init__(self, folder):
        self.folder = folder
        try:
            run(ROOT / "scripts/node-env.sh", what="npm ci")
            self.name, self.call = "everything", ("echo", {"message": "hello through the gateway"})
            self.package = "@modelcontextprotocol/server-everything (npm)"
        except Failed as reason:
            print(f"   without Node: {str(reason).splitlines()[0]}; taking a server from PyPI", flush=True)
            run(ROOT / "scripts/python-env.sh", "time", what="the Python environment `time`")
            self.name, self.call = "time", ("get_current_time", {"timezone": "Etc/UTC"})
            self.package = "mcp-server-time (PyPI)"

    def start(self):
        self.port = free_port()
        if self.name == "everything":
            node = ROOT / "scripts/node"
            command = [node / "node_modules/.bin/mcp-server-everything", "streamableHttp"]
            # It would listen on all interfaces.
            preload = f"--require {json.dumps(str(node / 'loopback.cjs'))}"
            env = {"PORT": str(self.port), "NODE_OPTIONS": preload}
        else:
            config = self.folder / "time.json"
            server = {"command": str(python("time", "mcp-server-time")), "args": []}
            config.write_text(json.dumps({"mcpServers": {"time": server}}))
            address = ("--transport", "http", "--host", "127.0.0.1", "--port", self.port)
            command = [python("time", "fastmcp"), "run", config, *address, "--no-banner"]
            env = {"FASTMCP_CHECK_FOR_UPDATES": "off"}
        self.child = Child(self.package, command, env=env, cwd=self.folder)
        wait_for_port(self.port, self.child)
        self.url = f"http://127.0.0.1:{self.port}/mcp"


class Backend:
    """The FastMCP server of demo/backend, behind a bearer key."""

    name = "mirrors"

    def __init__(self, folder):
        self.log = folder / "backend.jsonl"
        self.key = "demo-" + secrets.token_hex(12)

    def start(self):
        command = [python("backend"), "-m", "uvicorn", "--host", "127.0.0.1", "--port", "0"]
        command += ["--app-dir", ROOT / "demo/backend", "app:app"]
        self.child = Child("demo/backend", command, env={"MCP_KEY": self.key, "MCP_LOG": str(self.log)})
        port = self.child.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)", 60)[1]
        self.url = f"http://127.0.0.1:{port}/mcp"

    def requests(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


class Gateway:
    def __init__(self, folder, port):
        self.folder = folder
        self.key = "sk-" + secrets.token_urlsafe(32)
        self.wanted = port

    def start(self):
        env = {"LITELLM_MASTER_KEY": self.key}
        # What the user's shell has for another gateway must not reach this one.
        for name in list(os.environ):
            if name.startswith(("LITELLM_", "TRUNKLINE_")) or name in ("DATABASE_URL", "CONFIG_FILE_PATH"):
                del os.environ[name]
        address = ("--host", "127.0.0.1", "--port", self.wanted, "--data-dir", self.folder / "data")
        self.child = Child("trunkline", [target_folder() / "debug/trunkline", "serve", *address], env, self.folder)
        port = self.child.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1]
        self.url = f"http://127.0.0.1:{port}"

    def request(self, method, path, body=None):
        """A JSON answer of the API, or Failed with the gateway's words."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            raise Failed(f"{method} {path}: {error.code} {words}", self.child.output) from error
        except OSError as error:
            raise Failed(f"{method} {path}: {error}", self.child.output) from error


def preferred_port(port):
    """The port itself when nobody has it, else a free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def register(steps, gateway, name, body):
    shown = {key: value for key, value in body.items() if key != "server_name"}
    steps.say(f"POST /v1/mcp/server  {name}: {json.dumps(shown)}")
    status, row = gateway.request("POST", "/v1/mcp/server", body)
    steps.say(f"→ {status}, server_id {row['server_id']}")
    for warning in row.get("warnings", []):
        steps.say(f"  the gateway's advice: {warning}")


def list_tools(steps, gateway, expected):
    """Prints every server's outcome; fails when one is not ok, with the gateway's reason."""
    _, listed = gateway.request("GET", "/v1/mcp/tools")
    names = {}
    for tool in listed["tools"]:
        names.setdefault(tool["mcp_info"]["server_name"], []).append(tool["name"])
    for server, outcome in sorted(listed["server_outcomes"].items()):
        tools = names.get(server, [])
        some = ", ".join(tools[:3]) + (", …" if len(tools) > 3 else "")
        steps.say(f"{server}: {outcome['status']}, {len(tools)} tools: {some}")
        if outcome["status"] != "ok":
            raise Failed(f"{server}: {outcome.get('message')} ({outcome.get('hint')})", gateway.child.output)
    for server, at_least in expected.items():
        if len(names.get(server, [])) < at_least:
            raise Failed(f"{server}: {len(names.get(server, []))} tools, not {at_least}", gateway.child.output)


def call_tools(steps, gateway, calls):
    environment = {"TRUNKLINE_KEY": gateway.key}
    try:
        output = run(python("sdk2"), ROOT / "demo/client.py", f"{gateway.url}/mcp", json.dumps(calls), env=environment)
    except Failed as error:
        raise Failed("the SDK client did not get through", error.log + gateway.child.output) from error
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if "tools" in event:
            steps.say(f"tools/list → {len(event['tools'])} tools")
        else:
            text = " ".join(event["text"].split())
            steps.say(f"tools/call {event['call']} → {text[:100]}{'…' if len(text) > 100 else ''}")


def what_the_backend_saw(steps, backend):
    requests = backend.requests()
    refused = [request for request in requests if request["status"] == 401]
    opened = [request for request in requests if request["rpc"] == "initialize"]
    calls = [request for request in requests if request["rpc"] == "tools/call"]
    steps.say(f"{len(opened)} initialize and {len(calls)} tools/call among {len(requests)} requests, none refused")
    if refused:
        raise Failed(f"the backend refused {len(refused)} requests", backend.log.read_text())


def snippets(gateway):
    header = f"Bearer {gateway.key}"
    entry = {"url": f"{gateway.url}/mcp", "headers": {"Authorization": header}}
    cursor = json.dumps({"mcpServers": {"trunkline": entry}}, indent=2)
    vscode = json.dumps({"servers": {"trunkline": {"type": "http", **entry}}}, indent=2)
    print(
        f"""
Paste into your client:

Claude Code
claude mcp add --transport http trunkline {gateway.url}/mcp --header "Authorization: {header}"

Cursor: .cursor/mcp.json
{cursor}

VS Code: .vscode/mcp.json
{vscode}""",
        flush=True,
    )


def walk_through(options):
    steps = Steps()
    folder = temporary_folder("demo")

    steps.begin("Build the gateway (the first time takes some minutes)")
    run("cargo", "build", "-q", "-p", "trunkline", what="cargo build", stream=True)
    steps.done()

    steps.begin("Get the servers and the client from their registries")
    run(ROOT / "scripts/python-env.sh", "backend", "sdk2", what="the Python environments")
    registry, backend = Registry(folder), Backend(folder)
    steps.say(f"{registry.package}; mcp 1.16.0 (server) and mcp 2.3.0 (client) (PyPI)")
    steps.done()

    steps.begin("Start two MCP servers")
    registry.start()
    steps.say(f"{registry.name}: {registry.package} at {registry.url}")
    backend.start()
    steps.say(f"{backend.name}: FastMCP in FastAPI behind a bearer key, 12 tools, at {backend.url}")
    steps.done()

    steps.begin("Start the gateway on an embedded SQLite database")
    gateway = Gateway(folder, preferred_port(options.port))
    gateway.start()
    steps.say(f"{gateway.url}, data in {folder / 'data'} until this ends")
    steps.done()

    steps.begin("Register both servers")
    register(steps, gateway, registry.name, {"server_name": registry.name, "url": registry.url, "transport": "http"})
    report = {
        "server_name": backend.name,
        "url": backend.url,
        "transport": "http",
        "auth_type": "bearer_token",
        # Not where a credential belongs, and what people write: the gateway understands it and says so.
        "extra_headers": [f"Authorization: Bearer {backend.key}"],
    }
    register(steps, gateway, backend.name, report)
    steps.done()

    steps.begin("List the tools, with each server's outcome")
    list_tools(steps, gateway, {registry.name: 1, backend.name: 12})
    steps.done()

    steps.begin("Call tools through /mcp with the official Python SDK")
    tool, arguments = registry.call
    mirror = {"name": "demo", "source_url": "https://example.com/demo.git"}
    calls = [
        (f"{registry.name}-{tool}", arguments),
        (f"{backend.name}-create_mirror", mirror),
        (f"{backend.name}-mirror_status", {"name": "demo"}),
    ]
    call_tools(steps, gateway, calls)
    steps.done()

    steps.begin("What the server behind the key saw")
    what_the_backend_saw(steps, backend)
    steps.done()

    snippets(gateway)
    return [gateway.child, backend.child, registry.child]


def serve(children):
    print("\nServing until Ctrl-C.", flush=True)
    while True:
        for child in children:
            if not child.alive():
                raise Failed(f"{child.name} ended with code {child.process.returncode}", child.output)
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=4000, help="of the gateway, when it is free")
    parser.add_argument("--once", action="store_true", help="end after the walk-through, also on a terminal")
    options = parser.parse_args()
    end_on_signals()
    try:
        children = walk_through(options)
        if sys.stdout.isatty() and sys.stdin.isatty() and not options.once:
            serve(children)
    except Failed as error:
        return fail(error)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
