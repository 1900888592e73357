"""An MCP server over stdio that does what it is told. Nothing but the standard library; starts in no time.

    server.py MARK [OPTION ...]

MARK is for finding the process. Options:
    era=legacy|modern|dual|strict   strict: of the old era, and ends when asked anything before initialize
    die=SECONDS                     ends with code 3 after so long
    slow=SECONDS                    sleeps before it reads anything
    deaf                            reads nothing after the hand-shake
    silent                          answers nothing
    junk                            prints lines that are no messages beside each answer
    spam                            writes standard error without end
    bye=FILE                        writes FILE when its input ends
    stubborn                        stays when its input ends and when it is asked to end
    journal=FILE                    appends each message that it reads
    greets=HOW,FILE                 the first process of those with this FILE answers initialize under another id (HOW=other), with what is
                                    no result (HOW=seven), or behind text without an end of its line (HOW=behind)
    family                          has four descendants that stay when they are asked to end: a child, a daemon that lost its
                                    parent, and another with a session of its own and a child
"""
import json
import os
import signal
import sys
import threading
import time

options = dict((o.split("=", 1) + [""])[:2] for o in sys.argv[2:])
era = options.get("era", "legacy")
MODERN = "2026-07-28"
output = threading.Lock()
waiting = {}
cancelled = {}
state = {"initialized": False, "modern": False, "count": 0, "ready": False}


def send(message):
    line = json.dumps(message)
    with output:
        if "junk" in options:
            sys.stdout.write("starting up...\n\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def notify(method, params):
    send({"jsonrpc": "2.0", "method": method, "params": params})


def ask(method, params):
    """Asks the client; waits for its answer."""
    state["count"] += 1
    own = f"ask-{state['count']}"
    done = threading.Event()
    waiting[own] = [done, None]
    send({"jsonrpc": "2.0", "id": own, "method": method, "params": params})
    done.wait(30)
    return waiting.pop(own)[1]


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def tool(name, description="", **properties):
    return {"name": name, "description": description,
            "inputSchema": {"type": "object", "properties": properties}}


TOOLS = [tool(name) for name in (
    "echo", "slow", "big", "die", "env", "pid", "elicit", "sample", "log", "changed", "progress", "told", "error",
    "set", "get", "update", "cancelled")]


def call(request, params):
    name, arguments = params["name"], params.get("arguments", {})
    token = params.get("_meta", {}).get("progressToken")
    if name == "echo":
        return text(arguments.get("text", ""))
    if name == "slow":
        if wait(request["id"], arguments.get("seconds", 1)):
            return None
        return text("slept")
    if name == "big":
        return text("x" * arguments["bytes"])
    if name == "die":
        print("about to die:", os.environ.get("SECRET", "no secret"), file=sys.stderr, flush=True)
        if "cut" in arguments:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": text("never")})[:arguments["cut"]])
            sys.stdout.flush()
        os._exit(arguments.get("code", 7))
    if name == "env":
        return text(os.environ.get(arguments["name"], "(not set)"))
    if name == "pid":
        return text(str(os.getpid()))
    if name == "elicit":
        if state["modern"]:
            answers = params.get("inputResponses")
            if not answers:
                return {"resultType": "input_required", "inputRequests": {"q": {
                    "method": "elicitation/create",
                    "params": {"mode": "form", "message": "Who?", "requestedSchema": {
                        "type": "object", "properties": {"name": {"type": "string"}}}}}}}
            return text(json.dumps(answers["q"]["content"]))
        answer = ask("elicitation/create", {"message": "Who?", "requestedSchema": {
            "type": "object", "properties": {"name": {"type": "string"}}}})
        return text(json.dumps(answer.get("result", {}).get("content", answer)))
    if name == "sample":
        answer = ask("sampling/createMessage", {"maxTokens": 5, "messages": [
            {"role": "user", "content": {"type": "text", "text": "Capital of France?"}}]})
        return text(json.dumps(answer.get("result", {}).get("content", answer)))
    if name == "log":
        notify("notifications/message", {"level": arguments.get("level", "info"), "data": "a log line"})
        return text("logged")
    if name == "changed":
        TOOLS.append(tool(arguments["name"]))
        notify("notifications/tools/list_changed", {})
        return text("changed")
    if name == "progress":
        for step in range(3):
            notify("notifications/progress", {"progressToken": token, "progress": step, "total": 3})
            time.sleep(arguments.get("pause", 0))
        return text("done")
    if name == "told":
        return text(json.dumps(state["capabilities"]))
    if name == "set":
        state["value"] = arguments["value"]
        return text("set")
    if name == "get":
        return text(state.get("value", "(nothing)"))
    if name == "update":
        notify("notifications/resources/updated", {"uri": arguments["uri"]})
        return text("updated")
    if name == "cancelled":
        return text(json.dumps(sorted(str(key) for key, event in cancelled.items() if event.is_set())))
    return None


def wait(number, seconds):
    """Sleeps, unless it is cancelled: whether it was."""
    event = cancelled.setdefault(number, threading.Event())
    return event.wait(seconds)


def greets_oddly(number, result):
    """The first time; whether it did."""
    how, _, file = options.get("greets", ",").partition(",")
    if not how or os.path.exists(file):
        return False
    open(file, "w").close()
    odd = {"jsonrpc": "2.0", "id": "another" if how == "other" else number, "result": 7 if how == "seven" else result}
    with output:
        sys.stdout.write(("loading: 100 % " if how == "behind" else "") + json.dumps(odd) + "\n")
        sys.stdout.flush()
    return True


def answer(request):
    number, method, params = request["id"], request["method"], request.get("params", {})
    result = error = None
    if method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        if params["name"] == "error":
            error = {"code": -32000, "message": "no such luck", "data": {"why": 1}}
        else:
            result = call(request, params)
            if result is None:
                return
    elif method == "prompts/list":
        result = {"prompts": [{"name": "hello"}]}
    elif method == "prompts/get":
        result = {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}]}
    elif method == "resources/list":
        result = {"resources": [{"uri": "memo://one", "name": "one"}]}
    elif method == "resources/templates/list":
        result = {"resourceTemplates": []}
    elif method == "resources/read":
        result = {"contents": [{"uri": params["uri"], "text": "one"}]}
    elif method in ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
        result = {}
    elif method == "subscriptions/listen":
        listen(number, params)
        return
    else:
        error = {"code": -32601, "message": f"Method not found: {method}"}
    if result is not None and state["modern"]:
        result.setdefault("resultType", "complete")
        if method.endswith("/list") or method == "resources/read":
            result.update(ttlMs=0, cacheScope="private")
    send({"jsonrpc": "2.0", "id": number, **({"error": error} if error else {"result": result})})


