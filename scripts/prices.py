#!/usr/bin/env python3
"""Makes crates/trunkline-llm/data/prices.tsv from the table of prices that the PyPI package `litellm` has (MIT).

    scripts/prices.py [PATH OF THE INSTALLED PACKAGE]

The package is looked for in `.tools/py-litellm` (scripts/python-env.sh makes it). What is written says of which version it is.
Everything is exact: a price is a decimal number of billionths of a dollar, with at most six digits after the point.
"""

import json
import re
import sys
from datetime import datetime, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "crates/trunkline-llm/data/prices.tsv"
PROVIDERS = ROOT / "crates/trunkline-llm/src/provider.rs"

# Dialects beside OpenAI's, as LiteLLM calls them, and how we do.
OTHERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure_ai",
    "azure_text": "azure_text",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "fireworks_ai-embedding-models": "fireworks_ai",
    "gemini": "gemini",
    "text-completion-codestral": "text-completion-codestral",
    "vertex_ai": "vertex_ai",
}

MODES = {
    "audio_speech",
    "audio_transcription",
    "chat",
    "completion",
    "embedding",
    "image_generation",
    "moderation",
    "rerank",
    "responses",
}

# What a model can do, a letter each.
FLAGS = {
    "supports_assistant_prefill": "a",
    "supports_prompt_caching": "c",
    "supports_video_input": "d",
    "supports_function_calling": "f",
    "supports_audio_input": "i",
    "supports_parallel_function_calling": "l",
    "supports_native_streaming": "n",
    "supports_audio_output": "o",
    "supports_pdf_input": "p",
    "supports_reasoning": "r",
    "supports_response_schema": "s",
    "supports_tool_choice": "t",
    "supports_computer_use": "u",
    "supports_vision": "v",
    "supports_web_search": "w",
    "supports_system_messages": "y",
}

# What is paid for, and its short name. `tokens` is what `_above_…` and `_priority` and the like may follow.
UNITS = {
    "input_cost_per_token": "in",
    "output_cost_per_token": "out",
    "cache_read_input_token_cost": "read",
    "cache_creation_input_token_cost": "write",
    "cache_creation_input_token_cost_above_1hr": "hour",
    "input_cost_per_audio_token": "audio",
    "output_cost_per_audio_token": "said",
    "output_cost_per_reasoning_token": "thought",
    "input_cost_per_image_token": "seen",
    "output_cost_per_image_token": "drawn",
    "input_cost_per_image": "image",
    "output_cost_per_image": "picture",
    "input_cost_per_query": "query",
    "input_cost_per_request": "request",
    "input_cost_per_second": "second",
    "output_cost_per_second": "spoken",
    "input_cost_per_character": "letter",
}
SERVICES = {"": "", "_priority": "!p", "_flex": "!f", "_batches": "!b"}
NAME = re.compile(
    r"^(?P<unit>" + "|".join(sorted(UNITS, key=len, reverse=True)) + r")"
    r"(?:_above_(?P<above>\d+)k_tokens)?(?P<service>_priority|_flex|_batches)?$"
)


def billionths(price) -> str:
    """A price in dollars, as billionths."""
    if isinstance(price, str) or price < 0:
        raise ValueError(price)
    exact = (Decimal(price) * 10**9).quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)
    text = format(exact.normalize(), "f")
    return text


def rates(row: dict) -> list[str]:
    """Everything that has a price, in a fixed order."""
    found = {}
    for name, price in row.items():
        match = NAME.match(name)
        if match is None or price is None:
            continue
        above = f">{match['above']}" if match["above"] else ""
        found[UNITS[match["unit"]] + above + SERVICES[match["service"] or ""]] = billionths(price)
    # What DeepSeek's rows call it.
    if "read" not in found and row.get("input_cost_per_token_cache_hit") is not None:
        found["read"] = billionths(row["input_cost_per_token_cache_hit"])
    # Steps by the length of the request: the first is the price, the others begin above something.
    for step in row.get("tiered_pricing") or []:
        begin = int(Decimal(step.get("range", [0])[0]))
        if begin % 1000:
            raise ValueError(f"a step at {begin} tokens")
        for name, price in step.items():
            if name in UNITS:
                found[UNITS[name] + (f">{begin // 1000}" if begin else "")] = billionths(price)
    return [f"{name}={price}" for name, price in sorted(found.items())]


def lines(table: dict, providers: dict) -> dict:
    """A line for each model that is kept, by its name in lower case."""
    kept = {}
    for key, row in table.items():
        own = row.get("litellm_provider", "")
        provider = providers.get(own) or ("vertex_ai" if own.startswith("vertex_ai-") else None)
        if provider is None or row.get("mode") not in MODES:
            continue
        name = key
        for prefix in (own, provider):
            name = name.removeprefix(f"{prefix}/")
        priced = rates(row)
        # Nothing but zeros is what is not known, unless it is a server of one's own.
        if all(own.endswith("=0") for own in priced) and provider != "ollama":
            continue
        flags = "".join(sorted(letter for flag, letter in FLAGS.items() if row.get(flag) is True))
        number = lambda field: str(int(row[field])) if isinstance(row.get(field), (int, Decimal)) else ""
        reads = number("max_input_tokens") or number("max_tokens")
        line = [f"{provider}/{name}".lower(), row["mode"], reads, number("max_output_tokens"), flags, " ".join(priced)]
        if any("\t" in part or "\n" in part for part in line):
            raise ValueError(key)
        # A row of LiteLLM's that names the provider counts more than one that does not.
        if line[0] not in kept or key.startswith(f"{own}/"):
            kept[line[0]] = "\t".join(line)
    return kept


def main() -> None:
    default = next((ROOT / ".tools/py-litellm/lib").glob("python3.*/site-packages"), None)
    packages = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    info = next(packages.glob("litellm-*.dist-info"))
    version = info.name.removeprefix("litellm-").removesuffix(".dist-info")
    source = packages / "litellm/model_prices_and_context_window_backup.json"
    table = json.loads(source.read_text(), parse_float=Decimal)
    table.pop("sample_spec", None)
    ours = re.findall(r'^\s+(?:"|Provider::(?:at|own)\(\s*")([a-z0-9_-]+)",$', PROVIDERS.read_text(), re.M)
    ours += re.findall(r'Provider::(?:at|own)\(\s*"([a-z0-9_-]+)"', PROVIDERS.read_text())
    providers = {name: name for name in ours} | OTHERS
    kept = lines(table, providers)
    today = datetime.now(timezone.utc).date()
    head = [
        f"# What models cost, from the PyPI package litellm {version} (model_prices_and_context_window_backup.json), taken on {today}.",
        "# Copyright (c) 2023 Berri AI, MIT License: see LICENSE-prices. Made by scripts/prices.py: do not edit.",
        "# model, mode, tokens of a request at most, of an answer at most, what it can do, prices: billionths of a dollar for one of a thing.",
    ]
    TARGET.parent.mkdir(exist_ok=True)
    # In the order of bytes: it is searched, and never read as a whole.
    rows = [kept[name] for name in sorted(kept, key=str.encode)]
    TARGET.write_text("\n".join(head + rows) + "\n")
    licence = next(info.rglob("LICENSE")).read_text()
    (TARGET.parent / "LICENSE-prices").write_text(licence)
    print(f"{len(rows)} models of litellm {version}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
