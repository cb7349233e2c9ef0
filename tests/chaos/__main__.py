"""`python -m tests.chaos`: rounds of chaos, their counts as a table; exit status 1 if money is wrong."""

from __future__ import annotations

import argparse
import sys

from tests.chaos.round import LEDGERS, run_round
from tests.chaos.verdict import as_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of harm, over all rounds (600)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same acts (1)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two acts, on average (3)")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--rest", type=float, default=0.1, help="seconds that a caller rests between requests (0.1)")
    parser.add_argument("--ledger", choices=LEDGERS, action="append", help="only this kind of Redis; again for more")
    args = parser.parse_args()
    kinds = args.ledger or list(LEDGERS)
    wrong = 0
    for kind in kinds:
        print(f"{kind}: {args.seconds / len(kinds):g} s, seed {args.seed}", flush=True)
        verdict = run_round(
            kind,
            seconds=args.seconds / len(kinds),
            every_s=args.every,
            seed=args.seed,
            callers=args.callers,
            rest_s=args.rest,
        )
        print(as_table(verdict), flush=True)
        wrong += bool(verdict.faults)
    print("NOT RECONCILED" if wrong else "reconciled")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
