"""How a stream is delivered, where a request says so by itself: `X-Gateway-Delivery` and `X-Gateway-Mid-Stream`."""

from __future__ import annotations

from typing import Final

from gateway.config.catalog import Routing
from gateway.errors import InvalidRequest
from gateway.web.request import HeaderMap

DELIVERY: Final = "X-Gateway-Delivery"
DELIVERIES: Final = ("live", "whole")
MID_STREAM: Final = "X-Gateway-Mid-Stream"
MID_STREAMS: Final = ("error", "continue")
_DELIVERY: Final = DELIVERY.lower().encode()
_MID_STREAM: Final = MID_STREAM.lower().encode()


def is_whole(headers: HeaderMap, routing: Routing) -> bool:
    """Whether a stream is kept back until it is whole. InvalidRequest where the header says anything else."""
    said = headers.get(_DELIVERY)
    return (routing.delivery if said is None else _one_of(DELIVERY, DELIVERIES, said)) == "whole"


def goes_on(headers: HeaderMap, routing: Routing) -> bool:
    """Whether a stream that breaks is gone on from elsewhere. InvalidRequest where the header says anything else."""
    said = headers.get(_MID_STREAM)
    return (routing.mid_stream if said is None else _one_of(MID_STREAM, MID_STREAMS, said)) == "continue"


def _one_of(name: str, known: tuple[str, ...], said: bytes) -> str:
    word = said.decode("latin-1").strip().lower()
    if word not in known:
        raise InvalidRequest(f"{name}: {word[:32]!r} is none of {' and '.join(known)}.", param=name)
    return word
