#!/usr/bin/env python3
"""Measures direct, nginx as a plain reverse proxy, and the gateway, in one run on one machine; prints the ratios.

    make bench                    # or: bench/run.py [--seconds 3] [--rounds 2] [--no-build] [--check]

What is on in the gateway: the master key, policy, the record of every call. The upstream is bench's mockmcp behind a
bearer token, the load is mcpload, one text of 64 bytes echoed, at the last revision with a hand-shake and at the first
without. On shared machines only figures of one run compare, so the three take turns in every round. Results go to bench/results/latest.json.

--check makes missed targets an error. It is not part of .ci/run: a busy machine would fail it.
"""

import argparse
import http.client
import itertools
import json
import os
import pathlib
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import Child, Failed, end_on_signals, fail, free_port, run, target_folder, temporary_folder  # noqa: E402
from processes import wait_for_port  # noqa: E402

KEY = "sk-" + secrets.token_hex(24)
TOKEN = secrets.token_hex(16)
SERVERS, TOOLS = 50, 10
# The last revision with a hand-shake, and the first without.
REVISIONS = ("2025-11-25", "2026-07-28")
# Cargo's profile: `dist` is what is published; BENCH_PROFILE=release is built in half the time, and slower.
PROFILE = os.environ.get("BENCH_PROFILE", "dist")


class Gateway:
    def __init__(self, folder, name, servers):
        """`servers`: names and URLs."""
        self.folder = folder / name
        self.folder.mkdir()
        lines = ["mcp_servers:"]
        for alias, url in servers:
            lines += [f"  {alias}:", f"    url: {url}", "    auth_type: bearer_token", f"    auth_value: {TOKEN}"]
        (self.folder / "config.yaml").write_text("\n".join(lines) + "\n")
        self.port = 0

    def start(self):
        self.began = time.monotonic()
        self.child = Child(
            "trunkline",
            [
                target_folder() / PROFILE / "trunkline",
                "serve",
                *("--config", self.folder / "config.yaml"),
                *("--data-dir", self.folder / "data"),
                *("--host", "127.0.0.1", "--port", self.port),
            ],
            env={"LITELLM_MASTER_KEY": KEY, "RUST_LOG": "warn"},
            cwd=self.folder,
        )
        return self

    def ready(self):
        self.port = int(self.child.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        return self

    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def stop(self):
        self.child.stop()


def nginx(folder, upstream):
    """nginx in its usual role, with all that makes it fast: kept-alive connections both ways, no log."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        print("bench: no nginx here (Debian: apt-get install nginx-light); its lines are left out", file=sys.stderr)
        return None
    port = free_port()
    prefix = folder / "nginx"
    prefix.mkdir()
    temporary = "\n".join(
        f"  {kind}_temp_path {prefix}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (prefix / "nginx.conf").write_text(
        f"""
{"user root;" if os.geteuid() == 0 else ""}
worker_processes auto;
daemon off;
pid {prefix}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
{temporary}
  keepalive_requests 1000000000;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
    )
    child = Child("nginx", [program, "-p", prefix, "-c", prefix / "nginx.conf", "-e", "stderr"])
    wait_for_port(port, child)
    return child, f"http://127.0.0.1:{port}/mcp"


def load(url, token, **options):
    """One run of mcpload; its JSON."""
    command = [target_folder() / PROFILE / "mcpload", "--url", url, "-H", f"Authorization: Bearer {token}"]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}", str(value)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"mcpload {url}", done.stdout + done.stderr) from None
    if result["errors"] or not result["requests"]:
        raise Failed(f"mcpload {url}: {result['errors']} errors", json.dumps(result["error_kinds"], indent=1))
    return result


def stats(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/stats")
    return json.loads(connection.getresponse().read())


def rss_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024


def calls(options, mock, proxy, gateway):
    """Means over the rounds: {(who, c, revision): {…}}."""
    who = [("direct", f"http://127.0.0.1:{mock.port}/mcp", TOKEN, "echo", mock.pid)]
    if proxy:
        who.append(("nginx", proxy[1], TOKEN, "echo", proxy[0].pid))
    who.append(("gateway", gateway.url(), KEY, "mock-echo", gateway.child.pid))
    seen = {}
    for number in range(options.rounds):
        for c, revision in itertools.product((1, 64), REVISIONS):
            for name, url, token, tool, pid in who:
                one = {"tool": tool, "pid": pid, "label": name, "protocol": revision}
                result = load(url, token, c=c, d=options.seconds, warmup=0.5, p=64, **one)
                seen.setdefault((name, c, revision), []).append(result)
                print(f"  round {number + 1}  {name:8} c={c:<3} {revision} {result['rps']:>9.0f} calls/s", file=sys.stderr)
    figures = ("rps", "p50_ms", "p99_ms", "cpu_us_per_request", "peak_rss_mb")
    return {
        key: {figure: round(statistics.mean(run[figure] for run in runs), 3) for figure in figures}
        for key, runs in seen.items()
    }


def post(connection, session, message):
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        **({"Mcp-Session-Id": session} if session else {}),
    }
    connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), headers)
    answer = connection.getresponse()
    return answer.getheader("mcp-session-id"), answer.read()


