"""What a refusal costs: CPU of the gateway for a request refused with 429 gateway_overloaded, beside a served one.

Starts the gateway as `make bench` does. One stream that does not end takes a place; then rounds of plain requests are
served (`maxInFlight: 1000`) and refused (`maxInFlight: 1`, no queue) in turns, the table being changed under the
running gateway. Linux, two cores and a C compiler needed: `python bench/refusals.py --rounds 5`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import run

import bench

HOLDER = "n=100000,d=1000"
"""Of the mock: a stream with a chunk each second, for longer than anybody measures."""
RELOADED_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--gateway-port", type=int, default=9300)
    parser.add_argument("--gateway-cpu", default="1")
    parser.add_argument("--mock-port", type=int, default=9100)
    args = parser.parse_args()
    args.set, args.load_cpu = [], "0"
    bench.must_be_free(args.mock_port)
    tools = bench.build(os.path.join(bench.HERE, "bin"))
    mock = subprocess.Popen(["taskset", "-c", args.load_cpu, tools["mock"], str(args.mock_port)])
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        environ = run.environment(Path(folder), args)
        key = run.team_and_key(environ, limited=False)
        gateway = run.serve(environ, args, Path(folder) / "gateway.log")
        try:
            url = f"http://127.0.0.1:{args.gateway_port}/v1"
            target = bench.Target(f"gateway,url={url},model={run.MODEL},key={key},pid={gateway.pid}")
            bench.ready(target)
            with urllib.request.urlopen(_holding(target)) as held:
                held.read(1)
                report(measure(args, target, Path(environ["GATEWAY_MAPPINGS"]), tools, folder))
        finally:
            gateway.terminate()
            gateway.wait(run.STOP_S)
            mock.terminate()
            mock.wait()
    return 0


def measure(
    args: argparse.Namespace, target: bench.Target, table: Path, tools: dict[str, str], folder: str
) -> dict[str, list[float]]:
    """CPU µs of the gateway per request of each kind, one figure a round."""
    a = SimpleNamespace(tmp=folder, exe=tools, load_cpu=args.load_cpu, gateway_cpu=args.gateway_cpu, retries=2)
    a.mine, a.best_spin = set(), min(bench.spin(args.gateway_cpu) for _ in range(5))
    offered, body = table.read_text(), bench.body(target.model, "b=600")
    figures: dict[str, list[float]] = {"served": [], "refused": []}
    for _ in range(args.rounds):
        for kind, bounds in (("served", "{maxInFlight: 1000}"), ("refused", "{maxInFlight: 1, queue: 0}")):
            reload(target, table, f"{offered}routing: {bounds}\n")
            seen = bench.load(a, target, body, c=args.callers, d=args.seconds, w=0.5)
            counted, other = (seen["ok"], seen["errors"]) if kind == "served" else (seen["errors"], seen["ok"])
            if other or not counted:
                raise SystemExit(f"{kind}: {counted} of this kind, {other} of the other: {seen.get('stderr', '')}")
            figures[kind].append(seen["cpu_pct"] / 100 / (counted / seen["seconds"]) * 1e6)
            disturbed = " DISTURBED" if seen["disturbed"] else ""
            print(f"{kind:8s} {counted / seen['seconds']:6.0f}/s {figures[kind][-1]:6.0f} µs{disturbed}", flush=True)
    return figures


def report(figures: dict[str, list[float]]) -> None:
    served, refused = (statistics.median(figures[kind]) for kind in ("served", "refused"))
    print(f"CPU per request, median: served {served:.0f} µs, refused {refused:.0f} µs: {100 * refused / served:.1f} %")


def reload(target: bench.Target, table: Path, text: str) -> None:
    """The new table, once the gateway has taken it."""

    def generation() -> str:
        with urllib.request.urlopen(f"http://{target.host}:{target.port}/readyz") as answer:
            return str(json.load(answer)["generation"])

    before = generation()
    if table.read_text() == text:
        return
    table.write_text(text)
    end_s = time.monotonic() + RELOADED_S
    while generation() == before:
        if time.monotonic() > end_s:
            raise SystemExit("the gateway did not take the table")
        time.sleep(0.05)


def _holding(target: bench.Target) -> urllib.request.Request:
    headers = dict(header.split(": ", 1) for header in target.headers)
    body = bench.body(target.model, HOLDER, stream=True)
    url = f"{target.url}/chat/completions"
    return urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", **headers})


if __name__ == "__main__":
    sys.exit(main())
