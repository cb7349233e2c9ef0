"""`gateway store export|import|migrate`: a backup of teams, keys and ledger, and the way from one host to many."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

from gateway.administration import wall_clock_ms
from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json, print_table
from gateway.cli.storage import settings_of_environment, with_store, zone_of_table
from gateway.config.settings import Settings, SettingsFaults, from_environ
from gateway.money import format_usd
from gateway.store.base import Store
from gateway.store.contents import Item, contents
from gateway.store.export_file import BadExport, header, items_of, kind_of, last_line, line_of
from gateway.store.open import DATABASE_NAME, open_store
from gateway.store.transfer import Transfer, Transferred, TransferRefused, totals

T = TypeVar("T")

COMPARED: Final = ("requests", "prompt_tokens", "completion_tokens", "charge_nano_usd", "provider_cost_nano_usd")
"""What is summed on both sides after a move."""
KEPT_MS: Final = 399 * 86_400_000
"""What is older need not be in the target: Redis keeps days for 400 of them."""


def add_parser(subparsers: Any) -> None:
    """Adds `store` with its acts."""
    store = subparsers.add_parser("store", help="export, import or move teams, keys and ledger")
    acts = store.add_subparsers(metavar="ACT", required=True)
    export = _act(acts, "export", "write teams, keys (as digests) and ledger to a file, for a backup", run_export)
    bring = _act(
        acts, "import", "add what a file holds; what is there already stays, twice changes nothing", run_import
    )
    for one in (export, bring):
        one.add_argument("file", metavar="FILE", type=Path)
    migrate = _act(acts, "migrate", "the embedded store's teams, keys and ledger into Redis; twice changes nothing",
                   run_migrate)  # fmt: skip
    migrate.add_argument("--to", metavar="URL", required=True, help="mode and prefix as the environment says")


def _act(acts: Any, name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(name, help=words, description=words)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def run_export(args: argparse.Namespace) -> int:
    """Written beside the file and put in its place when it is whole. Only its owner may read it."""
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    path: Path = args.file
    part = path.with_name(f"{path.name}.part")

    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            counts = _guarded(settings, lambda store: _write(store, zone, file))
        part.replace(path)
    except OSError as error:
        raise CliFailure(f"{path} cannot be written: {error.strerror}", 1) from None
    finally:
        part.unlink(missing_ok=True)
    told = {"file": str(path), **{name: counts[name] for name in ("teams", "keys", "entries", "audit")}}
    if args.json:
        print_json(told)
    else:
        print_table(tuple(name.upper() for name in told), [[str(value) for value in told.values()]])
    return 0


async def _write(store: Store, zone: str, file: TextIO) -> Counter[str]:
    """The whole export; how many there are of each kind."""
    counts: Counter[str] = Counter()
    file.write(header(store.kind, wall_clock_ms()))
    async for item in contents(store, zone):
        file.write(line_of(item))
        counts[kind_of(item)] += 1
    file.write(last_line(counts))
    return counts


def run_import(args: argparse.Namespace) -> int:
    """The file is read whole before anything is written."""
    path: Path = args.file
    for _ in _items(path):
        pass

    async def bring(store: Store) -> Transferred:
        async def items() -> AsyncIterator[Item]:
            for item in _items(path):
                yield item

        return await Transfer(store).take(items())

    done = _guarded(settings_of_environment(), bring)
    if args.json:
        print_json(asdict(done))
    else:
        _print_done(done)
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Exit 1 where the target's ledger has less than the embedded one's."""
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    if not (settings.state_dir / DATABASE_NAME).exists():
        raise CliFailure(f"there is no embedded store under {settings.state_dir}")
    try:
        url = from_environ({}, {"redis_url": args.to}).redis_url
    except SettingsFaults:
        raise CliFailure("--to: not a URL of a Redis server, expected redis://host:6379/0") from None

    async def move(target: Store) -> tuple[Transferred, list[dict[str, Any]]]:
        source = await open_store(state_dir=settings.state_dir)
        try:
            done = await Transfer(target).take(contents(source, zone))
            return done, await _compare(source, target)
        finally:
            await source.aclose()

    done, rows = _guarded(_with_redis(settings, url), move)
    is_whole = all(row["there"][name] >= row["here"][name] for row in rows for name in COMPARED)
    if args.json:
        print_json({**asdict(done), "totals": rows, "whole": is_whole})
    else:
        _print_done(done)
        _print_totals(rows)
    if not is_whole:
        raise CliFailure("the target has less than the embedded store: see the totals", 1)
    return 0


def _with_redis(settings: Settings, url: str | None) -> Settings:
    return replace(settings, redis_url=url)


async def _compare(source: Store, target: Store) -> list[dict[str, Any]]:
    """Per team, both ledgers since `KEPT_MS` ago."""
    teams = await source.teams(deleted=True)
    from_ms = wall_clock_ms() - KEPT_MS
    ids = [team.id for team in teams]
    here, there = await asyncio.gather(totals(source, ids, COMPARED, from_ms), totals(target, ids, COMPARED, from_ms))
    return [
        {
            "team": team.name,
            "team_id": team.id,
            "here": dict(zip(COMPARED, here[team.id], strict=True)),
            "there": dict(zip(COMPARED, there[team.id], strict=True)),
        }
        for team in teams
    ]


def _guarded(settings: Settings, act: Callable[[Store], Awaitable[T]]) -> T:
    try:
        return with_store(settings, act)
    except TransferRefused as refused:
        raise CliFailure(str(refused), 1) from None


def _items(path: Path) -> Iterator[Item]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from items_of(file)
    except BadExport as bad:
        raise CliFailure(f"{path}:{bad.line}: {bad}") from None
    except UnicodeDecodeError:
        raise CliFailure(f"{path}: not an export of a gateway's store") from None
    except OSError as error:
        raise CliFailure(f"{path} cannot be read: {error.strerror}") from None


def _print_done(done: Transferred) -> None:
    rows = [
        ("teams", str(done.teams), str(done.known_teams)),
        ("keys", str(done.keys), str(done.known_keys)),
        ("entries", str(done.entries), str(done.known_entries)),
        ("audit", str(done.audit), "-"),
    ]
    print_table(("", "ADDED", "THERE ALREADY"), rows, right=("ADDED", "THERE ALREADY"))


def _print_totals(rows: list[dict[str, Any]]) -> None:
    header_row = ("TEAM", "REQUESTS", "COST USD", "PROVIDER COST USD", "IN THE TARGET")
    shown = []
    for row in rows:
        here, there = row["here"], row["there"]
        if here == there:
            word = "the same"
        else:
            word = f"{there['requests']} requests, USD {format_usd(there['charge_nano_usd'])}"
        amounts = (format_usd(here["charge_nano_usd"]), format_usd(here["provider_cost_nano_usd"]))
        shown.append((row["team"], str(here["requests"]), *amounts, word))
    print_table(header_row, shown, right=header_row[1:4])
