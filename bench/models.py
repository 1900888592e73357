#!/usr/bin/env python3
"""Measures chats with a model: direct, nginx as a plain reverse proxy, and the gateway with a virtual key, in one run on one machine.

    make bench-models             # or: bench/models.py [--seconds 3] [--rounds 2] [--no-build] [--check]

What is on in the gateway: a virtual key with limits and a budget, usage, prices, the record of every call, the audit log. The provider is
bench's mockmodel behind a token, the load is mcpload: chats of 64 characters, whole and in 18 pieces. Besides: what a prompt of 1 MB adds,
what a body of 10 MB does to others, and the memory of 2,000 streams that go slowly. On shared machines only figures of one run compare, so the
three take turns. Results go to bench/results/models.json. --check makes missed targets an error.
"""

import argparse
import http.client
import itertools
import json
import os
import statistics
import sys
import threading
import time

import run as base
from run import KEY, PROFILE, ROOT, TOKEN, Child, Failed, end_on_signals, fail, target_folder, temporary_folder

MODES = ("chat", "chat-stream")
PATH = "/v1/chat/completions"
BIG, BIGGEST = 1_000_000, 10_000_000
STREAMS = 2_000


class Gateway(base.Gateway):
    def __init__(self, folder, provider):
        super().__init__(folder, "models", [])
        entry = """  - model_name: {name}
    litellm_params:
      model: hosted_vllm/{name}
      api_base: {url}/v1
      api_key: {key}
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000002
"""
        models = "".join(entry.format(name=name, url=provider, key=TOKEN) for name in ("mock", "slow"))
        (self.folder / "config.yaml").write_text(f"model_list:\n{models}")

    def key(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        limits = {"models": ["mock", "slow"], "rpm_limit": 1_000_000_000, "max_parallel_requests": 100_000, "max_budget": 1_000_000}
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/key/generate", json.dumps(limits), headers)
        return json.loads(connection.getresponse().read())["key"]

    def url(self):
        return f"http://127.0.0.1:{self.port}{PATH}"


def turns(options, who):
    """Means over the rounds: {(who, c, mode): {…}}."""
    seen = {}
    for number in range(options.rounds):
        for c, mode in itertools.product((1, 64), MODES):
            for name, url, token, pid in who:
                result = base.load(url, token, c=c, d=options.seconds, warmup=0.5, p=64, mode=mode, pid=pid, label=name)
                seen.setdefault((name, c, mode), []).append(result)
                print(f"  round {number + 1}  {name:8} c={c:<3} {mode:12} {result['rps']:>9.0f} chats/s", file=sys.stderr)
    figures = ("rps", "p50_ms", "p99_ms", "cpu_us_per_request", "peak_rss_mb")
    return {
        key: {figure: round(statistics.mean(run[figure] for run in runs), 3) for figure in figures}
        for key, runs in seen.items()
    }


def big(options, who):
    """Medians of a prompt of 1 MB, in turns, milliseconds."""
    seen = {}
    for _ in range(options.rounds + 1):
        for name, url, token, _pid in who:
            seen.setdefault(name, []).append(base.load(url, token, c=1, d=options.seconds, warmup=0.3, p=BIG, mode="chat")["p50_ms"])
    return {name: round(statistics.median(runs), 2) for name, runs in seen.items()}


def beside(options, who):
    """What one body of 10 MB a second does to the p99 of others: with it, divided by without it, in turns."""
    seen = {}
    for _ in range(options.rounds + 1):
        for name, url, token, _pid in who:
            for is_beside in (False, True):
                stop = threading.Event()

                def disturb(url=url, token=token, stop=stop):
                    while not stop.is_set():
                        base.load(url, token, c=1, d=5, warmup=0, p=BIGGEST, mode="chat", max_ops=1)
                        stop.wait(1)

                thread = threading.Thread(target=disturb)
                if is_beside:
                    thread.start()
                p99 = base.load(url, token, c=4, d=options.seconds, warmup=0.5, p=64, mode="chat")["p99_ms"]
                stop.set()
                if is_beside:
                    thread.join()
                seen.setdefault((name, is_beside), []).append(p99)
    names = [name for name, *_ in who]
    return {name: round(statistics.median(seen[name, True]) / statistics.median(seen[name, False]), 2) for name in names}


def streams(gateway, token):
    """Memory while 2,000 streams go slowly."""
    options = {"c": STREAMS, "d": 9, "warmup": 3, "p": 64, "mode": "chat-stream", "model": "slow", "pid": gateway.child.pid, "timeout": 60}
    result = base.load(gateway.url(), token, **options)
    return {"peak_rss_mb": result["peak_rss_mb"], "ended": result["requests"]}


def measure(options):
    folder = temporary_folder("bench-models")
    if not options.no_build:
        print(f"bench: building with --profile {PROFILE}", file=sys.stderr)
        base.run("cargo", "build", "--profile", PROFILE, "-q", "-p", "trunkline", "-p", "trunkline-bench", what="build", stream=True)
    mock = Child("mockmodel", [target_folder() / PROFILE / "mockmodel", "--token", TOKEN])
    mock.port = int(mock.wait_for(r"listening on http://127\.0\.0\.1:(\d+)")[1])
    gateway = Gateway(folder, f"http://127.0.0.1:{mock.port}").start().ready()
    token = gateway.key()
    time.sleep(1)
    proxy = base.nginx(folder, mock.port)
    who = [("direct", f"http://127.0.0.1:{mock.port}{PATH}", TOKEN, mock.pid)]
    if proxy:
        who.append(("nginx", proxy[1].removesuffix("/mcp") + PATH, TOKEN, proxy[0].pid))
    who.append(("gateway", gateway.url(), token, gateway.child.pid))
    results = {"profile": PROFILE, "seconds": options.seconds, "rounds": options.rounds, "cores": os.cpu_count()}
    rows = turns(options, who)
    results["chats"] = {f"{name} c={c} {mode}": row for (name, c, mode), row in rows.items()}
    results["prompt_of_1_mb_p50_ms"] = big(options, who)
    results["p99_beside_10_mb"] = beside(options, who)
    results["slow_streams"] = streams(gateway, token)
    gateway.stop()
    if proxy:
        proxy[0].stop()
    return results


def targets(results):
    """(what, measured, target, met); a ratio is left out without nginx."""
    rows, found = results["chats"], []

    def target(what, value, limit):
        found.append((what, value, f"≤ {limit:g}", value <= limit))

    for c, mode in itertools.product((1, 64), MODES):
        if f"nginx c={c} {mode}" in rows:
            front, plain = rows[f"gateway c={c} {mode}"], rows[f"nginx c={c} {mode}"]
            ratio = front["cpu_us_per_request"] / max(0.1, plain["cpu_us_per_request"])
            target(f"CPU per {mode}, gateway / nginx, c={c}", round(ratio, 2), 3)
    big = results["prompt_of_1_mb_p50_ms"]
    target("a prompt of 1 MB, gateway - direct, p50 in ms", round(big["gateway"] - big["direct"], 2), 2)
    target("p99 of others beside a body of 10 MB, with / without", results["p99_beside_10_mb"]["gateway"], 1.2)
    target(f"memory of {STREAMS} slow streams, MB", results["slow_streams"]["peak_rss_mb"], 150)
    return found


def report(results):
    print(f"\n{'':26}{'chats/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/chat':>13}{'RSS MB':>8}")
    for name, row in results["chats"].items():
        print(
            f"{name:26}{row['rps']:>10.0f}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}"
            f"{row['cpu_us_per_request']:>13.1f}{row['peak_rss_mb']:>8.1f}"
        )
    print(f"\n1 MB, p50 ms: {results['prompt_of_1_mb_p50_ms']}   p99 beside 10 MB: {results['p99_beside_10_mb']}\n")
    met = []
    for what, value, limit, good in targets(results):
        print(f"  {'ok  ' if good else 'MISS'}  {what:56}{value:>9g}   {limit}")
        met.append(good)
    return all(met)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="measured in each run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind")
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
    path = ROOT / "bench/results/models.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    good = report(results)
    print(f"\n{path.relative_to(ROOT)}")
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
