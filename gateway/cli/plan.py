"""`gateway plan NEW.yaml`: what a changed table would have done to the requests that were made."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store, zone_of_table
from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.forecast import Forecast, Shift, forecast, share
from gateway.journal.entries import Intent
from gateway.journal.local import LocalJournals
from gateway.moments import format_moment, parse_moment, zone_named
from gateway.money import format_usd
from gateway.reports import Reports
from gateway.routing.offerings import Offerings
from gateway.store.base import Store
from gateway.usage_report import Teams
from providers.registry import ADAPTERS

REFUSES: Final = 3
"""The exit code where a request would be refused that was not."""
_ANY_VALUE: Final = "http://127.0.0.1"
"""What stands for a key, or an address, that is not set here: nothing is sent to it."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "plan",
        help="what a changed table would do: requests of the journal, routed again by it",
        description="Routes the requests in this host's journals again, by another mapping table: who would answer, at "
        "what cost, and who would be refused. Nothing is sent to anybody. Each request counts with what routing saw "
        "when it was made, and with the tokens that it used; a provider that failed it then is passed over. Costs "
        "are what providers bill for the answers.",
        epilog="exit codes: 0; 1 for a failure; 2 for a bad table, as `gateway check` has it; 3 where a request would "
        "be refused that was not. A provider whose key is not set here counts as served.",
    )
    parser.add_argument("table", metavar="NEW.yaml", type=Path)
    parser.add_argument("--since", metavar="TIME", help="ISO date or time (default: all that the journals keep)")
    parser.add_argument("--team", metavar="T", action="append", help="only this team; again for more")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = settings_of_environment()
    try:
        catalog, unset = _tables(args.table)
    except MappingFaults as faults:
        sys.stderr.write(f"{faults}\n")
        return 2
    zone = zone_of_table(settings)
    from_ms = _since(args.since, zone)

    journals = LocalJournals(settings.state_dir / JOURNAL_FOLDER)

    async def ask(store: Store) -> tuple[Forecast, Teams]:
        reports = Reports(store, lambda: zone)
        team_ids = None if args.team is None else await reports.team_ids(args.team)

        def wanted(intent: Intent) -> bool:
            return intent.at_ms >= from_ms and (team_ids is None or intent.team_id in team_ids)

        made = forecast(journals.requests(from_ms), Offerings(catalog), without=unset, wanted=wanted)
        return made, await reports.teams()

    made, teams = with_store(settings, ask)
    if args.json:
        print_json(made.as_json(teams.name))
    else:
        _print(made, teams)
    return REFUSES if made.refusals else 0


def _tables(path: Path) -> tuple[Catalog, Sequence[str]]:
    """The table as if every key were set, and the providers that are not served here as it is. Raises MappingFaults."""
    return load(path, _EveryVariable(os.environ), ADAPTERS), tuple(load(path, os.environ, ADAPTERS).left_out)


class _EveryVariable(dict[str, str]):
    """An environment in which nothing is unset: on another machine than the gateway's the keys seldom are."""

    def get(self, name: str, default: Any = None) -> Any:
        value = super().get(name, default)
        return value if value or name.endswith("_FILE") or f"{name}_FILE" in self else _ANY_VALUE


def _since(text: str | None, zone: str) -> int:
    try:
        return 0 if text is None else parse_moment(text, zone_named(zone))
    except ValueError as error:
        raise CliFailure(f"--since: {error}") from None


def _print(made: Forecast, teams: Teams) -> None:
    total = made.total
    if made.from_ms is None or made.to_ms is None:
        print("no requests in this host's journals to route again")
        _tell_unreadable(made)
        return
    period = f"{format_moment(made.from_ms)} to {format_moment(made.to_ms)}"
    count = total.requests_before
    print(f"{_requests(count)} of {period}")
    print(f"{total.moved} would be answered by another provider ({share(total.moved, count):.1%})")
    print(f"{total.newly_refused} would be refused ({share(total.newly_refused, count):.1%})")
    cost, would_cost, _ = _costs(total)
    print(f"they cost ${cost}, and would cost ${would_cost}\n")
    _print_providers(made)
    affected = [(teams.name(team_id), one) for team_id, one in made.teams.items() if one.is_affected]
    if affected:
        print()
        _print_teams(affected)
    if made.refusals:
        print()
        rows = [(one.hub_model, str(one.requests), one.example, one.reason) for one in made.refusals.values()]
        print_table(("REFUSED MODEL", "REQUESTS", "FOR EXAMPLE", "WHY"), rows, right=("REQUESTS",))
    if made.unpriced:
        print(f"\nin no cost: {_requests(made.unpriced)} at a price that nobody knows, before or after")
    _tell_unreadable(made)


def _print_providers(made: Forecast) -> None:
    count = made.total.requests_before
    rows = [
        (
            name or "nobody",
            str(one.requests_before),
            str(one.requests_after),
            f"{share(one.requests_before, count):.1%}",
            f"{share(one.requests_after, count):.1%}",
            *_costs(one),
        )
        for name, one in made.providers.items()
    ]
    header = ("PROVIDER", "BEFORE", "AFTER", "SHARE", "THEN", "COST", "WOULD COST", "CHANGE")
    print_table(header, rows, right=header[1:])


def _print_teams(affected: Sequence[tuple[str, Shift]]) -> None:
    rows = [
        (name, str(one.requests_before), str(one.moved), str(one.newly_refused), *_costs(one)) for name, one in affected
    ]
    header = ("TEAM", "REQUESTS", "MOVED", "REFUSED", "COST", "WOULD COST", "CHANGE")
    print_table(header, rows, right=header[1:])


def _costs(one: Shift) -> tuple[str, str, str]:
    return (
        format_usd(one.cost_before_nano_usd),
        format_usd(one.cost_after_nano_usd),
        _signed(one.cost_delta_nano_usd),
    )


def _signed(nano_usd: int) -> str:
    return f"+{format_usd(nano_usd)}" if nano_usd > 0 else format_usd(nano_usd)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _tell_unreadable(made: Forecast) -> None:
    if made.unreadable:
        sys.stderr.write(f"note: {_requests(made.unreadable)} without a decision that this version understands\n")
