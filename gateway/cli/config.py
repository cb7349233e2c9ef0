"""`gateway check` and `gateway init`: is the configuration right, and a first one to begin with."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import gateway
from gateway.cli.failure import CliFailure
from gateway.config import settings as environment
from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load
from gateway.config.settings import Settings, SettingsFaults
from providers.registry import ADAPTERS

TABLE_NAME: Final = "mappings.yaml"
ENV_NAME: Final = ".env.example"


def add_parser(subparsers: Any) -> None:
    """Adds `check` and `init`."""
    check = subparsers.add_parser("check", help="check the configuration without starting")
    add_mappings_option(check)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run_check)
    init = subparsers.add_parser("init", help=f"write {TABLE_NAME} and {ENV_NAME} into this folder")
    init.add_argument("--force", action="store_true", help="overwrite files that are there")
    init.add_argument("--json", action="store_true", help="print JSON")
    init.set_defaults(run=run_init)


def add_mappings_option(parser: argparse.ArgumentParser) -> None:
    """`--mappings FILE`, for every command that reads the table."""
    parser.add_argument("--mappings", metavar="FILE", help="the mapping table (default: what the environment names)")


def read_settings(**flags: str | None) -> Settings:
    """Settings of this process; `flags` win over the environment. Raises CliFailure with every fault."""
    try:
        return environment.from_environ(os.environ, flags)
    except SettingsFaults as faults:
        raise CliFailure(str(faults)) from faults


def read_catalog(path: Path) -> Catalog:
    """The catalog of a table with this environment's keys. Raises CliFailure with every fault."""
    try:
        return load(path, os.environ, ADAPTERS)
    except MappingFaults as faults:
        raise CliFailure(str(faults)) from faults


def run_check(args: argparse.Namespace) -> int:
    """Exit 0 where all is well, 2 with one line per fault on stderr."""
    settings = Settings()
    faults: list[dict[str, Any]] = []
    try:
        settings = environment.from_environ(os.environ, {"mappings": args.mappings})
    except SettingsFaults as wrong:
        faults = [{"file": None, "line": None, "what": what} for what in wrong.faults]
        print(wrong, file=sys.stderr)
    table = Path(args.mappings) if args.mappings else settings.mappings
    catalog = None
    try:
        catalog = load(table, os.environ, ADAPTERS)
    except MappingFaults as wrong:
        faults += [{"file": fault.file, "line": fault.line or None, "what": fault.what} for fault in wrong.faults]
        print(wrong, file=sys.stderr)
    if faults or catalog is None:
        if args.json:
            print(json.dumps({"ok": False, "faults": faults}))
        return 2
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    _print_summary(catalog, table, settings, as_json=args.json)
    return 0


def _print_summary(catalog: Catalog, table: Path, settings: Settings, *, as_json: bool) -> None:
    served = sum(1 for model in catalog.models.values() if model.offers)
    offers = sum(len(model.offers) for model in catalog.models.values())
    if as_json:
        summary = {
            "ok": True,
            "file": str(table),
            "models": served,
            "offers": offers,
            "providers": list(catalog.providers),
            "left_out": dict(catalog.left_out),
            "warnings": list(settings.warnings),
        }
        print(json.dumps(summary))
        return
    print(f"{table}: {served} models, {offers} offers, {len(catalog.providers)} providers, no faults")
    for name, reason in catalog.left_out.items():
        print(f"left out: {name} ({reason})")


def run_init(args: argparse.Namespace) -> int:
    """Writes both files into the working folder, or neither."""
    table = shipped_table()
    contents = {TABLE_NAME: table, ENV_NAME: env_example(table)}
    there = [name for name in contents if Path(name).exists()]
    if there and not args.force:
        raise CliFailure(f"{' and '.join(there)} exist here already; --force overwrites")
    for name, text in contents.items():
        try:
            Path(name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CliFailure(f"{name} cannot be written: {error.strerror}", exit_code=1) from error
    if args.json:
        print(json.dumps({"written": list(contents)}))
    else:
        print(f"Wrote {TABLE_NAME} and {ENV_NAME}. Set the keys you have, then: gateway check && gateway serve")
    return 0


def shipped_table() -> str:
    """The table that came with this installation: inside the package, or beside it in a checkout."""
    packaged = resources.files(gateway) / TABLE_NAME
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    beside = Path(gateway.__file__).parent.parent / TABLE_NAME
    try:
        return beside.read_text(encoding="utf-8")
    except OSError as error:
        raise CliFailure(f"this installation carries no {TABLE_NAME}: {error.strerror}", exit_code=1) from error


def env_example(table: str) -> str:
    """Every provider key that a table names and every setting, with its meaning."""
    return "\n".join(_env_lines(table)) + "\n"


def _env_lines(table: str) -> Iterator[str]:
    yield "# Any value can come from a file instead: NAME_FILE=/run/secrets/name. What is empty counts as unset."
    yield ""
    yield "# Keys of the providers; one without its key is left out."
    for name in dict.fromkeys(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", table)):
        yield f"{name}="
    for name, meaning, default in environment.table():
        yield ""
        yield f"# {meaning}"
        unset = default.startswith("unset")
        if unset:
            yield f"# ({default})"
        yield f"# {name}={'' if unset else default.split()[0]}"
