"""A string that matches a simple regular expression: literals, classes, groups, alternatives, repeats.

Look-around and conditions are not followed; back-references are.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

# The parser of `re` has no public name; read through importlib as it has no types either.
_PARSER: Final[Any] = importlib.import_module("re._parser")
_FIRST_TRIED: Final = "a1A _-"
_CATEGORIES: Final = {
    "CATEGORY_DIGIT": "1",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_WORD": "a",
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "a",
}


def matching(pattern: str) -> str:
    """A short string that `pattern` matches. Raises ValueError when the pattern is not understood."""
    try:
        return _sequence(_PARSER.parse(pattern), {})
    except (re.error, KeyError) as err:
        raise ValueError(f"cannot make a match of {pattern!r}: {err}") from None


def _sequence(parts: Any, groups: dict[int, str]) -> str:
    return "".join(_part(str(kind), argument, groups) for kind, argument in parts)


def _part(kind: str, argument: Any, groups: dict[int, str]) -> str:
    if kind == "LITERAL":
        return chr(argument)
    if kind == "NOT_LITERAL":
        return next(c for c in _FIRST_TRIED if ord(c) != argument)
    if kind == "ANY":
        return "a"
    if kind == "IN":
        return _one_of(argument)
    if kind == "CATEGORY":
        return _CATEGORIES[str(argument)]
    if kind == "BRANCH":
        return _sequence(argument[1][0], groups)
    if kind == "SUBPATTERN":
        groups[argument[0]] = _sequence(argument[3], groups)
        return groups[argument[0]]
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = argument
        return _sequence(inner, groups) * max(int(least), min(int(most), 1))
    if kind == "GROUPREF":
        return groups[argument]
    if kind == "AT":
        return ""
    raise ValueError(f"{kind} is not understood")


def _one_of(choices: Any) -> str:
    kinds = [(str(kind), argument) for kind, argument in choices]
    if kinds[0][0] == "NEGATE":
        shut = re.compile("[" + "".join(_class_text(kind, argument) for kind, argument in kinds[1:]) + "]")
        return next(c for c in _FIRST_TRIED + "#~é" if not shut.match(c))
    kind, argument = kinds[0]
    return chr(argument[0]) if kind == "RANGE" else _part(kind, argument, {})


def _class_text(kind: str, argument: Any) -> str:
    if kind == "RANGE":
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    if kind == "CATEGORY":
        return {"DIGIT": r"\d", "WORD": r"\w", "SPACE": r"\s"}[str(argument).removeprefix("CATEGORY_")]
    return re.escape(chr(argument))
