"""`python -m tests.races`: each race two hundred times, and what came of it; exit status 1 if one went wrong."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.races.house import House
from tests.races.race import CALLERS, FIT, LIMITS, one_by_one, race_for_a_budget, race_for_a_limit

ASKED_IN_TURN = 1_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.races", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="of each race (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the usage that the provider reports (1)")
    args = parser.parse_args()
    wrong = 0
    with House(seed=args.seed) as house:
        for name in ("budget", *LIMITS):
            begun_s = time.monotonic()
            faults: list[str] = []
            ghosts = 0
            seen: Counter[str] = Counter()
            for number in range(args.runs):
                on_key = number % 2 == 1
                act = race_for_a_budget(house, on_key) if name == "budget" else race_for_a_limit(house, name, on_key)
                result = house.run(act)
                seen[f"{result.reached} of {CALLERS} reached the provider, {result.refused} were refused"] += 1
                faults += result.faults
                ghosts += result.ghosts
            print(f"{name}, room for {FIT}, {args.runs} runs, {time.monotonic() - begun_s:.0f} s")
            for what, count in seen.most_common():
                print(f"  {count:>5} times  {what}")
            if ghosts:
                print(f"  {ghosts:>5} times  a request was refused since the one before it was still held")
            for fault in faults:
                print(f"  WRONG  {fault}")
            wrong += len(faults)
        statuses = house.run(one_by_one(house, ASKED_IN_TURN))
        print(f"concurrency of 1, {ASKED_IN_TURN} requests one after another: {dict(statuses)}")
        wrong += ASKED_IN_TURN - statuses[200]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
