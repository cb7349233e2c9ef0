"""`make bench`: the gateway with everything on, between the load generator and the mock upstream, in one table.

Makes a mapping table and a state folder in a temporary place, a team and a key, starts `gateway serve` pinned to one
core, and hands over to `bench.py`, which starts the mock, measures, and compares with a direct call and with nginx
(where it is installed). Whatever else is given on the command line goes to `bench.py`. Linux and a C compiler needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = "bench/model"
READY_S = 30.0
STOP_S = 40.0

TABLE = """\
version: 1
providers:
  bench: {{adapter: openai, apiKey: bench-upstream-key, baseUrl: "http://127.0.0.1:{mock_port}/v1"}}
models:
  bench/model:
    providersMapping:
      bench: {{providerModelId: bench, task: conversational, pricing: {{input: "0.10", output: "0.40"}}}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limited", action="store_true", help="give the team a budget, so that every request holds")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the gateway")
    parser.add_argument("--gateway-port", type=int, default=9300)
    parser.add_argument("--gateway-cpu", default="1")
    parser.add_argument("--mock-port", type=int, default=9100)
    args, rest = parser.parse_known_args()
    cores = os.cpu_count() or 1
    if int(args.gateway_cpu) >= cores:
        sys.exit(f"core {args.gateway_cpu} does not exist: a measurement needs two cores, here are {cores}")
    nginx = ["--nginx"] if shutil.which("nginx") else []
    if not nginx:
        print("nginx is not installed, so there is no ratio to it.", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        environ = environment(Path(folder), args)
        key = team_and_key(environ, limited=args.limited)
        gateway = serve(environ, args, Path(folder) / "gateway.log")
        try:
            target = f"gateway,url=http://127.0.0.1:{args.gateway_port}/v1,model={MODEL},key={key},pid={gateway.pid}"
            places = ["--gateway-cpu", args.gateway_cpu, "--mock-port", str(args.mock_port)]
            command = [sys.executable, str(HERE / "bench.py"), "--target", target, *nginx, *places, *rest]
            return subprocess.run(command, check=False).returncode
        finally:
            gateway.terminate()
            gateway.wait(STOP_S)


def environment(folder: Path, args: argparse.Namespace) -> dict[str, str]:
    """Nothing of the caller's own configuration takes part."""
    table = folder / "mappings.yaml"
    table.write_text(TABLE.format(mock_port=args.mock_port))
    ours = ("GATEWAY_", "REDIS_", "HTTPS_PROXY", "https_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept["PYTHONPATH"] = str(HERE.parent)
    given = dict(setting.split("=", 1) for setting in args.set)
    return {**kept, **given, "GATEWAY_MAPPINGS": str(table), "GATEWAY_STATE_DIR": str(folder / "state")}


def team_and_key(environ: dict[str, str], *, limited: bool, team: str = "bench") -> str:
    def gateway(*arguments: str) -> str:
        command = [sys.executable, "-m", "gateway", *arguments]
        done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    gateway("teams", "create", team, *(["--budget-usd", "1000000"] if limited else []))
    return gateway("keys", "create", "--team", team)


def serve(
    environ: dict[str, str], args: argparse.Namespace, log: Path, program: Sequence[str] = ("-m", "gateway")
) -> subprocess.Popen[bytes]:
    """The gateway on its core, answering. Its log is shown where it does not come up."""
    command = ["taskset", "-c", args.gateway_cpu, sys.executable, *program, "serve"]
    begun_s = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(args.gateway_port)], env=environ, stdout=stream, stderr=subprocess.STDOUT
        )
    while time.monotonic() - begun_s < READY_S and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{args.gateway_port}/readyz", timeout=2):
                print(f"gateway ready after {time.monotonic() - begun_s:.2f} s", file=sys.stderr)
                return process
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    process.kill()
    process.wait()
    sys.exit(f"the gateway did not come up:\n{log.read_text(errors='replace')}")


if __name__ == "__main__":
    sys.exit(main())
