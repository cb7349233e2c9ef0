"""`gateway invoice`: a team's month as a page, a table or JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gateway.administration import wall_clock_ms
from gateway.cli.failure import CliFailure
from gateway.cli.period import tell_waiting
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store, zone_of_table
from gateway.errors import NotFound
from gateway.invoice import FORMATS, Invoice, invoice, month_named
from gateway.invoice_page import invoice_page
from gateway.journal.local import LocalJournals
from gateway.ledger_period import READS_MAX, read_period, unshipped_entries
from gateway.money import format_usd
from gateway.store.base import Store
from gateway.suggest import did_you_mean
from gateway.tenants import Team
from providers.wire import encode_json


def add_parser(subparsers: Any) -> None:
    """Adds `invoice`."""
    parser = subparsers.add_parser(
        "invoice",
        help="a team's month: line items that add up to the nano-dollar",
        description="A month of a team, in its own time zone, with a line for each model, provider and price. The "
        "total is what `gateway usage` says of that month.",
    )
    parser.add_argument("--team", metavar="T", required=True, help="by name, or by id (also of a deleted team)")
    parser.add_argument("--month", metavar="YYYY-MM", required=True)
    parser.add_argument("--format", choices=FORMATS, default="html")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there instead of to stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    root = settings.state_dir / JOURNAL_FOLDER

    async def ask(store: Store) -> tuple[Invoice, int]:
        team = await find_team(store, args.team)
        month = month_named(args.month, team.timezone or zone)
        lines = await store.invoice_lines(team.id, month.name)
        for _ in range(READS_MAX):
            period = await read_period(store, month.from_ms, month.to_ms, [team.id], LocalJournals(root))
            before, lines = lines, await store.invoice_lines(team.id, month.name)
            if lines == before:
                break
        waiting = await unshipped_entries(root, store, [team.id])
        inside = [entry for entry in waiting if month.from_ms <= entry.at_ms < month.to_ms]
        return invoice(team.name, team.id, month, period, wall_clock_ms(), lines), len(inside)

    found, waiting = with_store(settings, ask)
    tell_waiting(waiting)
    if args.json:
        text = encode_json(found.as_json()).decode() + "\n"
    else:
        text = found.as_csv() if args.format == "csv" else invoice_page(found)
    if args.output is None:
        sys.stdout.write(text)
        return 0
    try:
        args.output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise CliFailure(f"{args.output} cannot be written: {error.strerror}", 1) from None
    sys.stderr.write(f"{args.output}: {len(found.lines)} lines, USD {format_usd(found.amount_nano_usd)}\n")
    return 0


async def find_team(store: Store, name_or_id: str) -> Team:
    """A living team by name, or any team by id; by name also a deleted one where only one had it. Raises NotFound."""
    team = await store.find_team(name_or_id)
    if team is not None:
        return team
    teams = await store.teams(deleted=True)
    named = [team for team in teams if team.name == name_or_id]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(team.id for team in named)
        raise NotFound(
            f"several deleted teams were called {name_or_id!r}; name one by its id: {ids}", code="team_not_found"
        )
    hint = did_you_mean(name_or_id[:64], [team.name for team in teams])
    raise NotFound(f"there is no team {name_or_id[:64]!r}.{hint}", code="team_not_found")
