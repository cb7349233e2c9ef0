"""One server with all simulated providers for the whole package, forgetful between tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.simulator.server import SimulatorServer
from tests.simulator.support import KEY


@pytest.fixture(scope="package")
def running() -> Iterator[SimulatorServer]:
    """The server, in a thread."""
    server = SimulatorServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="package")
def client() -> Iterator[httpx.Client]:
    """A raw client with an accepted key."""
    with httpx.Client(headers=KEY, timeout=10) as raw:
        yield raw


@pytest.fixture
def server(running: SimulatorServer) -> SimulatorServer:
    """The server, with no script, count or request kept."""
    running.simulators.script.clear()
    running.simulators.ledger.clear()
    return running
