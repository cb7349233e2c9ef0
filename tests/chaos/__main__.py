"""`python -m tests.chaos`: rounds of chaos, their counts as a table; exit status 1 if money is wrong."""

from __future__ import annotations

import argparse
import sys

from tests.chaos.outage import run_outages
from tests.chaos.round import LEDGERS, run_round
from tests.chaos.verdict import Verdict, as_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=510, help="of harm, over all rounds (510)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same acts (1)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two acts, on average (3)")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--rest", type=float, default=0.1, help="seconds that a caller rests between requests (0.1)")
    parser.add_argument("--ledger", choices=LEDGERS, action="append", help="only this kind of Redis; again for more")
    parser.add_argument(
        "--outages", type=float, help="instead: Redis dead, frozen and walled off, so many seconds each"
    )
    args = parser.parse_args()
    if args.outages is not None:
        print(f"outages of {args.outages:g} s each, seed {args.seed}", flush=True)
        verdicts = [told(run_outages(args.outages, seed=args.seed))]
    else:
        kinds = args.ledger or list(LEDGERS)
        verdicts = [round_of(kind, args.seconds / len(kinds), args) for kind in kinds]
    reconciled = not any(verdict.faults for verdict in verdicts)
    print("reconciled" if reconciled else "NOT RECONCILED")
    return 0 if reconciled else 1


def round_of(kind: str, seconds: float, args: argparse.Namespace) -> Verdict:
    print(f"{kind}: {seconds:g} s, seed {args.seed}", flush=True)
    return told(
        run_round(kind, seconds=seconds, every_s=args.every, seed=args.seed, callers=args.callers, rest_s=args.rest)
    )


def told(verdict: Verdict) -> Verdict:
    print(as_table(verdict), flush=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
