"""One field of the mapping table: node to value, or a sentence that says what was expected.

Readers are small functions `(node, where) -> value` that raise `Wrong`; `read_section` applies a whole set of them
and reports every fault. They know YAML text and units, not what the table means.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from gateway.config.yaml_tree import Node, Report, Scalar, Section, Sequence
from gateway.money import parse_usd
from gateway.suggest import did_you_mean

T = TypeVar("T")
Reader = Callable[[Node, str], T]
"""`where` is the path of the field for messages, such as `routing.attempts`."""

MODEL_ID_BYTES_MAX: Final = 200
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}")
_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECONDS_MAX: Final = 86_400.0
_SHOWN_CHARS_MAX: Final = 60


class Wrong(Exception):
    """A value that cannot be used, with its line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


def show(text: str) -> str:
    """Text of the table for a message, cut where it is long."""
    return repr(text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…")


def is_model_id(text: str) -> bool:
    """Whether a Hub model id, alias included, may be called so: ASCII, up to three parts, no `..`."""
    return len(text) <= MODEL_ID_BYTES_MAX and ".." not in text and _MODEL_ID.fullmatch(text) is not None


def is_provider_name(text: str) -> bool:
    return _PROVIDER_NAME.fullmatch(text) is not None and ".." not in text


def as_section(node: Node, where: str) -> Section:
    """The node as a mapping; nothing at all is an empty one."""
    if isinstance(node, Section):
        return node
    if isinstance(node, Scalar) and node.is_nothing:
        return Section((), node.line)
    raise Wrong(node.line, f"{where} is {_kind(node)}, expected a mapping of names to values")


def _kind(node: Node) -> str:
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Section):
        return "a mapping"
    return "empty" if node.is_nothing else show(node.text)


def read_section(node: Node, where: str, readers: Mapping[str, Reader[Any]], report: Report) -> dict[str, Any]:
    """The values of a section by key, without those that are wrong or unknown, which are reported."""
    values: dict[str, Any] = {}
    try:
        section = as_section(node, where or "the table")
    except Wrong as wrong:
        report(wrong.line, wrong.what)
        return values
    for key, value in section.items:
        reader = readers.get(key.text)
        if reader is None:
            report(key.line, unknown_key(key.text, where, readers))
            continue
        try:
            values[key.text] = reader(value, f"{where}.{key.text}" if where else key.text)
        except Wrong as wrong:
            report(wrong.line, wrong.what)
    return values


def unknown_key(name: str, where: str, known: Iterable[str]) -> str:
    place = f" in {where}" if where else ""
    names = tuple(known)
    return hinted(f"unknown key {show(name)}{place}, expected one of {', '.join(names)}", name, names)


def hinted(sentence: str, name: str, known: Iterable[str]) -> str:
    """The sentence, followed by the nearest right name where there is one."""
    hint = did_you_mean(name, known, most=1)
    return f"{sentence}.{hint}" if hint else sentence


def lacks(node: Node, name: str) -> bool:
    """Whether a section was written without this key; False where it is no section, which was reported."""
    if isinstance(node, Section):
        return all(key.text != name for key, _ in node.items)
    return isinstance(node, Scalar) and node.is_nothing


def _scalar(node: Node, where: str, expected: str) -> Scalar:
    if not isinstance(node, Scalar) or node.is_nothing:
        raise Wrong(node.line, f"{where} is {_kind(node)}, expected {expected}")
    return node


def raw(node: Node, where: str) -> Node:
    """The node itself, for a part that is read later."""
    return node


def text(expected: str, chars_max: int = 1000) -> Reader[str]:
    """Printable text of at most `chars_max` characters."""

    def read(node: Node, where: str) -> str:
        scalar = _scalar(node, where, expected)
        if "${" in scalar.text:
            raise Wrong(scalar.line, f"{where} names a variable, expected {expected}; only apiKey and baseUrl may")
        if not scalar.text.strip() or len(scalar.text) > chars_max or not scalar.text.isprintable():
            raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected {expected}")
        return scalar.text

    return read


def text_list(expected: str) -> Reader[tuple[Scalar, ...]]:
    """A list of texts, each with its line."""

    def read(node: Node, where: str) -> tuple[Scalar, ...]:
        if not isinstance(node, Sequence):
            raise Wrong(node.line, f"{where} is {_kind(node)}, expected a list of {expected}, such as [a, b]")
        return tuple(_scalar(item, where, expected) for item in node.items)

    return read


def boolean(node: Node, where: str) -> bool:
    scalar = _scalar(node, where, "true or false")
    if scalar.quoted or scalar.text.lower() not in ("true", "false"):
        raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected true or false")
    return scalar.text.lower() == "true"


def integer(low: int, high: int) -> Reader[int]:
    expected = f"an integer from {low} to {high}"

    def read(node: Node, where: str) -> int:
        scalar = _scalar(node, where, expected)
        if scalar.quoted or not re.fullmatch(r"[0-9]{1,12}", scalar.text) or not low <= int(scalar.text) <= high:
            raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected {expected}")
        return int(scalar.text)

    return read


def seconds(*, zero: bool = False) -> Reader[float]:
    expected = f"a number of seconds {'from' if zero else 'above'} 0{'' if zero else ' and'} up to {_SECONDS_MAX:g}"

    def read(node: Node, where: str) -> float:
        scalar = _scalar(node, where, expected)
        good = not scalar.quoted and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", scalar.text)
        if not good or float(scalar.text) > _SECONDS_MAX or (float(scalar.text) == 0 and not zero):
            raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected {expected}")
        return float(scalar.text)

    return read


def choice(*names: str) -> Reader[str]:
    expected = f"one of {', '.join(names)}"

    def read(node: Node, where: str) -> str:
        scalar = _scalar(node, where, expected)
        if scalar.text not in names:
            what = f"{where} is {show(scalar.text)}, expected {expected}"
            raise Wrong(scalar.line, hinted(what, scalar.text, names))
        return scalar.text

    return read


def usd(node: Node, where: str) -> int:
    """Nano-USD from the text that was written: `"0.59"` or `0.59`, never through a float."""
    expected = 'an amount in USD such as "0.59" (at most nine decimals)'
    scalar = _scalar(node, where, expected)
    try:
        return parse_usd(scalar.text)
    except ValueError:
        raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected {expected}") from None


def day(node: Node, where: str) -> str:
    """An ISO day, as text."""
    expected = "a day such as 2026-11-01"
    scalar = _scalar(node, where, expected)
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", scalar.text):
            raise ValueError
        datetime.date.fromisoformat(scalar.text)
    except ValueError:
        raise Wrong(scalar.line, f"{where} is {show(scalar.text)}, expected {expected}") from None
    return scalar.text


def base_url(address: str, line: int, where: str) -> str:
    """A URL to which routes are appended, without a slash at its end. The message never repeats the URL."""
    expected = "expected http://, https:// or http+unix:// and a host, without user, query or fragment"
    try:
        parts = urlsplit(address)
        odd = parts.username is not None or parts.port == 0 or "?" in address or "#" in address or "\\" in address
    except ValueError:
        raise Wrong(line, f"{where} is not a URL, {expected}") from None
    if parts.scheme not in ("http", "https", "http+unix") or not parts.hostname or odd:
        raise Wrong(line, f"{where} cannot be used as a base URL, {expected}")
    if not re.fullmatch(r"[!-~]+", address):
        raise Wrong(line, f"{where} holds blanks or characters outside ASCII, {expected}")
    return address.rstrip("/")
