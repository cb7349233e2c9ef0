"""What is known of a request when its bill is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.config.catalog import Offer
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
