"""`gateway mappings import` and `sync`: what others say about who serves what, as a diff of the table.

Nothing is written without `--write`, and nothing that the loader would refuse.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gateway.cli.config import add_mappings_option, read_catalog, read_settings
from gateway.cli.failure import CliFailure
from gateway.config.catalog import Catalog
from gateway.config.hub_rows import HubRow, NoRows, combined, rows_in_text, rows_of
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mapping_merge import Merge, merge
from gateway.config.mappings import read, read_table
from gateway.upstream.fetch import FetchFailed, fetch_json, fetch_pages
from providers.registry import ADAPTERS

HUB: Final = "https://huggingface.co"
ROUTER: Final = "https://router.huggingface.co"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024


def add_parser(subparsers: Any) -> None:
    """Adds `mappings` with `import` and `sync`."""
    mappings = subparsers.add_parser("mappings", help="refresh the mapping table from elsewhere")
    commands = mappings.add_subparsers(metavar="COMMAND", required=True)
    taken = commands.add_parser(
        "import", help="from a file: a providersMapping as the docs print it, or a Hub API answer"
    )
    taken.add_argument("file", metavar="FILE", help="the file; - reads standard input")
    taken.set_defaults(run=run_import)
    sync = commands.add_parser("sync", help="from the Hub API and the router's model list")
    sync.add_argument(
        "--from", dest="source", metavar="URL", help="a Hub, a gateway, or one document (default: HF_ENDPOINT)"
    )
    sync.set_defaults(run=run_sync)
    for parser in (taken, sync):
        add_mappings_option(parser)
        parser.add_argument("--known", action="store_true", help="add no model that the table does not have")
        parser.add_argument("--write", action="store_true", help="write the changes into the table")
        parser.add_argument("--json", action="store_true", help="print JSON")


def run_import(args: argparse.Namespace) -> int:
    table, _ = _table(args)
    try:
        rows = rows_in_text(_input(args.file))
    except NoRows as reason:
        raise CliFailure(f"{args.file}: {reason}") from reason
    return _merge(args, table, rows)


def run_sync(args: argparse.Namespace) -> int:
    table, catalog = _table(args)
    source = (args.source or read_settings().hf_endpoint).rstrip("/")
    if urlsplit(source).scheme not in ("http", "https"):
        raise CliFailure(f"{source} is not a URL to ask, expected http:// or https://")
    try:
        rows = _rows_from(source, catalog)
    except (FetchFailed, NoRows) as reason:
        raise CliFailure(str(reason), exit_code=1) from reason
    return _merge(args, table, rows)


def _table(args: argparse.Namespace) -> tuple[Path, Catalog]:
    table = read_settings(mappings=args.mappings).mappings
    return table, read_catalog(table)


def _input(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read(FILE_BYTES_MAX)
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(FILE_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CliFailure(f"{file} cannot be read: {reason}") from error


def _rows_from(source: str, catalog: Catalog) -> list[HubRow]:
    """A document where the URL has a path, else a Hub's list of chat models and a router's list of figures."""
    if urlsplit(source).path.strip("/"):
        return rows_of(fetch_json(source))
    providers = quote(",".join(sorted({*catalog.providers, *catalog.left_out})), safe=",")
    query = f"inference_provider={providers}&filter=conversational&expand[]=inferenceProviderMapping&limit=1000"
    rows = rows_of(list(fetch_pages(f"{source}/api/models?{query}")))
    try:
        figures = rows_of(fetch_json(f"{ROUTER if source == HUB else source}/v1/models"))
    except (FetchFailed, NoRows) as reason:
        # Names and status are worth having without prices and context lengths.
        sys.stderr.write(f"no prices and context lengths: {reason}\n")
        return rows
    return combined([*rows, *figures])


def _merge(args: argparse.Namespace, table: Path, rows: list[HubRow]) -> int:
    old = read_table(table).decode("utf-8-sig")
    merged = merge(old, rows, known_models_only=args.known)
    try:
        read(merged.text.encode(), str(table), os.environ, ADAPTERS)
    except MappingFaults as faults:
        raise CliFailure(f"the changed table would have faults, nothing is written:\n{faults}", exit_code=1) from faults
    written = args.write and merged.text != old
    if written:
        _replace(table, merged.text)
    _print(args, table, merged, written=written)
    return 0


def _replace(table: Path, text: str) -> None:
    """The whole new table or the whole old one: a running gateway may read it at any moment."""
    beside = table.with_name(f".{table.name}.new")
    try:
        beside.write_bytes(text.encode())
        shutil.copymode(table, beside)
        beside.replace(table)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CliFailure(f"{table} cannot be written: {error.strerror}", exit_code=1) from error


def _print(args: argparse.Namespace, table: Path, merged: Merge, *, written: bool) -> None:
    if args.json:
        changes = [dataclasses.asdict(change) for change in merged.changes]
        print(json.dumps({"file": str(table), "written": written, "changes": changes}))
        return
    for change in merged.changes:
        print(change)
    counts = [sum(1 for change in merged.changes if change.kind == kind) for kind in ("add", "change")]
    said = f"{counts[0]} to add, {counts[1]} to change" if not written else f"{counts[0]} added, {counts[1]} changed"
    hint = "" if written or not any(counts) else f"; --write changes {table}"
    print(f"{table}: {said}{hint}")
