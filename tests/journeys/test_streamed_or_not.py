"""The same question costs the same whether its answer is streamed or not, at every provider that tells its usage.

Nscale's streams tell none. OpenAI's own form is held to it in `test_reported_usage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.records import ClosedEntry
from tests.clients.grid import PLACES, Place
from tests.journeys.caller import ask
from tests.journeys.gateway_process import GatewayProcess, running
from tests.journeys.simulator_process import simulators

COUNTS_ONE_MORE_IN_STREAMS = ("hyperbolic",)
"""The provider itself: its streams begin with an empty chunk that it counts as a token."""
TELLING = [place for place in PLACES.values() if place.streams_tell_usage]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with simulators() as providers:
        with running(tmp_path_factory.mktemp("gateway"), providers.shipped_table()) as gateway:
            yield gateway


@pytest.mark.parametrize("place", TELLING, ids=lambda place: place.provider)
def test_one_usage_makes_one_row(gateway: GatewayProcess, place: Place) -> None:
    question = "Which rivers of Europe reach the Black Sea? " * 40
    fields = {
        "model": f"{place.chat.hub_model}:{place.provider}",
        "messages": [{"role": "user", "content": question}],
    }
    plain, streamed = (booked(gateway, stream=stream, **fields) for stream in (False, True))
    if place.provider in COUNTS_ONE_MORE_IN_STREAMS:
        more = msgspec.structs.replace(plain, completion_tokens=plain.completion_tokens + 1)
        assert counted(streamed) == counted(more)
    else:
        assert counted(streamed) == counted(plain)
        assert (streamed.charge_nano_usd, streamed.price) == (plain.charge_nano_usd, plain.price)
    assert plain.answered
    assert plain.prompt_tokens > 100


def booked(gateway: GatewayProcess, **fields: Any) -> ClosedEntry:
    answer = ask(gateway, **fields)
    assert answer.status_code == 200, answer.text
    (entry,) = gateway.story(answer.headers["inference-id"])
    return entry


def counted(entry: ClosedEntry) -> tuple[object, ...]:
    return (
        *(entry.prompt_tokens, entry.cached_tokens, entry.cache_write_tokens),
        *(entry.completion_tokens, entry.reasoning_tokens, entry.estimated),
        *(entry.hub_model, entry.provider, entry.provider_model),
    )
