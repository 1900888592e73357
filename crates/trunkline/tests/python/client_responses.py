"""OpenAI's SDK for Python: responses, as an application sees them. Prints one JSON object."""

import json

import openai
from pydantic import BaseModel

client = openai.OpenAI(max_retries=0)
weather = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Weather(BaseModel):
    city: str


def failure(call) -> list:
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code]
    return []


def text(model: str) -> list:
    answer = client.responses.create(model=model, input="Hi")
    return [answer.output_text, answer.status, answer.model, answer.usage.total_tokens]


def stream(model: str) -> list:
    pieces, numbers = "", []
    with client.responses.stream(model=model, input="Hi") as events:
        for event in events:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                pieces += event.delta
        answer = events.get_final_response()
    ordered = numbers == list(range(len(numbers)))
    return [pieces, answer.output_text, answer.status, answer.model, answer.usage.total_tokens, ordered]


def tools(model: str) -> list:
    said = [{"role": "user", "content": "Weather?"}]
    answer = client.responses.create(model=model, input=said, tools=[weather], store=False)
    call = answer.output[-1]
    said += [item.model_dump(exclude_none=True) for item in answer.output]
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    end = client.responses.create(model=model, input=said, tools=[weather], store=False)
    return [call.name, json.loads(call.arguments), end.output_text]


def parsed(model: str) -> list:
    tool = openai.pydantic_function_tool(Weather, name="weather")["function"]
    tool = {"type": "function", **tool}
    answer = client.responses.parse(model=model, input="Weather?", tools=[tool])
    call = answer.output[-1]
    found = call.parsed_arguments
    return [call.name, found["city"] if isinstance(found, dict) else found.city]


def kept() -> dict:
    made = client.responses.create(model="mine", input="Hi")
    again = client.responses.retrieve(made.id)
    items = client.responses.input_items.list(made.id)
    after = client.responses.create(model="mine", input="And?", previous_response_id=made.id)
    client.responses.delete(made.id)
    return {
        "same": again.id == made.id and again.output_text == made.output_text,
        "items": len(items.data),
        "previous": after.previous_response_id == made.id,
        "deleted": failure(lambda: client.responses.retrieve(made.id))[0],
    }


report = {model: {"text": text(model), "stream": stream(model), "tools": tools(model), "parsed": parsed(model)} for model in ("mine", "chat", "claude")}
report["kept"] = kept()
report["unknown"] = failure(lambda: client.responses.retrieve("resp_unknown"))
report["denied"] = failure(lambda: client.responses.create(model="two", input="Hi"))
print(json.dumps(report))
