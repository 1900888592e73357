"""OpenAI's SDK and Anthropic's for Python, which play a plan: JSON on stdin, `{"url", "key", "steps"}`. Prints what came of each step, one
JSON list. `node/client_models.mjs` plays the same plan.

A step is `{"dialect", "model", "ask", "stream"}`, with a `key` of its own if it has one. `ask` is what the user says; with `call` or `calls` the
model has a tool, and what the tool answers goes back to it. From a stream that says `babble` the client goes away.
"""

import json
import sys

import anthropic
import openai

plan = json.load(sys.stdin)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "How is it?"}


def weather(arguments: dict) -> str:
    return f"rain in {arguments['city']}"


class Chat:
    """OpenAI's dialect."""

    tool = {"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}

    def __init__(self, url: str, key: str):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def turn(self, step: dict, turns: list, tools: dict, seen: dict) -> tuple:
        """What the model said: `(outcome, turns, calls)`. What was seen of a stream so far is in `seen`."""
        create = self.client.chat.completions.create
        if not step["stream"]:
            answer = create(model=step["model"], messages=turns, **tools)
            choice = answer.choices[0]
            message, usage, model, end = choice.message, answer.usage, answer.model, choice.finish_reason
            text = message.content or ""
            calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
        else:
            text, end, usage, found = "", None, None, {}
            options = {"include_usage": True}
            with create(model=step["model"], messages=turns, stream=True, stream_options=options, **tools) as pieces:
                for piece in pieces:
                    model, usage = piece.model, piece.usage or usage
                    for choice in piece.choices:
                        text += choice.delta.content or ""
                        end = choice.finish_reason or end
                        for call in choice.delta.tool_calls or []:
                            own = found.setdefault(call.index, ["", "", ""])
                            own[0] += call.id or ""
                            own[1] += call.function.name or ""
                            own[2] += call.function.arguments or ""
                    seen["text"] = text
                    if text and step["ask"] == "babble":
                        return {"left": True}, [], []
            calls = [tuple(found[index]) for index in sorted(found)]
        said = {"role": "assistant", "content": text or None}
        if calls:
            said["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} for id, name, arguments in calls
            ]
        took = usage and [usage.prompt_tokens, usage.completion_tokens]
        outcome = {"text": text, "model": model, "end": end, "usage": took}
        return outcome, [said], [(id, name, json.loads(arguments)) for id, name, arguments in calls]

    def results(self, results: list) -> list:
        return [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]


class Messages:
    """Anthropic's."""

    tool = {**WEATHER, "input_schema": SCHEMA}

    def __init__(self, url: str, key: str):
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def turn(self, step: dict, turns: list, tools: dict, seen: dict) -> tuple:
        asked = {"model": step["model"], "max_tokens": 100, "messages": turns, **tools}
        if not step["stream"]:
            message = self.client.messages.create(**asked)
        else:
            with self.client.messages.stream(**asked) as pieces:
                seen["text"] = ""
                for text in pieces.text_stream:
                    seen["text"] += text
                    if step["ask"] == "babble":
                        return {"left": True}, [], []
                message = pieces.get_final_message()
        calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
        outcome = {
            "text": "".join(block.text for block in message.content if block.type == "text"),
            "model": message.model,
            "end": message.stop_reason,
            "usage": [message.usage.input_tokens, message.usage.output_tokens],
        }
        return outcome, [{"role": "assistant", "content": [block.to_dict() for block in message.content]}], calls

    def results(self, results: list) -> list:
        return [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in results]}]


class Responses:
    """OpenAI's newer one."""

    tool = {"type": "function", **WEATHER, "parameters": SCHEMA, "strict": False}

    def __init__(self, url: str, key: str):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def turn(self, step: dict, turns: list, tools: dict, seen: dict) -> tuple:
        create = self.client.responses.create
        if not step["stream"]:
            answer = create(model=step["model"], input=turns, store=False, **tools)
        else:
            with create(model=step["model"], input=turns, store=False, stream=True, **tools) as pieces:
                answer, seen["text"] = None, ""
                for piece in pieces:
                    if piece.type == "response.output_text.delta":
                        seen["text"] += piece.delta
                        if step["ask"] == "babble":
                            return {"left": True}, [], []
                    if piece.type == "error":
                        # No exception: the SDK hands the event on.
                        return {"error": "event", "status": None, "type": piece.code, "text": seen["text"]}, [], []
                    answer = piece.response if piece.type == "response.completed" else answer
        calls = [(item.call_id, item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        outcome = {
            "text": answer.output_text,
            "model": answer.model,
            "end": answer.status,
            "usage": answer.usage and [answer.usage.input_tokens, answer.usage.output_tokens],
        }
        return outcome, [item.to_dict() for item in answer.output], calls

    def results(self, results: list) -> list:
        return [{"type": "function_call_output", "call_id": id, "output": text} for id, text in results]


class Embeddings:
    """Vectors, in the form that the SDK asks for on its own."""

    def __init__(self, url: str, key: str):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def turn(self, step: dict, turns: list, tools: dict, seen: dict) -> tuple:
        answer = self.client.embeddings.create(model=step["model"], input="text")
        return {"vector": answer.data[0].embedding, "model": answer.model}, [], []


DIALECTS = {"chat": Chat, "messages": Messages, "responses": Responses, "embeddings": Embeddings}
open_clients = {}


def play(step: dict) -> dict:
    key = step.get("key", plan["key"])
    at = (step["dialect"], key)
    client = open_clients.setdefault(at, None) or DIALECTS[step["dialect"]](plan["url"], key)
    open_clients[at] = client
    tools = {"tools": [client.tool]} if step["ask"] in ("call", "calls") else {}
    turns = [{"role": "user", "content": step["ask"]}]
    seen = {}
    try:
        outcome, said, calls = client.turn(step, turns, tools, seen)
        if not calls:
            return outcome
        results = [(id, weather(arguments)) for id, _, arguments in calls]
        then, _, _ = client.turn(step, [*turns, *said, *client.results(results)], tools, seen)
        return {**outcome, "calls": [[name, arguments] for _, name, arguments in calls], "then": [then["text"], then["end"]]}
    except (openai.APIError, anthropic.APIError) as error:
        return {**failure(error), **({"text": seen["text"]} if seen.get("text") else {})}


def failure(error) -> dict:
    status = getattr(error, "status_code", None)
    body = error.body if isinstance(error.body, dict) else {}
    body = body.get("error", body)
    said = {"error": type(error).__name__, "status": status, "type": body.get("type")}
    if status == 429:
        said["retry_after"] = error.response.headers.get("retry-after")
    return said


print(json.dumps([play(step) for step in plan["steps"]]))
