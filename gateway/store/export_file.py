"""A store's contents as JSON Lines, and back: one value a line, between a header and a line that counts them.

Keys stand in it as digests. A team's webhook secret does stand in it: without it no notice could be signed again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.journal.entries import NewerFormat, pack_closed, unpack_closed
from gateway.moments import format_moment
from gateway.store import documents
from gateway.store.base import AuditEntry
from gateway.store.contents import Item, JournalEntry, Journals
from gateway.tenants import Key, Team

FORMAT: Final = "gateway-store"
VERSION: Final = 1


class BadExport(Exception):
    """A file that is no whole export; `line` is where that was seen."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def header(kind: str, at_ms: int) -> str:
    """The first line. `kind` is the store that it was taken from."""
    return json.dumps({"format": FORMAT, "version": VERSION, "store": kind, "at": format_moment(at_ms)}) + "\n"


def line_of(item: Item) -> str:
    match item:
        case JournalEntry(instance, entry):
            return f'{{"entry":{pack_closed(entry).decode()},"journal":{json.dumps(instance)}}}\n'
        case Journals(team_id, instances):
            return json.dumps({"journals": instances, "team_id": team_id}) + "\n"
        case Team():
            return f'{{"team":{documents.write(item)}}}\n'
        case Key():
            return f'{{"key":{documents.write(item)}}}\n'
    return f'{{"audit":{documents.write(item)}}}\n'


def last_line(counts: Counter[str]) -> str:
    return json.dumps({"end": dict(counts)}) + "\n"


def kind_of(item: Item) -> str:
    """What a value is counted as."""
    return {Team: "teams", Key: "keys", Journals: "ledgers", JournalEntry: "entries", AuditEntry: "audit"}[type(item)]


def items_of(lines: Iterable[str]) -> Iterator[Item]:
    """The values of an export. Raises BadExport where it is none, is damaged, or ends too soon."""
    counts: Counter[str] = Counter()
    number = 0
    ended = False
    for number, line in enumerate(lines, 1):
        if ended:
            raise BadExport(number, "something follows the last line")
        value = _object(number, line)
        if number == 1:
            _check_header(value)
        elif "end" in value:
            if value["end"] != dict(counts):
                raise BadExport(number, f"the file holds {dict(counts)}, expected {value['end']}")
            ended = True
        else:
            item = _item(number, value)
            counts[kind_of(item)] += 1
            yield item
    if not ended:
        raise BadExport(number, "the file ends too soon")


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadExport(number, "not a line of an export")
    return value


def _check_header(value: dict[str, Any]) -> None:
    if value.get("format") != FORMAT:
        raise BadExport(1, "not an export of a gateway's store")
    if value.get("version") != VERSION:
        raise BadExport(1, f"written in format {value.get('version')!r}, this version reads {VERSION}")


def _item(number: int, value: dict[str, Any]) -> Item:
    try:
        match value:
            case {"team": document}:
                return documents.read_team(json.dumps(document))
            case {"key": document}:
                return documents.read_key(json.dumps(document))
            case {"audit": document}:
                return documents.read_audit(json.dumps(document))
            case {"journals": list(instances), "team_id": str(team_id)}:
                return Journals(team_id, tuple(instances))
            case {"entry": packed, "journal": str(instance)}:
                return JournalEntry(instance, unpack_closed(json.dumps(packed)))
    except NewerFormat as newer:
        raise BadExport(number, str(newer)) from None
    except (ValueError, TypeError, IndexError):
        # What is wrong inside may hold what must not be shown.
        raise BadExport(number, "a damaged value") from None
    raise BadExport(number, f"unknown value {', '.join(sorted(value))[:64]!r}")
