"""Anthropic's SDK and OpenAI's for Python, each with a model of either's provider behind the gateway. Prints one JSON object."""

import json
import os

import anthropic
import openai

url, key = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
claude = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
bearer = anthropic.Anthropic(base_url=f"{url}/anthropic", auth_token=key, api_key=None, max_retries=0)
gpt = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
ask = [{"role": "user", "content": "Hi"}]
weather = {
    "name": "weather",
    "description": "How is it?",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
function = {
    "type": "function",
    "function": {"name": "weather", "parameters": weather["input_schema"]},
}


def failure(call) -> dict:
    try:
        call()
    except (anthropic.APIStatusError, openai.APIStatusError) as error:
        body = error.body if isinstance(error.body, dict) else {}
        kind = body.get("error", {}).get("type") if "error" in body else body.get("type")
        return {"error": type(error).__name__, "status": error.status_code, "type": kind}
    return {"error": None}


def took(usage) -> list:
    return [usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens]


def messages(model: str) -> dict:
    said = {}
    answer = claude.messages.create(model=model, max_tokens=100, messages=ask, system="Be brief.")
    said["text"] = [answer.model, answer.content[0].text, answer.stop_reason, took(answer.usage)]

    with claude.messages.stream(model=model, max_tokens=100, messages=ask) as stream:
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()
    said["stream"] = [text, whole.model, whole.stop_reason, took(whole.usage)]

    # A turn with a tool, whole and in pieces: what the tool answered goes back.
    for name, create in [("tools", create_whole), ("stream_tools", create_streamed)]:
        first = create(model, ask)
        calls = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain"} for call in calls]
        turns = [*ask, {"role": "assistant", "content": [block.to_dict() for block in first.content]}]
        last = create(model, [*turns, {"role": "user", "content": results}])
        said[name] = [[[call.name, call.input] for call in calls], first.stop_reason, last.stop_reason]
    return said


def create_whole(model: str, turns: list):
    return claude.messages.create(model=model, max_tokens=4000, messages=turns, tools=[weather])


def create_streamed(model: str, turns: list):
    with claude.messages.stream(model=model, max_tokens=4000, messages=turns, tools=[weather]) as stream:
        return stream.get_final_message()


def chat(model: str) -> dict:
    said = {}
    answer = gpt.chat.completions.create(model=model, messages=[{"role": "system", "content": "Be brief."}, *ask])
    choice = answer.choices[0]
    said["text"] = [answer.model, choice.message.content, choice.finish_reason, answer.usage.total_tokens]

    content, finish, tokens = "", None, None
    options = {"include_usage": True}
    for piece in gpt.chat.completions.create(model=model, messages=ask, stream=True, stream_options=options):
        tokens = piece.usage.total_tokens if piece.usage else tokens
        for choice in piece.choices:
            content += choice.delta.content or ""
            finish = choice.finish_reason or finish
    said["stream"] = [content, finish, tokens]

    first = gpt.chat.completions.create(model=model, messages=ask, tools=[function], reasoning_effort="low")
    message = first.choices[0].message
    call = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain"}
    turns = [*ask, message.to_dict(), result]
    last = gpt.chat.completions.create(model=model, messages=turns, tools=[function], reasoning_effort="low")
    said["tools"] = [call.function.name, json.loads(call.function.arguments), first.choices[0].finish_reason, last.choices[0].finish_reason]
    said["thoughts"] = getattr(message, "reasoning_content", None)

    name, arguments = "", ""
    for piece in gpt.chat.completions.create(model=model, messages=ask, tools=[function], stream=True):
        for call in piece.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    said["stream_tools"] = [name, json.loads(arguments)]
    return said


anybody = anthropic.Anthropic(base_url=url, api_key="sk-nobody", max_retries=0)
create = {"max_tokens": 10, "messages": ask}
report = {
    "models": [model.id for model in claude.models.list()],
    "messages_claude": messages("claude"),
    "messages_gpt": messages("gpt"),
    "chat_claude": chat("claude"),
    "count": claude.messages.count_tokens(model="claude", messages=ask).input_tokens,
    "bearer": bearer.messages.create(model="gpt", **create).content[0].text,
    "no_key": failure(lambda: anybody.messages.create(model="claude", **create)),
    "denied": failure(lambda: claude.messages.create(model="hidden", **create)),
    "rejected": failure(lambda: claude.messages.create(model="claude", extra_body={"nonsense": 1}, **create)),
    "not_carried": failure(lambda: claude.messages.create(model="gpt", extra_body={"inference_geo": "eu"}, **create)),
    "chat_rejected": failure(lambda: gpt.chat.completions.create(model="claude", messages=ask, seed=1)),
}
print(json.dumps(report))
