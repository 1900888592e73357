"""LangChain, with the gateway for its models and its tools. Prints one JSON object."""

import asyncio
import json
import os

import openai
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

url, key = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]


class City(BaseModel):
    """Where."""

    city: str


def chat(model: str, **more) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=key, max_retries=0, **more)


def invoke(model: ChatOpenAI) -> list:
    answer = model.invoke("say")
    return [answer.text, answer.response_metadata["model_name"], answer.usage_metadata["total_tokens"]]


def stream(model: ChatOpenAI) -> list:
    whole = None
    for piece in model.stream("say"):
        whole = piece if whole is None else whole + piece
    return [whole.text, whole.usage_metadata["total_tokens"]]


def tools(model: ChatOpenAI, content: str) -> list:
    def weather(city: str) -> str:
        """How is it?"""
        return f"rain in {city}"

    bound = model.bind_tools([weather])
    first = bound.invoke(content)
    results = [ToolMessage(weather(**call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    last = bound.invoke([("user", content), first, *results])
    return [[[call["name"], call["args"]] for call in first.tool_calls], last.text]


def form(model: ChatOpenAI, method: str) -> str:
    return model.with_structured_output(City, method=method).invoke("form").city


async def agent(model: ChatOpenAI) -> list:
    """An agent that has the gateway's tools: what was called, and what it says in the end."""
    servers = {"gateway": {"transport": "streamable_http", "url": f"{url}/mcp", "headers": {"Authorization": f"Bearer {key}"}}}
    tools = await MultiServerMCPClient(servers).get_tools()
    said = await create_agent(model, tools).ainvoke({"messages": [{"role": "user", "content": "What is the secret word?"}]})
    calls = [call["name"] for message in said["messages"] for call in getattr(message, "tool_calls", [])]
    return [calls, said["messages"][-1].text]


def failure(model: str, content: str) -> list:
    try:
        chat(model).invoke(content)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code]
    return [None, None]


async def all_of(model: str, more: dict) -> dict:
    return {
        "invoke": invoke(chat(model, **more)),
        "stream": stream(chat(model, stream_usage=True, **more)),
        "call": tools(chat(model, **more), "call"),
        "calls": tools(chat(model, **more), "calls"),
        "form": [form(chat(model, **more), method) for method in ("json_schema", "function_calling")],
        "agent": await agent(chat(model, **more)),
    }


# In one loop: the library keeps its connections between calls.
async def main() -> dict:
    embeddings = OpenAIEmbeddings(model="openai", base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False)
    models = ["openai", "anthropic", "gemini", "bedrock"]
    return {
        "chats": {model: await all_of(model, {}) for model in models},
        "responses": {model: await all_of(model, {"use_responses_api": True}) for model in models},
        "failures": [failure("anthropic", "fail 429"), failure("openai", "fail 400"), failure("hidden", "say")],
        "vector": embeddings.embed_query("text"),
    }


print(json.dumps(asyncio.run(main())))
