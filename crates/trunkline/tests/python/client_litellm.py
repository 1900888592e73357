"""LiteLLM as a library, with the gateway as its proxy: what an application sees. Prints one JSON object."""

import asyncio
import json
import os

import litellm

url, key = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
litellm.suppress_debug_info = True
litellm.num_retries = 0
ask = [{"role": "user", "content": "say"}]
weather = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How is it?",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def reach(model: str) -> dict:
    return {"model": f"litellm_proxy/{model}", "api_base": url, "api_key": key, "max_retries": 0}


def completion(model: str) -> list:
    answer = litellm.completion(messages=ask, **reach(model))
    choice = answer.choices[0]
    return [choice.message.content, choice.finish_reason, answer.usage.total_tokens]


def stream(model: str) -> list:
    text, tokens = "", None
    for piece in litellm.completion(messages=ask, stream=True, stream_options={"include_usage": True}, **reach(model)):
        text += piece.choices[0].delta.content or "" if piece.choices else ""
        usage = getattr(piece, "usage", None)
        tokens = usage.total_tokens if usage else tokens
    return [text, tokens]


def tools(model: str, content: str) -> list:
    turns = [{"role": "user", "content": content}]
    message = litellm.completion(messages=turns, tools=[weather], **reach(model)).choices[0].message
    calls = [[call.function.name, json.loads(call.function.arguments)] for call in message.tool_calls]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"rain in {arguments['city']}"}
        for call, (_, arguments) in zip(message.tool_calls, calls)
    ]
    last = litellm.completion(messages=[*turns, message, *results], tools=[weather], **reach(model))
    return [calls, last.choices[0].message.content]


async def at_once(model: str) -> list:
    """Several, with pieces and without."""

    async def pieces() -> str:
        stream = await litellm.acompletion(messages=ask, stream=True, **reach(model))
        return "".join([piece.choices[0].delta.content or "" async for piece in stream])

    async def whole() -> str:
        answer = await litellm.acompletion(messages=ask, **reach(model))
        return answer.choices[0].message.content

    return await asyncio.gather(pieces(), whole(), pieces(), whole())


def failure(model: str, content: str = "say", **more) -> list:
    try:
        litellm.completion(messages=[{"role": "user", "content": content}], **{**reach(model), **more})
    except Exception as error:  # whatever it maps the answer to
        return [type(error).__name__, getattr(error, "status_code", None)]
    return [None, None]


models = ["openai", "anthropic", "gemini", "bedrock"]
report = {
    "completion": {model: completion(model) for model in models},
    "stream": {model: stream(model) for model in models},
    "call": {model: tools(model, "call") for model in models},
    "calls": {model: tools(model, "calls") for model in models},
    "at_once": asyncio.run(at_once("anthropic")),
    "embedding": litellm.embedding(input=["text"], **reach("openai")).data[0]["embedding"],
    "responses": litellm.responses(input="say", **reach("anthropic")).output[0].content[0].text,
    "failures": {
        "bad": failure("anthropic", "fail 400"),
        "busy": failure("anthropic", "fail 429"),
        "down": failure("openai", "fail 500"),
        "refused": failure("openai", "fail 401"),
        "no_key": failure("openai", api_key="sk-nobody"),
        "hidden": failure("hidden"),
        "nothing": failure("nothing"),
    },
}
print(json.dumps(report))
