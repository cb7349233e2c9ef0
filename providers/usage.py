"""What a provider says it used, believed only where it is a count. Pure.

Zero is a count. A float, a string, a negative number, or one half of the pair without the other is not: such a
report is treated as none at all, and the ledger estimates instead.
"""

from __future__ import annotations

from providers.wire import TOKENS_MAX, Usage


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
    of_prompt = reported.get("prompt_tokens_details")
    of_completion = reported.get("completion_tokens_details")
    cached = of_prompt.get("cached_tokens") if isinstance(of_prompt, dict) else None
    if cached is None:
        cached = reported.get("cached_tokens")
    reasoning = of_completion.get("reasoning_tokens") if isinstance(of_completion, dict) else None
    return Usage(prompt, completion, part(cached, prompt), part(reasoning, completion))
