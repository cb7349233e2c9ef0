"""What a provider says it used, believed only where it is a count. Pure.

Zero is a count. A float, a string, a negative number, or one half of the pair without the other is not: such a
report is treated as none at all, and the ledger estimates instead.
"""

from __future__ import annotations

from typing import Any, Final

from providers.wire import TOKENS_MAX, Usage, replace

_CLASSES: Final = frozenset(
    {
        "cached_tokens", "cache_write_tokens", "cache_creation_tokens", "reasoning_tokens",
        # Told apart, and priced like the rest of what they are part of.
        "text_tokens", "image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens",
    }
)  # fmt: skip
NAME_CHARS_MAX: Final = 40
_NONE: Final[dict[str, Any]] = {}


def count(value: object) -> int | None:
    """`value` where it is a number of tokens, else None. A bool is no number."""
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def part(value: object, whole: int) -> int:
    """A count that is part of another: never more than that, and 0 where it is unusable."""
    return min(count(value) or 0, whole)


def read_usage(reported: object) -> Usage | None:
    """The `usage` object of the OpenAI API, and of those that speak like it.

    Together has `cached_tokens` beside the two counts instead of in `prompt_tokens_details` (recorded January 2026).
    """
    if not isinstance(reported, dict):
        return None
    prompt = count(reported.get("prompt_tokens"))
    completion = count(reported.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    of_prompt = _details(reported.get("prompt_tokens_details"))
    of_completion = _details(reported.get("completion_tokens_details"))
    cached = of_prompt.get("cached_tokens")
    if cached is None:
        cached = reported.get("cached_tokens")
    written = of_prompt.get("cache_write_tokens") or of_prompt.get("cache_creation_tokens")
    usage = Usage(prompt, completion, part(cached, prompt), part(of_completion.get("reasoning_tokens"), completion))
    if not written and _CLASSES.issuperset(of_prompt) and _CLASSES.issuperset(of_completion):
        return usage
    return replace(
        usage,
        cache_write_tokens=part(written, prompt - usage.cached_tokens),
        unpriced=_unpriced(of_prompt) + _unpriced(of_completion),
    )


def _details(reported: object) -> dict[str, Any]:
    return reported if isinstance(reported, dict) else _NONE


def _unpriced(details: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """What is counted of each class that is not known here; names cut short, as a provider may write anything."""
    return tuple(
        (name[:NAME_CHARS_MAX], tokens)
        for name, value in details.items()
        if name not in _CLASSES and (tokens := count(value))
    )
