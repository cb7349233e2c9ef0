"""Rows from elsewhere into the text of a mapping table: what would change, and the changed text. Pure.

Works on the text, so that comments, order and spelling stay as their owner wrote them. Adds and changes, never
removes: a row that the source no longer lists is named and left to a person.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.config import readers
from gateway.config.hub_rows import HubRow
from gateway.config.table_models import TASKS
from gateway.config.yaml_tree import Node, Scalar, Section, parse
from gateway.money import parse_usd

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/@+-]*")
_NOT_PLAIN: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the diff. `kind` is `add`, `change`, `gone` (listed here, not there) or `skip`."""

    kind: str
    hub_model: str
    provider: str
    what: str

    def __str__(self) -> str:
        sign = {"add": "+", "change": "~", "gone": "?", "skip": "!"}[self.kind]
        return f"{sign} {' '.join(part for part in (self.hub_model, self.provider) if part)}: {self.what}"


@dataclass(frozen=True, slots=True)
class Merge:
    changes: tuple[Change, ...]
    text: str
    """The table with all changes made; equal to the old text where there is nothing to add or change."""


def merge(text: str, rows: Sequence[HubRow], *, known_models_only: bool = False) -> Merge:
    """`text` is a table without faults. Rows of providers that it does not declare are skipped, and counted."""
    merging = _Merging(text)
    usable = list(merging.usable(rows, known_models_only=known_models_only))
    new: list[HubRow] = []
    for row in usable:
        known = merging.rows.get((row.hub_model, row.provider))
        if known is not None:
            merging.update(row, known)
        elif row.provider_model is not None:
            new.append(row)
    merging.name_the_gone(rows)
    merging.add_rows(new)
    return Merge(tuple(merging.changes), merging.edited())


