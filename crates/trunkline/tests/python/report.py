"""What each client of this folder does, and prints as one line of JSON, so that a test can compare clients.

    CLIENT.py MODE,… PREFIX=URL…    a line for each mode and in it for each URL; PREFIX: what stands before the names
                                    of the tools there, or nothing; MODE: see the client; the key is in MCP_BEARER

    {"protocol": "2025-06-18", "tools": [name, …], "echo": text, "fail": {"is_error": bool, "text": text},
     "slow": {"text": text, "ms": n, "progress": [{"at_ms", "progress", "total", "message"}, …]}, "log": [data, …]}

Names are printed without the prefix. To add a client: a file that gives `main` a function that opens a session
and hands it to `run`.
"""

import asyncio
import json
import os
import sys
import time

HEADERS = {"Authorization": f"Bearer {os.environ['MCP_BEARER']}"}
MODES = sys.argv[1].split(",")
# (prefix, url)
TARGETS = [tuple(target.split("=", 1)) for target in sys.argv[2:]]
SLOW = {"ms": 900, "steps": 3}


def text_of(content) -> str:
    return "".join(block.text for block in content)


async def run(prefix: str, protocol: str, logged: list, list_names, call) -> dict:
    """`logged` grows with each log message's data; `list_names()` gives all names;
    `call(name, arguments, on_progress)` gives (is_error, text)."""
    tools = await list_names()
    unprefixed = [name.removeprefix(prefix) for name in tools if name.startswith(prefix)]
    assert len(unprefixed) == len(tools), f"not all begin with {prefix!r}: {tools}"

    _, echo = await call(prefix + "echo", {"message": "héllo"}, None)

    progress = []
    began = time.monotonic()

    def since() -> int:
        return round((time.monotonic() - began) * 1000)

    async def on_progress(value, total, message) -> None:
        progress.append({"at_ms": since(), "progress": value, "total": total, "message": message})

    _, slow = await call(prefix + "slow", SLOW, on_progress)
    slow_ms = since()

    failed, why = await call(prefix + "fail", {}, None)

    await call(prefix + "create_mirror", {"name": "m", "source_url": "https://example.com/m.git"}, None)
    await call(prefix + "sync_mirror", {"name": "m"}, None)

    return {
        "protocol": protocol,
        "tools": unprefixed,
        "echo": echo,
        "fail": {"is_error": failed, "text": why},
        "slow": {"text": slow, "ms": slow_ms, "progress": progress},
        "log": logged,
    }


def main(one) -> None:
    """`one(mode, prefix, url)` opens a session and gives what `run` gives. All at the same time."""

    async def all_targets():
        return await asyncio.gather(*(one(mode, *target) for mode in MODES for target in TARGETS))

    for report in asyncio.run(all_targets()):
        print(json.dumps(report), flush=True)
