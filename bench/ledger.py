"""`python bench/ledger.py`: what metering costs, as gateway CPU per request beside the same path without it.

Three candidates take turns on one core, round by round: a gateway that meters nothing (`without_ledger.py`), the
gateway for a team without limits, and the same process for a team with a strict budget. Both stores of the second are
one real redis-server on a unix socket, on the other core. Ratios are of CPU time, each within its own round; more is
given to `bench.py` as it is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from run import MODEL, STOP_S, environment, serve, team_and_key

HERE = Path(__file__).resolve().parent
MOST = {"ledger": 1.18, "limited": 1.7}
"""Times the CPU of a request without a ledger."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the gateway")
    parser.add_argument("--gateway-port", type=int, default=9300)
    parser.add_argument("--gateway-cpu", default="1")
    parser.add_argument("--mock-port", type=int, default=9100)
    args, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, ExitStack() as stack:
        place = Path(folder)
        args.set.append(f"REDIS_URL=unix://{start_redis(place, stack)}")
        targets = []
        for name, program in (("without", [str(HERE / "without_ledger.py")]), ("ledger", ["-m", "gateway"])):
            (place / name).mkdir()
            environ = environment(place / name, args)
            key = team_and_key(environ, limited=False, team=name)
            process = serve(environ, args, place / name / "gateway.log", program)
            stack.callback(end, process)
            targets.append((name, args.gateway_port, key, process.pid))
            args.gateway_port += 1
        limited = team_and_key(environ, limited=True, team="limited")
        targets.append(("limited", args.gateway_port - 1, limited, process.pid))
        measured = place / "measured.json"
        command = [sys.executable, str(HERE / "bench.py"), "--no-direct", "--only", "sat"]
        for name, port, key, pid in targets:
            command += ["--target", f"{name},url=http://127.0.0.1:{port}/v1,model={MODEL},key={key},pid={pid}"]
        command += ["--rounds", str(args.rounds), "--json", str(measured), "--gateway-cpu", args.gateway_cpu]
        done = subprocess.run([*command, "--mock-port", str(args.mock_port), *rest], check=False)
        return done.returncode or tell(json.loads(measured.read_text()))


def start_redis(folder: Path, stack: ExitStack) -> Path:
    """The path of its socket."""
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "yes", "--dir", str(folder)]
    server = subprocess.Popen(["taskset", "-c", "0", "redis-server", *options], stdout=subprocess.DEVNULL)
    stack.callback(end, server)
    while not socket.exists() and server.poll() is None:
        time.sleep(0.02)
    return socket


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(STOP_S)


def tell(measured: dict[str, dict[str, list[dict[str, float]]]]) -> int:
    """The ratios, round by round, and of the best rounds; 1 where the median is more than it may be. A round in which
    requests failed is left out: a refusal costs less."""
    rounds = list(zip(*(measured[name]["sat"] for name in ("without", *MOST)), strict=True))
    good = [[1000 * one["cpu_s_per_1000"] for one in row] for row in rounds if not any(one["errors"] for one in row)]
    print(f"{len(good)} of {len(rounds)} rounds were without errors")
    if not good:
        return 1
    wrong = 0
    base, *others = zip(*good, strict=True)
    for (name, most), micros in zip(MOST.items(), others, strict=True):
        ratios = sorted(mine / its for mine, its in zip(micros, base, strict=True))
        median = statistics.median(ratios)
        print(
            f"{name}: {statistics.median(micros):.0f} µs of CPU a request, without {statistics.median(base):.0f}; "
            f"ratio {median:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}), of the best rounds {min(micros) / min(base):.2f}; "
            f"at most {most}"
        )
        wrong += median > most
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