@dataclass(slots=True)
class _Merging:
    """One merge under way: the tree of the old text, and the edits so far as (start, end, new text)."""

    text: str
    models: Section = field(init=False)
    declared: set[str] = field(init=False)
    mappings: dict[str, Section] = field(default_factory=dict)
    rows: dict[tuple[str, str], Section] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    edits: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        root = parse(self.text.encode(), lambda line, what: None)
        self.models = _child(root, "models") or Section((), 0)
        providers = _child(root, "providers")
        self.declared = {key.text for key, _ in providers.items} if providers is not None else set()
        for model, node in self.models.items:
            mapping = _child(node, "providersMapping")
            if mapping is None:
                continue
            self.mappings[model.text] = mapping
            for provider, row in mapping.items:
                if isinstance(row, Section):
                    self.rows[model.text, provider.text] = row

    def usable(self, rows: Sequence[HubRow], *, known_models_only: bool) -> Iterator[HubRow]:
        """The rows that this table can hold; the others are counted by provider and reason."""
        skipped: Counter[tuple[str, str]] = Counter()
        for row in rows:
            reason = self._refusal(row)
            if reason is not None:
                skipped[row.provider, reason] += 1
            elif not known_models_only or row.hub_model in self.mappings:
                yield row
        for (provider, reason), count in sorted(skipped.items()):
            counted = f"{count} row{'s' if count > 1 else ''} skipped, {reason}"
            self.changes.append(Change("skip", "", readers.show(provider)[1:-1], counted))

    def _refusal(self, row: HubRow) -> str | None:
        if row.provider not in self.declared:
            return "not declared under providers:"
        if not readers.is_model_id(row.hub_model):
            return "not a Hub model id"
        if row.task is not None and row.task not in TASKS:
            return f"the task {row.task} is not served here"
        if row.status not in (None, "live", "staging"):
            return f"its status is {row.status}"
        return None

    def update(self, row: HubRow, section: Section) -> None:
        """What the source says otherwise about a row that is here."""
        self._set(row, section, "providerModelId", row.provider_model)
        self._set(row, section, "status", row.status, default="live")
        if row.context_length is not None:
            self._set(row, section, "contextLength", str(row.context_length))
        self._update_price(row, section)
        flags = {"tools": row.tools, "structuredOutput": row.structured_output}
        said = {name: "true" if flag else "false" for name, flag in flags.items() if flag is not None}
        supports = _child(section, "supports")
        if supports is not None:
            for name, flag in said.items():
                self._set(row, supports, name, flag, prefix="supports.")
        elif said:
            self._append(row, section, "supports", _flow(said))

    def _update_price(self, row: HubRow, section: Section) -> None:
        if row.input_usd is None or row.output_usd is None:
            return
        node = _value(section, "pricing")
        if node is None:
            self._append(row, section, "pricing", _price(row))
        elif isinstance(node, Section):
            self._set(row, node, "input", row.input_usd, prefix="pricing.", price=True)
            self._set(row, node, "output", row.output_usd, prefix="pricing.", price=True)
        else:
            what = f"its dated prices stay; the source says {_price(row)}"
            self.changes.append(Change("skip", row.hub_model, row.provider, what))

    def _set(
        self,
        row: HubRow,
        section: Section,
        name: str,
        new: str | None,
        *,
        default: str | None = None,
        prefix: str = "",
        price: bool = False,
    ) -> None:
        node = _value(section, name)
        old = node.text if isinstance(node, Scalar) else default
        if new is None or new == old or (price and old is not None and parse_usd(old) == parse_usd(new)):
            return
        written = json.dumps(new) if price else _scalar(new)
        if isinstance(node, Scalar):
            self.edits.append((node.start, node.end, written))
            self.changes.append(Change("change", row.hub_model, row.provider, f"{prefix}{name}: {old} -> {new}"))
        else:
            self._append(row, section, name, written, prefix=prefix)

    def _append(self, row: HubRow, section: Section, name: str, written: str, *, prefix: str = "") -> None:
        self._insert(section, [f"{name}: {written}"], f"{name}: {written}")
        self.changes.append(Change("change", row.hub_model, row.provider, f"{prefix}{name}: not said -> {written}"))

    def name_the_gone(self, rows: Sequence[HubRow]) -> None:
        """Rows of this table that a source which knows the whole of their model does not have."""
        listed = {(row.hub_model, row.provider) for row in rows}
        whole = {row.hub_model for row in rows if row.from_hub}
        served = {row.provider for row in rows}
        for hub_model, provider in self.rows:
            if hub_model in whole and provider in served and (hub_model, provider) not in listed:
                self.changes.append(Change("gone", hub_model, provider, "the source no longer lists it; left as it is"))

    def add_rows(self, rows: Sequence[HubRow]) -> None:
        """New rows stand behind those of their model, new models behind all others."""
        by_model: dict[str, list[HubRow]] = {}
        for row in rows:
            by_model.setdefault(row.hub_model, []).append(row)
            self.changes.append(Change("add", row.hub_model, row.provider, row.provider_model or ""))
        for hub_model in sorted(by_model, key=lambda name: name not in self.mappings):
            added = by_model[hub_model]
            flows = ", ".join(f"{row.provider}: {_flow(_fields(row))}" for row in added)
            lines = [line for row in added for line in _block(row)]
            if hub_model in self.mappings:
                self._insert(self.mappings[hub_model], lines, flows)
            else:
                name = _scalar(hub_model)
                block = ["", f"{name}:", "  providersMapping:", *(f"    {line}" for line in lines)]
                self._insert(self.models, block, f"{name}: {{providersMapping: {{{flows}}}}}")

    def _insert(self, section: Section, block: list[str], flow: str) -> None:
        """At the end of a section, in the style in which it is written."""
        if section.flow:
            if section.items:
                at = section.items[-1][1].end
                self.edits.append((at, at, f", {flow}"))
            else:
                self.edits.append((section.start + 1, section.start + 1, flow))
            return
        indent = section.start - (self.text.rfind("\n", 0, section.start) + 1)
        written = self.text[: section.end].rstrip()
        end = self.text.find("\n", len(written))
        at = len(self.text) if end < 0 else end
        if at and self.text[at - 1] == "\r":
            at -= 1
        self.edits.append((at, at, "".join(f"\n{' ' * indent}{line}" if line else "\n" for line in block)))

    def edited(self) -> str:
        pieces: list[str] = []
        done = 0
        for start, end, new in sorted(self.edits, key=lambda edit: edit[0]):
            pieces += (self.text[done:start], new)
            done = end
        return "".join((*pieces, self.text[done:]))


def _value(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, Section):
        return None
    return next((value for key, value in node.items if key.text == name), None)


def _child(node: Node | None, name: str) -> Section | None:
    value = _value(node, name)
    return value if isinstance(value, Section) else None


def _scalar(text: str) -> str:
    """Text as YAML, in quotes unless it is plainly a word. (A JSON string is a YAML one, but for surrogate escapes.)"""
    if text.isdigit() or text in ("true", "false"):
        return text
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN else json.dumps(text, ensure_ascii=False)


def _price(row: HubRow) -> str:
    return f'{{input: "{row.input_usd}", output: "{row.output_usd}"}}'


def _flow(values: dict[str, str]) -> str:
    return f"{{{', '.join(f'{name}: {value}' for name, value in values.items())}}}"


def _fields(row: HubRow) -> dict[str, str]:
    """The keys of a new row with their values as YAML."""
    found = {"providerModelId": _scalar(row.provider_model or ""), "task": row.task or "conversational"}
    if row.status == "staging":
        found["status"] = "staging"
    if row.context_length is not None:
        found["contextLength"] = str(row.context_length)
    if row.input_usd is not None and row.output_usd is not None:
        found["pricing"] = _price(row)
    flags = {"tools": row.tools, "structuredOutput": row.structured_output}
    supports = {name: "true" if flag else "false" for name, flag in flags.items() if flag is not None}
    if supports:
        found["supports"] = _flow(supports)
    return found


def _block(row: HubRow) -> list[str]:
    return [f"{row.provider}:", *(f"  {name}: {value}" for name, value in _fields(row).items())]
