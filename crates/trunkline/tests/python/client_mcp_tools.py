"""OpenAI's SDK for Python: tools of the gateway's MCP servers within requests, as an application uses them. Prints one JSON object."""

import json

import openai

client = openai.OpenAI(max_retries=0)
tool = {"type": "mcp", "server_label": "geo", "server_url": "litellm_proxy/mcp/geo", "allowed_tools": ["weather"]}
never = {**tool, "require_approval": "never"}


def response(model: str) -> list:
    answer = client.responses.create(model=model, input="Weather in Oslo?", tools=[never])
    call = answer.output[1]
    return [[item.type for item in answer.output], call.name, call.output, answer.output_text, answer.usage.total_tokens]


def stream(model: str) -> list:
    seen, numbers = [], []
    with client.responses.stream(model=model, input="Weather in Oslo?", tools=[never]) as events:
        for event in events:
            numbers.append(event.sequence_number)
            if event.type.startswith("response.mcp_call."):
                seen.append(event.type)
        answer = events.get_final_response()
    return [seen, answer.output_text, numbers == list(range(len(numbers)))]


def approved(model: str) -> list:
    said = [{"role": "user", "content": "Weather in Oslo?"}]
    first = client.responses.create(model=model, input=said, tools=[tool])
    asked = first.output[-1]
    said += [item.model_dump(exclude_none=True) for item in first.output]
    said.append({"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True})
    second = client.responses.create(model=model, input=said, tools=[tool])
    return [asked.type, json.loads(asked.arguments), [item.type for item in second.output], second.output_text]


def chat(model: str) -> list:
    messages = [{"role": "user", "content": "Weather in Oslo?"}]
    whole = client.chat.completions.create(model=model, messages=messages, tools=[never])
    pieces = client.chat.completions.create(model=model, messages=messages, tools=[never], stream=True)
    text, calls = "", 0
    for piece in pieces:
        for choice in piece.choices:
            text += choice.delta.content or ""
            calls += len(choice.delta.tool_calls or [])
    return [whole.choices[0].message.content, whole.choices[0].finish_reason, text, calls]


report = {}
for name in ("mine", "claude"):
    report[name] = {
        "response": response(name),
        "stream": stream(name),
        "approved": approved(name),
        "chat": chat(name),
    }
print(json.dumps(report))
