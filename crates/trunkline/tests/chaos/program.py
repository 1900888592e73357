"""An MCP server over stdio that changes its mood while it runs. Nothing but the standard library.

    program.py MARK FILE

MARK is for finding the process; FILE has the mood, read at the start and with each message:
    calm        answers
    exit        ends at once
    die         ends in the middle of an answer to a call
    mute        does not answer the hand-shake, and ends after that mood
    hang        does not answer calls
    deaf        stops reading
    garbage     prints what is no message beside each answer
    wrong       answers to somebody else
    nothing     answers with something that is no message
    longline    prints a line that does not end
    flood       prints notifications without end
    spam        writes standard error without end
    orphans     leaves processes behind, and ends
"""
import json
import os
import subprocess
import sys
import time

MARK, FILE = sys.argv[1:3]
TOOLS = [{"name": "echo", "description": "Says it again.", "inputSchema": {"type": "object", "properties": {}}}]


def mood():
    try:
        with open(FILE) as file:
            return file.read().strip()
    except OSError:
        return "calm"


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def act(now, message):
    """What goes wrong with this message; whether it has been dealt with."""
    method = message.get("method")
    if now == "exit":
        print("I had enough", file=sys.stderr, flush=True)
        os._exit(3)
    if now == "die" and method == "tools/call":
        sys.stdout.write('{"jsonrpc": "2.0", "id":')
        sys.stdout.flush()
        os._exit(9)
    if now == "mute" and method in ("initialize", "server/discover"):
        while mood() == "mute":
            time.sleep(0.05)
        os._exit(6)
    if now == "hang" and method == "tools/call":
        return True
    if now == "deaf":
        while mood() == "deaf":
            time.sleep(0.05)
    if now == "garbage":
        sys.stdout.write("DEBUG: \x00\xff \u2028 not a message\n{]\n[]\n7\n")
    if now == "wrong" and "id" in message:
        send({"jsonrpc": "2.0", "id": "of-another-request", "result": {}})
        return True
    if now == "nothing" and "id" in message:
        send({"jsonrpc": "2.0", "id": message["id"], "result": 7})
        return True
    if now == "longline":
        while mood() == "longline":
            sys.stdout.write("x" * 65536)
    if now == "flood":
        while mood() == "flood":
            for _ in range(100):
                send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
            time.sleep(0.002)
    if now == "spam":
        while mood() == "spam":
            sys.stderr.write("spam " * 1000 + "\n")
            sys.stderr.flush()
            time.sleep(0.002)
    if now == "orphans":
        for _ in range(2):
            # With the mark among its arguments, by which it is found wherever it ends up.
            subprocess.Popen(["python3", "-c", "import time; time.sleep(7200)", MARK], start_new_session=True)
        os._exit(4)
    return False


def answer(message):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        return {"result": {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                           "serverInfo": {"name": "program", "version": "1"}}}
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method == "tools/call":
        return {"result": {"content": [{"type": "text", "text": params.get("arguments", {}).get("message", "")}]}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": f"Method not found: {method}"}}


# Others' work counts in the test, not this one's.
os.nice(19)
if mood() == "exit":
    sys.exit(5)
for line in sys.stdin:
    message = json.loads(line)
    if not act(mood(), message) and "method" in message and "id" in message:
        send({"jsonrpc": "2.0", "id": message["id"], **answer(message)})
