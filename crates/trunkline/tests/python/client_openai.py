"""OpenAI's SDK for Python: what an application sees of the gateway. Prints one JSON object."""

import json

import openai

client = openai.OpenAI(max_retries=0)
messages = [{"role": "user", "content": "Hi"}]
weather = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def failure(call) -> dict:
    try:
        call()
    except openai.APIStatusError as error:
        said = {"error": type(error).__name__, "status": error.status_code}
        if error.status_code in (400, 403):
            said["type"] = error.type
        if error.status_code == 403:
            said["param"] = error.param
        return said
    return {"error": None}


def chat() -> dict:
    answer = client.chat.completions.create(model="mine", messages=messages)
    choice = answer.choices[0]
    return {
        "model": answer.model,
        "content": choice.message.content,
        "finish": choice.finish_reason,
        "tokens": answer.usage.total_tokens,
    }


def stream() -> dict:
    models, content, finish, tokens = set(), "", None, None
    options = {"include_usage": True}
    with client.chat.completions.create(model="mine", messages=messages, stream=True, stream_options=options) as pieces:
        for piece in pieces:
            models.add(piece.model)
            if piece.usage:
                tokens = piece.usage.total_tokens
            for choice in piece.choices:
                content += choice.delta.content or ""
                finish = choice.finish_reason or finish
    return {"models": sorted(models), "content": content, "finish": finish, "tokens": tokens}


def priced() -> dict:
    answer = client.chat.completions.with_raw_response.create(model="mine", messages=messages)
    return {"cost": answer.headers.get("x-litellm-response-cost"), "content": answer.parse().choices[0].message.content}


def plain_stream() -> dict:
    content, usages = "", 0
    with client.chat.completions.create(model="mine", messages=messages, stream=True) as pieces:
        for piece in pieces:
            usages += piece.usage is not None
            content += "".join(choice.delta.content or "" for choice in piece.choices)
    return {"content": content, "usages": usages}


def tools() -> dict:
    answer = client.chat.completions.create(model="mine", messages=messages, tools=[weather])
    call = answer.choices[0].message.tool_calls[0].function
    return {"name": call.name, "arguments": json.loads(call.arguments), "finish": answer.choices[0].finish_reason}


def completion() -> dict:
    answer = client.completions.create(model="mine", prompt="once upon a time")
    return {"model": answer.model, "text": answer.choices[0].text}


def embedding() -> dict:
    answer = client.embeddings.create(model="mine", input="text", encoding_format="float")
    return {"model": answer.model, "vector": answer.data[0].embedding}


def left() -> bool:
    pieces = client.chat.completions.create(model="mine", messages=messages, stream=True)
    next(iter(pieces))
    pieces.close()
    # The connection that was left is no obstacle to the next.
    return chat()["content"] == "Hello"


anybody = openai.OpenAI(max_retries=0, api_key="sk-nobody")
report = {
    "models": [model.id for model in client.models.list()],
    "chat": chat(),
    "plain_stream": plain_stream(),
    "priced": priced(),
    "stream": stream(),
    "tools": tools(),
    "completion": completion(),
    "embedding": embedding(),
    "denied": failure(lambda: client.chat.completions.create(model="other", messages=messages)),
    "rejected": failure(lambda: client.chat.completions.create(model="mine", messages=messages, extra_body={"nonsense": 1})),
    "no_key": failure(lambda: anybody.chat.completions.create(model="mine", messages=messages)),
    "left": left(),
}
print(json.dumps(report))
