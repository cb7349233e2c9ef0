"""What commands share that ask the ledger about a period: its flags, and what is said of the entries that wait."""

from __future__ import annotations

import argparse
import sys

from gateway.administration import wall_clock_ms
from gateway.reports import Reports
from gateway.usage_report import UsageQuery, read_query


def add_moments(parser: argparse.ArgumentParser) -> None:
    """`--from` and `--to`, for every command that asks about a period."""
    parser.add_argument(
        "--from", dest="from_text", metavar="TIME", help="ISO date or time (default: this month's first)"
    )
    parser.add_argument("--to", dest="to_text", metavar="TIME", help="ISO date or time, exclusive (default: now)")


def query_of(args: argparse.Namespace, reports: Reports, group_by: str | None) -> UsageQuery:
    """What the flags ask about. Raises InvalidRequest."""
    return read_query(
        from_text=args.from_text,
        to_text=args.to_text,
        group_by=group_by,
        now_ms=wall_clock_ms(),
        zone=reports.zone_info(),
    )


def tell_waiting(count: int) -> None:
    """Says on stderr that the ledger is not complete yet."""
    if count:
        sys.stderr.write(
            f"note: {count} entries of this host's journals are not in the store yet, and so not in this\n"
        )
