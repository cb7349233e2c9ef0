"""`gateway usage` and `gateway usage export`: what was used, straight from the store."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.period import add_moments, query_of, tell_waiting
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store, zone_of_table
from gateway.journal.local import LocalJournals
from gateway.ledger_period import read_period, unshipped_entries
from gateway.losses import CAUSES, COUNTS, Losses, losses
from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.records import ClosedEntry
from gateway.reports import Reports
from gateway.store.base import Store
from gateway.usage_export import as_csv, as_jsonl
from gateway.usage_report import Report, Teams, figures, whole_hours

SHOWN: Final = ("requests", "failed_requests", "prompt_tokens", "completion_tokens", "cost_usd", "provider_cost_usd")
"""The figures of the table that a person reads; the other forms have all."""


def add_parser(subparsers: Any) -> None:
    """Adds `usage`, with `export` under it."""
    usage = subparsers.add_parser(
        "usage",
        help="what was used, by team, key, model, provider, day, hour or tag",
        description="Usage of a period, summed. Without a period: this month until now.",
    )
    _add_period(usage)
    usage.add_argument(
        "--group-by", metavar="G", help="team (default), key, model, provider, day, hour, tag:NAME; with commas"
    )
    usage.add_argument("--format", choices=("table", "json", "csv"), default="table")
    usage.add_argument("--json", action="store_true", help="as --format json")
    usage.add_argument(
        "--losses",
        action="store_true",
        help="instead: what was paid to each provider and charged to no team, by cause",
    )
    usage.set_defaults(run=run_usage)
    acts = usage.add_subparsers(metavar="ACT")
    export = acts.add_parser(
        "export",
        help="every attempt, for reconciliation",
        description="One line an attempt, with what the team was charged and what the provider bills.",
    )
    _add_period(export)
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    export.add_argument("--json", action="store_true", help="as --format jsonl")
    export.set_defaults(run=run_export)


def _add_period(parser: argparse.ArgumentParser) -> None:
    add_moments(parser)
    parser.add_argument("--team", metavar="T", action="append", help="only this team; again for more")


def run_usage(args: argparse.Namespace) -> int:
    if args.losses:
        return run_losses(args)
    settings = settings_of_environment()
    zone = zone_of_table(settings)

    async def ask(store: Store) -> Report:
        reports = Reports(store, lambda: zone)
        query = query_of(args, reports, "team" if args.group_by is None else args.group_by)
        return await reports.usage(query, await _team_ids(args, reports))

    report = with_store(settings, ask)
    if args.json or args.format == "json":
        print_json(report.as_json(provider_costs=True))
    elif args.format == "csv":
        sys.stdout.write(report.as_csv(provider_costs=True))
    else:
        _print_report(report)
    return 0


def run_losses(args: argparse.Namespace) -> int:
    """What is not shipped yet is in neither ledger; it is told on stderr."""
    if args.format == "csv":
        raise CliFailure("--losses is printed as a table or as JSON")
    if args.group_by is not None:
        raise CliFailure("--losses is by provider, and by nothing else: leave --group-by out, or choose with --team")
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    root = settings.state_dir / JOURNAL_FOLDER

    async def ask(store: Store) -> tuple[Losses, Teams, int]:
        reports = Reports(store, lambda: zone)
        query = whole_hours(query_of(args, reports, None))
        team_ids = await _team_ids(args, reports)
        period = await read_period(store, query.from_ms, query.to_ms, team_ids, LocalJournals(root))
        expired = await store.expired_holds(from_ms=query.from_ms, to_ms=query.to_ms, team_ids=team_ids)
        teams = await reports.teams()
        waiting = await unshipped_entries(root, store, teams.by_id if team_ids is None else team_ids)
        return losses(period, expired), teams, len(waiting)

    found, teams, waiting = with_store(settings, ask)
    if args.json or args.format == "json":
        print_json(found.as_json(teams.name))
    else:
        _print_losses(found, teams)
    tell_waiting(waiting)
    return 0


def run_export(args: argparse.Namespace) -> int:
    settings = settings_of_environment()
    zone = zone_of_table(settings)

    journals = LocalJournals(settings.state_dir / JOURNAL_FOLDER)

    async def ask(store: Store) -> tuple[list[ClosedEntry], Teams]:
        reports = Reports(store, lambda: zone, journals)
        attempts = await reports.attempts(query_of(args, reports, None), await _team_ids(args, reports))
        return attempts, await reports.teams()

    attempts, teams = with_store(settings, ask)
    if args.json or args.format == "jsonl":
        sys.stdout.writelines(as_jsonl(attempts, teams.name))
    else:
        sys.stdout.write(as_csv(attempts, teams.name))
    return 0


async def _team_ids(args: argparse.Namespace, reports: Reports) -> list[str] | None:
    return None if args.team is None else await reports.team_ids(args.team)


def _print_report(report: Report) -> None:
    groups = report.query.groups
    header = [name.upper() for name in (*groups, *SHOWN)]
    rows = []
    for group, sums in report.rows:
        row = figures(sums, provider_costs=True)
        rows.append([*(part if part is not None else "-" for part in group), *(str(row[name]) for name in SHOWN)])
    total = figures(report.total, provider_costs=True)
    if groups:
        names = ["total", *("" for _ in groups[1:])]
        rows.append([*names, *(str(total[name]) for name in SHOWN)])
    elif not rows:
        rows.append([str(total[name]) for name in SHOWN])
    print_table(header, rows, right=[name.upper() for name in SHOWN])


def _print_losses(found: Losses, teams: Teams) -> None:
    names = ("provider_cost", "charged", "lost", *CAUSES, *COUNTS)
    rows = []
    for label, one in (*((one.provider or "-", one) for one in found.providers), ("total", found.total)):
        amounts = (one.provider_cost_nano_usd, one.charge_nano_usd, one.lost_nano_usd, *one.parts.values())
        rows.append((label, *map(format_usd, amounts), *map(str, one.counts.values())))
    print_table(("PROVIDER", *map(str.upper, names)), rows, right=[name.upper() for name in names])
    if found.expired:
        print("\nHeld for requests that nobody closed, so that nothing is booked for them; charged 0:")
        header = ("INFERENCE ID", "TEAM", "BEGAN", "PROVIDER COST MAX")
        rows = [
            (hold.inference_id, teams.name(hold.team_id), format_moment(hold.at_ms), format_usd(hold.nano_usd))
            for hold in found.expired
        ]
        rows.append(("total", "", "", format_usd(found.expired_nano_usd)))
        print_table(header, rows, right=header[3:])
