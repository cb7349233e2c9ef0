"""`gateway reconcile`: a provider's own export against what we booked for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.period import add_moments, query_of
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store, zone_of_table
from gateway.journal.local import LocalJournals
from gateway.ledger_period import entries_of, read_period, unshipped_entries
from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.provider_export import COLUMNS, BilledRow, ExportFaults, read_export
from gateway.reconciliation import KINDS, Reconciliation, reconcile
from gateway.reports import Reports
from gateway.store.base import Store
from gateway.suggest import did_you_mean
from gateway.usage_report import whole_hours

DIFFERS: Final = 3
"""The exit code where something differs."""


def add_parser(subparsers: Any) -> None:
    """Adds `reconcile`."""
    understood = "; ".join(f"{meaning}: {', '.join(names)}" for meaning, names in COLUMNS.items())
    parser = subparsers.add_parser(
        "reconcile",
        help="a provider's export against our provider ledger: every difference, to zero remainder",
        description="Joins a provider's CSV with what we booked, by the provider's id and then by our attempt id. Exit "
        "code 0 where nothing differs, 3 where something does. Without a period: this month until now; hours count "
        "whole.",
        epilog=f"Columns that are understood: {understood}. Each attempt is kept for 7 days in Redis, and for good in "
        "the embedded store; what is older is told as a sum.",
    )
    parser.add_argument("file", metavar="FILE.csv", type=Path)
    parser.add_argument("--provider", metavar="P", required=True, help="as the mapping table calls it")
    add_moments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    rows = _read(args.file)
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    root = settings.state_dir / JOURNAL_FOLDER
    provider: str = args.provider

    async def ask(store: Store) -> tuple[Reconciliation, int, int]:
        reports = Reports(store, lambda: zone)
        query = whole_hours(query_of(args, reports, None))
        period = await read_period(store, query.from_ms, query.to_ms, journals=LocalJournals(root))
        unshipped = await unshipped_entries(root, store, (await reports.teams()).by_id)
        waiting = [entry for entry in entries_of(unshipped, query.from_ms, query.to_ms) if entry.provider == provider]
        known = sorted({cell.provider for cell in period.cells if cell.provider})
        if provider not in known and not waiting:
            hint = did_you_mean(provider[:64], known)
            raise CliFailure(f"nothing was booked for provider {provider[:64]!r} in this period.{hint}")
        entries = [entry for entry in (*period.entries, *waiting) if entry.provider == provider]
        booked = period.sum("provider_cost_nano_usd", provider)
        total = booked + sum(entry.provider_cost_nano_usd or 0 for entry in waiting)
        return reconcile(rows, entries, total), query.from_ms, query.to_ms

    found, from_ms, to_ms = with_store(settings, ask)
    if args.json:
        period = {"from": format_moment(from_ms), "to": format_moment(to_ms)}
        print_json({"provider": provider, **period, **found.as_json()})
    else:
        _print(found)
    return DIFFERS if found.differences else 0


def _read(path: Path) -> list[BilledRow]:
    try:
        return read_export(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise CliFailure(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise CliFailure(f"{path}:{line}: the file is not in UTF-8") from None
    except ExportFaults as faults:
        raise CliFailure(str(faults)) from None


def _print(found: Reconciliation) -> None:
    difference = found.provider_total_nano_usd - found.ledger_total_nano_usd
    sums = [
        ("the provider bills", "", format_usd(found.provider_total_nano_usd)),
        ("our ledger", "", format_usd(found.ledger_total_nano_usd)),
        ("difference", str(len(found.differences)), format_usd(difference)),
        *((f"  {kind}", str(found.count(kind)), format_usd(found.sum(kind))) for kind in KINDS if found.count(kind)),
        ("remainder", "", format_usd(found.remainder_nano_usd)),
        ("matched", str(found.matched), ""),
    ]
    print_table(("", "COUNT", "USD"), sums, right=("COUNT", "USD"))
    if found.differences:
        rows = [
            (one.kind, format_usd(one.nano_usd), str(one.line or "-"), one.id or "-", one.attempt_id or "-", one.note)
            for one in found.differences
        ]
        print_table(("KIND", "USD", "LINE", "ID", "ATTEMPT", "NOTE"), rows, right=("USD", "LINE"))
