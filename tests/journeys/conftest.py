"""One gateway before three providers that misbehave when told to; shared by the journeys of a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of


@dataclass(frozen=True, slots=True)
class Town:
    """The gateway, and its providers in the order of the table."""

    gateway: GatewayProcess
    first: FaultProvider
    second: FaultProvider
    third: FaultProvider

    @property
    def providers(self) -> tuple[FaultProvider, FaultProvider, FaultProvider]:
        return self.first, self.second, self.third

    @property
    def asked(self) -> tuple[int, int, int]:
        """How many requests each provider got since the test began."""
        return self.first.requests, self.second.requests, self.third.requests


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Town]:
    """A module may name other time-outs than the usual ones in `TOWN_TIMEOUTS`."""
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(FaultProvider()) for _ in range(3))
        table = table_of(
            {"first": first.base_url, "second": second.base_url, "third": third.base_url},
            models={
                "acme/chat": {
                    "first": {"contextLength": 8192, "pricing": {"input": "3", "output": "6"}},
                    "second": {"contextLength": 8192},
                    "third": {"contextLength": 32768},
                },
                "acme/alone": {"first": {}},
            },
            timeouts=getattr(request.module, "TOWN_TIMEOUTS", None),
        )
        gateway = stack.enter_context(running(tmp_path_factory.mktemp("town"), table))
        for provider in (first, second, third):
            provider.secret("client_key", gateway.key())
        yield Town(gateway, first, second, third)


@pytest.fixture
def town(standing: Town) -> Iterator[Town]:
    """The module's town, every provider well again; no request of the test may have carried the caller's key."""
    for provider in standing.providers:
        provider.reset()
    if "refused_keys" in standing.gateway.readyz():
        standing.gateway.reload()
    yield standing
    assert [leak for provider in standing.providers for leak in provider.leaks()] == []
