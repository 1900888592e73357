"""What a client of this folder does: reads plans from stdin, one a line, and prints a report for each session of them, as
one line of JSON each.

    [{"name", "url", "mode", "headers": {…}, "steps": [STEP, …]}, …]
    {"name", "protocol": "2025-11-25", "answers": [{"result": {…}} or {"error": {…}}, and "log": [data, …], "progress": [[n, of, text], …]]}

STEP: {"do": "tools" | "prompts" | "resources" | "templates"}, all pages in one answer;
{"do": "call" | "prompt", "name", "arguments"}, {"do": "read", "uri"}, {"do": "complete", "ref", "argument"}.

Results are printed as the client's own types have them, with what was on the wire and nothing else. The sessions run at
the same time, the steps of one in their order. To add a client: a file that gives `main` a function that opens a session.
"""

import asyncio
import contextlib
import json
import sys


def dump(model) -> dict:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def pages(key: str, fetch) -> dict:
    """All pages of a list; `fetch(cursor)` gives one."""
    items, cursor = [], None
    while True:
        page = dump(await fetch(cursor))
        items += page[key]
        cursor = page.get("nextCursor")
        if cursor is None:
            return {key: items}


async def session(opened, target: dict) -> dict:
    log: list = []
    answers = []
    async with contextlib.AsyncExitStack() as stack:
        protocol, perform = await stack.enter_async_context(opened(target, log))
        for step in target["steps"]:
            log.clear()
            progress: list = []

            async def on_progress(value, total, message, progress=progress) -> None:
                progress.append([value, total, message])

            try:
                result = await perform(step, on_progress)
                answer = {"result": result if isinstance(result, dict) else dump(result)}
            except Exception as error:
                # Every client has its own class for what a server answers with an error.
                said = getattr(error, "error", None)
                if said is None:
                    raise
                answer = {"error": dump(said)}
            answers.append({**answer, "log": list(log), "progress": progress})
    return {"name": target["name"], "protocol": protocol, "answers": answers}


def main(opened) -> None:
    """`opened(target, log)` is a context manager with the session's revision and `perform(step, on_progress)`; it adds
    the data of each log message to `log`."""

    async def all_sessions(plan):
        return await asyncio.gather(*(session(opened, target) for target in plan))

    for line in sys.stdin:
        for report in asyncio.run(all_sessions(json.loads(line))):
            print(json.dumps(report), flush=True)