def first_list(gateway):
    """Milliseconds from the start of the process to a whole list, asked for as soon as it listens."""
    gateway.start()
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
            connection.connect()
            break
        except OSError:
            if time.monotonic() - gateway.began > 10:
                raise Failed("the gateway does not come back", gateway.child.output) from None
            time.sleep(0.001)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    session, _ = post(connection, None, {"id": 1, "method": "initialize", "params": hello})
    post(connection, session, {"method": "notifications/initialized"})
    _, body = post(connection, session, {"id": 2, "method": "tools/list"})
    took = (time.monotonic() - gateway.began) * 1000
    text = body.decode()
    answer = json.loads(text if text.startswith("{") else re.search(r"^data: *(\{.*\})$", text, re.M)[1])
    tools = len(answer.get("result", {}).get("tools", []))
    if tools != SERVERS * TOOLS:
        raise Failed(f"the first list after a start has {tools} tools, not {SERVERS * TOOLS}", text[:2000])
    return took


def measure(options):
    folder = temporary_folder("bench")
    if not options.no_build:
        print(f"bench: building with --profile {PROFILE}", file=sys.stderr)
        run("cargo", "build", "--profile", PROFILE, "-q", "-p", "trunkline", "-p", "trunkline-bench", what="build", stream=True)
    mock = Child(
        "mockmcp",
        [target_folder() / PROFILE / "mockmcp", "--servers", SERVERS, "--tools", TOOLS, "--token", TOKEN],
    )
    mock.port = int(mock.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])
    upstream = f"http://127.0.0.1:{mock.port}"
    results = {"profile": PROFILE, "seconds": options.seconds, "rounds": options.rounds, "cores": os.cpu_count()}

    one = Gateway(folder, "one", [("mock", f"{upstream}/mcp")]).start().ready()
    time.sleep(2)
    results["idle_rss_mb"] = round(rss_mb(one.child.pid), 1)
    proxy = nginx(folder, mock.port)
    rows = calls(options, mock, proxy, one)
    results["calls"] = {f"{name} c={c} {revision}": row for (name, c, revision), row in rows.items()}
    results["loaded_rss_mb"] = round(rss_mb(one.child.pid), 1)

    # A warm call is one request upstream: what the mock counts during a run must be calls and nothing else.
    results["upstream_requests_per_call"], results["upstream_requests_of_200_calls"] = {}, {}
    for revision in REVISIONS:
        before = stats(mock.port)
        warm = load(one.url(), KEY, c=1, d=1, warmup=0, tool="mock-echo", max_ops=200, protocol=revision)
        after = stats(mock.port)
        arrived = {what: after[what] - before.get(what, 0) for what in after if after[what] != before.get(what, 0)}
        results["upstream_requests_per_call"][revision] = round(sum(arrived.values()) / max(1, warm["requests"]), 2)
        results["upstream_requests_of_200_calls"][revision] = arrived
    one.stop()
    if proxy:
        proxy[0].stop()

    many = Gateway(folder, "many", [(f"s{i:02}", f"{upstream}/s/{i}/mcp") for i in range(SERVERS)]).start().ready()
    # Cold: fills the catalogue, and the database with it.
    results["cold_list_ms"] = load(many.url(), KEY, mode="list", c=1, d=5, warmup=0, max_ops=1, expect_tools=500)["p50_ms"]
    warm = load(many.url(), KEY, mode="list", c=1, d=options.seconds, warmup=0.5, expect_tools=500, pid=many.child.pid)
    results["warm_list"] = {what: warm[what] for what in ("p50_ms", "p99_ms", "rps", "cpu_us_per_request")}
    time.sleep(1)
    starts = []
    for _ in range(5):
        many.stop()
        starts.append(first_list(many))
    results["first_list_ms"] = round(statistics.median(starts), 1)
    results["first_list_all_ms"] = [round(start, 1) for start in starts]
    many.stop()
    return results


def targets(results):
    """(what, measured, target, met); a ratio is left out without nginx."""
    rows = results["calls"]
    found = []

    def target(what, value, limit, at_most=True):
        sign = "≤" if at_most else "≥"
        found.append((what, value, f"{sign} {limit:g}", value <= limit if at_most else value >= limit))

    for revision in REVISIONS:
        if f"nginx c=64 {revision}" in rows:
            for c in (1, 64):
                front, plain = rows[f"gateway c={c} {revision}"], rows[f"nginx c={c} {revision}"]
                ratio = front["cpu_us_per_request"] / max(0.1, plain["cpu_us_per_request"])
                target(f"{revision}: CPU per call, gateway / nginx, c={c}", round(ratio, 2), 3)
            ratio = front["rps"] / plain["rps"]
            target(f"{revision}: calls per second, gateway / nginx, c=64", round(ratio, 2), 0.5, at_most=False)
        target(f"{revision}: upstream requests per warm call", results["upstream_requests_per_call"][revision], 1.05)
    target("warm tools/list of 50 × 10, p50 in ms, c=1", results["warm_list"]["p50_ms"], 1)
    target("idle memory in MB", results["idle_rss_mb"], 25)
    target("from exec to the first list, in ms", results["first_list_ms"], 150)
    return found


def report(results):
    print(f"\n{'':26}{'calls/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/call':>13}{'RSS MB':>8}")
    for name, row in results["calls"].items():
        print(
            f"{name:26}{row['rps']:>10.0f}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}"
            f"{row['cpu_us_per_request']:>13.1f}{row['peak_rss_mb']:>8.1f}"
        )
    print(f"\ncold tools/list of {SERVERS} servers: {results['cold_list_ms']:.0f} ms\n")
    met = []
    for what, value, limit, good in targets(results):
        print(f"  {'ok  ' if good else 'MISS'}  {what:52}{value:>9g}   {limit}")
        met.append(good)
    return all(met)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="measured in each run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind")
    parser.add_argument("--no-build", action="store_true", help="take the release binaries that are there")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args()
    end_on_signals()
    try:
        results = measure(options)
    except Failed as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    path = ROOT / "bench/results/latest.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    good = report(results)
    print(f"\n{path.relative_to(ROOT)}")
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
