"""What tokens cost, what a request may cost at most, and how many tokens a text probably has.

Amounts are integer nano-USD, rounded once per attempt; only estimates of token counts use floats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.config.catalog import Offer
from gateway.money import TOKENS_PER_PRICE, divide_half_even
from gateway.records import PriceTaken
from providers.wire import TOKENS_MAX, Usage

MESSAGE_OVERHEAD_TOKENS: Final = 16
OUTPUT_TOKENS_MIN: Final = 16
"""A smaller cap than this answers nothing: the request is refused instead."""
CAP_SLACK_TOKENS: Final = 16
"""Providers stop a few tokens late; further above the cap a count is not believed."""


def price_taken(offer: Offer, day: str) -> PriceTaken | None:
    """The prices that an attempt admitted on an ISO day is charged with; None where none is known."""
    price = offer.price_on(day)
    if price is None:
        return None
    return PriceTaken(
        input=price.input,
        output=price.output,
        cached_input=price.input if price.cached_input is None else price.cached_input,
        cache_write=price.input if price.cache_write is None else price.cache_write,
    )


def charge_nano_usd(usage: Usage, price: PriceTaken) -> int:
    """Σ tokens × price / 10⁶, rounded half to even once. Cached and written tokens are part of the prompt, at
    prices of their own; reasoning is part of the completion."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    fresh = usage.prompt_tokens - cached - written
    amount = (
        fresh * price.input
        + cached * price.cached_input
        + written * price.cache_write
        + usage.completion_tokens * price.output
    )
    return divide_half_even(amount, TOKENS_PER_PRICE)


def prompt_bound_tokens(offer: Offer, *, prompt_bytes: int, messages: int, images: int) -> int:
    """More than the prompt can have: a token is at least a byte, and templates add a little to each message."""
    return (
        prompt_bytes
        + MESSAGE_OVERHEAD_TOKENS * messages
        + offer.prompt_overhead_tokens
        + offer.image_tokens_max * images
    )


def output_cap_tokens(offers: Iterable[Offer], *, prompt_tokens: int, max_tokens_default: int) -> int:
    """The cap that we set for a request without one: the most that every candidate can generate after this prompt."""
    cap = max_tokens_default
    for offer in offers:
        if offer.output_tokens_max is not None:
            cap = min(cap, offer.output_tokens_max)
        if offer.context_length is not None:
            cap = min(cap, offer.context_length - prompt_tokens)
    return max(cap, OUTPUT_TOKENS_MIN)


def hold_nano_usd(
    offers: Iterable[Offer],
    day: str,
    *,
    prompt_bytes: int,
    messages: int,
    images: int,
    output_tokens: int,
) -> int:
    """The worst case of the dearest candidate. `output_tokens` is the cap times the number of choices. Offers
    without a price count nothing: under a strict budget they are no candidates."""
    return max(
        (
            divide_half_even(
                prompt_bound_tokens(offer, prompt_bytes=prompt_bytes, messages=messages, images=images)
                * max(price.input, price.cached_input, price.cache_write)
                + output_tokens * price.output,
                TOKENS_PER_PRICE,
            )
            for offer in offers
            if (price := price_taken(offer, day)) is not None
        ),
        default=0,
    )


def affordable_tokens(
    offers: Iterable[Offer], day: str, *, prompt_bytes: int, messages: int, images: int, left_nano_usd: int
) -> int:
    """How many output tokens a remainder pays for at every candidate, after the prompt's worst case; 0: none."""
    most = TOKENS_MAX
    for offer in offers:
        price = price_taken(offer, day)
        if price is None:
            continue
        bound = prompt_bound_tokens(offer, prompt_bytes=prompt_bytes, messages=messages, images=images)
        rest = left_nano_usd * TOKENS_PER_PRICE - bound * max(price.input, price.cached_input, price.cache_write)
        if rest < 0:
            return 0
        if price.output:
            # One unit less, so that rounding half to even cannot lift the hold above what is left.
            most = min(most, max(rest - TOKENS_PER_PRICE // 2, 0) // price.output)
    return most


def is_plausible(usage: Usage, *, cap_tokens: int | None, context_length: int | None) -> bool:
    """Whether counts can be true. `cap_tokens` is the output cap over all choices, None where there was none."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if not (0 <= prompt <= TOKENS_MAX and 0 <= completion <= TOKENS_MAX):
        return False
    if usage.cached_tokens < 0 or usage.cache_write_tokens < 0 or usage.reasoning_tokens < 0:
        return False
    if cap_tokens is not None and completion > cap_tokens + CAP_SLACK_TOKENS:
        return False
    if context_length is None:
        return True
    return prompt <= context_length and (cap_tokens is not None or completion <= context_length)


class Estimator:
    """Bytes (or characters) per token of each model, learned from requests whose usage is exact.

    Begins at four. The running ratio forgets: a count weighs half after about seventy later ones of equal size.
    """

    __slots__ = ("_completions", "_prompts")

    _START: Final = 4.0
    _PRIOR_TOKENS: Final = 200.0
    _KEEP: Final = 0.99
    _MODELS_MAX: Final = 10_000

    def __init__(self) -> None:
        self._prompts: dict[str, tuple[float, float]] = {}
        self._completions: dict[str, tuple[float, float]] = {}

    def prompt_tokens(self, hub_model: str, prompt_bytes: int) -> int:
        return self._estimate(self._prompts.get(hub_model), prompt_bytes)

    def completion_tokens(self, hub_model: str, chars: int) -> int:
        return self._estimate(self._completions.get(hub_model), chars)

    def learn(self, hub_model: str, *, prompt_bytes: int, text_chars: int, usage: Usage) -> None:
        """From one exact usage. Reasoning that was not shown is left out of the ratio."""
        if prompt_bytes > 0 and usage.prompt_tokens > 0:
            self._learn(self._prompts, hub_model, prompt_bytes, usage.prompt_tokens)
        shown = usage.completion_tokens - usage.reasoning_tokens
        if text_chars > 0 and shown > 0:
            self._learn(self._completions, hub_model, text_chars, shown)

    def _estimate(self, seen: tuple[float, float] | None, size: int) -> int:
        if size <= 0:
            return 0
        ratio = self._START if seen is None else max(seen[0] / seen[1], 0.25)
        return max(1, round(size / ratio))

    def _learn(self, seen: dict[str, tuple[float, float]], hub_model: str, size: int, tokens: int) -> None:
        held = seen.get(hub_model)
        if held is None:
            if len(seen) >= self._MODELS_MAX:
                return
            held = (self._START * self._PRIOR_TOKENS, self._PRIOR_TOKENS)
        seen[hub_model] = (held[0] * self._KEEP + size, held[1] * self._KEEP + tokens)
