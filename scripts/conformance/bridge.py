"""The four cells of the bridge with the official Python client: what a server asks in the middle of a call reaches the
client in the client's era, and the answer the server in the server's.

    bridge.py MODE KEY URL KIND     MODE: `legacy` or `2026-07-28`; KIND: `pushes` (the server asks with requests of its
                                    own) or `returns` (it asks with results that ask)

Prints one JSON object: what each tool and prompt answered.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp import types
from mcp.client.streamable_http import streamable_http_client

MODE, KEY, URL, KIND = sys.argv[1:]
asked: list[str] = []


async def on_elicit(context, params):
    asked.append("elicitation")
    names = list(params.requested_schema["properties"])
    return types.ElicitResult(action="accept", content={name: f"my {name}" for name in names})


async def on_sample(context, params):
    asked.append("sampling")
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="Paris"), model="m", stop_reason="endTurn"
    )


async def on_roots(context):
    asked.append("roots")
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/me", name="home")])


PUSHES = [("test_elicitation", {"message": "who?"}), ("test_sampling", {"prompt": "capital?"})]
RETURNS = [
    (f"test_input_required_result_{name}", {})
    for name in ("elicitation", "sampling", "list_roots", "request_state", "multiple_inputs", "multi_round")
]


async def main():
    answers = {}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http:
        transport = streamable_http_client(URL, http_client=http)
        callbacks = {
            "elicitation_callback": on_elicit,
            "sampling_callback": on_sample,
            "list_roots_callback": on_roots,
        }
        async with Client(transport, mode=MODE, **callbacks) as client:
            for name, arguments in PUSHES if KIND == "pushes" else RETURNS:
                asked.clear()
                result = await client.call_tool(name, arguments)
                text = "".join(block.text for block in result.content)
                answers[name] = {"text": text, "asked": sorted(asked), "is_error": bool(result.is_error)}
            if KIND == "returns":
                asked.clear()
                prompt = await client.get_prompt("test_input_required_result_prompt", {})
                answers["prompt"] = {"text": str(prompt.messages[0].content.text), "asked": sorted(asked)}
            answers["protocol"] = client.protocol_version
    print(json.dumps(answers))


asyncio.run(main())
