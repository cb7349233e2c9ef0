"""What is known of a request when its bill is opened, and how the journal writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.config.catalog import Offer
from gateway.journal.entries import Intent
from gateway.periods import Hour
from gateway.tenants import Principal
from providers.wire import Value


class Opening(Value, frozen=True):
    """All that metering must know of a request. `prompt_bytes` is the size of messages, tools and response_format;
    `max_tokens` the caller's own cap; `offers` the plan's candidates in order; `decision` and
    `route` go into the journal as they are."""

    inference_id: str
    principal: Principal
    hub_model: str
    request_id: str
    tags: Mapping[str, str]
    stream: bool
    prompt_bytes: int
    messages: int
    images: int
    choices: int
    max_tokens: int | None
    offers: Sequence[Offer]
    deadline_s: float
    generation: str
    decision: bytes
    route: str = ""

    def intent(self, now_ms: int, hour: Hour, prompt_tokens: int) -> Intent:
        """By the store's clock; `prompt_tokens` is our estimate."""
        return Intent(
            self.inference_id,
            now_ms,
            hour.day,
            hour.start_ms,
            hour.day_start_ms,
            self.principal.billed.id,
            self.principal.key.id,
            self.hub_model,
            self.request_id,
            prompt_tokens,
            now_ms + int(self.deadline_s * 1000),
            stream=self.stream,
            generation=self.generation,
            tags=self.tags,
            decision=msgspec.Raw(self.decision),
            route=self.route,
        )
