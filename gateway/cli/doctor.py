"""`gateway doctor`: is this installation fit to hold money, a line a check, each with what to do."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.administration import wall_clock_ms
from gateway.cli.config import add_mappings_option, read_settings
from gateway.cli.output import print_json
from gateway.cli.storage import JOURNAL_FOLDER
from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.config.settings import Settings
from gateway.doctor import (
    FAIL,
    OK,
    WARN,
    Finding,
    check_mappings,
    check_redis,
    check_settings,
    check_space,
    check_sync,
    check_unshipped,
)
from gateway.from_settings import store_of
from gateway.journal.entries import NewerFormat
from gateway.journal.filesystems import NetworkFileSystem, refuse_network
from gateway.journal.probe import probe_sync
from gateway.ledger_period import unshipped_entries
from gateway.store.base import Store, StoreAway, StoreUnfit
from gateway.store.redis.inspection import inspect
from providers.registry import ADAPTERS

SETTLED_MS: Final = 60_000
"""A running worker ships within a second; what is older waits for something."""


def add_parser(subparsers: Any) -> None:
    """Adds `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="is this installation fit: store, journal, provider keys, prices; and what to do",
        description="One line a check: ok, warn or fail, and what to do. Exit code 1 where anything fails.",
    )
    add_mappings_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = read_settings(mappings=args.mappings)
    catalog = _catalog(settings)
    findings = [
        *check_settings(settings),
        *_journal(settings),
        *asyncio.run(_store(settings)),
        *check_mappings(catalog, str(settings.mappings), _today(catalog)),
    ]
    is_fit = all(finding.level != FAIL for finding in findings)
    if args.json:
        print_json({"ok": is_fit, "checks": [finding.as_json() for finding in findings]})
    else:
        _print(findings)
    return 0 if is_fit else 1


def _catalog(settings: Settings) -> Catalog | MappingFaults:
    try:
        return load(settings.mappings, os.environ, ADAPTERS)
    except MappingFaults as faults:
        return faults


def _today(catalog: Catalog | MappingFaults) -> str:
    zone = "UTC" if isinstance(catalog, MappingFaults) else catalog.timezone
    return datetime.now(ZoneInfo(zone)).date().isoformat()


def _journal(settings: Settings) -> Iterator[Finding]:
    """The folder is made where it is missing, as the gateway would."""
    folder = settings.state_dir / JOURNAL_FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network(folder)
        took_s = probe_sync(folder)
        yield Finding("journal folder", OK, str(folder))
        yield check_sync(took_s)
        yield check_space(shutil.disk_usage(folder).free)
    except NetworkFileSystem as error:
        yield Finding("journal folder", FAIL, str(error))
    except OSError as error:
        said = f"{folder} cannot be written: {error.strerror or error}"
        yield Finding("journal folder", FAIL, said, "set GATEWAY_STATE_DIR to a folder of this user")


async def _store(settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    if settings.redis_url is not None:
        try:
            facts = await inspect(settings.redis_url, settings.redis_mode, settings.redis_prefix)
        except StoreAway as away:
            return [Finding("store", FAIL, away.reason, "look at REDIS_URL, GATEWAY_REDIS_MODE and the network")]
        findings += check_redis(facts, settings)
    try:
        store = await store_of(settings)
    except StoreUnfit as unfit:
        return [Finding("store", FAIL, str(unfit)), *findings]
    except OSError as error:
        return [Finding("store", FAIL, f"{settings.state_dir}: {error.strerror or error}"), *findings]
    try:
        return [*await _ledger(store, settings), *findings]
    except StoreAway as away:
        return [Finding("store", FAIL, away.reason), *findings]
    finally:
        await store.aclose()


async def _ledger(store: Store, settings: Settings) -> list[Finding]:
    await store.ping()
    teams = await store.teams(deleted=True)
    found = [Finding("store", OK, f"{store.kind}, {len(teams)} teams")]
    if store.kind == "sqlite":
        found[0] = Finding("store", OK, f"the embedded one, {len(teams)} teams; it serves this host alone")
    try:
        waiting = await unshipped_entries(settings.state_dir / JOURNAL_FOLDER, store, [team.id for team in teams])
    except (NewerFormat, OSError) as error:
        return [*found, Finding("unshipped usage", WARN, f"a journal cannot be read: {error}")]
    old = sum(entry.at_ms + entry.duration_ms < wall_clock_ms() - SETTLED_MS for entry in waiting)
    return [*found, check_unshipped(len(waiting), old)]


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        advice = f"; {finding.advice}" if finding.advice else ""
        print(f"{finding.level:<4}  {finding.check:<{width}}  {finding.said}{advice}")
