#!/usr/bin/env python3
"""What a call of an HTTP API costs the gateway, beside the same call of an MCP server: CPU seconds of its process over so many
calls of each, in turns, in one run.

    cargo build --release && bench/openapi_cost.py [--calls 3000] [--rounds 5] [--binary target/release/trunkline]

Both servers are one Python process with the same payload; the gateway has one thread, so that nothing hides. Prints the ratio;
the exit status is 1 where it is above 1.3. Needs nothing but Python, and Linux for /proc.
"""

import argparse
import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

KEY = "sk-openapi-cost-0123456789abcdef0123456789abcdef"
PAYLOAD = {"id": 7, "name": "a name", "tags": ["x"] * 20, "text": "some words " * 40}
DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "Cost", "version": "1"},
    "paths": {"/things/{id}": {"post": {"operationId": "thing", "parameters": [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "schema": {"type": "integer"}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object", "properties": {"note": {"type": "string"}}}}}}}}},
}


async def serve(reader, writer):
    body = json.dumps(PAYLOAD)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
            data = await reader.readexactly(length)
            answer = body if b"/things/" in head else mcp(json.loads(data or b"{}"), body)
            status = "200 OK" if answer else "202 Accepted"
            text = (answer or "").encode()
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def mcp(message, body):
    method = message.get("method")
    if "id" not in message:
        return None
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "m", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "thing", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": body}], "structuredContent": PAYLOAD}
    else:
        return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}})
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})


def start_server():
    ready = threading.Event()
    port = []

    def run():
        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await server.serve_forever()

        asyncio.run(main())

    threading.Thread(target=run, daemon=True).start()
    ready.wait()
    return port[0]


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", "x-litellm-api-key": KEY}
        self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}})
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def post(self, message):
        self.connection.request("POST", "/mcp", json.dumps(message), self.headers)
        answer = self.connection.getresponse()
        session = answer.getheader("mcp-session-id")
        if session:
            self.headers["mcp-session-id"] = session
        return answer.read()

    def call(self, tool, arguments):
        text = self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        assert b"some words" in text and b'"isError":true' not in text, text[:500]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=3000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--binary", default="target/release/trunkline")
    options = options.parse_args()
    upstream = start_server()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "config.yaml")
        with open(config, "w") as file:
            json.dump({"mcp_servers": {
                "plain": {"url": f"http://127.0.0.1:{upstream}/mcp"},
                "api": {"spec": DOCUMENT, "url": f"http://127.0.0.1:{upstream}"}}}, file)
        command = [options.binary, "serve", "--config", config, "--data-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
        gateway = subprocess.Popen(command, env={**os.environ, "LITELLM_MASTER_KEY": KEY}, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            time.sleep(2)
            client = Client(port)
            spent = {"plain-thing": [], "api-thing": []}
            arguments = {"id": "a b", "limit": 5, "note": "words"}
            for tool in spent:
                for _ in range(200):
                    client.call(tool, arguments)
            for _ in range(options.rounds):
                for tool, list_of in spent.items():
                    before = cpu(gateway.pid)
                    for _ in range(options.calls):
                        client.call(tool, arguments)
                    list_of.append((cpu(gateway.pid) - before) / options.calls * 1e6)
        finally:
            gateway.terminate()
            gateway.wait()
    middle = {tool: sorted(values)[len(values) // 2] for tool, values in spent.items()}
    ratio = middle["api-thing"] / middle["plain-thing"]
    print(f"mcp {middle['plain-thing']:.1f} us, api {middle['api-thing']:.1f} us of CPU a call: {ratio:.2f}")
    return ratio > 1.3


if __name__ == "__main__":
    sys.exit(main())
