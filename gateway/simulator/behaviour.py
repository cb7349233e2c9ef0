"""How a simulated provider shall answer, as data: delays, statuses, where to die, which habit to show.

Read from JSON (`POST /__sim__/control`) or from the short form of the `X-Sim-Behaviour` header, in which
parts are joined by `;` or `,`:  `status=503`, `cut_after=3; gap_ms=20`, `refuse`, `switch.generation=2025`.
Decides nothing and waits for nothing; `sending.py` carries it out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final


class UnknownBehaviour(ValueError):
    """A behaviour that cannot be read; the message says which part and what is possible."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to answer. The default value is the provider at its best. Frames are whole SSE events."""

    status: int | None = None
    """Answer with this status in the provider's own words; 200 is no fault."""
    fault: str = ""
    """A named refusal of the provider (`context`, `queue`, `quota`, `balance`...), see its module."""
    rate_limit: bool = False
    """The provider's 429."""
    retry_after_s: float | None = None
    """`retry-after` of a refusal."""
    delay_ms: float = 0
    """Before the status line."""
    ttft_ms: float = 0
    """After the headers, before the first frame; on a plain answer before the status line."""
    gap_ms: float = 0
    """Between two frames."""
    cut_after: int | None = None
    """Hang up after this many frames, without the end of the body; on a plain answer in its middle."""
    stall_after: int | None = None
    """Fall silent after this many frames until the caller leaves; a plain answer never begins."""
    error_after: int | None = None
    """Fail inside the stream after this many frames, in the provider's own way."""
    refuse: bool = False
    """Hang up without an answer."""
    no_usage: bool = False
    """Never report usage."""
    words: int | None = None
    """Length of a text answer in words."""
    switches: Mapping[str, str] = field(default_factory=dict)
    """Which of its real habits a provider shows."""


NORMAL: Final = Behaviour()
_KINDS: Final = {f.name: str(f.type) for f in fields(Behaviour)}


def _value(name: str, given: object) -> Any:
    kind = _KINDS[name]
    if name == "switches":
        if not isinstance(given, Mapping):
            raise UnknownBehaviour("switches is an object of strings")
        return {str(key): str(value) for key, value in given.items()}
    if given is None and "None" in kind:
        return None
    if kind == "str":
        return str(given)
    if kind == "bool":
        return given is True or str(given).lower() in ("1", "true", "yes", "on")
    try:
        return int(str(given)) if kind.startswith("int") else float(str(given))
    except ValueError:
        raise UnknownBehaviour(f"{name} is a number, not {given!r}") from None


def from_mapping(given: Mapping[str, Any]) -> Behaviour:
    """Read the JSON form. Raises UnknownBehaviour on a key it does not know."""
    unknown = sorted(set(given) - set(_KINDS))
    if unknown:
        raise UnknownBehaviour(f"unknown: {', '.join(unknown)}; known: {', '.join(_KINDS)}")
    return Behaviour(**{name: _value(name, value) for name, value in given.items()})


def parse(text: str) -> Behaviour:
    """Read the header form: JSON, or the short form. Raises UnknownBehaviour."""
    if text.lstrip().startswith("{"):
        try:
            given = json.loads(text)
        except ValueError as err:
            raise UnknownBehaviour(f"not JSON: {err}") from None
        return from_mapping(given)
    plain: dict[str, Any] = {}
    switches: dict[str, str] = {}
    for part in text.replace(",", ";").split(";"):
        name, _, value = (side.strip() for side in part.partition("="))
        if name.startswith("switch."):
            switches[name.removeprefix("switch.")] = value or "on"
        elif name:
            plain[name] = value or "true"
    return from_mapping({**plain, "switches": switches} if switches else plain)
