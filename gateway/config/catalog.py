"""The mapping table as values: who serves which Hub model, under what name, at what price.

Immutable. A reload builds a new `Catalog` and swaps one reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from providers.base import Adapter
from providers.wire import Target


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-USD per million tokens, by kind of token. A kind without its own price costs what `input` costs."""

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    from_day: str | None = None
    """First day (ISO date, in the table's time zone) on which it holds; None: always."""


@dataclass(frozen=True, slots=True)
class Supports:
    """What the table says that a model can do at this provider. None: the table does not say."""

    tools: bool | None = None
    structured_output: bool | None = None
    vision: bool | None = None
    logprobs: bool | None = None
    regex: bool | None = None
    prefill: bool | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token_s` runs until the first content of a stream; a plain answer has until `total_s`."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    between_tokens_s: float = 30.0
    total_s: float = 600.0


KEY_PART_CHARS: Final = 8
"""So much of a key in a row is kept from everybody; a shorter key is a word that stands for none."""


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """One account at one provider: what `providers:` of the table says of it."""

    name: str
    adapter: Adapter
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeouts: Timeouts = Timeouts()
    max_concurrency: int | None = None
    account: str = field(init=False)
    """Who pays there, as a digest of address and key: what a provider says of one entry, as `Retry-After`, holds for
    every entry with the same."""

    def __post_init__(self) -> None:
        digest = blake2b(f"{self.base_url}\0{self.api_key or ''}".encode(), digest_size=8)
        object.__setattr__(self, "account", digest.hexdigest())

    def without_key(self, text: str) -> str:
        """What the provider said, without our key or any longer part of it, should it have repeated it."""
        key = self.api_key or ""
        if len(key) < KEY_PART_CHARS:
            return text
        told, begin = [], 0
        while begin < len(text):
            end = begin + KEY_PART_CHARS
            if end <= len(text) and text[begin:end] in key:
                while end < len(text) and text[begin : end + 1] in key:
                    end += 1
                told.append("[secret]")
            else:
                end = begin + 1
                told.append(text[begin])
            begin = end
        return "".join(told)


@dataclass(frozen=True, slots=True)
class Offer:
    """One row of the table: this provider serves this Hub model under this name."""

    hub_model: str
    provider: ProviderEntry
    provider_model: str
    target: Target
    task: str = "conversational"
    status: str = "live"
    """`live`, or `staging`: reached only by naming the provider."""
    prices: tuple[Price, ...] = ()
    """In order of `from_day`; empty where no price is known."""
    supports: Supports = Supports()
    context_length: int | None = None
    output_tokens_max: int | None = None
    weight: int = 1
    prompt_overhead_tokens: int = 512
    image_tokens_max: int = 8192

    def price_on(self, day: str) -> Price | None:
        """The price that holds on an ISO day (`2026-11-23`), or None where none is known."""
        held = None
        for price in self.prices:
            if price.from_day is None or price.from_day <= day:
                held = price
        return held


@dataclass(frozen=True, slots=True)
class Model:
    """One Hub model with its live and staging offers, in the table's order."""

    id: str
    offers: tuple[Offer, ...]
    description: str | None = None
    recommended: bool = False
    left_out: tuple[str, ...] = ()
    """Providers of its row that are not served; `Catalog.left_out` says why."""


@dataclass(frozen=True, slots=True)
class MaxPrice:
    """Ceilings of a wish or of the organisation, nano-USD per million tokens; None: no ceiling."""

    input: int | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What nobody may loosen. Empty tuples rule out nothing."""

    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    max_price: MaxPrice = MaxPrice()


@dataclass(frozen=True, slots=True)
class Breaker:
    failures: int = 5
    percent: int = 50
    window_s: float = 30.0
    open_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Routing:
    """`routing:` of the table; seconds where a name ends in `_s`."""

    policy: str = "preferred"
    order: tuple[str, ...] = ()
    attempts: int = 3
    deadline_s: float = 600.0
    retry_after_wait_s: float = 3.0
    retry_budget_percent: int = 20
    breaker: Breaker = Breaker()
    keep_alive_s: float = 30.0
    delivery: str = "live"
    mid_stream: str = "error"
    max_tokens_default: int = 8192
    unpriced: str = "allow"
    ceilings: Ceilings = Ceilings()
    max_in_flight: int = 1000
    queue: int = 100


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole table. `generation` is a digest of the file: equal files have equal generations."""

    providers: Mapping[str, ProviderEntry]
    models: Mapping[str, Model]
    aliases: Mapping[str, str] = field(default_factory=dict)
    routing: Routing = Routing()
    timezone: str = "UTC"
    generation: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Providers of the table that are not served, with the reason: `groq` → `GROQ_API_KEY is not set`."""
