#!/usr/bin/env python3
"""What a warm call of a program costs: over its own pipes, and through the gateway, in one run.

    scripts/stdio-latency.py target/dist/trunkline [--calls N] [--tool NAME --arguments JSON -- PROGRAM [ARGUMENT ...]]

Both sides talk to the same server one call after the other; rounds take turns. Without a program it is the little one of the tests
(crates/trunkline/tests/stdio/server.py), which does next to nothing for a call: the hardest case. Measure on a machine that does
nothing else: through the gateway three processes take turns, and one that waits for a processor is most of what is measured.
"""
import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("--calls", type=int, default=2000)
parser.add_argument("--tool", default="echo")
parser.add_argument("--arguments", type=json.loads, default={"text": "hello"})
split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
options = parser.parse_args(sys.argv[1:split])
binary, calls = options.binary, options.calls
script = str(pathlib.Path(__file__).parent.parent / "crates/trunkline/tests/stdio/server.py")
program = sys.argv[split + 1:] or [sys.executable, script, "measured"]
KEY = "sk-0123456789abcdef0123456789abcdef0123"
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "latency", "version": "1"}}
CALL = {"name": options.tool, "arguments": options.arguments}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Direct:
    def __init__(self):
        self.child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.ask("initialize", INITIALIZE)
        self.child.stdin.write(json.dumps(READY).encode() + b"\n")

    def ask(self, method, params, number=1):
        message = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        self.child.stdin.write(message.encode() + b"\n")
        self.child.stdin.flush()
        return self.child.stdout.readline()


class Through:
    """The plainest client there is: what a library's would cost is not the gateway's."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = ("POST /prog/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     f"Accept: application/json, text/event-stream\r\nx-litellm-api-key: {KEY}\r\n")
        answered = self.ask("initialize", INITIALIZE)
        session = re.search(rb"(?i)mcp-session-id: *(\S+)", self.last_head)[1].decode()
        self.head += f"MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n"
        assert b"serverInfo" in answered, answered

    def ask(self, method, params, number=1):
        message = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        self.socket.sendall(f"{self.head}Content-Length: {len(message)}\r\n\r\n{message}".encode())
        read = b""
        while b"\r\n\r\n" not in read:
            read += self.socket.recv(65536)
        self.last_head, _, body = read.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", self.last_head)[1])
        while len(body) < length:
            body += self.socket.recv(65536)
        return body


def measure(side):
    times = []
    for number in range(calls // 10):
        began = time.perf_counter()
        answer = side.ask("tools/call", CALL, number + 2)
        times.append(time.perf_counter() - began)
        assert b'"result"' in answer and b'"isError":true' not in answer.replace(b" ", b""), answer
    return times


with tempfile.TemporaryDirectory() as home:
    config = os.path.join(home, "config.yaml")
    with open(config, "w") as file:
        json.dump({"mcp_servers": {"prog": {"transport": "stdio", "command": program[0], "args": program[1:],
                                            "prefix": "never", "sandbox": "off"}}}, file)
    ports = os.path.join(home, "port")
    gateway = subprocess.Popen([binary, "serve", "--port", "0", "--port-file", ports, "--config", config, "--data-dir", home],
                               env={"LITELLM_MASTER_KEY": KEY, "PATH": os.environ["PATH"], "HOME": home},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(ports):
            time.sleep(0.05)
        through, direct = Through(int(open(ports).read())), Direct()
        for side in (through, direct):
            for _ in range(50):
                side.ask("tools/call", CALL)
        seen = {"direct": [], "through": []}
        for _ in range(10):
            seen["direct"] += measure(direct)
            seen["through"] += measure(through)
        for name, times in seen.items():
            times.sort()
            print(f"{name:8} p50 {statistics.median(times) * 1e6:7.0f} us   p99 {times[len(times) * 99 // 100] * 1e6:7.0f} us")
        ratio = statistics.median(seen["through"]) / statistics.median(seen["direct"])
        print(f"ratio of the medians: {ratio:.2f}")
        direct.child.stdin.close()
    finally:
        gateway.terminate()
        gateway.wait()