def listen(number, params):
    meta = {"io.modelcontextprotocol/subscriptionId": number}
    notify("notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": params.get("notifications", {})})


CAPABILITIES = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}}


def first(request):
    """What decides about the era; whether it was answered here."""
    number, method, params = request.get("id"), request["method"], request.get("params", {})
    modern = "io.modelcontextprotocol/protocolVersion" in params.get("_meta", {})
    if method == "initialize":
        if era == "modern" or state["modern"]:
            send({"jsonrpc": "2.0", "id": number, "error": {
                "code": -32022, "message": "Unsupported", "data": {"supported": [MODERN], "requested": "2025-11-25"}}})
            return True
        state["initialized"] = True
        state["capabilities"] = params["capabilities"]
        result = {"protocolVersion": params["protocolVersion"], "capabilities": CAPABILITIES,
                  "serverInfo": {"name": "scripted", "version": "1"}, "instructions": "Do what it says."}
        if not greets_oddly(number, result):
            send({"jsonrpc": "2.0", "id": number, "result": result})
        return True
    if modern and era in ("modern", "dual") and not state["initialized"]:
        state["modern"] = True
        if method == "server/discover":
            send({"jsonrpc": "2.0", "id": number, "result": {
                "resultType": "complete", "supportedVersions": [MODERN], "capabilities": CAPABILITIES,
                "ttlMs": 0, "cacheScope": "public",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}}}})
            return True
        return False
    if not state["initialized"]:
        if era == "strict":
            print("expected initialize", file=sys.stderr, flush=True)
            os._exit(1)
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": "not initialized"}})
        return True
    if method == "server/discover" or modern:
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "Method not found"}})
        return True
    return False


def read(message):
    if "method" not in message:
        entry = waiting.get(message.get("id"))
        if entry:
            entry[1] = message
            entry[0].set()
        return
    if "id" not in message:
        if message["method"] == "notifications/cancelled":
            cancelled.setdefault(message["params"]["requestId"], threading.Event()).set()
        if message["method"] == "notifications/initialized" and "deaf" in options:
            time.sleep(3600)
        return
    if "silent" in options or first(message):
        return
    threading.Thread(target=answer, args=(message,), daemon=True).start()


def spam():
    while True:
        print("spam " * 50, file=sys.stderr, flush=True)


def die_later():
    time.sleep(float(options["die"]))
    print("my time has come", file=sys.stderr, flush=True)
    os._exit(3)


def stay():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def descend():
    if os.fork() == 0:
        stay()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            stay()
        os._exit(0)
    if os.fork() == 0:
        os.setsid()
        os.fork()
        stay()


if "family" in options:
    descend()
if "spam" in options:
    threading.Thread(target=spam, daemon=True).start()
if "die" in options:
    threading.Thread(target=die_later, daemon=True).start()
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "slow" in options:
    time.sleep(float(options["slow"]))
journal = open(options["journal"], "a") if "journal" in options else None
for line in sys.stdin:
    if journal:
        journal.write(line)
        journal.flush()
    read(json.loads(line))
if "bye" in options:
    with open(options["bye"], "w") as file:
        file.write("input ended")
if "stubborn" in options:
    time.sleep(3600)
