"""`python -m tests.simulation`: twenty seeds of an hour each, a table of what came of them, and a picture of one; exit
status 1 if any did not hold.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from gateway.config.catalog import Routing
from tests.simulation.chart import draw
from tests.simulation.fleet import REPLICAS, Record, simulate
from tests.simulation.frozen_loop import BEGIN_S
from tests.simulation.verdict import Verdict, judge
from tests.simulation.weather import PROVIDERS, STRAY_ERROR_SHARE, Weather, clear_sky, weather

DEADLINE_S: Final = 60.0
CLEAR_S: Final = 60.0
CLEAR_REQUESTS_PER_S: Final = 1_000.0
HEAD: Final = "  seed  requests  attempts  most  errors  oracle   above  hasty  openings  leaders  sway"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=f"{REPLICAS} gateways before {len(PROVIDERS)} providers, on a frozen clock.",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 21)), help="one run each (1 to 20)")
    parser.add_argument("--minutes", type=float, default=60, help="of each run, on its own clock (60)")
    parser.add_argument("--rate", type=float, default=20, help="requests a second, over all gateways (20)")
    parser.add_argument("--policy", default="preferred", choices=("preferred", "cheapest", "fastest", "balanced"))
    parser.add_argument("--plot", type=Path, default=Path("simulation.png"), help="the picture (simulation.png)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    routing = Routing(policy=args.policy, deadline_s=DEADLINE_S)
    begun_s = time.monotonic()
    print(HEAD)
    worst: tuple[Verdict, Record] | None = None
    wrong = 0
    with multiprocessing.Pool(args.processes) as pool:
        run = partial(one_run, length_s=args.minutes * 60, requests_per_s=args.rate, routing=routing)
        for verdict, record in pool.imap(run, args.seeds):
            print(_line(verdict), flush=True)
            wrong += bool(verdict.faults)
            if worst is None or verdict.attempts_per_request > worst[0].attempts_per_request:
                worst = verdict, record
    openings = simulate(clear_sky(1), length_s=CLEAR_S, requests_per_s=CLEAR_REQUESTS_PER_S, routing=routing).openings
    wrong += bool(openings)
    share = 100 * STRAY_ERROR_SHARE
    print(f"{CLEAR_REQUESTS_PER_S:g} requests a second, {share:g} % of them fail at random: {openings} breakers opened")
    held = len(args.seeds) - wrong
    print(f"{held} of {len(args.seeds)} seeds held; {time.monotonic() - begun_s:.0f} s")
    if worst is not None:
        _draw(worst[1], weather(worst[0].seed, BEGIN_S, args.minutes * 60), args.plot)
    return 1 if wrong else 0


def one_run(seed: int, *, length_s: float, requests_per_s: float, routing: Routing) -> tuple[Verdict, Record]:
    of: Weather = weather(seed, BEGIN_S, length_s)
    record = simulate(of, length_s=length_s, requests_per_s=requests_per_s, routing=routing)
    return judge(record, of, routing), record


def _line(v: Verdict) -> str:
    figures = (
        f"{v.seed:6}{v.requests:10}{v.attempts_per_request:10.3f}{v.attempts_most:6}{v.errors:8}{v.oracle_errors:8}"
        f"{100 * v.errors_above_oracle:7.3f}%{v.hasty:7}{v.openings:10}{v.leader_changes:9}{v.sway:6}"
    )
    return f"{figures}  {'held' if not v.faults else 'WRONG: ' + ', '.join(v.faults)}"


def _draw(record: Record, of: Weather, path: Path) -> None:
    try:
        draw(record, of, path)
    except ModuleNotFoundError as missing:
        print(f"no picture without {missing.name}: pip install -r requirements-plot.lock")
    else:
        print(f"the run with the most attempts, seed {of.seed}, is drawn in {path}")


if __name__ == "__main__":
    sys.exit(main())
