"""`gateway budget --org`: the soft budget over the whole organisation."""

from __future__ import annotations

import argparse
import socket
import sys
from typing import Any, Final

from gateway.administration import Actor
from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.storage import settings_of_environment, with_store, zone_of_table
from gateway.cli.tenant_flags import percentages, webhook_field
from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.organisation import Standing, change, standing
from gateway.store.base import Store
from gateway.tenant_views import organisation_view
from gateway.tenants import Organisation

SUMMARY: Final = "set, show or clear the soft budget over the whole organisation"
DESCRIPTION: Final = f"""{SUMMARY}.

It warns (log, metrics, audit, webhook) and refuses nothing; a team's budget does that (gateway teams update). It is not
exact: every worker adds up once a minute what the store has of all teams, each in its own time zone; requests under way
and usage that waits in journals are not in it. Without further flags it is shown."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "budget", help=SUMMARY, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--org", action="store_true", help="the whole organisation")
    parser.add_argument("--usd", metavar="X", help="what may be spent in a period, such as 1000.00")
    parser.add_argument("--period", metavar="P", help="day, month (default) or total")
    parser.add_argument("--warn-at", metavar="PERCENT", help="warn at these percentages, such as 80,100 (the default)")
    parser.add_argument("--webhook-url", metavar="URL", help="gets the warnings; its secret is made and shown once")
    parser.add_argument("--clear", action="store_true", help="take the budget and its webhook away")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.org:
        raise CliFailure(
            "say --org for the whole organisation; a team's budget is set with gateway teams update TEAM --budget-usd X"
        )
    given = _given(args)
    if args.clear and given:
        raise CliFailure("--clear stands alone")
    settings = settings_of_environment()
    zone = zone_of_table(settings)

    async def act(store: Store) -> tuple[Organisation, Standing | None]:
        if args.clear:
            organisation = await change(store, {"budget": None, "webhook": None}, _actor())
        elif given:
            organisation = await change(store, given, _actor())
        else:
            organisation = await store.organisation()
        return organisation, await standing(store, organisation, zone)

    organisation, found = with_store(settings, act)
    if given.get("webhook"):
        sys.stderr.write(f"the webhook's secret, shown this once: {given['webhook']['secret']}\n")
    _show(args, {**organisation_view(organisation), **_standing_view(found)})
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    budget: dict[str, Any] = {"usd": args.usd, "period": args.period}
    if args.warn_at is not None:
        budget["warn_at"] = percentages(args.warn_at)
    budget = {name: value for name, value in budget.items() if value is not None}
    given: dict[str, Any] = {"budget": budget} if budget else {}
    if args.webhook_url is not None:
        given["webhook"] = webhook_field(args.webhook_url)
    return given


def _actor() -> Actor:
    return Actor("cli", socket.gethostname())


def _standing_view(found: Standing | None) -> dict[str, Any]:
    if found is None:
        return {"spent_usd": None, "percent": None, "resets_at": None}
    resets_at = None if found.resets_at_ms is None else format_moment(found.resets_at_ms)
    return {"spent_usd": format_usd(found.spent_nano_usd), "percent": found.percent, "resets_at": resets_at}


def _show(args: argparse.Namespace, view: dict[str, Any]) -> None:
    if args.json:
        print_json(view)
        return
    budget = view["budget"]
    if budget is None:
        sys.stdout.write("the organisation has no budget\n")
        return
    shown = {
        "budget": f"{budget['usd']} USD / {budget['period']}",
        "spent": f"{view['spent_usd']} USD" + ("" if view["percent"] is None else f" ({view['percent']} %)"),
        "warn_at": ", ".join(f"{percent} %" for percent in budget["warn_at"]),
        "resets_at": view["resets_at"] or "never",
        "webhook": view["webhook"]["url"] if view["webhook"] else "none",
    }
    print_table(("FIELD", "VALUE"), list(shown.items()))
