"""YAML text to a plain tree in which every key and value knows its line.

Values stay text: what is a number or a price is for the reader of the table to say, from the text that was
written and never through a float. Refuses what a table has no use for and an attacker would: anchors, aliases,
tags, several documents, deep nesting, duplicate keys, files above 8 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

TABLE_BYTES_MAX: Final = 8 * 1024 * 1024
DEPTH_MAX: Final = 32

Report = Callable[[int, str], None]
"""Takes a line, counted from 1 (0: the file itself), and what is wrong there."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NO_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text as it was written, without its quotes. `start` and `end` are offsets of what was written."""

    text: str
    line: int
    quoted: bool
    start: int = 0
    end: int = 0

    @property
    def is_nothing(self) -> bool:
        """An empty value, `~` or `null`."""
        return not self.quoted and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    line: int
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """A YAML mapping. Keys are unique. `flow`: written in braces; otherwise it ends where its last value does."""

    items: tuple[tuple[Scalar, Node], ...]
    line: int
    flow: bool = False
    start: int = 0
    end: int = 0


Node = Scalar | Sequence | Section


class Unreadable(Exception):
    """The text cannot be read to its end; why was reported."""


def parse(data: bytes, report: Report) -> Node | None:
    """The tree of one document, or None for an empty one.

    Reports what is wrong and reads on where that makes sense; raises Unreadable where it does not.
    """
    text = _decode(data, report)
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER), report).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        report(mark.line + 1 if mark else 0, f"not valid YAML: {said}")
        raise Unreadable from error
    except yaml.YAMLError as error:
        report(0, f"not valid YAML: {error}")
        raise Unreadable from error


def _decode(data: bytes, report: Report) -> str:
    if len(data) > TABLE_BYTES_MAX:
        report(0, f"the file has more than {TABLE_BYTES_MAX // 1024 // 1024} MiB, expected a mapping table")
        raise Unreadable
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report(
            data.count(b"\n", 0, error.start) + 1, f"byte 0x{data[error.start]:02x} is not UTF-8, expected UTF-8 text"
        )
        raise Unreadable from error
    if odd := _NO_YAML.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        report(line, f"the character U+{ord(odd[0]):04X} is not allowed in YAML, expected printable text")
        raise Unreadable
    return text


class _Builder:
    """Events to a tree. Built from events and not from PyYAML's composed nodes, so that aliases are seen."""

    def __init__(self, events: Iterator[Any], report: Report) -> None:
        self._events = events
        self._report = report
        self._closed_at = 0

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "a second document begins here, expected one")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, 0)
        if isinstance(root, Scalar) and root.is_nothing:
            return None
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > DEPTH_MAX:
            self._stop(event, f"nested more than {DEPTH_MAX} levels deep")
        if isinstance(event, yaml.AliasEvent):
            self._stop(event, f"the alias *{event.anchor} is not taken here, expected the value itself")
        if event.anchor is not None:
            self._report(line, f"the anchor &{event.anchor} is not taken here, expected the value alone")
        if event.tag is not None:
            self._report(line, f"the tag {event.tag!r} is not taken here, expected the value alone")
        start = event.start_mark.index
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, line, event.style in ("'", '"', "|", ">"), start, _offset(event.end_mark))
        if isinstance(event, yaml.SequenceStartEvent):
            items = tuple(self._sequence(depth))
            return Sequence(items, line, start, self._closed_at if event.flow_style or not items else items[-1].end)
        pairs = tuple(self._section(depth))
        end = self._closed_at if event.flow_style or not pairs else pairs[-1][1].end
        return Section(pairs, line, event.flow_style, start, end)

    def _sequence(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)
        self._closed_at = _offset(event.end_mark)

    def _section(self, depth: int) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                self._report(key.line, "a list or mapping is used as a key, expected a name")
            elif key.text in seen:
                self._report(key.line, f"{key.text!r} is here twice, expected once (first in line {seen[key.text]})")
            else:
                seen[key.text] = key.line
                yield key, value
        self._closed_at = _offset(event.end_mark)

    def _stop(self, event: Any, what: str) -> None:
        self._report(event.start_mark.line + 1, what)
        raise Unreadable


def _offset(mark: Any) -> int:
    """Where a mark stands, in characters from the beginning of the text."""
    index: int = mark.index
    return index
