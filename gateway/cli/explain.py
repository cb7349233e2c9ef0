"""`gateway explain`: why a request would go where it goes, asked of the same code that routes requests."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.ask import Ask, split_model
from gateway.cli.explain_request import run_request
from gateway.cli.failure import CliFailure
from gateway.cli.storage import settings_of_environment, with_store
from gateway.cli.story_words import price_words
from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.errors import GatewayError
from gateway.routing.health import Seen
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan
from gateway.routing.telling import price_view, situation_view
from gateway.store.base import Store
from gateway.tenants import Key, Principal, Team
from providers.fields import Feature
from providers.registry import ADAPTERS
from providers.wire import ChatRequest, encode_json, replace


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="why a request would go where it goes, or why one went where it went",
        description="MODEL: the candidates in order, and for each provider left out, why. What passes with time "
        "(breakers, Retry-After, measured speed) is not in it: that is a running worker's own. "
        "--request: what one request's routing looked at and chose, and every attempt.",
        epilog="exit codes: 0; 1 for a failure; 2 for what does not exist; 3 where a replay chooses otherwise",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a Hub model id or alias, with or without :SUFFIX")
    parser.add_argument("--request", metavar="ID", help="an answer's inference-id; with --team its caller's own id")
    parser.add_argument("--replay", action="store_true", help="with --request: choose again from what was kept of it")
    parser.add_argument("--team", metavar="T", help="as a key of this team")
    parser.add_argument("--tools", action="store_true", help="for a request that offers tools")
    parser.add_argument("--mappings", metavar="FILE", help="the mapping table (default ./mappings.yaml)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if (args.model is None) == (args.request is None):
        raise CliFailure("explain what? Either a MODEL, or --request ID for one that was made")
    if args.request is not None:
        if args.tools or args.mappings is not None:
            raise CliFailure("--tools and --mappings go with a MODEL: what a request met was kept with it")
        return run_request(args.request, team=args.team, again=args.replay, as_json=args.json)
    if args.replay:
        raise CliFailure("--replay needs --request: only what was decided can be decided again")
    settings = settings_of_environment({"mappings": args.mappings})
    try:
        catalog = load(Path(settings.mappings), os.environ, ADAPTERS)
    except MappingFaults as faults:
        raise CliFailure(str(faults)) from None
    team = None
    if args.team is not None:
        team = with_store(settings, lambda store: _team(store, args.team))
    plan = explain(args.model, catalog, team=team, tools=args.tools)
    sys.stdout.write(encode_json(_json(plan)).decode() + "\n" if args.json else _words(plan))
    return 0


async def _team(store: Store, name: str) -> Team:
    team = await store.find_team(name)
    if team is None or team.deleted_at_ms is not None:
        raise CliFailure(f"there is no team {name!r}; `gateway teams list` shows all")
    return team


def explain(name: str, catalog: Catalog, *, team: Team | None = None, tools: bool = False) -> Plan:
    """The plan of a small request for this model. CliFailure where there is no such model."""
    team = team or Team(id="t_anyone", name="anyone", created_at_ms=0)
    key = Key(id="anyone", team_id=team.id, prefix="", digest="")
    model, suffix = split_model(name)
    ask = Ask(request=ChatRequest(hub_model=model, body={"messages": []}), model=model, suffix=suffix)
    if tools:
        ask = replace(ask, features=frozenset({Feature.TOOLS}))
    try:
        return make_plan(
            ask,
            resolve(ask, catalog),
            Offerings(catalog),
            Principal(key=key, team=team, billed=team),
            lambda offer: Seen(),
            day=datetime.now(UTC).date().isoformat(),
            draw=0.5,
        )
    except GatewayError as error:
        raise CliFailure(error.message) from None


def _json(plan: Plan) -> dict[str, Any]:
    return {"model": plan.hub_model, **situation_view(plan.situation, plan.choice.order, plan.skipped)}


def _words(plan: Plan) -> str:
    lines = [f"{plan.hub_model}, policy {plan.situation.policy}"]
    for number, place in enumerate(plan.choice.order, 1):
        terms = plan.situation.offering.terms[place]
        lines.append(f"  {number}. {terms.provider} as {terms.provider_model}: {price_words(price_view(terms))}")
    if not plan.candidates:
        lines.append("  nobody can be asked")
    lines.extend(f"  -  {skip.provider}: {skip.reason}" for skip in plan.skipped)
    return "\n".join(lines) + "\n"
