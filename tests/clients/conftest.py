"""The shipped table on simulated providers behind one gateway, for every client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.clients.callers import Caller, CurlCaller, HubCaller, OpenAICaller
from tests.journeys.gateway_process import GatewayProcess, running
from tests.journeys.simulator_process import SimulatorProcess, simulators


@pytest.fixture(scope="package")
def providers_process() -> Iterator[SimulatorProcess]:
    with simulators() as process:
        yield process


@pytest.fixture(scope="package")
def gateway(providers_process: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running(tmp_path_factory.mktemp("clients"), providers_process.shipped_table()) as process:
        yield process


@pytest.fixture
def providers(providers_process: SimulatorProcess) -> SimulatorProcess:
    """The simulated providers, well and without memory."""
    providers_process.reset()
    return providers_process


@pytest.fixture
def base_url(gateway: GatewayProcess) -> str:
    return f"{gateway.url}/v1"


@pytest.fixture
def key(gateway: GatewayProcess) -> str:
    return gateway.key()


@pytest.fixture(autouse=True)
def _hub_is_the_gateway(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hugging Face's client asks its Hub something once in a process: here it asks the gateway, as with HF_ENDPOINT."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", gateway.url)
    monkeypatch.setattr(huggingface_hub.constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))


@pytest.fixture(scope="package")
def callers(gateway: GatewayProcess) -> dict[str, Caller]:
    base_url, key = f"{gateway.url}/v1", gateway.key()
    return {
        "openai": OpenAICaller(base_url, key),
        "huggingface_hub": HubCaller(base_url, key),
        "curl": CurlCaller(base_url, key),
    }
