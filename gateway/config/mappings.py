"""mappings.yaml to a `Catalog`, or to every fault of the file at once, each with its line.

The environment and the adapters are handed in, so that a check, a start and a reload run the same code. The parts
of the table are read by their own modules; this one puts them together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.config import readers
from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import Fault, MappingFaults
from gateway.config.readers import Reader, read_section
from gateway.config.table_models import read_aliases, read_models
from gateway.config.table_providers import read_providers
from gateway.config.table_routing import read_routing, timezone
from gateway.config.yaml_tree import TABLE_BYTES_MAX, Node, Section, Unreadable, parse
from providers.base import Adapter

_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "version": readers.choice("1"),
    "providers": readers.raw,
    "models": readers.raw,
    "aliases": readers.raw,
    "routing": readers.raw,
    "timezone": timezone,
}


def load(path: Path, environ: Mapping[str, str], adapters: Mapping[str, Adapter]) -> Catalog:
    """The table in a file. Raises MappingFaults."""
    return read(read_table(path), str(path), environ, adapters)


def read_table(path: Path) -> bytes:
    """The bytes of a table, at most one more than is allowed. Raises MappingFaults where there is no such file."""
    try:
        with path.open("rb") as stream:
            return stream.read(TABLE_BYTES_MAX + 1)
    except FileNotFoundError:
        what = "there is no such file, expected a mapping table; `gateway init` writes the shipped one here"
        raise MappingFaults([Fault(str(path), 0, what)]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise MappingFaults([Fault(str(path), 0, f"cannot be read: {reason}")]) from error


def read(data: bytes, file: str, environ: Mapping[str, str], adapters: Mapping[str, Adapter]) -> Catalog:
    """The table in `data`; `file` is its name in faults. Raises MappingFaults.

    A provider whose key is unset is in `left_out` and its rows make no offers; that is no fault.
    """
    faults: list[Fault] = []

    def report(line: int, what: str) -> None:
        faults.append(Fault(file, line, what))

    try:
        root = parse(data, report)
    except Unreadable:
        raise MappingFaults(faults) from None
    if root is None:
        report(0, "the file is empty, expected a mapping table; `gateway init` writes the shipped one")
        raise MappingFaults(faults)
    fields = read_section(root, "", _KEYS, report)
    if not isinstance(root, Section):
        raise MappingFaults(faults)
    node: Mapping[str, Node] = fields
    providers = read_providers(node.get("providers"), environ, adapters, report)
    models = read_models(node.get("models"), providers, adapters, report)
    catalog = Catalog(
        providers=providers.entries,
        models=models,
        aliases=read_aliases(node.get("aliases"), _written(node.get("models")), report),
        routing=read_routing(node.get("routing"), providers.names, adapters, report),
        timezone=fields.get("timezone", "UTC"),
        generation=hashlib.sha256(data).hexdigest()[:16],
        left_out=providers.left_out,
    )
    if faults:
        raise MappingFaults(faults)
    return catalog


def _written(models: Node | None) -> frozenset[str]:
    """The ids as the table writes them, those of faulty models, too: one fault should not make another."""
    return frozenset(key.text for key, _ in models.items) if isinstance(models, Section) else frozenset()
