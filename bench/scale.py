#!/usr/bin/env python3
"""Starts the gateway over a PostgreSQL database with many keys and servers, and says how long that takes and how much memory it is.

    scripts/with-postgres.sh make bench-scale     # or: bench/scale.py [--keys 100000] [--servers 5000] [--no-build] [--check]

One team, key and server are made by the management API, and their rows are copied in the database, so that all of them are as the gateway
writes them. Each key is of a team, has metadata and grants of its own; each server has a catalogue of ten tools. Measured: from exec until
the line that it listens, and until readiness is 200; memory then, when it is idle, and after calls of many keys. The servers are one
mock; with --down it is not there, so that all of them are out of order.

Results go to bench/results/scale.json. --check makes missed targets an error. Not part of .ci/run: a busy machine would fail it.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import Child, Failed, end_on_signals, fail, run, target_folder, temporary_folder  # noqa: E402

MASTER = "sk-" + secrets.token_hex(24)
SALT = secrets.token_hex(16)
PROFILE = os.environ.get("BENCH_PROFILE", "dist")
TEAMS, TOOLS = 100, 10
# The n-th key, for the database and for the caller.
KEY = "sk-scale-0123456789abcdef-{}"


class Database:
    """A database of its own on the server that the tests use."""

    def __init__(self):
        self.server = os.environ.get("TRUNKLINE_TEST_POSTGRES")
        if not self.server:
            raise Failed("no PostgreSQL: run it as `scripts/with-postgres.sh bench/scale.py`")
        found = shutil.which("psql") or max(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin/psql")), default=None)
        if found is None:
            raise Failed("no psql here (Debian: apt-get install postgresql-client)")
        self.psql = found
        self.name = f"trunkline_scale_{secrets.token_hex(6)}"
        self.sql(f'CREATE DATABASE "{self.name}"', self.server)
        self.url = re.sub(r"/[^/]*$", f"/{self.name}", self.server)

    def sql(self, text, url=None):
        command = [self.psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text, url or self.url]
        return run(*command, what="psql").strip()

    def drop(self):
        self.sql(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)', self.server)


class Gateway:
    def __init__(self, database, folder):
        self.began = time.monotonic()
        self.child = Child(
            "trunkline",
            [
                target_folder() / PROFILE / "trunkline",
                "serve",
                *("--data-dir", folder / "data", "--host", "127.0.0.1", "--port", "0"),
            ],
            env={
                "DATABASE_URL": database.url,
                "LITELLM_MASTER_KEY": MASTER,
                "LITELLM_SALT_KEY": SALT,
                "RUST_LOG": "warn",
            },
            cwd=folder,
        )
        self.port = int(self.child.wait_for(r"listening on http://127\.0\.0\.1:(\d+)", 120)[1])
        self.listening_s = time.monotonic() - self.began

    def ask(self, method, path, body=None, key=MASTER):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        headers["accept"] = "application/json, text/event-stream"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def must(self, method, path, body):
        status, text = self.ask(method, path, body)
        if status not in (200, 201):
            raise Failed(f"{method} {path}: {status}", text)
        return json.loads(text)

    def ready(self):
        while self.ask("GET", "/health/readiness")[0] != 200:
            if time.monotonic() - self.began > 120:
                raise Failed("it does not become ready", self.child.output)
            time.sleep(0.005)
        self.ready_s = time.monotonic() - self.began
        return self

    def memory_mb(self, which="VmRSS"):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(rf"{which}:\s*(\d+)", status)[1]) / 1024


def copies(table, columns, count, where="TRUE"):
    """A statement that copies the row of a table so often, with other values in these columns; `n` is the number of the copy."""
    values = ", ".join(f"'{name}', {value}" for name, value in columns.items())
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(one.row, jsonb_build_object({values}))).* "
        f"FROM (SELECT row FROM {table} row WHERE {where} LIMIT 1) one, generate_series(1, {count}) n"
    )


def fill(database, options, upstream):
    """Makes one of each by the API, and the others as copies of it."""
    folder = temporary_folder("scale")
    gateway = Gateway(database, folder).ready()
    gateway.must("POST", "/team/new", {"team_id": "t", "object_permission": {"mcp_access_groups": ["all"]}})
    grants = {"mcp_servers": [], "mcp_access_groups": ["all"]}
    server = {"server_name": "s", "url": f"{upstream}?server=0", "transport": "http", "mcp_access_groups": ["all"]}
    gateway.must("POST", "/v1/mcp/server", server)
    metadata = {"owner": "somebody@example.com", "purpose": "measured", "cost_centre": 4711}
    body = {"team_id": "t", "metadata": metadata, "object_permission": grants, "rpm_limit": 1000}
    gateway.must("POST", "/key/generate", body)
    wait_for_catalogues(database, gateway, 1)
    gateway.child.stop()
    database.sql(copies("team_table", {"team_id": "'t' || n"}, TEAMS))
    database.sql(
        copies(
            "verification_token",
            {
                "token": f"encode(sha256(convert_to('{KEY.format('')}' || n, 'UTF8')), 'hex')",
                "key_alias": "'key-' || n",
                "user_id": "NULL",
                "team_id": f"'t' || (1 + n % {TEAMS})",
                "object_permission": f"replace((one.row).object_permission, '\"mcp_servers\":[]', "
                f"'\"mcp_servers\":[\"s' || (1 + n % {options.servers}) || '\"]')",
            },
            options.keys,
        )
    )
    database.sql(
        copies(
            "mcp_server",
            {
                "server_id": "gen_random_uuid()::text",
                "server_name": "'s' || n",
                "alias": "NULL",
                "url": f"'{upstream}?server=' || n",
            },
            options.servers,
            "server_name = 's'",
        )
    )
    database.sql("ANALYZE")
    # As they are after any first start: every server was listed once.
    gateway = Gateway(database, folder)
    wait_for_catalogues(database, gateway, options.servers + 1)
    gateway.child.stop()
    return folder


def wait_for_catalogues(database, gateway, count):
    end = time.monotonic() + 300
    while int(database.sql("SELECT count(*) FROM mcp_catalogue")) < count:
        if time.monotonic() > end:
            raise Failed("the mock was not listed as every server", gateway.child.output)
        time.sleep(0.1)


def calls(gateway, options):
    """Calls of many keys, each of its own server; the slowest of a hundred, in ms."""
    times = []
    for number in range(1, options.calls + 1):
        tool = f"s{1 + number % options.servers}-echo"
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": "x"}}}
        began = time.monotonic()
        status, text = gateway.ask("POST", "/mcp", message, KEY.format(number))
        times.append((time.monotonic() - began) * 1000)
        if status != 200 or '"result"' not in text:
            raise Failed(f"a call of key {number} at {tool}: {status}", text)
    times.sort()
    return times[len(times) // 2], times[(len(times) - 1) * 99 // 100]


def measure(options):
    programs = [target_folder() / PROFILE / name for name in ("trunkline", "mockmcp")]
    if not options.no_build:
        run("cargo", "build", "--profile", PROFILE, "-p", "trunkline", "-p", "trunkline-bench", stream=True)
    for program in programs:
        if not program.exists():
            raise Failed(f"{program} is not there; build it without --no-build")
    database = Database()
    try:
        return measured(database, options, programs[1])
    finally:
        for child in Child.all[:]:
            child.stop()
        database.drop()


def measured(database, options, program):
    mock = Child("mockmcp", [program, "--tools", TOOLS])
    port = int(mock.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])
    folder = fill(database, options, f"http://127.0.0.1:{port}/mcp")
    if options.down:
        mock.stop()
    runs = []
    for _ in range(options.rounds):
        gateway = Gateway(database, folder).ready()
        row = {
            "listening_s": gateway.listening_s,
            "ready_s": gateway.ready_s,
            "ready_rss_mb": gateway.memory_mb(),
        }
        time.sleep(options.settle)
        row["idle_rss_mb"] = gateway.memory_mb()
        if not options.down:
            row["call_p50_ms"], row["call_p99_ms"] = calls(gateway, options)
            time.sleep(2)
            row["called_rss_mb"] = gateway.memory_mb()
        row["peak_rss_mb"] = gateway.memory_mb("VmHWM")
        gateway.child.stop()
        runs.append({name: round(value, 3) for name, value in row.items()})
    return {"keys": options.keys, "servers": options.servers, "tools": TOOLS, "down": options.down, "runs": runs}


def report(results):
    print(f"{results['keys']} keys, {results['servers']} servers of {results['tools']} tools, the mock is {'down' if results['down'] else 'up'}")
    for row in results["runs"]:
        print("  " + "  ".join(f"{name} {value:g}" for name, value in row.items()))
    worst = {name: max(row[name] for row in results["runs"]) for name in results["runs"][0]}
    met = True
    for what, value, limit in (
        ("from exec until it is ready, in s", worst["ready_s"], 2),
        ("memory, idle, in MB", worst["idle_rss_mb"], 300),
        ("memory, after calls, in MB", worst.get("called_rss_mb"), 300),
    ):
        if value is None:
            continue
        good = value <= limit
        met = met and good
        print(f"  {'ok  ' if good else 'MISS'}  {what:40}{value:>9g}   ≤ {limit:g}")
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--servers", type=int, default=5_000)
    parser.add_argument("--calls", type=int, default=1_000, help="calls, each of another key")
    parser.add_argument("--rounds", type=int, default=3, help="starts")
    parser.add_argument("--settle", type=float, default=20, help="seconds until it counts as idle")
    parser.add_argument("--down", action="store_true", help="no server answers")
    parser.add_argument("--no-build", action="store_true", help="take the binaries that are there")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args()
    end_on_signals()
    try:
        results = measure(options)
    except Failed as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    path = ROOT / "bench/results/scale.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    good = report(results)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
