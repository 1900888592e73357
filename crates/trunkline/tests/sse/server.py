"""An MCP server over the HTTP+SSE transport of 2024-11-05, and nothing but the standard library.

Prints its port. Options:
    key=VALUE       wants this bearer token on every request
    endpoint=URL    names this address in its first event
    post=STATUS     what a POST to its URL is answered with (405 unless set)
    turned          it speaks Streamable HTTP at its URL, in JSON, and no SSE
"""
import json
import queue
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = dict((o.split("=", 1) + [""])[:2] for o in sys.argv[1:])
sessions = {}
journal = []
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in (
    "echo", "slow", "drop", "forget", "elicit", "progress", "changed", "sessions", "journal", "turn")]


def text(value):
    return {"content": [{"type": "text", "text": value}]}


class Session:
    def __init__(self):
        self.outgoing = queue.Queue()
        self.answers = {}

    def send(self, message):
        self.outgoing.put(message)

    def ask(self, method, params):
        own, done = str(uuid.uuid4()), threading.Event()
        self.answers[own] = [done, None]
        self.send({"jsonrpc": "2.0", "id": own, "method": method, "params": params})
        done.wait(30)
        return self.answers.pop(own)[1]


def call(session, params):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        return text(arguments.get("text", ""))
    if name == "slow":
        threading.Event().wait(arguments.get("seconds", 1))
        return text("slept")
    if name == "drop":
        session.outgoing.put(None)
        return None
    if name == "forget":
        for key in [key for key, own in sessions.items() if own is session]:
            del sessions[key]
        return text("forgotten")
    if name == "elicit":
        answer = session.ask("elicitation/create", {"message": "Who?", "requestedSchema": {
            "type": "object", "properties": {"name": {"type": "string"}}}})
        return text(json.dumps(answer.get("result", answer)))
    if name == "progress":
        token = params.get("_meta", {}).get("progressToken")
        for step in range(3):
            session.send({"jsonrpc": "2.0", "method": "notifications/progress",
                          "params": {"progressToken": token, "progress": step}})
        return text("done")
    if name == "changed":
        TOOLS.append({"name": "another", "inputSchema": {"type": "object"}})
        session.send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        return text("changed")
    if name == "sessions":
        return text(str(len(sessions)))
    if name == "journal":
        return text(json.dumps(journal))
    if name == "turn":
        options["turned"] = ""
        return text("turned")
    return text("?")


def answer(session, request):
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {"listChanged": True}},
                  "serverInfo": {"name": "old", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = call(session, params)
        if result is None:
            return None
    elif method == "ping":
        result = {}
    else:
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "Method not found"}}
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def plain(self, status, body=b"", kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def let_in(self):
        if "key" in options and self.headers.get("Authorization") != f"Bearer {options['key']}":
            self.plain(401, b"who are you?")
            return False
        return True

    def do_GET(self):
        journal.append(f"GET {self.path}")
        if not self.let_in():
            return
        if self.path != "/sse" or "turned" in options:
            return self.plain(404)
        key, session = str(uuid.uuid4()), Session()
        sessions[key] = session
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        address = options.get("endpoint", "/messages/?session_id=") + key
        self.wfile.write(f": hello\r\nevent: endpoint\r\ndata: {address}\r\n\r\n".encode())
        self.wfile.flush()
        while True:
            try:
                message = session.outgoing.get(timeout=1)
                if message is None:
                    break
                self.wfile.write(f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n".encode())
            except queue.Empty:
                try:
                    self.wfile.write(b": ping\r\n\r\n")
                except OSError:
                    break
            except OSError:
                break
        sessions.pop(key, None)
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body)
        journal.append(f"POST {self.path.split('?')[0]} {message.get('method', 'response')}")
        if not self.let_in():
            return
        if self.path == "/sse":
            if "turned" not in options:
                return self.plain(int(options.get("post", 405)), b"Method Not Allowed")
            if "id" not in message or "method" not in message:
                return self.plain(202)
            return self.plain(200, json.dumps(answer(Session(), message)).encode(), "application/json")
        session = sessions.get(self.path.rsplit("=", 1)[-1])
        if session is None:
            return self.plain(404, b"Could not find session")
        self.plain(202, b"Accepted")
        if "method" not in message:
            entry = session.answers.get(message["id"])
            if entry:
                entry[1] = message
                entry[0].set()
        elif "id" in message:
            def work():
                result = answer(session, message)
                if result is not None:
                    session.send(result)
            threading.Thread(target=work, daemon=True).start()


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
