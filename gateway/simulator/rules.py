"""The grammar of the strictness table: what a row says, and which row a request breaks first.

Knows no provider; the rows are in `strictness.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ABSENT: Final = object()
"""Stands for a field that is not there; in a sample it takes the field out."""

Test = Callable[[Any, Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Refused:
    """A kind of value that is refused: in words, and as a test of (value, whole body)."""

    words: str
    test: Test


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: this provider answers `status` when `field` holds a value of this kind."""

    provider: str
    field: str
    """A top-level name; `messages[].name` and `tools[].name` look into every item, `messages[]` and
    `tools[]` at the item itself, `*` at every top-level name."""
    value: Refused
    status: int
    message: str
    """`{field}` and `{value}` are filled in."""
    facts: str
    """Section of the provider wire formats and what it says, with its mark: R recorded, S typed in the vendor's
    source, D documented, G inferred from a gateway, I reported, U unverified."""
    mark: str
    sample: Mapping[str, Any]
    """Top-level fields that, put over a good request, break this row."""
    code: str | int | None = None
    type: str = ""
    form: str = ""
    """Which of the provider's error shapes, where it has several."""
    switch: str = ""
    """With this switch set to `off` the row is not applied."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that a request breaks, with the place and value that do."""

    rule: Rule
    place: str
    value: Any

    @property
    def message(self) -> str:
        """The row's message with place and value."""
        return self.rule.message.replace("{field}", self.place).replace("{value}", str(self.value))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _simple(words: str, test: Callable[[Any], bool]) -> Refused:
    return Refused(words, lambda value, _body: value is not ABSENT and test(value))


MISSING: Final = Refused("missing", lambda value, _body: value is ABSENT)
PRESENT: Final = _simple("anything but null", lambda value: value is not None)
EVEN_NULL: Final = _simple("anything, null too", lambda _value: True)
NO_STOP: Final = _simple("neither string nor list", lambda value: not isinstance(value, str | list | None))
A_STRING: Final = _simple("a string", lambda value: isinstance(value, str))
A_BOOLEAN: Final = _simple("a boolean", lambda value: isinstance(value, bool))
AN_OBJECT: Final = _simple("an object", lambda value: isinstance(value, Mapping))
EMPTY_LIST: Final = _simple("an empty list", lambda value: value == [])
NOT_A_LIST: Final = _simple("no list", lambda value: not isinstance(value, list))
NOT_A_LIST_OR_NULL: Final = _simple("neither list nor null", lambda value: not isinstance(value, list | None))
NOT_A_NUMBER: Final = _simple("no number", lambda value: value is not None and not is_number(value))
NOT_AN_INTEGER: Final = _simple(
    "no integer", lambda value: value is not None and (isinstance(value, bool) or not isinstance(value, int))
)
NOT_A_BOOLEAN: Final = _simple("no boolean", lambda value: value is not None and not isinstance(value, bool))


def above(limit: float) -> Refused:
    """A number over the limit."""
    return _simple(f"above {limit}", lambda value: is_number(value) and value > limit)


def below(limit: float) -> Refused:
    """A number under the limit."""
    return _simple(f"below {limit}", lambda value: is_number(value) and value < limit)


def outside(low: float, high: float) -> Refused:
    """A number not between the two, both included."""
    return _simple(f"outside {low}..{high}", lambda value: is_number(value) and not low <= value <= high)


def not_between(low: float, high: float) -> Refused:
    """A number not strictly between the two."""
    return _simple(f"not over {low} and under {high}", lambda value: is_number(value) and not low < value < high)


def longer_than(limit: int) -> Refused:
    """A list or object of more entries than the limit."""
    return _simple(f"more than {limit}", lambda value: isinstance(value, list | Mapping) and len(value) > limit)


def other_than(*values: Any) -> Refused:
    """Anything that is neither null nor one of these."""
    listed = ", ".join(map(str, values))
    return _simple(f"other than {listed}", lambda value: value is not None and value not in values)


def beside(other: str) -> Refused:
    """The field together with another one."""
    return Refused(f"beside {other}", lambda value, body: value not in (ABSENT, None, []) and bool(body.get(other)))


def unknown_to(known: str) -> Refused:
    """For the field `*`: a name that is not one of these, which are parted by blanks."""
    names = frozenset(known.split())
    return Refused("a name the provider does not know", lambda name, _body: name not in names)


def when(words: str, test: Test) -> Refused:
    """A particular condition on a value that is there."""
    return Refused(words, lambda value, body: value is not ABSENT and test(value, body))


def _candidates(field: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(place, value) of everything a field path names in a body."""
    if field == "*":
        yield from ((name, name) for name in body)
        return
    outer, many, inner = field.partition("[]")
    if not many:
        yield field, body.get(field, ABSENT)
        return
    items = body.get(outer)
    for at, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, Mapping):
            continue
        if not inner:
            yield f"{outer}.{at}", item
        else:
            name = inner.removeprefix(".")
            yield f"{outer}.{at}.{name}", item.get(name, ABSENT)


def first_broken(rules: Iterable[Rule], body: Mapping[str, Any], switches: Mapping[str, str]) -> Broken | None:
    """The first row, in the order of the table, that a body breaks."""
    for rule in rules:
        if rule.switch and switches.get(rule.switch) == "off":
            continue
        for place, value in _candidates(rule.field, body):
            if rule.value.test(value, body):
                given = body.get(place) if rule.field == "*" else value
                return Broken(rule, place, given)
    return None
