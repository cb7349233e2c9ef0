"""`gateway journal list|apply`: what lies in the journals of this host, and what of it waits for a person."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any, Final

from gateway.administration import wall_clock_ms
from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store
from gateway.journals import Applied, JournalFacts, apply, look_at
from gateway.store.base import Store, StoreAway
from gateway.suggest import did_you_mean

Names = Mapping[str, str]
"""Names of teams by id."""
NUMBERS: Final = ("ENTRIES", "UNSHIPPED", "SET ASIDE", "BAD", "OPEN", "KIB", "WRITTEN")


def add_parser(subparsers: Any) -> None:
    """Adds `journal` with its acts."""
    journal = subparsers.add_parser("journal", help="what lies in this host's journals, and what waits for a person")
    acts = journal.add_subparsers(metavar="ACT", required=True)
    listing = acts.add_parser(
        "list",
        help="the journals of this host: who has them, what of them the store has, what is bad or set aside",
        description="One line a journal, archived ones too. STATE: live (its own worker has it), adopted (another "
        "one does), orphan (nobody does; the next worker takes it), shipped (done with) or archived (only the archive "
        "has it). SET ASIDE are entries older than 35 days of which the store has no watermark: they may have been "
        "counted before it was lost, so they wait for `gateway journal apply`.",
    )
    listing.set_defaults(run=run_list)
    applying = acts.add_parser(
        "apply",
        help="ship what was set aside; the rest of a journal ships by itself",
        description="Ships the entries that were set aside of these journals, or of all. What a journal noted as "
        "acknowledged is left as counted. Safe while workers run; again does nothing.",
    )
    applying.add_argument("instances", metavar="INSTANCE", nargs="*", help="as `gateway journal list` names them")
    applying.add_argument(
        "--from-start",
        action="store_true",
        help="ship what was acknowledged once, too: right only where the store was emptied",
    )
    applying.set_defaults(run=run_apply)
    for one in (listing, applying):
        one.add_argument("--json", action="store_true", help="print JSON")


def run_list(args: argparse.Namespace) -> int:
    settings = settings_of_environment()

    async def ask(store: Store) -> tuple[list[JournalFacts], Names]:
        found, away = await look_at(settings.state_dir / JOURNAL_FOLDER, store)
        if away is not None:
            sys.stderr.write(f"note: the store cannot be asked ({away}); this is what the journals noted themselves\n")
            return found, {}
        return found, await _names(store)

    found, names = with_store(settings, ask)
    if args.json:
        print_json({"data": [facts.as_json(names) for facts in found]})
        return 0
    now_ms = wall_clock_ms()
    rows = [
        (
            facts.instance,
            facts.state,
            *map(str, (facts.entries, facts.unshipped, facts.set_aside, facts.bad_entries, facts.open_requests)),
            str(facts.size_bytes >> 10),
            _age(now_ms - facts.written_at_ms),
        )
        for facts in found
    ]
    print_table(("JOURNAL", "STATE", *NUMBERS), rows, right=NUMBERS)
    return 0


def run_apply(args: argparse.Namespace) -> int:
    settings = settings_of_environment()
    root = settings.state_dir / JOURNAL_FOLDER

    async def act(store: Store) -> tuple[list[Applied], Names]:
        found, away = await look_at(root, store)
        if away is not None:
            raise StoreAway(away)
        known = {facts.instance: facts for facts in found}
        for instance in args.instances:
            if instance not in known:
                hint = did_you_mean(instance[:64], list(known))
                raise CliFailure(f"there is no journal {instance[:64]!r} under {root}.{hint}")
        applied = []
        for instance in args.instances or known:
            applied += await apply(root, store, known[instance], from_start=args.from_start)
        return applied, await _names(store)

    applied, names = with_store(settings, act)
    if args.json:
        print_json({"data": [one.as_json(names) for one in applied]})
    elif applied:
        rows = [
            (one.instance, names.get(one.team_id, one.team_id), str(one.skipped), str(one.shipped)) for one in applied
        ]
        print_table(("JOURNAL", "TEAM", "SKIPPED", "SHIPPED"), rows, right=("SKIPPED", "SHIPPED"))
    else:
        sys.stderr.write("nothing is set aside\n")
    return 0


async def _names(store: Store) -> Names:
    return {team.id: team.name for team in await store.teams(deleted=True)}


def _age(ms: int) -> str:
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * unit_ms:
            return f"{ms // unit_ms} {unit} ago"
    return f"{max(0, ms) // 1000} s ago"
